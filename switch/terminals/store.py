"""What the desk needs to know and keep of terminals; `switch.store.terminals` meets it by shape."""

from typing import Protocol

from switch.domain.terminal import BatchTotals, Terminal, TerminalEntry, WorkingKeys


class TerminalStore(Protocol):
    """Every method raises StoreUnavailable if it cannot be sure."""

    async def find(self, merchant_id: str, terminal_id: str) -> Terminal | None: ...

    async def knows_merchant(self, merchant_id: str) -> bool:
        """Whether any terminal is of that merchant."""

    async def sign_on(self, terminal: Terminal, keys: WorkingKeys) -> None:
        """The keys it had are the previous ones. Durable on return."""

    async def sign_off(self, terminal: Terminal) -> None: ...

    async def keep(self, entry: TerminalEntry) -> TerminalEntry:
        """What is stored under that name: this one if there was none. Durable on return."""

    async def entry(self, merchant_id: str, terminal_id: str, batch: int, stan: int) -> TerminalEntry | None: ...

    async def totals(self, terminal: Terminal, batch: int) -> BatchTotals: ...

    async def close_batch(self, terminal: Terminal, batch: int) -> None:
        """The next batch is open; nothing if that one was closed before."""
