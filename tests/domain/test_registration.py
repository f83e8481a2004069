"""The check character of a unified social credit code (GB 32100-2015)."""

import pytest

from switch.domain.registration import RegistrationKind, is_registration

CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
KIND = RegistrationKind.UNIFIED_SOCIAL_CREDIT
# As published by their holders: Huawei, Tencent, Alibaba (China), Bank of China, ICBC.
PUBLISHED = (
    *("914403001922038216", "9144030071526726XG", "91330100799655058B"),
    *("911000001000013428", "91100000100003962T"),
)


@pytest.mark.parametrize("code", PUBLISHED)
def test_a_known_companys_code_is_right_and_no_other_character_in_it_is(code: str) -> None:
    assert is_registration(KIND, code)
    for place, right in enumerate(code):
        for other in CHARACTERS:
            assert is_registration(KIND, code[:place] + other + code[place + 1 :]) == (other == right)


@pytest.mark.parametrize("text", ["", "91440300192203821", "9144030019220382166", "91440300192203821\n", "９" * 18])
def test_what_is_none(text: str) -> None:
    assert not is_registration(KIND, text)
