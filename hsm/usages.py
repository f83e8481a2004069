"""What a key may do: usages, modes of use, exportability, algorithms, with the codes of ANSI X9.143:2022 (TR-31)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class KeyUsage(StrEnum):
    """The one thing a key does. The order is that of `Usage` in `_core.pxd`."""

    PIN_KEY = "PIN_KEY"
    MAC_KEY = "MAC_KEY"
    KEY_TRANSPORT = "KEY_TRANSPORT"
    SIGNING = "SIGNING"
    SEALING = "SEALING"
    HASHING = "HASHING"
    KEY_STORAGE = "KEY_STORAGE"
    PVV_KEY = "PVV_KEY"
    IBM3624_KEY = "IBM3624_KEY"
    CARD_VERIFICATION = "CARD_VERIFICATION"
    EMV_CRYPTOGRAM = "EMV_CRYPTOGRAM"
    EMV_CONFIDENTIALITY = "EMV_CONFIDENTIALITY"
    EMV_INTEGRITY = "EMV_INTEGRITY"
    EMV_DYNAMIC_NUMBER = "EMV_DYNAMIC_NUMBER"
    DUKPT_BASE = "DUKPT_BASE"
    DUKPT_INITIAL = "DUKPT_INITIAL"
    DATA_KEY = "DATA_KEY"
    FPE_KEY = "FPE_KEY"
    KEY_BLOCK = "KEY_BLOCK"
    ENVELOPE = "ENVELOPE"
    KEY_WRAPPING = "KEY_WRAPPING"


BLOCK_USAGES: Final[Mapping[KeyUsage, str]] = {
    KeyUsage.PIN_KEY: "P0",
    KeyUsage.MAC_KEY: "M3",  # M6 for AES and SM4, M7 for HMAC: see `block_usage`
    KeyUsage.KEY_TRANSPORT: "K0",
    KeyUsage.PVV_KEY: "V2",
    KeyUsage.IBM3624_KEY: "V1",
    KeyUsage.CARD_VERIFICATION: "C0",
    KeyUsage.EMV_CRYPTOGRAM: "E0",
    KeyUsage.EMV_CONFIDENTIALITY: "E1",
    KeyUsage.EMV_INTEGRITY: "E2",
    KeyUsage.EMV_DYNAMIC_NUMBER: "E4",
    KeyUsage.DUKPT_BASE: "B0",
    KeyUsage.DUKPT_INITIAL: "B1",
    KeyUsage.DATA_KEY: "D0",
    KeyUsage.KEY_BLOCK: "K1",
}
"""Usage → the code of a key block's header (X9.143:2022, table 2). Usages that are not here travel in no key block."""

IMPORTED_USAGES: Final[Mapping[str, KeyUsage]] = {
    **{code: usage for usage, code in BLOCK_USAGES.items()},
    "M0": KeyUsage.MAC_KEY,
    "M1": KeyUsage.MAC_KEY,
    "M6": KeyUsage.MAC_KEY,
    "M7": KeyUsage.MAC_KEY,
}
"""The code of a key block's header → usage."""

MODES: Final = frozenset("BCDEGNSTVXY")
"""Modes of use (X9.143:2022, table 5): B en- and decipher, C generate and verify, D decipher, E encipher, G generate,
N no restriction, S sign, T sign and decipher, V verify, X derive, Y derive variants."""


class Exportability(StrEnum):
    """Whether a key may leave in a key block (X9.143:2022, table 6)."""

    TRUSTED = "E"
    NEVER = "N"
    SENSITIVE = "S"


def block_usage(usage: KeyUsage, kind: str) -> str | None:
    """Header code of a key; kind: "DES", "AES", "SM4" or "HMAC". None: it travels in no key block.

    >>> block_usage(KeyUsage.MAC_KEY, "AES"), block_usage(KeyUsage.PIN_KEY, "AES"), block_usage(KeyUsage.SEALING, "AES")
    ('M6', 'P0', None)
    """
    if usage is KeyUsage.MAC_KEY:
        return {"DES": "M3", "AES": "M6", "SM4": "M6", "HMAC": "M7"}.get(kind)
    return BLOCK_USAGES.get(usage)
