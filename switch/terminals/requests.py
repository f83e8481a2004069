"""From a terminal's fields to the domain: every field is checked here, and a bad one is refused. Pure."""

import re

from adapters.unionpay.pos.format import Fields, MalformedMessage
from adapters.unionpay.pos.messages import CHIP, CONTACTLESS, KEYED, STRIPE, PosKind, Reference, batch_of
from switch.domain.authorization import AuthorizationRequest, CardCredential, PinBlock
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.payment_token import is_token
from switch.domain.sensitive import Pan, Sensitive, luhn_valid
from switch.domain.states import EntryMode, Operation
from switch.domain.terminal import Terminal
from switch.entry._tlv import encode, parse_flat
from switch.entry.emv import EXPIRY, PAN, SEQUENCE_NUMBER, TRACK2, parse_tap
from switch.entry.errors import EntryError
from switch.entry.keyed import parse_keyed
from switch.terminals.refusals import Refused

OPERATIONS = {
    PosKind.SALE: Operation.SALE,
    PosKind.PRE_AUTHORIZATION: Operation.PRE_AUTHORIZATION,
    PosKind.COMPLETION: Operation.CAPTURE,
    PosKind.VOID_SALE: Operation.VOID,
    PosKind.VOID_PRE_AUTHORIZATION: Operation.VOID,
    PosKind.REFUND: Operation.REFUND,
}
_ENTRIES = {
    KEYED: EntryMode.KEYED,
    STRIPE: EntryMode.STRIPE,
    CHIP: EntryMode.CHIP,
    CONTACTLESS: EntryMode.NFC,
}
_ALPHABETIC = {numeric: alphabetic for alphabetic, (numeric, _) in CURRENCIES.items()}
_TRACK2 = re.compile(r"([0-9]{12,19})=([0-9]{2}(?:0[1-9]|1[0-2]))[0-9]{3,}")
_WITH_PIN = "1"
_TERMINAL_ID = re.compile(r"[0-9A-Za-z]{8}")
_MERCHANT_ID = re.compile(r"[0-9A-Za-z]{1,15} *")


def text(fields: Fields, number: int) -> str:
    """A field that must be there. Raises Refused (30)."""
    value = fields.get(number)
    if not isinstance(value, str):
        raise Refused("30", "field_missing")
    return value


def identifiers(fields: Fields) -> tuple[str, str]:
    """(merchant id, terminal id). Raises Refused: 03 or 97 for what can be nobody's."""
    merchant_id, terminal_id = text(fields, 42), text(fields, 41)
    if _MERCHANT_ID.fullmatch(merchant_id) is None:
        raise Refused("03", "unknown_merchant")
    if _TERMINAL_ID.fullmatch(terminal_id) is None:
        raise Refused("97", "unknown_terminal")
    return merchant_id.rstrip(" "), terminal_id


def reference(fields: Fields) -> Reference:
    """The message by its own name: batch and STAN. Raises Refused (30)."""
    try:
        return Reference(batch_of(text(fields, 60)), int(text(fields, 11)))
    except MalformedMessage:
        raise Refused("30", "field_60") from None


def money(fields: Fields) -> Money:
    """Raises Refused: 30, or 13 for an amount that can be none."""
    currency = _ALPHABETIC.get(text(fields, 49))
    if currency is None:
        raise Refused("30", "currency")
    amount_minor = int(text(fields, 4))
    if not 0 < amount_minor <= LARGEST_AMOUNT_MINOR:
        raise Refused("13", "amount")
    return Money(amount_minor, currency)


def authorization_request(
    terminal: Terminal, kind: PosKind, fields: Fields, key: str, time_ms: int
) -> AuthorizationRequest:
    """A sale or pre-authorization; its PIN block is still under the terminal's key. Raises Refused."""
    amount = money(fields)
    entry_mode = text(fields, 22)
    entry = _ENTRIES.get(entry_mode[:2])
    if entry is None:
        raise Refused("40", "entry_mode")
    try:
        credential = _card(fields, entry, amount)
    except EntryError as error:
        raise Refused("30", "emv" if 55 in fields else "card") from error
    block = fields.get(52)
    if (block is not None) is not (entry_mode[2] == _WITH_PIN):
        raise Refused("30", "pin_and_entry_mode")
    pin = PinBlock(block) if isinstance(block, bytes) else None
    return AuthorizationRequest(
        terminal.acquirer_id, terminal.merchant, terminal.terminal_id, key, time_ms, OPERATIONS[kind], amount, entry,
        credential, pin,
    )  # fmt: skip


def _card(fields: Fields, entry: EntryMode, amount: Money) -> CardCredential:
    """Raises EntryError, Refused. The PAN comes in DE2, in track 2, or in both, which then agree."""
    pan, expiry_yymm, track2 = fields.get(2), fields.get(14), fields.get(35)
    assert not isinstance(pan, bytes)
    assert not isinstance(expiry_yymm, bytes)
    assert not isinstance(track2, bytes)
    if entry in (EntryMode.CHIP, EntryMode.NFC):
        return parse_tap(_chip_data(fields, pan, expiry_yymm, track2), amount, "field 55")
    if 55 in fields:
        raise Refused("30", "emv_and_entry_mode")
    if entry is EntryMode.KEYED:
        return parse_keyed(pan or "", expiry_yymm or "", "field 2")
    return _stripe(track2 or "", pan)


def _stripe(track2: str, pan: str | None) -> CardCredential:
    match = _TRACK2.fullmatch(track2)
    if match is None or pan not in (None, match[1]) or not luhn_valid(match[1]) or is_token(match[1]):
        raise EntryError("field 35", "not track 2 data of a card")
    return CardCredential(Pan(match[1]), match[2], track2=Sensitive(track2))


def _chip_data(fields: Fields, pan: str | None, expiry_yymm: str | None, track2: str | None) -> bytes:
    """DE55 with what the dialect carries beside it, as the card's own data objects: they are checked together."""
    emv = fields.get(55)
    if not isinstance(emv, bytes):
        raise EntryError("field 55", "missing")
    present = parse_flat(emv, "field 55")
    beside: dict[int, bytes] = {}
    if track2:
        beside[TRACK2] = _packed(track2.replace("=", "D"))
    if pan:
        beside[PAN] = _packed(pan)
    if expiry_yymm and not track2:
        beside[EXPIRY] = bytes.fromhex(expiry_yymm + "28")  # the day is not in DE14, and nobody reads it
    if 23 in fields:
        beside[SEQUENCE_NUMBER] = bytes.fromhex(text(fields, 23)[1:])
    for tag, value in beside.items():
        if present.get(tag, value) != value and tag != EXPIRY:
            raise EntryError("field 55", f"tag {tag:02X} is not what the field beside it says")
    return emv + encode([(tag, value) for tag, value in beside.items() if tag not in present])


def _packed(digits: str) -> bytes:
    return bytes.fromhex(digits + "F" * (len(digits) % 2))
