"""What the fields of the terminals' dialect say: kinds of message, DE48, DE60, DE61 and DE62. Pure.

What no vector confirms is [U] and stands in one table or constant here.
"""

from dataclasses import dataclass
from enum import StrEnum

from adapters.unionpay.pos.format import MalformedMessage


class PosKind(StrEnum):
    """What a terminal asks for. The values are the metrics' label."""

    SIGN_ON = "sign_on"
    SIGN_OFF = "sign_off"
    ECHO = "echo"
    SALE = "sale"
    PRE_AUTHORIZATION = "pre_authorization"
    COMPLETION = "completion"
    VOID_SALE = "void_sale"
    VOID_PRE_AUTHORIZATION = "void_pre_authorization"
    REFUND = "refund"
    REVERSAL = "reversal"
    SETTLEMENT = "settlement"


# (MTI, first two digits of DE3, DE25) [U but for the sale: the vector has 0200, 00, 00].
_FINANCIAL: dict[tuple[str, str, str], PosKind] = {
    ("0200", "00", "00"): PosKind.SALE,
    ("0200", "20", "00"): PosKind.VOID_SALE,
    ("0100", "03", "06"): PosKind.PRE_AUTHORIZATION,
    ("0100", "20", "06"): PosKind.VOID_PRE_AUTHORIZATION,
    ("0200", "00", "06"): PosKind.COMPLETION,
    ("0220", "00", "06"): PosKind.COMPLETION,
    ("0220", "20", "00"): PosKind.REFUND,
}
# A reversal repeats DE3 and DE25 of what it reverses.
REVERSED_KINDS: dict[tuple[str, str], PosKind] = {
    ("00", "00"): PosKind.SALE,
    ("03", "06"): PosKind.PRE_AUTHORIZATION,
    ("00", "06"): PosKind.COMPLETION,
    ("20", "00"): PosKind.VOID_SALE,
    ("20", "06"): PosKind.VOID_PRE_AUTHORIZATION,
}
# DE60.3 in an 0800 or 0820 [U]: 001 asks for single-length keys, 003 for double, 004 for a track key besides.
_MANAGEMENT: dict[str, PosKind] = {
    "001": PosKind.SIGN_ON,
    "003": PosKind.SIGN_ON,
    "004": PosKind.SIGN_ON,
    "002": PosKind.SIGN_OFF,
    "301": PosKind.ECHO,
}
REPLY_MTI = {
    "0100": "0110", "0200": "0210", "0220": "0230", "0320": "0330", "0400": "0410", "0500": "0510", "0620": "0630",
    "0800": "0810", "0820": "0830",
}  # fmt: skip

MAC_ALGORITHM = "cup-ecb"  # DE64, as `hsm.algorithms` names it
# The kinds whose messages carry no MAC: there may be no key yet. A settlement may carry one [U].
WITHOUT_MAC = frozenset({PosKind.SIGN_ON, PosKind.SIGN_OFF, PosKind.ECHO})

# DE22 without its last digit: how the card was read.
KEYED, STRIPE, CODE, CHIP, CONTACTLESS = "01", "02", "03", "05", "07"


def kind_of(mti: str, processing: str, condition: str, management: str) -> PosKind | None:
    """None: the dialect, or this side of it, has no such message. management: DE60.3, or "".

    >>> kind_of("0200", "000000", "00", ""), kind_of("0820", "", "", "301"), kind_of("0200", "310000", "00", "")
    (<PosKind.SALE: 'sale'>, <PosKind.ECHO: 'echo'>, None)
    """
    if mti == "0400":
        return PosKind.REVERSAL
    if mti == "0500":
        return PosKind.SETTLEMENT
    if mti in ("0800", "0820"):
        return _MANAGEMENT.get(management)
    return _FINANCIAL.get((mti, processing[:2], condition))


@dataclass(frozen=True, slots=True)
class Reference:
    """A message of a terminal, as the terminal names it: within its batch by its STAN."""

    batch: int
    stan: int


def batch_of(private: str) -> int:
    """DE60.2. Raises MalformedMessage.

    >>> batch_of("22000001")
    1
    """
    if len(private) < 8:
        raise MalformedMessage(60, "it holds no batch number")
    return int(private[2:8])


def management_of(private: str) -> str:
    """DE60.3, or ""."""
    return private[8:11]


def private_field(message_type: str, batch: int, management: str = "") -> str:
    """DE60.

    >>> private_field("22", 1), private_field("00", 1, "003")
    ('22000001', '00000001003')
    """
    return f"{message_type}{batch:06d}{management}"


def original_of(text: str) -> Reference:
    """The message that DE61 names: batch (6), STAN (6), and its date if it likes (4). Raises MalformedMessage.

    >>> original_of("0000010000420722")
    Reference(batch=1, stan=42)
    """
    if len(text) < 12:
        raise MalformedMessage(61, "it names no original")
    return Reference(int(text[:6]), int(text[6:12]))


def original_field(original: Reference, date_mmdd: str = "") -> str:
    """
    >>> original_field(Reference(1, 42), "0722")
    '0000010000420722'
    """
    return f"{original.batch:06d}{original.stan:06d}{date_mmdd}"


@dataclass(frozen=True, slots=True)
class SentKey:
    """A working key under the terminal's master key. check: the first 4 bytes of E(key, zeros)."""

    wrapped: bytes
    check: bytes


def working_keys_field(pin_key: SentKey, mac_key: SentKey) -> bytes:
    """DE62 of the answer to a sign-on: PIN key (16) and its check (4), MAC key (8, zeros to 16) and its check (4)."""
    return b"".join(each.wrapped.ljust(16, b"\0") + each.check for each in (pin_key, mac_key))


def working_keys_of(text: bytes, mac_key_length: int = 8) -> tuple[SentKey, SentKey]:
    """The PIN key and the MAC key of DE62. Raises MalformedMessage."""
    if len(text) != 40:
        raise MalformedMessage(62, "working keys take 40 bytes")
    if any(text[20 + mac_key_length : 36]):
        raise MalformedMessage(62, "a shorter MAC key is followed by zeros")
    return SentKey(text[:16], text[16:20]), SentKey(text[20 : 20 + mac_key_length], text[36:])


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a batch: what was paid to the merchant, and what was given back. Minor units."""

    debit_minor: int = 0
    debits: int = 0
    credit_minor: int = 0
    credits: int = 0


# The digit behind each four totals in the answer to a settlement [U].
BALANCED, UNBALANCED = "1", "2"
_TOTALS_DIGITS = 30


def totals_of(text: str) -> tuple[Totals, Totals]:
    """DE48 [U]: of domestic cards debit amount (12), count (3), credit amount (12), count (3), a digit for the answer;
    then the same of foreign cards, which may be missing. Raises MalformedMessage.

    >>> totals_of("0000000100000010000000000000000")[0]
    Totals(debit_minor=10000, debits=1, credit_minor=0, credits=0)
    """
    if len(text) < _TOTALS_DIGITS:
        raise MalformedMessage(48, "it holds no totals")
    return _four(text), _four(text[_TOTALS_DIGITS + 1 :])


def totals_field(domestic: Totals, foreign: Totals, said: str = "0") -> str:
    """At most 999 of each count.

    >>> totals_field(Totals(10000, 1), Totals(), BALANCED)
    '00000001000000100000000000000010000000000000000000000000000000'
    """
    parts = (
        f"{each.debit_minor:012d}{each.debits:03d}{each.credit_minor:012d}{each.credits:03d}{digit}"
        for each, digit in ((domestic, said), (foreign, "0"))
    )
    return "".join(parts)


def _four(text: str) -> Totals:
    if len(text) < _TOTALS_DIGITS:
        return Totals()
    return Totals(int(text[:12]), int(text[12:15]), int(text[15:27]), int(text[27:30]))
