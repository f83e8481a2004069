"""What WeChat Pay's SDKs talk to: a simulator with a merchant of their own, over HTTP and HTTPS, and a merchant's
door for notifications."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.wechat.simulator import WeChatMerchant, WeChatSimulator
from switch.pki import Authority

APPID, MCHID, SERIAL = "wxd678efh567hg6787", "1230000109", "3775B6A45ACD588826D15E583A95F5DD11223344"
APIV3_KEY, V2_KEY = "0123456789abcdef0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


@dataclass
class Door:
    """A merchant's own server: keeps what is posted to it and answers with `status`."""

    url: str = ""
    status: int = 204
    got: "asyncio.Queue[tuple[dict[str, str], str]]" = field(default_factory=asyncio.Queue)


@asynccontextmanager
async def merchants_door() -> AsyncIterator[Door]:
    made = Door()

    async def notified(request: web.Request) -> web.Response:
        made.got.put_nowait((dict(request.headers), await request.text()))
        return web.Response(status=made.status)

    app = web.Application()
    app.add_routes([web.post("/notified", notified)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notified"
    yield made
    await runner.cleanup()


@dataclass(frozen=True)
class WeChatClient:
    """What WeChat Pay hands a merchant, and where the simulator is."""

    simulator: WeChatSimulator
    private_key_pem: str
    ca_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.simulator.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.simulator.tls_port}"


@asynccontextmanager
async def wechat_client(folder: Path) -> AsyncIterator[WeChatClient]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    authority = Authority(folder)
    pair = authority.server()
    served_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served_tls.load_cert_chain(pair.certificate, pair.private_key)
    merchant = WeChatMerchant(APPID, MCHID, SERIAL, public, APIV3_KEY.encode(), V2_KEY)
    simulator = WeChatSimulator(
        [merchant], tls=served_tls, reversal_after_s=0.0, notification_pauses_s=(0.05,) * 5, bills_at_once=True
    )
    await simulator.start()
    try:
        yield WeChatClient(simulator, private, authority.ensure())
    finally:
        await simulator.close()
