"""Sealed handovers, opened by a real HSM: the same authorization as by tap or scan, once, for this payment alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from wallet_scene import Payer, Wallet, make_payer, wallet, wallet_clock, wallet_hsm, wallet_token_directory

from benchmarks.terminal import build_tap
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.api.requests import authorization_request
from switch.demo.handover_device import ByteLink, SimulatedPhone, exchange
from switch.domain.authorization import AuthorizationRequest, CardCredential
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode
from switch.entry.bluetooth import HANDOVER_SCHEME, HandoverKind, build_handover, parse_handover
from switch.entry.emv import parse_tap
from switch.entry.handover.certificate import TerminalCertificate
from switch.entry.handover.phone import Phone, PhoneKeys
from switch.entry.handover.sealed import Binding, seal_credential
from switch.entry.handover.session import point_of
from switch.entry.handover.terminal import HandoverTerminal
from switch.entry.payer_code import parse_payer_code
from switch.payments.handovers import Handovers, certify
from switch.payments.road import Road
from switch.payments.world import RoadSettings
from switch.ports import NotOpened
from switch.store.handovers import PostgresHandovers

__all__ = ["wallet", "wallet_clock", "wallet_hsm", "wallet_token_directory"]

MONEY = Money(1250, "CNY")
PAN, EXPIRY = "6225880000001231", "4912"
TAP = build_tap(PAN, EXPIRY, MONEY.amount_minor, MONEY.currency)
WALLET_CODE = "285012345678901234"


@pytest.fixture
async def desk(wallet: Wallet) -> Any:
    """A certified terminal at a shop, phones that know the switch's keys, and the switch's part."""
    await wallet.pool.execute("DELETE FROM handover_claims")
    wallet.clock.now_ms = time.time_ns() // 1_000_000
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = TerminalCertificate("shop", "t1", "Shop", point_of(key.public_key()), wallet.clock.now_ms + 1000)
    signing: Any = load_pem_public_key(wallet.hsm.store.public_key("handover/sign"))
    envelope: Any = load_pem_public_key(wallet.hsm.store.public_key("handover/envelope"))
    handovers = Handovers(PostgresHandovers(wallet.pool), wallet.hsm, wallet.clock)
    return SimpleNamespace(
        wallet=wallet, key=key, certificate=await certify(wallet.hsm, certificate), keys=PhoneKeys(signing, envelope),
        handovers=handovers,
    )  # fmt: skip


def handed_over(desk: Any, kind: HandoverKind = HandoverKind.EMV, payload: bytes = TAP) -> bytes:
    """The record that a terminal sends on, from a whole session over a link of small pieces."""
    phone = SimulatedPhone(Phone(desk.keys), kind, payload)
    terminal = HandoverTerminal(desk.key, desk.certificate, MONEY)
    return exchange(phone, terminal, ByteLink(), desk.wallet.clock.now_ms)


def asked(**presented: Any) -> AuthorizationRequest:
    """As it comes through the door."""
    fields = {"merchant_id": "shop", "terminal_id": "t1"} | {
        name: presented.pop(name) for name in ("merchant_id", "terminal_id") if name in presented
    }
    amount = presented.pop("amount", MONEY)
    message = pb.AuthorizeRequest(
        idempotency_key=uuid4().hex, transmission_time_ms=time.time_ns() // 1_000_000,
        amount=common_pb2.Money(amount_minor=amount.amount_minor, currency=amount.currency), **fields, **presented,
    )  # fmt: skip
    return authorization_request(message, "acme")


def by_bluetooth(record: bytes, **fields: Any) -> AuthorizationRequest:
    return asked(bluetooth=pb.BluetoothHandover(record=record), **fields)


async def opened(desk: Any, request: AuthorizationRequest) -> Any:
    [credential] = await desk.handovers.open([(uuid4(), request)])
    return credential


async def test_the_same_credential_by_tap_by_scan_and_by_handover(desk: Any) -> None:
    assert await opened(desk, by_bluetooth(handed_over(desk))) == parse_tap(TAP, MONEY)
    code = handed_over(desk, HandoverKind.PAYER_CODE, WALLET_CODE.encode())
    assert await opened(desk, by_bluetooth(code)) == parse_payer_code(WALLET_CODE)[1]


@pytest.fixture
async def road(town: Any, desk: Any) -> AsyncIterator[Road]:
    town.world.openers = {HANDOVER_SCHEME: desk.handovers, "payswitch": desk.wallet.codes}
    road = Road(town.world, RoadSettings(answer_budget_ms=20_000))
    yield road
    await road.close()


def told(record: Any) -> dict[str, Any]:
    """What an authorization says, but for how and when it came."""
    names = ("operation", "money", "masked_credential", "payer_key", "state", "decision", "response_code", "reason",
             "stage", "channel", "approved_minor", "captured_minor", "merchant_id", "terminal_id")  # fmt: skip
    return {name: getattr(record, name) for name in names}


async def test_the_same_authorization_by_tap_by_qr_and_by_handover(town: Any, desk: Any, road: Road) -> None:
    tapped = await road.enter(asked(nfc=pb.NfcTap(emv=TAP)), 20.0)
    clear = await road.enter(by_bluetooth(build_handover(HandoverKind.EMV, TAP)), 20.0)
    sealed = await road.enter(by_bluetooth(handed_over(desk)), 20.0)
    assert tapped.decision is Decision.APPROVED
    assert told(tapped) == told(clear) == told(sealed)
    assert (tapped.entry, sealed.entry) == (EntryMode.NFC, EntryMode.BLUETOOTH)
    assert [each.credential for each in town.first.sent] == [parse_tap(TAP, MONEY)] * 3

    scanned = await road.enter(asked(payer_code=pb.PayerCode(code=WALLET_CODE)), 20.0)
    record = handed_over(desk, HandoverKind.PAYER_CODE, WALLET_CODE.encode())
    assert told(scanned) == told(await road.enter(by_bluetooth(record), 20.0))


async def test_a_dynamic_code_by_handover_pays_with_the_card(desk: Any, road: Road) -> None:
    payer: Payer = await make_payer(desk.wallet)
    code = payer.shows.code(desk.wallet.clock.now_ms)
    record = handed_over(desk, HandoverKind.PAYER_CODE, code.encode())
    paid = await road.enter(by_bluetooth(record), 20.0)
    assert (paid.decision, paid.masked_credential) == (Decision.APPROVED, str(payer.pan))
    again = await road.enter(asked(payer_code=pb.PayerCode(code=code)), 20.0)
    assert (again.response_code, again.reason) == ("57", "the payment code was used before")


async def test_a_replay_is_declined_and_a_repeat_is_the_same_payment(desk: Any, road: Road, town: Any) -> None:
    record = handed_over(desk)
    request = by_bluetooth(record)
    first = await road.enter(request, 20.0)
    assert await road.enter(request, 20.0) == first
    replayed = await road.enter(by_bluetooth(record), 20.0)
    assert (replayed.decision, replayed.response_code, replayed.stage) == (Decision.DECLINED, "34", "open")
    assert replayed.reason == "the handover was used before"
    assert replayed.masked_credential == "sealed"
    assert len(town.first.sent) == 1


async def test_of_many_at_once_in_two_processes_one_pays(desk: Any) -> None:
    record = handed_over(desk)
    other = Handovers(PostgresHandovers(desk.wallet.pool), desk.wallet.hsm, desk.wallet.clock)
    results = await asyncio.gather(
        *(
            each.open([(uuid4(), by_bluetooth(record)), (uuid4(), by_bluetooth(record))])
            for each in [desk.handovers, other] * 3
        )
    )
    flat = [each for batch in results for each in batch]
    assert sum(isinstance(each, CardCredential) for each in flat) == 1
    assert sum(each == NotOpened("34", "the handover was used before") for each in flat) == 11


@pytest.mark.parametrize(
    "other",
    [{"amount": Money(1251, "CNY")}, {"amount": Money(1250, "HKD")}, {"merchant_id": "shop2"}, {"terminal_id": "t2"}],
)
async def test_another_terminal_merchant_or_amount_opens_nothing_and_spends_nothing(desk: Any, other: Any) -> None:
    record = handed_over(desk)
    refused = await opened(desk, by_bluetooth(record, **other))
    assert refused == NotOpened("34", "the handover is not of this payment, or was changed")
    assert isinstance(await opened(desk, by_bluetooth(record)), CardCredential)


@pytest.mark.parametrize(
    ("seconds_later", "expected"),
    [(0, ""), (119, ""), (120, ""), (121, "the handover has expired"), (-60, ""), (-61, "the phone's clock is ahead")],
)
async def test_clocks_may_differ_by_so_much(desk: Any, seconds_later: int, expected: str) -> None:
    record = handed_over(desk)
    desk.wallet.clock.now_ms += seconds_later * 1000
    result = await opened(desk, by_bluetooth(record))
    assert expected in (result.reason if isinstance(result, NotOpened) else "")
    assert isinstance(result, NotOpened) == bool(expected)


async def test_a_repeat_after_the_window_is_the_same_payment(desk: Any) -> None:
    identity, request = uuid4(), by_bluetooth(handed_over(desk))
    [first] = await desk.handovers.open([(identity, request)])
    desk.wallet.clock.now_ms += 3_600_000
    [again] = await desk.handovers.open([(identity, request)])
    assert first == again == parse_tap(TAP, MONEY)


async def test_a_change_at_any_byte_opens_nothing(desk: Any) -> None:
    """Every ninth byte of the payload, the record's CRC made right again."""
    payload = handed_over(desk)[8:-2]
    changed = [payload[:at] + bytes([payload[at] ^ 0x41]) + payload[at + 1 :] for at in range(0, len(payload), 9)]
    changed += [payload[:-1], payload + b"x"]
    requests = [(uuid4(), by_bluetooth(build_handover(HandoverKind.SEALED, each))) for each in changed]
    results = await desk.handovers.open(requests)
    assert {each.response_code for each in results if isinstance(each, NotOpened)} <= {"30", "34"}
    assert all(isinstance(each, NotOpened) for each in results)
    assert isinstance(await opened(desk, by_bluetooth(build_handover(HandoverKind.SEALED, payload))), CardCredential)


async def test_what_was_sealed_to_another_key_or_holds_nonsense(desk: Any) -> None:
    binding = Binding("shop", "t1", MONEY, b"n" * 16, desk.wallet.clock.now_ms)
    own, other = desk.keys.envelope, ec.generate_private_key(ec.SECP256R1()).public_key()
    for public_key, kind, payload, code in (
        (other, 1, TAP, "34"), (own, 1, TAP[:-1], "30"), (own, 9, TAP, "30"), (own, 3, TAP, "30"),
        (own, 2, b"\xff" * 20, "30"), (own, 2, b"9" * 18, "30"), (own, 1, b"\x9f", "30"),
    ):  # fmt: skip
        binding = replace(binding, nonce=uuid4().bytes)
        record = build_handover(HandoverKind.SEALED, seal_credential(public_key, binding, kind, payload))
        result = await opened(desk, by_bluetooth(record))
        assert isinstance(result, NotOpened)
        assert result.response_code == code
        assert PAN not in result.reason


async def test_a_pin_goes_with_a_card_and_not_with_a_code(desk: Any, road: Road, town: Any) -> None:
    pin = common_pb2.PinBlock(block=bytes(8), format=1)
    paid = await road.enter(by_bluetooth(handed_over(desk), pin=pin), 20.0)
    assert paid.decision is Decision.APPROVED
    assert town.first.sent[0].pin_block
    record = handed_over(desk, HandoverKind.PAYER_CODE, WALLET_CODE.encode())
    refused = await road.enter(by_bluetooth(record, pin=pin), 20.0)
    assert (refused.response_code, refused.reason) == ("30", "a payment code takes no PIN")


def test_a_sealed_record_at_the_door() -> None:
    credential = parse_handover(build_handover(HandoverKind.SEALED, bytes(107)))
    assert "AAAA" not in repr(credential)
