"""What an installation chooses."""

import re
from dataclasses import dataclass

from switch.domain.payment_token import RANDOM_PREFIX, UNASSIGNED_PREFIX, TokenScheme


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Labels of HSM keys, and bounds.

    hash_key (HASHING): finds a PAN's token. wrapping_key (KEY_WRAPPING): wraps new data keys. cryptogram_key
    (EMV_CRYPTOGRAM, double-length, of mode N: it generates and verifies). fpe_key (FPE_KEY).
    format_preserving: requesters whose tokens are made by that scheme; a requester keeps its first scheme for ever.
    random_prefix: 3 to 6 digits that begin with 999. max_batch: items of one call.
    """

    hash_key: str = "vault/hash"
    wrapping_key: str = "vault/wrapping"
    cryptogram_key: str = "vault/cryptogram"
    fpe_key: str = "vault/fpe"
    format_preserving: frozenset[str] = frozenset()
    random_prefix: str = RANDOM_PREFIX
    payment_lifetime_ms: int = 15 * 60 * 1000
    data_key_period_ms: int = 30 * 24 * 60 * 60 * 1000
    max_batch: int = 256

    def __post_init__(self) -> None:
        if re.fullmatch(f"{UNASSIGNED_PREFIX}[0-9]{{0,3}}", self.random_prefix, re.ASCII) is None:
            raise ValueError(f"random_prefix must be {UNASSIGNED_PREFIX} and up to three digits more")
        if min(self.payment_lifetime_ms, self.data_key_period_ms, self.max_batch) < 1:
            raise ValueError("payment_lifetime_ms, data_key_period_ms and max_batch must be positive")

    def scheme_of(self, requester: str) -> TokenScheme:
        return TokenScheme.FORMAT_PRESERVING if requester in self.format_preserving else TokenScheme.RANDOM
