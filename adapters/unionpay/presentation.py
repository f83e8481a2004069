"""How the payer presented, as fields: DE22, DE26, DE55 and DE60. One table; DE25 follows the operation (`messages`).

| presented                          | DE22 | DE55      | DE60.2.2 terminal | DE60.2.3 chip |
|------------------------------------|------|-----------|-------------------|---------------|
| NFC                                | 07p  | chip data | 6 contactless     | 0             |
| Bluetooth: chip data               | 07p  | chip data | 6                 | 0             |
| Bluetooth: a number alone, keyed   | 01p  | –         | 6                 | 0             |
| a chip in a terminal's slot        | 05p  | chip data | 6                 | 0             |
| a stripe                           | 02p  | –         | 6                 | 0             |
| QR or payment code, however it came| 03p  | chip data of an EMVCo payer's QR   | 6 | 0    |

p: 1 with a PIN block (then DE26, DE52 and DE53 too), 2 without. 02, 05, 03 and all of DE60 are [U]: this table,
and settings for the last two.
"""

from dataclasses import dataclass

from adapters.unionpay.format import Fields
from adapters.unionpay.settings import UnionPaySettings
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest

_WITH_PIN, _WITHOUT_PIN = "1", "2"
_ORDINARY_REASON = "0000"
_ACCOUNT_OWNER_UNKNOWN = "0"
_RESERVED = "0"
_REST = "0000"


@dataclass(frozen=True, slots=True)
class Presented:
    """mode: the first two digits of DE22, "" for the setting of codes. terminal: DE60.2.2. chip: DE60.2.3."""

    mode: str
    terminal: str = "6"
    chip: str = "0"


_CONTACTLESS, _KEYED, _CODE = Presented("07"), Presented("01"), Presented("")
_CHIP, _STRIPE = Presented("05"), Presented("02")

# How it was presented -> with chip data, with a code, with a number alone.
_TABLE: dict[EntryMode, tuple[Presented, Presented, Presented]] = {
    EntryMode.NFC: (_CONTACTLESS, _CONTACTLESS, _CONTACTLESS),
    EntryMode.BLUETOOTH: (_CONTACTLESS, _CODE, _KEYED),  # a transport: what it handed over decides
    EntryMode.PAYER_CODE: (_CODE, _CODE, _CODE),
    EntryMode.PAYER_QR: (_CODE, _CODE, _CODE),
    EntryMode.MERCHANT_QR: (_CODE, _CODE, _CODE),
    EntryMode.KEYED: (_CONTACTLESS, _KEYED, _KEYED),
    EntryMode.CHIP: (_CHIP, _CHIP, _CHIP),
    EntryMode.STRIPE: (_STRIPE, _STRIPE, _STRIPE),
}


def presented(request: ChannelRequest) -> Presented:
    with_chip, with_code, with_number = _TABLE[request.authorization.entry]
    credential = request.credential
    if isinstance(credential, CardCredential) and credential.emv:
        return with_chip
    return with_code if isinstance(credential, CodeCredential) else with_number


def presentation_fields(request: ChannelRequest, settings: UnionPaySettings, pin_control: str) -> Fields:
    """DE22 and DE60, with a PIN block DE26, DE52 and DE53, with chip data DE55."""
    how = presented(request)
    reason = settings.reversal_reason if request.operation is Operation.REVERSAL else _ORDINARY_REASON
    terminal = _ACCOUNT_OWNER_UNKNOWN + how.terminal + how.chip + _RESERVED + settings.terminal_type
    fields: Fields = {
        22: (how.mode or settings.entry_mode_code) + (_WITH_PIN if request.pin_block else _WITHOUT_PIN),
        60: reason + terminal + _REST,
    }
    if request.pin_block:
        fields |= {26: settings.longest_pin, 52: request.pin_block, 53: pin_control}
    if isinstance(request.credential, CardCredential) and request.credential.emv:
        fields[55] = request.credential.emv
    return fields
