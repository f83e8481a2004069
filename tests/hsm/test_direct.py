import hashlib
import hmac
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hsm import algorithms
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.keys import KeyUsage

VALUE = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"


async def test_sealing(hsm: DirectHsm, make_key: Any) -> None:
    key = make_key(KeyUsage.SEALING, VALUE)
    clear = [bytes(range(256))[:length] for length in (0, 1, 16, 17, 200)]
    sealed = await hsm.seal([(key, each, b"context") for each in clear])
    judge = AESGCM(bytes.fromhex(VALUE))
    for each, box in zip(clear, sealed, strict=True):
        assert isinstance(box, bytes)
        assert judge.decrypt(box[:12], box[12:], b"context") == each
    boxes = [each for each in sealed if isinstance(each, bytes)]
    assert await hsm.unseal([(key, each, b"context") for each in boxes]) == clear
    assert len({each[:12] for each in boxes}) == len(boxes)
    assert await hsm.unseal([(key, bytes(12) + judge.encrypt(bytes(12), b"x", None), b"")]) == [b"x"]


async def test_tampered_seals_fail_alone(hsm: DirectHsm, make_key: Any) -> None:
    key, other = make_key(KeyUsage.SEALING, VALUE), make_key(KeyUsage.SEALING, VALUE[::-1])
    [box] = await hsm.seal([(key, b"data", b"context")])
    assert isinstance(box, bytes)
    good = (key, box, b"context")
    bad = [(key, box[:i] + bytes([box[i] ^ 1]) + box[i + 1 :], b"context") for i in range(len(box))]
    bad += [(key, box[:length], b"context") for length in range(len(box))]
    bad += [(key, box + b"\0", b"context"), (key, box, b""), (key, box, b"Context"), (other, box, b"context")]
    results = await hsm.unseal([each for one in bad for each in (one, good)])
    assert {type(each) for each in results[::2]} == {MacMismatch}
    assert results[1::2] == [b"data"] * len(bad)


async def test_keyed_hashes(hsm: DirectHsm, make_key: Any) -> None:
    key = make_key(KeyUsage.HASHING, VALUE)
    data = [b"", b"6225880000001239", bytes(1000)]
    expected = [hmac.digest(bytes.fromhex(VALUE), each, hashlib.sha256) for each in data]
    assert await hsm.keyed_hashes([(key, each) for each in data]) == expected
    results = await hsm.keyed_hashes(
        [(key, b""), ("nobody", b""), (key, bytes(algorithms.MAX_DATA_BYTES + 1)), (key, b"")]
    )
    assert [type(each) for each in results] == [bytes, KeyNotFound, InvalidCommand, bytes]


async def test_signatures_in_threads_keep_their_order(hsm: DirectHsm) -> None:
    hsm.store.ensure("direct/rsa", KeyUsage.SIGNING)
    public = load_pem_public_key(hsm.store.public_key("direct/rsa"))
    assert isinstance(public, RSAPublicKey)
    assert await hsm.sign([]) == []
    for count in (1, 2, 5):
        signed = await hsm.sign([("direct/rsa", bytes([index])) for index in range(count)])
        for index, signature in enumerate(signed):
            assert isinstance(signature, bytes)
            public.verify(signature, bytes([index]), PKCS1v15(), SHA256())
    results = await hsm.sign([("nobody", b""), ("direct/rsa", b""), ("hsm/storage", b"")])
    assert [type(each) for each in results] == [KeyNotFound, bytes, KeyUsageError]


async def test_a_key_outside_its_usage(hsm: DirectHsm, make_key: Any) -> None:
    labels = {usage: make_key(usage, VALUE[: 64 if usage is KeyUsage.HASHING else 32]) for usage in (
        KeyUsage.PIN_KEY, KeyUsage.MAC_KEY, KeyUsage.KEY_TRANSPORT, KeyUsage.SEALING, KeyUsage.HASHING
    )}  # fmt: skip
    labels[KeyUsage.SIGNING] = hsm.store.ensure("direct/rsa", KeyUsage.SIGNING).label
    for usage, key in labels.items():
        tried = {
            KeyUsage.PIN_KEY: await hsm.translate_pins([(key, 0, key, 0, bytes(8), "6225880000001239")]),
            KeyUsage.MAC_KEY: await hsm.macs([(key, algorithms.CUP_FINANCIAL, b"")]),
            KeyUsage.SEALING: await hsm.seal([(key, b"", b"")]) + await hsm.unseal([(key, bytes(40), b"")]),
            KeyUsage.HASHING: await hsm.keyed_hashes([(key, b"")]),
            KeyUsage.SIGNING: await hsm.sign([(key, b"")]),
        }
        for wanted, results in tried.items():
            assert all(isinstance(each, KeyUsageError) for each in results) == (wanted is not usage), (usage, wanted)


async def test_a_bug_of_the_caller_raises(hsm: DirectHsm, make_key: Any) -> None:
    key = make_key(KeyUsage.SEALING, VALUE)
    for items in ([("key",)], [(key, "text", b"")], [(key, None, b"")], [None]):
        with pytest.raises((TypeError, ValueError)):
            await hsm.seal(items)
    assert isinstance((await hsm.seal([(key, b"", b"")]))[0], bytes)


def test_two_threads_and_signatures_at_once(hsm: DirectHsm, make_key: Any) -> None:
    """Every command beside every other, batches with and without the GIL; each result is checked."""
    hsm.store.ensure("direct/rsa", KeyUsage.SIGNING)
    pin, mac = make_key(KeyUsage.PIN_KEY, VALUE[:48]), make_key(KeyUsage.MAC_KEY, VALUE[:32])
    seal, hashing = make_key(KeyUsage.SEALING, VALUE), make_key(KeyUsage.HASHING, VALUE)
    block = next(
        found
        for number in range(100_000)
        for found in hsm.run_now("translate_pins", [(pin, 1, pin, 0, number.to_bytes(8), "6225880000001239")])
        if isinstance(found, bytes)
    )
    expected_mac = hsm.run_now("macs", [(mac, algorithms.CUP_FINANCIAL, bytes(200))])
    expected_hash = hmac.digest(bytes.fromhex(VALUE), b"data", hashlib.sha256)
    failures: list[str] = []
    stop = threading.Event()

    def work(size: int) -> None:
        while not stop.is_set():
            if hsm.run_now("translate_pins", [(pin, 0, pin, 0, block, "6225880000001239")] * size) != [block] * size:
                failures.append("pin")
            if hsm.run_now("macs", [(mac, algorithms.CUP_FINANCIAL, bytes(200))]) != expected_mac:
                failures.append("mac")
            if hsm.run_now("keyed_hashes", [(hashing, b"data")] * size) != [expected_hash] * size:
                failures.append("hash")
            boxes = hsm.run_now("seal", [(seal, b"data", b"")] * size)
            if hsm.run_now("unseal", [(seal, box, b"") for box in boxes if isinstance(box, bytes)]) != [b"data"] * size:
                failures.append("seal")

    def sign() -> None:
        first = hsm.run_now("sign", [("direct/rsa", b"data")])
        while not stop.is_set():
            if hsm.run_now("sign", [("direct/rsa", b"data")]) != first:
                failures.append("sign")

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 32)]
    threads += [threading.Thread(target=sign) for _ in range(6)]  # more than there are signing sessions
    for each in threads:
        each.start()
    stop.wait(1.0)
    stop.set()
    for each in threads:
        each.join()
    assert failures == []
