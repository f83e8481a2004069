"""The typed face of EMV on the issuer's side. Tuple shapes: `hsm.commands.emv`, one function there for each here.

The functions behind the commands take and give keys that were derived before, as `HostKey`s: their values never leave
locked memory. They are for key management and for vectors that state intermediate keys.
"""

from collections.abc import Sequence

from hsm._core import HostKey, Key, Token

Keys = dict[str, Key]

def generate_cryptograms(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes]]
) -> list[bytes | Exception]: ...
def verify_cryptograms(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes, bytes]]
) -> list[Exception | None]: ...
def verify_cryptograms_and_respond(
    token: Token,
    keys: Keys,
    items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes, bytes, str, int, bytes, bytes]],
) -> list[bytes | Exception]: ...
def generate_arpcs(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, bytes, int, bytes, bytes]]
) -> list[bytes | Exception]: ...
def script_macs(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int]]
) -> list[bytes | Exception]: ...
def encipher_script_data(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, bytes, str, bytes]]
) -> list[bytes | Exception]: ...
def pin_change_scripts(
    token: Token,
    keys: Keys,
    items: Sequence[tuple[str, str, str, str, str, str, str, bytes, str, str, bytes, int, str, int, bytes, bytes]],
) -> list[bytes | Exception]: ...
def dcvvs(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, str, str]]
) -> list[str | Exception]: ...
def verify_dcvvs(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, str, str, str, str]]
) -> list[Exception | None]: ...
def cvc3s(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, bytes, bytes, bytes]]
) -> list[str | Exception]: ...
def verify_cvc3s(
    token: Token, keys: Keys, items: Sequence[tuple[str, str, str, str, bytes, bytes, bytes, str]]
) -> list[Exception | None]: ...
def card_key_of(token: Token, issuer: Key, option: str, pan: str, psn: str, label: str) -> HostKey: ...
def session_key_of(token: Token, card: HostKey, derivation: str, diversifier: bytes, label: str) -> HostKey: ...
def tree_key_of(
    token: Token, card: HostKey, atc: bytes, branches: int, height: int, start: bytes, label: str
) -> HostKey: ...
def cryptogram_with(session: HostKey, padding: int, data: bytes) -> bytes: ...
def arpc_with(session: HostKey, method: int, cryptogram: bytes, code: bytes, proprietary: bytes) -> bytes: ...
def script_mac_with(session: HostKey, message: bytes, length: int) -> bytes: ...
def cvc3_with(card: HostKey, track: bytes, un: bytes, atc: bytes) -> str: ...
def encipher_with(token: Token, session: HostKey, encipherment: str, data: bytes) -> bytes: ...
def encipher_pin_with(
    token: Token,
    session: HostKey,
    cryptogram: HostKey | None,
    layout: str,
    encipherment: str,
    pin_key: Key,
    pin_format: int,
    pan: str,
    block: bytes,
    current_block: bytes,
) -> bytes: ...
