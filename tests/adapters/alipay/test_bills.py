"""Bills: fetched from the simulator, read, and not believed where a line is missing, changed or too many."""

import contextlib
import datetime as dt
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from adapters.alipay.bill_format import read_bill
from adapters.alipay.channel import AlipayChannel
from adapters.alipay.simulator import AlipayApplication, AlipaySimulator, Payer
from adapters.alipay.simulator.bills import Period, bill_file
from adapters.alipay.simulator.book import Movement, Origin
from adapters.alipay.simulator.refusal import Refused
from adapters.alipay.simulator.trade import PAID, Trade
from switch.domain.bill import Bill, BillKind
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import BillNotReady, BillRefused

pytestmark = pytest.mark.usefixtures("clear_of_midnight")

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2025, 1, 31)
NOON_S = dt.datetime(2025, 1, 31, 12, tzinfo=SHANGHAI).timestamp()
SELLER = "2088000000000001"


def today() -> dt.date:
    return dt.datetime.now(SHANGHAI).date()


async def ahead(simulator: Any, seconds: float) -> None:
    url = f"http://127.0.0.1:{simulator.port}/alipay/clock"
    async with aiohttp.ClientSession() as session, session.put(url, json={"ahead_s": seconds}) as response:
        assert response.status == 200


async def test_the_bill_agrees_with_the_book(channel: AlipayChannel, simulator: Any, till: Any) -> None:
    day = today()
    sales = [till.sale(amount) for amount in (1_000, 250, 99)]
    for sale in sales:
        await till.ask(channel, sale)
    refund = till.follow_on(sales[0], Operation.REFUND, 400, trace={"out_request_no": "r1"})
    await till.ask(channel, refund)
    await till.ask(channel, till.follow_on(sales[1], Operation.REVERSAL))
    await till.ask(channel, till.sale(101, prefix="2951"))
    with pytest.raises(BillNotReady):
        await channel.bill(day)
    await ahead(simulator, 2 * 86_400)
    bill = await channel.bill(day)
    references = [sale.trace["out_trade_no"] for sale in sales]
    assert (bill.channel, bill.day) == ("alipay", day)
    assert [
        (each.kind, each.reference, each.money, each.original_reference, each.fee_minor) for each in bill.lines
    ] == [
        (BillKind.PAYMENT, references[0], Money(1_000, "CNY"), "", 6),
        (BillKind.PAYMENT, references[1], Money(250, "CNY"), "", 2),
        (BillKind.PAYMENT, references[2], Money(99, "CNY"), "", 1),
        (BillKind.REFUND, "r1", Money(400, "CNY"), references[0], -2),
        (BillKind.REVERSAL, references[1], Money(250, "CNY"), references[1], -2),
    ]
    booked = {each["out_trade_no"]: each for each in simulator.book()}
    assert [line.channel_reference for line in bill.lines[:3]] == [booked[each]["trade_no"] for each in references]
    with pytest.raises(BillNotReady):
        await channel.bill(day - dt.timedelta(days=1))


async def test_the_url_of_a_bill_opens_it_for_half_a_minute(
    channel: AlipayChannel, simulator: Any, till: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = today()
    await till.ask(channel, till.sale())
    await ahead(simulator, 2 * 86_400)
    transport = channel._gateway.transport
    download: Callable[..., Any] = transport.download

    async def late(url: str, *bounds: Any) -> bytes:
        await ahead(simulator, 2 * 86_400 + 30)
        return bytes(await download(url, *bounds))

    monkeypatch.setattr(transport, "download", late)
    with pytest.raises(ConnectionError, match="http_403"):
        await channel.bill(day)


async def test_a_bill_of_another_account_or_day_is_foreign(
    channel: AlipayChannel, channels: Any, simulator: Any, till: Any
) -> None:
    day = today()
    await till.ask(channel, till.sale())
    await ahead(simulator, 2 * 86_400)
    url, key = simulator.gateway_url, simulator.public_key_pem
    mine = await channels(url, key, seller_id="2088000000000001")
    assert len((await mine.bill(day)).lines) == 1
    before = REGISTRY.get_sample_value("payswitch_alipay_bills_refused_total", {"cause": "foreign"}) or 0.0
    stranger = await channels(url, key, seller_id="2088000000000009")
    with pytest.raises(BillRefused, match="foreign"):
        await stranger.bill(day)
    assert REGISTRY.get_sample_value("payswitch_alipay_bills_refused_total", {"cause": "foreign"}) == before + 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"code": "40004", "sub_code": "isp.bill_not_exist"}, BillNotReady),
        ({"code": "20000", "sub_code": "isp.unknow-error"}, ConnectionError),
        ({"code": "40002", "sub_code": "isv.invalid-signature"}, ConnectionError),
        ({"code": "10000"}, BillRefused),
        ({"code": "10000", "bill_download_url": "file:///etc/passwd"}, BillRefused),
        ({"code": "10000", "bill_download_url": ["http://x"]}, BillRefused),
        ({"code": "10000", "bill_download_url": "http://127.0.0.1:1/x"}, ConnectionError),
        ({"code": "10000", "bill_download_url": "http://["}, ConnectionError),
    ],
)
async def test_answers_without_a_bill(
    channels: Any, simulator: Any, served: Any, fields: dict[str, Any], error: type[Exception]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        key = request.query["method"].replace(".", "_") + "_response"
        return web.Response(body=simulator._body(key, fields))

    channel = await channels(await served(handler), simulator.public_key_pem)
    with pytest.raises(error):
        await channel.bill(DAY)


# --- when and what the simulator makes ------------------------------------------------------------------------------


def test_bills_are_made_in_the_morning_after_and_agree_with_the_book(
    app_key: rsa.RSAPrivateKey, pem: Callable[[rsa.RSAPrivateKey], str]
) -> None:
    clock = [dt.datetime(2025, 1, 31, 23, 59, 59, tzinfo=SHANGHAI)]
    accounts = {"": Payer("rich", 10**9)}
    application = AlipayApplication("2021000000000001", pem(app_key))
    simulator = AlipaySimulator([application], accounts=accounts, now_s=lambda: clock[0].timestamp())
    client = simulator.clients["2021000000000001"]

    def pay(number: int) -> None:
        fields = {"out_trade_no": f"o{number}", "auth_code": f"28{number:016d}", "subject": "tea"}
        client.book.pay(fields | {"total_amount": f"{number}.00"}, Origin())

    pay(1)
    clock[0] += dt.timedelta(seconds=2)
    pay(2)
    client.book.refund({"out_trade_no": "o1", "refund_amount": "0.50", "out_request_no": "r1"}, Origin())
    for bill_type in ("trade", "signcustomer"):
        for ready, period, rows in (
            (dt.datetime(2025, 2, 1, 9, tzinfo=SHANGHAI), "2025-01-31", 1),
            (dt.datetime(2025, 2, 2, 9, tzinfo=SHANGHAI), "2025-02-01", 2),
            (dt.datetime(2025, 2, 3, tzinfo=SHANGHAI), "2025-01", 1),
            (dt.datetime(2025, 3, 3, tzinfo=SHANGHAI), "2025-02", 2),
        ):
            clock[0] = ready - dt.timedelta(seconds=1)
            with pytest.raises(Refused, match="bill_not_exist"):
                client.bill(bill_type, period)
            clock[0] = ready
            texts = unzipped(client.bill(bill_type, period))
            details = next(text for name, text in texts.items() if "汇总" not in name)
            assert len([line for line in details.splitlines() if line[:1].isdigit()]) == rows
    with pytest.raises(Refused, match="bill_not_exist"):
        client.bill("trade", "2025-01-30")
    account = unzipped(client.bill("signcustomer", "2025-02-01"))
    assert any("#收入合计：1笔，共2.00元" in text and "#支出合计：1笔，共-0.50元" in text for text in account.values())
    sums = next(text for name, text in account.items() if "汇总" in name)
    assert "合计\t,1\t,2.00\t,1\t,-0.50\t,1.50\t" in sums


# --- the file -------------------------------------------------------------------------------------------------------


def movements() -> list[Movement]:
    payer = Payer("rich", 10**9)
    trades = [
        Trade(f"o{number}", f"2025013122{number:018d}", 100 * number, NOON_S, PAID, subject="早点, 茶", payer=payer)
        for number in range(1, 5)
    ]
    paid = [Movement(trade, trade.amount_minor, NOON_S + number) for number, trade in enumerate(trades)]
    return [*paid, Movement(trades[3], 150, NOON_S + 60, "r1"), Movement(trades[0], 100, NOON_S + 61, "o1")]


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode("gbk"))
    return buffer.getvalue()


def unzipped(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content), metadata_encoding="gbk") as archive:
        return {name: archive.read(name).decode("gbk") for name in archive.namelist()}


MADE = bill_file("trade", Period("2025-01-31"), SELLER, movements(), NOON_S + 86_400)
FILES = unzipped(MADE)
DETAILS, SUMS = FILES


def cause_of(content: bytes, day: dt.date = DAY) -> str:
    with pytest.raises(BillRefused) as refused:
        read_bill(content, day, SELLER)
    return refused.value.cause


def changed(name: str, change: Callable[[str], str]) -> bytes:
    """`zipped` writes names as UTF-8 with the flag that says so: that is read, too."""
    text = change(FILES[name])
    assert text != FILES[name]
    return zipped(FILES | {name: text})


def test_what_was_made_is_read() -> None:
    assert (f"{SELLER}_20250131_业务明细.csv", f"{SELLER}_20250131_业务明细(汇总).csv") == (DETAILS, SUMS)
    bill = read_bill(MADE, DAY, SELLER)
    assert [line.money.amount_minor for line in bill.lines] == [100, 200, 300, 400, 150, 100]
    assert [line.kind.value for line in bill.lines] == ["payment"] * 4 + ["refund", "reversal"]
    assert bill.lines[0].time_ms == int(NOON_S) * 1_000
    assert isinstance(read_bill(zipped(FILES), DAY), Bill)


def line_of(text: str, number: int) -> str:
    return [line for line in text.splitlines(keepends=True) if line[:1].isdigit()][number]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda text: text.replace(line_of(text, 1), ""), "totals"),
        (lambda text: text.replace(line_of(text, 4), ""), "totals"),
        (lambda text: text.replace(line_of(text, 1), line_of(text, 1) * 2), "totals"),
        (
            lambda text: text.replace(line_of(text, 1), line_of(text, 1) + line_of(text, 1).replace("o2", "o9")),
            "totals",
        ),
        (lambda text: text.replace("2.00\t", "2.01\t"), "totals"),
        (lambda text: text.replace("-0.01\t", "-0.00\t"), "totals"),
        (lambda text: text.replace("#交易合计：4笔", "#交易合计：5笔"), "totals"),
        (lambda text: text.replace("共10.00元", "共10.01元"), "totals"),
        (lambda text: text.replace("2.00\t", "2\t"), "malformed"),
        (lambda text: text.replace("\t交易", "\t转账").replace(",交易", ",转账", 1), "malformed"),
        (lambda text: text.replace(",退款\t", ",交易\t"), "malformed"),
        (lambda text: text.replace("商户订单号", "订单号"), "malformed"),
        (lambda text: text.replace("o2\t", "\t"), "malformed"),
        (lambda text: text.replace("2025-01-31 12:00:01", "2025-01-31 25:00:01"), "malformed"),
        (lambda text: text.replace("#账号", "#户"), "malformed"),
        (lambda text: text.replace(SELLER, "2088000000000009"), "foreign"),
        (lambda text: text.replace("#起始日期：[2025年01月31日", "#起始日期：[2025年01月30日"), "foreign"),
        (lambda text: text.replace("#退款合计", "#退"), "malformed"),
        (lambda text: "", "malformed"),
    ],
)
def test_details_that_were_changed(change: Callable[[str], str], cause: str) -> None:
    assert cause_of(changed(DETAILS, change)) == cause


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda text: text.replace("合计\t,\t,4", "合计\t,\t,3"), "totals"),
        (lambda text: text.replace("7.50", "7.51"), "totals"),
        (lambda text: text.replace("合计\t,\t,4", "合计\t,\t,-4"), "malformed"),
        (lambda text: text.replace("合计\t", "小计\t"), "malformed"),
        (lambda text: text.replace("服务费（元）", "费"), "malformed"),
        (lambda text: text.replace(SELLER, "2088000000000009"), "foreign"),
    ],
)
def test_sums_that_were_changed(change: Callable[[str], str], cause: str) -> None:
    assert cause_of(changed(SUMS, change)) == cause


def test_what_is_no_bill() -> None:
    assert cause_of(b"") == cause_of(b"PK\x03\x04") == cause_of(MADE[:-30]) == "malformed"
    assert cause_of(zipped({DETAILS: FILES[DETAILS]})) == "malformed"
    assert cause_of(zipped(FILES | {"more.csv": FILES[DETAILS]})) == "malformed"
    assert cause_of(MADE, DAY + dt.timedelta(days=1)) == "foreign"
    account = bill_file("signcustomer", Period("2025-01-31"), SELLER, movements(), NOON_S)
    assert cause_of(account) == "malformed"


def test_a_bomb_does_not_go_off() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DETAILS, bytes(3_000_000))
        archive.writestr(SUMS, FILES[SUMS].encode("gbk"))
    bomb = buffer.getvalue()
    # The directory says that it is small: the file is read no further than that.
    size = (3_000_000).to_bytes(4, "little")
    assert bomb.count(size) == 2
    assert cause_of(bomb.replace(size, (1_000).to_bytes(4, "little"))) == "malformed"
    huge = (600 * 1024 * 1024).to_bytes(4, "little")
    assert cause_of(bomb.replace(size, huge)) == "malformed"


@pytest.mark.parametrize(
    "add",
    [
        lambda text: text + "#" + "x" * 20_000,
        lambda text: text + "#\r\n" * 2_000,
        lambda text: text.replace("o2\t", "o\x0b2\t"),
        lambda text: text.replace("o2\t", "o\x002\t"),
    ],
    ids=["long-line", "many-comments", "vertical-tab", "nul"],
)
def test_text_that_no_bill_has(add: Callable[[str], str]) -> None:
    assert cause_of(changed(DETAILS, add)) == "malformed"


def test_a_bomb_in_a_line_is_given_up_soon() -> None:
    """A hundred megabytes that the directory owns up to, and no line's end in them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DETAILS, b"#" * 100_000_000)
        archive.writestr(SUMS, FILES[SUMS].encode("gbk"))
    bomb = buffer.getvalue()
    tracemalloc.start()
    try:
        assert cause_of(bomb) == "malformed"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@given(st.integers(0, len(MADE) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(place: int, flip: int) -> None:
    content = bytearray(MADE)
    content[place] ^= flip
    with contextlib.suppress(BillRefused):
        assert read_bill(bytes(content), DAY, SELLER) == read_bill(MADE, DAY, SELLER)


@given(st.text(alphabet="#,\t\r\n0123456789.-交易退款合计：笔元o", max_size=200), st.booleans())
def test_no_text_makes_anything_but_a_refusal(text: str, in_details: bool) -> None:
    name = DETAILS if in_details else SUMS
    heading = FILES[name].partition("#---")[0]
    for candidate in (text, heading + text):
        with pytest.raises(BillRefused):
            read_bill(zipped(FILES | {name: candidate}), DAY, SELLER)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.booleans()), max_size=20))
def test_every_book_makes_a_bill_that_is_read(moved: list[tuple[int, bool]]) -> None:
    payer = Payer("rich", 0)
    made = []
    for number, (amount_minor, refunded) in enumerate(moved):
        trade = Trade(f"o{number}", f"{number:028d}", amount_minor, NOON_S, PAID, subject="茶😀,", payer=payer)
        made.append(Movement(trade, amount_minor, NOON_S))
        if refunded:
            made.append(Movement(trade, amount_minor, NOON_S + 1, f"r{number}"))
    bill = read_bill(bill_file("trade", Period("2025-01-31"), SELLER, made, NOON_S), DAY, SELLER)
    assert [(each.money.amount_minor, each.fee_minor < 0) for each in bill.lines] == [
        (each.amount_minor, bool(each.request_no) and each.fee_minor > 0) for each in made
    ]
