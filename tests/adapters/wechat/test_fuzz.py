"""Both directions fuzzed: what comes in wrong is refused by the declared error, and moves no money.

tests/vectors/wechat_corpus.json holds {"parser", "why", "hex", "outcome"}: what was feared, and what fuzzing found.
"""

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat import answers, bill, notification, undo
from adapters.wechat.codec import InvalidAnswer, PlatformKeys
from adapters.wechat.codes import Asked, result_of
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.simulator import bodies
from adapters.wechat.simulator.errors import Refusal
from adapters.wechat.simulator.signatures import _parameters
from adapters.wechat.simulator.v2_xml import BadXml, read_xml, write_xml
from adapters.wechat.simulator.v2_xml import sign as platform_sign
from adapters.wechat.transport import Answer
from adapters.wechat.v2 import codec as xml
from adapters.wechat.v2.dialect import V2
from switch.domain.authorization import Authorization, CodeCredential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, BillRefused, ChannelRequest, NotificationRefused

CORPUS = json.loads((Path(__file__).parents[2] / "vectors" / "wechat_corpus.json").read_text())["entries"]
NAMES = [f"{each['parser']}: {each['why']}" for each in CORPUS]
DAY, MCHID = date(2026, 3, 1), "1230000109"
DUMMY_ID = UUID(int=1)

PARSERS: Mapping[str, tuple[Callable[[bytes], Any], type[Exception]]] = {
    "trade": (answers.trade_of, InvalidAnswer),
    "refund": (answers.refund_of, InvalidAnswer),
    "error": (answers.error_code, InvalidAnswer),
    "offer": (answers.bill_offer_of, InvalidAnswer),
    "certificates": (answers.certificates_of, InvalidAnswer),
    "code_url": (answers.code_url_of, InvalidAnswer),
    "trade bill": (lambda data: bill.trade_lines([data], MCHID, DAY), BillRefused),
    "fund flow": (lambda data: list(bill.flows([data], DAY)), BillRefused),
    "v2 answer": (xml.decode, InvalidAnswer),
    "v2 request": (read_xml, BadXml),
    "codepay": (lambda data: bodies.read_body(data, bodies.CODEPAY), Refusal),
    "authorization": (lambda data: _parameters(data.decode("latin-1")), Refusal),
}


def outcome(parser: str, data: bytes) -> str:
    parse, refusal = PARSERS[parser]
    try:
        parse(data)
    except refusal as error:
        return type(error).__name__
    return "read"


@pytest.mark.parametrize("entry", CORPUS, ids=NAMES)
def test_each_entry_ends_as_it_should(entry: dict[str, str]) -> None:
    assert outcome(entry["parser"], bytes.fromhex(entry["hex"])) == entry["outcome"]


@pytest.mark.parametrize("entry", [each for each in CORPUS if each["why"] == "a good one"], ids=lambda e: e["parser"])
def test_nothing_but_the_declared_error_comes_of_what_is_near(entry: dict[str, str]) -> None:
    data = bytes.fromhex(entry["hex"])
    for at in range(len(data)):
        outcome(entry["parser"], data[:at])
        for other in (0x00, 0x7F, 0xFF, ord("`"), ord('"'), data[at] ^ 1):
            outcome(entry["parser"], data[:at] + bytes([other]) + data[at + 1 :])


def test_every_parser_has_entries_of_both_kinds() -> None:
    for parser in PARSERS:
        assert {each["outcome"] == "read" for each in CORPUS if each["parser"] == parser} == {True, False}


# --- answers into the adapter ---------------------------------------------------------------------------------------

GOOD = {
    "trade_state": "SUCCESS", "out_trade_no": "T1", "transaction_id": "42", "mchid": MCHID,
    "amount": {"total": 1_000, "currency": "CNY"},
}  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.sampled_from(["T1", MCHID])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
changed = st.dictionaries(st.sampled_from([*GOOD, "status", "code", "refund_id", "extra"]), values, max_size=4)
operations = st.sampled_from([Operation.SALE, Operation.INQUIRY, Operation.REVERSAL, Operation.VOID, Operation.REFUND])
statuses = st.sampled_from([200, 202, 204, 302, 400, 401, 403, 404, 429, 500, 503])


@given(operations, statuses, st.binary(max_size=60) | changed.map(lambda each: json.dumps(GOOD | each).encode()))
def test_only_the_very_order_and_amount_are_approved(operation: Operation, status: int, body: bytes) -> None:
    refund = operation is Operation.REFUND
    asked = Asked(operation, MCHID, "T1", 1_000, "R1" if refund else "", 300 if refund else 0)
    result = result_of(asked, status, body)
    if not isinstance(result, Approved):
        return
    assert status in (200, 202, 204)
    if operation in (Operation.REVERSAL, Operation.VOID):
        assert body == b"" or json.loads(body)["out_trade_no"] == "T1"
        return
    content = json.loads(body)
    assert (content["out_trade_no"], content["amount"]["total"]) == ("T1", 1_000)
    assert content["trade_state"] in ("SUCCESS", "REFUND")


@given(
    st.sampled_from(list(undo.Step)), statuses, st.binary(max_size=60) | changed.map(lambda c: json.dumps(c).encode())
)
def test_an_undoing_never_fails_on_what_it_hears(step: undo.Step, status: int, body: bytes) -> None:
    undoing = undo.Undo(Asked(Operation.REVERSAL, MCHID, "T1", 1_000))
    result = undoing.after(step, status, body)
    assert not isinstance(result, Approved) or status in (200, 204)


KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
SETTINGS = WeChatSettings("http://x", "wx1", MCHID, "77AA", v2_key=KEY)
V2_GOOD = {
    "return_code": "SUCCESS", "result_code": "SUCCESS", "appid": "wx1", "mch_id": MCHID, "out_trade_no": "T1",
    "transaction_id": "42", "total_fee": "1000", "fee_type": "CNY", "recall": "N",
}  # fmt: skip
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=("Cc", "Cs")), max_size=20)
v2_changed = st.dictionaries(st.sampled_from([*V2_GOOD, "err_code", "trade_state"]), texts, max_size=3)


def asking(operation: Operation) -> ChannelRequest:
    money, entry = Money(1_000, "CNY"), EntryMode.PAYER_CODE
    record = Authorization(DUMMY_ID, "a", "m", "t", "5411", Operation.SALE, money, entry, "")
    code = CodeCredential("wechat", PaymentCode("130000000000000000"))
    return ChannelRequest(operation, record, money, code, Merchant("m"), 0.0, trace={"out_trade_no": "T1"})


@given(st.sampled_from([Operation.SALE, Operation.INQUIRY, Operation.REVERSAL]), v2_changed)
def test_v2_approves_only_the_very_order_and_amount(operation: Operation, change: dict[str, str]) -> None:
    fields = V2_GOOD | change
    body = write_xml(fields | {"sign": platform_sign(fields, KEY, "HMAC-SHA256")})
    result = V2(SETTINGS).begin(asking(operation)).heard(Answer(200, {}, body), 0.0)
    if isinstance(result, Approved) and operation is not Operation.REVERSAL:
        assert (fields["out_trade_no"], fields["total_fee"].lstrip("0")) == ("T1", "1000")
    if isinstance(result, Approved):
        assert (fields["return_code"], fields["result_code"], fields["mch_id"]) == ("SUCCESS", "SUCCESS", MCHID)


# --- two readers of one format --------------------------------------------------------------------------------------

fields_of = st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), texts.map(str.strip), max_size=6)


@given(fields_of)
def test_what_we_write_the_platform_reads_and_the_other_way(fields: dict[str, str]) -> None:
    there = {name: value for name, value in fields.items() if value}
    assert {name: value for name, value in read_xml(xml.encode(fields)).items() if value} == there
    assert xml.decode(write_xml(fields)) == there
    for sign_type in ("MD5", "HMAC-SHA256"):
        assert xml.sign(fields, KEY, sign_type) == platform_sign(fields, KEY, sign_type)


@given(fields_of, st.data())
def test_two_readers_that_read_it_read_the_same(fields: dict[str, str], data: st.DataObject) -> None:
    written = bytearray(write_xml(fields))
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.sampled_from(list(b"<>&;![]x/ \"'\n")))
    try:
        ours = xml.decode(bytes(written))
    except InvalidAnswer:
        return
    try:
        theirs = {name: value for name, value in read_xml(bytes(written)).items() if value}
    except BadXml:
        return
    assert ours == theirs


# --- notifications --------------------------------------------------------------------------------------------------

headers_of = st.dictionaries(
    st.sampled_from(
        [
            "Wechatpay-Timestamp",
            "Wechatpay-Nonce",
            "Wechatpay-Signature",
            "Wechatpay-Serial",
            "Wechatpay-Signature-Type",
        ]
    ),
    st.text(max_size=40) | st.sampled_from(["1700000000", "AA==", "PUB_KEY_ID_1"]),
)


@given(headers_of, st.binary(max_size=100))
def test_an_unsigned_notification_is_always_refused(
    merchant_public_pem: str, headers: dict[str, str], body: bytes
) -> None:
    keys = PlatformKeys(merchant_public_pem, "PUB_KEY_ID_1")
    with pytest.raises(NotificationRefused):
        notification.read(keys, b"k" * 32, MCHID, headers, body, 1_700_000_000.0)


# --- bills ----------------------------------------------------------------------------------------------------------

GOOD_BILL = next(bytes.fromhex(e["hex"]) for e in CORPUS if (e["parser"], e["why"]) == ("trade bill", "a good one"))


@given(st.integers(0, len(GOOD_BILL) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_bill_that_is_still_believed_moves_the_same_money(at: int, instead: bytes, cut: int) -> None:
    """Without its hash, which would have caught every one of these."""
    try:
        lines = bill.trade_lines([GOOD_BILL[:at] + instead + GOOD_BILL[at + cut :]], MCHID, DAY)
    except BillRefused:
        return
    assert [(each.kind.value, each.money.amount_minor, each.fee_minor) for each in lines] == [("payment", 1_000, 6)]
