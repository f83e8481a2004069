"""How far apart two payments were, and how fast that is."""

from math import asin, cos, radians, sin, sqrt
from typing import Final

from switch.domain.payer import Place

_EARTH_KM: Final = 6371.0088  # mean radius, IUGG
_MS_PER_HOUR: Final = 3_600_000


def distance_km(one: Place, other: Place) -> float:
    """On the great circle.

    >>> round(distance_km(Place(31_230_416, 121_473_701), Place(39_904_200, 116_407_396)))  # Shanghai, Beijing
    1067
    """
    latitude, other_latitude = radians(one.latitude_e6 / 1e6), radians(other.latitude_e6 / 1e6)
    half_down = sin((other_latitude - latitude) / 2)
    half_across = sin(radians((other.longitude_e6 - one.longitude_e6) / 1e6) / 2)
    chord = half_down * half_down + cos(latitude) * cos(other_latitude) * half_across * half_across
    return 2 * _EARTH_KM * asin(sqrt(min(chord, 1.0)))


def travel(before: Place, now: Place, took_ms: int) -> tuple[int, int]:
    """(km, km/h), rounded down. A journey of less than a second counts as one of a second; below 1 km it is none.

    >>> travel(Place(31_230_416, 121_473_701), Place(39_904_200, 116_407_396), 3_600_000)
    (1067, 1067)
    """
    km = distance_km(before, now)
    if km < 1:
        return 0, 0
    return int(km), int(km * _MS_PER_HOUR / max(took_ms, 1000))
