"""`payswitch audit`: who changed what, and whether the trail is whole. Commands import what they run when they run.

Exit codes: 0 done, and whole; 1 the trail is not whole; 2 usage; 3 the database or the HSM cannot be asked.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from switch.command_database import run_on_database

audit_app = typer.Typer(
    name="audit", help="The audit trail: look into it, check that it is whole, sign how long it is.",
    pretty_exceptions_show_locals=False,
)  # fmt: skip
_TIMES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


@audit_app.command()
def verify(
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            help="Exported checkpoints, as many files as there are; default: the settings'.", show_default=False
        ),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(help="PEM of the checkpoints' key, or of one before it; default: the HSM's.", show_default=False),
    ] = None,
    state_dir: StateDirOption = None,
) -> None:
    """Walk the whole chain, against every signed checkpoint in the database and in the exported files.

    Names the first entry that was changed, removed, put in or cut off. Reads as of one moment, a thousand at a time.
    """
    from switch import audit_desk

    run_on_database(audit_desk.verification(checkpoints or [], public_key or []), state_dir)


@audit_app.command()
def checkpoint(state_dir: StateDirOption = None) -> None:
    """Chain what waits, sign how long the chain is now, export it, and print it as JSON."""
    from switch import audit_desk

    run_on_database(audit_desk.checkpoint, state_dir)


@audit_app.command("list")
def list_entries(
    merchant: Annotated[str | None, typer.Option(help='The merchant; "" for what is no merchant\'s.')] = None,
    who: Annotated[str | None, typer.Option(help="operator/ann, user/<id>, credential/<id>, …")] = None,
    act: Annotated[str | None, typer.Option(help="Or how it begins: UserService.")] = None,
    subject: Annotated[str | None, typer.Option(help="<kind>/<id> of what was changed.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_TIMES, help="UTC; it included.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_TIMES, help="UTC; it excluded.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Entries, at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="An object a line.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Print entries, newest first."""
    from switch import audit_desk

    named = {
        "merchant": merchant, "who": who, "act": act, "subject": subject, "since": audit_desk.unix_ms(since),
        "until": audit_desk.unix_ms(until),
    }  # fmt: skip
    conditions = [(name, value) for name, value in named.items() if value is not None]
    run_on_database(audit_desk.listing(conditions, limit, as_json), state_dir)
