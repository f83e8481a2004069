"""Whose payment code it is: the payer's whole code, or else its last four digits: every valid code has a payer."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.simulation import Behaviour, Scenario

_UNLIMITED_FEN = 10**15
_CONFIRMS_AFTER_MS = 2_500


@dataclass(slots=True)
class Payer:
    """openid: how the platform names the payer to the merchant. refuses: DE39 of every payment, "" for none.

    shows: what becomes of each of the payer's payments, None for what the balance allows. always: the code is good for
    any number of payments, so that a client may try the same behaviour again and again; other codes are good for one.
    """

    openid: str
    balance_fen: int
    refuses: str = ""
    shows: Scenario | None = None
    always: bool = False


def default_accounts() -> dict[str, Payer]:
    """Payers by the last four digits of their codes, or by a whole code; "" is everyone else, and has money without
    end.

    0051 has one yuan; 0054's codes have expired; 0062's account is restricted. The whole codes are `client_codes()`.

    >>> default_accounts()["0051"].balance_fen
    100
    """
    codes = client_codes()
    paying, refusing = (
        Scenario(each, delay_ms=_CONFIRMS_AFTER_MS) for each in (Behaviour.USER_PAYING, Behaviour.USER_PAYING_DECLINED)
    )
    return {
        "": Payer("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", _UNLIMITED_FEN),
        "0051": Payer("oUpF8uPoorPoorPoorPoorPoor51", 100),
        "0054": Payer("oUpF8uLateLateLateLateLate54", _UNLIMITED_FEN, refuses="54"),
        "0062": Payer("oUpF8uHeldHeldHeldHeldHeld62", _UNLIMITED_FEN, refuses="62"),
        codes["approve"]: Payer("oUpF8uGoodGoodGoodGoodGood01", _UNLIMITED_FEN, always=True),
        codes["insufficient_funds"]: Payer("oUpF8uNoneNoneNoneNoneNone02", 0, always=True),
        codes["user_paying"]: Payer("oUpF8uTypeTypeTypeTypeType03", _UNLIMITED_FEN, shows=paying, always=True),
        codes["user_paying_then_declined"]: Payer(
            "oUpF8uWontWontWontWontWont04", _UNLIMITED_FEN, shows=refusing, always=True
        ),
        codes["silent"]: Payer(
            "oUpF8uHushHushHushHushHush05", _UNLIMITED_FEN, shows=Scenario(Behaviour.SILENT), always=True
        ),
        codes["invalid"]: Payer("oUpF8uVoidVoidVoidVoidVoid06", 0, refuses="14", always=True),
    }


def client_codes() -> dict[str, str]:
    """Behaviour -> a payment code that shows it, each time it is used with a new out_trade_no."""
    return {
        "approve": "138000000000009001",
        "insufficient_funds": "138000000000009002",
        "user_paying": "138000000000009003",
        "user_paying_then_declined": "138000000000009004",
        "silent": "138000000000009005",
        "invalid": "138000000000009006",
    }


class Payers:
    """Everyone who holds a code, and which codes have been used."""

    def __init__(self, accounts: Mapping[str, Payer]) -> None:
        self._accounts = accounts
        self._used: set[str] = set()

    def of(self, code: str) -> Payer:
        return self._accounts.get(code) or self._accounts.get(code[-4:]) or self._accounts[""]

    def scanning(self, name: str) -> Payer:
        """Who scans a merchant's code: by the key of the accounts."""
        return self._accounts.get(name) or self._accounts[""]

    def use(self, code: str) -> bool:
        """False if the code was used before and is good for one payment only."""
        if code in self._used:
            return False
        if not self.of(code).always:
            self._used.add(code)
        return True
