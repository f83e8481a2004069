"""A replay, wired: processes of its own judge, each reads its parts of the days from the database."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from typing import Final

from switch.config import Settings
from switch.domain.risk_replay import ReplayReport
from switch.ports import StoreUnavailable
from switch.ports.risk_desk import Candidate, ReplayFailed
from switch.risk.document import RuleDocument, RulesRefused, read_rules
from switch.risk.model import Model, load_model
from switch.risk.model_file import ModelRefused
from switch.risk.rejudge import Rejudging, Then
from switch.risk.rules import RuleSet, compile_rules
from switch.store.embedded import EmbeddedPostgres
from switch.store.heavy import HeavyConnections
from switch.store.judgement_pages import PART_PAGES, JudgementPart, judgements_in, parts_between
from switch.store.migrate import migrate

# Beside the road, which comes first.
_NICE: Final = 10


class ProcessReplays:
    """Meets `switch.ports.risk_desk.Rejudge`. starter: version 0 of the rules. processes: at once, for one replay."""

    def __init__(self, dsn: str, starter: RuleDocument, processes: int = 2, part_pages: int = PART_PAGES) -> None:
        self._dsn = dsn
        self._starter = starter
        self._processes = processes
        self._part_pages = part_pages

    async def __call__(
        self, candidate: Candidate, from_time_ms: int, to_time_ms: int, heard: Callable[[int], Awaitable[None]]
    ) -> ReplayReport:
        await asyncio.to_thread(_checked, candidate, self._starter)
        parts = await parts_between(HeavyConnections(self._dsn), from_time_ms, to_time_ms, self._part_pages)
        whole = ReplayReport()
        if not parts:
            return whole
        pool = ProcessPoolExecutor(
            min(self._processes, len(parts)),
            multiprocessing.get_context("spawn"),
            _begin,
            (self._dsn, candidate, self._starter),
        )
        futures = [asyncio.wrap_future(_submitted(pool, part)) for part in parts]
        try:
            for each in asyncio.as_completed(futures):
                whole.merge(await each)
                await heard(whole.judged.payments)
            await asyncio.to_thread(pool.shutdown)
        except BrokenProcessPool:
            raise ReplayFailed("a process that judged ended early") from None
        except StoreUnavailable as error:
            raise ReplayFailed(f"the database is not available: {error}") from None
        finally:
            for future in futures:
                future.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
        return whole


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[str]:
    """The DSN of the settings' database, started if it is embedded and does not run, its schema up to date."""
    dsn = settings.postgres_url.get_secret_value()
    embedded = None if dsn else EmbeddedPostgres(settings.state_dir / "postgres")
    try:
        dsn = await embedded.start() if embedded else dsn
        await migrate(dsn)
        yield dsn
    finally:
        if embedded:
            await embedded.stop()


def _checked(candidate: Candidate, starter: RuleDocument) -> tuple[RuleSet, Model | None]:
    """Raises ReplayFailed."""
    try:
        rules = compile_rules(starter if candidate.rules is None else read_rules(candidate.rules))
        return rules, None if candidate.model is None else load_model(candidate.model)
    except (RulesRefused, ModelRefused) as error:
        raise ReplayFailed(str(error)) from None
    except ImportError as error:
        raise ReplayFailed(f"the extra `model` is not installed: {error}") from None


def _submitted(pool: ProcessPoolExecutor, part: JudgementPart) -> "Future[ReplayReport]":
    return pool.submit(_judge_part, part)


# --- in a process of its own ------------------------------------------------------------------------------------------

_given: tuple[str, RuleSet, Model | None] | None = None


def _begin(dsn: str, candidate: Candidate, starter: RuleDocument) -> None:
    global _given
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; whoever started us says when to end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _given = (dsn, *_checked(candidate, starter))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _judge_part(part: JudgementPart) -> ReplayReport:
    if _given is None:
        raise RuntimeError("the process was not begun")
    return asyncio.run(_judged(part, *_given))


async def _judged(part: JudgementPart, dsn: str, rules: RuleSet, model: Model | None) -> ReplayReport:
    rejudging = Rejudging(rules, model)
    async for rows in judgements_in(HeavyConnections(dsn), part):
        rejudging.take([Then(*row) for row in rows])
    return rejudging.report
