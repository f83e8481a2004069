"""What the network is told about itself and its members."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """members: institution id (DE33, and the header's source) -> its transport key (MMK) in the clear, 16 bytes.

    port 0: any free one. network: the institution id of the network itself. double_length: of the working keys it
    hands out. book_limit: entries kept. bills_dir: below it, in a folder named as the member, the daily bills appear.
    Raises ValueError for an id that is none, or a key of another length.
    """

    members: Mapping[str, bytes] = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    network: str = "00010344"
    double_length: bool = True
    key_reset_timeout_s: float = 5.0
    book_limit: int = 1_000_000
    bills_dir: Path | None = None

    def __post_init__(self) -> None:
        for institution, mmk in self.members.items():
            if not (institution.isascii() and institution.isdigit() and len(institution) <= 11):
                raise ValueError("members: an institution id is one to eleven digits")
            if len(mmk) != 16:
                raise ValueError("members: an MMK has 16 bytes")
