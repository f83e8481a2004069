"""Fraud by people who own what they pay with: device farms, refund abuse, merchants that collude with their payers."""

from collections.abc import Generator

from switch.domain.payer import Posture
from switch.risk.population.crook import Crook, Purse, Range
from switch.risk.population.events import DAY_MS, Answer, Event, Payment, Refund
from switch.risk.population.till import Script
from switch.risk.population.world import Merchant, near, new_card, new_device, new_key


def device_farm(crook: Crook) -> Script:
    """Many new accounts on a few emulators or phones, with bought cards, that buy vouchers and promotions."""
    random = crook.random
    accounts = crook.whole(Range((15, 50), (8, 60)))
    per_device = crook.number(Range((5, 15), (1, 8)))
    devices = [
        new_device(
            random, crook.suspect() if crook.chance(0.8, 0.35) else random.choice((None, Posture(0), Posture.ATTESTED))
        )
        for _ in range(max(1, int(accounts / per_device)))
    ]
    ips = [new_key(random) for _ in range(crook.whole(Range((1, 4), (2, 25))))]
    shops = [crook.online("5816", "5999", "5964") for _ in range(crook.whole(Range((1, 2), (1, 4))))]
    city = random.randrange(len(crook.world.of_city))
    for number in range(accounts):
        crook.proves = crook.chance(0.3, 0.5)
        user, device, ip = new_key(random), devices[number % len(devices)], random.choice(ips)
        yield crook.mark("registered", user)
        yield crook.mark("device_added", user)
        yield crook.mark("card_added", user)
        crook.wait(Range((1, 15), (2, 240)))
        place = near(random, city, 1) if random.random() < 0.5 else None
        purse = Purse(random.choice(("merchant_qr", "keyed")), new_card(random), user, device, ip, place)
        for _ in range(crook.whole(Range((1, 3), (1, 3)))):
            amount = crook.amount(Range((15_000, 60_000), (4_000, 90_000)))
            answer = yield from crook.buy(random.choice(shops), amount, purse)
            if answer is not Answer.APPROVED:
                break
            crook.wait(Range((1, 20), (2, 300)))
        crook.wait(Range((1, 30), (3, 300)))


def refund_abuse(crook: Crook) -> Script:
    """Bought to be given back: the goods kept, returned empty or worn. His own account and cards, his own proof."""
    random = crook.random
    crook.proves = True
    known = crook.chance(0.5, 0.7)
    person = crook.victim(user=True)
    user, device = (person.user, person.devices[0]) if known else (new_key(random), new_device(random))
    cards = list(person.cards) if known else [new_card(random) for _ in range(crook.whole(Range((1, 2), (1, 5))))]
    due: list[Refund] = []
    for _ in range(crook.whole(Range((5, 14), (3, 16)))):
        crook.wait(Range((300, 2600), (200, 4000)))
        crook.until_day()
        for each in [each for each in due if each.time_ms <= crook.now_ms]:
            due.remove(each)
            yield Refund(crook.now_ms, each.payment, each.amount_minor)
        shop, way = _returnable(crook, person.city)
        amount = crook.amount(Range((25_000, 260_000), (10_000, 300_000)))
        purse = Purse(way, random.choice(cards), user, device, person.ips[0], person.home)
        bought = yield from _bought(crook, shop, amount, purse)
        if bought is not None and random.random() < 0.88:
            later_ms = int(crook.number(Range((1, 5), (1, 9))) * DAY_MS)
            due.append(Refund(crook.now_ms + later_ms, bought, bought.amount_minor))


def _returnable(crook: Crook, city: int) -> tuple[Merchant, str]:
    if crook.random.random() < 0.5:
        return crook.online("5999", "5964"), crook.random.choice(("keyed", "merchant_qr"))
    return crook.shop(city, "5651", "5732", "5311"), crook.random.choice(("phone", "payer_code"))


def _bought(
    crook: Crook, shop: Merchant, amount_minor: int, purse: Purse
) -> Generator[Event, Answer | None, Payment | None]:
    """The payment that was approved, or None."""
    attempt = crook.buy(shop, amount_minor, purse)
    payment: Payment | None = None
    answer: Answer | None = None
    try:
        event = next(attempt)
        while True:
            payment = event if isinstance(event, Payment) else payment
            answer = yield event
            event = attempt.send(answer)
    except StopIteration as ended:
        return payment if ended.value is Answer.APPROVED else None


def collusion(crook: Crook) -> Script:
    """A merchant turns cards into cash: round sums, no goods, the same ring of cards; its other trade is small."""
    random = crook.random
    crook.proves = True
    city = random.randrange(len(crook.world.of_city))
    trade = random.choice(("5944", "5732", "5411", "5812"))
    shop = crook.own_shop(trade, city) if crook.chance(0.6, 0.35) else crook.shop(city, trade)
    ring = [new_card(random) for _ in range(crook.whole(Range((4, 12), (8, 50))))]
    device, user = new_device(random), new_key(random)
    by_night = crook.chance(0.6, 0.25)
    for _ in range(crook.whole(Range((18, 45), (10, 60)))):
        crook.wait(Range((20, 400), (30, 900)))
        if by_night:
            crook.until_day(22, 30)
        else:
            crook.until_day()
        amount = int(crook.number(Range((150_000, 800_000), (25_000, 500_000))))
        if crook.chance(0.8, 0.45):
            amount = amount // 10_000 * 10_000
        way = random.choice(("chip", "keyed", "merchant_qr", "tap"))
        if way == "tap":
            amount = min(amount, 99_900)
        purse = Purse(way, random.choice(ring), user if way == "merchant_qr" else "", device, place=shop.place)
        answer = yield from crook.buy(shop, amount, purse)
        if answer is not Answer.APPROVED and random.random() < 0.1:
            return
