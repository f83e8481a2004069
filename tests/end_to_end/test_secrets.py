"""What must never be seen: card numbers, tracks, PIN blocks and payment codes of payments, looked for everywhere."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
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


class Canaries:
    """What was sent, in every form in which it could leak."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}

    def text(self, what: str, secret: str) -> None:
        """As it is, in base64 and as hex of the ASCII; digits also packed, whose hex is the digits again."""
        self._forms[secret.encode()] = what
        if secret.isdecimal():
            self._forms[bytes.fromhex(secret[: len(secret) // 2 * 2])] = f"{what}, packed"
        self._encoded(what, secret.encode())

    def binary(self, what: str, secret: bytes) -> None:
        """As bytes, as hex and as base64."""
        self._forms[secret] = what
        self._encoded(what, secret)

    def _encoded(self, what: str, secret: bytes) -> None:
        for form in (secret.hex(), secret.hex().upper()):
            self._forms[form.encode()] = f"{what}, hex"
        self._forms[base64.b64encode(secret).rstrip(b"=")[:-1]] = f"{what}, base64"

    def found_in(self, content: bytes) -> list[str]:
        return [what for form, what in self._forms.items() if form in content]


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


async def database_dump(shop: Shop) -> bytes:
    """Every row of every table, as JSON: bytea comes as hex."""
    connection = await asyncpg.connect(shop.environment.postgres.dsn())
    try:
        tables = await connection.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' "
                                        "AND relnamespace = 'public'::regnamespace")  # fmt: skip
        rows: list[str] = []
        for table in tables:
            found = await connection.fetch(f"SELECT row_to_json(t)::text AS row FROM {table['name']} t")
            rows += [each["row"] for each in found]
        return "\n".join(rows).encode()
    finally:
        await connection.close()


async def redis_dump(shop: Shop) -> bytes:
    """Every key and every value."""
    client = redis.Redis.from_url(shop.environment.redis.url())
    found: list[bytes] = []
    try:
        async for key in client.scan_iter():
            kind = (await client.type(key)).decode()
            readers = {
                "string": lambda key: client.get(key),
                "hash": lambda key: client.hgetall(key),
                "set": lambda key: client.smembers(key),
                "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                "list": lambda key: client.lrange(key, 0, -1),
            }
            found += [key, repr(await readers[kind](key)).encode()]
    finally:
        await client.aclose()
    return b"\n".join(found)


def files_of(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Without their long runs of zeros: a fresh write-ahead log is hardly anything else."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes().replace(bytes(1024), b"")


async def test_no_secret_of_a_payer_is_seen_anywhere(shop: Shop, canaries: Canaries) -> None:
    paid = await pay_in_every_way(shop, canaries)
    environment = shop.environment

    database = await database_dump(shop)
    assert all(id_of(each).encode() in database for each in paid)
    assert b"622588******0019" in database
    assert canaries.found_in(database) == []

    counters = await redis_dump(shop)
    assert counters
    assert canaries.found_in(counters) == []

    pages = [
        await environment.get_text(f"{environment.operations_url}/{page}") for page in ("metrics", "readyz?verbose")
    ]
    assert "payswitch_requests_total" in pages[0]
    assert canaries.found_in("".join(pages).encode()) == []

    logs = dict(files_of(environment.state_dir / "log"))
    assert {"switch.log", "simulators.log"} <= {path.name for path in logs}
    assert b"serving" in b"".join(logs.values())
    assert {path.name: found for path, content in logs.items() if (found := canaries.found_in(content))} == {}

    # The write-ahead log keeps what a row once was, and a server's own log may quote a statement.
    written = files_of(environment.state_dir / "postgres", environment.state_dir / "redis")
    assert {path.name: found for path, content in written if (found := canaries.found_in(content))} == {}


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
