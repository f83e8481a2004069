"""pain.001.001.09, held to the schema's rules as the message definition report has them: written here, not by the code.

A rule of a complex type is its elements in order: (tag, what is in it, at least, at most). A simple type is a pattern.
"""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from switch.domain.bank_account import masked
from switch.domain.settlement import Batch, Debtor, Payout, PayoutState, end_to_end_id_of
from switch.settlement.pain001 import render

NAMESPACE = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.09}"

MAX_35 = r".{1,35}"
MAX_140 = r".{1,140}"
AMOUNT = r"(?=[0-9.]{1,19}$)\d{1,18}(\.\d{1,5})?"  # 18 digits in all, 5 behind the point
DECIMAL = r"(?=[0-9.]{1,19}$)\d{1,18}(\.\d{1,17})?"
DATE_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"

AGENT = [("FinInstnId", [
    ("BICFI", r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?", 0, 1),
    ("ClrSysMmbId", [("ClrSysId", [("Cd", r".{1,5}", 1, 1)], 0, 1), ("MmbId", MAX_35, 1, 1)], 0, 1),
], 1, 1)]  # fmt: skip
ACCOUNT = [
    ("Id", [
        ("IBAN", r"[A-Z]{2}[0-9]{2}[a-zA-Z0-9]{1,30}", 0, 1),
        ("Othr", [("Id", r".{1,34}", 1, 1)], 0, 1),
    ], 1, 1),
    ("Ccy", r"[A-Z]{3}", 0, 1),
]  # fmt: skip
TRANSFER = [
    ("PmtId", [("InstrId", MAX_35, 0, 1), ("EndToEndId", MAX_35, 1, 1)], 1, 1),
    ("Amt", [("InstdAmt", AMOUNT, 1, 1)], 1, 1),
    ("ChrgBr", r"DEBT|CRED|SHAR|SLEV", 0, 1),
    ("CdtrAgt", AGENT, 0, 1),
    ("Cdtr", [("Nm", MAX_140, 0, 1)], 0, 1),
    ("CdtrAcct", ACCOUNT, 0, 1),
    ("RmtInf", [("Ustrd", MAX_140, 0, 9)], 0, 1),
]
DOCUMENT = [("CstmrCdtTrfInitn", [
    ("GrpHdr", [
        ("MsgId", MAX_35, 1, 1), ("CreDtTm", DATE_TIME, 1, 1), ("NbOfTxs", r"[0-9]{1,15}", 1, 1),
        ("CtrlSum", DECIMAL, 0, 1), ("InitgPty", [("Nm", MAX_140, 0, 1)], 1, 1),
    ], 1, 1),
    ("PmtInf", [
        ("PmtInfId", MAX_35, 1, 1), ("PmtMtd", r"CHK|TRF|TRA", 1, 1), ("BtchBookg", r"true|false", 0, 1),
        ("NbOfTxs", r"[0-9]{1,15}", 0, 1), ("CtrlSum", DECIMAL, 0, 1),
        ("ReqdExctnDt", [("Dt", r"\d{4}-\d\d-\d\d", 1, 1)], 1, 1), ("Dbtr", [("Nm", MAX_140, 0, 1)], 1, 1),
        ("DbtrAcct", ACCOUNT, 1, 1), ("DbtrAgt", AGENT, 1, 1), ("ChrgBr", r"DEBT|CRED|SHAR|SLEV", 0, 1),
        ("CdtTrfTxInf", TRANSFER, 1, 10**6),
    ], 1, 10**6),
], 1, 1)]  # fmt: skip
# Of these exactly one is there.
CHOICES = {"Id": {"IBAN", "Othr"}, "FinInstnId": {"BICFI", "ClrSysMmbId"}}


def faults(element: ET.Element, rule: Any, path: str = "") -> list[str]:
    if isinstance(rule, str):
        text = element.text or ""
        return [] if len(element) == 0 and re.fullmatch(rule, text) else [f"{path}: {text!r}"]
    found, children, at = [], list(element), 0
    for tag, inner, least, most in rule:
        count = 0
        while at < len(children) and children[at].tag == NAMESPACE + tag and count < most:
            found += faults(children[at], inner, f"{path}/{tag}")
            at, count = at + 1, count + 1
        if count < least:
            found.append(f"{path}: {tag} is missing")
    found += [f"{path}: {each.tag} is not expected there" for each in children[at:]]
    name = path.rpartition("/")[2]
    if name in CHOICES and len({each.tag.removeprefix(NAMESPACE) for each in children} & CHOICES[name]) != 1:
        found.append(f"{path}: not exactly one choice")
    return found


BATCH = Batch(
    UUID(int=77 << 70), "CNY", "2026-03-02", PayoutState.RELEASED, 3, 1_000_000_000_111, 0, "finance/ann",
    1_772_500_000_000, "finance/bob", 1_772_553_600_001, execution_day="2026-03-04",
    debtor=Debtor("Payswitch & Söhne <Ltd>", "GB82WEST12345698765432", "BKCHCNBJ110"),
)  # fmt: skip


NUMBERS: dict[str, str] = {}


def payout(number: int, minor: int, account: str, bank: str, name: str = "街角商店 & Co <1>") -> Payout:
    merchant = f"10411005311000{number}"
    NUMBERS[merchant] = account
    return Payout(
        merchant, BATCH.id, "CNY", PayoutState.RELEASED, minor, 0, minor, name, masked(account), bank,
        end_to_end_id_of(BATCH.id, merchant), 0, 0,
    )  # fmt: skip


PAYOUTS = [
    payout(1, 1, "6222 0210 0123 4567 890", "102290020018"),
    payout(2, 999_999_999_999, "DE89370400440532013000", "COBADEFF"),
    payout(3, 111, "1" * 34, "BKCHCNBJ", "N" * 140),
]


def document(batch: Batch = BATCH, payouts: list[Payout] | None = None) -> ET.Element:
    return ET.fromstring(render(batch, PAYOUTS if payouts is None else payouts, NUMBERS))


def texts(root: ET.Element, tag: str) -> list[str]:
    return [each.text or "" for each in root.iter(NAMESPACE + tag)]


def test_the_document_keeps_the_schemas_rules() -> None:
    root = document()
    assert root.tag == NAMESPACE + "Document"
    assert faults(root, DOCUMENT) == []


def test_what_it_says_is_what_is_paid() -> None:
    root = document()
    assert texts(root, "NbOfTxs") == ["3", "3"]
    amounts = [Decimal(each) for each in texts(root, "InstdAmt")]
    assert amounts == [Decimal("0.01"), Decimal("9999999999.99"), Decimal("1.11")]
    assert [Decimal(each) for each in texts(root, "CtrlSum")] == [sum(amounts)] * 2
    assert {each.get("Ccy") for each in root.iter(NAMESPACE + "InstdAmt")} == {"CNY"}
    assert texts(root, "EndToEndId") == [each.end_to_end_id for each in PAYOUTS]
    assert len(set(texts(root, "EndToEndId"))) == 3
    assert texts(root, "MsgId") == texts(root, "PmtInfId") == [BATCH.id.hex]
    assert texts(root, "Nm")[-3:] == ["街角商店 & Co <1>", "街角商店 & Co <1>", "N" * 140]
    assert texts(root, "Nm")[:2] == ["Payswitch & Söhne <Ltd>"] * 2
    assert texts(root, "CreDtTm") == ["2026-03-04T00:00:00.001+08:00"]
    assert texts(root, "IBAN") == ["GB82WEST12345698765432", "DE89370400440532013000"]
    assert texts(root, "MmbId") == ["102290020018"]
    assert texts(root, "BICFI") == ["BKCHCNBJ110", "COBADEFF", "BKCHCNBJ"]


def test_currencies_without_or_with_three_decimals_keep_theirs() -> None:
    for currency, text in (("JPY", "111"), ("KWD", "0.111")):
        payouts = [replace(PAYOUTS[2], currency=currency)]
        root = document(replace(BATCH, currency=currency), payouts)
        assert texts(root, "InstdAmt") == [text]
        assert texts(root, "CtrlSum") == [text, text]
        assert faults(root, DOCUMENT) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: root[0].remove(root[0][0]),
        lambda root: root[0].insert(0, root[0][1]),
        lambda root: root[0][0].append(root[0][0][0]),
        lambda root: setattr(root[0][0][0], "text", "x" * 36),
        lambda root: setattr(root[0][0][1], "text", "2026-03-04"),
        lambda root: root[0][1][-1].insert(0, root[0][1][-1][-1]),
        lambda root: root[0][1][-1].remove(root[0][1][-1][0]),
        lambda root: setattr(root[0][1][-1][1][0], "text", "1,00"),
    ],
)
def test_the_rules_find_what_is_wrong(damage: Any) -> None:
    root = document()
    damage(root)
    assert faults(root, DOCUMENT)
