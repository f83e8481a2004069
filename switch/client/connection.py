"""Dialling the switch: credentials, channel options, backoff."""

import random
from dataclasses import dataclass, field

import grpc
import grpc.aio
from grpc.aio import EOF as END_OF_STREAM  # type: ignore[attr-defined]

__all__ = ["END_OF_STREAM", "Backoff", "ClientCredentials", "open_channel"]

_OPTIONS: list[tuple[str, str | int]] = [
    # gRPC would wait a second before its first reconnect; an authorization has 200 ms in all.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two connections of one process to one switch must be two, or balancing over them is a fiction.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(slots=True, frozen=True)
class ClientCredentials:
    """mTLS: PEM bytes of the root CA, of this participant's certificate chain and of its private key."""

    root_ca: bytes
    certificate: bytes
    private_key: bytes = field(repr=False)


def open_channel(target: str, credentials: ClientCredentials | None, server_name: str | None) -> grpc.aio.Channel:
    """A channel to `host:port`; insecure without credentials. server_name: what the server's certificate must name."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    options = list(_OPTIONS)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    secured = grpc.ssl_channel_credentials(credentials.root_ca, credentials.private_key, credentials.certificate)
    return grpc.aio.secure_channel(target, secured, options=options)


class Backoff:
    """Doubling waits with jitter, so that clients that lost the same switch do not come back at the same instant."""

    def __init__(self, first_s: float = 0.02, longest_s: float = 2.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        wait_s = self._next_s
        self._next_s = min(self._longest_s, wait_s * 2)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = self._first_s
