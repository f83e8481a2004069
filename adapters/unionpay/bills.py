"""The settlement files that the network puts into a folder of ours, as bills."""

import asyncio
from datetime import date
from pathlib import Path

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
    files = await asyncio.to_thread(_read_files, Path(settings.bills_dir), day)
    try:
        return read_bill(channel, day, settings.forwarder, files, totals=settings.bill_totals)
    except BillRefused as refusal:
        metrics.REFUSED.labels(f"bill_{refusal.cause}").inc()
        raise


def _read_files(folder: Path, day: date) -> list[bytes]:
    if not folder.is_dir():
        raise ConnectionError("the folder for settlement files is not there")
    paths = [folder / SETTLEMENT_FILE.format(day=day, batch=batch) for batch in _BATCHES]
    try:
        files = [path.read_bytes() for path in paths if path.is_file()]
    except OSError as error:
        raise ConnectionError(f"a settlement file cannot be read: {type(error).__name__}") from None
    if not files:
        raise BillNotReady(f"no settlement file of {day}")
    return files
