"""The command line of a run."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.config import LoadConfig, Mode, TlsFiles

_DEFAULTS = LoadConfig("", Path())
# Options that are fields of LoadConfig by the same name, where their default is.
_NUMBERS = {
    "seconds": "measured length of each step",
    "warmup_s": "what runs before it in each step, not measured",
    "tick_ms": "how often the open loop sends what is due",
    "rate_per_s": "of the open loop; 0 is half of the maximum found",
    "drain_s": "how long after a step an answer is waited for",
}
_COUNTS = {
    "connections": "to the switch; streams and callers are spread over them",
    "streams": "AuthorizeStream calls",
    "window": "unanswered items in all streams together while the maximum is sought",
    "frame_limit": "most items in one frame",
    "unary_concurrency": "calls open at once, of unary and echo",
    "accounts": "cards used in turn",
    "amount_minor": "of every sale, in minor units",
}
_TEXTS = {
    "merchant_id": "DE42",
    "terminal_id": "DE41",
    "merchant_category_code": "ISO 18245",
    "currency": "ISO 4217, alphabetic",
}
_MODES: dict[str, tuple[Mode, ...]] = {"stream": ("stream",), "unary": ("unary",), "both": ("stream", "unary")}


def parse_arguments(arguments: Sequence[str] | None) -> LoadConfig:
    """Ends the process with a message that names the option, as argparse does, if something is wrong."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    own, server = (_tls_files(parser, given, prefix) for prefix in ("", "server_"))
    if given["echo"] and own and not server:
        parser.error("--server-ca, --server-certificate and --server-key are needed for the echo; or give --no-echo")
    given["open_loop"] = _MODES[given["open_loop"]]
    given["metrics_urls"] = tuple(given["metrics_urls"])
    return LoadConfig(**given, tls=own, server_tls=server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="payswitch bench",
        description="Bare echo, maximum of stream and unary, then the open loop at half of the maximum.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--target", required=True, help="host:port of the switch")
    parser.add_argument("--output", type=Path, required=True, help="folder for load.json and latency.png")
    for prefix, whose in (("", "the generator's"), ("server-", "for the echo: a server's")):
        for part in ("ca", "certificate", "key"):
            parser.add_argument(f"--{prefix}{part}", type=Path, help=f"{whose} {part}, PEM")
    parser.add_argument("--server-name", default="", help="name in the switch's certificate, if not the host")
    parser.add_argument("--no-echo", dest="echo", action="store_false", help="leave the bare echo out")
    parser.add_argument("--open-loop", choices=tuple(_MODES), default="stream", help="what the open loop sends through")
    for names, kind in ((_NUMBERS, _not_negative), (_COUNTS, _positive), (_TEXTS, str)):
        for name, meaning in names.items():
            default = getattr(_DEFAULTS, name)
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=meaning)
    parser.add_argument(
        "--zone-pin-key-file",
        dest="zone_pin_key",
        type=_key_of_file,
        default=b"",
        help="file with the hex of the clear zone PIN key; without it no PIN is sent",
    )
    parser.add_argument("--pids", type=_pids, default={}, help="name=pid,...: whose CPU is counted, with children")
    parser.add_argument(
        "--metrics", dest="metrics_urls", action="append", default=[], help="URL of a switch's /metrics; repeatable"
    )
    return parser


def _tls_files(parser: argparse.ArgumentParser, given: dict[str, Any], prefix: str) -> TlsFiles | None:
    """Takes its three arguments out of `given`: all of them or none."""
    files = [given.pop(f"{prefix}{part}") for part in ("ca", "certificate", "key")]
    if all(files):
        return TlsFiles(*files)
    if any(files):
        option = f"--{prefix}".replace("_", "-")
        parser.error(f"{option}ca, {option}certificate and {option}key go together")
    return None


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _not_negative(text: str) -> float:
    if not 0 <= (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _key_of_file(path: str) -> bytes:
    """Errors tell the file, not what is in it."""
    try:
        key = bytes.fromhex(Path(path).read_text())
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{path} is not a readable file of hex digits") from None
    if len(key) not in (16, 24):
        raise argparse.ArgumentTypeError(f"{path} does not hold 16 or 24 bytes")
    return key


def _pids(text: str) -> dict[str, int]:
    pids = {name: int(pid) for name, _, pid in (part.partition("=") for part in text.split(",") if part)}
    for name, pid in pids.items():
        if not psutil.pid_exists(pid):
            raise argparse.ArgumentTypeError(f"no process {pid} for {name}")
    return pids
