"""An honest customer's life, and what in it looks like fraud: travel, new cards and devices, wrong PINs, big buys."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from switch.domain.risk import Subject
from switch.ports.risk import Happening, Later, Mark
from switch.risk.population.events import DAY_MS, HOUR_MS, MINUTE_MS, AccountEvent, Answer, Kind, Payment, Refund, Truth
from switch.risk.population.till import NO_PIN_LIMIT_MINOR, Script, Till
from switch.risk.population.world import (
    ENTRIES,
    TRADE_BY_CATEGORY,
    Card,
    Customer,
    Merchant,
    World,
    near,
    new_card,
    new_device,
)

_BIG: Final = ("5732", "5944", "5311", "7011")
_WEEKDAYS: Final = (0.95, 0.95, 0.95, 1.0, 1.1, 1.2, 1.05)  # from Monday
_NO_FUNDS, _WRONG_PIN, _TRIES_EXCEEDED = "51", "55", "75"


@dataclass(frozen=True, slots=True)
class _Visit:
    """What he means to do."""

    merchant: Merchant
    amount_minor: int
    way: str
    card: Card | None


class HonestLife:
    """random: his own, so that what happens to others changes nothing of his plans."""

    def __init__(self, customer: Customer, world: World, random: Random, start_ms: int) -> None:
        self._customer = customer
        self._world = world
        self._random = random
        self._till = Till(f"h{customer.number}", random)
        self._start_ms = start_ms
        self._now_ms = start_ms
        self._refunds: list[Refund] = []
        self._burst: Merchant | None = None

    def days(self, days: int) -> Script:
        for day in range(self._customer.joins_day, days):
            begin_ms = self._start_ms + day * DAY_MS
            if day and day == self._customer.joins_day:
                yield from self._join(begin_ms)
            self._travel(begin_ms)
            yield from self._account_day(begin_ms)
            for time_ms in self._times(day, begin_ms):
                self._now_ms = max(self._now_ms + 1000, time_ms)
                yield from self._refunds_until(self._now_ms)
                visit = self._visit(begin_ms)
                if visit is not None:
                    yield from self._buy(visit)

    # --- when -----------------------------------------------------------------------------------------------------

    def _times(self, day: int, begin_ms: int) -> list[int]:
        customer, random = self._customer, self._random
        since_payday = (day - customer.payday) % 30
        mean = customer.rate * _WEEKDAYS[day % 7] * (1.4 if since_payday < 3 else 0.97)
        hours = random.choices(range(24), cum_weights=customer.hours, k=_poisson(random, mean))
        times = [begin_ms + hour * HOUR_MS + random.randrange(HOUR_MS) for hour in hours]
        self._burst = None
        if random.random() < 0.006:  # a game's evening: the same shop again and again
            self._burst = random.choice(self._world.online[0])
            first = begin_ms + random.randrange(18, 23) * HOUR_MS
            times += [first + turn * random.randrange(40_000, 400_000) for turn in range(random.randrange(4, 12))]
        return sorted(times)

    def _travel(self, begin_ms: int) -> None:
        customer, random = self._customer, self._random
        if begin_ms >= customer.away_until_ms:
            customer.away = -1
            if random.random() < customer.traveller:
                customer.away = random.choice(
                    [each for each in range(len(self._world.of_city)) if each != customer.city]
                )
                customer.away_until_ms = begin_ms + random.randrange(1, 7) * DAY_MS

    # --- what happens to his account ------------------------------------------------------------------------------

    def _account_day(self, begin_ms: int) -> Script:
        customer, random = self._customer, self._random
        self._now_ms = max(self._now_ms + 1000, begin_ms + random.randrange(MINUTE_MS, HOUR_MS))
        if random.random() < 0.003:
            customer.cards[0] = new_card(random, used=False)  # the bank sent a new one
        if random.random() < 0.0008:
            customer.cards[0].pin_known = False
        if not customer.user:
            return
        chance = random.random()
        if chance < 0.018:
            yield from self._failures(Later.LOGIN_FAILURES, random.randrange(1, 5))
        elif chance < 0.024:
            yield from self._failures(Later.WRONG_CODES, random.randrange(1, 4))
        if random.random() < 0.25:
            yield self._mark("signed_in")
        for name, often in (("password_changed", 0.004), ("factor_changed", 0.001), ("card_added", 0.006)):
            if random.random() < often:
                yield self._mark(name)
                if name == "card_added" and len(customer.cards) < 4:
                    customer.cards.insert(0, new_card(random, used=False))
        if random.random() < 0.004:
            posture = customer.devices[0].posture
            customer.devices[0] = new_device(random, posture)
            yield self._mark("device_added")

    def _join(self, begin_ms: int) -> Script:
        self._now_ms = begin_ms + self._random.randrange(7, 22) * HOUR_MS
        if self._customer.user:
            for name in ("registered", "device_added", "card_added"):
                yield self._mark(name)

    def _failures(self, what: Later, count: int) -> Script:
        subjects = {Subject.USER: self._customer.user, Subject.IP: self._random.choice(self._customer.ips)}
        if what is Later.WRONG_CODES:
            subjects[Subject.DEVICE] = self._customer.devices[0].key
        for _ in range(count):
            self._now_ms += self._random.randrange(4000, 60_000)
            yield AccountEvent(self._now_ms, Happening(self._till.purchase(), what, subjects, self._now_ms))

    def _mark(self, name: str) -> AccountEvent:
        self._now_ms += self._random.randrange(1000, 60_000)
        return AccountEvent(self._now_ms, mark=Mark(name, self._customer.user, self._now_ms))

    def _refunds_until(self, now_ms: int) -> Iterator[Refund]:
        due = [each for each in self._refunds if each.time_ms <= now_ms]
        if due:
            self._refunds = [each for each in self._refunds if each.time_ms > now_ms]
            # Told when he is next seen; a refund of the past would go back in time.
            yield from (replace(each, time_ms=now_ms) for each in due)

    # --- what he buys ---------------------------------------------------------------------------------------------

    def _visit(self, begin_ms: int) -> _Visit | None:
        random = self._random
        hour, day = (self._now_ms - begin_ms) // HOUR_MS % 24, (begin_ms - self._start_ms) // DAY_MS
        merchant = self._burst if self._burst is not None and random.random() < 0.8 else self._merchant(day, hour)
        if merchant is None:
            return None
        amount = random.lognormvariate(math.log(merchant.typical_minor), merchant.trade.spread)
        amount *= self._customer.spends**0.7
        if random.random() < 0.004 or (merchant.trade.category in _BIG and random.random() < 0.05):
            amount = random.lognormvariate(math.log(450_000), 0.8) * self._customer.spends
        way = self._way(merchant)
        card = None if way == "wallet" else self._card()
        return _Visit(merchant, _as_priced(random, amount), way, card)

    def _merchant(self, day: int, hour: int) -> Merchant | None:
        customer, random = self._customer, self._random
        for _ in range(4):
            chance = random.random()
            if chance < 0.1:
                merchants, weights = self._world.online
            elif customer.away >= 0:
                merchants, weights = self._world.of_city[customer.away]
            elif chance < 0.75:
                merchants, weights = customer.favourites, customer.weights
            else:
                merchants, weights = self._world.of_city[customer.city]
            merchant = random.choices(merchants, cum_weights=weights)[0]
            if merchant.trade.opens <= hour < merchant.trade.closes and merchant.opens_day <= day:
                return merchant
        return None

    def _way(self, merchant: Merchant) -> str:
        if not merchant.trade.online:
            return self._random.choices(ENTRIES, cum_weights=self._customer.entries)[0]
        return "merchant_qr" if self._customer.user and self._random.random() < 0.5 else "keyed"

    def _card(self) -> Card:
        cards = self._customer.cards
        return cards[0] if len(cards) == 1 or self._random.random() < 0.75 else self._random.choice(cards)

    def _buy(self, visit: _Visit) -> Script:
        """Once, and again as people do: with the PIN, with less, with another card."""
        purchase, proved, tries = self._till.purchase(), False, 0
        while tries < 4:
            tries += 1
            payment = self._payment(visit, purchase, self._issuer_code(visit, tries), proved)
            answer = yield payment
            if answer is None or answer is Answer.APPROVED:
                self._plan_refund(payment)
                return
            self._now_ms += self._random.randrange(15_000, 120_000)
            if answer is Answer.STEP_UP and not proved and self._random.random() < 0.9:
                proved = True
                continue
            code = payment.truth.issuer_code if answer is Answer.ISSUER_DECLINED else ""
            other = self._after_no(visit, code)
            if other is None:
                return
            visit = other

    def _issuer_code(self, visit: _Visit, tries: int) -> str:
        random = self._random
        asked = visit.card is not None and (visit.way == "chip" or visit.amount_minor > NO_PIN_LIMIT_MINOR)
        if asked and visit.card is not None and visit.way in ("chip", "tap", "stripe"):
            if not visit.card.pin_known:
                return _WRONG_PIN if tries < 3 else _TRIES_EXCEEDED
            if random.random() < 0.015:
                return _WRONG_PIN
        return _NO_FUNDS if random.random() < 0.01 else "00"

    def _after_no(self, visit: _Visit, code: str) -> _Visit | None:
        random = self._random
        if code == _WRONG_PIN and random.random() < 0.9:
            return visit
        if code == _TRIES_EXCEEDED and visit.card in self._customer.cards:
            self._customer.cards[self._customer.cards.index(visit.card)] = new_card(random, used=False)
        others = [each for each in self._customer.cards if each is not visit.card]
        if others and visit.card is not None and random.random() < 0.7:
            return replace(visit, card=random.choice(others))
        if code == _NO_FUNDS and random.random() < 0.3:
            return replace(visit, amount_minor=max(100, visit.amount_minor // 2))
        return None

    def _payment(self, visit: _Visit, purchase: str, issuer_code: str, proved: bool) -> Payment:
        customer, random = self._customer, self._random
        device = None
        if customer.devices:
            device = customer.devices[0] if random.random() < 0.97 else random.choice(customer.devices)
        home = near(random, customer.away, 5) if customer.away >= 0 else customer.home
        signed_in = visit.way != "keyed" or random.random() < 0.6
        return self._till.pay(
            visit.way, self._now_ms, visit.amount_minor, visit.merchant,
            Truth(Kind.HONEST, purchase, visit.amount_minor, issuer_code=issuer_code),
            card=visit.card, user=customer.user if signed_in else "", device=device if signed_in else None,
            ip=random.choice(customer.ips), proved=proved,
            place=visit.merchant.place if visit.merchant.place is not None else home,
        )  # fmt: skip

    def _plan_refund(self, payment: Payment) -> None:
        random = self._random
        chance = min(0.5, TRADE_BY_CATEGORY[payment.merchant_category].refunded * self._customer.returns)
        if random.random() < chance:
            later_ms = int(random.lognormvariate(math.log(2.5), 0.9) * DAY_MS)
            share = 1 if random.random() < 0.7 else random.uniform(0.2, 0.9)
            self._refunds.append(Refund(self._now_ms + later_ms, payment, int(payment.amount_minor * share) or 1))


def _poisson(random: Random, mean: float) -> int:
    """Knuth's way; means are small."""
    limit, product, count = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count


def _as_priced(random: Random, amount: float) -> int:
    """Prices end in whole yuan, in a half, or as they come."""
    chance = random.random()
    step = 100 if chance < 0.45 else 50 if chance < 0.6 else 1
    return max(100, round(amount / step) * step)
