"""The control endpoint of the simulators, alone: faults, books, accounts, and reasons for whoever asks it wrongly."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from alone import Alone, Control
from plain_member import PlainMember
from plain_wallets import PlainAlipay, PlainWeChat, fresh_number

NAMES = ("unionpay", "alipay", "wechat", "issuer")

every_simulator = pytest.mark.parametrize("name", NAMES)


async def test_it_lists_its_routes(control: Control) -> None:
    index = await control.get("/")
    assert index["names"] == list(NAMES)
    assert "silent" in index["behaviours"]
    assert [each for each in index["routes"] if not each["what"]] == []


async def test_no_body_that_cannot_be_read_is_an_internal_error(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Of simulators of its own: what needs no body is done, certificates and settlement days are moved on."""
    alone = Alone(tmp_path)
    control = Control(alone.config()["control_url"], session)
    for route in (await control.get("/"))["routes"]:
        path = route["path"].format(account="1", day="2026-02-30")
        for body in (b"no json", b"[1]", b'{"odd": 1}', b"[" * 5_000):
            status, content = await control.ask(route["method"], path, data=body)
            assert status < 500, (route, content)
            assert status < 400 or content["error"]
    assert alone.end()[0] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/alipay", 404),
        ("GET", "/nobody/book", 404),
        ("POST", "/alipay/book", 405),
        ("PUT", "/unionpay/accounts/0", 400),
        ("GET", "/wechat/accounts?limit=-1", 400),
        ("GET", "/wechat/accounts?offset=x", 400),
    ],
)
async def test_whoever_asks_wrongly_is_told_why(control: Control, method: str, path: str, status: int) -> None:
    told, content = await control.ask(method, path)
    assert told == status
    assert content["error"]


@every_simulator
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[]", b"3", b"null", b'"silent"', b"{}", b'{"behaviour": "odd"}', b'{"behaviour": []}',
        b'{"behaviour": {}}', b'{"behaviour": "silent", "colour": 1}', b'{"behaviour": "decline"}',
        b'{"behaviour": "decline", "code": 51}', b'{"behaviour": "decline", "code": "051"}',
        b'{"behaviour": "delay", "delay_ms": -1}', b'{"behaviour": "delay", "delay_ms": null}',
        b'{"behaviour": "delay", "delay_ms": 1.5}', b'{"behaviour": "silent", "times": true}',
        b'{"behaviour": "silent", "amount_minor": "1"}', b'{"behaviour": "silent", "times": 1e400}',
        b"[" * 5_000,
    ],
)  # fmt: skip
async def test_a_fault_that_cannot_be_read_is_refused_and_not_set(control: Control, name: str, body: bytes) -> None:
    status, content = await control.ask("POST", f"/{name}/scenarios", data=body)
    assert (status, list(content)) == (400, ["error"])
    assert await control.get(f"/{name}/scenarios") == []


@every_simulator
@pytest.mark.parametrize("body", [b"", b"{", b"1", b"null", b'"true"', b"[true]"])
async def test_a_listener_is_on_or_off_and_nothing_else(control: Control, name: str, body: bytes) -> None:
    assert (await control.ask("PUT", f"/{name}/listening", data=body))[0] == 400
    assert await control.get(f"/{name}/listening") is True


@every_simulator
@pytest.mark.parametrize(
    "content",
    [None, 5, [], {}, {"balance_minor": "5"}, {"balance_minor": -1}, {"balance_minor": 10**16}, {"balance": 5}],
)
async def test_a_top_up_that_cannot_be_read_changes_nothing(control: Control, name: str, content: Any) -> None:
    [before] = await control.get(f"/{name}/accounts?limit=1")
    assert (await control.ask("PUT", f"/{name}/accounts/{before['account']}", content))[0] == 400
    assert await control.get(f"/{name}/accounts?limit=1") == [before]


@every_simulator
async def test_accounts_show_no_number_in_full(control: Control, name: str) -> None:
    accounts = await control.get(f"/{name}/accounts?limit=50")
    assert accounts
    for each in accounts:
        number = each.get("pan_masked", "")
        assert number == "" or (number[6:-4].strip("*") == "" and len(number) >= 16)
        assert {"account", "balance_minor", "held_minor", "opening_minor", "put_in_minor"} <= each.keys()


async def test_a_fault_is_shown_as_often_as_it_was_set(
    client_config: dict[str, Any], session: aiohttp.ClientSession, control: Control
) -> None:
    fault = {"behaviour": "decline", "code": "61", "amount_minor": 5_151, "times": 1}
    assert (await control.ask("POST", "/alipay/scenarios", fault))[0] == 201
    client, number = PlainAlipay(client_config["alipay"], session), fresh_number()
    assert (await client.pay("approve", number, "51.51"))["sub_code"] == "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"
    assert (await client.pay("approve", fresh_number(), "51.51"))["code"] == "10000"
    [entry] = await control.booked("alipay", out_trade_no=number)
    assert entry["reason"] == "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"


async def test_a_wallet_that_is_down_refuses_connections_and_comes_back_on_its_port(
    client_config: dict[str, Any], session: aiohttp.ClientSession, control: Control
) -> None:
    for https in (False, True):
        client = PlainWeChat(client_config["wechat"], session, https=https)
        for _ in range(2):  # off twice is off
            assert (await control.ask("PUT", "/wechat/listening", False))[0] == 204
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.pay("approve", fresh_number())
        for _ in range(2):
            assert (await control.ask("PUT", "/wechat/listening", True))[0] == 204
        assert (await client.pay("approve", fresh_number()))[0] == 200


async def test_a_card_can_be_filled(client_config: dict[str, Any], control: Control) -> None:
    pan = client_config["unionpay"]["pans"]["insufficient_funds"]
    member = PlainMember(client_config["unionpay"])
    await member.sign_on()
    rows = await control.get("/unionpay/accounts")
    [account] = [each["account"] for each in rows if each["pan_masked"] == f"{pan[:6]}******{pan[-4:]}"]
    status, filled = await control.ask("PUT", f"/unionpay/accounts/{account}", {"balance_minor": 700})
    assert (status, filled["balance_minor"], filled["put_in_minor"]) == (200, 700, 700)
    assert (await member.ask("0200", member.sale("insufficient_funds", 700)))[39] == b"00"
    assert (await member.ask("0200", member.sale("insufficient_funds", 1)))[39] == b"51"
    await member.close()
