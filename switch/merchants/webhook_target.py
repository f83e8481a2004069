"""Where a webhook may be sent: an https URL that can be read in one way only, at addresses of the public internet.

The name is resolved when a message is sent, every address it has is checked, and the connection goes to those very
addresses: what the name says a moment later, or to somebody else, changes nothing (DNS rebinding).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from switch.domain.refusals import Invalid

# No user name, fragment, backslash, space or control: nothing that two parsers read differently (RFC 3986).
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)?",
    re.ASCII,
).fullmatch
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII).fullmatch
_LONGEST_URL: Final = 2_048
# They carry an IPv4 address in them: NAT64 (RFC 6052, RFC 8215). 6to4 and Teredo the module knows.
_TRANSLATED: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class AddressRefused(Exception):
    """Not of the public internet. Not retried sooner than any other failure: it may be a passing mistake of DNS."""


@dataclass(frozen=True, slots=True)
class TargetRules:
    """ports: that may be named. allow_loopback: http and this machine's addresses, for tests and development."""

    ports: frozenset[int] = frozenset({443, 8443})
    allow_loopback: bool = False


def checked_url(url: str, rules: TargetRules) -> str:
    """The URL itself; raises Invalid. An address in it is checked now, a name when something is sent."""
    found = _URL(url) if len(url) <= _LONGEST_URL else None
    if found is None:
        raise Invalid("url", f"must be https://host[:port]/path?query of at most {_LONGEST_URL} ASCII characters")
    scheme, host = found["scheme"], found["host"].removeprefix("[").removesuffix("]")
    if scheme != "https" and not rules.allow_loopback:
        raise Invalid("url", "must be https")
    port = int(found["port"]) if found["port"] else 443
    if port not in rules.ports and not (rules.allow_loopback and 0 < port < 65_536):
        raise Invalid("url", f"port must be one of {', '.join(map(str, sorted(rules.ports)))}")
    try:
        check_host(host, rules)
    except AddressRefused as error:
        raise Invalid("url", str(error)) from None
    return url


def check_host(host: str, rules: TargetRules) -> None:
    """A host that is an address itself never comes to a resolver. Raises AddressRefused.

    A last label that is a number means an address to some, however it is written: 127.1, 0x7f.1, 2130706433.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER(host.rpartition(".")[2]):
            raise AddressRefused("not an address") from None
        return
    check_address(host, rules)


def check_address(text: str, rules: TargetRules) -> None:
    """Raises AddressRefused unless the address is of the public internet and carries no other in it.

    >>> check_address("203.0.112.9", TargetRules())
    >>> check_address("::ffff:10.0.0.1", TargetRules())
    Traceback (most recent call last):
    ...
    switch.merchants.webhook_target.AddressRefused: not an address of the public internet
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise AddressRefused("not an address") from None
    if rules.allow_loopback and address.is_loopback:
        return
    public = address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
    if isinstance(address, ipaddress.IPv6Address):
        embeds = address.ipv4_mapped or address.sixtofour or address.teredo
        translated = any(address in network for network in _TRANSLATED)
        # ::/96 was "IPv4-compatible" once, and some systems still take it so.
        public = public and not (embeds or translated or address.is_site_local or int(address) >> 32 == 0)
    if not public or "%" in text:
        raise AddressRefused("not an address of the public internet")


_LOOKUPS: Final = ThreadPoolExecutor(32, thread_name_prefix="webhook name")

# (host, port) -> addresses. May raise OSError.
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """The system's resolver, off the event loop.

    In threads of its own: a name whose servers hang keeps one for as long as the system waits, and in the loop's usual
    few the database's connections would wait behind it.
    """
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_LOOKUPS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    return [str(address[0]) for *_, address in found]


class CheckedResolver(AbstractResolver):
    """aiohttp connects to what this gives, without asking again. Refuses a name if any of its addresses is refused."""

    def __init__(self, rules: TargetRules, lookup: Lookup = system_lookup) -> None:
        self._rules = rules
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if not addresses:
            raise OSError("the name has no address")
        for address in addresses:
            check_address(address, self._rules)
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, port: int, address: str) -> ResolveResult:
    version = ipaddress.ip_address(address).version
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if version == 6 else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
