"""Who pays: the simulator's payers, found by the digits a payment code starts with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from adapters.alipay.simulator.refusal import refused
from adapters.simulation import Behaviour, Scenario

# A payer who types a password takes so long: long enough for a client to see that it must ask.
_TYPING_MS: Final = 2_500
_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


@dataclass(slots=True)
class Payer:
    """One wallet. Amounts are fen; day_limit_minor bounds a single day's payments, never reset here.

    habit: what this payer always does, whatever the amount; None: as the scenarios say. keeps_code: his code may be
    shown again and again, which no real one may, so that a client's example runs twice.
    """

    name: str
    balance_minor: int
    day_limit_minor: int = 10**15
    blocked: bool = False
    spent_minor: int = 0
    habit: Scenario | None = None
    keeps_code: bool = False

    @property
    def open_id(self) -> str:
        return f"{self.name}_0000000000000000000000"[:28]

    @property
    def user_id(self) -> str:
        """2088 and twelve digits, the same for the same name."""
        return f"2088{int.from_bytes(self.name.encode()[-4:], 'big') % 10**12:012d}"

    @property
    def logon_id(self) -> str:
        return f"{self.name[:3]}***@alipay.net"

    def refusal(self, amount_minor: int) -> str:
        """The sub_code with which Alipay would refuse so much, "" if the payer can pay."""
        if self.blocked:
            return "ACQ.BUYER_ENABLE_STATUS_FORBID"
        if self.spent_minor + amount_minor > self.day_limit_minor:
            return "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"
        if amount_minor > self.balance_minor:
            return "ACQ.BUYER_BALANCE_NOT_ENOUGH"
        return ""

    def pay(self, amount_minor: int) -> None:
        self.balance_minor -= amount_minor
        self.spent_minor += amount_minor

    def take_back(self, amount_minor: int) -> None:
        self.balance_minor += amount_minor
        self.spent_minor -= amount_minor


def default_accounts() -> dict[str, Payer]:
    """Payers by code prefix; the longest prefix that matches decides, and the empty one matches every code.

    Codes that start with 2951 are poor (1.00 yuan: 51), 2961 has a day limit (10.00 yuan: 61), 2962 is blocked (62);
    all others belong to the rich one. The codes of `client_codes` have payers of their own.
    """
    return {
        "": Payer("rich", balance_minor=10**15),
        "2951": Payer("poor", balance_minor=100),
        "2961": Payer("limited", balance_minor=10**15, day_limit_minor=1_000),
        "2962": Payer("blocked", balance_minor=10**15, blocked=True),
    } | {code: _client(behaviour) for behaviour, code in client_codes().items()}


# behaviour -> (a payment code that shows it, the habit of its payer)
_CLIENTS: Final[dict[str, tuple[str, Scenario | None]]] = {
    "approve": ("286600000000000001", None),
    "insufficient_funds": ("286600000000000051", None),
    "user_paying": ("286600000000000009", Scenario(Behaviour.USER_PAYING, delay_ms=_TYPING_MS)),
    "user_paying_then_declined": (
        "286600000000000005",
        Scenario(Behaviour.USER_PAYING_DECLINED, delay_ms=_TYPING_MS),
    ),
    "silent": ("286600000000000068", Scenario(Behaviour.SILENT)),
    "invalid": ("286600000000000014", Scenario(Behaviour.DECLINE, code="14")),
}


def client_codes() -> dict[str, str]:
    """behaviour -> a payment code that shows it, as often as it is used with a new out_trade_no, at any amount."""
    return {behaviour: code for behaviour, (code, _) in _CLIENTS.items()}


def _client(behaviour: str) -> Payer:
    balance_minor = 0 if behaviour == "insufficient_funds" else 10**15
    return Payer(behaviour, balance_minor, habit=_CLIENTS[behaviour][1], keeps_code=True)


def payer_of(accounts: Mapping[str, Payer], auth_code: str) -> Payer | None:
    """
    >>> accounts = default_accounts()
    >>> payer_of(accounts, "285012345678901234").name, payer_of(accounts, "295112345678901234").name
    ('rich', 'poor')
    """
    for length in range(len(auth_code), -1, -1):
        payer = accounts.get(auth_code[:length])
        if payer is not None:
            return payer
    return None


class Wallets:
    """What the applications share: the payers, the codes that they showed before, and the numbers of trades."""

    def __init__(self, accounts: Mapping[str, Payer]) -> None:
        self._accounts = accounts
        self._used_codes: set[str] = set()
        self._trades = 0

    def next_trade_no(self, now_s: float) -> str:
        """28 digits: the day, a constant, and how many trades there were."""
        self._trades += 1
        return f"{datetime.fromtimestamp(now_s, _SHANGHAI):%Y%m%d}2200{self._trades:016d}"

    def payer_who_shows(self, auth_code: str) -> Payer:
        """Raises Refused for a code of nobody and for one that was used before."""
        payer = payer_of(self._accounts, auth_code)
        if payer is None or auth_code in self._used_codes:
            raise refused("ACQ.PAYMENT_AUTH_CODE_INVALID")
        if not payer.keeps_code:
            self._used_codes.add(auth_code)
        return payer

    def payer_named(self, name: str) -> Payer | None:
        return next((each for each in self._accounts.values() if each.name == name), None)
