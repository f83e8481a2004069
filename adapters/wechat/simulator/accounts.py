"""Whose payment code it is. A code's last four digits choose the payer, so every valid code has one."""

from dataclasses import dataclass

_UNLIMITED_FEN = 10**15


@dataclass(slots=True)
class Payer:
    """openid: how the platform names the payer to the merchant. refuses: DE39 of every payment, "" for none."""

    openid: str
    balance_fen: int
    refuses: str = ""


def default_accounts() -> dict[str, Payer]:
    """Payers by the last four digits of their codes; "" is everyone else, and has money without end.

    0051 has one yuan; 0054's codes have expired; 0062's account is restricted.

    >>> default_accounts()["0051"].balance_fen
    100
    """
    return {
        "": Payer("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", _UNLIMITED_FEN),
        "0051": Payer("oUpF8uPoorPoorPoorPoorPoor51", 100),
        "0054": Payer("oUpF8uLateLateLateLateLate54", _UNLIMITED_FEN, refuses="54"),
        "0062": Payer("oUpF8uHeldHeldHeldHeldHeld62", _UNLIMITED_FEN, refuses="62"),
    }
