"""PIN blocks, judged from outside: the target key is known to the test, which decrypts with another library."""

from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm.direct import DirectHsm
from hsm.errors import KeyNotFound, KeyUsageError, PinFormatError
from hsm.keys import KeyUsage

KNOWN = "0123456789ABCDEFFEDCBA98765432101122334455667788"
KNOWN_AES = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"
PAN = "6225880000001239"


def des(key_hex: str) -> Cipher[modes.ECB]:
    key = bytes.fromhex(key_hex)
    return Cipher(TripleDES(key + key[:8] if len(key) == 16 else key), modes.ECB())


def encrypt(key_hex: str, clear_hex: str) -> bytes:
    return des(key_hex).encryptor().update(bytes.fromhex(clear_hex))


def pin_of_format_0(clear: bytes, pan: str) -> str:
    mask = bytes.fromhex("0000" + pan[:-1][-12:].rjust(12, "0"))
    field = bytes(a ^ b for a, b in zip(clear, mask, strict=True)).hex().upper()
    length = int(field[1], 16)
    assert field == f"0{field[1]}{field[2 : 2 + length]}".ljust(16, "F")
    return field[2 : 2 + length]


def format_0(pin: str, pan: str) -> str:
    field = bytes.fromhex(f"0{len(pin):X}{pin}".ljust(16, "F"))
    mask = bytes.fromhex("0000" + pan[:-1][-12:])
    return bytes(a ^ b for a, b in zip(field, mask, strict=True)).hex()


def only(results: list[bytes | Exception]) -> bytes:
    [result] = results
    assert isinstance(result, bytes), result
    return result


@pytest.fixture
def known(make_key: Any) -> str:
    return make_key(KeyUsage.PIN_KEY, KNOWN)


def test_translation_from_0_to_0(hsm: DirectHsm, make_key: Any, vectors: Any) -> None:
    for vector in vectors["pin_translate_0_to_0"]:
        given = vector["inputs"]
        source = make_key(KeyUsage.PIN_KEY, given["key_in"])
        target = make_key(KeyUsage.PIN_KEY, given["key_out"])
        block = bytes.fromhex(given["encrypted_in"])
        translated = only(hsm.run_now("translate_pins", [(source, 0, target, 0, block, given["pan"])]))
        assert translated.hex().upper() == vector["outputs"]["encrypted_out"], vector["id"]


def test_format_0(hsm: DirectHsm, make_key: Any, known: str, vectors: Any) -> None:
    for vector in vectors["pinblock_fmt0"]:
        given, expected = vector["inputs"], vector["outputs"]
        source = make_key(KeyUsage.PIN_KEY, given["tdes_key"])
        block = bytes.fromhex(expected["encrypted"])
        translated = only(hsm.run_now("translate_pins", [(source, 0, known, 0, block, given["pan"])]))
        assert des(KNOWN).decryptor().update(translated).hex().upper() == expected["clear"], vector["id"]


def test_format_3(hsm: DirectHsm, make_key: Any, known: str, vectors: Any) -> None:
    for vector in vectors["pinblock_fmt3_decode"]:
        given = vector["inputs"]
        source = make_key(KeyUsage.PIN_KEY, given["tdes_key"])
        block = bytes.fromhex(given["encrypted"])
        translated = only(hsm.run_now("translate_pins", [(source, 3, known, 0, block, given["pan"])]))
        clear = des(KNOWN).decryptor().update(translated)
        assert pin_of_format_0(clear, given["pan"]) == vector["outputs"]["pin"], vector["id"]


def test_format_1(hsm: DirectHsm, known: str, vectors: Any) -> None:
    for vector in vectors["pinblock_fmt1_decode"]:
        block = encrypt(KNOWN, vector["inputs"]["clear"])
        translated = only(hsm.run_now("translate_pins", [(known, 1, known, 0, block, PAN)]))
        clear = des(KNOWN).decryptor().update(translated)
        assert pin_of_format_0(clear, PAN) == vector["outputs"]["pin"], vector["id"]


def test_format_4(hsm: DirectHsm, make_key: Any, known: str, vectors: Any) -> None:
    for vector in vectors["pinblock_fmt4_decode"]:
        given = vector["inputs"]
        source = make_key(KeyUsage.PIN_KEY, given["aes_key"], "AES")
        block = bytes.fromhex(given["encrypted"])
        translated = only(hsm.run_now("translate_pins", [(source, 4, known, 0, block, given["pan"])]))
        clear = des(KNOWN).decryptor().update(translated)
        assert pin_of_format_0(clear, given["pan"]) == vector["outputs"]["pin"], vector["id"]


@pytest.mark.parametrize("pin", ["1234", "12345", "123456789012", "0000"])
@pytest.mark.parametrize("pan", ["622588000012", "6225880000001239", "6225880000001234567"])
def test_every_permitted_path_leads_back(hsm: DirectHsm, make_key: Any, known: str, pin: str, pan: str) -> None:
    aes = make_key(KeyUsage.PIN_KEY, KNOWN_AES, "AES")
    start = encrypt(KNOWN, format_0(pin, pan.rjust(13, "0")))
    block, format_now, key = start, 0, known
    for format_next in (3, 4, 0, 4, 3, 3, 0):
        key_next = aes if format_next == 4 else known
        block = only(hsm.run_now("translate_pins", [(key, format_now, key_next, format_next, block, pan)]))
        format_now, key = format_next, key_next
    assert block == start


def test_format_3_and_4_are_filled_at_random_and_to_the_rule(hsm: DirectHsm, make_key: Any, known: str) -> None:
    aes = make_key(KeyUsage.PIN_KEY, KNOWN_AES, "AES")
    start = encrypt(KNOWN, format_0("1234", PAN))
    items = [(known, 0, known, 3, start, PAN)] * 40 + [(known, 0, aes, 4, start, PAN)] * 40
    blocks = hsm.run_now("translate_pins", items)
    assert len({each for each in blocks if isinstance(each, bytes)}) == 80
    mask = bytes.fromhex("0000" + PAN[:-1][-12:])
    for block in blocks[:40]:
        assert isinstance(block, bytes)
        clear = des(KNOWN).decryptor().update(block)
        field = bytes(a ^ b for a, b in zip(clear, mask, strict=True)).hex()
        assert field.startswith("341234")
        assert set(field[6:]) <= set("abcdef")
    pan_field = bytes.fromhex(("4" + PAN).ljust(32, "0"))
    cipher = Cipher(AES(bytes.fromhex(KNOWN_AES)), modes.ECB())
    for block in blocks[40:]:
        assert isinstance(block, bytes)
        inner = bytes(a ^ b for a, b in zip(cipher.decryptor().update(block), pan_field, strict=True))
        assert cipher.decryptor().update(inner).hex().startswith("441234aaaaaaaaaa")


def test_format_1_keeps_its_pin_without_a_pan(hsm: DirectHsm, known: str) -> None:
    translated = only(hsm.run_now("translate_pins", [(known, 1, known, 1, encrypt(KNOWN, "141234AAAAAAAAAA"), "")]))
    assert des(KNOWN).decryptor().update(translated).hex().startswith("141234")


@pytest.mark.parametrize(
    "field",
    [
        "0312FFFFFFFFFFFF",  # three digits
        "0D123456789012345",  # thirteen
        "04123AFFFFFFFFFF",  # not a digit
        "041234FFFFFFFFF0",  # fill
        "141234FFFFFFFFFF",  # another format
    ],
)
def test_a_broken_pin_field_is_refused(hsm: DirectHsm, known: str, field: str) -> None:
    mask = bytes.fromhex("0000" + PAN[:-1][-12:])
    clear = bytes(a ^ b for a, b in zip(bytes.fromhex(field[:16]), mask, strict=True))
    [result] = hsm.run_now("translate_pins", [(known, 0, known, 0, encrypt(KNOWN, clear.hex()), PAN)])
    assert isinstance(result, PinFormatError)


def test_a_block_of_another_card_is_refused(hsm: DirectHsm, known: str) -> None:
    block = encrypt(KNOWN, format_0("1234", PAN))
    [result] = hsm.run_now("translate_pins", [(known, 0, known, 0, block, "6225889999991239")])
    assert isinstance(result, PinFormatError)


@pytest.mark.parametrize("target_format", [1, 2, 4, 5, -1, 16])
def test_a_translation_that_is_not_permitted_is_refused(hsm: DirectHsm, known: str, target_format: int) -> None:
    block = encrypt(KNOWN, format_0("1234", PAN))
    [result] = hsm.run_now("translate_pins", [(known, 0, known, target_format, block, PAN)])
    assert isinstance(result, PinFormatError)


@pytest.mark.parametrize(
    "pan", ["", "62258800000", "62258800000012345678", "622588000000123x", "６２２５８８００００００１２"]
)
def test_a_wrong_pan_is_refused_and_not_repeated(hsm: DirectHsm, known: str, pan: str) -> None:
    [result] = hsm.run_now("translate_pins", [(known, 0, known, 0, bytes(8), pan)])
    assert isinstance(result, PinFormatError)
    assert not pan or pan not in str(result)


def test_a_failing_item_leaves_the_others_alone(hsm: DirectHsm, make_key: Any, known: str) -> None:
    good = (known, 0, known, 0, encrypt(KNOWN, format_0("1234", PAN)), PAN)
    mac_key = make_key(KeyUsage.MAC_KEY, KNOWN[:32])
    bad: list[tuple[str, int, str, int, bytes, str]] = [
        (known, 0, known, 0, good[4][:7], PAN),
        (known, 0, known, 0, b"", PAN),
        ("nobody", 0, known, 0, good[4], PAN),
        (known, 0, mac_key, 0, good[4], PAN),
        (known, 0, known, 0, bytes(8), PAN),
    ]
    expected = [PinFormatError, PinFormatError, KeyNotFound, KeyUsageError, PinFormatError]
    items = [each for one in bad for each in (good, one)] * 8  # long enough to run without the GIL
    results = hsm.run_now("translate_pins", items)
    assert results[::2] == [good[4]] * 40
    assert [type(each) for each in results[1::2]] == expected * 8


def test_an_empty_batch(hsm: DirectHsm) -> None:
    assert hsm.run_now("translate_pins", []) == []
