"""The network's settlement file of a day and a member, written from its book. The layout is data in `format` ([U])."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from adapters.unionpay.format import (
    SETTLEMENT_FILE,
    SETTLEMENT_LINE,
    SETTLEMENT_TOTALS,
    TOTALS_MARK,
    Column,
)
from adapters.unionpay.simulator.book import (
    CAPTURE,
    PRE_AUTHORIZATION,
    REFUND,
    REVERSAL,
    SALE,
    VOID,
    VOID_OF_CAPTURE,
    Entry,
)

_ZONE = ZoneInfo("Asia/Shanghai")
_CURRENCY = "156"
_FEE_BASIS_POINTS = 45  # of each payment; given back with what goes back
_TO_THE_MERCHANT = frozenset({SALE, CAPTURE})


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that an entry moved; the fee's sign is the network's: positive where it keeps it."""

    entry: Entry
    amount_minor: int
    to_the_merchant: bool

    @property
    def fee_minor(self) -> int:
        fee_minor = (self.amount_minor * _FEE_BASIS_POINTS + 5_000) // 10_000
        return fee_minor if self.to_the_merchant else -fee_minor


def movement_of(entry: Entry) -> Movement | None:
    """What the entry moved, or None: a pre-authorization and whatever undoes it move nothing."""
    undone = entry.original
    if not entry.moved:
        return None
    if entry.kind in _TO_THE_MERCHANT:
        return Movement(entry, entry.approved_minor or entry.amount_minor, to_the_merchant=True)
    if entry.kind == REFUND or entry.kind == VOID_OF_CAPTURE:
        return Movement(entry, entry.amount_minor, to_the_merchant=False)
    if undone is None or undone.kind == PRE_AUTHORIZATION:
        return None
    if entry.kind == VOID:
        return Movement(entry, undone.approved_minor, to_the_merchant=False)
    if entry.kind == REVERSAL and (before := movement_of(undone)) is not None:
        return Movement(entry, before.amount_minor, to_the_merchant=not before.to_the_merchant)
    return None


def settlement_file(institution: str, day: date, entries: Sequence[Entry]) -> bytes:
    """The lines of that member's entries of that day, and the totals."""
    movements = [each for entry in entries if (each := movement_of(entry)) is not None]
    lines = "".join(_row(SETTLEMENT_LINE, _cells(each)) for each in movements).encode("ascii")
    totals: dict[str, str | int] = {
        "mark": TOTALS_MARK,
        "day": f"{day:%Y%m%d}",
        "forwarder": institution,
        "lines": len(movements),
        "paid_minor": sum(each.amount_minor for each in movements if each.to_the_merchant),
        "returned_minor": sum(each.amount_minor for each in movements if not each.to_the_merchant),
        "sha256": hashlib.sha256(lines).hexdigest(),
    }
    return lines + _row(SETTLEMENT_TOTALS, totals).encode("ascii")


def write_file(folder: Path, institution: str, day: date, entries: Sequence[Entry]) -> Path:
    """Whole or not at all: a reader never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTLEMENT_FILE.format(day=day, batch=1)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(settlement_file(institution, day, entries))
    os.replace(unfinished, path)
    return path


def _cells(movement: Movement) -> dict[str, str | int]:
    entry, original = movement.entry, movement.entry.original
    processing = original.processing if entry.kind == REVERSAL and original is not None else entry.processing
    return {
        "acquirer": entry.acquirer,
        "forwarder": entry.member,
        "stan": entry.stan,
        "transmission": entry.transmission,
        "pan": entry.pan_masked,
        "amount_minor": movement.amount_minor,
        "currency": _CURRENCY,
        "mti": entry.mti,
        "processing": processing,
        "terminal": entry.terminal,
        "merchant": entry.merchant,
        "rrn": entry.rrn,
        "approval": entry.approval_code,
        "fee_side": "D" if movement.fee_minor >= 0 else "C",
        "fee_minor": abs(movement.fee_minor),
        "original_transmission": original.transmission if original is not None else 0,
        "original_stan": original.stan if original is not None else 0,
        "booked": f"{datetime.fromtimestamp(entry.time_ms / 1000, _ZONE):%Y%m%d%H%M%S}",
    }


def _row(columns: Sequence[Column], cells: Mapping[str, str | int]) -> str:
    filled = (
        str(cells[each.name]).rjust(each.width, "0") if each.digits else str(cells[each.name]).ljust(each.width)
        for each in columns
    )
    return " ".join(filled) + "\n"
