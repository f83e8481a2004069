"""The name of an order comes back from every form, and from nothing else."""

from uuid import UUID

import pytest

from switch.domain.authorization import Merchant
from switch.domain.money import Money
from switch.entry.errors import EntryError
from switch.entry.merchant_qr import build_merchant_qr, parse_merchant_qr
from switch.entry.ndef import LONGEST_URI, type_2_data, type_4_file, uri_message, uri_of
from switch.entry.order_code import (
    Name,
    Named,
    address_of,
    check_agrees,
    emv_text,
    read_name,
    read_path,
    unionpay_account,
)

ID = UUID("018bcfe5-6800-7000-8000-00000000abcd")
SHOP = Merchant("104110053110001", "Corner Shop", "Shanghai", "CN", "5411")
ORDER = Name(Named.ORDER, SHOP.id, ID)
BASE = "https://pay.example"


def emv(amount_minor: int | None = 1_250, name: Name = ORDER, merchant: Merchant = SHOP) -> str:
    return emv_text(name, merchant, "CNY", amount_minor, unionpay_account(merchant.id, "01020344", "01020345"))


@pytest.mark.parametrize("named", Named)
@pytest.mark.parametrize("merchant_id", ["m", "a1B2c3D4e5F6g7H"])
def test_both_forms_name_the_same(named: Named, merchant_id: str) -> None:
    merchant = Merchant(merchant_id, "Corner Shop", "Shanghai", "CN", "5411")
    name = Name(named, merchant_id, ID)
    read = read_name(emv_text(name, merchant, "CNY", None, {}), BASE)
    assert (read.named, read.merchant_id, read.id) == (named, merchant_id, ID)
    assert read_name(address_of(name, BASE), BASE) == name
    assert read_path(name.path) == name


def test_the_code_is_dynamic_and_names_unionpay_too() -> None:
    payload = parse_merchant_qr(emv())
    assert (payload.one_time, payload.amount_minor, payload.currency) == (True, 1_250, "CNY")
    assert payload.accounts == {"15": "0102034401020345104110053110001"}
    assert parse_merchant_qr(emv(None)).one_time is False


@pytest.mark.parametrize(
    ("merchant_id", "acquiring_id", "forwarding_id"),
    [("short", "01020344", "01020344"), (SHOP.id, "", "01020344"), (SHOP.id, "01020344", "01020344999")],
)
def test_numbers_that_unionpay_would_refuse_are_not_promised(
    merchant_id: str, acquiring_id: str, forwarding_id: str
) -> None:
    assert unionpay_account(merchant_id, acquiring_id, forwarding_id) == {}


@pytest.mark.parametrize(
    "scanned",
    [
        "",
        "x" * 600,
        ORDER.path,
        f"http://pay.example{ORDER.path}",
        f"https://pay.example.evil.example{ORDER.path}",
        f"https://evil.example/?u={BASE}{ORDER.path}",
        f"{BASE}@evil.example{ORDER.path}",
        f"{BASE}{ORDER.path}/",
        f"{BASE}{ORDER.path.upper()}",
        f"{BASE}/q/{SHOP.id}.{'g' * 32}",
        f"{BASE}/q/{'a' * 16}.{ID.hex}",
        f"{BASE}/x/{SHOP.id}.{ID.hex}",
        f"{BASE}/q/../q/{SHOP.id}.{ID.hex}",
    ],
)
def test_what_is_not_ours_is_refused(scanned: str) -> None:
    with pytest.raises(EntryError):
        read_name(scanned, BASE)


def test_without_a_public_address_no_address_is_ours() -> None:
    with pytest.raises(EntryError):
        read_name(ORDER.path, "")


def test_a_changed_code_is_refused_by_its_crc() -> None:
    text = emv()
    for at in range(6, len(text)):
        other = "0" if text[at] != "0" else "1"
        with pytest.raises(EntryError):
            read_name(text[:at] + other + text[at + 1 :], BASE)


def test_another_parties_template_is_not_ours() -> None:
    payload = parse_merchant_qr(emv())
    payload.account_templates["26"]["00"] = "0" * 32
    with pytest.raises(EntryError, match="of ours"):
        read_name(build_merchant_qr(payload), BASE)


@pytest.mark.parametrize(
    ("field", "value"),
    [("amount_minor", 1), ("amount_minor", None), ("currency", "USD"), ("merchant_name", "Other"), ("country", "HK"),
     ("merchant_category_code", "5999"), ("tip", {"55": "01"})],
)  # fmt: skip
def test_what_the_payer_saw_is_what_he_pays(field: str, value: object) -> None:
    """A right CRC proves nothing: whoever prints a code can say another amount."""
    payload = parse_merchant_qr(emv())
    setattr(payload, field, value)
    name = read_name(build_merchant_qr(payload), BASE)
    with pytest.raises(EntryError):
        check_agrees(name, SHOP, Money(1_250, "CNY"), "CNY")


def test_codes_as_they_were_made_agree() -> None:
    check_agrees(read_name(emv(), BASE), SHOP, Money(1_250, "CNY"), "CNY")
    check_agrees(ORDER, SHOP, Money(1_250, "CNY"), "CNY")
    shop_code = Name(Named.SHOP_CODE, SHOP.id, ID)
    check_agrees(read_name(emv(None, shop_code), BASE), SHOP, None, "CNY")
    with pytest.raises(EntryError):
        check_agrees(read_name(emv(1, shop_code), BASE), SHOP, None, "CNY")
    nameless = Merchant("m", category_code="5411")
    check_agrees(
        read_name(emv(5, merchant=nameless, name=Name(Named.ORDER, "m", ID)), BASE), nameless, Money(5, "CNY"), "CNY"
    )


# --- tags -------------------------------------------------------------------------------------------------------------


def test_the_vector_of_the_uri_record_definition() -> None:
    """NFC Forum URI RTD 1.0, A.1: http://www.nfc.com."""
    assert uri_message("http://www.nfc.com").hex() == "d1010855016e66632e636f6d"


@pytest.mark.parametrize("uri", ["https://www.a.b/c", "https://a.b", "http://a.b", "x", "https://" + "a" * 242])
def test_every_address_comes_back(uri: str) -> None:
    message = uri_message(uri)
    assert uri_of(message) == uri
    assert type_4_file(message)[2:] == message
    data = type_2_data(message)
    assert (data[0], data[1], data[-1], data[2:-1]) == (3, len(message), 0xFE, message)


@pytest.mark.parametrize("uri", ["", "ü", "x" * (LONGEST_URI + 1)])
def test_what_is_no_address_for_a_tag(uri: str) -> None:
    with pytest.raises(ValueError, match="address"):
        uri_message(uri)


def test_a_damaged_message_is_refused() -> None:
    message = uri_message("https://a.b")
    spoilt = [message[:-1], message + b"x", b"", b"\x91" + message[1:], message[:3] + b"T" + message[4:],
              message[:4] + b"\x09" + message[5:], message[:-1] + b"\xff"]  # fmt: skip
    for each in spoilt:
        with pytest.raises(EntryError):
            uri_of(each)
