"""API v2's conversations: what the second answer says of the first."""

from uuid import UUID

from adapters.wechat.calls import Call
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.simulator.v2_xml import sign, write_xml
from adapters.wechat.transport import Answer
from adapters.wechat.v2.dialect import V2
from switch.domain.authorization import Authorization, Merchant
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest, Declined, Phase, Unknown

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
SETTINGS = WeChatSettings("http://x", "wx1", "123", "77AA", v2_key=KEY)
TAKEN_ON = {"return_code": "SUCCESS", "result_code": "SUCCESS", "appid": "wx1", "mch_id": "123"}
NO_SUCH_REFUND = TAKEN_ON | {"result_code": "FAIL", "err_code": "REFUNDNOTEXIST"}


def answer(fields: dict[str, str]) -> Answer:
    return Answer(200, {}, write_xml(fields | {"sign": sign(fields, KEY, "HMAC-SHA256")}))


def refund() -> ChannelRequest:
    money = Money(1_000, "CNY")
    record = Authorization(UUID(int=1), "a", "m", "t", "5411", Operation.SALE, money, EntryMode.PAYER_CODE, "")
    trace = {"out_trade_no": "T1", "out_refund_no": "R1"}
    return ChannelRequest(Operation.REFUND, record, Money(300, "CNY"), None, Merchant("m"), 0.0, trace=trace)


def test_a_refund_that_was_taken_on_is_not_declined_by_a_query_that_does_not_see_it_yet() -> None:
    talk = V2(SETTINGS).begin(refund())
    assert isinstance(talk.heard(answer(TAKEN_ON), 0.0), Call)
    assert talk.heard(answer(NO_SUCH_REFUND), 0.0) == Unknown(Phase.SENT, "REFUNDNOTEXIST")


def test_a_refund_that_was_refused_is_declined() -> None:
    talk = V2(SETTINGS).begin(refund())
    refused = TAKEN_ON | {"result_code": "FAIL", "err_code": "NOTENOUGH"}
    assert talk.heard(answer(refused), 0.0) == Declined("51", "NOTENOUGH")
