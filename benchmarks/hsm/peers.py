"""Other libraries doing the same work, each in a process of its own.

python-pkcs11 drives the same SoftHSM on a token directory of its own; `cryptography` and psec compute in the process. A
PIN translation through python-pkcs11 is its decrypt and encrypt, which shows the clear block to Python.
"""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from hsm.token import CONFIGURATION, TOKEN_LABEL, create_token, find_module

Call = Callable[[], object]

MESSAGE = bytes(range(200))
BLOCK = bytes.fromhex("82C89212C5C9644A")
PAN = "6763390877006088815"


def rate_of(call: Call, seconds: float) -> float:
    """Calls a second, measured over at least `seconds`."""
    call()
    count, batch = 0, 16
    begun_s = time.perf_counter()
    while True:
        for _ in range(batch):
            call()
        count += batch
        spent_s = time.perf_counter() - begun_s
        if spent_s >= seconds:
            return count / spent_s
        batch = min(batch * 2, 4096)


def pkcs11_calls(place: Path) -> dict[str, Call]:
    """python-pkcs11 over SoftHSM: session keys, one session."""
    import pkcs11
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    create_token(place)
    (place / "softhsm2.conf").write_text(CONFIGURATION.format(tokens=place / "tokens"))
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")
    pin = (place / "user-pin").read_text().strip()
    session = pkcs11.lib(find_module()).get_token(token_label=TOKEN_LABEL).open(user_pin=pin, rw=True)

    def key(kind: Any, value: bytes) -> Any:
        return session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: kind,
                Attribute.VALUE: value,
                Attribute.TOKEN: False,
                Attribute.ENCRYPT: True,
                Attribute.DECRYPT: True,
                Attribute.SIGN: True,
                Attribute.VERIFY: True,
            }
        )

    first = bytes.fromhex("FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658")
    second = bytes.fromhex("A1439D67319DFD6461022CD0EFA27AD3A1439D67319DFD64")
    source, target = key(KeyType.DES3, first), key(KeyType.DES3, second)
    left, right = key(KeyType.DES3, first[:8] * 3), key(KeyType.DES3, first[8:16] * 3)
    aes, hashing = key(KeyType.AES, bytes(range(32))), key(KeyType.GENERIC_SECRET, bytes(range(32)))
    private: Any = session.generate_keypair(KeyType.RSA, 2048, store=False)[1]
    ecb, cbc = Mechanism.DES3_ECB, Mechanism.DES3_CBC

    def translate() -> object:
        return target.encrypt(source.decrypt(BLOCK, mechanism=ecb), mechanism=ecb)

    def retail() -> object:
        last = left.encrypt(MESSAGE, mechanism=cbc, mechanism_param=bytes(8))[-8:]
        return left.encrypt(right.decrypt(last, mechanism=ecb), mechanism=ecb)

    return {
        "PIN translation 0→0, TDES": translate,
        "retail MAC, 200 bytes": retail,
        "AES-CMAC, 200 bytes": lambda: aes.sign(MESSAGE, mechanism=Mechanism.AES_CMAC),
        "HMAC-SHA-256, 64 bytes": lambda: hashing.sign(MESSAGE[:64], mechanism=Mechanism.SHA256_HMAC),
        "RSA-2048 signature": lambda: private.sign(MESSAGE, mechanism=Mechanism.SHA256_RSA_PKCS),
    }


def cryptography_calls(place: Path) -> dict[str, Call]:
    """pyca/cryptography with clear keys in Python. Triple DES is in its `decrepit` module, and used for comparison."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives import cmac, hashes, hmac
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    source = Cipher(TripleDES(bytes.fromhex("FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658")), modes.ECB())  # noqa: S305
    target = Cipher(TripleDES(bytes.fromhex("A1439D67319DFD6461022CD0EFA27AD3A1439D67319DFD64")), modes.ECB())  # noqa: S305
    gcm, aes, private = AESGCM(bytes(range(32))), AES(bytes(range(32))), rsa.generate_private_key(65537, 2048)

    def mac() -> object:
        running = cmac.CMAC(aes)
        running.update(MESSAGE)
        return running.finalize()

    def keyed_hash() -> object:
        running = hmac.HMAC(bytes(range(32)), hashes.SHA256())
        running.update(MESSAGE[:64])
        return running.finalize()

    return {
        "PIN translation 0→0, TDES": lambda: target.encryptor().update(source.decryptor().update(BLOCK)),
        "AES-CMAC, 200 bytes": mac,
        "HMAC-SHA-256, 64 bytes": keyed_hash,
        "AES-256-GCM seal, 64 bytes": lambda: gcm.encrypt(bytes(12), MESSAGE[:64], b""),
        "RSA-2048 signature": lambda: private.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()),
    }


def psec_calls(place: Path) -> dict[str, Call]:
    """psec: the payment formats in Python, clear keys in Python."""
    from psec import cvv, des, mac, pin, pinblock, tr31

    warnings.simplefilter("ignore")  # it uses `cryptography`'s old place of Triple DES
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    source = bytes.fromhex("FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658")
    target = bytes.fromhex("A1439D67319DFD6461022CD0EFA27AD3")
    block = tr31.wrap(bytes(range(32)), "D0000P0TE00E0000", key)

    def translate() -> object:
        clear = pinblock.decode_pinblock_iso_0(des.decrypt_tdes_ecb(source, BLOCK), PAN)
        return des.encrypt_tdes_ecb(target, pinblock.encode_pinblock_iso_0(clear, PAN))

    return {
        "PIN translation 0→0, TDES": translate,
        "retail MAC, 200 bytes": lambda: mac.generate_retail_mac(key[:8], key[8:], MESSAGE, 1),
        "CVV": lambda: cvv.generate_cvv(key, "4123456789012345", "8701", "101"),
        "Visa PVV": lambda: pin.generate_visa_pvv(key, "1", "1234", "4123456789012345"),
        "key block D import": lambda: tr31.unwrap(bytes(range(32)), block),
    }


PEERS = {"python-pkcs11": pkcs11_calls, "cryptography": cryptography_calls, "psec": psec_calls}


def _serve(name: str, pipe: Connection) -> None:
    with TemporaryDirectory(prefix="payswitch-bench-") as place:
        calls = PEERS[name](Path(place))
        pipe.send(sorted(calls))
        while (asked := pipe.recv()) is not None:
            operation, seconds = asked
            pipe.send(rate_of(calls[operation], seconds))


class Peer:
    """A library in a process of its own; `rate(operation, seconds)` asks it to run."""

    def __init__(self, name: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(name, theirs), daemon=True)

    def __enter__(self) -> "Peer":
        self._process.start()
        self.operations = frozenset(self._pipe.recv())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.send(None)
        self._process.join(10)

    def rate(self, operation: str, seconds: float) -> float:
        """Calls a second. The peer must have the operation."""
        self._pipe.send((operation, seconds))
        result: float = self._pipe.recv()
        return result
