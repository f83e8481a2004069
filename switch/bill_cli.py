"""`payswitch bill`: a channel's daily bill. Each command imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated

import typer

bill_app = typer.Typer(name="bill", help="Daily bills of the channels: fetch them, compare them with the journal.")

Channel = Annotated[str, typer.Option(help="unionpay, alipay, wechat or issuer:<id>.")]
Day = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The business day, in Shanghai.")]
Through = Annotated[
    str, typer.Option(help="host:port of a running switch that fetches it; an issuer's: the settings' unless given.")
]
Certificate = Annotated[
    Path | None,
    typer.Option(help="An operator's, for --through; else the development authority's.", show_default=False),
]
PrivateKey = Annotated[Path | None, typer.Option(help="Of --certificate.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="CSV file to write.", show_default=False)]


@bill_app.command()
def fetch(
    channel: Channel,
    day: Day,
    out: Out = None,
    through: Through = "",
    certificate: Certificate = None,
    private_key: PrivateKey = None,
) -> None:
    """Fetch and verify a bill; write it as CSV to --out or to stdout.

    Exit code: 0 fetched, 2 usage, 3 it is not made yet, is refused, or cannot be had.
    """
    from switch import billing

    source = billing.Source(channel, through, certificate, private_key)
    raise typer.Exit(billing.fetch(billing.settings_in_force(), source, billing.day_from(day), out))


@bill_app.command()
def compare(
    channel: Channel,
    day: Day,
    out: Out = None,
    bill: Annotated[
        Path | None, typer.Option(help="What `fetch` wrote, instead of asking the channel.", show_default=False)
    ] = None,
    tolerance_s: Annotated[
        int, typer.Option(min=0, max=6 * 3600, help="So near to midnight a line may be in the neighbouring bill.")
    ] = 600,
    matches: Annotated[bool, typer.Option("--matches", help="Write what matches to --out as well.")] = False,
    through: Through = "",
    certificate: Certificate = None,
    private_key: PrivateKey = None,
) -> None:
    """Compare a bill with the journal's records of that day; changes nothing.

    Every line and every record gets one verdict; the counts are printed, and what is no match goes to --out as CSV.
    Exit code: 0 all agree, 1 something does not, 2 usage, 3 there is no bill or no journal.
    """
    from switch import billing

    source = billing.Source(channel, through, certificate, private_key)
    work = billing.Work(source, billing.day_from(day), tolerance_s, out, bill, matches)
    raise typer.Exit(billing.compare(billing.settings_in_force(), work))


@bill_app.command()
def reconcile(
    channel: Channel,
    day: Day,
    bill: Annotated[
        Path | None, typer.Option(help="What `fetch` wrote, instead of asking the channel.", show_default=False)
    ] = None,
    tolerance_s: Annotated[
        int, typer.Option(min=0, max=6 * 3600, help="So near to midnight a line may be in the neighbouring bill.")
    ] = 600,
    through: Through = "",
    certificate: Certificate = None,
    private_key: PrivateKey = None,
) -> None:
    """Keep a bill, compare it, enter its breaks and fees, as the switch does each day; again changes nothing.

    Exit code: 0 no break is left, 1 some are, 2 usage, 3 there is no bill or no journal, or not now.
    """
    from switch import billing

    source = billing.Source(channel, through, certificate, private_key)
    work = billing.Work(source, billing.day_from(day), tolerance_s, None, bill, matches=False)
    raise typer.Exit(billing.reconcile(billing.settings_in_force(), work))
