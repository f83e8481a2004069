"""`payswitch keys`: the life of the HSM's keys from the command line. Shows check values, never keys.

Exit codes: 0 done; 1 the HSM refused or failed; 2 the command line or the settings are wrong.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from hsm.usages import ALGORITHMS, GENERATED, MODES, Exportability, KeyUsage

if TYPE_CHECKING:
    from hsm.audit import AuditLine
    from hsm.keys import KeyInfo, KeyStore

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
DUE_SOON_MS: Final = 30 * 86_400_000
MAX_BLOCK_CHARACTERS: Final = 10_000
MAX_ACTOR: Final = 64

app = typer.Typer(
    name="keys",
    help="Keys of the HSM: list, create, import, export, rotate, retire, form from components; the audit trail.",
    pretty_exceptions_show_locals=False,
)

Label = Annotated[str, typer.Argument(help="The key's label, 1 to 128 printable ASCII characters.")]
NamedLabel = Annotated[str, typer.Argument(metavar="LABEL", help="LABEL, LABEL?previous or LABEL?pending.")]
UsageOption = Annotated[KeyUsage, typer.Option("--usage", help="The one thing the key does.", show_default=False)]
AlgorithmOption = Annotated[
    str | None, typer.Option("--algorithm", help=f"One of {', '.join(ALGORITHMS)}; default: by usage.")
]
ModeOption = Annotated[
    str | None, typer.Option("--mode", help="Mode of use, a letter of X9.143; default: by usage.", show_default=False)
]
ExportabilityOption = Annotated[
    Exportability, typer.Option("--exportability", help="N: never leaves; E: in a key block; S: sensitive.")
]
ExpiresOption = Annotated[
    datetime | None,
    typer.Option("--expires", formats=["%Y-%m-%d"], help="End of the crypto-period; shown, not enforced."),
]
NewVersionOption = Annotated[
    bool, typer.Option("--new-version", help="A pending version of a key that exists; `activate` puts it in force.")
]
UnderOption = Annotated[str, typer.Option("--under", help="Label of the KEY_BLOCK key that protects the block.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.")]
ActorOption = Annotated[
    str | None, typer.Option("--as", help="Your name in the audit trail; default: the system's user.")
]
StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("list")
def list_keys(as_json: JsonOption = False, actor: ActorOption = None, state_dir: StateDirOption = None) -> None:
    """All key versions with state, check value and what is due for a change."""
    with _store(state_dir, actor) as store:
        inventory = store.inventory()
    if as_json:
        typer.echo(json.dumps([_as_dict(each) for each in inventory], indent=1))
        return
    _print_table(
        ("label", "version", "state", "usage", "algorithm", "mode", "export", "KCV", "lives in", "since", "expires"),
        [_row(each) for each in inventory],
    )


@app.command()
def create(
    label: Label,
    usage: UsageOption,
    algorithm: AlgorithmOption = None,
    mode: ModeOption = None,
    exportability: ExportabilityOption = Exportability.NEVER,
    expires: ExpiresOption = None,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """A new random key. The token is made if there is none yet."""
    _check_attributes(algorithm, mode)
    with _store(state_dir, actor, make=True) as store:
        _say(
            store.generate(
                label, usage, algorithm, mode=mode, exportability=exportability, expires_time_ms=_time_ms(expires)
            )
        )


@app.command()
def provide(actor: ActorOption = None, state_dir: StateDirOption = None) -> None:
    """Every key that the switch itself needs and the token lacks (docs/keys.md lists them). Makes the token, too."""
    from switch.own_keys import provide_own_keys

    with _store(state_dir, actor, make=True) as store:
        made = provide_own_keys(store)
    typer.echo("\n".join(made) if made else "nothing is missing")


@app.command("import")
def import_block(
    label: Label,
    under: UnderOption,
    file: Annotated[
        Path | None, typer.Option("--file", help="The key block's file; default: standard input.", show_default=False)
    ] = None,
    new_version: NewVersionOption = False,
    expires: ExpiresOption = None,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Take the key out of a key block (ANSI X9.143). The block is read from a file or standard input."""
    block = _read_block(file)
    with _store(state_dir, actor) as store:
        _say(store.import_key_block(label, under, block, expires_time_ms=_time_ms(expires), pending=new_version))


@app.command()
def export(
    label: NamedLabel,
    under: UnderOption,
    sensitive: Annotated[bool, typer.Option("--sensitive", help="Also a key of exportability S.")] = False,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Print an exportable key as a key block (ANSI X9.143)."""
    with _store(state_dir, actor) as store:
        typer.echo(store.export_key_block(label, under, sensitive=sensitive))


@app.command()
def rotate(
    label: Label,
    activate_now: Annotated[bool, typer.Option("--activate", help="Put the new version in force at once.")] = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """A new random version of a key, pending until `activate`."""
    with _store(state_dir, actor) as store:
        _say(store.rotate(label, activate=activate_now, reason=reason))


@app.command()
def activate(
    label: Label, reason: ReasonOption = "", actor: ActorOption = None, state_dir: StateDirOption = None
) -> None:
    """The pending version becomes current, the current one previous, the previous one is retired."""
    with _store(state_dir, actor) as store:
        _say(store.activate(label, reason=reason))


@app.command()
def retire(
    label: NamedLabel,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Destroy a version's value for ever; of a plain LABEL all versions."""
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Destroy {label} for ever?")):
        _end("nothing was retired; say --yes", EXIT_USAGE)
    with _store(state_dir, actor) as store:
        store.retire(label, reason=reason)
    typer.echo(f"{label} is retired")


@app.command()
def verify(
    remove_strays: Annotated[
        bool, typer.Option("--remove-strays", help="First destroy what a crash left in the token, in no key's name.")
    ] = False,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Recompute every check value, every seal of the key file and the audit trail; exit 1 if anything is wrong."""
    with _store(state_dir, actor) as store:
        for label in store.remove_strays() if remove_strays else ():
            typer.echo(f"removed a stray object {label!r}")
        problems, count = store.verify(), len(store.inventory())
    for problem in problems:
        typer.echo(f"[-] {problem}")
    if problems:
        raise typer.Exit(EXIT_FAILED)
    typer.echo(f"[+] {count} key versions and the audit trail are as they should be")


@app.command()
def ceremony(
    label: Label,
    usage: UsageOption,
    algorithm: AlgorithmOption = None,
    custodians: Annotated[int, typer.Option("--custodians", min=2, max=9, help="How many components.")] = 2,
    mode: ModeOption = None,
    exportability: ExportabilityOption = Exportability.NEVER,
    expires: ExpiresOption = None,
    new_version: NewVersionOption = False,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Form a key from components that custodians type one after the other at this terminal, hidden."""
    from switch.hidden_input import NoTerminal, read_component
    from switch.key_ceremony import Ceremony, CeremonyAborted, Room

    _check_attributes(algorithm, mode)
    room = Room(
        show=lambda text: typer.echo(text, nl=False),
        ask=lambda text: str(typer.prompt(text)),
        confirm=lambda text: typer.confirm(text),
        read=lambda prompt: read_component(prompt, lambda text: typer.echo(text, nl=False)),
    )
    with _store(state_dir, actor, make=True) as store:
        begun = Ceremony(
            store,
            room,
            label,
            usage,
            algorithm or GENERATED[usage],
            custodians,
            mode,
            exportability,
            _time_ms(expires),
            new_version,
        )
        try:
            _say(begun.run())
        except (CeremonyAborted, NoTerminal) as error:
            _end(str(error), EXIT_FAILED)
        except (EOFError, typer.Abort):
            _end("the ceremony was broken off; no key was stored", EXIT_FAILED)


@app.command()
def audit(
    last: Annotated[int, typer.Option("--last", min=1, help="So many lines from the end.")] = 50,
    as_json: JsonOption = False,
    actor: ActorOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Show the audit trail; exit 1 if it was tampered with."""
    with _store(state_dir, actor) as store:
        lines, problems = store.audit_lines()[-last:], store.verify_audit()
    if as_json:
        for line in lines:
            typer.echo(line.text)
    else:
        _print_table(
            ("no.", "time", "actor", "uid", "action", "", "label", "versions", "reason"),
            [_audit_row(each) for each in lines],
        )
    for problem in problems:
        typer.echo(f"[-] {problem}", err=True)
    if problems:
        raise typer.Exit(EXIT_FAILED)


# --- the store --------------------------------------------------------------------------------------------------------


@contextmanager
def _store(state_dir: Path | None, actor: str | None, *, make: bool = False) -> "Iterator[KeyStore]":
    """The key store of the settings' token. What the HSM refuses ends the command. make: create a missing token."""
    from hsm.errors import HsmError
    from hsm.keys import KeyStore
    from hsm.token import create_token, open_token
    from switch.config import ConfigurationError, load

    try:
        settings = load(**({} if state_dir is None else {"state_dir": state_dir}))
    except ConfigurationError as error:
        _end(str(error), EXIT_USAGE)
    name, module = _actor(actor), settings.hsm.module or None
    try:
        if make:
            create_token(settings.token_dir, module)
        with open_token(settings.token_dir, module) as token:
            yield KeyStore(token, name)
    except (HsmError, OSError) as error:
        _end(str(error) or type(error).__name__, EXIT_FAILED)


def _actor(given: str | None) -> str:
    import getpass

    try:
        name = given if given is not None else getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        _end("the system does not know your name; say --as NAME", EXIT_USAGE)
    if not 0 < len(name) <= MAX_ACTOR or not name.isprintable():
        _end(f"a name has 1 to {MAX_ACTOR} printable characters", EXIT_USAGE)
    return name


def _check_attributes(algorithm: str | None, mode: str | None) -> None:
    if algorithm is not None and algorithm not in ALGORITHMS:
        _end(f"no algorithm {algorithm[:32]}; there are {', '.join(ALGORITHMS)}", EXIT_USAGE)
    if mode is not None and mode not in MODES:
        _end(f"no mode of use {mode[:32]}; there are {', '.join(sorted(MODES))}", EXIT_USAGE)


def _read_block(file: Path | None) -> str:
    try:
        if file is not None:
            with file.open(encoding="ascii") as source:
                text = source.read(MAX_BLOCK_CHARACTERS)
        else:
            text = sys.stdin.read(MAX_BLOCK_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        _end(f"cannot read the key block: {type(error).__name__}", EXIT_USAGE)
    return text.strip()


def _time_ms(day: datetime | None) -> int | None:
    return None if day is None else int(day.replace(tzinfo=UTC).timestamp()) * 1000


# --- printing ---------------------------------------------------------------------------------------------------------


def _say(info: "KeyInfo") -> None:
    typer.echo(f"{info.label}: version {info.version}, {info.state}, {info.usage} {info.algorithm}, KCV {info.kcv}")


def _as_dict(info: "KeyInfo") -> dict[str, Any]:
    return {**dataclasses.asdict(info), "due": _is_due(info, _now_ms())}


def _row(info: "KeyInfo") -> tuple[str, ...]:
    now = _now_ms()
    expires = "" if info.expires_time_ms is None else _day(info.expires_time_ms)
    if _is_due(info, now):
        expires += " DUE"
    elif info.expires_time_ms is not None and info.name is not None and info.expires_time_ms - now < DUE_SOON_MS:
        expires += " soon"
    return (
        info.label,
        str(info.version),
        info.state,
        info.usage,
        info.algorithm,
        info.mode,
        info.exportability,
        info.kcv,
        info.place if info.name is not None else "-",
        _day(info.state_since_time_ms),
        expires,
    )


def _is_due(info: "KeyInfo", now_ms: int) -> bool:
    return info.expires_time_ms is not None and info.name is not None and info.expires_time_ms <= now_ms


def _audit_row(line: "AuditLine") -> tuple[str, ...]:
    moment = datetime.fromtimestamp(line.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    event = line.event
    changes = ", ".join(
        f"{'' if each.label == event.label else each.label + ' '}{each.version} {each.before or '-'}→{each.after}"
        for each in event.changes
    )
    return (
        str(line.sequence),
        moment,
        line.actor,
        str(line.uid),
        event.action,
        line.phase,
        event.label,
        changes,
        event.reason,
    )


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(each) for each in row), style="dim" if "retired" in row else None)
    Console().print(table)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _end(text: str, status: int) -> NoReturn:
    typer.echo(f"payswitch: {text}", err=True)
    raise typer.Exit(status)
