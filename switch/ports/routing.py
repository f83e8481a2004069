"""Routing plans, as they were loaded."""

from typing import Protocol

from switch.domain.routing_plan import StoredPlan


class RoutingPlans(Protocol):
    """Routing plans and their BIN tables, as they were loaded: neither is ever changed. Raises StoreUnavailable."""

    async def live_version(self) -> int:
        """Of the plan that is to be in force; 0: none, the settings' routes are."""

    async def find(self, version: int) -> StoredPlan | None: ...

    async def bin_table_chunks(self, sha256: str) -> tuple[int, int] | None:
        """(bytes, chunks) of the table with that SHA-256 (hexadecimal); None if it was never loaded."""

    async def bin_table_chunk(self, sha256: str, number: int) -> bytes:
        """One chunk, from 0; b"" if there is none."""
