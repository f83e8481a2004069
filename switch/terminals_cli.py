"""`payswitch terminals`: which payment terminals may connect, and under which master key each signs on.

Exit codes: 0 done; 1 the HSM or the database refused; 2 the command line or the settings are wrong.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

from hsm.usages import KeyUsage

if TYPE_CHECKING:
    from switch.config import Settings
    from switch.store.terminals import PostgresTerminals

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
MASTER_KEY_ALGORITHM: Final = "TDES-2KEY"
_R = TypeVar("_R")

terminals_app = typer.Typer(
    name="terminals",
    help="Payment terminals that connect to the switch: add, list, remove.",
    pretty_exceptions_show_locals=False,
)

MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="Merchant id (DE42), up to 15 letters or digits.")]
TerminalId = Annotated[str, typer.Argument(metavar="TERMINAL", help="Terminal id (DE41), 8 letters or digits.")]
StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


@terminals_app.command()
def add(
    merchant: MerchantId,
    terminal: TerminalId,
    acquirer: Annotated[str, typer.Option(help="The acquirer in whose name it pays.")],
    name: Annotated[str, typer.Option(help="The merchant's name, up to 25 characters.")],
    city: Annotated[str, typer.Option(help="The merchant's city, up to 13 characters.")] = "",
    category: Annotated[str, typer.Option(help="Merchant category code (ISO 18245).")] = "5999",
    key: Annotated[
        str | None,
        typer.Option(help="HSM label of its master key; default: terminal/MERCHANT/TERMINAL/tmk.", show_default=False),
    ] = None,
    custodians: Annotated[
        int,
        typer.Option(min=0, max=9, help="Form the master key now, from so many components; 0: the HSM has it."),
    ] = 0,
    actor: Annotated[
        str | None, typer.Option("--as", help="Your name in the key audit trail; default: the system's user.")
    ] = None,
    state_dir: StateDirOption = None,
) -> None:
    """Let a terminal connect. Its master key comes from components (--custodians), or is in the HSM already.

    `payswitch keys ceremony` and `payswitch keys import` bring one there too: usage KEY_TRANSPORT, TDES-2KEY.
    """
    from switch.domain.authorization import Merchant
    from switch.domain.terminal import Terminal

    _check(r"[0-9A-Za-z]{1,15}", merchant, "MERCHANT has 1 to 15 letters or digits")
    _check(r"[0-9A-Za-z]{8}", terminal, "TERMINAL has 8 letters or digits")
    _check(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", acquirer, "--acquirer has 1 to 64 of A-Z a-z 0-9 . _ -")
    _check(r"[0-9]{4}", category, "--category has four digits")
    if not 0 < len(name) <= 25 or not name.isprintable() or len(city) > 13 or not (city.isprintable() or not city):
        _end("--name has 1 to 25 printable characters, --city at most 13", EXIT_USAGE)
    if custodians == 1:
        _end("one custodian would know the whole key: give two components or more", EXIT_USAGE)
    label = key or f"terminal/{merchant}/{terminal}/tmk"
    settings = _settings(state_dir)
    if custodians:
        from switch import keys_cli

        keys_cli.ceremony(label, KeyUsage.KEY_TRANSPORT, MASTER_KEY_ALGORITHM, custodians, actor=actor,
                          state_dir=state_dir)  # fmt: skip
    check_value = _prepare_keys(settings, label)
    wanted = Terminal(Merchant(merchant, name, city, category_code=category), terminal, acquirer, label)
    batch = _with_store(settings, lambda store: store.add(wanted))
    if batch is None:
        _end(f"terminal {terminal} of {merchant} is there already; remove it first", EXIT_FAILED)
    typer.echo(f"{merchant} {terminal}: master key {label}, KCV {check_value}, batch {batch:06d}")


@terminals_app.command("list")
def list_terminals(state_dir: StateDirOption = None) -> None:
    """All terminals: merchant, terminal, acquirer, open batch, whether it is signed on, master key."""
    for each in _with_store(_settings(state_dir), lambda store: store.all()):
        signed = "signed on" if each.signed_on else "signed off"
        typer.echo(
            f"{each.merchant.id:<15}  {each.terminal_id}  {each.acquirer_id}  batch {each.batch:06d}  {signed}  "
            f"{each.key}  {each.merchant.name}"
        )


@terminals_app.command()
def remove(merchant: MerchantId, terminal: TerminalId, state_dir: StateDirOption = None) -> None:
    """Let a terminal connect no more. Its keys stay in the HSM: `payswitch keys retire` ends them."""
    key = _with_store(_settings(state_dir), lambda store: store.remove(merchant, terminal))
    if key is None:
        _end(f"there is no terminal {terminal[:32]} of {merchant[:32]}", EXIT_FAILED)
    typer.echo(f"{merchant} {terminal} is removed; its master key {key} is still in the HSM")


def _prepare_keys(settings: "Settings", label: str) -> str:
    """The check value of the master key, which must be able to send working keys; the first terminal needs two more."""
    from hsm.errors import HsmError
    from hsm.keys import KeyStore
    from hsm.token import open_token
    from switch.terminals.security import PIN_ZONE_KEY, STORAGE_KEY

    try:
        with open_token(settings.token_dir, settings.hsm.module or None) as token:
            store = KeyStore(token)
            info = store.find(label)
            store.ensure(STORAGE_KEY, KeyUsage.KEY_STORAGE)
            store.ensure(PIN_ZONE_KEY, KeyUsage.PIN_KEY)
    except (HsmError, OSError) as error:
        _end(
            f"{error or type(error).__name__}. Form it with --custodians 2, or with `payswitch keys ceremony {label} "
            f"--usage KEY_TRANSPORT --algorithm {MASTER_KEY_ALGORITHM}`",
            EXIT_FAILED,
        )
    if info.usage is not KeyUsage.KEY_TRANSPORT or info.algorithm == "DES" or info.mode not in "BEN":
        _end(f"{label} is a {info.usage} {info.algorithm} of mode {info.mode}: no key to send keys under", EXIT_FAILED)
    return info.kcv


def _with_store(settings: "Settings", work: "Callable[[PostgresTerminals], Awaitable[_R]]") -> _R:
    """Run it on the settings' database, brought up to date. An embedded one is started for it, unless it runs."""
    from switch.ports import StoreUnavailable
    from switch.store.embedded import EmbeddedPostgres
    from switch.store.migrate import MigrationError, migrate
    from switch.store.pool import create_pool
    from switch.store.terminals import PostgresTerminals

    async def on_database() -> _R:
        url = settings.postgres_url.get_secret_value()
        embedded = None if url else EmbeddedPostgres(settings.state_dir / "postgres")
        if embedded is not None:
            url = await embedded.start()
        try:
            await migrate(url)
            async with await create_pool(url, size=1) as pool:
                return await work(PostgresTerminals(pool))
        finally:
            if embedded is not None:
                await embedded.stop()

    try:
        return asyncio.run(on_database())
    except (StoreUnavailable, MigrationError, OSError) as error:
        _end(str(error) or type(error).__name__, EXIT_FAILED)


def _settings(state_dir: Path | None) -> "Settings":
    from switch.config import ConfigurationError, load

    overrides: dict[str, Any] = {} if state_dir is None else {"state_dir": state_dir}
    try:
        return load(**overrides)
    except ConfigurationError as error:
        _end(str(error), EXIT_USAGE)


def _check(pattern: str, value: str, rule: str) -> None:
    if re.fullmatch(pattern, value, re.ASCII) is None:
        _end(rule, EXIT_USAGE)


def _end(said: str, status: int) -> NoReturn:
    typer.echo(f"payswitch: {said}", err=True)
    raise typer.Exit(status)
