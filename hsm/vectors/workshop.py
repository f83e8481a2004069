"""A bench for vectors and doctests: a token of its own, keys of given values, every command."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hsm import _core
from hsm.commands import COMMANDS, Context
from hsm.token import create_token, open_token


class Workshop:
    """Keys are made from given values, which a product never does: they live on the host, for as long as this does."""

    def __init__(self, token: _core.Token) -> None:
        self.context = Context(token, {})
        self._numbers = itertools.count(1)

    def load(self, usage: str, value_hex: str, kind: str = "DES", mode: str = "N") -> str:
        """A host key of this value; returns its label. kind: "DES", "AES", "SM4", "HMAC" or "SM2"."""
        value = bytes.fromhex(value_hex)
        mask = bytes((17 * index + 5) % 256 for index in range(len(value)))
        label = f"{usage.lower()}-{next(self._numbers)}"
        masked = bytes(left ^ right for left, right in zip(value, mask, strict=True))
        self.context.keys[label] = _core.combine_host_key(label, usage, [mask, masked], kind, mode=mode)
        return label

    def load_in_token(self, usage: str, value_hex: str, kind: str) -> str:
        """As `load`, as a session object of the token. kind: "DES", "AES" or "HMAC"."""
        label = self.load(usage, value_hex, kind)
        token = self.context.token
        handle = token.create_secret(self.key(label), _core.PERMISSIONS[usage])
        self.context.keys[label] = _core.TokenKey(label, usage, token, kind, handle)
        return label

    def put(self, key: _core.Key) -> str:
        """Keep a key that the core made; returns its label."""
        self.context.keys[key.label] = key
        return key.label

    def key(self, label: str) -> _core.HostKey:
        """A host key by its label, to compare it with another (`same_value`)."""
        key = self.context.keys[label]
        assert isinstance(key, _core.HostKey)
        return key

    def run(self, command: str, items: Sequence[Any]) -> list[Any]:
        """Run a command; see `hsm.commands`."""
        return COMMANDS[command](self.context, items)

    def one(self, command: str, *item: Any) -> Any:
        """Run a command over one item; its error is raised."""
        [result] = self.run(command, [item])
        if isinstance(result, Exception):
            raise result
        return result


@contextmanager
def workshop(directory: Path | None = None) -> Iterator[Workshop]:
    """A workshop on the token of a directory, by default of a temporary one."""
    if directory is None:
        with TemporaryDirectory(prefix="payswitch-vectors-") as temporary, workshop(Path(temporary)) as made:
            yield made
        return
    create_token(directory)
    with open_token(directory) as token:
        yield Workshop(token.core)
