"""A batch's payouts as CSV: RFC 4180, UTF-8, CRLF, one header line. The columns are those of docs/settlement.md."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Final

from switch.domain.money import Money
from switch.domain.settlement import Batch, Payout

COLUMNS: Final = (
    *("message_id", "end_to_end_id", "merchant_id", "account_name", "account_number", "bank_code"),
    *("amount", "currency", "execution_date"),
)


def render(batch: Batch, payouts: Sequence[Payout], numbers: Mapping[str, str]) -> bytes:
    """Of what is fixed when the batch is released, and of all of its payouts, whatever became of them.

    numbers: merchant_id -> account number.
    """
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in payouts:
        writer.writerow(
            (
                batch.message_id, each.end_to_end_id, each.merchant_id, each.account_name, numbers[each.merchant_id],
                each.bank_code, Money(each.payout_minor, each.currency).decimal_text(), each.currency,
                batch.execution_day,
            )
        )  # fmt: skip
    return file.getvalue().encode()
