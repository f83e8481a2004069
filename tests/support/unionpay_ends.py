"""Both ends of a link without a socket between them, for input that no socket would bring by itself.

Keys are fixed, so that a corpus of messages keeps its MACs.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from independent_member import financial_mac

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.channel import UnionPayChannel
from adapters.unionpay.frame import Framer
from adapters.unionpay.link import Link
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator, default_accounts
from adapters.unionpay.simulator.connection import Connection
from adapters.unionpay.simulator.keys import DesKey
from adapters.unionpay.simulator.members import WorkingKeyPair
from switch.domain.authorization import Authorization, CardCredential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest

MEMBER, NETWORK = "44190440", "00010344"
MAK = bytes(range(1, 17))
PAN = default_accounts().rich.pan
SALE: dict[int, str | bytes] = {
    2: PAN, 3: "000000", 4: "000000001000", 7: "1127120000", 11: "000001", 12: "120000", 13: "1127", 18: "5812",
    19: "156", 22: "072", 25: "00", 32: MEMBER, 33: MEMBER, 37: "0A1B2C000001", 41: "T0000001",
    42: "104110554110001", 43: "Noodle House".ljust(37) + "CHN", 49: "156", 55: bytes.fromhex("9F26081122334455667788"),
    60: "00000600030000",
}  # fmt: skip
NAMED = f"0200{SALE[11]}{SALE[7]}{MEMBER:>011}{MEMBER:>011}"


def frame(mti: str, fields: dict[int, Any], *, to_network: bool = True, mac: bool = True) -> bytes:
    """With its length before it; authentic unless told otherwise."""
    if mac:
        fields = fields | {128: financial_mac(MAK, mti, fields)}
    header = Header(NETWORK, MEMBER) if to_network else Header(MEMBER, NETWORK)
    return encode_frame(header, mti, fields)


def requests() -> dict[str, bytes]:
    """One message of each kind that a member may send, by its name."""
    follow = {11: "000002", 37: "0A1B2C000002", 90: NAMED}
    managed = {7: "1127120000", 11: "000009", 33: MEMBER}
    return {
        "sale": frame("0200", SALE),
        "pre-authorization": frame("0100", SALE | {3: "030000", 25: "06"}),
        "capture": frame("0200", SALE | follow | {25: "06"}),
        "capture by advice": frame("0220", SALE | follow | {25: "06"}),
        "void": frame("0200", SALE | follow | {3: "200000"}),
        "refund": frame("0220", SALE | follow | {3: "200000"}),
        "reversal": frame("0420", SALE | follow),
        "reversal again": frame("0421", SALE | follow),
        "notice": frame("0620", {7: "1127120000", 11: "000003", 33: MEMBER}),
        "echo": frame("0820", managed | {70: "301"}, mac=False),
        "sign-off": frame("0820", managed | {70: "002"}, mac=False),
    }


class Wire:
    """A transport that only listens."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def set_write_buffer_limits(self, high: int) -> None: ...

    def messages(self) -> list[tuple[str, dict[int, str | bytes]]]:
        return [decode(each)[1:] for each in Framer().feed(self.written)]


class NetworkEnd:
    """The simulated network with one signed-on link. Needs a running loop."""

    def __init__(self, *, signed_on: bool = True) -> None:
        self.network = UnionPaySimulator(SimulatorSettings({MEMBER: bytes(16)}), now=lambda: datetime(2026, 11, 27, 12))
        self.wire = Wire()
        self.link = Connection(self.network)
        self.link.connection_made(self.wire)  # type: ignore[arg-type]
        member = self.network.members[MEMBER]
        keys = WorkingKeyPair(DesKey(MAK), DesKey(MAK), b"", b"")
        member.generations = [keys]
        self.link.member, self.link.mak, self.link.signed_on = member, keys.mak, signed_on

    def balances(self) -> list[int]:
        return [each.balance_minor for each in self.network.accounts.values()]

    def hear(self, data: bytes) -> None:
        self.link.data_received(data)


class FixedHsm:
    """Of `ports.Hsm` what a financial message needs, under the fixed MAC key."""

    @staticmethod
    def _mac(text: bytes) -> bytes:
        from independent_member import retail_mac

        return retail_mac(MAK, text)[:4].hex().upper().encode("ascii")

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes]:
        return [self._mac(text) for _, _, text in items]

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
        return [None if self._mac(text) == mac else ValueError("MAC") for _, _, text, mac in items]


@dataclass
class StillClock:
    """Noon in Shanghai, for ever."""

    now_ms: int = 1_795_752_000_000

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return 0.0


class MemberEnd:
    """The channel with one link that is ready. Needs a running loop."""

    def __init__(self) -> None:
        # Nobody answers what it asks the network for.
        settings = UnionPaySettings(
            "h", 1, acquirer=MEMBER, forwarder=MEMBER, network=NETWORK, late_window_s=1e9, reply_timeout_s=0.01
        )
        self.channel = UnionPayChannel(settings, FixedHsm(), StillClock())  # type: ignore[arg-type]
        self.wire = Wire()
        self.link = Link(settings, self.channel._sessions[0]._events)
        self.link.connection_made(self.wire)  # type: ignore[arg-type]
        self.link.ready = True
        self.channel._sessions[0].link = self.link
        self._before = refusals()

    async def settle(self) -> None:
        while self.channel._tasks:
            await asyncio.gather(*self.channel._tasks, return_exceptions=True)

    async def sell(self, *amounts_minor: int) -> "list[asyncio.Future[Any]]":
        """Sales that are on the wire when it returns; their futures."""
        sales = [
            ChannelRequest(
                Operation.SALE,
                Authorization(UUID(int=n), "a", "m", "T0000001", "5812", Operation.SALE, money, EntryMode.NFC, ""),
                money,
                CardCredential(Pan(PAN)),
                Merchant("104110554110001", "Noodle House"),
                0.0,
            )
            for n, money in enumerate(Money(each, "CNY") for each in amounts_minor)
        ]
        self.channel.prepare(sales)
        futures = self.channel.send(sales)
        await self.settle()
        return futures

    def replies(self, code: str = "00") -> list[dict[int, str | bytes]]:
        """What the network should say to each message on the wire, without the MAC."""
        echoed = (2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49)
        return [{n: fields[n] for n in echoed} | {15: "1127", 39: code} for _, fields in self.wire.messages()]

    async def hear(self, data: bytes) -> None:
        self.link.data_received(data)
        await self.settle()

    def refused(self) -> dict[str, int]:
        """What was refused since it began, by cause."""
        return dict(refusals() - self._before)


def refusals() -> Counter[str]:
    counts: Counter[str] = Counter()
    for family in metrics.REFUSED.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                counts[sample.labels["cause"]] = int(sample.value)
    return counts
