"""A loopback switch: an issuer's hub, channel and gRPC door, and the strict issuer that dials it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.simulator import CardKeys, IssuerSimulator, default_accounts
from adapters.issuer.simulator_pin import make_pin_block
from benchmarks.software_card import IssuerKeys, SoftwareCard
from benchmarks.terminal import build_tap
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.domain.authorization import Authorization, CardCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.entry.emv import parse_tap
from switch.ports import ChannelRequest, ChannelResult, Notice

ZONE_PIN_KEY = bytes.fromhex("433457CB072A29628C495D20E0E35826")
KEYS = [bytes.fromhex(each * 4) for each in ("0123ABCD", "45670189", "89EF2345")]
# The issuer's and its cards' own classes for the same keys.
ISSUER_KEYS, CARD_KEYS = CardKeys(*KEYS), IssuerKeys(*KEYS)


@dataclass
class LoopbackSwitch:
    """A switch's issuer door on a free port, its hub and the channel of issuer "bank"."""

    hub: IssuerHub
    channel: IssuerChannel
    servicer: IssuerServicer
    server: Any
    target: str
    limits: LinkLimits
    notices: list[Notice]
    simulators: list[IssuerSimulator] = field(default_factory=list)
    numbers: int = 0

    async def simulator(self, target: Any = None, **options: Any) -> IssuerSimulator:
        options = {"card_keys": ISSUER_KEYS} | options
        simulator = IssuerSimulator(target or self.target, "bank", ZONE_PIN_KEY, default_accounts(), **options)
        self.simulators.append(simulator)
        await simulator.start()
        await asyncio.wait_for(simulator.ready.wait(), 30)
        return simulator

    def authorization(self, operation: Operation, amount_minor: int) -> Authorization:
        self.numbers += 1
        return Authorization(
            id=computed_id("acq", "m1", 1_750_000_000_000, str(self.numbers)),
            acquirer_id="acq",
            merchant_id="m1",
            terminal_id="t1",
            merchant_category_code="5999",
            operation=operation,
            money=Money(amount_minor, "CNY"),
            entry=EntryMode.KEYED,
            masked_credential="",
            attempt=1,
        )

    def request(
        self,
        amount_minor: int = 1_000,
        operation: Operation = Operation.SALE,
        of: Authorization | None = None,
        card: int = 0,
        pin: str = "",
        within_s: float = 2.0,
    ) -> ChannelRequest:
        pan = default_accounts()[card].pan
        authorization = of if of is not None else self.authorization(operation, amount_minor)
        request = ChannelRequest(
            operation=operation,
            authorization=authorization,
            money=Money(amount_minor, "CNY"),
            credential=CardCredential(Pan(pan.reveal())),
            merchant=Merchant("m1", "Noodles"),
            deadline_s=asyncio.get_running_loop().time() + within_s,
            pin_block=make_pin_block(ZONE_PIN_KEY, pin, pan.reveal()) if pin else b"",
        )
        self.channel.prepare([request])
        if of is None:
            authorization.trace = request.trace
        return request

    def tap(self, amount_minor: int = 1_000, atc: int = 1, card: int = 0, pin: str = "") -> ChannelRequest:
        """A sale by a tap, as the road hands it on: the card's credential is what the entry made of its data."""
        request = self.request(amount_minor, card=card, pin=pin)
        account = default_accounts()[card]
        chip = SoftwareCard(CARD_KEYS, account.pan.reveal(), account.expiry_yymm, account.pin)
        read = build_tap(chip.pan, chip.expiry_yymm, amount_minor, "CNY", atc=atc, card=chip)
        request.credential = parse_tap(read, request.money)
        request.authorization.entry = EntryMode.NFC
        return request

    async def ask(self, request: ChannelRequest) -> ChannelResult:
        return await asyncio.wait_for(self.channel.send([request])[0], 30)

    async def settled(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)
