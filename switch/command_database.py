"""The database of the commands that look into it beside a running switch: `payswitch audit`, `ledger`, `retention`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from switch.config import Settings

EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3

# With the settings and the database's URL; returns the exit code.
Work = Callable[["Settings", str], Awaitable[int]]


@asynccontextmanager
async def database_of(settings: "Settings") -> AsyncIterator[str]:
    """Its URL. An embedded one is started for the while, unless it runs. Raises EmbeddedServerError, OSError."""
    from switch.store.embedded import EmbeddedPostgres

    url = settings.postgres_url.get_secret_value()
    embedded = None if url else EmbeddedPostgres(settings.state_dir / "postgres")
    if embedded is not None:
        url = await embedded.start()
    try:
        yield url
    finally:
        if embedded is not None:
            await embedded.stop()


def run_on_database(work: Work, state_dir: Path | None) -> NoReturn:
    """Ends with the work's exit code: 2 where the settings are wrong, 3 where database or HSM cannot be asked."""
    import asyncpg

    from hsm.errors import HsmError
    from switch.config import ConfigurationError, load
    from switch.ops import logs
    from switch.ports import StoreUnavailable
    from switch.store.embedded import EmbeddedServerError

    overrides: dict[str, Any] = {} if state_dir is None else {"state_dir": state_dir}

    async def on_database(settings: "Settings") -> int:
        async with database_of(settings) as url:
            return await work(settings, url)

    try:
        settings = load(**overrides)
        logs.configure("warning", None)  # to stderr: stdout is what was asked for
        code = asyncio.run(on_database(settings))
    except ConfigurationError as error:
        end(str(error), EXIT_USAGE)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        end("the database's schema is older than this version: run `payswitch migrate`", EXIT_UNREACHABLE)
    except (StoreUnavailable, EmbeddedServerError, HsmError, OSError) as error:
        end(str(error) or type(error).__name__, EXIT_UNREACHABLE)
    raise typer.Exit(code)


def end(text: str, code: int) -> NoReturn:
    typer.echo(f"payswitch: {text}", err=True)
    raise typer.Exit(code)
