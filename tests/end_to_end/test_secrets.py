"""What must never be seen: card numbers, tracks, PIN blocks and payment codes of payments, looked for everywhere."""

import base64
import json
from pathlib import Path

import pytest
from leaks import Canaries, database_dump, files_of, pages_of, redis_dump, seen_in
from shop import EXPIRED, ISSUED, ISSUER, LONG, POOR, RICH, UNIONPAY, WECHAT, Shop, id_of, named

from payswitch.v1 import authorization_pb2 as pb
from switch.client.acquirer import identify
from switch.client.errors import InvalidPayment
from switch.demo.presenting import fresh_code
from switch.demo.secrets import zone_pin_key
from switch.entry.emv import track2_equivalent

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARDS = (RICH, POOR, EXPIRED, LONG, *ISSUED[:4])
# Right but for the check digit: refused with an error, which must not quote it.
MISTYPED = "6225880000000010"
# The wrong one, and long enough that no other digits are like it.
_LONG_PIN = "736152948031"


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


def plant_keys(shop: Shop, canaries: Canaries) -> None:
    """The clear keys that the development environment shares with its simulators: only their own folder has them."""
    for name, value in json.loads((shop.environment.state_dir / "simulators" / "keys.json").read_text()).items():
        canaries.binary(f"the key {name}", bytes.fromhex(value))


async def pay_in_every_way(shop: Shop, canaries: Canaries) -> list[pb.AuthorizeRequest]:
    """Approved, declined, unanswered and refused payments; returns those that have a record."""
    at, paid = shop.terminal, []
    plant_keys(shop, canaries)
    canaries.text("a PIN", _LONG_PIN)
    paid.append(at.tap(RICH, 4_650, _LONG_PIN))
    for card in CARDS:
        canaries.text(f"the PAN of …{card.pan[-4:]}", card.pan)
        track = track2_equivalent(card.pan, card.expiry_yymm)
        canaries.binary(f"the track of …{card.pan[-4:]}", track)
        paid += [at.tap(card, 4_200, card.pin), at.keyed(card, 4_300), at.payer_qr(card, 4_400)]
        paid += [at.bluetooth(card, 4_500, card.pin)]
    paid.append(at.tap(RICH, 4_600, "9999"))
    paid.append(at.tap(RICH, 4_700, RICH.pin))
    paid += [at.code(fresh_code(prefix), 4_800) for prefix in ("28", "13", "10", "30")]
    for request in paid:
        if request.HasField("pin"):
            canaries.binary("a PIN block", request.pin.block)
        if request.HasField("payer_code"):
            canaries.text("a payment code", request.payer_code.code)
        await shop.ask(request)
    await unanswered_ones(shop, canaries, paid)
    await refused_ones(shop, canaries)
    return paid


async def unanswered_ones(shop: Shop, canaries: Canaries, paid: list[pb.AuthorizeRequest]) -> None:
    for way, behaviour in ((UNIONPAY, "malformed"), (UNIONPAY, "forged"), (ISSUER, "silent"), (WECHAT, "malformed")):
        request = shop.order(way)
        await shop.scripted(way, request, behaviour)
        if request.HasField("payer_code"):
            canaries.text("a payment code", request.payer_code.code)
        await shop.ask(request)
        await shop.settled(request)
        paid.append(request)
    kept = await shop.pay(WECHAT)
    canaries.text("a payment code", kept.payer_code.code)
    await shop.done(shop.client.refund, pb.RefundRequest(follow_on=named(kept), amount=kept.amount))
    paid.append(kept)


async def refused_ones(shop: Shop, canaries: Canaries) -> None:
    canaries.text("a mistyped PAN", MISTYPED)
    at = shop.terminal
    mistyped = at.keyed(RICH, 4_900)
    mistyped.keyed.pan = MISTYPED
    torn = at.tap(RICH, 4_900)
    torn.nfc.emv = torn.nfc.emv[:-1]
    cut = at.bluetooth(RICH, 4_900)
    cut.bluetooth.record = cut.bluetooth.record[:-3]
    misnamed = at.keyed(RICH, 4_900)
    misnamed.merchant_id = f"{RICH.pan}X"
    for request in (mistyped, torn, cut, misnamed):
        with pytest.raises(InvalidPayment) as caught:
            await shop.until_answered(lambda request=request: shop.client.authorize(request))  # type: ignore[misc]
        assert canaries.found_in(str(caught.value).encode()) == []


async def test_no_secret_of_a_payer_is_seen_anywhere(shop: Shop, canaries: Canaries) -> None:
    paid = await pay_in_every_way(shop, canaries)
    environment = shop.environment

    database = await database_dump(environment)
    assert all(id_of(each).encode() in database for each in paid)
    assert b"622588******0019" in database
    assert await redis_dump(environment)
    assert "payswitch_requests_total" in await pages_of(environment)
    logs = dict(files_of(environment.state_dir / "log"))
    assert {"switch.log", "simulators.log"} <= {path.name for path in logs}
    assert b"serving" in b"".join(logs.values())
    assert await seen_in(environment, canaries) == {}


async def test_answers_show_a_card_by_its_ends_only(shop: Shop, canaries: Canaries) -> None:
    card = shop.terminal.tap(RICH, 4_200, RICH.pin)
    code = shop.terminal.code(fresh_code("28"), 4_300)
    canaries.text("the PAN", RICH.pan)
    canaries.text("the payment code", code.payer_code.code)
    canaries.binary("the PIN block", card.pin.block)
    for request in (card, code):
        identify(request)
        answer = await shop.ask(request)
        shown = await shop.shown(request)
        assert canaries.found_in(answer.SerializeToString() + shown.SerializeToString()) == []
        assert "*" in shown.masked_credential


async def test_the_looking_finds_what_is_there(canaries: Canaries, tmp_path: Path, shop: Shop) -> None:
    """A search that never finds anything proves nothing."""
    canaries.text("PAN", RICH.pan)
    canaries.binary("block", bytes.fromhex("0A1B2C3D4E5F6071"))
    assert canaries.found_in(b"pan=" + RICH.pan.encode()) == ["PAN"]
    assert canaries.found_in(RICH.pan.encode().hex().upper().encode()) == ["PAN, hex"]
    assert canaries.found_in(b"\\x0A1B2C3D4E5F6071") == ["block, hex"]
    (tmp_path / "log").write_bytes(b"{}" + base64.b64encode(bytes.fromhex("0A1B2C3D4E5F6071")))
    assert [canaries.found_in(content) for _, content in files_of(tmp_path)] == [["block, base64"]]
    # The keys' own folder is not searched: it is where a terminal finds its PIN key.
    assert zone_pin_key(shop.environment.state_dir)
