"""A stored credential, opened for one message."""

from switch.domain.authorization import Authorization, CardCredential, CodeCredential, Credential
from switch.domain.sensitive import Pan, PaymentCode
from switch.ports import Hsm

HASH_KEY = "journal/hash"
SEAL_KEY = "journal/seal"


async def unsealed(hsm: Hsm, record: Authorization) -> Credential | None:
    """The PAN or wallet code alone: expiry, track and cryptogram were never kept. None if there is none."""
    if not record.sealed_credential:
        return None
    [clear] = await hsm.unseal([(SEAL_KEY, record.sealed_credential, record.id.bytes)])
    if isinstance(clear, Exception):
        raise clear
    text = clear.decode()
    # A code that was shown, or handed over, may have become a card. The mask tells: a code's shows two digits at each
    # end, a PAN's six and four.
    if record.masked_credential == PaymentCode(text).masked():
        return CodeCredential("", PaymentCode(text))
    return CardCredential(Pan(text))
