"""Fraud with somebody's card: stolen, its number tried and used, or copied at a compromised terminal."""

from switch.risk.population.crook import Crook, Purse, Range
from switch.risk.population.events import DAY_MS, HOUR_MS, Answer
from switch.risk.population.till import Script
from switch.risk.population.world import Card, Customer, Merchant, new_card, new_device, new_key

_GOODS = ("5411", "5311", "5732", "5944", "5651", "5912")


def stolen_card(crook: Crook) -> Script:
    """The plastic itself: small tests, then contactless purchases below the limit until it is blocked."""
    victim = crook.victim()
    card = victim.cards[0]
    crook.blocked_ms = crook.now_ms + int(crook.number(Range((2, 36), (2, 72))) * HOUR_MS)
    knows_pin = crook.chance(0.06, 0.12)
    crook.proves = knows_pin
    city = victim.city if crook.chance(0.85, 0.95) else crook.other_city(victim.city)
    crook.until_day()
    for _ in range(crook.whole(Range((1, 3), (0, 2)))):
        answer = yield from crook.buy(
            crook.shop(city, "5814", "5411", "4111"), crook.amount(Range((100, 1500), (100, 6000))), Purse("tap", card)
        )
        if answer is not Answer.APPROVED:
            return
        crook.wait(Range((1, 12), (5, 180)))
    refused = 0
    for _ in range(crook.whole(Range((3, 9), (2, 12)))):
        crook.until_day()
        way, most = ("chip", 400_000) if knows_pin and crook.random.random() < 0.6 else ("tap", 99_900)
        amount = min(most, crook.amount(Range((50_000, most), (12_000, most))))
        answer = yield from crook.buy(crook.shop(city, *_GOODS), amount, Purse(way, card))
        refused += answer is not Answer.APPROVED
        if answer is Answer.ISSUER_DECLINED or refused > 2:
            break
        crook.wait(Range((3, 45), (10, 400)))
    _replace(victim, card, crook)


def stolen_number(crook: Crook) -> Script:
    """Numbers bought in bulk: each tried with a small sum at a shop that asks little, the good ones used online."""
    ip, device = new_key(crook.random), new_device(crook.random)
    user = new_key(crook.random)
    scattered = crook.chance(0.15, 0.55)  # another address and no device for each number
    for _ in range(crook.whole(Range((6, 22), (2, 14)))):
        card = crook.victim().cards[0]
        if scattered:
            ip = new_key(crook.random)
        with_account = not scattered and crook.random.random() < 0.5
        purse = Purse("keyed", card, user if with_account else "", device if with_account else None, ip)
        crook.blocked_ms = crook.now_ms + int(crook.number(Range((6, 72), (3, 120))) * HOUR_MS)
        yield from _use_number(crook, purse)
        crook.wait(Range((1, 30), (5, 600)))


def _use_number(crook: Crook, purse: Purse) -> Script:
    for _ in range(crook.whole(Range((1, 2), (0, 1)))):
        answer = yield from crook.buy(
            crook.online("5816", "5964"), crook.amount(Range((100, 1000), (100, 5000))), purse
        )
        if answer is not Answer.APPROVED:
            return
        crook.wait(Range((1, 10), (3, 90)))
    for _ in range(crook.whole(Range((1, 3), (1, 4)))):
        amount = crook.amount(Range((60_000, 500_000), (15_000, 600_000)))
        answer = yield from crook.buy(crook.online("5999", "5964", "4511", "5816"), amount, purse)
        if answer is not Answer.APPROVED:
            return
        crook.wait(Range((2, 60), (5, 600)))


def skimmed(crook: Crook) -> Script:
    """A terminal copies the cards of a shop's customers for days; the copies are used elsewhere, later."""
    source = crook.shop(crook.random.randrange(len(crook.world.of_city)), "5541", "5812", "5411")
    visitors = [each for each in crook.world.customers if source in each.favourites] or [crook.victim()]
    cards = [(each, each.cards[0]) for each in visitors[: crook.whole(Range((8, 30), (4, 40)))]]
    at_home = crook.chance(0.15, 0.5)
    city = source.city if at_home else crook.other_city(source.city)
    abroad = crook.own_shop("5944", city, "TH") if crook.chance(0.3, 0.15) else None
    has_pins = crook.chance(0.6, 0.4)
    begin_ms = crook.now_ms + int(crook.number(Range((2, 7), (1, 12))) * DAY_MS)
    spread_ms = int(crook.number(Range((1, 5), (2, 12))) * DAY_MS)
    plan = sorted((begin_ms + crook.random.randrange(spread_ms), number) for number in range(len(cards)))
    for time_ms, number in plan:
        crook.now_ms = max(crook.now_ms, time_ms)
        crook.proves = has_pins
        yield from _use_copy(crook, *cards[number], city, abroad, has_pins)


def _use_copy(crook: Crook, victim: Customer, card: Card, city: int, abroad: Merchant | None, has_pin: bool) -> Script:
    crook.blocked_ms = crook.now_ms + int(crook.number(Range((3, 48), (3, 72))) * HOUR_MS)
    way = "stripe" if crook.random.random() < 0.75 else "keyed"
    for _ in range(crook.whole(Range((1, 4), (1, 5)))):
        crook.until_day(8, 23)
        shop = abroad or crook.shop(city, *_GOODS)
        amount = crook.amount(Range((40_000, 450_000), (8_000, 450_000)))
        answer = yield from crook.buy(shop, amount, Purse(way, card, pin=has_pin and way == "stripe"))
        if answer is not Answer.APPROVED:
            break
        crook.wait(Range((4, 60), (10, 900)))
    _replace(victim, card, crook)


def _replace(victim: Customer, card: Card, crook: Crook) -> None:
    """The bank sends another, once the fraud is known."""
    if crook.now_ms > crook.blocked_ms - HOUR_MS and card in victim.cards:
        victim.cards[victim.cards.index(card)] = new_card(crook.random, used=False)
