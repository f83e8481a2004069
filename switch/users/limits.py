"""How much one address may try, and how often one login may be tried."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote
from uuid import uuid4

import structlog

from switch.domain.refusals import TooMany
from switch.domain.tally import BackOff, Tally
from switch.ports import Counters, CountersUnavailable
from switch.users.store import AttemptStore
from switch.users.world import World

log = structlog.get_logger()

_WINDOW_S: Final = 60
_ADDRESSES: Final = 10_000
# Kinds of tallies.
PROOFS: Final = 1
CODES_OF_HOUR: Final = 2
CODES_OF_DAY: Final = 3


def ip_of(peer: str) -> str:
    """The address of a gRPC peer; "" where it has none.

    >>> ip_of("ipv4:192.0.2.7:50123"), ip_of("ipv6:%5B2001:db8::1%5D:443"), ip_of("unix:/run/x")
    ('192.0.2.7', '2001:db8::1', '')
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def network_of(address: str, v4: int, v6: int) -> str:
    """The network of that prefix length; "" of no address.

    >>> network_of("192.0.2.7", 24, 48), network_of("2001:db8:1:2::3", 32, 64)
    ('192.0.2.0/24', '2001:db8:1:2::/64')
    """
    if not address:
        return ""
    ip = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((ip, v4 if ip.version == 4 else v6), strict=False))


class AddressLimit:
    """At most `most` calls a minute of one address (of one /64 in IPv6), over all processes.

    While Redis is gone each process counts by itself, with the same figure: looser by the number of processes, never
    open. `monotonic_s` is the clock of that fallback.
    """

    def __init__(self, counters: Counters, most: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._most = most
        self._monotonic_s = monotonic_s
        self._own: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def admit(self, address: str) -> None:
        """Raises TooMany."""
        network = network_of(address, 32, 64)
        try:
            [count] = await self._counters.count_many([(f"users:{network}", uuid4().hex)], _WINDOW_S)
        except CountersUnavailable:
            count = self._count_here(network)
        if count > self._most:
            raise TooMany("too many attempts from this address: later")

    def _count_here(self, network: str) -> int:
        now_s = self._monotonic_s()
        since_s, count = self._own.pop(network, (now_s, 0))
        if now_s - since_s >= _WINDOW_S:
            since_s, count = now_s, 0
        self._own[network] = (since_s, count + 1)
        if len(self._own) > _ADDRESSES:
            self._own.popitem(last=False)
        return count + 1


class Tries:
    """Tries to prove who one is, per login, whether it exists or not; durable, and counted before they are made."""

    def __init__(self, world: World) -> None:
        self._attempts: AttemptStore = world.stores.attempts
        self._now_ms = world.now_ms
        self._rule: BackOff = world.settings.back_off

    async def begin(self, login_hash: bytes) -> Tally:
        """Raises TooMany while the login is locked."""
        tally = await self._attempts.begin(login_hash, PROOFS, self._now_ms(), self._rule)
        if tally is None:
            raise TooMany("too many attempts: later")
        return tally

    def locks(self, tally: Tally) -> bool:
        """Whether this try, being wrong, is the one that locked the login."""
        return tally.count == self._rule.free

    async def take_back(self, login_hash: bytes) -> None:
        await self._attempts.take_back(login_hash, PROOFS)

    async def forget(self, login_hash: bytes) -> None:
        """All was right."""
        await self._attempts.clear(login_hash, PROOFS)
