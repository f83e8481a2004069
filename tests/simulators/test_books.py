"""Every simulator's book accounts for every fen: what its accounts gained or lost is what the book says, and no more.

The payments, refunds and reversals are chosen by chance, from a seed; all clients use simulators of this module's own.
"""

import gzip
import hashlib
import io
import random
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from alone import Alone, Control, until
from plain_member import PlainMember
from plain_wallets import PlainAlipay, PlainWeChat, fresh_number

pytestmark = pytest.mark.usefixtures("clear_of_midnight")

_STEPS = 60
_AHEAD_S = 2 * 86_400

seeds = pytest.mark.parametrize("seed", range(2))


@pytest.fixture(scope="module")
def config() -> Iterator[dict[str, Any]]:
    # No 15 s before a payment may be reversed: nobody waits here.
    with tempfile.TemporaryDirectory(prefix="payswitch-books-") as folder:
        alone = Alone(Path(folder), environment={"PAYSWITCH_WECHAT__REVERSAL_AFTER_MS": "0"})
        try:
            yield alone.config()
        finally:
            code, _ = alone.end()
    assert code == 0


@pytest.fixture
def control(config: dict[str, Any], session: aiohttp.ClientSession) -> Control:
    return Control(config["control_url"], session)


def unionpay_effect(entry: dict[str, Any]) -> int:
    """What an entry has done to the payer's balance by now, in minor units."""
    if entry["kind"] not in ("sale", "pre_authorization") or entry["state"] not in ("approved", "refunded"):
        return 0
    return int(entry["refunded_minor"] - entry["approved_minor"])


def alipay_effect(entry: dict[str, Any]) -> int:
    given_back = entry["amount_minor"] if entry["cancelled"] else entry["refunded_minor"]
    return int(given_back - entry["amount_minor"]) if entry["payments"] else 0


def wechat_effect(entry: dict[str, Any]) -> int:
    if entry["kind"] != "payment" or entry["trade_state"] not in ("SUCCESS", "REFUND"):
        return 0
    return int(entry["refunded_minor"] - entry["amount_minor"])


EFFECTS = {
    "unionpay": (unionpay_effect, "pan_masked"),
    "alipay": (alipay_effect, "payer"),
    "wechat": (wechat_effect, "payer"),
}


async def disagreements(control: Control, name: str) -> dict[str, tuple[int, int]]:
    """Accounts whose balance is not what they began with, and the book and the top-ups say since."""
    effect, account_of = EFFECTS[name]
    moved: defaultdict[str, int] = defaultdict(int)
    for entry in await control.get(f"/{name}/book"):
        moved[entry.get(account_of, "")] += effect(entry)
    wrong = {}
    for each in await control.get(f"/{name}/accounts?limit=40"):
        account = each.get("pan_masked", each["account"])
        expected = each["opening_minor"] + each["put_in_minor"] + moved.pop(account, 0)
        if expected != each["balance_minor"]:
            wrong[account] = (expected, each["balance_minor"])
    return wrong | {account: (0, change) for account, change in moved.items() if change}


async def walk(
    chance: random.Random, start: Callable[[], Awaitable[None]], steps: list[Callable[[], Awaitable[None]]]
) -> None:
    for _ in range(_STEPS):
        await (start() if chance.random() < 0.4 else chance.choice(steps)())


# --- the walks --------------------------------------------------------------------------------------------------------


@seeds
async def test_unionpays_accounts(config: dict[str, Any], control: Control, seed: int) -> None:
    chance, sales = random.Random(seed), []  # type: tuple[random.Random, list[Fields]]
    member = PlainMember(config["unionpay"])
    await member.sign_on()

    async def pay() -> None:
        sale = member.sale(chance.choice(["approve", "approve", "insufficient_funds"]), chance.randint(1, 5_000))
        await member.ask("0200", sale)
        sales.append(sale)

    async def refund() -> None:
        if sales:
            await member.ask("0220", member.refund(chance.choice(sales), chance.randint(1, 5_000)))

    async def reverse() -> None:
        if sales:
            await member.ask("0420", member.reversal(chance.choice(sales)))

    await walk(chance, pay, [refund, reverse])
    await member.close()
    states = {each["state"] for each in await control.get("/unionpay/book")}
    assert states >= {"approved", "declined", "reversed"}
    assert await disagreements(control, "unionpay") == {}


@seeds
async def test_alipays_accounts(
    config: dict[str, Any], control: Control, session: aiohttp.ClientSession, seed: int
) -> None:
    chance, numbers = random.Random(seed), [fresh_number()]
    client = PlainAlipay(config["alipay"], session)

    async def pay() -> None:
        numbers.append(fresh_number())
        await client.pay(chance.choice(["approve", "approve", "insufficient_funds"]), numbers[-1], _yuan(chance))

    async def refund() -> None:
        content = {"out_trade_no": chance.choice(numbers), "refund_amount": _yuan(chance)}
        await client.call("alipay.trade.refund", content | {"out_request_no": chance.choice("abc")})

    async def cancel() -> None:
        await client.call("alipay.trade.cancel", {"out_trade_no": chance.choice(numbers)})

    await walk(chance, pay, [refund, cancel])
    book = await control.get("/alipay/book")
    assert any(each["cancelled"] and each["payments"] for each in book)
    assert any(each["refunded_minor"] for each in book)
    assert await disagreements(control, "alipay") == {}


@seeds
async def test_wechats_accounts(
    config: dict[str, Any], control: Control, session: aiohttp.ClientSession, seed: int
) -> None:
    chance, orders = random.Random(seed), [(fresh_number(), 1)]
    client = PlainWeChat(config["wechat"], session)
    merchant = {"appid": client.config["appid"], "mchid": client.config["mchid"]}

    async def pay() -> None:
        orders.append((fresh_number(), chance.randint(1, 5_000)))
        await client.pay(chance.choice(["approve", "approve", "insufficient_funds"]), *orders[-1])

    async def refund() -> None:
        number, total = chance.choice(orders)
        amount = {"refund": chance.randint(1, 5_000), "total": total, "currency": "CNY"}
        content = {"out_trade_no": number, "out_refund_no": fresh_number("r"), "amount": amount}
        await client.call("POST", "/v3/refund/domestic/refunds", content)

    async def reverse() -> None:
        path = f"/v3/pay/transactions/out-trade-no/{chance.choice(orders)[0]}/reverse"
        await client.call("POST", path, merchant)

    await walk(chance, pay, [refund, reverse])
    await until([], lambda: control.booked("wechat", status="PROCESSING"))  # a refund arrives a little later
    states = {each["trade_state"] for each in await control.booked("wechat", kind="payment")}
    assert states >= {"SUCCESS", "REFUND", "REVOKED", "PAYERROR"}
    assert await disagreements(control, "wechat") == {}


def _yuan(chance: random.Random) -> str:
    return f"{chance.randint(1, 5_000) / 100:.2f}"


# --- bills ------------------------------------------------------------------------------------------------------------


async def test_alipays_bill_of_a_day_that_is_over_lists_what_was_paid(
    config: dict[str, Any], control: Control, session: aiohttp.ClientSession
) -> None:
    client, number, day = PlainAlipay(config["alipay"], session), fresh_number(), _today()
    await client.pay("approve", number, "7.77")
    asked = {"bill_type": "trade", "bill_date": day}
    too_soon = await client.call("alipay.data.dataservice.bill.downloadurl.query", asked)
    assert too_soon["code"] == "40004"
    await control.ask("PUT", "/alipay/clock", {"ahead_s": _AHEAD_S})
    offered = await client.call("alipay.data.dataservice.bill.downloadurl.query", asked)
    async with session.get(offered["bill_download_url"]) as response:
        archive = zipfile.ZipFile(io.BytesIO(await response.read()))
    text = "".join(archive.read(name).decode("gbk") for name in archive.namelist())
    lines = [line for line in text.splitlines() if number in line]
    assert len(lines) == 1
    assert "7.77" in lines[0]
    await control.ask("PUT", "/alipay/clock", {"ahead_s": 0})


async def test_wechats_bill_that_is_served_at_once_lists_what_was_paid(
    config: dict[str, Any], control: Control, session: aiohttp.ClientSession
) -> None:
    client, number, day = PlainWeChat(config["wechat"], session), fresh_number(), _today()
    await client.pay("approve", number, 777)
    path = f"/v3/bill/tradebill?bill_date={day}&bill_type=ALL&tar_type=GZIP"
    assert (await client.call("GET", path))[0] == 400
    await control.ask("POST", "/wechat/bills", {"at_once": True})
    status, offered = await client.call("GET", path)
    assert status == 200
    content = gzip.decompress(await client.download(offered["download_url"]))
    assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == offered["hash_value"]
    lines = [line for line in content.decode().splitlines() if number in line]
    assert len(lines) == 1
    assert "`7.77" in lines[0]


async def test_unionpays_files_lie_in_the_members_folder(config: dict[str, Any], control: Control) -> None:
    member, day = PlainMember(config["unionpay"]), _today()
    await member.sign_on()
    sale = member.sale("approve", 777)
    assert (await member.ask("0200", sale))[39] == b"00"
    await member.close()
    status, written = await control.ask("POST", f"/unionpay/bills/{day}")
    assert status == 201
    [file] = [each for each in written["files"] if each.startswith(config["unionpay"]["bills_dir"])]
    lines = lines_of(file)
    assert len([line for line in lines if sale[37].decode() in line]) == 1


def lines_of(file: str) -> list[str]:
    return Path(file).read_text().splitlines()


def _today() -> str:
    return f"{datetime.now(ZoneInfo('Asia/Shanghai')):%Y-%m-%d}"
