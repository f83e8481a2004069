"""Where the simulators listen, and how a client on the same machine reaches them."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from switch.config import Settings
from switch.settings_sections import AlipaySettings, WeChatSettings

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked for, not bound here
_STANDARD = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Ports:
    """0 takes a free one."""

    unionpay: int
    alipay: int
    alipay_https: int
    wechat: int
    wechat_https: int
    control: int


def ports_of(settings: Settings, **given: int | None) -> Ports:
    """Those that the settings' channels dial, unless others are given."""
    from_settings = {
        "unionpay": settings.unionpay.port,
        "alipay": _port_of(settings.alipay.gateway_url or AlipaySettings().gateway_url),
        "wechat": _port_of(settings.wechat.base_url or WeChatSettings().base_url),
    }
    return Ports(**(from_settings | {name: port for name, port in given.items() if port is not None}))


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _STANDARD.get(parts.scheme, 80)


def reachable(host: str) -> str:
    """The address to dial for a host to listen on.

    >>> reachable("0.0.0.0"), reachable("::"), reachable("10.1.2.3")
    ('127.0.0.1', '::1', '10.1.2.3')
    """
    return _EVERYWHERE.get(host, host)


def url(scheme: str, host: str, port: int, path: str = "") -> str:
    """A scheme's own port is left out: some clients cannot read one (Alipay's own for Python).

    >>> url("http", "0.0.0.0", 7584, "/gateway.do"), url("https", "::", 443), url("http", "10.1.2.3", 443)
    ('http://127.0.0.1:7584/gateway.do', 'https://[::1]', 'http://10.1.2.3:443')
    """
    dialled = reachable(host)
    named = f"[{dialled}]" if ":" in dialled else dialled
    return f"{scheme}://{named}{path}" if port == _STANDARD.get(scheme) else f"{scheme}://{named}:{port}{path}"
