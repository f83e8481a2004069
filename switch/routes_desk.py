"""What `payswitch routes` does: plans and BIN tables from files, into the database, into force."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from pydantic import ValidationError

from switch.config import Settings
from switch.domain.payment_codes import code_range_of
from switch.domain.routing_plan import StoredPlan
from switch.ops import logs
from switch.ports import StoreUnavailable
from switch.routing.bins import BinTable
from switch.routing.check import checked_table, usable_table
from switch.routing.document import place_of, read_plan
from switch.routing.examples import routes_of
from switch.routing.plan import Example, Plan
from switch.routing.table import RoutingTable
from switch.routing.watch import bin_table_of, read_bin_table
from switch.store.embedded import EmbeddedServerError
from switch.store.migrate import MigrationError
from switch.store.routing_plans import AnotherWasFaster, PostgresRoutingPlans
from switch.wiring.routing import opened_plans, settings_table

Result = TypeVar("Result")
Judge = Callable[[Plan, int, Mapping[str, BinTable], Collection[str]], RoutingTable]


class NotDone(Exception):
    """Refused: nothing was changed. The text is for the operator."""


class WrongCommandLine(Exception):
    """The text says what is wrong with it."""


def validate(settings: Settings, file: Path, bins: Sequence[str]) -> RoutingTable:
    """Checked with the tables given. Raises PlanRefused, WrongCommandLine."""
    plan = read_plan(_text_of(file))
    return checked_table(plan, 0, _tables(plan, _files(plan, bins)), settings.channel_names())


def load(settings: Settings, file: Path, bins: Sequence[str], who: str, now_ms: int) -> tuple[int, Plan]:
    """Checked and stored as a draft; returns its version. A table that is stored already need not be given."""
    content = _text_of(file)
    plan = read_plan(content)
    files = _files(plan, bins)
    tables = _tables(plan, files)

    async def work(plans: PostgresRoutingPlans) -> int:
        for index, reference in enumerate(plan.bins):
            if reference.name not in tables:
                tables[reference.name] = await read_bin_table(plans, reference, index)
        checked_table(plan, 0, tables, settings.channel_names())
        for data in files.values():
            await plans.add_bin_table(data, who, now_ms)
        return await plans.add(plan.name, content, who, now_ms)

    return _on(settings, work), plan


def stored_plans(settings: Settings) -> list[StoredPlan]:
    return _on(settings, PostgresRoutingPlans.all)


def content_of(settings: Settings, version: int) -> str:
    return _on(settings, lambda plans: _content(plans, version))


def activate(settings: Settings, version: int, who: str, now_ms: int) -> int:
    """Checked again by today's settings and put in force; returns the version that was before."""

    async def work(plans: PostgresRoutingPlans) -> int:
        before = await plans.live_version()
        await _put_in_force(settings, plans, version, before, who, now_ms)
        return before

    return _on(settings, work)


def rollback(settings: Settings, who: str, now_ms: int) -> tuple[int, int]:
    """To what was in force before the last change; returns (version in force, version that was)."""

    async def work(plans: PostgresRoutingPlans) -> tuple[int, int]:
        last = await plans.last_change()
        if last is None:
            raise NotDone("nothing was ever put in force: the settings' routes decide")
        await _put_in_force(settings, plans, last.previous, last.version, who, now_ms)
        return last.previous, last.version

    return _on(settings, work)


def explain(
    settings: Settings, payment: dict[str, Any], file: Path | None, bins: Sequence[str], version: int | None
) -> list[str]:
    """The lines that `Get` would return: several where weights draw.

    A plan that is refused as a whole is explained all the same, to see why. payment: of `Example`, with `code`, the
    first digits of a payment code.
    """
    example = _example(payment)
    if file is not None:
        plan = read_plan(_text_of(file))
        table = usable_table(plan, 0, _tables(plan, _files(plan, bins)), settings.channel_names())
    else:
        table = _on(settings, lambda plans: _live_or(settings, plans, version))
    return list({route.explanation: None for route in routes_of(table, example, settings.channel_names())})


def _example(payment: dict[str, Any]) -> Example:
    fields = dict(payment)
    code = fields.pop("code")
    known = code_range_of(code) if code else None
    if code and known is None:
        raise WrongCommandLine("no wallet's codes begin with these two digits")
    try:
        return Example(**fields, code_scheme=known.scheme if known else None)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        lines = [f"{place_of(each['loc']) or 'the payment'}: {each['msg']}" for each in faults]
        raise WrongCommandLine("\n".join(lines)) from None


# --- the database -----------------------------------------------------------------------------------------------------


def _on(settings: Settings, work: Callable[[PostgresRoutingPlans], Awaitable[Result]]) -> Result:
    logs.configure("warning")  # what a command says on standard output is for programs, too

    async def run() -> Result:
        async with opened_plans(settings) as plans:
            return await work(plans)

    try:
        return asyncio.run(run())
    except (asyncpg.PostgresError, OSError, StoreUnavailable, MigrationError, EmbeddedServerError) as error:
        raise NotDone(f"the database cannot be used: {error}") from None


async def _put_in_force(
    settings: Settings, plans: PostgresRoutingPlans, version: int, before: int, who: str, now_ms: int
) -> None:
    await _stored_table(settings, plans, version, checked_table)
    try:
        await plans.put_in_force(version, before, who, now_ms)
    except AnotherWasFaster as error:
        raise NotDone(f"{error}: nothing was changed") from None


async def _live_or(settings: Settings, plans: PostgresRoutingPlans, version: int | None) -> RoutingTable:
    wanted = await plans.live_version() if version is None else version
    return await _stored_table(settings, plans, wanted, usable_table)


async def _stored_table(settings: Settings, plans: PostgresRoutingPlans, version: int, judge: Judge) -> RoutingTable:
    """A stored version, judged by today's settings; 0: the settings' own routes."""
    if version == 0:
        return settings_table(settings)
    plan = read_plan(await _content(plans, version))
    tables = {each.name: await read_bin_table(plans, each, index) for index, each in enumerate(plan.bins)}
    return judge(plan, version, tables, settings.channel_names())


async def _content(plans: PostgresRoutingPlans, version: int) -> str:
    found = await plans.find(version)
    if found is None:
        raise NotDone(f"there is no plan of version {version}")
    return found.content


# --- files ------------------------------------------------------------------------------------------------------------


def _files(plan: Plan, bins: Sequence[str]) -> dict[str, bytes]:
    """What --bins names, by the plan's names. Without a name it is the plan's only table."""
    files: dict[str, bytes] = {}
    names = [each.name for each in plan.bins]
    for option in bins:
        name, separator, path = option.partition("=")
        if not separator:
            name, path = (names[0] if len(names) == 1 else ""), option
        if name not in names or name in files:
            known = ", ".join(names) or "none"
            raise WrongCommandLine(f"--bins {option}: must be NAME=CSV, each NAME once, of the plan's: {known}")
        files[name] = _bytes_of(Path(path))
    return files


def _tables(plan: Plan, files: Mapping[str, bytes]) -> dict[str, BinTable]:
    return {
        each.name: bin_table_of(files[each.name], each, f"bins[{index}]")
        for index, each in enumerate(plan.bins)
        if each.name in files
    }


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongCommandLine(f"cannot read {file}: {error.strerror}") from None


def _text_of(file: Path) -> str:
    try:
        return _bytes_of(file).decode()
    except UnicodeDecodeError:
        raise NotDone(f"{file} is not UTF-8") from None
