"""The terminal's side, against published and independent values."""

from benchmarks.terminal import build_tap, load_account, pin_block_format0
from switch.domain.money import Money
from switch.domain.sensitive import luhn_valid
from switch.entry.emv import parse_tap


def test_accounts_are_by_the_agreed_scheme():
    for index in (0, 1, 9, 12345, 999_999_999):
        pan, expiry_yymm, pin = load_account(index)
        assert pan[:15] == f"622599{index:09d}"
        assert len(pan) == 16
        assert luhn_valid(pan)
        assert (expiry_yymm, pin) == ("3012", "123456")


def test_a_tap_of_any_account_is_accepted():
    for index in range(50):
        pan, expiry_yymm, _ = load_account(index)
        tap = build_tap(pan, expiry_yymm, index + 1, "HKD", sequence_number="002", atc=index)
        card = parse_tap(tap, Money(index + 1, "HKD"))
        assert (card.pan.reveal(), card.sequence_number) == (pan, "002")


def test_two_taps_have_different_cryptograms():
    pan, expiry_yymm, _ = load_account(1)
    assert build_tap(pan, expiry_yymm, 1, "CNY") != build_tap(pan, expiry_yymm, 1, "CNY")


def test_pin_block_undone_by_hand():
    """ISO 9564-1 8.3.1's own construction, decrypted with single-DES arithmetic: equal halves make 3DES single DES."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    block = pin_block_format0("1234", "4321987654321098", key)
    decryptor = Cipher(TripleDES(key + key[:8]), modes.ECB()).decryptor()
    clear = decryptor.update(block) + decryptor.finalize()
    # 04 12 34 FF FF FF FF FF xor 00 00 19 87 65 43 21 09
    assert clear.hex().upper() == "04122D789ABCDEF6"
    assert pin_block_format0("1234", "4321987654321098", key + key[:8]) == block
