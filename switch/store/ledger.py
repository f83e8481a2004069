"""Entering into the ledger: within the caller's transaction, each posting exactly once."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Final

import asyncpg

from switch.domain.ledger import Posting
from switch.store.sessions import Connection, Retry

# Postings of one statement: the driver encodes them without giving the loop back.
_AT_ONCE: Final = 100

# Held until the caller commits: no day is sealed while somebody enters into it.
_SEALED = "SELECT sealed_through FROM ledger_books WHERE one FOR SHARE"

# A posting's legs are inserted by one statement, so it is there whole or not at all; one that is there gets no leg more
# from another of its name. They come as texts of as many words: an array of every leg's columns would cost the driver
# three times as much. No ON CONFLICT: it costs another look-up a row, and a race is rare. No NOT EXISTS: planned while
# the table was empty, it reads all of it for each batch. A scalar subquery is a look-up for each posting, and its order
# makes it one by the primary key: asked for equal keys, a planner that knows no statistics may take the index by
# (merchant_id, day), and read all that the merchant ever had.
_POST = """
INSERT INTO ledger_entries (
    merchant_id, transaction_id, leg, day, kind, account, amount_minor, currency, authorization_id, source, time_ms)
SELECT p.merchant_id, p.id, legs.number - 1, p.day, p.kind, legs.account, legs.amount_minor, p.currency,
       p.authorization_id, p.source, p.time_ms
FROM unnest($1::text[], $2::uuid[], $3::date[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::uuid[],
            $9::text[], $10::bigint[])
     AS p (merchant_id, id, day, kind, accounts, amounts, currency, authorization_id, source, time_ms)
CROSS JOIN LATERAL unnest(string_to_array(p.accounts, ' '), string_to_array(p.amounts, ' ')::bigint[])
     WITH ORDINALITY AS legs (account, amount_minor, number)
WHERE (SELECT e.transaction_id FROM ledger_entries AS e
       WHERE e.merchant_id = p.merchant_id AND e.transaction_id >= p.id
       ORDER BY e.transaction_id, e.leg LIMIT 1) IS DISTINCT FROM p.id
"""


async def post(connection: Connection, postings: Sequence[Posting]) -> None:
    """What was entered before, by its (merchant_id, id), is left as it is. A posting of a day that is sealed is entered
    into the first day that is not. Raises Retry where somebody else entered one of them just now."""
    named = {(each.merchant_id, each.id): each for each in reversed(postings)}
    if not named:
        return
    sealed = await connection.fetchval(_SEALED)
    first_open = sealed + timedelta(days=1) if sealed is not None else date.min
    days = {text: max(date.fromisoformat(text), first_open) for text in {each.day for each in postings}}
    try:
        for some in _batches(named.values()):
            rows = [_row(each, days[each.day]) for each in some]
            await connection.execute(_POST, *map(list, zip(*rows, strict=True)))
    except asyncpg.UniqueViolationError as error:
        raise Retry("entered by another transaction") from error


def _row(posting: Posting, day: date) -> tuple[object, ...]:
    return (
        posting.merchant_id, posting.id, day, posting.kind.value, " ".join([leg.account for leg in posting.legs]),
        " ".join([str(leg.amount_minor) for leg in posting.legs]), posting.currency, posting.authorization_id,
        posting.source, posting.time_ms,
    )  # fmt: skip


def _batches(postings: Iterable[Posting]) -> Iterator[list[Posting]]:
    left = iter(postings)
    while some := list(islice(left, _AT_ONCE)):
        yield some
