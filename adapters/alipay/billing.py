"""Fetches the bill of a day: asks for its URL, downloads it, has it read."""

import asyncio
from datetime import date
from typing import Final

import structlog
from prometheus_client import Counter

from adapters.alipay import codes
from adapters.alipay.bill_format import LARGEST_ZIP_BYTES, read_bill
from adapters.alipay.codec import AlipayError, Answer
from adapters.alipay.gateway import Gateway
from adapters.alipay.messages import bill_content
from adapters.alipay.operations import Message
from adapters.alipay.transport import NotSent, Unanswered
from switch.domain.bill import Bill
from switch.ports import Approved, BillNotReady, BillRefused

_REFUSED = Counter("payswitch_alipay_bills_refused_total", "Bills that were not believed", ["cause"])

BILL_URL: Final = "alipay.data.dataservice.bill.downloadurl.query"
# Alipay says the same of a bill that is not made yet and of a day without a trade. [U]
_NOT_MADE: Final = frozenset({"isp.bill_not_exist"})
_DOWNLOAD_TIMEOUT_S: Final = 120.0

_log = structlog.get_logger()


async def fetch_bill(gateway: Gateway, gateway_url: str, day: date, seller_id: str) -> Bill:
    """Raises BillNotReady, BillRefused, or ConnectionError where none can be had."""
    try:
        url = _url(await _asked(gateway, day), gateway_url)
        content = await gateway.transport.download(url, LARGEST_ZIP_BYTES, _DOWNLOAD_TIMEOUT_S)
        return await asyncio.to_thread(read_bill, content, day, seller_id)
    except BillRefused as refusal:
        _REFUSED.labels(refusal.cause).inc()
        _log.warning("alipay_bill_refused", day=str(day), cause=refusal.cause, detail=str(refusal))
        raise
    except (NotSent, Unanswered) as error:
        raise ConnectionError(str(error)) from error


async def _asked(gateway: Gateway, day: date) -> Answer:
    message = Message(BILL_URL, bill_content("trade", str(day)), lambda answer: Approved(response_code=answer.code))
    (parameters,) = await gateway.signed([message])
    if parameters is None:
        raise ConnectionError("not_signed")
    try:
        answer = await gateway.ask(message, parameters)
    except AlipayError as error:
        raise BillRefused("forged", str(error)) from error
    if answer.sub_code in _NOT_MADE:
        raise BillNotReady(answer.sub_code)
    if answer.code != codes.DONE:
        raise ConnectionError(answer.sub_code or answer.code)
    return answer


def _url(answer: Answer, gateway_url: str) -> str:
    url = answer.fields.get("bill_download_url", "")
    # What travels there is not encrypted again: never less protected than the question.
    scheme = "https://" if gateway_url.startswith("https://") else ("http://", "https://")
    if not isinstance(url, str) or not url.startswith(scheme) or len(url) > 4_096 or not url.isascii():
        raise BillRefused("malformed", "bill_download_url")
    return url
