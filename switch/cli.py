"""The `payswitch` command. Each command imports what it runs only when it runs."""

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from switch.audit_cli import audit_app
from switch.bill_cli import bill_app
from switch.hsm_cli import hsm_app
from switch.keys_cli import app as keys_app
from switch.ledger_cli import ledger_app
from switch.messages_cli import messages_app
from switch.retention_cli import retention_app
from switch.risk_cli import risk_app
from switch.routes_cli import routes_app
from switch.terminals_cli import terminals_app

if TYPE_CHECKING:
    from switch.config import Settings
    from switch.pki import Authority

EXIT_USAGE = 2

Result = TypeVar("Result")

app = typer.Typer(
    name="payswitch",
    help="A contactless-payment authorization switch: UnionPay, Alipay, WeChat Pay and direct issuers behind one "
    "gRPC door. Settings come from PAYSWITCH_… variables and the TOML file named by PAYSWITCH_CONFIG; see "
    "`payswitch check-config`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold card data and keys
    add_completion=False,
)
pki_app = typer.Typer(name="pki", help="Development certificates: an authority, the switch's, participants'.")
app.add_typer(pki_app, no_args_is_help=True)
app.add_typer(hsm_app, no_args_is_help=True)
app.add_typer(keys_app, no_args_is_help=True)
app.add_typer(bill_app, no_args_is_help=True)
app.add_typer(routes_app, no_args_is_help=True)
app.add_typer(risk_app, no_args_is_help=True)
app.add_typer(terminals_app, no_args_is_help=True)
app.add_typer(audit_app, no_args_is_help=True)
app.add_typer(ledger_app, no_args_is_help=True)
app.add_typer(messages_app, no_args_is_help=True)
app.add_typer(retention_app, no_args_is_help=True)


class Role(StrEnum):
    acquirer = "acquirer"
    issuer = "issuer"
    operator = "operator"
    reviewer = "reviewer"
    finance = "finance"
    platform = "platform"
    risk = "risk"
    messenger = "messenger"


Folder = Annotated[
    Path | None, typer.Option("--folder", help="Where the files are; default: <state_dir>/pki.", show_default=False)
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


def _port(help_text: str) -> Any:
    return typer.Option(min=0, max=65_535, help=help_text)


def main() -> None:
    """The console script."""
    _hold_standard_descriptors()
    app()


def _hold_standard_descriptors() -> None:
    """Where standard input, output or error is closed, put nothing in its place.

    Otherwise a socket takes the number, and what is printed goes to a peer; libuv even aborts when it closes one.
    """
    import os

    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        pass
    os.close(descriptor)


@app.command()
def serve(
    state_dir: StateDir = None,
    listen: Annotated[str | None, typer.Option(help="host:port, in place of PAYSWITCH_LISTEN.")] = None,
    services: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, of authorization, order, user, merchant, settlement, operations; default: all.",
            show_default=False,
        ),
    ] = None,
    announce: Annotated[
        bool, typer.Option("--announce", help="Say on stdout, as JSON, that it serves; end when stdin closes.")
    ] = False,
) -> None:
    """Run one switch process until SIGTERM or SIGINT, then drain. Embedded servers start unless URLs are set."""
    named = services.split(",") if services is not None else None
    settings = _settings(state_dir=state_dir, listen=listen, services=named)
    if announce:
        raise typer.Exit(_run("switch.demo.serve", "main", settings))
    raise typer.Exit(_run("switch.app", "serve", settings))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Start everything on this machine and send real authorizations through every channel."""
    raise typer.Exit(_run("switch.demo.run", "main", keep=keep))


@app.command()
def simulators(
    state_dir: StateDir = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    control_port: Annotated[int, _port("Of the control endpoint: books, faults, accounts, on and off.")] = 7586,
    unionpay_port: Annotated[int | None, _port("In place of PAYSWITCH_UNIONPAY__PORT; 0: a free one.")] = None,
    alipay_port: Annotated[int | None, _port("In place of that in the gateway's URL; 0: a free one.")] = None,
    wechat_port: Annotated[int | None, _port("In place of that in the API's URL; 0: a free one.")] = None,
    alipay_https_port: Annotated[int, _port("The same gateway over HTTPS.")] = 7587,
    wechat_https_port: Annotated[int, _port("The same API over HTTPS.")] = 7588,
    client_config: Annotated[
        Path | None,
        typer.Option(
            help="Write here, as JSON, what an independent client needs, once they answer.", show_default=False
        ),
    ] = None,
    documented_pauses: Annotated[
        bool,
        typer.Option("--documented-pauses", help="Repeat notifications as late as the wallets do, not after seconds."),
    ] = False,
    announce: Annotated[
        bool, typer.Option("--announce", help="Say on stdout, as JSON, that they answer; end when stdin closes.")
    ] = False,
) -> None:
    """Run the strict simulators of UnionPay, Alipay, WeChat Pay and one direct issuer until SIGTERM or Ctrl-C.

    They need neither a switch nor a database. docs/simulators.md shows how any client starts against them.
    """
    settings = _settings(state_dir=state_dir)
    ports = {
        "unionpay": unionpay_port,
        "alipay": alipay_port,
        "alipay_https": alipay_https_port,
        "wechat": wechat_port,
        "wechat_https": wechat_https_port,
        "control": control_port,
    }
    status = _run(
        "switch.demo.simulators.command",
        "main",
        settings,
        ports,
        host,
        client_config=client_config,
        announce=announce,
        documented_pauses=documented_pauses,
    )
    raise typer.Exit(status)


@app.command()
def authorize(
    amount: Annotated[str, typer.Argument(help="In major units: 12.34")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "CNY",
    code: Annotated[str | None, typer.Option(help="A payer's code: digits of a wallet, or an EMVCo QR.")] = None,
    card: Annotated[str | None, typer.Option(help="A TEST card's number; the process list shows it.")] = None,
    expiry: Annotated[str, typer.Option(help="The card's, YYMM.")] = "3012",
    pin: Annotated[str | None, typer.Option(help="A TEST card's PIN.")] = None,
    tap: Annotated[bool, typer.Option("--tap", help="Present the card as an NFC tap instead of keyed.")] = False,
    merchant: Annotated[str, typer.Option(help="Merchant id (DE42).")] = "M0000001",
    terminal: Annotated[str, typer.Option(help="Terminal id (DE41).")] = "T0000001",
    acquirer: Annotated[str, typer.Option(help="Whose certificate to use.")] = "demo",
    key: Annotated[str | None, typer.Option(help="Idempotency key; default: a new one.", show_default=False)] = None,
    target: Annotated[str | None, typer.Option(help="host:port of the switch; default: the settings'.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Send one authorization to a running switch and print the answer.

    With a development authority and the simulators of `make demo KEEP=1`; never with a real card.
    """
    if (code is None) == (card is None):
        _refuse("give exactly one of --code and --card")
    _use_running_demo(state_dir)
    settings = _settings(state_dir=state_dir)
    status = _run(
        "switch.demo.authorize",
        "main",
        settings=settings,
        target=target or settings.listen,
        acquirer=acquirer,
        amount=amount,
        currency=currency,
        code=code,
        card=card,
        expiry=expiry,
        pin=pin,
        tap=tap,
        merchant=merchant,
        terminal=terminal,
        key=key,
    )
    raise typer.Exit(status)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure the switch with an open-loop load and, in the same run, a bare gRPC echo on the same cores.

    Without --target everything is started on this machine first, and --silent then keeps the channel from answering.
    `payswitch bench --help` lists the other options.
    """
    own_target = any(each.split("=")[0] in ("--target", "--help", "-h") for each in context.args)
    raise typer.Exit(_run("benchmarks.load" if own_target else "switch.demo.bench", "main", context.args))


@app.command()
def migrate(state_dir: StateDir = None) -> None:
    """Bring the database's schema up to date; does nothing if it is."""
    raise typer.Exit(_run("switch.app", "migrate", _settings(state_dir=state_dir)))


@app.command("check-config")
def check_config() -> None:
    """Validate the settings, print those in force (secrets masked), and name PAYSWITCH_ variables that are none."""
    import os

    from switch import config
    from switch.settings_listing import in_force, unknown_variables

    settings = _settings()
    for path, value in in_force(settings, config.ENV_PREFIX):
        typer.echo(f"{path} = {value}")
    for line in unknown_variables(os.environ, config.Settings, config.ENV_PREFIX, (config.CONFIG_VARIABLE,)):
        typer.echo(f"warning: {line}", err=True)


@pki_app.command("init")
def pki_init(folder: Folder = None) -> None:
    """Create the development authority and the switch's certificate, or renew what is about to expire."""
    authority = _authority(folder)
    typer.echo(_or_refuse(authority.ensure))
    typer.echo(_or_refuse(authority.server).certificate)


@pki_app.command("issue")
def pki_issue(
    role: Annotated[Role, typer.Argument(help="What the participant is.")],
    participant_id: Annotated[str, typer.Argument(metavar="ID", help="1 to 64 of A-Z a-z 0-9 . _ -")],
    folder: Folder = None,
) -> None:
    """Issue a client certificate in the name payswitch://ROLE/ID and print where it and its key are."""
    authority = _authority(folder)
    pair = _or_refuse(lambda: authority.participant(role.value, participant_id))
    typer.echo(pair.certificate)
    typer.echo(pair.private_key)


def _authority(folder: Path | None) -> "Authority":
    from switch.pki import Authority

    return Authority(folder if folder is not None else _settings().state_dir / "pki")


def _or_refuse(action: Callable[[], Result]) -> Result:
    from switch.pki import ParticipantError, PkiError

    try:
        return action()
    except (ParticipantError, PkiError, OSError) as error:
        _refuse(str(error))


def _settings(**overrides: Any) -> "Settings":
    from switch.config import ConfigurationError, load

    try:
        return load(**{name: value for name, value in overrides.items() if value is not None})
    except ConfigurationError as error:
        _refuse(str(error))


def _use_running_demo(state_dir: Path | None) -> None:
    """Without a configuration of the user's own, `authorize` talks to the demo that runs in this folder."""
    import os

    from switch.config import CONFIG_VARIABLE
    from switch.demo.environment import running_config

    path = running_config(state_dir if state_dir is not None else _settings().state_dir)
    if path:
        os.environ[CONFIG_VARIABLE] = path


def _run(module: str, function: str, *arguments: Any, **options: Any) -> int:
    """Call `module.function`, which returns the exit code."""
    status: int = getattr(import_module(module), function)(*arguments, **options)
    return status


def _refuse(text: str) -> NoReturn:
    typer.echo(f"payswitch: {text}", err=True)
    raise typer.Exit(EXIT_USAGE)


if __name__ == "__main__":
    main()
