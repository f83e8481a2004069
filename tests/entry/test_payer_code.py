"""What a scanner reads: wallets by prefix, and EMVCo consumer-presented codes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.terminal import load_account
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import EntryMode
from switch.entry._tlv import encode, parse_flat, parse_nested
from switch.entry.errors import EntryError
from switch.entry.payer_code import build_cpm, parse_payer_code

PAN, EXPIRY, _ = load_account(3)
CRYPTOGRAM = {
    0x9F26: bytes.fromhex("584FD385FA234BCC"), 0x9F27: b"\x80", 0x9F10: bytes.fromhex("06010A03000000"),
    0x9F36: b"\0\1", 0x82: b"\x7c\0", 0x9F37: bytes.fromhex("6D58EF13"),
}  # fmt: skip
APPLICATION = {0x4F: bytes.fromhex("A000000333010101"), 0x5A: bytes.fromhex(PAN), 0x63: encode(CRYPTOGRAM.items())}


def code_of(*templates: tuple[int, bytes], first: bytes = b"CPV01") -> str:
    return base64.b64encode(encode([(0x85, first), *templates])).decode()


@pytest.mark.parametrize(
    ("prefixes", "lengths", "scheme"),
    [
        (range(25, 31), range(16, 25), "alipay"),
        (range(10, 16), (18,), "wechat"),
        ((62,), (19,), "unionpay"),
    ],
)
def test_prefix_and_length_choose_the_wallet(prefixes, lengths, scheme):
    for prefix in prefixes:
        for length in range(16, 26):
            text = str(prefix).ljust(length, "7")
            if length in lengths:
                expected = (EntryMode.PAYER_CODE, CodeCredential(scheme, PaymentCode(text)))
                assert parse_payer_code(text) == expected
            else:
                with pytest.raises(EntryError, match="not the length of this wallet's codes"):
                    parse_payer_code(text)


@given(st.integers(0, 99).filter(lambda prefix: not (10 <= prefix <= 15 or 25 <= prefix <= 30 or prefix in (62, 91))))
def test_an_unknown_prefix(prefix):
    text = f"{prefix:02d}".ljust(18, "1")
    with pytest.raises(EntryError, match="begin with these two digits") as refused:
        parse_payer_code(text)
    assert refused.value.field == "payer_code.code"
    assert text not in str(refused.value)


def test_a_consumer_presented_code_is_a_card():
    mode, card = parse_payer_code(build_cpm(PAN, EXPIRY, CRYPTOGRAM))
    assert mode is EntryMode.PAYER_QR
    assert isinstance(card, CardCredential)
    assert (card.pan, card.expiry_yymm, card.sequence_number) == (Pan(PAN), EXPIRY, "001")
    assert parse_flat(card.emv, "test") == CRYPTOGRAM


def test_emvcos_example(emvco):
    vector = emvco["consumer_presented"]
    tree = parse_nested(base64.b64decode(vector["base64"]), "test")
    assert [tag for tag, _ in tree] == [0x85, 0x61, 0x61, 0x62]
    common = dict(tree[3][1])
    assert common[0x5A].hex() == vector["pan"]
    assert common[0x5F20].decode() == vector["cardholder"]
    transparent = dict(common[0x64])
    assert transparent[0x9F26].hex().upper() == vector["cryptogram"]
    # Its card number has no valid check digit: with a right one the same code is a card.
    with pytest.raises(EntryError, match="check digit"):
        parse_payer_code(vector["base64"])
    valid = base64.b64decode(vector["base64"]).replace(bytes.fromhex(vector["pan"]), bytes.fromhex("1234567890123452"))
    _, card = parse_payer_code(base64.b64encode(valid).decode())
    assert isinstance(card, CardCredential)
    assert (card.pan.reveal(), card.expiry_yymm) == ("1234567890123452", "")
    assert parse_flat(card.emv, "test") == {
        0x9F26: bytes.fromhex(vector["cryptogram"]),
        0x9F10: bytes.fromhex(vector["issuer_application_data"]),
        0x9F37: bytes.fromhex(vector["unpredictable_number"]),
        0x9F36: bytes.fromhex(vector["transaction_counter"]),
    }


def test_unionpays_application_is_preferred_and_its_data_come_before_the_common():
    other = {0x4F: bytes.fromhex("A0000000555555"), 0x5A: bytes.fromhex(load_account(4)[0])}
    common = {0x5A: bytes.fromhex(load_account(5)[0]), 0x5F34: b"\x02"}
    text = code_of((0x61, encode(other.items())), (0x61, encode(APPLICATION.items())), (0x62, encode(common.items())))
    _, card = parse_payer_code(text)
    assert isinstance(card, CardCredential)
    assert (card.pan.reveal(), card.sequence_number) == (PAN, "002")


def test_truncation_of_the_text_is_refused():
    text = build_cpm(PAN, EXPIRY, CRYPTOGRAM)
    for size in range(len(text)):
        with pytest.raises(EntryError):
            parse_payer_code(text[:size])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not 16 to 512 characters"),
        ("1" * 15, "not 16 to 512 characters"),
        ("A" * 513, "not 16 to 512 characters"),
        ("٢٥" * 9, "neither digits nor base64"),
        ("https://qr.alipay.com/bax", "neither digits nor base64"),
        ("hQVDUFYwMWETTweg AAAAVVVV", "neither digits nor base64"),
        (code_of((0x61, encode(APPLICATION.items())), first=b"CPV02"), "does not begin with tag 85, CPV01"),
        (code_of((0x62, encode(APPLICATION.items()))), "tag 61 is missing"),
        (code_of((0x61, encode([(0x5A, bytes(8))]))), "tag 4F is missing"),
        (code_of((0x61, encode(APPLICATION.items())), (0x62, b""), (0x62, b"")), "tag 62 twice"),
        (code_of((0x61, encode([*APPLICATION.items(), (0x5A, bytes(8))]))), "tag 5A twice"),
        (code_of((0x61, encode(list(APPLICATION.items())[:2]))), "tag 9F26 is missing"),
        (code_of((0x61, encode([(0x4F, bytes(7)), (0x63, APPLICATION[0x63])]))), "neither tag 57 nor 5A"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(EntryError, match=reason):
        parse_payer_code(text)


def test_a_deeply_nested_code_is_refused():
    data = b""
    for _ in range(100):
        data = encode([(0x61, data)])
    with pytest.raises(EntryError, match="nested deeper"):
        parse_payer_code(code_of((0x61, data)))


@given(st.text(max_size=600) | st.binary(max_size=380).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_answered_or_refused(text):
    try:
        mode, _ = parse_payer_code(text)
    except EntryError:
        return
    assert mode in (EntryMode.PAYER_CODE, EntryMode.PAYER_QR)
