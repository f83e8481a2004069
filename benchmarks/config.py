"""What a run is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["stream", "unary"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one end of an mTLS connection; `ca` signed the other end's certificate."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """One run against `target` ("host:port"); results go to the folder `output`.

    tls: the generator's own files, None for plaintext. server_tls: a server's files, for the echo to compare with;
    needed with tls unless echo is False. server_name: the name in the server's certificate, if not the target's host.
    seconds, warmup_s: of each step. connections: to the target; streams and callers are spread over them.
    window: unanswered items in all streams together while the maximum is sought. unary_concurrency: callers at once,
    for unary and echo. frame_limit: most items in a frame. tick_ms: how often the open loop sends what is due.
    open_loop: the ways in which the open loop is run. rate_per_s: its rate; 0 is half of the maximum found.
    drain_s: how long after a step an answer is waited for.
    accounts: how many of `load_account` are used, in turn. zone_pin_key: clear DES key, b"" to send no PIN.
    pids: processes by name whose CPU is counted, children included. metrics_urls: where the switch's metrics are.
    """

    target: str
    output: Path
    tls: TlsFiles | None = None
    server_tls: TlsFiles | None = None
    server_name: str = ""
    echo: bool = True
    seconds: float = 10.0
    warmup_s: float = 2.0
    connections: int = 1
    streams: int = 1
    window: int = 256
    frame_limit: int = 128
    unary_concurrency: int = 64
    tick_ms: float = 5.0
    open_loop: tuple[Mode, ...] = ("stream",)
    rate_per_s: float = 0.0
    drain_s: float = 5.0
    accounts: int = 10_000
    merchant_id: str = "M00000000000001"
    terminal_id: str = "T0000001"
    merchant_category_code: str = "5999"
    amount_minor: int = 100
    currency: str = "CNY"
    zone_pin_key: bytes = field(default=b"", repr=False)
    pids: dict[str, int] = field(default_factory=dict)
    metrics_urls: tuple[str, ...] = ()
