"""Evidence in a dispute: which files are taken. Pure."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from switch.domain.dispute import Evidence
from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.refusals import Invalid, NotPossible

LARGEST_FILE_BYTES: Final = 5 * 1024 * 1024
LARGEST_TOTAL_BYTES: Final = 25 * 1024 * 1024
MOST_FILES: Final = 20
# What a file of that type begins with: one that says it is something else is not kept.
CONTENT_TYPES: Final = {
    "application/pdf": b"%PDF-",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "text/plain": b"",
}
_FILE_NAME: Final = re.compile(r"[^/\\:*?\"<>|]{1,100}")


def evidence_of(dispute_id: UUID, name: str, content_type: str, content: bytes, who: str, time_ms: int) -> Evidence:
    """The file as it is kept; its id is computed, so that the same file is there once. Raises Invalid."""
    if not _FILE_NAME.fullmatch(name) or not name.isprintable() or not name.strip(" ."):
        raise Invalid("name", "must be a file's name of 1 to 100 printable characters, without a path")
    if content_type not in CONTENT_TYPES:
        raise Invalid("content_type", f"must be one of {', '.join(CONTENT_TYPES)}")
    if not 0 < len(content) <= LARGEST_FILE_BYTES:
        raise Invalid("content", f"must have 1 to {LARGEST_FILE_BYTES} bytes")
    if not content.startswith(CONTENT_TYPES[content_type]):
        raise Invalid("content", f"is not {content_type}")
    if content_type == "text/plain" and not _is_text(content):
        raise Invalid("content", "is not UTF-8 text")
    digest = hashlib.sha256(content).digest()
    identity = computed_id("evidence", str(dispute_id), transmission_time_ms_of(dispute_id), digest.hex())
    return Evidence(identity, name, content_type, len(content), digest, who, time_ms)


def must_have_room(there: Sequence[Evidence], size_bytes: int) -> None:
    """Raises NotPossible."""
    if len(there) >= MOST_FILES:
        raise NotPossible(f"a dispute has {MOST_FILES} files at most")
    if sum(each.size_bytes for each in there) + size_bytes > LARGEST_TOTAL_BYTES:
        raise NotPossible(f"a dispute's files have {LARGEST_TOTAL_BYTES} bytes at most")


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False
