"""The watch over the living processes, and what becomes of notices."""

import asyncio
from uuid import UUID

import pytest

from adapters.issuer.messages import IssuerNotice
from switch.api.issuer_notices import IssuerNotices
from switch.api.issuer_processes import ProcessesWatch
from switch.ports import Notice, NotificationRefused, StoreUnavailable


async def test_what_was_read_last_stands_while_the_database_is_away() -> None:
    told: list[list[tuple[str, str]]] = []
    readings = iter([[(UUID(int=1), "a:1")], StoreUnavailable("away"), [(UUID(int=1), "a:1"), (UUID(int=2), "b:1")]])
    read_all = asyncio.Event()

    async def living() -> list[tuple[UUID, str]]:
        reading = next(readings, None)
        if reading is None:
            read_all.set()
            await asyncio.Event().wait()
        if isinstance(reading, Exception):
            raise reading
        return reading

    watch = ProcessesWatch(living, lambda processes: told.append(list(processes)), 0.001)
    watch.start()
    await asyncio.wait_for(read_all.wait(), 30)
    await watch.close()
    first, second = ("switch-000000000001", "a:1"), ("switch-000000000002", "b:1")
    assert told == [[first], [first, second]]


@pytest.mark.parametrize(
    ("error", "cause"),
    [(None, ""), (NotificationRefused("foreign"), "foreign"), (StoreUnavailable("away"), "unavailable")],
)
async def test_a_notice_is_taken_once_somebody_will_ask(error: Exception | None, cause: str) -> None:
    acted: list[Notice] = []

    async def act(notice: Notice) -> None:
        if error is not None:
            raise error
        acted.append(notice)

    notices = IssuerNotices(lambda issuer_id, said: Notice(f"issuer:{issuer_id}", said.message_id), act)
    assert await notices.take("bank", IssuerNotice("n", "m")) == cause
    assert acted == ([] if cause else [Notice("issuer:bank", "m")])


async def test_a_notice_that_cannot_be_read_reaches_nobody() -> None:
    def read(issuer_id: str, said: IssuerNotice) -> Notice:
        raise NotificationRefused("malformed")

    async def act(notice: Notice) -> None:
        raise AssertionError

    assert await IssuerNotices(read, act).take("bank", IssuerNotice("", "")) == "malformed"
