"""BER-TLV (ISO/IEC 8825-1, as EMV Book 3 Annex B profiles it): a strict flat walk, a nested walk, an encoder.

A tag is the int of its bytes (0x9F26). Definite lengths of at most 2 bytes; tags of at most 4; padding (tag 00) is
refused. Parsers raise EntryError, encoders ValueError.
"""

from collections.abc import Iterable

LARGEST_BYTES: int
MOST_TAGS: int
DEEPEST: int

Tree = list[tuple[int, "bytes | Tree"]]

def parse_flat(data: bytes, field: str) -> dict[int, bytes]:
    """The top-level objects, values not looked into. A tag that occurs twice is refused.

    >>> parse_flat(bytes.fromhex("9F2701805F340101"), "nfc.emv")
    {40743: b'\\x80', 24372: b'\\x01'}
    """

def parse_nested(data: bytes, field: str) -> Tree:
    """All objects in order, a constructed one with the list of its own; at most DEEPEST levels.

    >>> parse_nested(bytes.fromhex("6103500141"), "payer_code.code")
    [(97, [(80, b'A')])]
    """

def encode(objects: Iterable[tuple[int, bytes]]) -> bytes:
    """The objects in the order given, each length in its shortest form.

    >>> encode([(0x9F27, b"\\x80")]).hex()
    '9f270180'
    """

def encode_present(tags: dict[int, bytes], order: tuple[int, ...]) -> bytes:
    """Those of `order` that `tags` has, in that order.

    >>> encode_present({0x95: bytes(5), 0x5A: b"no"}, (0x9A, 0x95)).hex()
    '95050000000000'
    """
