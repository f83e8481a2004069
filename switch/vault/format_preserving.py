"""Format-preserving tokens: computed, with no row. For PANs of 16 digits.

token (19 digits) = 999 ‖ FF1(the PAN's first 15 digits, tweak: the requester) ‖ check digit.

FF1 (NIST SP 800-38G) permutes the numbers of 15 digits; the PAN's check digit is computed again on the way back. Only
PANs of 16 digits are taken: another length would have to be written into the number, and 19 digits leave no place.
Nothing tells a number that was given out from one that was not: nearly every number of the shape has a PAN.
"""

from collections.abc import Sequence
from typing import Final

from switch.domain.payment_token import UNASSIGNED_PREFIX, PaymentToken, Refusal, TokenState, check_digit, is_token
from switch.domain.sensitive import Pan
from switch.ports import Hsm
from switch.vault.answers import values_of
from switch.vault.random_tokens import is_pan
from switch.vault.settings import VaultSettings

PAN_DIGITS: Final = 16
TOKEN_DIGITS: Final = 19


class FormatPreservingTokens:
    def __init__(self, hsm: Hsm, settings: VaultSettings) -> None:
        self._hsm = hsm
        self._settings = settings

    async def tokenize(self, requester: str, pans: Sequence[Pan]) -> list[PaymentToken | Refusal]:
        """NOT_A_PAN; NOT_SUPPORTED for other lengths. The tokens are ACTIVE and without a time of creation (0)."""
        refusals = [_refusal_of(pan) for pan in pans]
        fitting = [pan for pan, refusal in zip(pans, refusals, strict=True) if refusal is None]
        bodies = iter(await self._run("fpe_encipher", requester, [pan.reveal()[:-1] for pan in fitting]))
        return [
            _token(requester, next(bodies), pan) if refusal is None else refusal
            for pan, refusal in zip(pans, refusals, strict=True)
        ]

    async def detokenize(self, requester: str, tokens: Sequence[str]) -> list[Pan | Refusal]:
        """UNKNOWN for a number that is not of the shape."""
        fitting = [each for each in tokens if _is_ours(each)]
        inner = [each[len(UNASSIGNED_PREFIX) : -1] for each in fitting]
        bodies = iter(await self._run("fpe_decipher", requester, inner))
        return [_pan(next(bodies)) if _is_ours(each) else Refusal.UNKNOWN for each in tokens]

    async def _run(self, command: str, requester: str, texts: Sequence[str]) -> list[str]:
        items = [(self._settings.fpe_key, "ff1", requester.encode(), 10, text) for text in texts]
        return values_of(await self._hsm.run(command, items)) if items else []


def _refusal_of(pan: Pan) -> Refusal | None:
    if not is_pan(pan):
        return Refusal.NOT_A_PAN
    return None if len(pan.reveal()) == PAN_DIGITS else Refusal.NOT_SUPPORTED


def _is_ours(token: str) -> bool:
    return len(token) == TOKEN_DIGITS and is_token(token)


def _token(requester: str, body: str, pan: Pan) -> PaymentToken:
    digits = UNASSIGNED_PREFIX + body
    return PaymentToken(requester, digits + check_digit(digits), TokenState.ACTIVE, pan.reveal()[-4:], 0)


def _pan(body: str) -> Pan | Refusal:
    """A number of the tokens' range was never tokenized."""
    pan = Pan(body + check_digit(body))
    return pan if is_pan(pan) else Refusal.UNKNOWN
