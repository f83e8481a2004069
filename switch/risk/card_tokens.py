"""Cards as two installations name them to each other: the card's key, sealed under a key that both have.

AES-SIV (RFC 5297) without a nonce: the same card has the same token, so that it can be recognized and de-duplicated,
and a token that is not one of theirs is refused. Only who hashes cards with the same key can use what is inside.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES: Final = 64
_CONTEXT: Final = [b"payswitch card token 1"]


def token_of(card_key: str, shared_key: bytes) -> str:
    """
    >>> card_key_of(token_of("00ff" * 8, bytes(64)), bytes(64)) == "00ff" * 8
    True
    """
    return AESSIV(shared_key).encrypt(bytes.fromhex(card_key), _CONTEXT).hex()


def card_key_of(token: str, shared_key: bytes) -> str:
    """token: 64 hexadecimal digits. Raises ValueError where it was not made under this key."""
    try:
        return AESSIV(shared_key).decrypt(bytes.fromhex(token), _CONTEXT).hex()
    except InvalidTag:
        raise ValueError("was not made under the key that is shared with this partner") from None
