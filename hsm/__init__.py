"""Keys and payment cryptography over PKCS #11 (SoftHSM 2). Imports nothing of ours; meets `ports.Hsm` by shape.

    create_token(directory)                 # once; a repeat changes nothing
    hsm = DirectHsm.open(directory)         # from hsm.direct
    hsm.store.ensure("journal/seal", KeyUsage.SEALING)
    [sealed] = await hsm.seal([("journal/seal", b"...", b"context")])
    hsm.close()

`DirectHsm` runs the commands in the caller's process; `hsm.remote.RemoteHsm` has the same ones and reaches processes of
their own (`hsm.serve`, kept by `hsm.processes`), which is what production uses.

**What lives in the token and never leaves it** (sensitive, not extractable, one usage each): keys that are not
exportable and that the token can work with. PIN keys, EMV master keys, PVV and offset keys, the UnionPay master key
(KEY_TRANSPORT), RSA signing keys, EC keys of envelopes, the journal's sealing and hashing keys, the vault's wrapping
key, and the storage key `hsm/storage`.

**What is host code with keys in locked memory** (mlock, left out of core dumps, zero in a forked child, wiped):
exportable keys; MAC, card-verification, data, key-block and SM2 keys, for whose commands SoftHSM has nothing; and
working keys, which by nature come and go: UnionPay's PIK and MAK, unwrapped under the master key from the token
straight into that memory, in one C section. On disk they exist only under AES-256-GCM of `hsm/storage`. Their ciphers
are libcrypto's. `docs/keys.md` has the table.

**A clear PIN is never a Python object**: decipher, check, reformat, encipher and wipe are one C function.

**SoftHSM is not a certified secure cryptographic device** (PCI PTS HSM, FIPS 140). It runs in the process that opens
the token, so whoever reads that process's memory has its keys; a process of its own (`hsm.hardening` says what it
withstands) keeps them from the switch, not from root. Use it for development and tests, and put a hardware module
behind the same PKCS #11 calls where real cards are processed. Forking a process that has a token open is refused: use
exec.

Measured on two shared cores (SoftHSM 2.6.1, OpenSSL 3.0), one call each: PIN translation 2.4 µs inside the token (1.7
in a batch of 32), 1.8 µs towards a working key (1.2); cup-financial MAC over 200 bytes 3.0 µs (2.7), of which 2.5 µs
are libcrypto's 26 DES blocks in a row; keyed hash 7 µs; seal and unseal of 64 bytes 8 µs; RSA-2048 signature 0.6 ms,
0.8 ms through a thread. libcrypto alone takes 1 to 2 µs for the hash and the seal; their keys stay in the token all
the same, because they live long and open the journal.
"""

from hsm.errors import (
    HsmError,
    HsmUnavailable,
    InvalidCommand,
    KeyExists,
    KeyNotFound,
    KeyUsageError,
    LoginRefused,
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
    "LoginRefused",
    "MacMismatch",
    "PinFormatError",
]
