"""Where a process says that it can be dialled."""

import socket

import pytest

from switch.config import load
from switch.wiring.authorization import advertised


@pytest.mark.parametrize(
    ("listen", "advertise", "address"),
    [
        ("127.0.0.1:0", "", "127.0.0.1:4711"),
        ("[::1]:0", "", "[::1]:4711"),
        ("10.0.0.7:7443", "switch-1.example:7000", "switch-1.example:7000"),
    ],
)
def test_as_it_was_told_or_where_it_listens(listen: str, advertise: str, address: str) -> None:
    assert advertised(load(listen=listen, advertise=advertise), 4711) == address


@pytest.mark.parametrize("listen", ["0.0.0.0:7443", "[::]:7443"])
def test_at_all_addresses_it_is_the_machines_name(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "node-3.example")
    assert advertised(load(listen=listen), 4711) == "node-3.example:4711"
