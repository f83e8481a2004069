"""What can go wrong inside the HSM. No message ever carries a key, a PIN, a PIN block, a PAN or other data."""


class HsmError(Exception):
    """Base of all errors of this package."""


class KeyNotFound(HsmError):
    """No key has this label (or none in this state, for `label?pending`)."""


class KeyExists(HsmError):
    """The label is taken; keys are never overwritten."""


class KeyUsageError(HsmError):
    """The key exists, but may not be used for this."""


class PinFormatError(HsmError):
    """The PIN block is not valid for its format, PAN and key, or the translation is not permitted.

    One message for all causes: telling them apart would let a caller search for a PIN.
    """


class VerificationFailed(HsmError):
    """Base of what a verification raises. Each one counts against its key and subject, see `hsm.guard`."""


class MacMismatch(VerificationFailed):
    """A MAC or the tag of sealed data does not verify."""


class PinMismatch(VerificationFailed):
    """The PIN is not the one its reference (PVV, offset, other block) was made from, or its block is not valid."""


class CardCodeMismatch(VerificationFailed):
    """A CVV, iCVV, dCVV or CVC3 does not verify."""


class CryptogramMismatch(VerificationFailed):
    """An application cryptogram (ARQC, TC, AAC) or a payment token's cryptogram does not verify."""


class SignatureMismatch(VerificationFailed):
    """A digital signature does not verify."""


class TooManyFailures(HsmError):
    """Verifications for this subject, or under this key, failed too often lately: none is made for a while."""


class KeyBlockError(HsmError):
    """A key block is malformed, was changed, or its header does not permit what is asked of it.

    One message for a wrong MAC and for a wrong length or padding behind it.
    """


class PaddingError(HsmError):
    """Deciphered data does not end in the padding it should have: it was changed, or is under another key or IV."""


class InvalidCommand(HsmError):
    """The command itself is wrong: an unknown algorithm, a length no key or block can have, too much data."""


class HsmUnavailable(HsmError):
    """The token cannot be reached or does not do as it should; nothing is known about the command."""


class LoginRefused(HsmUnavailable):
    """The token refuses the PIN. Never tried again by itself: a hardware module would lock the PIN."""
