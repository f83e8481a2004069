"""What a key may do: usages, modes of use, exportability, algorithms, with the codes of ANSI X9.143:2022 (TR-31)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hsm.errors import InvalidCommand


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


ALGORITHMS: Final[Mapping[str, tuple[str, int]]] = {
    "DES": ("DES", 8),
    "TDES-2KEY": ("DES", 16),
    "TDES-3KEY": ("DES", 24),
    "AES-128": ("AES", 16),
    "AES-192": ("AES", 24),
    "AES-256": ("AES", 32),
    "SM4": ("SM4", 16),
    "HMAC-SHA-256": ("HMAC", 32),
    "RSA-2048": ("RSA", 256),
    "EC-P256": ("EC", 32),
    "SM2": ("SM2", 32),
}
"""Algorithm → (family, bytes). An HMAC key may come with 16 to 64 bytes; 32 are generated."""

HMAC_BYTES: Final = range(16, 65)

FAMILIES: Final[Mapping[KeyUsage, tuple[str, ...]]] = {
    KeyUsage.PIN_KEY: ("DES", "AES"),
    KeyUsage.MAC_KEY: ("DES", "AES", "SM4", "HMAC"),
    KeyUsage.KEY_TRANSPORT: ("DES",),
    KeyUsage.SIGNING: ("RSA", "SM2"),
    KeyUsage.SEALING: ("AES",),
    KeyUsage.HASHING: ("HMAC",),
    KeyUsage.KEY_STORAGE: ("AES",),
    KeyUsage.PVV_KEY: ("DES",),
    KeyUsage.IBM3624_KEY: ("DES",),
    KeyUsage.CARD_VERIFICATION: ("DES",),
    KeyUsage.EMV_CRYPTOGRAM: ("DES", "AES"),
    KeyUsage.EMV_CONFIDENTIALITY: ("DES", "AES"),
    KeyUsage.EMV_INTEGRITY: ("DES", "AES"),
    KeyUsage.EMV_DYNAMIC_NUMBER: ("DES", "AES"),
    KeyUsage.DUKPT_BASE: ("DES", "AES"),
    KeyUsage.DUKPT_INITIAL: ("DES", "AES"),
    KeyUsage.DATA_KEY: ("DES", "AES", "SM4"),
    KeyUsage.FPE_KEY: ("AES",),
    KeyUsage.KEY_BLOCK: ("DES", "AES"),
    KeyUsage.ENVELOPE: ("EC", "SM2"),
    KeyUsage.KEY_WRAPPING: ("AES",),
}
"""Families a usage takes; the first is meant where none is named."""

GENERATED: Final[Mapping[KeyUsage, str]] = {
    KeyUsage.PIN_KEY: "TDES-3KEY",
    KeyUsage.MAC_KEY: "TDES-2KEY",
    KeyUsage.KEY_TRANSPORT: "TDES-3KEY",
    KeyUsage.SIGNING: "RSA-2048",
    KeyUsage.SEALING: "AES-256",
    KeyUsage.HASHING: "HMAC-SHA-256",
    KeyUsage.KEY_STORAGE: "AES-256",
    KeyUsage.PVV_KEY: "TDES-2KEY",
    KeyUsage.IBM3624_KEY: "TDES-2KEY",
    KeyUsage.CARD_VERIFICATION: "TDES-2KEY",
    KeyUsage.EMV_CRYPTOGRAM: "TDES-2KEY",
    KeyUsage.EMV_CONFIDENTIALITY: "TDES-2KEY",
    KeyUsage.EMV_INTEGRITY: "TDES-2KEY",
    KeyUsage.EMV_DYNAMIC_NUMBER: "TDES-2KEY",
    KeyUsage.DUKPT_BASE: "AES-128",
    KeyUsage.DUKPT_INITIAL: "AES-128",
    KeyUsage.DATA_KEY: "AES-256",
    KeyUsage.FPE_KEY: "AES-256",
    KeyUsage.KEY_BLOCK: "AES-256",
    KeyUsage.ENVELOPE: "EC-P256",
    KeyUsage.KEY_WRAPPING: "AES-256",
}
"""The algorithm of a generated key where none is named."""

USAGE_MODES: Final[Mapping[KeyUsage, str]] = {
    KeyUsage.PIN_KEY: "BDE",
    KeyUsage.MAC_KEY: "CGV",
    KeyUsage.KEY_TRANSPORT: "BDE",
    KeyUsage.SIGNING: "S",
    KeyUsage.SEALING: "B",
    KeyUsage.HASHING: "G",
    KeyUsage.KEY_STORAGE: "B",
    KeyUsage.PVV_KEY: "CGV",
    KeyUsage.IBM3624_KEY: "CGV",
    KeyUsage.CARD_VERIFICATION: "CGV",
    KeyUsage.EMV_CRYPTOGRAM: "X",
    KeyUsage.EMV_CONFIDENTIALITY: "X",
    KeyUsage.EMV_INTEGRITY: "X",
    KeyUsage.EMV_DYNAMIC_NUMBER: "X",
    KeyUsage.DUKPT_BASE: "X",
    KeyUsage.DUKPT_INITIAL: "X",
    KeyUsage.DATA_KEY: "BDE",
    KeyUsage.FPE_KEY: "BDE",
    KeyUsage.KEY_BLOCK: "BDE",
    KeyUsage.ENVELOPE: "D",
    KeyUsage.KEY_WRAPPING: "BDE",
}
"""Modes of use a usage takes (X9.143:2022, table 5, by usage), besides N; the first is meant where none is named."""

TOKEN_FAMILIES: Final[Mapping[KeyUsage, tuple[str, ...]]] = {
    KeyUsage.PIN_KEY: ("DES", "AES"),
    KeyUsage.KEY_TRANSPORT: ("DES",),
    KeyUsage.SIGNING: ("RSA",),
    KeyUsage.SEALING: ("AES",),
    KeyUsage.HASHING: ("HMAC",),
    KeyUsage.KEY_STORAGE: ("AES",),
    KeyUsage.PVV_KEY: ("DES",),
    KeyUsage.IBM3624_KEY: ("DES",),
    KeyUsage.EMV_CRYPTOGRAM: ("DES", "AES"),
    KeyUsage.EMV_CONFIDENTIALITY: ("DES", "AES"),
    KeyUsage.EMV_INTEGRITY: ("DES", "AES"),
    KeyUsage.EMV_DYNAMIC_NUMBER: ("DES", "AES"),
    KeyUsage.DUKPT_BASE: ("AES",),  # triple DES needs variants of the key, which the token cannot make
    KeyUsage.DUKPT_INITIAL: ("AES",),
    KeyUsage.ENVELOPE: ("EC",),
    KeyUsage.KEY_WRAPPING: ("AES",),
}
"""Families that live in the token, as long as the key is not exportable. All other keys live on the host."""

DATA_AT_REST: Final = frozenset({KeyUsage.SEALING, KeyUsage.DATA_KEY, KeyUsage.FPE_KEY, KeyUsage.KEY_WRAPPING})
"""Usages whose keys are needed for as long as what they enciphered is kept."""


def algorithm_of(family: str, length: int) -> str:
    """The algorithm of a key of this family and length in bytes. Raises InvalidCommand.

    >>> algorithm_of("DES", 16), algorithm_of("HMAC", 20)
    ('TDES-2KEY', 'HMAC-SHA-256')
    """
    if family == "HMAC" and length in HMAC_BYTES:
        return "HMAC-SHA-256"
    for name, shape in ALGORITHMS.items():
        if shape == (family, length):
            return name
    raise InvalidCommand(f"no {family} key has {length} bytes")


def lives_in_token(usage: KeyUsage, family: str, exportability: Exportability) -> bool:
    """Whether a key is kept in the token, where nobody can read it; else on the host, sealed under the storage key.

    >>> lives_in_token(KeyUsage.PIN_KEY, "AES", Exportability.NEVER)
    True
    >>> lives_in_token(KeyUsage.PIN_KEY, "AES", Exportability.TRUSTED)
    False
    """
    return exportability is Exportability.NEVER and family in TOKEN_FAMILIES.get(usage, ())
