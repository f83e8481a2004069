"""The road of another process, asked by gRPC, answers as that of this one does: orders of a channel too."""

import pytest

from switch.api.remote_payments import RemotePayments
from switch.domain.authorization import ChannelOrder, FollowOnRequest
from switch.domain.states import EntryMode, Operation, State
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
