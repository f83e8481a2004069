"""Data that a device sealed to a public key of the HSM: HPKE with a key in the token, SM2 with one on the host.

ENVELOPE keys. Both take hundreds of µs and run outside the loop: see `hsm.commands.SLOW`. No guard counts what does not
open: both schemes are secure against chosen ciphertexts, and a failure says nothing but that it is one.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _envelope, _sm
from hsm.commands.context import Commands, Context
from hsm.errors import HsmError
from hsm.public_keys import read_sm2_point


def open_envelopes(
    context: Context, items: Sequence[tuple[str, int, bytes, bytes, bytes, bytes]]
) -> list[bytes | Exception]:
    """(EC key, AEAD, encapsulated key, info, associated data, ciphertext) -> plaintext, or MacMismatch.

    HPKE (RFC 9180, 6.1) in mode base: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and the AEAD 1 (AES-128-GCM) or
    2 (AES-256-GCM). Encapsulated key: 65 bytes, 04 ‖ x ‖ y. Ciphertext: with its tag of 16 bytes. One message for every
    reason not to open. The private key does not leave the token; `hsm.envelope` seals. Fails with KeyNotFound,
    KeyUsageError, InvalidCommand.

    SoftHSM 2.6.1 keeps about 300 bytes of each secret it has derived, though not its value, until it is closed
    (corrected in later versions): a process that opens a million envelopes a day should be started anew every night.

    >>> run("open_envelopes", [("nobody", 1, bytes(65), b"", b"", bytes(16))])
    [KeyNotFound('no key nobody')]
    """
    return _envelope.open_envelopes(context.token, context.keys, items)


def sm2_decipher(context: Context, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
    """(SM2 key, ciphertext) -> plaintext, or MacMismatch. Ciphertext: C1 (65 bytes, 04 ‖ x ‖ y) ‖ C3 (32) ‖ C2.

    GB/T 32918.4-2016, 7. Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> key = load("ENVELOPE", "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8", kind="SM2")
    >>> one("sm2_decipher", key, bytes.fromhex(
    ...     "0404EBFC718E8D1798620432268E77FEB6415E2EDE0E073C0F4F640ECD2E149A73"
    ...     "E858F9D81E5430A57B36DAAB8F950A3C64E6EE6A63094D99283AFF767E124DF0"
    ...     "59983C18F809E262923C53AEC295D30383B54E39D609D160AFCB1908D0BD8766"
    ...     "21886CA989CA9C7D58087307CA93092D651EFA"))
    b'encryption standard'
    """
    return _sm.decipher(context.keys, items)


def sm2_encipher(context: Context, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | Exception]:
    """(SM2 public key, plaintext of one byte or more) -> ciphertext, as `sm2_decipher` takes it.

    Public key: PEM (SubjectPublicKeyInfo), or a point 04 ‖ x ‖ y. GB/T 32918.4-2016, 6. Fails with InvalidCommand.

    >>> key = load("ENVELOPE", "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8", kind="SM2")
    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> one("sm2_decipher", key, one("sm2_encipher", point, b"encryption standard"))
    b'encryption standard'
    """
    results: list[bytes | Exception] = []
    for public_key, plaintext in items:
        try:
            results += _sm.encipher([(read_sm2_point(public_key), plaintext)])
        except HsmError as error:
            results.append(error)
    return results


COMMANDS: Final[Commands] = {
    "open_envelopes": open_envelopes,
    "sm2_decipher": sm2_decipher,
    "sm2_encipher": sm2_encipher,
}
