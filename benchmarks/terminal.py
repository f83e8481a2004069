"""A terminal's side of a payment: a tap's EMV data, an encrypted PIN block, and the accounts that load is made of.

Used by load, demo and tests against simulators. Without a card that makes one the cryptogram is random: of the
simulators only the direct issuer verifies it.
"""

import calendar
import os
import time
from datetime import datetime
from zoneinfo import ZoneInfo

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from benchmarks.software_card import SERVICE_CODE, SoftwareCard
from switch.domain.money import CURRENCIES
from switch.domain.sensitive import luhn_valid
from switch.entry._tlv import encode
from switch.entry.emv import track2_equivalent

LOAD_BIN = "622599"
LOAD_EXPIRY_YYMM = "3012"
LOAD_PIN = "123456"

_SHANGHAI = ZoneInfo("Asia/Shanghai")
# Fixed by terminal and card product: a UnionPay debit card at an attended, online-only contactless terminal in China.
_PRODUCT_TAGS = [
    (0x9F27, "80"), (0x9F10, "07010103A00000010A010000000000"), (0x95, "0000000000"), (0x9C, "00"), (0x82, "7C00"),
    (0x9F1A, "0156"), (0x9F03, "000000000000"), (0x9F33, "E0F8C8"), (0x9F34, "420300"), (0x9F35, "22"),
    (0x84, "A000000333010101"), (0x9F09, "0020"),
]  # fmt: skip


def load_account(index: int) -> tuple[str, str, str]:
    """(PAN, expiry YYMM, PIN) of account `index`, 0 to 999,999,999, as the UnionPay simulator numbers them.

    >>> load_account(7)[0]
    '6225990000000073'
    """
    body = f"{LOAD_BIN}{index:09d}"
    check_digit = next(digit for digit in "0123456789" if luhn_valid(body + digit))
    return body + check_digit, LOAD_EXPIRY_YYMM, LOAD_PIN


def build_tap(
    pan: str,
    expiry_yymm: str,
    amount_minor: int,
    currency: str,
    sequence_number: str = "001",
    atc: int = 1,
    card: SoftwareCard | None = None,
) -> bytes:
    """What a terminal sends as `NfcTap.emv`: 24 well-formed tags, with a random nonce.

    card: gives track 2 its discretionary data and makes the cryptogram; None: a random one.
    """
    year, month = 2000 + int(expiry_yymm[:2]), int(expiry_yymm[2:])
    last_day = calendar.monthrange(year, month)[1]
    today = datetime.fromtimestamp(time.time(), _SHANGHAI)
    discretionary = card.discretionary if card is not None else ""
    tags = [
        (0x57, track2_equivalent(pan, expiry_yymm, SERVICE_CODE, discretionary)),
        (0x5A, bytes.fromhex(pan + "F" * (len(pan) % 2))),
        (0x5F24, bytes.fromhex(f"{expiry_yymm}{last_day:02d}")),
        (0x5F34, bytes.fromhex(sequence_number[-2:])),
        (0x9F37, os.urandom(4)),
        (0x9F36, atc.to_bytes(2, "big")),
        (0x9A, bytes.fromhex(f"{today:%y%m%d}")),
        (0x9F02, bytes.fromhex(f"{amount_minor:012d}")),
        (0x5F2A, bytes.fromhex(f"0{CURRENCIES[currency][0]}")),
        (0x9F1E, b"PSW00001"),
        (0x9F41, bytes.fromhex(f"{atc % 10**8:08d}")),
    ]
    tags += [(tag, bytes.fromhex(value)) for tag, value in _PRODUCT_TAGS]
    return encode([*tags, (0x9F26, card.cryptogram(dict(tags)) if card is not None else os.urandom(8))])


def pin_block_format0(pin: str, pan: str, zone_pin_key: bytes) -> bytes:
    """An ISO 9564-1 format 0 block under a double- or triple-length DES key (ECB, 8 bytes)."""
    clear = int(f"0{len(pin)}{pin}".ljust(16, "F"), 16) ^ int(pan[-13:-1], 16)
    triple_length = zone_pin_key if len(zone_pin_key) == 24 else zone_pin_key + zone_pin_key[:8]
    encryptor = Cipher(TripleDES(triple_length), modes.ECB()).encryptor()  # noqa: S305 (ISO 9564-1 asks for ECB)
    return encryptor.update(clear.to_bytes(8, "big")) + encryptor.finalize()
