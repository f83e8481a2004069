"""A stranger's client against the simulators, started alone: all it has is the file of --client-config."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from alone import Control, until
from plain_member import PlainMember
from plain_wallets import PlainAlipay, PlainWeChat, PlainWeChatV2, fresh_number

_SILENCE_S = 0.5

Config = dict[str, Any]


# --- Alipay -----------------------------------------------------------------------------------------------------------

alipay_ways = pytest.mark.parametrize(
    "way",
    [{}, {"https": True}, {"pkcs1": True}, {"encrypts": True}, {"certificate_mode": True, "encrypts": True}],
    ids=["plain", "https", "pkcs1", "encrypted", "certificates"],
)


@alipay_ways
async def test_an_alipay_client_is_paid_refused_and_told_of_what_is_invalid(
    client_config: Config, session: aiohttp.ClientSession, way: dict[str, bool]
) -> None:
    client = PlainAlipay(client_config["alipay"], session, **way)
    for _ in range(2):
        number = fresh_number()
        paid = await client.pay("approve", number)
        assert (paid["code"], paid["out_trade_no"], paid["total_amount"]) == ("10000", number, "12.34")
        poor = await client.pay("insufficient_funds", fresh_number(), "0.01")
        assert (poor["code"], poor["sub_code"]) == ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH")
        invalid = await client.pay("invalid", fresh_number())
        assert (invalid["code"], invalid["sub_code"]) == ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID")


async def test_alipays_payer_who_types_a_password_agrees_or_refuses(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client = PlainAlipay(client_config["alipay"], session)
    for behaviour, ending in (("user_paying", "TRADE_SUCCESS"), ("user_paying_then_declined", "TRADE_CLOSED")):
        number = fresh_number()
        assert (await client.pay(behaviour, number))["code"] == "10003"

        async def status(number: str = number) -> str:
            trade = await client.call("alipay.trade.query", {"out_trade_no": number})
            return str(trade["trade_status"])

        assert await status() == "WAIT_BUYER_PAY"
        await until(ending, status)


async def test_alipays_silence_is_a_payment_that_a_query_finds(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client, number = PlainAlipay(client_config["alipay"], session), fresh_number()
    with pytest.raises(TimeoutError):
        await client.pay("silent", number, timeout_s=_SILENCE_S)

    async def found() -> str:
        return str((await client.call("alipay.trade.query", {"out_trade_no": number})).get("trade_status"))

    await until("TRADE_SUCCESS", found)


# --- WeChat Pay -------------------------------------------------------------------------------------------------------

wechat_ways = pytest.mark.parametrize(
    "way",
    [{}, {"certificate_mode": True}, {"https": True}, {"certificate_mode": True, "https": True}],
    ids=["public key", "certificate", "public key, https", "certificate, https"],
)


@wechat_ways
async def test_a_wechat_client_is_paid_refused_and_told_of_what_is_invalid(
    client_config: Config, session: aiohttp.ClientSession, way: dict[str, bool]
) -> None:
    client = PlainWeChat(client_config["wechat"], session, **way)
    for _ in range(2):
        number = fresh_number()
        status, paid = await client.pay("approve", number)
        assert (status, paid["trade_state"], paid["amount"]["total"]) == (200, "SUCCESS", 1234)
        assert (await client.query(number))["transaction_id"] == paid["transaction_id"]
        status, poor = await client.pay("insufficient_funds", fresh_number(), 1)
        assert (status, poor["code"]) == (403, "NOT_ENOUGH")
        status, invalid = await client.pay("invalid", fresh_number())
        assert (status, invalid["code"]) == (400, "AUTH_CODE_INVALID")


async def test_wechats_payer_who_types_a_password_agrees_or_refuses(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client = PlainWeChat(client_config["wechat"], session)
    for behaviour, ending in (("user_paying", "SUCCESS"), ("user_paying_then_declined", "PAYERROR")):
        number = fresh_number()
        assert (await client.pay(behaviour, number))[1]["trade_state"] == "USERPAYING"

        async def state(number: str = number) -> str:
            return str((await client.query(number))["trade_state"])

        assert await state() == "USERPAYING"
        await until(ending, state)


async def test_wechats_silence_is_a_payment_that_a_query_finds(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client, number = PlainWeChat(client_config["wechat"], session), fresh_number()
    with pytest.raises(TimeoutError):
        await client.pay("silent", number, timeout_s=_SILENCE_S)

    async def found() -> str:
        return str((await client.query(number)).get("trade_state"))

    await until("SUCCESS", found)


async def test_the_platform_certificate_is_the_one_that_can_be_fetched(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client = PlainWeChat(client_config["wechat"], session, certificate_mode=True)
    _, listed = await client.call("GET", "/v3/certificates")
    [mine] = [each for each in listed["data"] if each["serial_no"] == client.config["platform_certificate_serial_no"]]
    assert client.opened(mine["encrypt_certificate"]) == client.platform_pem


async def test_a_client_of_api_v2_is_paid_refused_and_told_of_what_is_invalid(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client = PlainWeChatV2(client_config["wechat"], session)
    for _ in range(2):
        paid = await client.pay("approve", fresh_number())
        assert (paid["return_code"], paid["result_code"], paid["total_fee"]) == ("SUCCESS", "SUCCESS", "1234")
        poor = await client.pay("insufficient_funds", fresh_number(), 1)
        assert (poor["result_code"], poor["err_code"]) == ("FAIL", "NOTENOUGH")
        invalid = await client.pay("invalid", fresh_number())
        assert (invalid["result_code"], invalid["err_code"]) == ("FAIL", "AUTH_CODE_INVALID")


async def test_api_v2_shows_a_payer_who_types_and_a_silence(
    client_config: Config, session: aiohttp.ClientSession
) -> None:
    client = PlainWeChatV2(client_config["wechat"], session)
    endings = {"user_paying": "SUCCESS", "user_paying_then_declined": "PAYERROR", "silent": "SUCCESS"}
    for behaviour, ending in endings.items():
        number = fresh_number()
        if behaviour == "silent":
            with pytest.raises(TimeoutError):
                await client.pay(behaviour, number, timeout_s=_SILENCE_S)
        else:
            assert (await client.pay(behaviour, number))["err_code"] == "USERPAYING"

        async def state(number: str = number) -> str:
            return (await client.call("/pay/orderquery", {"out_trade_no": number})).get("trade_state", "")

        await until(ending, state)


# --- UnionPay ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def member(client_config: Config) -> AsyncIterator[PlainMember]:
    member = PlainMember(client_config["unionpay"])
    await member.sign_on()
    yield member
    await member.close()


async def test_a_member_signs_on_takes_its_keys_and_is_paid_and_refused(
    client_config: Config, member: PlainMember
) -> None:
    for _ in range(2):
        for behaviour, code in (("approve", b"00"), ("insufficient_funds", b"51"), ("invalid", b"14")):
            assert (await member.ask("0200", member.sale(behaviour, 1234)))[39] == code


async def test_a_members_pin_is_verified(client_config: Config, member: PlainMember) -> None:
    pin = client_config["unionpay"]["cards"]["approve"]["pin"]
    assert (await member.ask("0200", member.sale("approve", 100, "654321")))[39] == b"55"
    assert (await member.ask("0200", member.sale("approve", 100, pin)))[39] == b"00"


async def test_the_networks_silence_is_a_payment_that_a_reversal_undoes(member: PlainMember, control: Control) -> None:
    sale = member.sale("silent", 4321)
    with pytest.raises(TimeoutError):
        await member.ask("0200", sale, timeout_s=_SILENCE_S)
    assert [each["state"] for each in await control.booked("unionpay", stan=sale[11].decode(), kind="sale")] == [
        "approved"
    ]
    assert (await member.ask("0420", member.reversal(sale)))[39] == b"00"
    assert [each["state"] for each in await control.booked("unionpay", stan=sale[11].decode(), kind="sale")] == [
        "reversed"
    ]


async def test_a_message_with_a_wrong_mac_moves_nothing(member: PlainMember, control: Control) -> None:
    sale = member.sale("approve", 777)
    member._send("0200", sale | {128: b"00000000"})
    _, reply = await member._receive()
    assert reply[39] == b"A0"
    assert await control.booked("unionpay", stan=sale[11].decode()) == []
