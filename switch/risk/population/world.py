"""Where a population lives: cities, merchants with terminals, and customers with cards, devices and habits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Final

from switch.domain.payer import Place, Posture

CITIES: Final = (  # centre in millionths of a degree, share of the customers
    (31_230_000, 121_470_000, 30), (39_900_000, 116_400_000, 25), (22_540_000, 114_060_000, 18),
    (30_570_000, 104_070_000, 14), (29_560_000, 106_550_000, 8), (45_800_000, 126_530_000, 5),
)  # fmt: skip
ABROAD: Final = ("HK", "TH", "JP", "SG")


@dataclass(frozen=True, slots=True)
class Trade:
    """merchants: share of them. visits: of the payments. typical_minor, spread: of the log-normal amount."""

    category: str
    merchants: int
    visits: int
    typical_minor: int
    spread: float
    refunded: float
    opens: int = 8
    closes: int = 22
    online: bool = False


TRADES: Final = (
    Trade("5411", 18, 26, 6_500, 0.8, 0.004, 7, 22),
    Trade("5814", 16, 18, 2_800, 0.5, 0.002, 6, 24),
    Trade("5812", 14, 10, 11_000, 0.7, 0.003, 10, 23),
    Trade("4111", 3, 14, 400, 0.4, 0.001, 5, 24),
    Trade("5541", 5, 4, 28_000, 0.35, 0.001, 0, 24),
    Trade("5912", 6, 4, 6_000, 0.8, 0.004),
    Trade("5651", 9, 5, 30_000, 0.8, 0.07, 10, 22),
    Trade("5311", 4, 4, 26_000, 0.9, 0.04, 10, 22),
    Trade("5732", 4, 1, 150_000, 1.0, 0.04, 10, 22),
    Trade("5944", 2, 1, 220_000, 0.9, 0.02, 10, 21),
    Trade("7011", 3, 1, 60_000, 0.6, 0.03, 0, 24),
    Trade("7832", 3, 2, 9_000, 0.4, 0.01, 10, 24),
    Trade("8011", 3, 1, 20_000, 0.9, 0.01, 8, 18),
    Trade("5999", 5, 5, 12_000, 1.0, 0.06, 0, 24, True),
    Trade("5816", 2, 4, 4_000, 0.9, 0.01, 0, 24, True),
    Trade("5964", 3, 3, 18_000, 1.0, 0.05, 0, 24, True),
    Trade("4511", 1, 1, 120_000, 0.6, 0.05, 0, 24, True),
)


@dataclass(slots=True, eq=False)
class Merchant:
    """popularity: of an ordinary customer's choice. place: None of one that sells online. terminals: their keys.
    opens_day: from which day on it has customers.
    """

    key: str
    trade: Trade
    city: int
    place: Place | None
    terminals: list[str]
    popularity: float
    typical_minor: int
    country: str = "CN"
    acquirer: str = "acquirer1"
    opens_day: int = 0


@dataclass(slots=True, eq=False)
class Card:
    key: str
    range: str
    counter: int
    used: bool = True
    pin_known: bool = True


@dataclass(slots=True, eq=False)
class Device:
    key: str
    posture: Posture | None


@dataclass(slots=True, eq=False)
class Customer:
    """rate: payments a day. spends: a factor on amounts. favourites: with `weights`, accumulated. hours: cumulative
    weights of 0 to 23. returns: a factor on the trade's refunds. joins_day: on which he registers.
    """

    number: int
    city: int
    home: Place
    rate: float
    spends: float
    cards: list[Card]
    user: str
    devices: list[Device]
    ips: list[str]
    favourites: list[Merchant]
    weights: list[float]
    hours: list[float]
    entries: list[float]
    returns: float
    traveller: float
    payday: int
    joins_day: int = 0
    away_until_ms: int = 0
    away: int = -1


@dataclass(slots=True)
class World:
    """online: merchants of no city. of_city, online: with their accumulated popularity."""

    customers: list[Customer] = field(default_factory=list)
    of_city: list[tuple[list[Merchant], list[float]]] = field(default_factory=list)
    online: tuple[list[Merchant], list[float]] = field(default_factory=lambda: ([], []))


CARD_RANGES: Final = ("622202", "621700", "622848", "621661", "622588", "625900", "436742", "621098")
CARD_RANGE_WEIGHTS: Final = (24, 20, 18, 12, 10, 8, 5, 3)
TRADE_BY_CATEGORY: Final = {each.category: each for each in TRADES}


def new_key(random: Random) -> str:
    """A new subject's: 16 bytes as hex, as the counters have them."""
    return f"{random.getrandbits(128):032x}"


def new_card(random: Random, *, used: bool = True) -> Card:
    card_range = random.choices(CARD_RANGES, CARD_RANGE_WEIGHTS)[0]
    return Card(new_key(random), card_range, random.randrange(5, 900) if used else 0, used)


def new_device(random: Random, posture: Posture | None = Posture.ATTESTED) -> Device:
    return Device(new_key(random), posture)


def new_merchant(
    random: Random, trade: Trade, city: int, popularity: float = 0.0, terminals: int = 1, country: str = "CN"
) -> Merchant:
    return Merchant(
        key=new_key(random),
        trade=trade,
        city=city,
        place=None if trade.online else near(random, city, 6),
        terminals=[new_key(random) for _ in range(terminals)],
        popularity=popularity,
        typical_minor=int(trade.typical_minor * random.lognormvariate(0, 0.35)),
        country=country,
        acquirer=f"acquirer{random.randrange(1, 4)}",
    )


def near(random: Random, city: int, spread_km: float) -> Place:
    """Somewhere in a city."""
    latitude, longitude, _ = CITIES[city]
    return moved(random, Place(latitude, longitude), spread_km)


def moved(random: Random, place: Place, spread_km: float) -> Place:
    """Somewhere around: the distance is Rayleigh-like, by two normal offsets."""
    degrees = spread_km / 111
    east = degrees / math.cos(math.radians(place.latitude_e6 / 1e6))
    return Place(
        place.latitude_e6 + int(random.gauss(0, degrees) * 1e6),
        place.longitude_e6 + int(random.gauss(0, east) * 1e6),
    )


def build(random: Random, customers: int, days: int) -> World:
    world = World()
    _add_merchants(random, world, max(60, customers // 7))
    shares = [share for _, _, share in CITIES]
    carriers = [[new_key(random) for _ in range(max(2, customers * share // 20_000))] for share in shares]
    for number in range(customers):
        city = random.choices(range(len(CITIES)), shares)[0]
        world.customers.append(_customer(random, world, number, city, carriers[city]))
    _make_families(random, world)
    _add_newcomers(random, world, days)
    return world


def _add_newcomers(random: Random, world: World, days: int) -> None:
    """Shops that open and people who register: new is not bad."""
    for merchants, _ in (*world.of_city, world.online):
        for each in merchants:
            if random.random() < 0.08:
                each.opens_day = random.randrange(days)
    for customer in world.customers:
        if random.random() < 0.1:
            customer.joins_day = random.randrange(days)


def _add_merchants(random: Random, world: World, count: int) -> None:
    shares = [each.merchants for each in TRADES]
    for city in range(len(CITIES)):
        # One of each trade everywhere, so that nobody's city lacks one.
        trades = [each for each in TRADES if not each.online]
        local = max(0, count * CITIES[city][2] // 100 - len(trades))
        trades += [each for each in random.choices(TRADES, shares, k=local) if not each.online]
        merchants = [
            new_merchant(random, each, city, random.paretovariate(1.2), 1 + int(random.expovariate(0.9)))
            for each in trades
        ]
        world.of_city.append(_weighted(merchants))
    online = [
        new_merchant(random, each, -1, random.paretovariate(1.1), 1)
        for each in TRADES
        if each.online
        for _ in range(max(2, count * each.merchants // 100))
    ]
    world.online = _weighted(online)


def _weighted(merchants: list[Merchant]) -> tuple[list[Merchant], list[float]]:
    """Chosen by popularity, and by how often its trade is visited."""
    of_trade: dict[str, float] = {}
    for each in merchants:
        of_trade[each.trade.category] = of_trade.get(each.trade.category, 0) + each.popularity
    weights = (each.popularity / of_trade[each.trade.category] * each.trade.visits for each in merchants)
    return merchants, list(accumulate(weights))


# Shapes of a day, by hour; the last is of those who work at night.
_DAYS: Final = (
    (0, 0, 0, 0, 0, 1, 4, 9, 8, 4, 4, 8, 12, 8, 4, 4, 5, 8, 12, 10, 7, 5, 3, 1),
    (1, 0, 0, 0, 0, 0, 1, 2, 4, 7, 9, 9, 9, 6, 7, 8, 8, 8, 8, 8, 7, 6, 4, 2),
    (6, 5, 4, 3, 2, 2, 2, 2, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 7, 7, 7, 7, 7),
)
# plastic tap, chip and PIN, phone tap, own payment code, wallet's code, merchant's QR, Bluetooth, magnetic stripe
ENTRIES: Final = ("tap", "chip", "phone", "payer_code", "wallet", "merchant_qr", "bluetooth", "stripe")


def _customer(random: Random, world: World, number: int, city: int, carriers: Sequence[str]) -> Customer:
    has_user = random.random() < 0.72
    favourites, weights = _favourites(random, world, city)
    app = 1.0 if has_user else 0.0
    entries = [
        random.random() * 3, random.random() * 1.2, random.random() * 3 * app, random.random() * 3 * app,
        random.random(), random.random() * 2.5 * app, random.random() * 0.3 * app,
        0.22 if random.random() < 0.03 else 0.02,
    ]  # fmt: skip
    posture = Posture.ATTESTED
    if random.random() < 0.02:
        posture = random.choice((Posture.ROOTED, Posture.ROOTED | Posture.DEBUGGED, Posture(0), Posture.EMULATOR))
    return Customer(
        number=number,
        city=city,
        home=near(random, city, 7),
        rate=min(12.0, random.lognormvariate(0.1, 0.7)),
        spends=random.lognormvariate(0, 0.45),
        cards=[new_card(random) for _ in range(random.choices((1, 2, 3), (6, 3, 1))[0])],
        user=new_key(random) if has_user else "",
        devices=[new_device(random, posture)] if has_user else [],
        ips=[new_key(random), random.choice(carriers)] + ([random.choice(carriers)] if random.random() < 0.3 else []),
        favourites=favourites,
        weights=weights,
        hours=list(accumulate(_DAYS[random.choices((0, 1, 2), (68, 27, 5))[0]])),
        entries=list(accumulate(entries)),
        returns=random.uniform(4, 9) if random.random() < 0.02 else random.lognormvariate(0, 0.5),
        traveller=0.05 if random.random() < 0.05 else random.uniform(0, 0.008),
        payday=random.choice((5, 10, 15, 25)),
    )


def _favourites(random: Random, world: World, city: int) -> tuple[list[Merchant], list[float]]:
    merchants, cumulative = world.of_city[city]
    chosen = dict.fromkeys(random.choices(merchants, cum_weights=cumulative, k=random.randrange(8, 20)))
    favourites = list(chosen)
    return favourites, list(accumulate(random.paretovariate(1) for _ in favourites))


def _make_families(random: Random, world: World) -> None:
    """A few share a card, or a device: what looks like fraud and is none."""
    for one in world.customers:
        if random.random() > 0.03:
            continue
        other = random.choice(world.customers)
        if other is one or other.city != one.city:
            continue
        other.cards.append(one.cards[0])
        if one.devices and other.devices and random.random() < 0.5:
            other.devices.append(one.devices[0])
