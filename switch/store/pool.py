"""The connection pool: how every connection is set up, and what bounds it."""

from typing import Any

import asyncpg

from switch.store.journal import WARM_UP
from switch.store.sessions import Connection, Pool

# Everything the switch asks is a lookup by key. Statistics of a table that is minutes old would let the planner keep a
# plan that reads all of it, so the other plans are ruled out, and a plan is made once and kept.
_PLANNER = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}


async def create_pool(
    dsn: str,
    *,
    size: int = 8,
    connect_timeout_s: float = 3.0,
    command_timeout_s: float = 2.0,
    name: str = "payswitch",
    durable_at_once: bool = True,
) -> Pool:
    """Connect `size` times to a database that `migrate` has prepared, and prepare what the hot path will ask.

    A command that takes longer than `command_timeout_s` fails; the server gives it up a little later by itself.
    durable_at_once: whether a commit waits for the disk. Who follows the journal need not: what he did and how far he
    came are one commit, and lost together it is done again; whatever builds on it commits later in the same log.
    Raises asyncpg's and OS errors if the database cannot be reached now; later it may come and go.
    """
    settings = {
        **_PLANNER,
        "application_name": name,
        "statement_timeout": str(int(command_timeout_s * 2000)),
        "idle_in_transaction_session_timeout": str(int(command_timeout_s * 4000)),
        "synchronous_commit": "on" if durable_at_once else "off",
    }
    return await asyncpg.create_pool(
        dsn,
        min_size=size,
        max_size=size,
        max_queries=1_000_000_000,
        max_inactive_connection_lifetime=0,
        timeout=connect_timeout_s,
        command_timeout=command_timeout_s,
        server_settings=settings,
        init=_warm_up,
        reset=_leave_as_is,
    )


async def _warm_up(connection: Connection) -> None:
    """Prepare the hot statements and learn their types now, not within the first authorization's 200 ms."""
    for statement, arguments in WARM_UP:
        await connection.fetch(statement, *arguments)


async def _leave_as_is(connection: Any) -> None:
    """asyncpg's own reset is one more round trip per use; nothing here changes a session's state."""
