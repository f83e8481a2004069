"""Message authentication codes. Algorithms and their standards: `hsm.algorithms`."""

from collections.abc import Sequence
from typing import Final

from hsm import _core
from hsm.commands.context import Commands, Context


def macs(context: Context, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
    """(key, algorithm, data) -> MAC, of the length the algorithm's name says.

    Key: MAC_KEY whose mode of use permits generation (C, G, N). ISO/IEC 9797-1:2011, NIST SP 800-38B, FIPS 198-1. Fails
    with KeyNotFound, KeyUsageError, InvalidCommand (an unknown name, or a key of a kind it does not take).

    >>> key = load("MAC_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> one("macs", key, "iso9797-alg3-pad1", b"Now is the time for all ").hex().upper()
    'A1C72E74EA3FA9B6'

    NIST SP 800-38B, D.1, example 2, whole and cut:

    >>> key = load("MAC_KEY", "2B7E151628AED2A6ABF7158809CF4F3C", "AES")
    >>> data = bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A")
    >>> [each.hex().upper() for each in run("macs", [(key, "cmac", data), (key, "cmac-4", data)])]
    ['070A16B46B4D4144F79BDD9DD04A287C', '070A16B4']

    UnionPay's terminals:

    >>> key = load("MAC_KEY", "2222222222222222")
    >>> one("macs", key, "cup-ecb", bytes.fromhex("1234567890ABCDEFABCDEF1234567890"))
    b'E267B6E2'
    """
    return _core.macs(context.keys, items)


def verify_macs(context: Context, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
    """(key, algorithm, data, mac) -> None, or MacMismatch. The current key is tried, then the previous one.

    The MAC must have the length of the algorithm's name: a shorter one is wrong. The key's mode of use must permit
    verification (C, V, N). A key under which too many failed within seconds answers TooManyFailures for a moment
    (`hsm.failure_budget`). Fails otherwise as `macs`.

    >>> key = load("MAC_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> mac = bytes.fromhex("A1C72E74EA3FA9B6")
    >>> data = b"Now is the time for all "
    >>> run("verify_macs", [(key, "iso9797-alg3-pad1", data, mac), (key, "iso9797-alg3-pad1", data, mac[:4])])
    [None, MacMismatch('a MAC does not verify under mac_key-1')]
    >>> one("verify_macs", key, "iso9797-alg3-pad1-4", data, mac[:4])
    """
    if not context.mac_failures.untouched(len(items)):
        return [_verify_within_budget(context, item) for item in items]
    results = _core.verify_macs(context.keys, items)
    if any(results):
        for item, result in zip(items, results, strict=True):
            context.mac_failures.record(item[0], result)
    return results


def _verify_within_budget(context: Context, item: tuple[str, str, bytes, bytes]) -> Exception | None:
    refusal = context.mac_failures.refused(item[0])
    if refusal is not None:
        return refusal
    [result] = _core.verify_macs(context.keys, [item])
    context.mac_failures.record(item[0], result)
    return result


COMMANDS: Final[Commands] = {"macs": macs, "verify_macs": verify_macs}
