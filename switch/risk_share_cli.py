"""`payswitch risk share`: indicators for a partner, signed; and a partner's, checked and put on their list.

Exit codes: 0 done; 1 refused, or the database cannot be used; 2 the command line or the settings are wrong.
"""

import asyncio
import getpass
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from switch.config import Settings
    from switch.risk.sharing import Imported, Sharing

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
SIGNATURE: Final = ".sig"

Result = TypeVar("Result")

share_app = typer.Typer(name="share", help="Indicators in and out, as signed STIX 2.1 bundles.")

PartnerId = Annotated[str, typer.Option("--partner", metavar="ID", help="One of risk_share.partners.")]
OutFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="The bundle; its signature is FILE.sig.")]
KeyFile = Annotated[Path, typer.Option("--key", metavar="FILE", help="Our private key: Ed25519 or P-256, PEM.")]
BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle, as it was sent.")]
SignatureFile = Annotated[
    Path | None, typer.Option("--signature", metavar="FILE", help="Default: the bundle's name and .sig.")
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


@share_app.command("export")
def export(partner: PartnerId, out: OutFile, key: KeyFile, state_dir: StateDir = None) -> None:
    """Write what may go to a partner, and sign it."""
    from switch.risk.share_signature import private_key, sign

    try:
        signer = private_key(_read(key, 64 * 1024))
    except ValueError as error:
        _end(f"{key}: {error}", EXIT_USAGE)
    content = _run(state_dir, lambda sharing: sharing.tell(partner))
    _write(out, content)
    _write(out.with_name(out.name + SIGNATURE), sign(signer, content))
    typer.echo(f"{out}: {len(content):,} bytes, signed")


@share_app.command("import")
def take(file: BundleFile, partner: PartnerId, signature: SignatureFile = None, state_dir: StateDir = None) -> None:
    """Check a partner's bundle and put what is new on his list."""
    from switch.domain.access import Caller, Role
    from switch.risk.stix_reader import LARGEST_BYTES

    content = _read(file, LARGEST_BYTES)
    signed = _read(signature or file.with_name(file.name + SIGNATURE), 1024)
    caller = Caller(f"risk/{getpass.getuser()}", frozenset({Role.RISK}))
    typer.echo(line_of(_run(state_dir, lambda sharing: sharing.take(partner, content, signed, caller))))


def line_of(each: "Imported") -> str:
    told = (
        f"{each.bundle_id}: {each.indicators:,} indicators, {each.known:,} known, {each.expired:,} expired,"
        f" {each.unusable:,} not usable, {each.lifted:,} entries lifted"
    )
    if each.batch is None:
        return f"{told}; nothing new"
    if not each.batch.why:
        return f"{told}; {each.batch.size:,} on {each.batch.name}"
    return f"{told}; {each.batch.size:,} wait for a second person (batch {each.batch.id}): {'; '.join(each.batch.why)}"


def _run(state_dir: Path | None, work: "Callable[[Sharing], Awaitable[Result]]") -> Result:
    from switch.domain.refusals import Refusal
    from switch.ports import StoreUnavailable
    from switch.wiring.settlement import dsn_of

    settings = _settings(state_dir)
    try:
        return asyncio.run(_with_sharing(settings, dsn_of(settings), work))
    except Refusal as refused:
        _end(str(refused), EXIT_REFUSED)
    except (StoreUnavailable, OSError) as error:
        _end(f"the database cannot be used: {error}", EXIT_REFUSED)


async def _with_sharing(settings: "Settings", dsn: str, work: "Callable[[Sharing], Awaitable[Result]]") -> Result:
    from switch.store.pool import create_pool
    from switch.wiring.risk_cases import sharing

    pool = await create_pool(dsn, size=1, name="payswitch risk share")
    try:
        return await work(sharing(settings, pool, _Clock()))
    finally:
        await pool.close()


class _Clock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


def _settings(state_dir: Path | None) -> "Settings":
    from switch.config import ConfigurationError, load

    given: dict[str, Any] = {} if state_dir is None else {"state_dir": state_dir}
    try:
        return load(**given)
    except ConfigurationError as error:
        _end(str(error), EXIT_USAGE)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        _end(f"{path}: {error.strerror}", EXIT_USAGE)
    if len(content) > most:
        _end(f"{path}: larger than {most:,} bytes", EXIT_REFUSED)
    return content


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        _end(f"{path}: {error.strerror}", EXIT_REFUSED)


def _end(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)
