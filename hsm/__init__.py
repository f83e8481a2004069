"""Keys and payment cryptography over PKCS #11 (SoftHSM 2). Imports nothing of ours; meets `ports.Hsm` by shape.

    create_token(directory)                 # once; a repeat changes nothing
    hsm = DirectHsm.open(directory)         # from hsm.direct
    hsm.store.ensure("journal/seal", KeyUsage.SEALING)
    [sealed] = await hsm.seal([("journal/seal", b"...", b"context")])
    hsm.close()

**What lives in the token and never leaves it** (sensitive, not extractable, one usage each): PIN keys of acquirers and
issuers, the UnionPay master key (KEY_TRANSPORT), RSA signing keys, the journal's sealing and hashing keys, and the
storage key `hsm/storage`. PIN translation, RSA signatures, AES-256-GCM and HMAC-SHA-256 run inside the token.

**What is host code with keys in locked memory** (mlock, left out of core dumps, zero in a forked child, wiped): MAC
keys, since SoftHSM has neither the retail MAC nor single DES, and working keys, which by nature come and go: UnionPay's
PIK and MAK, unwrapped under the master key from the token straight into that memory, in one C section. On disk they
exist only under AES-256-GCM of `hsm/storage`. Their DES is libcrypto's.

**A clear PIN is never a Python object**: decipher, check, reformat, encipher and wipe are one C function.

**SoftHSM is not a certified secure cryptographic device** (PCI PTS HSM, FIPS 140). It runs in the caller's process, so
whoever reads that process's memory has its keys; use it for development and tests, and put a hardware module behind the
same PKCS #11 calls where real cards are processed. Forking a process that has a token open is refused: use exec.

Measured on two shared cores (SoftHSM 2.6.1, OpenSSL 3.0), one Python call each: PIN translation 2 µs inside the token
(1.6 µs an item in a batch), cup-financial MAC over 200 bytes 2.9 µs (26 DES blocks in a row: libcrypto's speed), keyed
hash 11 µs, seal and unseal 11 µs, RSA-2048 signature 0.6 ms. Hash and seal would take about 1 µs with their keys in
locked memory; they stay in the token because they are long-lived and open the journal.
"""

from hsm.errors import (
    HsmError,
    HsmUnavailable,
    InvalidCommand,
    KeyExists,
    KeyNotFound,
    KeyUsageError,
    MacMismatch,
    PinFormatError,
)

__all__ = [
    "HsmError",
    "HsmUnavailable",
    "InvalidCommand",
    "KeyExists",
    "KeyNotFound",
    "KeyUsageError",
    "MacMismatch",
    "PinFormatError",
]
