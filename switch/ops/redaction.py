"""The last line of defence against card data in a log: what looks like a PAN is masked, bytes are never rendered.

The first line is `switch.domain.sensitive`; nothing should ever reach this one. A run of 13 to 19 digits with a valid
check digit (ISO/IEC 7812-1 annex B) is taken for a PAN; one in ten other runs of digits of that length looks the same
and is masked too, which is the right side to err on. Only integers in fields named as times are let through.
"""

import re
from collections.abc import Mapping, MutableMapping
from enum import Enum
from typing import Any
from uuid import UUID

from switch.domain.sensitive import Pan, Sensitive, luhn_valid

_DIGIT_RUN = re.compile(r"(?<![0-9])[0-9]{13,19}(?![0-9])")
# As printed on a card, in fours. Letters or hyphens around it make it part of a UUID or the like.
_GROUPED = re.compile(r"(?<![0-9A-Za-z-])[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}(?![0-9A-Za-z-])")
_BYTES_LITERAL = re.compile(r"""\b(?:bytearray\()?b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)?""")
_TIME_NAMES = ("_ms", "_us", "_ns")  # Unix milliseconds have thirteen digits, too
# Fields that hold nothing else, whatever the value looks like.
_SECRET_NAMES = frozenset(
    {"pan", "pin", "pin_block", "track1", "track2", "cvv", "cvn2", "emv", "auth_code", "payment_code", "password"}
    | {"private_key", "key_value", "credential"}
)
_REDACTED = "[redacted]"
_MAX_DEPTH = 6


def redacted_text(text: str) -> str:
    """The text with every PAN shown as its first six and last four digits, and without bytes literals.

    >>> redacted_text("card 6225880000001231 tapped, answer b'\\\\x00\\\\x01'")
    'card 622588******1231 tapped, answer <bytes>'
    >>> redacted_text("trade 2026112322001412345678901234 of 6225880000001230")
    'trade 2026112322001412345678901234 of 6225880000001230'
    """
    if "b'" in text or 'b"' in text:
        text = _BYTES_LITERAL.sub("<bytes>", text)
    return _GROUPED.sub(_masked, _DIGIT_RUN.sub(_masked, text))


def redacted(value: Any, name: str = "", depth: int = 0) -> Any:
    """The value as a logger may print it: scalars, and mappings and lists of them. name: the field it stands in."""
    if isinstance(value, Sensitive):
        return value.masked()
    if value is None or isinstance(value, bool):
        return value
    if name in _SECRET_NAMES:
        return _REDACTED
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, int | float):
        return value if name.endswith(_TIME_NAMES) or redacted_text(str(value)) == str(value) else _REDACTED
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, UUID):
        return str(value)
    if depth >= _MAX_DEPTH:
        return "<too deep>"
    if isinstance(value, Mapping):
        return {redacted_text(str(key)): redacted(each, str(key), depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(each, name, depth + 1) for each in value]
    return redacted_text(repr(value))


def redact_event(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the last one before the renderer. Fields that begin with "_" are structlog's own."""
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = redacted(value, name)
    return event


def _masked(match: re.Match[str]) -> str:
    digits = match.group().replace(" ", "").replace("-", "")
    return Pan(digits).masked() if len(digits) <= 19 and luhn_valid(digits) else match.group()
