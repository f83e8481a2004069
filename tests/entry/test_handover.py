"""The session over links of every kind: what arrives whole, and that nothing else is ever taken for it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from switch.demo.handover_device import ByteLink, SimulatedPhone, exchange, tell
from switch.domain.money import Money
from switch.entry.bluetooth import HandoverAssembler, HandoverKind, parse_handover
from switch.entry.handover.certificate import TerminalCertificate, build_certificate, to_be_signed, verify_certificate
from switch.entry.handover.errors import HandoverError
from switch.entry.handover.frames import FrameAssembler, FrameType, build_frame
from switch.entry.handover.phone import Phone, PhoneKeys
from switch.entry.handover.sealed import Binding, binding_info, read_sealed
from switch.entry.handover.session import Direction, Inside, point_of
from switch.entry.handover.terminal import HandoverTerminal

NOW_MS = 1_790_000_000_000
MONEY = Money(1250, "CNY")
CODE = b"134512345678901234"
SIGNING = rsa.generate_private_key(65537, 2048)
ENVELOPE = ec.generate_private_key(ec.SECP256R1())
TERMINAL = ec.generate_private_key(ec.SECP256R1())
KEYS = PhoneKeys(SIGNING.public_key(), ENVELOPE.public_key())


def certified(signing: rsa.RSAPrivateKey = SIGNING, **fields: Any) -> bytes:
    values = TerminalCertificate("shop", "t1", "Corner Shop 小店", point_of(TERMINAL.public_key()), NOW_MS + 1000)
    certificate = replace(values, **fields)
    return build_certificate(certificate, signing.sign(to_be_signed(certificate), padding.PKCS1v15(), SHA256()))


CERTIFICATE = certified()


def ends(certificate: bytes = CERTIFICATE, money: Money = MONEY) -> tuple[SimulatedPhone, HandoverTerminal]:
    phone = SimulatedPhone(Phone(KEYS), HandoverKind.PAYER_CODE, CODE)
    return phone, HandoverTerminal(TERMINAL, certificate, money)


def run(link: ByteLink, certificate: bytes = CERTIFICATE) -> bytes:
    return exchange(*ends(certificate), link, NOW_MS)


def test_a_session_in_pieces_of_any_size() -> None:
    for size in (1, 2, 3, 19, 20, 23, 182, 509, 5000):
        record = run(ByteLink(itertools.repeat(size)))
        assert str(parse_handover(record, MONEY).code) == "sealed"  # type: ignore[union-attr]
        [whole] = [each for at in range(0, len(record), size) for each in HandoverAssembler().feed(record)][:1]
        assert whole == record


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_a_session_in_pieces_of_mixed_sizes(sizes: list[int]) -> None:
    assert run(ByteLink(itertools.cycle(sizes)))


def test_both_sides_know_what_the_other_said() -> None:
    phone, terminal = ends()
    link = ByteLink()
    record = exchange(phone, terminal, link, NOW_MS)
    offer = phone.phone.offer
    assert offer is not None
    assert (offer.money, offer.terminal.merchant_id, offer.terminal.merchant_name) == (
        MONEY,
        "shop",
        "Corner Shop 小店",
    )
    sealed = read_sealed(record[8:-2])
    assert (sealed.nonce, sealed.time_ms) == (offer.nonce, NOW_MS)
    tell(phone, terminal, link, "00", NOW_MS)
    assert phone.phone.result == "00"
    with pytest.raises(HandoverError):
        terminal.answer("00")
    heard = b"".join(link.sent)
    assert CODE not in heard
    assert MONEY.amount_minor.to_bytes(8, "big") not in heard


def test_two_sessions_have_nothing_in_common() -> None:
    links = ByteLink(), ByteLink()
    one, two = (exchange(*ends(), link, NOW_MS) for link in links)
    assert one[8:] != two[8:]
    # A piece of one session is worth nothing in another.
    phone, terminal = ends()
    terminal.receive(phone.phone.hello())
    with pytest.raises(HandoverError, match="of another session"):
        terminal.receive(links[0].sent[-1])


# --- links that fail --------------------------------------------------------------------------------------------------


def lose(place: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda pieces: pieces[:place] + pieces[place + 1 :]


def double(place: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda pieces: pieces[: place + 1] + pieces[place:]


def swap(place: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda pieces: [*pieces[:place], *pieces[place : place + 2][::-1], *pieces[place + 2 :]]


@pytest.mark.parametrize("fault", [lose, double, swap])
@pytest.mark.parametrize("message", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [7, 20])
def test_a_piece_that_is_lost_doubled_or_reordered_is_a_clear_error(fault: Any, message: int, size: int) -> None:
    """In each of the session's messages: both hellos, the offer and the credential."""
    for place in (0, 1, 2):
        link = ByteLink(itertools.repeat(size))

        def once(pieces: list[bytes], link: ByteLink = link, place: int = place) -> list[bytes]:
            return fault(place % (len(pieces) - 1))(pieces) if len(link.sent) == message + 1 else pieces

        link.fault = once
        with pytest.raises(HandoverError) as refused:
            run(link)
        assert str(refused.value)


def test_a_whole_message_that_is_lost_doubled_or_reordered() -> None:
    for message, fault, reason in (
        (0, lambda pieces: [], "handed nothing over"),
        (1, lambda pieces: [], "not expected now"),
        (2, lambda pieces: pieces * 2, "came twice"),
        (3, lambda pieces: pieces * 2, "came twice"),
        (0, lambda pieces: pieces * 2, "not expected now"),
        (1, lambda pieces: pieces * 2, "not expected now"),
    ):
        link = ByteLink()
        link.fault = lambda pieces, link=link, message=message, fault=fault: (
            fault(pieces) if len(link.sent) == message + 1 else pieces
        )
        with pytest.raises(HandoverError, match=reason):
            run(link)


def test_after_an_error_nothing_is_taken_any_more() -> None:
    frames = FrameAssembler()
    with pytest.raises(HandoverError, match="no frame begins here"):
        frames.feed(b"XX")
    with pytest.raises(HandoverError, match="has ended"):
        frames.feed(build_frame(FrameType.RECORD, b"x"))


# --- whoever changes something ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [0, 1, 2, 3])
def test_a_change_at_any_byte_is_found_though_the_crc_is_right(message: int) -> None:
    """Every seventh byte of each message, its frame built anew: the attacker is on the air and can compute CRCs."""
    length = len(_messages()[message]) - 7
    for at in range(0, length, 7 if message != 1 else 23):
        link = ByteLink(itertools.repeat(4096))

        def change(pieces: list[bytes], link: ByteLink = link, at: int = at) -> list[bytes]:
            if len(link.sent) != message + 1:
                return pieces
            frame = b"".join(pieces)
            body = bytearray(frame[5:-2])
            body[at] ^= 0x41
            return [build_frame(FrameType(frame[2]), bytes(body))]

        link.fault = change
        with pytest.raises(HandoverError):
            run(link)


def _messages() -> list[bytes]:
    link = ByteLink()
    run(link)
    return link.sent


def test_a_terminal_without_the_certified_key_gets_nothing() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    phone = SimulatedPhone(Phone(KEYS), HandoverKind.PAYER_CODE, CODE)
    with pytest.raises(HandoverError, match="does not have the certified key"):
        exchange(phone, HandoverTerminal(other, CERTIFICATE, MONEY), ByteLink(), NOW_MS)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (certified(rsa.generate_private_key(65537, 2048)), "not the switch's"),
        (certified(not_after_ms=NOW_MS - 1), "expired"),
        (CERTIFICATE[:10] + b"X" + CERTIFICATE[11:], "not the switch's"),
        (CERTIFICATE[:-1], "not the switch's"),
        (b"\x01", "not the switch's"),
    ],
)
def test_certificates_that_are_not_believed(certificate: bytes, reason: str) -> None:
    with pytest.raises(HandoverError, match=reason):
        run(ByteLink(), certificate)


def test_a_signed_certificate_that_is_malformed() -> None:
    for signed in (
        b"",
        b"\x02",
        b"\x01\xff",
        b"\x01\x01a\x01b\x02\xff\xff" + bytes(73),
        b"\x01\x01a\x01b\x01c" + bytes(72),
    ):
        text = b"payswitch handover terminal 1|" + signed
        with pytest.raises(HandoverError):
            verify_certificate(signed + SIGNING.sign(text, padding.PKCS1v15(), SHA256()), SIGNING.public_key(), NOW_MS)


def test_a_payer_who_does_not_agree_hands_nothing_over() -> None:
    phone, terminal = ends()
    phone.agrees = lambda offer: offer.money.amount_minor < 100
    with pytest.raises(HandoverError, match="handed nothing over"):
        exchange(phone, terminal, ByteLink(), NOW_MS)
    phone.phone.hand_over(HandoverKind.PAYER_CODE, CODE, NOW_MS)
    with pytest.raises(HandoverError, match="no offer"):
        phone.phone.hand_over(HandoverKind.PAYER_CODE, CODE, NOW_MS)


def test_other_versions_and_points_off_the_curve() -> None:
    hello = ends()[0].phone.hello()[5:-2]
    for bad, reason in (
        (b"\x02" + hello[1:], "version 2"),
        (hello[:1] + b"\x02" + hello[2:], "suite 2"),
        (hello[:2] + b"\x04" + bytes(64) + hello[67:], "no point"),
        (hello[:-1], "wrong length"),
        (hello + b"x", "wrong length"),
    ):
        with pytest.raises(HandoverError, match=reason):
            ends()[1].receive(build_frame(FrameType.PHONE_HELLO, bad))


def test_records_are_counted() -> None:
    sends, receives = (Direction(b"k" * 16, b"i" * 12) for _ in range(2))
    first, second, third = (sends.seal(Inside.OFFER, bytes([n])) for n in range(3))
    assert receives.open(first) == (Inside.OFFER, b"\0")
    for record, reason in ((first, "twice"), (third, "lost"), (second[:-1], "changed"), (b"abc", "too short")):
        with pytest.raises(HandoverError, match=reason):
            receives.open(record)
    assert receives.open(second) == (Inside.OFFER, b"\1")
    assert receives.open(third) == (Inside.OFFER, b"\2")


@pytest.mark.parametrize(
    "other",
    [
        {"merchant_id": "shop2"}, {"terminal_id": "t2"}, {"money": Money(1251, "CNY")}, {"money": Money(1250, "HKD")},
        {"nonce": b"n" * 15 + b"m"}, {"time_ms": NOW_MS + 1}, {"merchant_id": "sho", "terminal_id": "pt1"},
    ],
)  # fmt: skip
def test_every_part_of_the_binding_counts(other: dict[str, Any]) -> None:
    binding = Binding("shop", "t1", MONEY, b"n" * 16, NOW_MS)
    assert binding_info(replace(binding, **other)) != binding_info(binding)
