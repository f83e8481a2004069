"""The issuer believes no card that does not prove itself: cryptogram, counter, track, amount."""

from collections.abc import Callable

import pytest
from issuer_loopback import ISSUER_KEYS, LoopbackSwitch

from adapters.issuer.simulator_card import application_cryptogram, card_key, is_equal, response_cryptogram, session_key
from adapters.issuer.simulator_chip import Objection, read_tags
from switch.domain.sensitive import Sensitive
from switch.domain.states import EntryMode
from switch.ports import Approved, ChannelRequest, Declined


def with_tag(request: ChannelRequest, tag: int, value: bytes) -> None:
    """As if the card or the terminal had said this instead."""
    tags = read_tags(request.credential.emv) | {tag: value}
    width = {each: 2 if each > 0xFF else 1 for each in tags}
    request.credential.emv = b"".join(
        each.to_bytes(width[each], "big") + bytes([len(value)]) + value for each, value in tags.items()
    )


async def test_a_tap_is_verified_and_answered_with_an_arpc(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    request = switch.tap(1_234, pin="1234")
    result = await switch.ask(request)
    assert isinstance(result, Approved)
    tags = read_tags(request.credential.emv)
    pan = request.credential.pan.reveal()
    key = session_key(card_key(ISSUER_KEYS.ac, pan, "01"), tags[0x9F36])
    assert result.emv_response == b"\x91\x0a" + response_cryptogram(key, tags[0x9F26], b"00") + b"00"
    assert simulator.ledger.accounts[pan].counters == {1}


async def test_a_decline_has_an_arpc_of_its_own_code(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    result = await switch.ask(switch.tap(5_001, card=1))
    assert isinstance(result, Declined)
    assert (result.response_code, result.emv_response[:2], result.emv_response[-2:]) == ("51", b"\x91\x0a", b"51")


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (lambda request: with_tag(request, 0x9F26, bytes(8)), "05", "cryptogram"),
        (lambda request: with_tag(request, 0x9F37, bytes(4)), "05", "cryptogram"),
        (lambda request: with_tag(request, 0x9F36, b"\x00\x02"), "05", "cryptogram"),
        (lambda request: with_tag(request, 0x95, b"\x00\x00\x00\x80\x00"), "05", "cryptogram"),
        (lambda request: with_tag(request, 0x9A, bytes.fromhex("200101")), "05", "cryptogram"),
        (lambda request: with_tag(request, 0x9F02, bytes.fromhex("000000000001")), "13", "the card agreed to another"),
        (lambda request: with_tag(request, 0x5F2A, bytes.fromhex("0840")), "13", "the card agreed to another"),
        (lambda request: with_tag(request, 0x9F27, b"\x40"), "05", "no request for an authorization"),
        (lambda request: with_tag(request, 0x9F10, bytes.fromhex("07011103A0000001")), "05", "cryptogram version"),
        (lambda request: with_tag(request, 0x9F10, bytes.fromhex("070101")), "30", "issuer application data"),
        (lambda request: setattr(request.credential, "sequence_number", "002"), "05", "cryptogram"),
        (lambda request: setattr(request.credential, "emv", b""), "30", "issuer application data"),
        (lambda request: setattr(request.credential, "emv", b"\x9f"), "30", "chip data"),
        (lambda request: setattr(request.credential, "emv", b"\x95\x05\x00"), "30", "chip data"),
    ],
)
async def test_what_the_card_did_not_sign_is_declined(
    switch: LoopbackSwitch, change: Callable[[ChannelRequest], None], code: str, reason: str
) -> None:
    simulator = await switch.simulator()
    request = switch.tap()
    change(request)
    result = await switch.ask(request)
    assert isinstance(result, Declined)
    assert result.response_code == code
    assert result.reason.startswith(reason)
    assert result.emv_response == b""
    assert simulator.ledger.accounts[request.credential.pan.reveal()].balance_minor == 1_000_000_000


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (lambda track: track[:-1] + str((int(track[-1]) + 1) % 10), "05", "card verification value"),
        (lambda track: track.replace("=4912", "=4911"), "14", "track 2 is another card's"),
        (lambda track: track.replace("=4912201", "=4912101"), "14", "track 2 is another card's"),
        (lambda track: "6259000000000013" + track[16:], "14", "track 2 is another card's"),
        (lambda track: track[:24], "30", "track 2"),
        (lambda track: track.replace("=", "D"), "30", "track 2"),
    ],
)
async def test_a_changed_track_is_declined(
    switch: LoopbackSwitch, change: Callable[[str], str], code: str, reason: str
) -> None:
    await switch.simulator()
    request = switch.tap()
    request.credential.track2 = Sensitive(change(request.credential.track2.reveal()))
    result = await switch.ask(request)
    assert isinstance(result, Declined)
    assert (result.response_code, result.reason) == (code, reason)


async def test_a_tap_counts_once(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    assert isinstance(await switch.ask(switch.tap(atc=7)), Approved)
    copied = await switch.ask(switch.tap(atc=7))
    assert isinstance(copied, Declined)
    assert (copied.response_code, copied.reason) == ("59", "transaction counter used before")
    assert isinstance(await switch.ask(switch.tap(atc=6)), Approved)  # two taps that overtook each other
    assert isinstance(await switch.ask(switch.tap(atc=7, card=3)), Approved)


async def test_a_repeated_message_is_no_copied_tap(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    request = switch.tap()
    first = await switch.ask(request)
    request.repeat = 1
    assert isinstance(first, Approved)
    assert await switch.ask(request) == first


async def test_a_failed_cryptogram_uses_up_no_counter(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    forged, genuine = switch.tap(atc=9), switch.tap(atc=9)
    with_tag(forged, 0x9F26, bytes(8))
    assert isinstance(await switch.ask(forged), Declined)
    assert isinstance(await switch.ask(genuine), Approved)


async def test_a_payers_code_is_signed_without_the_terminals_part(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    request = switch.tap()
    pan, counter, nonce = request.credential.pan.reveal(), b"\x00\x05", bytes.fromhex("01020304")
    application_data = bytes.fromhex("07010103A0A802010A")
    signed = bytes(25) + nonce + bytes.fromhex("7C00") + counter + application_data[3:7]
    key = session_key(card_key(ISSUER_KEYS.ac, pan, "01"), counter)
    tags = [("9F26", application_cryptogram(key, signed)), ("9F27", b"\x80"), ("9F10", application_data)]
    tags += [("9F36", counter), ("82", bytes.fromhex("7C00")), ("9F37", nonce)]
    emv = b"".join(bytes.fromhex(tag) + bytes([len(value)]) + value for tag, value in tags)
    request.credential.emv, request.credential.track2 = emv, None
    assert isinstance(await switch.ask(request), Declined)  # a tap needs all of it
    request = switch.tap()
    request.credential.emv, request.credential.track2 = emv, None
    request.authorization.entry = EntryMode.PAYER_QR
    assert isinstance(await switch.ask(request), Approved)


def test_a_tag_twice_is_no_chip_data() -> None:
    with pytest.raises(Objection):
        read_tags(bytes.fromhex("950100950100"))


def test_comparison() -> None:
    assert is_equal("12", "12")
    assert not is_equal(b"12", "13")
