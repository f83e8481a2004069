"""The typed face of DUKPT. The commands are documented in `hsm.commands.dukpt`."""

from collections.abc import Sequence

from hsm._core import HostKey, Key, Token

def derive_initial_key(token: Token, base: Key, ksn: bytes, label: str) -> HostKey:
    """The initial key of a device (X9.24-1:2009, A.6; X9.24-3:2017, 6.3): DUKPT_INITIAL, mode X.

    The KSN has its full length; its counter is not looked at. Raises KeyUsageError, InvalidCommand.
    """

def derive_transaction_key(token: Token, base: Key, ksn: bytes, label: str) -> HostKey:
    """The key of one KSN that its working keys are made of; base: a base or an initial key.

    Of mode E: it is no initial key, and no command derives from it. Raises KeyUsageError, InvalidCommand.
    """

def derive_working_key(token: Token, base: Key, ksn: bytes, key_type: str, purpose: str, label: str) -> HostKey:
    """A working key; key_type: see `hsm.commands.dukpt`. Raises KeyUsageError, InvalidCommand.

    purpose: "pin"; "mac-request", "mac-response", "mac-both"; "data-request", "data-response", "data-both"; and under
    AES (X9.24-3:2017, 6.3.2) "key-encryption" and "key-derivation". Its usage is PIN_KEY, MAC_KEY, DATA_KEY or
    KEY_TRANSPORT; a derivation key is a DUKPT_INITIAL of mode E, see `derive_transaction_key`.
    """

def translate_dukpt_pins(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, str, int, str, int, bytes, str]]
) -> list[bytes | Exception]: ...
def translate_pins_between_dukpt(
    token: Token,
    keys: dict[str, Key],
    items: Sequence[tuple[str, bytes, str, int, str, bytes, str, int, bytes, str]],
) -> list[bytes | Exception]: ...
def dukpt_macs(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, str, str, str, bytes]]
) -> list[bytes | Exception]: ...
def verify_dukpt_macs(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, str, str, str, bytes, bytes]]
) -> list[Exception | None]: ...
def dukpt_encipher(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, str, str, str, bytes, bytes]]
) -> list[bytes | Exception]: ...
def dukpt_decipher(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, str, str, str, bytes, bytes]]
) -> list[bytes | Exception]: ...
