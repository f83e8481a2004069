"""Payment cryptography."""

from collections.abc import Sequence
from typing import Any, Protocol


def hsm_is_away(error: BaseException) -> bool:
    """Whether the HSM could not be reached: the same may be asked again later.

    Its errors are known by their names: it imports nothing of ours, and we nothing of it.
    """
    return any(each.__name__ == "HsmUnavailable" for each in type(error).__mro__)


class Hsm(Protocol):
    """Payment cryptography in batches. Keys are labels. An item that fails yields an exception in its place.

    Items are plain tuples, so that `hsm` needs nothing of ours:
    translate_pins: (source key, source format, target key, target format, block, PAN digits) -> block under target
    macs: (key, algorithm, data) -> MAC; algorithm: see `hsm.algorithms`
    verify_macs: (key, algorithm, data, mac) -> None, or the exception
    sign: (key, data) -> RSASSA-PKCS1-v1_5 SHA-256 signature
    seal / unseal: (key, bytes, associated data) -> bytes; AES-256-GCM
    keyed_hashes: (key, data) -> HMAC-SHA-256, 32 bytes
    run: any command by its name, with the items and results that `hsm.commands` gives for it
    """

    async def run(self, command: str, items: Sequence[Any]) -> list[Any]: ...

    async def translate_pins(
        self, items: Sequence[tuple[str, int, str, int, bytes, str]]
    ) -> list[bytes | Exception]: ...

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]: ...

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]: ...

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]: ...

    async def seal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]: ...

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]: ...

    async def keyed_hashes(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]: ...

    async def public_key(self, label: str) -> bytes:
        """PEM of the public half of a key pair: of SIGNING or ENVELOPE. Raises the HSM's error."""

    async def import_working_key(self, label: str, usage: str, under: str, wrapped: bytes) -> str:
        """Unwrap a DES key (ECB under `under`), keep it as pending under `label`; returns its KCV, six hex digits."""

    async def activate_working_key(self, label: str) -> None:
        """The pending key becomes current, the current one previous (still verifies MACs)."""
