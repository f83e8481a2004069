"""Working keys of payment terminals, which live outside: sealed, in the caller's database.

A terminal's keys change with every sign-on, and there are many terminals: in the file of keys each change would rewrite
what all the others have. So a working key is made here, given once under the terminal's master key for the terminal,
and once sealed under a KEY_STORAGE key for the caller, who gives it back with every command that needs it. It is opened
into locked memory for the length of one item.

A sealed key is bound to its usage and to its *owner*, the terminal's name: the key of another terminal, or a MAC key in
the place of a PIN key, does not open. To rotate the storage key is to let all terminals sign on again.

What holds these keys in: none that exists leaves, since they are made in the moment in which they are sent; they are
DES keys for PINs or MACs, no longer than the key they go under. Of a PIN key only deciphering is done here. An ECB
cryptogram says nothing of a key's usage: whoever has the terminal's master key elsewhere can confuse the two, so each
terminal has its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from hsm import _core
from hsm.commands.context import Commands, Context
from hsm.errors import HsmError, InvalidCommand, KeyNotFound, KeyUsageError
from hsm.usages import ALGORITHMS, KeyUsage

_MODES: Final = {KeyUsage.PIN_KEY.value: "D", KeyUsage.MAC_KEY.value: "C"}
# None is longer than a transport key can be.
_ALGORITHMS: Final = {KeyUsage.PIN_KEY.value: ("TDES-2KEY",), KeyUsage.MAC_KEY.value: ("DES", "TDES-2KEY")}
_MAX_OWNER: Final = 128
_OPENED: Final = "a terminal's key"

MadeKey = tuple[bytes, bytes, bytes]


def make_terminal_keys(context: Context, items: Sequence[tuple[str, str, str, str, str]]) -> list[MadeKey | Exception]:
    """(transport key, storage key, owner, usage, algorithm) -> (cryptogram, check, sealed): a new random DES key.

    cryptogram: in ECB under the transport key. check: the first 4 bytes of E(key, zeros). sealed: AES-256-GCM under the
    storage key. Usage and algorithm: PIN_KEY of TDES-2KEY, MAC_KEY of DES or TDES-2KEY. Transport key: KEY_TRANSPORT
    whose mode of use permits enciphering (B, E, N). The parts of DE62 of UnionPay's sign-on.
    Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> master = load("KEY_TRANSPORT", "CA5D92598DCA48CE8A4C76361A9269E9")
    >>> storage = load_in_token("KEY_STORAGE", bytes(range(32)).hex(), "AES")
    >>> made = run("make_terminal_keys", [(master, storage, "m/t", "PIN_KEY", "TDES-2KEY"),
    ...                                   (master, storage, "m/t", "MAC_KEY", "DES")])
    >>> [[len(part) for part in key] for key in made]
    [[16, 4, 44], [8, 4, 36]]
    """
    return [_or_error(_make, context, *item) for item in items]


def terminal_macs(context: Context, items: Sequence[tuple[str, str, bytes, str, bytes]]) -> list[bytes | Exception]:
    """(storage key, owner, sealed MAC key, algorithm, data) -> MAC. MacMismatch if it is not sealed so; else as `macs`.

    >>> master = load("KEY_TRANSPORT", "CA5D92598DCA48CE8A4C76361A9269E9")
    >>> storage = load_in_token("KEY_STORAGE", bytes(range(32)).hex(), "AES")
    >>> cryptogram, _, sealed = one("make_terminal_keys", master, storage, "m/t", "MAC_KEY", "DES")
    >>> len(one("terminal_macs", storage, "m/t", sealed, "cup-ecb", b"message"))
    8
    """
    return [_or_error(_mac, context, *item) for item in items]


def verify_terminal_macs(
    context: Context, items: Sequence[tuple[str, str, bytes, str, bytes, bytes]]
) -> list[Exception | None]:
    """(storage key, owner, sealed MAC key, algorithm, data, mac) -> None, or MacMismatch. Otherwise as `verify_macs`.

    An owner with too many failures within seconds gets TooManyFailures for a moment.

    >>> master = load("KEY_TRANSPORT", "CA5D92598DCA48CE8A4C76361A9269E9")
    >>> storage = load_in_token("KEY_STORAGE", bytes(range(32)).hex(), "AES")
    >>> _, _, sealed = one("make_terminal_keys", master, storage, "m/t", "MAC_KEY", "DES")
    >>> mac = one("terminal_macs", storage, "m/t", sealed, "cup-ecb", b"message")
    >>> run("verify_terminal_macs", [(storage, "m/t", sealed, "cup-ecb", b"message", mac),
    ...                              (storage, "m/t", sealed, "cup-ecb", b"massage", mac)])
    [None, MacMismatch("a MAC does not verify under a terminal's key")]
    """
    return [_verify(context, item) for item in items]


def translate_terminal_pins(
    context: Context, items: Sequence[tuple[str, str, bytes, int, str, int, bytes, str]]
) -> list[bytes | Exception]:
    """(storage key, owner, sealed PIN key, format, target key, target format, block, PAN) -> block under target key.

    As `translate_pins`, from a terminal's key. Fails also with MacMismatch if the key is not sealed so.

    >>> from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    >>> from cryptography.hazmat.primitives.ciphers import Cipher, modes
    >>> value = bytes.fromhex("CA5D92598DCA48CE8A4C76361A9269E9")
    >>> master, zone = load("KEY_TRANSPORT", value.hex()), load("PIN_KEY", "A1439D67319DFD6461022CD0EFA27AD3")
    >>> storage = load_in_token("KEY_STORAGE", bytes(range(32)).hex(), "AES")
    >>> sent, _, sealed = one("make_terminal_keys", master, storage, "m/t", "PIN_KEY", "TDES-2KEY")
    >>> key = Cipher(TripleDES(value + value[:8]), modes.ECB()).decryptor().update(sent)  # as the terminal does
    >>> block = Cipher(TripleDES(key + key[:8]), modes.ECB()).encryptor().update(bytes.fromhex("06126CD6FFFFFFFE"))
    >>> len(one("translate_terminal_pins", storage, "m/t", sealed, 0, zone, 0, block, "6225880000000011"))
    8
    """
    return [_or_error(_translate, context, *item) for item in items]


def _make(context: Context, transport: str, storage: str, owner: str, usage: str, algorithm: str) -> MadeKey:
    if algorithm not in _ALGORITHMS.get(usage, ()):
        raise KeyUsageError(f"a terminal has no {usage[:32]} of {algorithm[:32]}")
    key = _core.generate_host_key(_OPENED, usage, ALGORITHMS[algorithm][1], "DES", mode=_MODES[usage])
    cryptogram, check = _core.wrap_host_key(context.token, _found(context, transport), key)
    return cryptogram, check, _core.seal_host_key(context.token, _storage(context, storage), key, _bound(usage, owner))


def _opened(context: Context, storage: str, owner: str, usage: str, sealed: bytes) -> dict[str, _core.Key]:
    key = _core.open_host_key(
        _OPENED, usage, context.token, _storage(context, storage), sealed, _bound(usage, owner), "DES",
        mode=_MODES[usage],
    )  # fmt: skip
    return {_OPENED: key}


def _mac(context: Context, storage: str, owner: str, sealed: bytes, algorithm: str, data: bytes) -> bytes:
    keys = _opened(context, storage, owner, KeyUsage.MAC_KEY.value, sealed)
    return _given(_core.macs(keys, [(_OPENED, algorithm, data)]))


def _verify(context: Context, item: tuple[str, str, bytes, str, bytes, bytes]) -> Exception | None:
    storage, owner, sealed, algorithm, data, mac = item
    refusal = context.mac_failures.refused(owner)
    if refusal is not None:
        return refusal
    try:
        keys = _opened(context, storage, owner, KeyUsage.MAC_KEY.value, sealed)
    except HsmError as error:
        return error
    [result] = _core.verify_macs(keys, [(_OPENED, algorithm, data, mac)])
    context.mac_failures.record(owner, result)
    return result


def _translate(
    context: Context, storage: str, owner: str, sealed: bytes, source_format: int, target: str, target_format: int,
    block: bytes, pan: str,
) -> bytes:  # fmt: skip
    keys = {**_opened(context, storage, owner, KeyUsage.PIN_KEY.value, sealed), target: _found(context, target)}
    return _given(
        _core.translate_pins(context.token, keys, [(_OPENED, source_format, target, target_format, block, pan)])
    )


def _given(results: list[bytes | Exception]) -> bytes:
    [result] = results
    if isinstance(result, Exception):
        raise result
    return result


def _found(context: Context, label: str) -> _core.Key:
    key = context.keys.get(label)
    if key is None:
        raise KeyNotFound(f"no key {label}")
    return key


def _storage(context: Context, label: str) -> _core.TokenKey:
    key = _found(context, label)
    if label.startswith("hsm/") or not isinstance(key, _core.TokenKey):
        raise KeyUsageError(f"key {label} stores no keys of terminals")
    return key


def _bound(usage: str, owner: str) -> bytes:
    """What a sealed key is authenticated with: nobody opens it as another's, or for another use."""
    if not isinstance(owner, str) or not 0 < len(owner) <= _MAX_OWNER or not owner.isascii() or not owner.isprintable():
        raise InvalidCommand("an owner is a name of 1 to 128 printable ASCII characters")
    return f"payswitch terminal key, version 1\n{usage}\n{owner}".encode()


def _or_error(work: Callable[..., Any], context: Context, *item: Any) -> Any:
    """An item of a wrong shape is a bug, and raises."""
    try:
        return work(context, *item)
    except HsmError as error:
        return error


COMMANDS: Final[Commands] = {
    "make_terminal_keys": make_terminal_keys,
    "terminal_macs": terminal_macs,
    "verify_terminal_macs": verify_terminal_macs,
    "translate_terminal_pins": translate_terminal_pins,
}
