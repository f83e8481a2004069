"""A day of trade of every kind, then the channel's bill: it agrees with the journal, and a planted break is found."""

import asyncio
import csv
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from shop import ALIPAY, ISSUER, UNIONPAY, WECHAT, Shop, Way, decided, money, named

from payswitch.v1 import authorization_pb2 as pb
from switch.demo.environment import Environment
from switch.settlement.bill_file import SHANGHAI

pytestmark = pytest.mark.asyncio(loop_scope="module")

Bills = Callable[..., Awaitable[tuple[int, dict[str, int]]]]


async def trade(shop: Shop, way: Way) -> None:
    """Paid, declined, refunded in parts, voided, reversed, silent and reversed, and one whose payer is typing."""
    await shop.pay(way)
    refunded = await shop.pay(way)
    for part in (300, 400):
        wanted = pb.RefundRequest(follow_on=named(refunded), amount=money(part))
        assert decided((await shop.done(shop.client.refund, wanted)).result) == ("approved", "00")
    voided, reversed_ = await shop.pay(way), await shop.pay(way)
    await asyncio.sleep(way.undoes_after_s)
    void, reverse = pb.VoidRequest(follow_on=named(voided)), pb.ReverseRequest(follow_on=named(reversed_))
    assert decided((await shop.done(shop.client.void, void)).result) == ("approved", "00")
    assert decided((await shop.done(shop.client.reverse, reverse)).result) == ("approved", "00")
    _, answer = await shop.answered(way, "decline", code="51")
    assert decided(answer) == ("declined", "51")
    silent = shop.order(way)
    await shop.scripted(way, silent, "silent")
    assert decided(await shop.ask(silent)) == ("unknown", "68")
    await shop.becomes(silent, "reversed")
    if way in (ALIPAY, WECHAT):
        _, answer = await shop.answered(way, "user_paying", delay_ms=600_000)
        assert decided(answer) == ("awaiting_payer", "09")
        return
    held = await shop.held(way)
    for part in (500, 600):
        capture = pb.CaptureRequest(follow_on=named(held), amount=money(part))
        assert decided((await shop.done(shop.client.capture, capture)).result) == ("approved", "00")


@pytest.fixture
def bill(breakable: Environment, tmp_path: Path) -> Bills:
    """Runs `payswitch bill`, today; returns its exit code and what it counted."""

    async def run(*arguments: str) -> tuple[int, dict[str, int]]:
        day = datetime.now(SHANGHAI).date().isoformat()
        environment = {**os.environ, **breakable.overrides, "PAYSWITCH_CONFIG": str(breakable.config_path)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "switch.cli", "bill", *arguments, "--day", day), cwd=tmp_path, env=environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        print(output.decode())
        rows = [[cell.strip() for cell in each.split("│")] for each in output.decode().splitlines() if "│" in each]
        assert process.returncode is not None
        return process.returncode, {row[1]: int(row[2]) for row in rows if row[2] != "0"}

    return run


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", [ALIPAY, WECHAT, UNIONPAY], ids=str)
async def test_a_days_bill(breakable: Environment, bill: Bills, tmp_path: Path, way: Way) -> None:
    await _clear_of_midnight()
    async with breakable.client() as client:
        shop = Shop(breakable, client)
        await shop.connected()
        await trade(shop, way)
        for each in shop.slow:
            await shop.settled(each)
    async with aiohttp.ClientSession() as session:  # the wallets make a bill once its day is over
        await session.put(f"{breakable.control_url}/alipay/clock", json={"ahead_s": 36 * 3600})
        await session.post(f"{breakable.control_url}/wechat/bills", json={"at_once": True})
        await session.post(f"{breakable.control_url}/unionpay/bills/{datetime.now(SHANGHAI).date()}")
    at = ("--channel", way.channel)
    code, counts = await bill("compare", *at)
    # Five payments, two refunds and three reversals, or two captures more; one was refused. The one whose payer is
    # typing is open, unless Alipay, whose clock was put ahead, has given it up.
    wallet = way in (ALIPAY, WECHAT)
    matches, others, slow = counts.pop("match"), sum(counts.values()), len(shop.slow)
    assert (code, set(counts) <= {"refused", "open"}) == (0, True)
    # A payment that the machine was too slow for and its reversal match, or one or none of them reached the channel.
    assert 0 <= matches - (10 if wallet else 12) <= 2 * slow
    assert 0 <= others - (2 if wallet else 1) <= slow
    assert (await bill("fetch", *at, "--out", "bill.csv"))[0] == 0
    _plant(tmp_path / "bill.csv")
    code, planted = await bill("compare", *at, "--bill", "bill.csv", "--out", "found.csv", "--tolerance-s", "0")
    assert (code, planted["match"]) == (1, matches - 2)
    with (tmp_path / "found.csv").open(newline="") as file:
        found = sorted(each["verdict"] for each in csv.DictReader(file) if each["verdict"] != "open")
    assert found == ["differs", "duplicate in bill", "ours only", "theirs only"]


async def test_an_issuers_bill_comes_through_the_running_switch(bill: Bills) -> None:
    """Which says what the issuer says: the day is not over."""
    assert await bill("fetch", "--channel", ISSUER.channel) == (3, {})


def _plant(path: Path) -> None:
    """The first payment is left out, the first refund is of more, the last line comes twice, and one is made up."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    missing = next(row for row in rows if row[0] == "payment")
    rows.remove(missing)
    refund = next(row for row in rows if row[0] == "refund")
    refund[4] = str(int(refund[4]) + 1)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows, rows[-1], [missing[0], "0" * 32, *missing[2:]]])


async def _clear_of_midnight() -> None:
    """A day's trade within one day: should the day end within four minutes, the test begins with the new one."""
    now = datetime.now(SHANGHAI)
    left_s = 86_400 - (now.hour * 3_600 + now.minute * 60 + now.second)
    if left_s < 240:
        await asyncio.sleep(left_s + 1)
