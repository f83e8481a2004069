"""Derived unique keys per transaction, with triple DES (ANSI X9.24-1:2009, annex A) and AES (ANSI X9.24-3:2017, 6).

What the items have in common:

- Base: the label of a base derivation key (DUKPT_BASE) or of one device's initial key (DUKPT_INITIAL); its mode of use
  must allow deriving (X, Y or N). A double-length DES key works by X9.24-1, which has no triple-length ones; an AES
  key of any length by X9.24-3. DES keys must be on the host, AES keys may be in the token.
- KSN: as the device sent it: 10 bytes under a DES key (the last 21 bits are the counter), 12 under an AES key (the last
  32 bits). A counter of zero, or with more one bits than a device ever has (10; 16), is refused. **Nothing here
  remembers KSNs**: that a KSN is new, and that an initial key is used with its own device's KSNs only, is the caller's
  matter. A foreign KSN under an initial key gives keys that no device has.
- Key type, of the derived key: "TDES-2" under a DES key; under an AES key "TDES-2", "TDES-3", "AES-128", "AES-192",
  "AES-256", and for MACs "HMAC-128", "HMAC-192", "HMAC-256". AES and HMAC keys longer than the base key are refused
  (X9.24-3:2017, 6.1).
- Direction: "request" is what the device sends (key usages 2000 and 3000 of X9.24-3, table 2: MAC generation, data
  encryption), "response" what it gets (2001, 3001), "both" one key for both ways (2002, 3002; X9.24-1 has it as the
  request's key).

Every command fails with KeyNotFound, KeyUsageError, InvalidCommand (KSN, key type, direction) and HsmUnavailable, apart
from what its own documentation names. Derived keys are in locked memory for one item and wiped after it. An item takes
2 to 9 µs, under a key in SoftHSM 6 to 15 µs, more with more one bits in the counter (best of 15 rounds on a shared
core; up to three times that was seen beside other work).
"""

from collections.abc import Sequence
from typing import Any, Final

from hsm import _dukpt
from hsm.commands.context import Commands, Context

TDES_KSN_BYTES: Final = 10
TDES_COUNTER_BITS: Final = 21
AES_DEVICE_BYTES: Final = 8

TranslateItem = tuple[str, bytes, str, int, str, int, bytes, str]
BetweenItem = tuple[str, bytes, str, int, str, bytes, str, int, bytes, str]
MacItem = tuple[str, bytes, str, str, str, bytes]
VerifyItem = tuple[str, bytes, str, str, str, bytes, bytes]
DataItem = tuple[str, bytes, str, str, str, bytes, bytes]


def translate_dukpt_pins(context: Context, items: Sequence[TranslateItem]) -> list[bytes | Exception]:
    """(base, KSN, key type, format, target key, target format, block, PAN digits) -> block under the target key.

    From a device's PIN key to a PIN_KEY; formats and PAN as in `translate_pins`: 0, 1, 3 under TDES-2 and TDES-3, 4
    under AES. X9.24-1:2009, A.4; X9.24-3:2017, 6.3; ISO 9564-1:2017, 9. Also fails with PinFormatError.

    The first row of X9.24-1:2009, A.4:

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> target = load("PIN_KEY", "A1439D67319DFD6461022CD0EFA27AD3")
    >>> ksn, block = bytes.fromhex("FFFF9876543210E00001"), bytes.fromhex("1B9C1845EB993A7A")
    >>> one("translate_dukpt_pins", base, ksn, "TDES-2", 0, target, 0, block, "4012345678909").hex().upper()
    'D4F291AFC8C04E7A'
    """
    return _dukpt.translate_dukpt_pins(context.token, context.keys, items)


def translate_pins_between_dukpt(context: Context, items: Sequence[BetweenItem]) -> list[bytes | Exception]:
    """(base, KSN, key type, format, target base, target KSN, target key type, target format, block, PAN) -> block.

    From one device's PIN key to another's, as `translate_dukpt_pins`. The caller counts the target's KSN on.

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> first, second = bytes.fromhex("FFFF9876543210E00001"), bytes.fromhex("FFFF9876543210E00002")
    >>> source, target = (base, first, "TDES-2", 0), (base, second, "TDES-2", 0)
    >>> block = bytes.fromhex("1B9C1845EB993A7A")
    >>> one("translate_pins_between_dukpt", *source, *target, block, "4012345678909").hex().upper()
    '10A01C8D02C69107'
    """
    return _dukpt.translate_pins_between_dukpt(context.token, context.keys, items)


def dukpt_macs(context: Context, items: Sequence[MacItem]) -> list[bytes | Exception]:
    """(base, KSN, key type, direction, algorithm, data) -> MAC, as long as the algorithm's name says.

    Algorithms: `iso9797-…` (TDES key types; X9.24 means `iso9797-alg3-pad1`), `cmac` (TDES and AES key types) and
    `hmac-sha256` (HMAC key types) of `hsm.algorithms`, whole or cut by their endings.

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> item = (base, bytes.fromhex("FFFF9876543210E00001"), "TDES-2", "request", "iso9797-alg3-pad1-4")
    >>> one("dukpt_macs", *item, b"4012345678909D987").hex().upper()
    '9CCC7817'
    """
    return _dukpt.dukpt_macs(context.token, context.keys, items)


def verify_dukpt_macs(context: Context, items: Sequence[VerifyItem]) -> list[Exception | None]:
    """(base, KSN, key type, direction, algorithm, data, mac) -> None, or MacMismatch. As `dukpt_macs`.

    Failures count against the device, the KSN without its counter: TooManyFailures.

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> item = (base, bytes.fromhex("FFFF9876543210E00001"), "TDES-2", "response", "iso9797-alg3-pad1-4")
    >>> run("verify_dukpt_macs", [(*item, b"4012345678909D987", bytes.fromhex("20364223"))])
    [None]
    """
    return context.guard.run(
        items, _device_of, lambda admitted: _dukpt.verify_dukpt_macs(context.token, context.keys, admitted)
    )


def _device_of(item: tuple[Any, ...]) -> tuple[str, str]:
    """(base, KSN without its counter)."""
    base, ksn, *_ = item
    if len(ksn) == TDES_KSN_BYTES:
        return base, f"{int.from_bytes(ksn) >> TDES_COUNTER_BITS:x}"
    return base, ksn[:AES_DEVICE_BYTES].hex()


def dukpt_encipher(context: Context, items: Sequence[DataItem]) -> list[bytes | Exception]:
    """(base, KSN, key type, direction, "CBC" or "ECB", IV, data) -> enciphered data, as long as the data.

    Data: whole blocks of 8 bytes (TDES) or 16 (AES), one at least; nothing is padded. IV: one block, b"" for ECB. NIST
    SP 800-38A, 6.1 and 6.2.

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> item = (base, bytes.fromhex("FFFF9876543210E00001"), "TDES-2", "request", "CBC", bytes(8))
    >>> one("dukpt_encipher", *item, b"4012345678909D987".ljust(24, b"\\0")).hex().upper()
    'FC0D53B7EA1FDA9EE68AAF2E70D9B9506229BE2AA993F04F'
    """
    return _dukpt.dukpt_encipher(context.token, context.keys, items)


def dukpt_decipher(context: Context, items: Sequence[DataItem]) -> list[bytes | Exception]:
    """(base, KSN, key type, direction, "CBC" or "ECB", IV, data) -> clear data. The inverse of `dukpt_encipher`.

    >>> base = load("DUKPT_BASE", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> item = (base, bytes.fromhex("FFFF9876543210E00001"), "TDES-2", "request", "CBC", bytes(8))
    >>> one("dukpt_decipher", *item, bytes.fromhex("FC0D53B7EA1FDA9EE68AAF2E70D9B9506229BE2AA993F04F"))[:17]
    b'4012345678909D987'
    """
    return _dukpt.dukpt_decipher(context.token, context.keys, items)


COMMANDS: Final[Commands] = {
    "translate_dukpt_pins": translate_dukpt_pins,
    "translate_pins_between_dukpt": translate_pins_between_dukpt,
    "dukpt_macs": dukpt_macs,
    "verify_dukpt_macs": verify_dukpt_macs,
    "dukpt_encipher": dukpt_encipher,
    "dukpt_decipher": dukpt_decipher,
}
