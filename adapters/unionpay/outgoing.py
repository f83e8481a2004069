"""Requests on their way out: said in this dialect, named on a link, or refused before they leave."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.unionpay import metrics
from adapters.unionpay.format import Fields, MalformedMessage
from adapters.unionpay.link import Link, resolve
from adapters.unionpay.mac import financial_text
from adapters.unionpay.messages import REPLY_MTI, NotExpressible, financial_fields
from adapters.unionpay.replies import Expected
from adapters.unionpay.settings import UnionPaySettings
from switch.ports import ChannelRequest, ChannelResult, Phase, Unknown


@dataclass(slots=True)
class Outgoing:
    """A request said in this dialect; text: what its MAC covers."""

    request: ChannelRequest
    mti: str
    fields: Fields = field(repr=False)
    text: bytes = field(repr=False)
    future: "asyncio.Future[ChannelResult]"


def express(
    batch: "Sequence[tuple[ChannelRequest, asyncio.Future[ChannelResult]]]",
    settings: UnionPaySettings,
    pin_control: str,
) -> list[Outgoing]:
    """Each request somebody still waits for; what cannot be said is resolved as NOT_SENT."""
    outgoing: list[Outgoing] = []
    for request, future in batch:
        if future.done():
            continue
        try:
            mti, fields = financial_fields(request, settings, pin_control)
            outgoing.append(Outgoing(request, mti, fields, financial_text(mti, fields), future))
        except (NotExpressible, MalformedMessage) as error:
            _not_expressible(future, error)
    return outgoing


def register(link: Link, message: Outgoing) -> bytes | None:
    """The frame to write on that link, which waits for its reply from now on; None: resolved as NOT_SENT."""
    request = message.request
    reply_mti, transmission = REPLY_MTI[message.mti], request.trace["transmission"]
    expected = Expected(request.operation, reply_mti, transmission, request.money.amount_minor)
    try:
        frame = link.register(message.mti, message.fields, expected, message.future)
    except MalformedMessage as error:
        _not_expressible(message.future, error)
        return None
    if frame is None:
        refuse([message], "duplicate_name")
    return frame


def refuse(outgoing: Sequence[Outgoing], cause: str) -> None:
    """Resolve all as NOT_SENT."""
    metrics.NOT_SENT.labels(cause).inc(len(outgoing))
    for each in outgoing:
        resolve(each.future, Unknown(Phase.NOT_SENT, cause))


def _not_expressible(future: "asyncio.Future[ChannelResult]", error: ValueError) -> None:
    metrics.NOT_SENT.labels("not_expressible").inc()
    resolve(future, Unknown(Phase.NOT_SENT, str(error)))
