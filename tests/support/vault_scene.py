"""Who stands before a vault in the tests, what they bring, and their clock."""

import itertools
from dataclasses import dataclass

from switch.domain.payment_token import check_digit
from switch.domain.sensitive import Pan
from switch.vault.roles import Caller, Role

REQUESTER = "shop"
SHOP = Caller(REQUESTER, Role.REQUESTER)
ROAD = Caller("road", Role.PAYMENTS)
DESK = Caller("desk", Role.DISPUTES)
OPERATOR = Caller("alice@example.com", Role.OPERATOR)
START_MS = 1_790_000_000_000
CRYPTOGRAM_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")

_numbers = itertools.count(1_234_567)


def fresh_pan(length: int = 16) -> Pan:
    """A PAN that no other test has."""
    body = f"62{next(_numbers):0{length - 3}d}"
    return Pan(body + check_digit(body))


@dataclass
class StillClock:
    """Stands until it is moved."""

    now_ms: int = START_MS

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000
