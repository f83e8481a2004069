"""Whatever a request holds, it is refused as such: no call breaks, and no text repeats a secret."""

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from merchant_office import ANN, Office, business, credit_code, payer

from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_fields as fields
from switch.domain.access import Caller, Role
from switch.domain.refusals import Invalid, Refusal

METHODS = [*pb.DESCRIPTOR.services_by_name["MerchantService"].methods]
HOSTILE = ("", "\x00", "'; DROP TABLE merchants; --", "x" * 70_000, "\u202e\ufeff", "００１", "-1", "M" * 15 + "\n")


def filled(message: Any, text: str, number: int) -> Any:
    """Every text is `text`, every number `number`, down to the last field."""
    for field in message.DESCRIPTOR.fields:
        if field.name == "merchant_id":
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            child = getattr(message, field.name)
            filled(child.add() if field.is_repeated else child, text, number)
        elif field.is_repeated:
            getattr(message, field.name).append(text)
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, text)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            setattr(message, field.name, text.encode())
        elif field.type != FieldDescriptor.TYPE_BOOL:
            setattr(message, field.name, number)
    return message


async def test_no_call_breaks(office: Office) -> None:
    for method in METHODS:
        await check_call(office, method)


async def check_call(office: Office, method: MethodDescriptor) -> None:
    merchant_id, owner = await office.active()
    everything = Caller(
        owner.name, frozenset({Role.MERCHANT_OWNER, Role.REVIEWER}), owner.user_id, owner.session_id, merchant_id
    )
    for text in HOSTILE:
        for number in (0, 99, 2**31 - 1):
            for named in (merchant_id, text):
                request = filled(GetMessageClass(method.input_type)(), text, number)
                if "merchant_id" in method.input_type.fields_by_name:
                    request.merchant_id = named
                with suppress(Refusal):
                    await getattr(office.service, method.name)(request, everything)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"legal_name": " padded "}, "business.legal_name"),
        ({"legal_name": "x" * 101}, "business.legal_name"),
        ({"registration": "914403001922038261"}, "business.registration"),
        ({"registration": credit_code().lower()}, "business.registration"),
        ({"registration_kind": 9}, "business.registration_kind"),
        ({"display_name": "x" * 26}, "business.display_name"),
        ({"display_name": "街角商店"}, "business.display_name"),
        ({"city": "x" * 14}, "business.city"),
        ({"country": "china"}, "business.country"),
        ({"category_code": "54111"}, "business.category_code"),
        ({"category_code": "５４１１"}, "business.category_code"),
        ({"contact": pb.MerchantContact(phone="13800000000")}, "business.contact.phone"),
        ({"contact": pb.MerchantContact(email="wang")}, "business.contact.email"),
        ({"contact": pb.MerchantContact(email="a" * 250 + "@b.cn")}, "business.contact.email"),
    ],
)
def test_a_business_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        fields.business(business(**changes))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("number", "bank_code", "field"),
    [
        ("1234567", "102290002916", "account.account_number"),
        ("6222 0212 3456", "102290002916", "account.account_number"),
        ("GB83WEST12345698765432", "ICBKCNBJ", "account.account_number"),
        ("6222021234567890", "10229000291", "account.bank_code"),
        ("6222021234567890", "icbkcnbj", "account.bank_code"),
        ("6222021234567890", "ICBKCNBJSH", "account.bank_code"),
    ],
)
def test_an_account_is_refused_by_field_and_not_repeated(number: str, bank_code: str, field: str) -> None:
    wrong = pb.BankAccount(account_name="x", account_number=number, bank_code=bank_code)
    with pytest.raises(Invalid) as caught:
        fields.bank_account(wrong)
    assert caught.value.field == field
    assert number not in str(caught.value)


async def test_a_foreign_registration_and_an_iban_will_do(office: Office) -> None:
    changes = {"registration_kind": pb.REGISTRATION_KIND_FOREIGN, "registration": "HRB-12345.B", "country": "DE"}
    iban = pb.BankAccount(account_name="Laden GmbH", account_number="DE89370400440532013000", bank_code="COBADEFF")
    application = await office.service.Apply(pb.ApplyRequest(business=business(**changes), account=iban), payer())
    assert application.application.business.country == "DE"


async def test_a_rejection_has_a_reason(office: Office) -> None:
    merchant_id = await office.applied(payer())
    with pytest.raises(Invalid, match="reason"):
        await office.service.ReviewApplication(pb.ReviewApplicationRequest(merchant_id=merchant_id, round=1), ANN)
