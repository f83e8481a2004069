"""Card verification values: the three digits on a stripe, in a chip's track 2 equivalent, and beside a signature.

One algorithm (Visa Payment Technology Standards Manual, CVV; Mastercard calls it CVC 1, CVC 2 and Chip CVC): PAN,
expiry date and service code are filled up with zeros to two blocks; the first is enciphered with the key's left half,
the second is added, the sum is enciphered with the whole key. The code is the first three decimal digits; where there
are fewer, then A to F less 10. What differs is the service code that goes in:

- CVV: the card's own service code, expiry as on the stripe (YYMM);
- iCVV: 999;
- CVV2: 000, and the expiry turned round (MMYY), where the scheme says so.

A key is a CARD_VERIFICATION key of 16 bytes on the host: the first step is single DES, which tokens refuse.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _card
from hsm.commands.context import Commands, Context

CardCodeItem = tuple[str, str, str, str, str]

FIRST_BLOCK_DIGITS: Final = 16


def card_codes(context: Context, items: Sequence[tuple[str, str, str, str]]) -> list[str | Exception]:
    """(key, PAN, expiry, service code) -> 3 digits. PAN: 12 to 19 digits; expiry: 4, in the order the code is made
    with; service code: 3. Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> key = load("CARD_VERIFICATION", "0123456789ABCDEFFEDCBA9876543210")
    >>> run("card_codes", [(key, "1234567890123456", "9912", "220"), (key, "1234567890123456", "9912", "999")])
    ['170', '293']
    """
    return _card.card_codes(context.keys, items)


def verify_card_codes(context: Context, items: Sequence[CardCodeItem]) -> list[Exception | None]:
    """(key, PAN, expiry, service code, 3 digits) -> None, or CardCodeMismatch. Shapes and other errors as `card_codes`.

    Guarded: TooManyFailures after too many mismatches of an account, see `hsm.guard`.

    >>> key = load("CARD_VERIFICATION", "0123456789ABCDEFFEDCBA9876543210")
    >>> card = (key, "1234567890123456", "9912", "220")
    >>> run("verify_card_codes", [(*card, "170"), (*card, "171")])
    [None, CardCodeMismatch('a card code does not verify under card_verification-1')]
    """
    return context.guard.run(items, _subject, lambda admitted: _card.verify_card_codes(context.keys, admitted))


def _subject(item: CardCodeItem) -> tuple[str, str]:
    """The first block of what goes in: the same digits, cut into PAN and expiry elsewhere, are no new subject."""
    key, pan, expiry, service_code, _ = item
    return key, (pan + expiry + service_code)[:FIRST_BLOCK_DIGITS]


COMMANDS: Final[Commands] = {"card_codes": card_codes, "verify_card_codes": verify_card_codes}
