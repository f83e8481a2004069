"""SM2 and SM3: published vectors, an SM2 in plain Python, `cryptography`, OpenSSL's command line."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, SM3, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm import _core, _sm
from hsm.algorithms import MAX_DATA_BYTES
from hsm.commands import SLOW
from hsm.commands.signature import SM2_IDENTIFIER
from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable, InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch, SignatureMismatch
from hsm.public_keys import sm2_pem
from hsm.vectors.sm import CHECKS
from hsm.vectors.workshop import Workshop, workshop

PRIME = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
GENERATOR = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
PRIVATE = "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8"
POINT = bytes.fromhex(
    "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@pytest.fixture
def signing(bench: Workshop) -> str:
    return bench.load("SIGNING", PRIVATE, "SM2")


@pytest.fixture
def envelope(bench: Workshop) -> str:
    return bench.load("ENVELOPE", PRIVATE, "SM2")


# --- an SM2 of our own, slow and simple -------------------------------------------------------------------------------

Affine = tuple[int, int] | None


def add(left: Affine, right: Affine) -> Affine:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % PRIME == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, PRIME) if left == right else (y2 - y1) * pow(x2 - x1, -1, PRIME)
    x = (slope * slope - x1 - x2) % PRIME
    return x, (slope * (x1 - x) - y1) % PRIME


def times(number: int, point: Affine) -> Affine:
    result: Affine = None
    while number:
        result = add(result, point) if number & 1 else result
        point, number = add(point, point), number >> 1
    return result


def encode(point: Affine) -> bytes:
    assert point is not None
    return b"\x04" + point[0].to_bytes(32) + point[1].to_bytes(32)


def sm3(*pieces: bytes) -> bytes:
    digest = Hash(SM3())
    for each in pieces:
        digest.update(each)
    return digest.finalize()


def message_number(point: bytes, identifier: bytes, data: bytes) -> int:
    curve = b"".join(each.to_bytes(32) for each in (PRIME - 3, B, *GENERATOR))
    identity = sm3((8 * len(identifier)).to_bytes(2), identifier, curve, point[1:])
    return int.from_bytes(sm3(identity, data))


def verifies(point: bytes, identifier: bytes, data: bytes, signature: bytes) -> bool:
    r, s = decode_dss_signature(signature)
    public = (int.from_bytes(point[1:33]), int.from_bytes(point[33:]))
    sum_ = add(times(s, GENERATOR), times((r + s) % ORDER, public))
    assert sum_ is not None
    return (message_number(point, identifier, data) + sum_[0]) % ORDER == r


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", sorted(CHECKS))
def test_vectors(bench: Workshop, vectors: Any, category: str) -> None:
    assert vectors[category]
    for each in vectors[category]:
        CHECKS[category](bench, each["inputs"], each["outputs"])


# --- keys -------------------------------------------------------------------------------------------------------------


def test_generated_keys(bench: Workshop) -> None:
    keys = [_sm.generate_key(f"sm2-{number}", "SIGNING", mode="S") for number in range(5)]
    points = [_sm.public_key(each) for each in keys]
    assert len(set(points)) == 5
    for key, point in zip(keys, points, strict=True):
        x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
        assert (y * y - x**3 + 3 * x - B) % PRIME == 0
        assert (key.kind, key.length, key.mode, key.usage) == ("SM2", 32, "S", "SIGNING")
        assert key.check_value() == sm3(point)[:3].hex().upper()
        signature = bench.one("sm2_sign", bench.put(key), b"", b"data")
        assert verifies(point, b"", b"data", signature)


@pytest.mark.parametrize("scalar", [1, 2, 0x0123456789ABCDEF, ORDER - 2])
def test_public_points(bench: Workshop, scalar: int) -> None:
    key = bench.key(bench.load("SIGNING", scalar.to_bytes(32).hex(), "SM2"))
    assert _sm.public_key(key) == encode(times(scalar, GENERATOR))


@pytest.mark.parametrize("scalar", [ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
def test_scalars_out_of_range(bench: Workshop, scalar: int) -> None:
    with pytest.raises(InvalidCommand, match="number from 1 to n - 2"):
        bench.load("SIGNING", scalar.to_bytes(32).hex(), "SM2")


@pytest.mark.parametrize("length", [8, 16, 31, 33, 64])
def test_scalars_of_other_lengths(bench: Workshop, length: int) -> None:
    with pytest.raises(InvalidCommand):
        bench.load("SIGNING", "11" * length, "SM2")


def test_a_key_of_another_family_has_no_point(bench: Workshop) -> None:
    with pytest.raises(KeyUsageError):
        _sm.public_key(bench.key(bench.load("MAC_KEY", "11" * 16)))


def test_keys_come_back_from_their_sealed_form(bench: Workshop) -> None:
    token = bench.context.token
    handle = token.generate_secret("AES", 32, _core.PERMISSIONS["KEY_STORAGE"])
    storage = _core.TokenKey("storage", "KEY_STORAGE", token, "AES", handle)
    key = _sm.generate_key("k", "SIGNING")
    sealed = _core.seal_host_key(token, storage, key, b"context")
    opened = _core.open_host_key("k", "SIGNING", token, storage, sealed, b"context", "SM2")
    assert opened.same_value(key)
    assert _sm.public_key(opened) == _sm.public_key(key)


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", [b"", b"1234567812345678", bytes(range(256)) * 31 + bytes(255)])
@pytest.mark.parametrize("length", [0, 1, 55, 56, 64, 5000])
def test_signatures_against_plain_python(bench: Workshop, signing: str, identifier: bytes, length: int) -> None:
    data = os.urandom(length)
    signature = bench.one("sm2_sign", signing, identifier, data)
    assert verifies(POINT, identifier, data, signature)
    assert bench.one("sm2_verify", POINT, identifier, data, signature) is None


def test_signatures_differ(bench: Workshop, signing: str) -> None:
    signatures = bench.run("sm2_sign", [(signing, b"", b"data")] * 30)
    numbers = {decode_dss_signature(each)[0] for each in signatures}
    assert len(numbers) == 30


def test_what_a_changed_signature_is(bench: Workshop, signing: str) -> None:
    signatures = bench.run("sm2_sign", [(signing, b"me", b"data")] * 100)
    r, s, signature = next((*pair, each) for each in signatures if max(pair := decode_dss_signature(each)) < 2**255)
    numbers = [(r + 1, s), (r, s + 1), (s, r), (r, ORDER - s), (r, ORDER - r), (0, s), (r, 0), (ORDER, s)]
    negative = b"\x30\x44\x02\x20" + (-r % 2**256).to_bytes(32) + b"\x02\x20" + s.to_bytes(32)
    wrong = [
        *(encode_dss_signature(*pair) for pair in numbers),
        *(encode_dss_signature(*pair) for pair in ((r + ORDER, s), (r, s + ORDER))),
        negative,
        b"",
        b"\x30",
        r.to_bytes(32) + s.to_bytes(32),
        signature[:-1],
        signature + b"\0",
        b"\x30\x81" + signature[1:],
        signature[:3].replace(b"\x02", b"\x03") + signature[3:],
        bytes(MAX_DATA_BYTES),
    ]
    results = bench.run("sm2_verify", [(POINT, b"me", b"data", each) for each in wrong])
    assert [type(each) for each in results] == [SignatureMismatch] * len(wrong)
    assert len({str(each) for each in results}) == 1
    for bit in range(0, 8 * len(signature), 5):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureMismatch):
            bench.one("sm2_verify", POINT, b"me", b"data", bytes(flipped))


def test_a_signature_counts_for_its_data_identifier_and_key_only(bench: Workshop, signing: str) -> None:
    signature = bench.one("sm2_sign", signing, b"me", b"data")
    other = encode(times(7, GENERATOR))
    results = bench.run(
        "sm2_verify",
        [
            (POINT, b"me", b"data", signature),
            (POINT, b"you", b"data", signature),
            (POINT, b"me", b"Data", signature),
            (POINT, b"med", b"ata", signature),
            (other, b"me", b"data", signature),
            (sm2_pem(POINT), b"me", b"data", signature),
        ],
    )
    assert [type(each) for each in results] == [type(None), *[SignatureMismatch] * 4, type(None)]


def test_public_keys_that_are_none(bench: Workshop) -> None:
    p256 = ec.generate_private_key(ec.SECP256R1()).public_key()
    off_curve = POINT[:-1] + bytes([POINT[-1] ^ 1])
    pem = sm2_pem(POINT)
    for public_key in (
        b"",
        off_curve,
        sm2_pem(off_curve),
        b"\x02" + POINT[1:],
        bytes(65),
        POINT[:33],
        b"\x04" + PRIME.to_bytes(32) + POINT[33:],
        p256.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        pem.replace(b"PUBLIC", b"PRIVATE"),
        pem.replace(b"M", b"-", 1),
        pem + pem,
        pem[:40] + b"=" + pem[40:],
        pem.replace(b"\n", b"\n" * 5000),
    ):
        for command, item in (
            ("sm2_verify", (public_key, b"", b"data", b"")),
            ("verify_signatures", (public_key, b"data", b"")),
            ("sm2_encipher", (public_key, b"data")),
        ):
            [result] = bench.run(command, [item])
            assert isinstance(result, InvalidCommand), (command, public_key)


def test_an_identifier_is_bounded(bench: Workshop, signing: str) -> None:
    [long, longer] = bench.run("sm2_sign", [(signing, bytes(size), b"data") for size in (8191, 8192)])
    assert verifies(POINT, bytes(8191), b"data", long)
    assert isinstance(longer, InvalidCommand)
    assert isinstance(bench.run("sm2_verify", [(POINT, bytes(8192), b"data", long)])[0], InvalidCommand)


def test_sign_goes_by_the_key(token_directory: Path, bench: Workshop, signing: str) -> None:
    token = bench.context.token
    handle = token.generate_rsa()
    bench.put(_core.TokenKey("rsa", "SIGNING", token, "RSA", handle))
    modulus, exponent = (int.from_bytes(each) for each in token.rsa_public_numbers(handle))
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    results = bench.run("sign", [("rsa", b"a"), (signing, b"b"), ("nobody", b"c"), ("rsa", b"d"), (signing, b"e")])
    assert [type(each) for each in results] == [bytes, bytes, KeyNotFound, bytes, bytes]
    public.verify(results[0], b"a", PKCS1v15(), SHA256())
    assert verifies(POINT, SM2_IDENTIFIER, b"e", results[4])
    verified = bench.run(
        "verify_signatures",
        [
            (pem, b"a", results[0]),
            (POINT, b"b", results[1]),
            (pem, b"a", results[3]),
            (pem, b"d", results[3]),
            (sm2_pem(POINT), b"e", results[4]),
            (pem, b"e", results[4]),
            (POINT, b"a", results[0]),
            (pem, bytes(MAX_DATA_BYTES + 1), results[0]),
        ],
    )
    fine, wrong = type(None), SignatureMismatch
    assert [type(each) for each in verified] == [fine, fine, wrong, fine, fine, wrong, wrong, InvalidCommand]
    assert bench.run("sign", []) == []


def test_rsa_signatures_from_elsewhere(bench: Workshop) -> None:
    keys = {bits: rsa.generate_private_key(65537, bits) for bits in (1024, 2048, 3072)}
    for bits, key in keys.items():
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        good = key.sign(b"data", PKCS1v15(), SHA256())
        pss = key.sign(b"data", PSS(MGF1(SHA256()), 32), SHA256())
        sha512 = key.sign(b"data", PKCS1v15(), SHA512())
        given = (good, pss, sha512, good[1:], b"", good * 2)
        results = bench.run("verify_signatures", [(pem, b"data", each) for each in given])
        expected = [type(None), *[SignatureMismatch] * 5] if bits >= 2048 else [InvalidCommand] * 6
        assert [type(each) for each in results] == expected, bits


def test_numbers_with_leading_zeros(bench: Workshop) -> None:
    """They come once in 128 signatures: sign until there is one."""
    key = _sm.generate_key("many", "SIGNING")
    label, point, shortest = bench.put(key), _sm.public_key(key), ORDER
    while shortest >= 2**248:
        signatures = bench.run("sm2_sign", [(label, b"", b"data")] * 100)
        assert bench.run("sm2_verify", [(point, b"", b"data", each) for each in signatures]) == [None] * 100
        shortest = min(number for each in signatures for number in decode_dss_signature(each))


# --- which keys may ---------------------------------------------------------------------------------------------------


def test_only_the_right_key_signs(bench: Workshop, envelope: str) -> None:
    labels = [
        bench.load("MAC_KEY", "11" * 16),
        bench.load("SIGNING", "11" * 32, "AES"),
        bench.load("SIGNING", PRIVATE, "SM2", mode="V"),
        envelope,
    ]
    for command, item in (("sign", (b"data",)), ("sm2_sign", (b"", b"data"))):
        results = bench.run(command, [(label, *item) for label in labels])
        assert [type(each) for each in results] == [KeyUsageError] * 4, command
    assert isinstance(bench.run("sm2_sign", [("nobody", b"", b"")])[0], KeyNotFound)


def test_only_the_right_key_deciphers(bench: Workshop, signing: str) -> None:
    ciphertext = bench.one("sm2_encipher", POINT, b"data")
    labels = [signing, bench.load("ENVELOPE", "11" * 32, "AES"), bench.load("ENVELOPE", PRIVATE, "SM2", mode="E")]
    results = bench.run("sm2_decipher", [(label, ciphertext) for label in labels])
    assert [type(each) for each in results] == [KeyUsageError] * 3
    assert isinstance(bench.run("sm2_decipher", [("nobody", ciphertext)])[0], KeyNotFound)


def test_a_bug_of_the_caller_raises(bench: Workshop, signing: str, envelope: str) -> None:
    for command, item in (
        ("sign", (signing,)),
        ("sm2_sign", (signing, b"")),
        ("sm2_sign", (signing, None, b"")),
        ("sm2_sign", (signing, "me", b"")),
        ("sm2_verify", (POINT, None, b"", b"")),
        ("sm2_verify", (POINT, b"", b"", None)),
        ("sm2_decipher", (envelope, None)),
        ("sm2_encipher", (POINT, None)),
        ("sm3_digests", b"data"),
        ("sm3_digests", (None,)),
    ):
        with pytest.raises((TypeError, ValueError)):
            bench.run(command, [item])


# --- encryption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000, MAX_DATA_BYTES - 97])
def test_encipher_and_decipher(bench: Workshop, envelope: str, length: int) -> None:
    plaintext = os.urandom(length)
    ciphertext = bench.one("sm2_encipher", POINT, plaintext)
    assert len(ciphertext) == length + 97
    assert bench.one("sm2_decipher", envelope, ciphertext) == plaintext


def test_a_ciphertext_against_plain_python(bench: Workshop) -> None:
    ciphertext = bench.one("sm2_encipher", POINT, b"a message of more than thirty-two bytes")
    point = (int.from_bytes(ciphertext[1:33]), int.from_bytes(ciphertext[33:65]))
    shared = encode(times(int(PRIVATE, 16), point))[1:]
    stream = b"".join(sm3(shared, counter.to_bytes(4)) for counter in (1, 2))
    plaintext = bytes(left ^ right for left, right in zip(ciphertext[97:], stream, strict=False))
    assert plaintext == b"a message of more than thirty-two bytes"
    assert ciphertext[65:97] == sm3(shared[:32], plaintext, shared[32:])


def test_what_a_changed_ciphertext_is(bench: Workshop, envelope: str) -> None:
    ciphertext = bench.one("sm2_encipher", POINT, b"data")
    changed = [ciphertext[:index] + bytes([ciphertext[index] ^ 1]) + ciphertext[index + 1 :] for index in range(101)]
    changed += [b"", ciphertext[:97], ciphertext[:-1], ciphertext + b"\0", POINT + ciphertext[65:], bytes(101)]
    results = bench.run("sm2_decipher", [(envelope, each) for each in changed])
    assert {type(each) for each in results} == {MacMismatch}
    assert len({str(each) for each in results}) == 1


def test_lengths_of_plaintexts(bench: Workshop, envelope: str) -> None:
    results = bench.run("sm2_encipher", [(POINT, bytes(size)) for size in (0, 1, MAX_DATA_BYTES + 1)])
    assert [type(each) for each in results] == [InvalidCommand, bytes, InvalidCommand]
    results = bench.run("sm2_decipher", [(envelope, bytes(MAX_DATA_BYTES + size)) for size in (0, 1)])
    assert [type(each) for each in results] == [MacMismatch, InvalidCommand]


def test_good_and_bad_items_in_one_batch(bench: Workshop, envelope: str) -> None:
    [first, second] = bench.run("sm2_encipher", [(POINT, b"first"), (POINT, b"second")])
    results = bench.run("sm2_decipher", [(envelope, first), (envelope, first[::-1]), ("no", first), (envelope, second)])
    assert results[0::3] == [b"first", b"second"]
    assert [type(each) for each in results[1:3]] == [MacMismatch, KeyNotFound]


# --- SM3 --------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_digests(data: bytes) -> None:
    assert _sm.digests([(data,)]) == [sm3(data)]


def test_digests_of_much_data(bench: Workshop) -> None:
    sizes = (16383, 16384, MAX_DATA_BYTES, MAX_DATA_BYTES + 1)
    *digests, refused = bench.run("sm3_digests", [(bytes(size),) for size in sizes])
    assert digests == [sm3(bytes(size)) for size in sizes[:3]]
    assert isinstance(refused, InvalidCommand)


# --- beside others ----------------------------------------------------------------------------------------------------


def test_threads(bench: Workshop, signing: str, envelope: str) -> None:
    def work(number: int) -> bool:
        data = number.to_bytes(8)
        [signature] = bench.run("sm2_sign", [(signing, data, data)])
        [ciphertext] = bench.run("sm2_encipher", [(POINT, data)])
        return bench.run("sm2_verify", [(POINT, data, data, signature)]) == [None] and bench.run(
            "sm2_decipher", [(envelope, ciphertext)]
        ) == [data]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(120)))


async def test_slow_commands_keep_their_order(token_directory: Path, bench: Workshop) -> None:
    assert {"sign", "sm2_sign", "sm2_verify", "verify_signatures", "sm2_encipher", "sm2_decipher"} <= SLOW
    hsm = DirectHsm.open(token_directory)
    try:
        hsm.store.keys["sm2"] = _sm.generate_key("sm2", "SIGNING")
        point = _sm.public_key(hsm.store.keys["sm2"])
        items = [("sm2", str(number).encode()) for number in range(7)]
        signatures = await hsm.run("sign", items)
        pairs = zip(items, signatures, strict=True)
        assert await hsm.run("verify_signatures", [(point, data, each) for (_, data), each in pairs]) == [None] * 7
    finally:
        hsm.close()


def test_a_fork_is_refused_its_keys(bench: Workshop, signing: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            bench.run("sm2_sign", [(signing, b"", b"data")])
        except HsmUnavailable:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- OpenSSL's command line -------------------------------------------------------------------------------------------


def openssl(*arguments: object) -> bytes:
    program = shutil.which("openssl")
    if (
        program is None
        or b"SM2" not in subprocess.run([program, "ecparam", "-list_curves"], capture_output=True).stdout
    ):
        pytest.skip("no openssl with SM2")
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True).stdout


def test_openssl_signatures(bench: Workshop, tmp_path: Path) -> None:
    key, public, data, signature = (tmp_path / name for name in ("key", "public", "data", "signature"))
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:sm2", "-out", key)
    text = openssl("pkey", "-in", key, "-text", "-noout").decode()
    scalar = re.sub(r"[\s:]", "", text.split("priv:")[1].split("pub:")[0])
    label = bench.load("SIGNING", scalar.rjust(64, "0")[-64:], "SM2")
    pem = openssl("pkey", "-in", key, "-pubout")
    assert sm2_pem(_sm.public_key(bench.key(label))) == pem
    data.write_bytes(b"what is signed")
    public.write_bytes(pem)
    options = ("-rawin", "-digest", "sm3", "-pkeyopt", "distid:somebody", "-in", data)
    openssl("pkeyutl", "-sign", "-inkey", key, "-out", signature, *options)
    bench.one("sm2_verify", pem, b"somebody", b"what is signed", signature.read_bytes())
    signature.write_bytes(bench.one("sm2_sign", label, b"somebody", b"what is signed"))
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, "-sigfile", signature, *options)
