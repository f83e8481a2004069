"""What all fraud has in common: victims, a purse of time, and what is done after a decline."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from switch.domain.payer import Place, Posture
from switch.domain.risk import Subject
from switch.ports.risk import Happening, Later, Mark
from switch.risk.population.events import DAY_MS, HOUR_MS, AccountEvent, Answer, Event, Kind, Truth
from switch.risk.population.till import Till
from switch.risk.population.world import (
    TRADE_BY_CATEGORY,
    Card,
    Customer,
    Device,
    Merchant,
    World,
    new_merchant,
)

Attempt = Generator[Event, Answer | None, Answer]
BLOCKED: Final = "62"
_NEVER_TOLD: Final = 0.04  # of the frauds, nobody ever says so
_SUSPECT: Final = (Posture.EMULATOR, Posture.ROOTED, Posture.ROOTED | Posture.TAMPERED, Posture.DEBUGGED)


@dataclass(frozen=True, slots=True)
class Range:
    """What a fraudster's number is drawn from. wide: in populations that evaluate; they hold much that `narrow` never
    gave to learn from.
    """

    narrow: tuple[float, float]
    wide: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Purse:
    """With what a purchase is paid."""

    way: str
    card: Card | None
    user: str = ""
    device: Device | None = None
    ip: str = ""
    place: Place | None = None
    pin: bool = False


class Crook:
    """One campaign. now_ms: of his last act. persistence: tries after a decline. blocked_ms: when the issuer or the
    victim stops it.
    """

    def __init__(self, name: str, kind: Kind, world: World, random: Random, start_ms: int, wide: bool) -> None:
        self.kind = kind
        self.world = world
        self.random = random
        self.now_ms = start_ms
        self.wide = wide
        self.till = Till(name, random)
        self.proves = False
        self.persistence = self.whole(Range((0, 3), (0, 6)))
        self.blocked_ms = start_ms + 365 * DAY_MS

    # --- drawing --------------------------------------------------------------------------------------------------

    def number(self, of: Range) -> float:
        return self.random.uniform(*(of.wide if self.wide else of.narrow))

    def whole(self, of: Range) -> int:
        return round(self.number(of))

    def chance(self, narrow: float, wide: float) -> bool:
        return self.random.random() < (wide if self.wide else narrow)

    def amount(self, of: Range) -> int:
        """Minor units; seldom a round sum."""
        drawn = int(self.number(of))
        return drawn // 1000 * 1000 if self.random.random() < 0.3 and drawn > 1000 else drawn

    def suspect(self) -> Posture:
        return self.random.choice(_SUSPECT)

    def victim(self, *, user: bool = False) -> Customer:
        while True:
            found = self.random.choice(self.world.customers)
            if found.user or not user:
                return found

    def other_city(self, city: int) -> int:
        return self.random.choice([each for each in range(len(self.world.of_city)) if each != city])

    def shop(self, city: int, *categories: str) -> Merchant:
        merchants, _ = self.world.of_city[city]
        return self.random.choice([each for each in merchants if each.trade.category in categories])

    def online(self, *categories: str) -> Merchant:
        merchants, _ = self.world.online
        return self.random.choice([each for each in merchants if each.trade.category in categories])

    def own_shop(self, category: str, city: int, country: str = "CN") -> Merchant:
        return new_merchant(self.random, TRADE_BY_CATEGORY[category], city, country=country)

    # --- acting ---------------------------------------------------------------------------------------------------

    def wait(self, minutes: Range) -> None:
        self.now_ms += max(1000, int(self.number(minutes) * 60_000))

    def until_day(self, opens: int = 9, closes: int = 22) -> None:
        """Shops are shut at night."""
        hour = (self.now_ms + 8 * HOUR_MS) // HOUR_MS % 24
        if not opens <= hour < closes:
            self.now_ms += (opens - hour) % 24 * HOUR_MS + self.random.randrange(HOUR_MS)

    def failures(self, what: Later, count: int, user: str, ip: str) -> Generator[Event, Answer | None, None]:
        for _ in range(count):
            self.now_ms += self.random.randrange(1500, 30_000)
            subjects = {Subject.USER: user, Subject.IP: ip}
            yield AccountEvent(self.now_ms, Happening(self.till.purchase(), what, subjects, self.now_ms))

    def mark(self, name: str, user: str) -> AccountEvent:
        self.now_ms += self.random.randrange(2000, 90_000)
        return AccountEvent(self.now_ms, mark=Mark(name, user, self.now_ms))

    def buy(self, merchant: Merchant, amount_minor: int, purse: Purse) -> Attempt:
        """One purchase: tried, proved if he can, and after a decline tried again with less. The last answer."""
        truth = self._truth(amount_minor)
        proved, tries = False, 0
        while True:
            if self.now_ms >= self.blocked_ms:
                truth = replace(truth, issuer_code=BLOCKED)
            answer = yield self.till.pay(
                purse.way, self.now_ms, amount_minor, merchant, truth, card=purse.card, user=purse.user,
                device=purse.device, ip=purse.ip, place=purse.place, proved=proved, pin=purse.pin,
            )  # fmt: skip
            if answer is None or answer is Answer.APPROVED:
                return Answer.APPROVED
            if answer is Answer.STEP_UP and truth.proves and not proved:
                proved = True
                self.now_ms += self.random.randrange(15_000, 90_000)
                continue
            if answer is Answer.ISSUER_DECLINED or tries >= self.persistence:
                return answer
            tries += 1
            self.now_ms += self.random.randrange(20_000, 900_000)
            amount_minor = max(100, int(amount_minor * self.random.uniform(0.3, 1.0)))

    def _truth(self, value_minor: int) -> Truth:
        told_ms = int(self.random.lognormvariate(1.6, 0.7) * DAY_MS)
        return Truth(
            self.kind, self.till.purchase(), value_minor, proves=self.proves,
            told_ms=-1 if self.random.random() < _NEVER_TOLD else told_ms,
        )  # fmt: skip
