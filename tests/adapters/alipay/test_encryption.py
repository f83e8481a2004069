"""Content encryption: both directions, the simulator's library and the HSM's stand-in being two."""

import asyncio
import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from adapters.alipay.channel import AlipayChannel, AlipaySettings
from adapters.alipay.simulator import AlipayApplication, AlipaySimulator
from hsm.direct import DirectHsm
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, open_token
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Phase, Unknown


@pytest.fixture
async def encrypting(simulator: Any, channels: Any) -> AlipayChannel:
    return await channels(simulator.gateway_url, simulator.public_key_pem, content_key="alipay/content", timeout_s=1.0)


async def test_payments_refunds_and_refusals(encrypting: AlipayChannel, till: Any) -> None:
    sale = till.sale(1_000)
    assert isinstance(await till.ask(encrypting, sale), Approved)
    assert isinstance(await till.ask(encrypting, till.follow_on(sale, Operation.REFUND, 400)), Approved)
    assert isinstance(await till.ask(encrypting, till.follow_on(sale, Operation.INQUIRY)), Approved)
    poor = await till.ask(encrypting, till.sale(prefix="2951", amount_minor=101))
    assert poor == Declined("51", "ACQ.BUYER_BALANCE_NOT_ENOUGH")


async def test_nothing_of_a_payment_leaves_in_the_clear(channels: Any, served: Any, simulator: Any, till: Any) -> None:
    seen: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.read() + request.query_string.encode())
        return web.Response(status=500)

    channel = await channels(await served(handler), simulator.public_key_pem, content_key="alipay/content")
    sale = till.sale(1_234)
    await till.ask(channel, sale)
    assert seen
    for text in seen:
        form = parse_qs(text.partition(b"&")[0].decode())
        assert set(form) == {"biz_content"} or b"encrypt_type=AES" in text
        for secret in (sale.credential.code.reveal(), sale.trace["out_trade_no"], "12.34", "auth_code"):
            assert secret.encode() not in text


async def test_a_key_that_does_not_fit(encrypting: AlipayChannel, simulator: Any, till: Any, hsm: Any) -> None:
    hsm.content_key = bytes(16)
    result = await till.ask(encrypting, till.sale())
    assert result == Declined("30", "isv.decryption-error-unknown")
    assert simulator.book() == []


async def test_without_encryption_nothing_is_sent(
    encrypting: AlipayChannel, simulator: Any, till: Any, hsm: Any
) -> None:
    hsm.unable = "encipher"
    assert await till.ask(encrypting, till.sale()) == Unknown(Phase.NOT_SENT, "not_signed")
    assert simulator.book() == []


async def test_an_answer_that_cannot_be_deciphered_leaves_the_outcome_open(
    encrypting: AlipayChannel, simulator: Any, till: Any, hsm: Any
) -> None:
    for _ in range(3_000):
        if encrypting.health().ready:
            break
        await asyncio.sleep(0.01)
    hsm.unable = "decipher"
    sale = till.sale()
    assert await till.ask(encrypting, sale) == Unknown(Phase.SENT, "malformed_answer")
    hsm.unable = ""
    assert isinstance(await till.ask(encrypting, till.follow_on(sale, Operation.INQUIRY)), Approved)


async def test_an_encrypted_answer_that_was_not_asked_for(channel: AlipayChannel, simulator: Any, till: Any) -> None:
    body = simulator._body
    simulator._body = lambda key, value, certified=False, aes_key=b"", signed=None: body(
        key, value, certified, bytes(range(16)), signed
    )
    assert await till.ask(channel, till.sale()) == Unknown(Phase.SENT, "malformed_answer")


async def test_with_keys_in_a_token(till: Any, clock: Any, tmp_path: Path) -> None:
    """Signature and both directions of encryption by the HSM itself."""
    directory = create_token(tmp_path / "token")
    value, mask = bytes(range(16)), bytes(range(100, 116))
    with open_token(directory) as token:
        store = KeyStore(token)
        store.ensure("alipay/app", KeyUsage.SIGNING)
        components = [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))]
        store.import_components("alipay/content", KeyUsage.DATA_KEY, components, "AES")
        public_pem = store.public_key("alipay/app").decode()
    simulator = AlipaySimulator([AlipayApplication("2021000000000001", public_pem, base64.b64encode(value).decode())])
    await simulator.start()
    hsm = DirectHsm.open(directory)
    settings = AlipaySettings(
        simulator.gateway_url, "2021000000000001", simulator.public_key_pem, content_key="alipay/content"
    )
    channel = AlipayChannel(settings, hsm, clock)
    await channel.start()
    sale = till.sale(1_000)
    assert isinstance(await till.ask(channel, sale), Approved)
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.REFUND, 400)), Approved)
    await channel.close()
    hsm.close()
    await simulator.close()
