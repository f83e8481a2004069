"""The settlement files that the network puts into a folder of ours, as bills."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO

from adapters.unionpay import metrics
from adapters.unionpay.format import SETTLEMENT_FILE
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.settlement_file import read_bill
from switch.domain.bill import Bill
from switch.ports import BillNotReady, BillRefused

_BATCHES = range(100)


async def fetch_bill(channel: str, settings: UnionPaySettings, day: date) -> Bill:
    """All batches of that day. Raises BillNotReady (no file yet), BillRefused, ConnectionError (no such folder)."""
    if not settings.bills_dir:
        raise ConnectionError("no folder for settlement files is set")
    try:
        return await asyncio.to_thread(_read, channel, settings, day)
    except BillRefused as refusal:
        metrics.REFUSED.labels(f"bill_{refusal.cause}").inc()
        raise


def _read(channel: str, settings: UnionPaySettings, day: date) -> Bill:
    folder = Path(settings.bills_dir)
    if not folder.is_dir():
        raise ConnectionError("the folder for settlement files is not there")
    paths = [folder / SETTLEMENT_FILE.format(day=day, batch=batch) for batch in _BATCHES]
    present = [path for path in paths if path.is_file()]
    if not present:
        raise BillNotReady(f"no settlement file of {day}")
    try:
        return read_bill(channel, day, settings.forwarder, _opened(present), totals=settings.bill_totals)
    except OSError as error:
        raise ConnectionError(f"a settlement file cannot be read: {type(error).__name__}") from None


def _opened(paths: Iterable[Path]) -> Iterator[BinaryIO]:
    for path in paths:
        with path.open("rb") as file:
            yield file
