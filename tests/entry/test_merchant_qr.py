"""Merchant-presented codes: EMVCo's own example, an independent CRC, strictness."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.domain.authorization import Merchant
from switch.domain.money import Money
from switch.entry.errors import EntryError
from switch.entry.merchant_qr import MerchantQrPayload, build_merchant_qr, check_against, parse_merchant_qr

SHOP = MerchantQrPayload(
    merchant_name="TEA HOUSE",
    merchant_city="SHANGHAI",
    country="CN",
    merchant_category_code="5812",
    currency="CNY",
    amount_minor=12345,
    one_time=True,
    accounts={"15": "0102030405060708"},
    account_templates={"26": {"00": "com.example", "01": "M1"}},
    additional={"01": "BILL7", "05": "REF", "07": "T1"},
    language={"00": "ZH", "01": "茶馆"},
)
TEXT = build_merchant_qr(SHOP)
MERCHANT = Merchant("M1", "TEA HOUSE", "SHANGHAI", "CN", "5812")


def test_emvcos_example(emvco, crc16):
    text = emvco["merchant_presented"]
    assert text[-4:] == f"{crc16(text[:-4].encode()):04X}"
    payload = parse_merchant_qr(text)
    assert payload == MerchantQrPayload(
        merchant_name="BEST TRANSPORT",
        merchant_city="BEIJING",
        country="CN",
        merchant_category_code="4111",
        currency="CNY",
        amount_minor=2372,
        one_time=True,
        account_templates={
            "29": {"00": "D15600000000", "05": "A93FO3230Q"},
            "31": {"00": "D15600000001", "03": "12345678"},
        },
        tip={"55": "01"},
        additional={"03": "1234", "06": "***", "07": "A6008667", "09": "ME"},
        language={"00": "ZH", "01": "最佳运输", "02": "北京"},
        unreserved={"91": {"00": "A011223344998877", "07": "12345678"}},
    )
    assert parse_merchant_qr(build_merchant_qr(payload)) == payload


def test_a_built_code_is_ascending_and_has_an_independent_crc(crc16):
    assert TEXT.startswith("000201" + "010212" + "15160102030405060708" + "26")
    assert TEXT[-8:] == f"6304{crc16(TEXT[:-4].encode()):04X}"
    assert parse_merchant_qr(TEXT) == SHOP


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=15)


@given(
    st.builds(
        MerchantQrPayload,
        merchant_name=WORDS,
        merchant_city=WORDS,
        country=st.sampled_from(["CN", "HK", "JP"]),
        merchant_category_code=st.from_regex("[0-9]{4}", fullmatch=True),
        currency=st.sampled_from(["CNY", "JPY", "KWD"]),
        amount_minor=st.none() | st.integers(1, 10**9),
        one_time=st.none() | st.booleans(),
        accounts=st.dictionaries(st.sampled_from(["02", "15", "25"]), WORDS, min_size=1),
        account_templates=st.dictionaries(st.sampled_from(["26", "51"]), st.fixed_dictionaries({"00": WORDS})),
        additional=st.dictionaries(st.sampled_from(["01", "05", "07"]), WORDS),
        postal_code=st.just("") | st.just("200000"),
    )
)
def test_what_was_built_is_parsed(payload):
    assert parse_merchant_qr(build_merchant_qr(payload)) == payload


def sealed(crc16, body: str) -> str:
    return f"{body}6304{crc16(f'{body}6304'.encode()):04X}"


def test_truncation_anywhere_is_refused():
    for size in range(len(TEXT)):
        with pytest.raises(EntryError):
            parse_merchant_qr(TEXT[:size])


def test_truncation_with_a_right_crc_is_refused(crc16):
    body = TEXT[:-8]
    required_end = body.index("6008SHANGHAI") + len("6008SHANGHAI")
    for size in range(required_end):
        with pytest.raises(EntryError):
            parse_merchant_qr(sealed(crc16, body[:size]))


def test_any_character_changed_breaks_the_crc():
    for at in range(len(TEXT)):
        wrong = TEXT[:at] + chr(ord(TEXT[at]) ^ 1) + TEXT[at + 1 :]
        with pytest.raises(EntryError):
            parse_merchant_qr(wrong)


BODY = "000201" + "0203ABC" + "52045812" + "5303156" + "5802CN" + "5903TEA" + "6002SH"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "does not begin with id 00"),
        (BODY.replace("000201", ""), "does not begin with id 00"),
        (BODY.replace("000201", "000202"), "id 00 has a wrong value"),
        (BODY.replace("0203ABC", ""), "no merchant account"),
        (BODY.replace("52045812", ""), "id 52 is missing"),
        (BODY.replace("52045812", "52055812X"), "id 52 has a wrong value"),
        (BODY.replace("5303156", "5303999"), "id 53 is not a supported currency"),
        (BODY.replace("5802CN", "5802cn"), "id 58 has a wrong value"),
        (BODY.replace("6002SH", "6000"), "id 60 has a wrong length"),
        (BODY + "5802CN", "id 58 twice"),
        (BODY + "54041.5.", "id 54 has a wrong value"),
        (BODY + "54051.005", "more decimals than its currency"),
        (BODY + "54040.00", "id 54 is out of range"),
        (BODY + "550202", "id 56 is missing"),
        (BODY + "550203", "id 57 is missing"),
        (BODY + "6204" + "0199", "id 01 in id 62 has a wrong length"),
        (BODY + "6203" + "01X", "no id and length at character 0 in id 62"),
        (BODY + "6304ABCD", "id 63 before the end"),
        (BODY + "64", "no id and length"),
        (BODY + "٦٢01A", "no id and length"),
        (BODY + "".join(f"{id_}99{'x' * 99}" for id_ in range(65, 70)), "longer than 512"),
    ],
)
def test_strictness(crc16, body, reason):
    with pytest.raises(EntryError, match=reason) as refused:
        parse_merchant_qr(sealed(crc16, body))
    assert refused.value.field == "merchant_qr.payload"


def test_lower_case_crc_and_lone_surrogates_are_refused():
    # A letter must be in the CRC for its case to matter.
    texts = (build_merchant_qr(dataclasses.replace(SHOP, amount_minor=amount)) for amount in range(1, 50))
    with_letter = next(text for text in texts if not text[-4:].isdigit())
    with pytest.raises(EntryError, match="the CRC is wrong"):
        parse_merchant_qr(with_letter[:-4] + with_letter[-4:].lower())
    with pytest.raises(EntryError, match="not text"):
        parse_merchant_qr("000201\ud8006304ABCD")


def test_the_request_must_be_the_codes():
    check_against(SHOP, MERCHANT, Money(12345, "CNY"))
    check_against(SHOP, dataclasses.replace(MERCHANT, name=""), Money(12345, "CNY"))
    check_against(dataclasses.replace(SHOP, amount_minor=None), MERCHANT, Money(7, "CNY"))


@pytest.mark.parametrize(
    ("merchant", "money", "reason"),
    [
        ({}, Money(12346, "CNY"), "id 54"),
        ({}, Money(12345, "HKD"), "id 53"),
        ({"category_code": "5999"}, Money(12345, "CNY"), "id 52"),
        ({"country": "HK"}, Money(12345, "CNY"), "id 58"),
        ({"name": "OTHER"}, Money(12345, "CNY"), "id 59"),
    ],
)
def test_a_request_that_contradicts_the_code(merchant, money, reason):
    with pytest.raises(EntryError, match=reason):
        check_against(SHOP, dataclasses.replace(MERCHANT, **merchant), money)


@pytest.mark.parametrize(
    ("tip", "right", "wrong"),
    [
        ({"55": "01"}, (12345, 20000), (12344,)),
        ({"55": "02", "56": "1.50"}, (12495,), (12345, 12494)),
        ({"55": "03", "57": "10"}, (13579, 13580), (13578, 13581)),
    ],
)
def test_tips_are_added(tip, right, wrong):
    payload = parse_merchant_qr(build_merchant_qr(dataclasses.replace(SHOP, tip=tip)))
    for amount_minor in right:
        check_against(payload, MERCHANT, Money(amount_minor, "CNY"))
    for amount_minor in wrong:
        with pytest.raises(EntryError, match="id 54"):
            check_against(payload, MERCHANT, Money(amount_minor, "CNY"))


def test_a_value_too_long_is_not_built():
    with pytest.raises(ValueError, match="id 59 has 100 characters"):
        build_merchant_qr(dataclasses.replace(SHOP, merchant_name="x" * 100))
