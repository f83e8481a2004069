"""PIN blocks and PINs (ISO 9564-1:2017). A clear PIN is never a Python object: each item is one C section that wipes.

Throughout: *block* is an enciphered PIN block, *format* one of `hsm.algorithms.PIN_FORMATS` that fits its key (0, 1, 3
under DES, 4 under AES or SM4), *PAN* 12 to 19 digits. Format 0 and 3 bind a block to 12 digits of its PAN, 4 to all of
them, 1 to none. Keys may be in the token or on the host.

A wrong PIN and a block that is not valid end alike: PinMismatch, one message, the same steps before it. Verifications
are guarded (`hsm.guard`) by the digits of the account that the reference is really made from, so that digits which do
not matter make no new subject.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from hsm import _core, _pin
from hsm.commands.context import Commands, Context
from hsm.errors import InvalidCommand

PvvItem = tuple[str, int, bytes, str, str, str]
PvvCheckItem = tuple[str, int, bytes, str, str, str, str]
PinChangeItem = tuple[str, int, bytes, bytes, str, str, str, str]
OffsetItem = tuple[str, int, bytes, str, str, str, int, int, str, int]
OffsetCheckItem = tuple[str, int, bytes, str, str, str, int, int, str, str]
ComparisonItem = tuple[str, int, bytes, str, int, bytes, str]

LEAST_DISTINCT: Final = 8
MOST_REPEATED: Final = 4


def translate_pins(context: Context, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
    """(source key, source format, target key, target format, block, PAN digits) -> block under the target key.

    Formats: `hsm.algorithms.PIN_FORMATS`. PAN: 12 to 19 digits; "" only from format 1 to format 1. ISO 9564-1:2017, 9.
    Fails with KeyNotFound, KeyUsageError, PinFormatError.

    >>> source = load("PIN_KEY", "FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658")
    >>> target = load("PIN_KEY", "A1439D67319DFD6461022CD0EFA27AD3")
    >>> block = bytes.fromhex("82C89212C5C9644A")
    >>> [translated] = run("translate_pins", [(source, 0, target, 0, block, "6763390877006088815")])
    >>> translated.hex().upper()
    '8D1A1BE3D87D6B6D'
    """
    return _core.translate_pins(context.token, context.keys, items)


# --- Visa PIN verification value --------------------------------------------------------------------------------------


def generate_pvvs(context: Context, items: Sequence[PvvItem]) -> list[str | Exception]:
    """(PIN key, format, block, PAN, PVV key, PVKI) -> PVV, 4 digits. PVKI: one digit. The first 4 PIN digits count.

    Visa's method as IBM describes it (ICSF Application Programmer's Guide, "Visa PIN algorithms"): 11 digits of the PAN
    before its check digit, the PVKI and 4 PIN digits are enciphered; the first 4 decimal digits, then A to F less 10.
    The PVV key is a double-length or triple-length DES key.
    Fails with KeyNotFound, KeyUsageError, InvalidCommand, PinFormatError.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> pvv_key = load("PVV_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> block = bytes.fromhex("67064B1C1648579A")  # 4524, format 0
    >>> run("generate_pvvs", [(pin_key, 0, block, "1122334455667788", pvv_key, "3")])
    ['4021']
    """
    return _pin.generate_pvvs(context.token, context.keys, items)


def verify_pins_pvv(context: Context, items: Sequence[PvvCheckItem]) -> list[Exception | None]:
    """(PIN key, format, block, PAN, PVV key, PVKI, PVV) -> None, or PinMismatch. As `generate_pvvs`, the PVV compared.

    Guarded: TooManyFailures. Other errors as `generate_pvvs`; PinFormatError only for a block that cannot fit its key.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> pvv_key = load("PVV_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> given = (pin_key, 0, bytes.fromhex("67064B1C1648579A"), "1122334455667788", pvv_key, "3")
    >>> run("verify_pins_pvv", [(*given, "4021"), (*given, "4022")])
    [None, PinMismatch('a PIN does not verify under pvv_key-2')]
    """
    return context.guard.run(
        items,
        lambda item: (item[4], _account(item[3])),
        lambda admitted: _pin.verify_pins_pvv(context.token, context.keys, admitted),
    )


def change_pins(context: Context, items: Sequence[PinChangeItem]) -> list[str | Exception]:
    """(PIN key, format, old block, new block, PAN, PVV key, PVKI, PVV of the old PIN) -> PVV of the new PIN.

    Both blocks have the same key, format and PAN; the PVV key must be allowed to check and to generate. A new block
    that is not valid is a PinFormatError whatever the old block holds; then a wrong old PIN is a PinMismatch. Guarded
    together with `verify_pins_pvv`: TooManyFailures. Other errors as `generate_pvvs`.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> pvv_key = load("PVV_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> old, new = bytes.fromhex("67064B1C1648579A"), bytes.fromhex("6EC49F68EF52273E")  # 4524, 1234
    >>> run("change_pins", [(pin_key, 0, old, new, "1122334455667788", pvv_key, "3", "4021")])
    ['5166']
    """
    return context.guard.run(
        items,
        lambda item: (item[5], _account(item[4])),
        lambda admitted: _pin.change_pins(context.token, context.keys, admitted),
    )


# --- IBM 3624 ---------------------------------------------------------------------------------------------------------


def generate_ibm3624_offsets(context: Context, items: Sequence[OffsetItem]) -> list[str | Exception]:
    """(PIN key, format, block, PAN, IBM 3624 key, decimalisation table, start, length, pad, check length) -> offset.

    Table: 16 digits. Validation data: `length` (4 to 16) digits of the PAN from `start` (0: its first digit), filled up
    to 16 on the right with `pad`, a hexadecimal digit. Check length: 4 to 12, and no more than the PIN has; the offset
    has as many digits and stands for the PIN's last ones, the digits before those are never checked. The key is a
    double-length or triple-length DES key. IBM ICSF Application Programmer's Guide, "PIN offset generation algorithm".

    A decimalisation table that varies gives PINs away (Bond and Zieliński, "Decimalisation table attacks for PIN
    cracking", 2003). So a table needs 8 distinct digits and none more than 4 times, and the first one that is used
    with a key stays its only one until this process ends: any other is an InvalidCommand.
    Fails with KeyNotFound, KeyUsageError, InvalidCommand, PinFormatError.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> key = load("IBM3624_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> given = (pin_key, 0, bytes.fromhex("67064B1C1648579A"), "1122334455667788", key)  # 4524
    >>> run("generate_ibm3624_offsets", [(*given, "1234567890123456", 0, 16, "F", 4)])
    ['0000']
    """
    return _with_fit_tables(context, items, lambda fit: _pin.generate_ibm3624_offsets(context.token, context.keys, fit))


def verify_pins_ibm3624(context: Context, items: Sequence[OffsetCheckItem]) -> list[Exception | None]:
    """(PIN key, format, block, PAN, IBM 3624 key, decimalisation table, start, length, pad, offset) -> None, or
    PinMismatch. As `generate_ibm3624_offsets`; the check length is that of the offset.

    A PIN shorter than the offset is a PinMismatch. Guarded by the validation data: TooManyFailures. Other errors as
    `generate_ibm3624_offsets`; PinFormatError only for a block that cannot fit its key.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> key = load("IBM3624_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> given = (pin_key, 0, bytes.fromhex("67064B1C1648579A"), "1122334455667788", key, "1234567890123456", 0, 16, "F")
    >>> run("verify_pins_ibm3624", [(*given, "0000"), (*given, "0001")])
    [None, PinMismatch('a PIN does not verify under ibm3624_key-2')]
    """

    def verify(fit: Sequence[Any]) -> list[Any]:
        return context.guard.run(
            fit,
            lambda item: (item[4], _validation_data(item[3], *item[6:9])),
            lambda admitted: _pin.verify_pins_ibm3624(context.token, context.keys, admitted),
        )

    return _with_fit_tables(context, items, verify)


def _with_fit_tables(
    context: Context, items: Sequence[tuple[Any, ...]], command: Callable[[Sequence[Any]], list[Any]]
) -> list[Any]:
    """Run the command over the items whose table (their sixth part) may be used with their key (the fifth)."""
    refusals = [_table_refusal(context, item[4], item[5]) for item in items]
    done = iter(command([item for item, refusal in zip(items, refusals, strict=True) if refusal is None]))
    return [next(done) if refusal is None else refusal for refusal in refusals]


def _table_refusal(context: Context, key: str, table: str) -> InvalidCommand | None:
    counts = Counter(table)
    if len(table) != 16 or not table.isascii() or not table.isdigit():
        return InvalidCommand("the decimalisation table must have 16 digits")
    if len(counts) < LEAST_DISTINCT or max(counts.values()) > MOST_REPEATED:
        return InvalidCommand("the decimalisation table needs 8 distinct digits, and none of them more than 4 times")
    if key in context.keys and not context.guard.keeps_to(key, table):
        return InvalidCommand(f"key {key} works with another decimalisation table")
    return None


# --- blocks against blocks, and new PINs ------------------------------------------------------------------------------


def compare_pins(context: Context, items: Sequence[ComparisonItem]) -> list[Exception | None]:
    """(key, format, block, other key, other format, other block, PAN) -> None if the PINs are equal, or PinMismatch.

    One of the blocks at least must be bound to the PAN: two of format 1 are a PinFormatError. Guarded, all keys
    together: TooManyFailures. Fails with KeyNotFound, KeyUsageError, PinFormatError. ISO 9564-1:2017, 9.

    >>> key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> old, new = bytes.fromhex("67064B1C1648579A"), bytes.fromhex("6EC49F68EF52273E")
    >>> run("compare_pins", [(key, 0, old, key, 0, each, "1122334455667788") for each in (old, new)])
    [None, PinMismatch('two PIN blocks do not hold the same PIN')]
    """
    return context.guard.run(
        items,
        lambda item: ("PIN comparison", _behind_the_pin(item[6])),  # all keys: blocks can be translated to another
        lambda admitted: _pin.compare_pins(context.token, context.keys, admitted),
    )


def generate_pins(context: Context, items: Sequence[tuple[str, int, int, str]]) -> list[bytes | Exception]:
    """(PIN key, format, PIN length, PAN) -> block of a new PIN, all PINs of that length being equally likely.

    Format 0, 3 or 4: a new PIN is bound to its card. Length: 4 to 12. Its PVV or offset is made from the block by
    `generate_pvvs` or `generate_ibm3624_offsets`.
    Fails with KeyNotFound, KeyUsageError, InvalidCommand, PinFormatError.

    >>> pin_key = load("PIN_KEY", "8F7957BC38A7327931C25879343BD585")
    >>> [block] = run("generate_pins", [(pin_key, 0, 4, "1122334455667788")])
    >>> run("compare_pins", [(pin_key, 0, block, pin_key, 0, block, "1122334455667788")])
    [None]
    """
    return _pin.generate_pins(context.token, context.keys, items)


def _validation_data(pan: str, start: int, length: int, pad: str) -> str:
    return (pan[start : start + length] + 16 * pad)[:16]


def _account(pan: str) -> str:
    """The digits of a PAN that a PVV is made from."""
    return pan[-12:-1]


def _behind_the_pin(pan: str) -> str:
    """The digits of a PAN that format 0 and 3 add to the fill behind 4 PIN digits. The two before these are added to
    the PIN itself: who changes them changes both PINs alike, and could go on comparing them."""
    return pan[-11:-1]


COMMANDS: Final[Commands] = {
    "translate_pins": translate_pins,
    "generate_pvvs": generate_pvvs,
    "verify_pins_pvv": verify_pins_pvv,
    "change_pins": change_pins,
    "generate_ibm3624_offsets": generate_ibm3624_offsets,
    "verify_pins_ibm3624": verify_pins_ibm3624,
    "compare_pins": compare_pins,
    "generate_pins": generate_pins,
}
