"""Key blocks: ANSI X9.143:2022 (TR-31) versions A, B, C and D, ISO 20038:2017 version E. Headers and policy.

A key block carries one key under a key block protection key (usage KEY_BLOCK), bound to a header that says what the key
may do. `import_key` and `export_key` are what key management uses; `open_block` and `make_block` know no policy.

The policy: a key travels only if this HSM has its usage, with a mode of use that X9.143 allows for that usage, and if
the protection key is at least as strong as the key (NIST SP 800-57 part 1, table 2). So AES-256 under AES-128, any AES
under triple DES, and triple-length under double-length DES are refused, though such blocks exist and `open_block` opens
them. Single DES is refused, also as triple DES of equal parts; so are components, and blocks that are for storage and
not for exchange. Versions A and C are deprecated: they are imported, C is exported where it is asked for, A never.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hsm import _core, _key_block
from hsm.errors import KeyBlockError, KeyNotFound, KeyUsageError
from hsm.usages import IMPORTED_USAGES, MODES, Exportability, KeyUsage, block_usage

MAX_CHARACTERS: Final = 9999
FIXED_CHARACTERS: Final = 16
MAX_SHORT_BLOCK: Final = 255
PADDING_BLOCK: Final = "PB"
HASH_BLOCK: Final = "HM"
SHA_256: Final = "21"

CIPHER_BLOCK_BYTES: Final = {"A": 8, "B": 8, "C": 8, "D": 16, "E": 16}
"""Version → block of its cipher, of which a header's length is a multiple."""

MAC_BYTES: Final = {"A": 4, "B": 8, "C": 4, "D": 16, "E": 16}

USAGE: Final = re.compile("B[0-3]|C0|D[0-3]|E[0-7]|I0|K[0-4]|M[0-8]|P[01]|S[0-2]|V[0-5]")
"""X9.143:2022, 6.3.1. Numeric codes are proprietary: refused."""

ALGORITHMS: Final = frozenset("ADEHRST")
"""X9.143:2022, 6.3.2: AES, DES, elliptic curve, HMAC, RSA, DSA, triple DES. SM4 has no letter."""

KINDS: Final = {"T": "DES", "A": "AES", "H": "HMAC"}
"""Letter → kind of host key, of the algorithms this HSM takes."""

LETTERS: Final = {kind: letter for letter, kind in KINDS.items()}

KEY_BYTES: Final[Mapping[str, Sequence[int]]] = {"T": (16, 24), "A": (16, 24, 32), "H": range(14, 65)}
"""Lengths of a key in bytes. HMAC: at least 112 bits (NIST SP 800-131A rev. 2, table 9)."""

MASKED_BYTES: Final = {"T": 24, "A": 32, "H": 64}
"""Bytes every key is padded to, the longest of its algorithm: a block does not tell the length (X9.143:2022, 7.3.1)."""

SINGLE_DES_BITS: Final = 56

DES_STRENGTH_BITS: Final = {1: SINGLE_DES_BITS, 2: 80, 3: 112}
"""Independent parts of a DES key → its strength (NIST SP 800-57 part 1, table 2)."""

_CIPHER, _MAC, _DERIVATION = "BDEN", "CGNV", "NX"

PERMITTED: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("D0", "K0", "K1", "P0"), ("TA", _CIPHER)),
    **dict.fromkeys(("B0", "B1", "E0", "E1", "E2", "E4"), ("TA", _DERIVATION)),
    **dict.fromkeys(("C0", "M0", "M1", "M3", "V1", "V2"), ("T", _MAC)),
    "M6": ("TA", _MAC),
    "M7": ("H", _MAC),
}
"""Usage → algorithms and modes of use (X9.143:2022, 6.3.1 to 6.3.3; N: no restriction but the usage). Narrower where
the use is one of triple DES here: CVV, PVV, IBM 3624 offsets, ISO 16609, ISO 9797-1 algorithms 1 and 3."""

_HEADER = re.compile(
    r"(?P<version>[A-E])(?P<length>[0-9]{4})(?P<usage>[A-Z0-9]{2})(?P<algorithm>[A-Z0-9])(?P<mode>[A-Z0-9])"
    r"(?P<version_number>[A-Za-z0-9]{2})(?P<exportability>[A-Z0-9])(?P<count>[0-9]{2})(?P<context>[0-9])0"
)
_VERSION_NUMBER = re.compile(r"[A-Za-z0-9]{2}")
_IDENTIFIER = re.compile(r"[A-Z0-9]{2}")
_OPTIONAL = re.compile(r"(?P<identifier>[A-Z0-9]{2})(?:(?P<short>(?!00)[0-9A-F]{2})|0002(?P<extended>[0-9A-F]{4}))")
_BODY = re.compile(r"(?:[0-9A-F]{2})+")
_PRINTABLE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class KeyBlockHeader:
    """What a key block says about its key (X9.143:2022, 6.2); codes and letters as in `hsm.usages`.

    version_number: two letters or digits, "00": not used, "c" first: a component. optional_blocks: (identifier, data),
    in order, without the padding block. context: "0" any, "1" storage, "2" exchange.

    Raises KeyBlockError for a value that no header can have.
    """

    version: str
    usage: str
    algorithm: str
    mode: str
    version_number: str
    exportability: str
    optional_blocks: tuple[tuple[str, str], ...] = ()
    context: str = "0"

    def __post_init__(self) -> None:
        known = (
            (self.version, CIPHER_BLOCK_BYTES, "version"),
            (self.algorithm, ALGORITHMS, "algorithm"),
            (self.mode, MODES, "mode of use"),
            (self.exportability, frozenset(Exportability), "exportability"),
            (self.context, frozenset("012"), "key context"),
        )
        for value, values, name in known:
            if value not in values:
                raise KeyBlockError(f"a key block has no such {name}")
        if not USAGE.fullmatch(self.usage):
            raise KeyBlockError("a key block has no such usage")
        if not _VERSION_NUMBER.fullmatch(self.version_number):
            raise KeyBlockError("a key block's version number is two letters or digits")
        identifiers = [identifier for identifier, _ in self.optional_blocks]
        if len(set(identifiers)) != len(identifiers) or PADDING_BLOCK in identifiers:
            raise KeyBlockError("an optional block stands twice in a key block, or is a padding block")
        if not all(_IDENTIFIER.fullmatch(each) and _PRINTABLE.fullmatch(data) for each, data in self.optional_blocks):
            raise KeyBlockError("an optional block has no good identifier, or is not printable ASCII")

    @classmethod
    def parse(cls, block: str) -> "tuple[KeyBlockHeader, int]":
        """The header of a whole key block, and its length in characters. Raises KeyBlockError.

        Nothing of it is to be believed before the block's MAC is verified, see `open_block`.

        >>> KeyBlockHeader.parse("B0080P0TE00E0000" + "94" * 32)
        (KeyBlockHeader(version='B', usage='P0', algorithm='T', mode='E', version_number='00', exportability='E', \
optional_blocks=(), context='0'), 16)
        """
        found = _HEADER.match(block)
        if found is None:
            raise KeyBlockError("a key block's header is malformed")
        if len(block) > MAX_CHARACTERS or int(found["length"]) != len(block):
            raise KeyBlockError("a key block has another length than it says")
        size = CIPHER_BLOCK_BYTES[found["version"]]
        optional, end = _read_optional_blocks(block, int(found["count"]), size)
        fields = ("version", "usage", "algorithm", "mode", "version_number", "exportability", "context")
        return cls(**{name: found[name] for name in fields}, optional_blocks=optional), end

    def text(self, body_characters: int) -> str:
        """The header as it stands before this many characters of payload and MAC. Raises KeyBlockError if all of it is
        too long for a key block."""
        optional, count = self._optional_text()
        length = FIXED_CHARACTERS + len(optional) + body_characters
        if length > MAX_CHARACTERS or count > 99:
            raise KeyBlockError("the optional blocks are too long for a key block")
        return (
            f"{self.version}{length:04}{self.usage}{self.algorithm}{self.mode}{self.version_number}"
            f"{self.exportability}{count:02}{self.context}0{optional}"
        )

    def _optional_text(self) -> tuple[str, int]:
        """The optional blocks, padded to a multiple of the cipher's block, and their number."""
        parts = []
        for identifier, data in self.optional_blocks:
            length = len(data) + 4
            extended = f"0002{length + 6:04X}" if length > MAX_SHORT_BLOCK else f"{length:02X}"
            parts.append(identifier + extended + data)
        text, size = "".join(parts), CIPHER_BLOCK_BYTES[self.version]
        if len(text) % size == 0:
            return text, len(parts)
        padding = -(len(text) + 4) % size
        return f"{text}{PADDING_BLOCK}{padding + 4:02X}{'0' * padding}", len(parts) + 1


def _read_optional_blocks(block: str, count: int, size: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """(identifier, data) of each optional block but the padding, and where the last one ends."""
    blocks: dict[str, str] = {}
    at = FIXED_CHARACTERS
    for _ in range(count):
        found = _OPTIONAL.match(block, at)
        end = at + int(found["short"] or found["extended"], 16) if found else 0
        if found is None or not found.end() <= end <= len(block):
            raise KeyBlockError("an optional block of a key block is malformed")
        if found["identifier"] in blocks or PADDING_BLOCK in blocks:
            raise KeyBlockError("an optional block stands twice in a key block, or behind the padding")
        blocks[found["identifier"]] = block[found.end() : end]
        at = end
    if at % size:
        raise KeyBlockError("the optional blocks are not padded to the cipher's block")
    padding = blocks.pop(PADDING_BLOCK, "")
    if not _PRINTABLE.fullmatch(padding):
        raise KeyBlockError("an optional block of a key block is malformed")
    return tuple(blocks.items()), at


# --- without policy ---------------------------------------------------------------------------------------------------


def open_block(protection: _core.HostKey, block: str) -> tuple[KeyBlockHeader, _key_block.Contents]:
    """The header and the key of a block whose MAC is right, whatever they are.

    Raises KeyUsageError, KeyBlockError: one message for whatever is wrong behind the header, be it the MAC, the length
    of the payload or that of the key in it.
    """
    header, end = KeyBlockHeader.parse(block)
    body = block[end:]
    if not _BODY.fullmatch(body):
        raise KeyBlockError("the key block does not verify")
    return header, _key_block.unwrap(protection, block[:end].encode("ascii"), bytes.fromhex(body))


def make_block(protection: _core.HostKey, header: KeyBlockHeader, key: _core.HostKey, padding: bytes) -> str:
    """A block of this header, key and padding. Raises KeyBlockError where they do not make one, KeyUsageError."""
    characters = 2 * (2 + key.length + len(padding) + MAC_BYTES[header.version])
    text = header.text(characters)
    return text + _key_block.wrap(protection, text.encode("ascii"), key, padding).hex().upper()


# --- with policy ------------------------------------------------------------------------------------------------------


def import_key(
    keys: Mapping[str, _core.Key], protection: str, block: str, label: str
) -> tuple[_core.HostKey, KeyBlockHeader]:
    """The key of a block under the KEY_BLOCK key `protection` (mode of use B, D or N), under a label of its own.

    The key has the usage and mode of use of its header; whoever keeps it keeps `header.exportability` too.
    Raises KeyNotFound, KeyUsageError, KeyBlockError: the block does not verify, or the policy above refuses it.

    >>> protection = load("KEY_BLOCK", "1D22BF32387C600AD97F9B97A51311AC")  # X9.143:2021, 8.4.2
    >>> block = (
    ...     "B0120B0TX12S0100KS1800604B120F929280000015CEB14B76D551F21EC43A75390FA118A98C6CB049E3B9E864A5F4A8B9A5108A6D"
    ...     "B5635C95B042D7"
    ... )
    >>> key, header = import_key(keys, protection, block, "acquirer/bdk")
    >>> key, key.mode, key.check_value()
    (<HostKey acquirer/bdk DUKPT_BASE>, 'X', '9A4212')
    >>> header.exportability, header.optional_blocks
    ('S', (('KS', '00604B120F9292800000'),))
    >>> import_key(keys, protection, block.replace("TX", "TN"), "acquirer/bdk")
    Traceback (most recent call last):
    hsm.errors.KeyBlockError: the key block does not verify
    """
    under = _find(keys, protection)
    header, contents = open_block(under, block)
    if header.context == "1":
        raise KeyBlockError("the key block is for storage, not for exchange")
    usage = _permitted_usage(header)
    if contents.length not in KEY_BYTES[header.algorithm]:
        raise KeyBlockError("the key block holds a key of a length its algorithm does not have")
    key = contents.as_key(label, usage, KINDS[header.algorithm], mode=header.mode)
    _refuse_weakness(key, under)
    return key, header


def export_key(
    keys: Mapping[str, _core.Key],
    protection: str,
    key: _core.HostKey,
    exportability: str,
    *,
    version: str | None = None,
    version_number: str = "00",
    optional_blocks: Sequence[tuple[str, str]] = (),
    sensitive: bool = False,
) -> str:
    """A block of this key under the KEY_BLOCK key `protection` (mode of use B, E or N).

    exportability: the key's own; "N" is refused, "S" too unless `sensitive` says that it may leave. version: "B", "C",
    "D" or "E"; by default "B" under triple DES and "D" under AES. optional_blocks: (identifier, data); the padding and
    an HMAC key's hash algorithm are added.
    Raises KeyNotFound, KeyUsageError, KeyBlockError.

    >>> protection = load("KEY_BLOCK", "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6", "AES")
    >>> published = (  # X9.143:2021, 8.1
    ...     "D0144P0AE00E00002C77FA3F4A553BED6E88AE5C172A4166E3D4ACA8E2AC71C158A476FAC12C13C3829DE55D3AB54C48F4C4FEF7"
    ...     "AC75E90FC47F1B77E7B19A73ED46E64410082557"
    ... )
    >>> pin_key, _ = import_key(keys, protection, published, "issuer/pik")
    >>> block = export_key(keys, protection, pin_key, "E", optional_blocks=[("LB", "PIK")])
    >>> block[:32]
    'D0160P0AE00E0200LB07PIKPB0900000'
    >>> import_key(keys, protection, block, "copy")[0].same_value(pin_key)
    True
    >>> export_key(keys, protection, pin_key, "N")
    Traceback (most recent call last):
    hsm.errors.KeyBlockError: the key is not exportable
    """
    under = _find(keys, protection)
    if exportability == Exportability.NEVER:
        raise KeyBlockError("the key is not exportable")
    if exportability == Exportability.SENSITIVE and not sensitive:
        raise KeyBlockError("the key is sensitive: whoever exports it must say so")
    usage, algorithm = block_usage(KeyUsage(key.usage), key.kind), LETTERS.get(key.kind)
    if usage is None or algorithm is None:
        raise KeyBlockError(f"a {key.kind} key of usage {key.usage} travels in no key block")
    version = version or ("B" if under.kind == "DES" else "D")
    if version == "A":
        raise KeyBlockError("version A of key blocks is deprecated, none is made")
    optional = tuple(optional_blocks)
    if algorithm == "H" and HASH_BLOCK not in dict(optional):
        optional += ((HASH_BLOCK, SHA_256),)
    header = KeyBlockHeader(version, usage, algorithm, key.mode, version_number, exportability, optional)
    _permitted_usage(header)
    if key.length not in KEY_BYTES[algorithm]:
        raise KeyBlockError("a key of this length travels in no key block")
    _refuse_weakness(key, under)
    return make_block(under, header, key, _padding(header, key.length))


def _find(keys: Mapping[str, _core.Key], label: str) -> _core.HostKey:
    """The protection key. Its usage and mode of use are enforced where it is used, in the core."""
    found = keys.get(label)
    if found is None:
        raise KeyNotFound(f"no key {label}")
    if not isinstance(found, _core.HostKey):
        raise KeyUsageError(f"key {label} is in the token, which cannot do this")
    return found


def _permitted_usage(header: KeyBlockHeader) -> KeyUsage:
    """The usage a header means. Raises KeyBlockError where its usage, algorithm and mode of use make no sense together,
    where this HSM has no such key, and for a component."""
    usage = IMPORTED_USAGES.get(header.usage)
    algorithms, modes = PERMITTED.get(header.usage, ("", ""))
    if usage is None or not algorithms:
        raise KeyBlockError(f"this HSM has no keys of usage {header.usage}")
    if header.algorithm not in algorithms:
        raise KeyBlockError(f"a key of usage {header.usage} is not of algorithm {header.algorithm}")
    if header.mode not in modes:
        raise KeyBlockError(f"a key of usage {header.usage} has no mode of use {header.mode}")
    if header.version_number.startswith("c"):
        raise KeyBlockError("the version number is that of a component, not of a key")
    if header.algorithm == "H" and dict(header.optional_blocks).get(HASH_BLOCK) != SHA_256:
        raise KeyBlockError("an HMAC key is for SHA-256, and its key block says so in the optional block HM")
    return usage


def _refuse_weakness(key: _core.HostKey, protection: _core.HostKey) -> None:
    """Raises KeyBlockError for single DES, and for a key that is stronger than the one that protects it."""
    strength_bits, protection_bits = _strength_bits(key), _strength_bits(protection)
    if SINGLE_DES_BITS in (strength_bits, protection_bits):
        raise KeyBlockError("a triple DES key whose parts are equal is no more than single DES")
    if strength_bits > protection_bits:
        raise KeyBlockError(
            f"a key of {key.kind} with {8 * key.length} bits is stronger than the one that protects it, "
            f"{protection.kind} with {8 * protection.length} bits"
        )


def _strength_bits(key: _core.HostKey) -> int:
    if key.kind == "DES":
        return DES_STRENGTH_BITS[_key_block.independent_parts(key)]
    return min(8 * key.length, 256)


def _padding(header: KeyBlockHeader, key_bytes: int) -> bytes:
    """Random bytes that make the payload as long as that of the longest key, and whole blocks where CBC needs them."""
    payload = 2 + MASKED_BYTES[header.algorithm]
    if header.version != "E":
        payload += -payload % CIPHER_BLOCK_BYTES[header.version]
    return secrets.token_bytes(payload - 2 - key_bytes)
