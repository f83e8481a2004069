"""An address on an NFC tag: an NDEF message of one URI record (NFC Forum NDEF 1.0 and URI RTD 1.0)."""

from typing import Final

from switch.entry.errors import EntryError

# Message begin and end, short record, well-known type.
_HEADER: Final = 0xD1
_TYPE: Final = b"U"
_PREFIXES: Final = ("", "http://www.", "https://www.", "http://", "https://")
LONGEST_URI: Final = 250


def uri_message(uri: str) -> bytes:
    """Header, type length, payload length, "U", the prefix's code, the rest. Raises ValueError above 250 characters.

    >>> uri_message("https://pay.example/q/1").hex()
    'd1011055047061792e6578616d706c652f712f31'
    """
    if not uri.isascii() or not 0 < len(uri) <= LONGEST_URI:
        raise ValueError("an address of 1 to 250 ASCII characters")
    code = max(range(len(_PREFIXES)), key=lambda each: len(_PREFIXES[each]) if uri.startswith(_PREFIXES[each]) else -1)
    payload = bytes([code]) + uri[len(_PREFIXES[code]) :].encode()
    return bytes([_HEADER, len(_TYPE), len(payload)]) + _TYPE + payload


def uri_of(message: bytes, field: str = "ndef") -> str:
    """The address of such a message. Raises EntryError.

    >>> uri_of(bytes.fromhex("d1011055047061792e6578616d706c652f712f31"))
    'https://pay.example/q/1'
    """
    if len(message) < 6 or message[0] != _HEADER or message[1] != 1 or message[3:4] != _TYPE:
        raise EntryError(field, "not an NDEF message of one URI record")
    if len(message) != 4 + message[2] or message[4] >= len(_PREFIXES):
        raise EntryError(field, "a wrong length or prefix")
    try:
        return _PREFIXES[message[4]] + message[5:].decode("ascii")
    except UnicodeDecodeError:
        raise EntryError(field, "not ASCII") from None


def type_2_data(message: bytes) -> bytes:
    """The data area of a Type 2 tag: an NDEF message TLV and the terminator (NFC Forum T2T 2.3). At most 254 bytes.

    >>> type_2_data(bytes.fromhex("d1010255046f")).hex()
    '0306d1010255046ffe'
    """
    return bytes([0x03, len(message)]) + message + b"\xfe"


def type_4_file(message: bytes) -> bytes:
    """The NDEF file of a Type 4 tag: the length in two bytes, then the message (NFC Forum T4T 4.2).

    >>> type_4_file(bytes.fromhex("d1010255046f")).hex()
    '0006d1010255046f'
    """
    return len(message).to_bytes(2, "big") + message
