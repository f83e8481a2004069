"""The road of another process, asked by gRPC, answers as that of this one does: orders of a channel too."""

from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from switch.api.remote_payments import RemotePayments
from switch.domain.authorization import ChannelOrder, FollowOnRequest
from switch.domain.states import EntryMode, Operation, State
from switch.payments.errors import Malformed, TransmissionTimeRefused
from switch.ports import AwaitingPayer

CODE = "https://qr.alipay.com/bax1"


@pytest.fixture
def payments(channel):
    return RemotePayments(channel)


async def test_an_order_and_its_code_come_over(payments, town, request_of):
    town.first.script = lambda request: AwaitingPayer(code=CODE)
    request = request_of(credential=ChannelOrder("alipay"), entry=EntryMode.MERCHANT_QR, operation=Operation.ORDER)
    record = await payments.authorize(request, 20.0)
    assert (record.state, record.operation, record.order_code) == (State.AWAITING_PAYER, Operation.ORDER, CODE)
    assert [each.operation for each in town.first.sent] == [Operation.ORDER]
    assert (await payments.authorize(request, 20.0)).order_code == CODE
    wanted = FollowOnRequest(Operation.REVERSAL, "acme", "m1", record.id, "off", request.transmission_time_ms)
    assert (await payments.follow_on(wanted)).state is State.UNKNOWN
    found = await payments.find("m1", record.id)
    assert (found.state, found.order_code) == (State.UNKNOWN, CODE)


async def test_what_is_malformed_is_not_taken_for_what_is_late(payments, request_of):
    """A refund that is too late for its name ends otherwise than one that no repeat will mend."""
    request = request_of(credential=ChannelOrder("alipay"), entry=EntryMode.MERCHANT_QR, operation=Operation.ORDER)
    with pytest.raises(Malformed, match="terminal_id"):
        await payments.authorize(replace(request, terminal_id="nine chars"), 20.0)
    old = replace(request, transmission_time_ms=request.transmission_time_ms - 25 * 3_600_000)
    with pytest.raises(TransmissionTimeRefused):
        await payments.authorize(old, 20.0)
    follow_on = FollowOnRequest(Operation.REFUND, "acme", "m1", uuid4(), "k", old.transmission_time_ms, old.money)
    with pytest.raises(TransmissionTimeRefused):
        await payments.follow_on(follow_on)


async def test_for_whom_another_process_acts_is_counted_and_said_once(platform_channel, request_of):
    """It may act for every acquirer: whoever stole its key is to be seen."""
    payments = RemotePayments(platform_channel)
    request = request_of(credential=ChannelOrder("alipay"), entry=EntryMode.MERCHANT_QR, operation=Operation.ORDER)
    before = acted()
    with capture_logs() as logs:
        for acquirer in ("acme", "other", "acme"):
            await payments.authorize(replace(request, acquirer_id=acquirer), 20.0)
    said = [(each["participant"], each["acquirer"]) for each in logs if each["event"] == "platform_acts_for_acquirer"]
    assert said == [("services", "acme"), ("services", "other")]
    assert acted() - before == 3
    with pytest.raises(Malformed, match="acquirer_id"):
        await payments.authorize(replace(request, acquirer_id="a" * 65), 20.0)


def acted():
    return REGISTRY.get_sample_value("payswitch_platform_calls_total", {"participant": "services"}) or 0
