"""Digital signatures and the digest SM3. Signatures take hundreds of µs and run outside the loop: `hsm.commands.SLOW`.

No guard counts failed verifications: they are made with public keys, which anyone may try on a machine of his own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from hsm import _core, _sm
from hsm.algorithms import MAX_DATA_BYTES
from hsm.commands.context import Commands, Context
from hsm.errors import HsmError, InvalidCommand, SignatureMismatch
from hsm.public_keys import read_public_key, read_sm2_point

SM2_IDENTIFIER: Final = b"1234567812345678"
"""The signer's identifier where none is agreed (GM/T 0009-2012, 10)."""


def sign(context: Context, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
    """(key, data) -> signature. The SIGNING key says how. Half a millisecond an item.

    - RSA, in the token: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), 256 bytes.
    - SM2, on the host: as `sm2_sign` with the identifier `SM2_IDENTIFIER`.

    Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> key = load("SIGNING", "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8", kind="SM2")
    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> run("verify_signatures", [(point, b"message digest", one("sign", key, b"message digest"))])
    [None]
    """
    on_host = [isinstance(context.keys.get(label), _core.HostKey) for label, _ in items]
    by_host = iter(
        _sm.sign(
            context.keys,
            [(label, SM2_IDENTIFIER, data) for (label, data), host in zip(items, on_host, strict=True) if host],
        )
        if any(on_host)
        else []
    )
    by_token = iter(
        _core.sign(context.token, context.keys, [item for item, host in zip(items, on_host, strict=True) if not host])
        if not all(on_host)
        else []
    )
    return [next(by_host if host else by_token) for host in on_host]


def sm2_sign(context: Context, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
    """(SM2 SIGNING key, signer's identifier, data) -> SM2 signature with SM3: DER of (r, s), 70 to 72 bytes as a rule.

    GB/T 32918.2-2016, 6; DER as GM/T 0009-2012, 7.3. Identifier: up to 8191 bytes; data: all that is signed, not a
    digest. Each signature of the same data is another one. Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> key = load("SIGNING", "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8", kind="SM2")
    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> signature = one("sm2_sign", key, b"ALICE123@YAHOO.COM", b"message digest")
    >>> run("sm2_verify", [(point, b"ALICE123@YAHOO.COM", b"message digest", signature)])
    [None]
    """
    return _sm.sign(context.keys, items)


def verify_signatures(context: Context, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[Exception | None]:
    """(public key, data, signature) -> None, or SignatureMismatch. The public key says how, as in `sign`.

    Public key: PEM (SubjectPublicKeyInfo) of RSA with 2048 to 4096 bits or of SM2, or an SM2 point 04 ‖ x ‖ y.
    RFC 8017, 8.2.2; GB/T 32918.2-2016, 7. Fails with InvalidCommand where the public key is none.

    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> signature = bytes.fromhex("3046"
    ...     "022100F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    ...     "022100B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
    >>> run("verify_signatures", [(point, b"message digest", signature), (point, b"message digesT", signature)])
    [None, SignatureMismatch('a signature does not verify')]
    """
    return _each(_verify, items)


def sm2_verify(context: Context, items: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> list[Exception | None]:
    """(SM2 public key, signer's identifier, data, signature) -> None, or SignatureMismatch.

    Public key: PEM (SubjectPublicKeyInfo), or a point 04 ‖ x ‖ y. Signature: DER, as `sm2_sign` makes it; BER is
    refused. GB/T 32918.2-2016, 7. Fails with InvalidCommand where the public key is none.

    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> signature = bytes.fromhex("3046"
    ...     "022100F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    ...     "022100B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA")
    >>> run("sm2_verify", [(point, each, b"message digest", signature) for each in (b"1234567812345678", b"")])
    [None, SignatureMismatch('a signature does not verify')]
    """
    return _each(_verify_sm2, items)


def sm3_digests(context: Context, items: Sequence[tuple[bytes]]) -> list[bytes | Exception]:
    """(data,) -> SM3 digest, 32 bytes. GB/T 32905-2016. Fails with InvalidCommand.

    >>> one("sm3_digests", b"abc").hex().upper()
    '66C7F0F462EEEDD9D1F2D46BDC10E4E24167C4875CF2F7A2297DA02B8F4BA8E0'
    """
    return _sm.digests(items)


def _each(verify: Callable[..., None], items: Sequence[tuple[Any, ...]]) -> list[Exception | None]:
    results: list[Exception | None] = []
    for item in items:
        try:
            verify(*item)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


def _verify(public_key: bytes, data: bytes, signature: bytes) -> None:
    key = read_public_key(public_key)
    if not isinstance(key, RSAPublicKey):
        _verify_sm2(key, SM2_IDENTIFIER, data, signature)
        return
    if max(len(data), len(signature)) > MAX_DATA_BYTES:
        raise InvalidCommand("too much data")
    try:
        key.verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise SignatureMismatch("a signature does not verify") from None


def _verify_sm2(public_key: bytes, identifier: bytes, data: bytes, signature: bytes) -> None:
    [result] = _sm.verify([(read_sm2_point(public_key), identifier, data, signature)])
    if result is not None:
        raise result


COMMANDS: Final[Commands] = {
    "sign": sign,
    "sm2_sign": sm2_sign,
    "verify_signatures": verify_signatures,
    "sm2_verify": sm2_verify,
    "sm3_digests": sm3_digests,
}
