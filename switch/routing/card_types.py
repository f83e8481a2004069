"""What BIN tables say of a card of which only the first digits are kept: debit, credit, prepaid, charge, or nothing."""

from collections.abc import Callable, Sequence
from typing import Final

from switch.routing.bins import BinTable

_MOST_REMEMBERED: Final = 100_000


class BinCardTypes:
    """Meets `switch.ports.platform.CardTypes`. tables: those of the plan in force; another plan has other ones."""

    def __init__(self, tables: Callable[[], Sequence[BinTable]]) -> None:
        self._tables = tables
        self._asked: Sequence[BinTable] | None = None
        self._remembered: dict[str, str] = {}

    def of(self, card_prefix: str) -> str:
        tables = self._tables()
        if tables is not self._asked or len(self._remembered) >= _MOST_REMEMBERED:
            self._asked, self._remembered = tables, {}
        found = self._remembered.get(card_prefix)
        if found is None:
            found = self._remembered[card_prefix] = _type_in(tables, card_prefix)
        return found


def _type_in(tables: Sequence[BinTable], card_prefix: str) -> str:
    """As the road asks them: the first table that knows the card."""
    return next((each for each in (table.type_of_prefix(card_prefix) for table in tables) if each is not None), "")
