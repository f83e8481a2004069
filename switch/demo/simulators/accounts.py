"""The payers' money as the control endpoint shows it, and topping it up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.alipay.simulator import Payer as AlipayPayer
from adapters.issuer.simulator import Account as IssuerAccount
from adapters.unionpay.simulator import Account as UnionPayAccount
from adapters.wechat.simulator import Payer as WeChatPayer

MOST_MINOR = 10**15


class NoSuchAccount(KeyError):
    """The simulator has no account of that name."""


@dataclass(slots=True)
class Purse:
    """One account. holder: the simulator's own object, whose attribute balance_name is the balance in minor units.

    opening_minor: what was there at the start; put_in_minor: what top-ups changed since. What else the balance has
    changed by is in the simulator's book.
    """

    holder: Any = field(repr=False)
    balance_name: str
    shown: dict[str, Any]
    opening_minor: int = 0
    put_in_minor: int = 0

    def __post_init__(self) -> None:
        self.opening_minor = self.balance_minor

    @property
    def balance_minor(self) -> int:
        balance_minor: int = getattr(self.holder, self.balance_name)
        return balance_minor

    @property
    def held_minor(self) -> int:
        return getattr(self.holder, "held_minor", 0)

    def row(self) -> dict[str, Any]:
        return self.shown | {
            "balance_minor": self.balance_minor,
            "held_minor": self.held_minor,
            "opening_minor": self.opening_minor,
            "put_in_minor": self.put_in_minor,
        }

    def set_balance(self, balance_minor: int) -> None:
        """Raises ValueError: no amount, or less than is held."""
        if type(balance_minor) is not int or not self.held_minor <= balance_minor <= MOST_MINOR:
            raise ValueError(f"balance_minor must be a whole number from {self.held_minor} to {MOST_MINOR}")
        self.put_in_minor += balance_minor - self.balance_minor
        setattr(self.holder, self.balance_name, balance_minor)


class Purses:
    """One simulator's accounts by name, in order."""

    def __init__(self, purses: Mapping[str, Purse]) -> None:
        self._purses = dict(purses)

    def rows(self, offset: int, limit: int) -> list[dict[str, Any]]:
        return [{"account": name} | each.row() for name, each in list(self._purses.items())[offset : offset + limit]]

    def top_up(self, name: str, balance_minor: Any) -> dict[str, Any]:
        """Set a balance. Raises NoSuchAccount, ValueError."""
        if name not in self._purses:
            raise NoSuchAccount(name)
        purse = self._purses[name]
        purse.set_balance(balance_minor)
        return {"account": name} | purse.row()


def of_alipay(payers: Mapping[str, AlipayPayer]) -> Purses:
    return Purses(
        {each.name: Purse(each, "balance_minor", {"code_begins": prefix[:4]}) for prefix, each in payers.items()}
    )


def of_wechat(payers: Mapping[str, WeChatPayer]) -> Purses:
    return Purses({each.openid: Purse(each, "balance_fen", {"code_ends": end[-4:]}) for end, each in payers.items()})


def of_unionpay(accounts: Iterable[UnionPayAccount]) -> Purses:
    """Cards are named by their place in the list: masked numbers are not all different."""
    return Purses(
        {
            str(place): Purse(each, "balance_minor", {"pan_masked": each.pan_masked})
            for place, each in enumerate(accounts, 1)
        }
    )


def of_issuer(accounts: Iterable[IssuerAccount]) -> Purses:
    return Purses(
        {
            str(place): Purse(each, "balance_minor", {"pan_masked": each.pan.masked(), "currency": each.currency})
            for place, each in enumerate(accounts, 1)
        }
    )
