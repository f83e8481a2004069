"""An Alipay simulator for independent clients: one application with everything that a client may want of it."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.alipay.simulator import AlipayApplication, AlipaySimulator
from switch.pki import Authority

APP_ID = "2021000000000002"


def private_pem(key: rsa.RSAPrivateKey, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL) -> str:
    """PKCS #1, or as `form` says."""
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass
class Gateway:
    """The simulator, the keys its clients need, and where its notifications arrive."""

    simulator: AlipaySimulator
    key: rsa.RSAPrivateKey
    aes_key: str
    ca_file: Path
    notify_url: str = ""
    notified: list[dict[str, str]] = field(default_factory=list)

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.simulator.tls_port}/gateway.do"

    async def until_notified(self, count: int) -> None:
        for _ in range(1_000):
            if len(self.notified) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.notified)} notifications came within ten seconds, not {count}")


@pytest.fixture(scope="session")
def client_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture
async def gateway(client_key: rsa.RSAPrivateKey, tmp_path: Path) -> AsyncIterator[Gateway]:
    authority = Authority(tmp_path / "pki")
    pair = authority.server()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.private_key)
    aes_key = base64.b64encode(os.urandom(16)).decode()
    application = AlipayApplication(APP_ID, public_pem(client_key), aes_key)
    simulator = AlipaySimulator([application], tls=server, notify_pauses_s=(0.05, 0.05))
    gateway = Gateway(simulator, client_key, aes_key, authority.ensure())

    async def notified(request: web.Request) -> web.Response:
        gateway.notified.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(text="success")

    receiver = web.Application()
    receiver.router.add_post("/notify", notified)
    runner = web.AppRunner(receiver, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.notify_url = f"http://127.0.0.1:{runner.addresses[0][1]}/notify"
    await simulator.start()
    yield gateway
    await simulator.close()
    await runner.cleanup()
