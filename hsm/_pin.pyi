"""The typed face of PIN verification and generation. Shapes and errors: `hsm.commands.pin`."""

from collections.abc import Sequence

from hsm._core import Key, Token

Keys = dict[str, Key]

def generate_pvvs(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, str, str, str]]
) -> list[str | Exception]: ...
def verify_pins_pvv(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, str, str, str, str]]
) -> list[Exception | None]: ...
def change_pins(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, bytes, str, str, str, str]]
) -> list[str | Exception]: ...
def generate_ibm3624_offsets(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, str, str, str, int, int, str, int]]
) -> list[str | Exception]: ...
def verify_pins_ibm3624(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, str, str, str, int, int, str, str]]
) -> list[Exception | None]: ...
def compare_pins(
    token: Token, keys: Keys, items: Sequence[tuple[str, int, bytes, str, int, bytes, str]]
) -> list[Exception | None]: ...
def generate_pins(token: Token, keys: Keys, items: Sequence[tuple[str, int, int, str]]) -> list[bytes | Exception]: ...
def encipher_chip_pin(
    token: Token, keys: Keys, pin_key: str, pin_format: int, block: bytes, pan: str, target: str
) -> bytes: ...
