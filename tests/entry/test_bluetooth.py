"""The handover record, whole and in chunks; the same credential as without Bluetooth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.terminal import build_tap, load_account
from switch.domain.money import Money
from switch.entry.bluetooth import HandoverAssembler, HandoverKind, build_handover, order_address, parse_handover
from switch.entry.emv import parse_tap
from switch.entry.errors import EntryError
from switch.entry.ndef import uri_message
from switch.entry.payer_code import build_cpm, parse_payer_code

MONEY = Money(500, "CNY")
PAN, EXPIRY, _ = load_account(9)
TAP = build_tap(PAN, EXPIRY, MONEY.amount_minor, MONEY.currency)
WALLET_CODE = "285012345678901234"
RECORD = build_handover(HandoverKind.EMV, TAP)


def test_the_same_credential_as_by_tap():
    assert parse_handover(RECORD, MONEY) == parse_tap(TAP, MONEY)


@pytest.mark.parametrize(
    "code",
    [
        WALLET_CODE,
        build_cpm(PAN, EXPIRY, {0x9F26: bytes(8), 0x9F10: bytes(7), 0x9F36: b"\0\1", 0x9F37: bytes(4)}),
    ],
)
def test_the_same_credential_as_by_scan(code):
    record = build_handover(HandoverKind.PAYER_CODE, code.encode())
    assert parse_handover(record, MONEY) == parse_payer_code(code)[1]


def test_layout_and_an_independent_crc(crc16):
    record = build_handover(HandoverKind.PAYER_CODE, WALLET_CODE.encode())
    assert record[:-2] == b"PSBT\x01\x02\x00\x12" + WALLET_CODE.encode()
    assert record[-2:] == crc16(record[:-2]).to_bytes(2, "big")


def test_errors_name_the_record():
    for money in (Money(501, "CNY"), Money(500, "HKD")):
        with pytest.raises(EntryError, match=r"^bluetooth\.record: tag"):
            parse_handover(RECORD, money)


def test_truncation_at_every_byte_and_bytes_too_many():
    for size in range(len(RECORD)):
        with pytest.raises(EntryError, match="truncated"):
            parse_handover(RECORD[:size], MONEY)
    with pytest.raises(EntryError, match="bytes after the record"):
        parse_handover(RECORD + b"\0", MONEY)


def test_any_bit_flipped_is_refused():
    for at in range(len(RECORD)):
        for bit in range(8):
            wrong = bytearray(RECORD)
            wrong[at] ^= 1 << bit
            with pytest.raises(EntryError):
                parse_handover(bytes(wrong), MONEY)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"PSBX\x01\x01\x00\x01", "not a handover record"),
        (b"PSBT\x02\x01\x00\x01", "version 2 is not supported"),
        (b"PSBT\x01\x04\x00\x01", "kind 4 is not supported"),
        (b"PSBT\x01\x01\x00\x00", "a payload of 0 bytes"),
        (b"PSBT\x01\x01\x04\x01", "a payload of 1025 bytes"),
        (build_handover(HandoverKind.PAYER_CODE, b"\xff" * 20), "not ASCII"),
        (build_handover(HandoverKind.PAYER_CODE, b"9" * 18), "begin with these two digits"),
        (build_handover(HandoverKind.EMV, b"\x61\x80"), "an indefinite length"),
        (build_handover(HandoverKind.ORDER, uri_message("https://a.b")), "an order, not a credential"),
    ],
)
def test_what_is_refused(record, reason):
    with pytest.raises(EntryError, match=reason):
        parse_handover(record, MONEY)


def test_a_payload_has_a_size():
    for size in (0, 1025):
        with pytest.raises(ValueError, match="a payload of"):
            build_handover(HandoverKind.EMV, bytes(size))


def test_byte_by_byte():
    assembler = HandoverAssembler()
    fed = [assembler.feed(bytes([octet])) for octet in RECORD]
    assert fed[-1] == [RECORD]
    assert not any(fed[:-1])


@given(
    st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=4), st.lists(st.integers(1, 244), max_size=40)
)
def test_records_cut_anywhere_come_out_whole(payloads, cuts):
    records = [build_handover(HandoverKind.PAYER_CODE, payload) for payload in payloads]
    stream, assembler, out = b"".join(records), HandoverAssembler(), []
    for size in cuts:
        out += assembler.feed(stream[:size])
        stream = stream[size:]
    out += assembler.feed(stream)
    assert out == records


def test_after_an_error_a_record_can_start_again():
    assembler = HandoverAssembler()
    with pytest.raises(EntryError, match="not a handover record"):
        assembler.feed(b"PX")
    with pytest.raises(EntryError, match="version"):
        assembler.feed(b"PSBT\x09")
    with pytest.raises(EntryError, match="CRC"):
        assembler.feed(RECORD[:-1] + bytes([RECORD[-1] ^ 1]))
    assert assembler.feed(RECORD[:20]) == []
    assert assembler.feed(RECORD[20:]) == [RECORD]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (RECORD, "a credential, not an order"),
        (build_handover(HandoverKind.ORDER, b"\xd1\x01\x02T\x04a"), "not an NDEF message"),
        (build_handover(HandoverKind.ORDER, uri_message("https://a.b"))[:-1], "truncated"),
    ],
)
def test_what_is_no_order(record, text):
    with pytest.raises(EntryError, match=text):
        order_address(record)
