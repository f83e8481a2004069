"""Fraud with somebody's account, or with himself: taken over, talked into paying, a payment code caught and relayed."""

from switch.ports.risk import Later
from switch.risk.population.crook import Crook, Purse, Range
from switch.risk.population.events import HOUR_MS, Answer
from switch.risk.population.till import Script
from switch.risk.population.world import Customer, Device, near, new_device, new_key


def take_over(crook: Crook) -> Script:
    """Passwords tried until one fits, the account moved to another device, then bought what sells well."""
    victim = crook.victim(user=True)
    ip, device = new_key(crook.random), _strange_device(crook)
    crook.proves = crook.chance(0.12, 0.25)  # he has the second factor as well
    yield from crook.failures(Later.LOGIN_FAILURES, crook.whole(Range((3, 25), (0, 6))), victim.user, ip)
    yield crook.mark("signed_in", victim.user)
    if crook.chance(0.7, 0.4):
        yield crook.mark("password_changed", victim.user)
    if crook.chance(0.5, 0.3):
        yield from crook.failures(Later.WRONG_CODES, crook.whole(Range((1, 4), (0, 2))), victim.user, ip)
    yield crook.mark("device_added", victim.user)
    if crook.chance(0.3, 0.2):
        yield crook.mark("factor_changed", victim.user)
    crook.wait(Range((1, 90), (5, 4000)))
    crook.blocked_ms = crook.now_ms + int(crook.number(Range((2, 48), (2, 96))) * HOUR_MS)
    yield from _spend(crook, victim, device, ip)


def _strange_device(crook: Crook) -> Device:
    return new_device(crook.random, crook.suspect()) if crook.chance(0.4, 0.2) else new_device(crook.random)


def _spend(crook: Crook, victim: Customer, device: Device, ip: str) -> Script:
    city = victim.city if crook.chance(0.3, 0.65) else crook.other_city(victim.city)
    refused = 0
    for _ in range(crook.whole(Range((2, 6), (1, 8)))):
        card = crook.random.choice(victim.cards)
        way = crook.random.choice(("merchant_qr", "keyed", "payer_code"))
        place = near(crook.random, city, 8) if way == "merchant_qr" else None
        amount = crook.amount(Range((50_000, 480_000), (12_000, 480_000)))
        if way == "payer_code":
            crook.until_day()
            shop = crook.shop(city, "5732", "5944", "5311", "5411")
        else:
            shop = crook.online("5999", "5816", "4511", "5964")
        answer = yield from crook.buy(shop, amount, Purse(way, card, victim.user, device, ip, place))
        refused += answer is not Answer.APPROVED
        if answer is Answer.ISSUER_DECLINED or refused > 2:
            return
        crook.wait(Range((2, 40), (5, 700)))


def scam(crook: Crook) -> Script:
    """A shop that is none; its victims are talked into paying themselves, with all they have to prove it."""
    trade = crook.random.choice(("5999", "5964", "5944"))
    shop = crook.own_shop(trade, crook.random.randrange(len(crook.world.of_city)))
    crook.proves = True
    crook.persistence = 1
    for _ in range(crook.whole(Range((3, 12), (2, 16)))):
        victim = crook.victim(user=True)
        amount = crook.number(Range((20_000, 150_000), (15_000, 300_000)))
        for _ in range(crook.whole(Range((1, 3), (1, 3)))):
            purse = Purse("merchant_qr", victim.cards[0], victim.user, victim.devices[0], victim.ips[0], victim.home)
            answer = yield from crook.buy(shop, int(amount), purse)
            if answer is not Answer.APPROVED:
                break
            amount *= crook.random.uniform(1.1, 2.2)  # once he has paid, he is asked for more
            crook.wait(Range((4, 60), (10, 600)))
        crook.wait(Range((100, 1200), (60, 2000)))


def code_relay(crook: Crook) -> Script:
    """A code that its owner was made to show, used far away within its minute: his account, card and device."""
    for _ in range(crook.whole(Range((2, 5), (2, 7)))):
        victim = crook.victim(user=True)
        crook.until_day()
        shop = crook.shop(crook.other_city(victim.city), "5732", "5944", "5411", "5311")
        for _ in range(crook.whole(Range((1, 2), (1, 3)))):
            purse = Purse("payer_code", victim.cards[0], victim.user, victim.devices[0])
            answer = yield from crook.buy(shop, crook.amount(Range((30_000, 99_000), (15_000, 200_000))), purse)
            if answer is not Answer.APPROVED:
                break
            crook.wait(Range((1, 4), (1, 8)))
        crook.wait(Range((60, 600), (30, 1500)))
