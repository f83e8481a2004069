"""A batch's payouts as an ISO 20022 customer credit transfer initiation, pain.001.001.09.

Element order and lengths are those of the schema pain.001.001.09.xsd (ISO 20022 message definition report, Payments
Initiation). One payment information block: one debtor account, one execution date, one currency.
"""

import re
import xml.etree.ElementTree as ET  # only written, never parsed
from collections.abc import Mapping, Sequence
from typing import Final

from switch.domain.business_day import time_text
from switch.domain.money import Money
from switch.domain.settlement import Batch, Payout

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
# IBAN2007Identifier; its check digits by ISO 13616 (modulus 97).
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[a-zA-Z0-9]{1,30}", re.ASCII)


def render(batch: Batch, payouts: Sequence[Payout], numbers: Mapping[str, str]) -> bytes:
    """Of what is fixed when the batch is released, and of all of its payouts, whatever became of them.

    numbers: merchant_id -> account number.
    """
    root = ET.Element("Document", xmlns=NAMESPACE)
    initiation = ET.SubElement(root, "CstmrCdtTrfInitn")
    _group_header(initiation, batch, payouts)
    _payment_information(initiation, batch, payouts, numbers)
    ET.indent(root, " ")
    body: bytes = ET.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _group_header(parent: ET.Element, batch: Batch, payouts: Sequence[Payout]) -> None:
    header = ET.SubElement(parent, "GrpHdr")
    _text(header, "MsgId", batch.message_id)
    _text(header, "CreDtTm", time_text(batch.decided_time_ms))
    _totals(header, batch, payouts)
    _text(ET.SubElement(header, "InitgPty"), "Nm", batch.debtor.name)


def _totals(parent: ET.Element, batch: Batch, payouts: Sequence[Payout]) -> None:
    _text(parent, "NbOfTxs", str(len(payouts)))
    total = Money(sum(each.payout_minor for each in payouts), batch.currency)
    _text(parent, "CtrlSum", total.decimal_text())


def _payment_information(
    parent: ET.Element, batch: Batch, payouts: Sequence[Payout], numbers: Mapping[str, str]
) -> None:
    block = ET.SubElement(parent, "PmtInf")
    _text(block, "PmtInfId", batch.message_id)
    _text(block, "PmtMtd", "TRF")
    _text(block, "BtchBookg", "false")
    _totals(block, batch, payouts)
    _text(ET.SubElement(block, "ReqdExctnDt"), "Dt", batch.execution_day)
    _text(ET.SubElement(block, "Dbtr"), "Nm", batch.debtor.name)
    account = _account(block, "DbtrAcct", batch.debtor.account)
    _text(account, "Ccy", batch.currency)
    _agent(block, "DbtrAgt", batch.debtor.bank_code)
    _text(block, "ChrgBr", "DEBT")  # the merchant gets it whole
    for each in payouts:
        _transfer(block, each, numbers[each.merchant_id])


def _transfer(block: ET.Element, payout: Payout, number: str) -> None:
    transfer = ET.SubElement(block, "CdtTrfTxInf")
    identity = ET.SubElement(transfer, "PmtId")
    _text(identity, "InstrId", payout.end_to_end_id)
    _text(identity, "EndToEndId", payout.end_to_end_id)
    amount = _text(
        ET.SubElement(transfer, "Amt"), "InstdAmt", Money(payout.payout_minor, payout.currency).decimal_text()
    )
    amount.set("Ccy", payout.currency)
    _agent(transfer, "CdtrAgt", payout.bank_code)
    _text(ET.SubElement(transfer, "Cdtr"), "Nm", payout.account_name)
    _account(transfer, "CdtrAcct", number)
    _text(ET.SubElement(transfer, "RmtInf"), "Ustrd", f"Settlement {payout.merchant_id}")


def _account(parent: ET.Element, tag: str, number: str) -> ET.Element:
    account = ET.SubElement(parent, tag)
    identity = ET.SubElement(account, "Id")
    compact = number.replace(" ", "")
    if is_iban(compact):
        _text(identity, "IBAN", compact)
    else:
        _text(ET.SubElement(identity, "Othr"), "Id", number)
    return account


def _agent(parent: ET.Element, tag: str, bank_code: str) -> None:
    """A BIC, or a member of the clearing system CNAPS (ExternalClearingSystemIdentification1Code)."""
    institution = ET.SubElement(ET.SubElement(parent, tag), "FinInstnId")
    if not bank_code.isdigit():
        _text(institution, "BICFI", bank_code)
        return
    member = ET.SubElement(institution, "ClrSysMmbId")
    _text(ET.SubElement(member, "ClrSysId"), "Cd", "CNAPS")
    _text(member, "MmbId", bank_code)


def is_iban(number: str) -> bool:
    """
    >>> is_iban("GB82WEST12345698765432"), is_iban("GB82WEST12345698765433"), is_iban("6222021001234567890")
    (True, False, False)
    """
    if _IBAN.fullmatch(number) is None:
        return False
    return int("".join(str(int(each, 36)) for each in number[4:] + number[:4])) % 97 == 1


def _text(parent: ET.Element, tag: str, value: str) -> ET.Element:
    element = ET.SubElement(parent, tag)
    element.text = value
    return element
