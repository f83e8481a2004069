"""Key blocks against published vectors, psec, and an independent making of versions D and E from `cryptography`."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap as unwrap_elsewhere
from cryptography.hazmat.primitives.keywrap import aes_key_wrap as wrap_elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st
from psec import tr31 as psec

from hsm import _core
from hsm._key_block import aes_key_unwrap, aes_key_wrap, independent_parts
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyBlockError, KeyNotFound, KeyUsageError
from hsm.key_block import CIPHER_BLOCK_BYTES, KeyBlockHeader, export_key, import_key, make_block, open_block
from hsm.keys import KeyUsage
from hsm.vectors.__main__ import failures
from hsm.vectors.workshop import workshop

NOT_VERIFIED = "^the key block does not verify$"
CATEGORIES = ("tr31_A", "tr31_B", "tr31_C", "tr31_D", "tr31_E", "aes_key_wrap")
KBPK = {
    "DES": "89E88CF7931444F334BD7547FC3F380C5D7CE0B0A84C4F2A",
    "AES": "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6",
}

psec_warns = pytest.mark.filterwarnings("ignore:.*TripleDES")


def host_key(usage: str, value: str | bytes, kind: str = "DES", mode: str = "N") -> _core.HostKey:
    value = bytes.fromhex(value) if isinstance(value, str) else value
    return _core.combine_host_key(f"test/{usage}", usage, [bytes(len(value)), value], kind, mode=mode)


def protection_for(version: str, value: str | bytes | None = None, mode: str = "N") -> _core.HostKey:
    kind = "AES" if version in "DE" else "DES"
    return host_key("KEY_BLOCK", value or KBPK[kind], kind, mode)


def holder(protection: _core.HostKey) -> dict[str, _core.Key]:
    return {"kbpk": protection}


def pin_key_block(version: str, **changes: Any) -> str:
    """A block of a double-length PIN key, with nothing random in it."""
    fields = {"usage": "P0", "algorithm": "T", "mode": "B", "version_number": "00", "exportability": "E"} | changes
    key = host_key("PIN_KEY", "3F419E1CB7079442AA37474C2EFBF8B8")
    return make_block(protection_for(version), KeyBlockHeader(version, **fields), key, bytes(range(14)))


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_vectors(token_directory: Path, vectors: dict[str, list[dict[str, Any]]]) -> None:
    ours = [vector for category in CATEGORIES for vector in vectors[category]]
    with workshop(token_directory) as bench:
        assert [result for result in failures(bench, ours) if result[1]] == []
    assert len(ours) >= 40


@pytest.mark.parametrize("name", ["key", "kcv", "key_block", "header", "wrapped"])
def test_a_vector_with_a_wrong_output_fails(token_directory: Path, vectors: Any, name: str) -> None:
    chosen = {"key": "tr31_A", "kcv": "tr31_A", "key_block": "tr31_B", "header": "tr31_B", "wrapped": "aes_key_wrap"}
    vector = json.loads(json.dumps(vectors[chosen[name]][0]))
    if name == "header":
        vector["inputs"]["version_number"] = "77"
    else:
        vector["outputs"][name] = vector["outputs"][name][:-1] + ("0" if vector["outputs"][name][-1] != "0" else "1")
    with workshop(token_directory) as bench:
        [(_, failure)] = failures(bench, [vector])
    assert failure is not None


def test_published_blocks_are_imported(vectors: Any) -> None:
    """All of A to D; the one of version E has a base derivation key that may only verify, which makes no sense."""
    for category in CATEGORIES[:4]:
        for vector in vectors[category]:
            if not vector["published"]:
                continue
            block = vector["inputs"]["key_block"]
            keys = holder(protection_for(block[0], vector["inputs"]["kbpk"]))
            key, header = import_key(keys, "kbpk", block, "imported")
            assert key.mode == header.mode == block[8], vector["id"]
            assert key.check_value().startswith(vector["outputs"]["kcv"])
    [sample] = vectors["tr31_E"]
    with pytest.raises(KeyBlockError, match="usage B0 has no mode of use V"):
        import_key(holder(protection_for("E", sample["inputs"]["kbpk"])), "kbpk", sample["inputs"]["key_block"], "x")


# --- other implementations --------------------------------------------------------------------------------------------


@psec_warns
@pytest.mark.parametrize(
    ("version", "kbpk_bytes"), [("A", 16), ("A", 24), ("B", 16), ("B", 24), ("C", 24), ("D", 16), ("D", 24), ("D", 32)]
)
@pytest.mark.parametrize(("algorithm", "kind", "key_bytes"), [("T", "DES", 16), ("T", "DES", 24), ("A", "AES", 32)])
def test_psec_both_ways(version: str, kbpk_bytes: int, algorithm: str, kind: str, key_bytes: int) -> None:
    dice = random.Random(f"{version}{kbpk_bytes}{algorithm}{key_bytes}")
    kbpk, value = dice.randbytes(kbpk_bytes), dice.randbytes(key_bytes)
    protection, key = protection_for(version, kbpk), host_key("KEY_TRANSPORT", value, kind)
    for label_length in (*range(18), 251, 252, 900):
        optional = (("LB", "x" * label_length), ("KS", "00604B120F9292800000"))[: 1 + label_length % 2]
        header = KeyBlockHeader(version, "K0", algorithm, "B", "01", "E", optional)
        size = CIPHER_BLOCK_BYTES[version]
        block = make_block(protection, header, key, dice.randbytes(-(2 + key_bytes) % size + size * (label_length % 3)))
        theirs = psec.KeyBlock(kbpk)
        assert theirs.unwrap(block) == value
        assert dict(theirs.header.blocks) == dict(optional)
        read, contents = open_block(protection, psec.KeyBlock(kbpk, theirs.header).wrap(value))
        assert read == header
        assert contents.as_key("theirs", "KEY_TRANSPORT", kind, mode="B").same_value(key)


def cmac(key: bytes, data: bytes) -> bytes:
    made = CMAC(algorithms.AES(key))
    made.update(data)
    return made.finalize()


def made_elsewhere(version: str, kbpk: bytes, header: str, payload: bytes) -> str:
    """Version D or E of any payload: the derivation, CMAC and cipher of `cryptography`."""
    bits = len(kbpk) * 8
    encryption, authentication = (
        b"".join(
            cmac(kbpk, bytes([counter, 0, purpose, 0, 0, len(kbpk) // 8, bits >> 8, bits & 255])) for counter in (1, 2)
        )[: len(kbpk)]
        for purpose in (0 if version == "D" else 2, 1)
    )
    text = f"{version}{len(header) + 2 * len(payload) + 32:04}{header[5:]}"
    mac = cmac(authentication, text.encode() + payload)
    mode = modes.CBC(mac) if version == "D" else modes.CTR(mac)
    cipher = Cipher(algorithms.AES(encryption), mode).encryptor()
    return text + (cipher.update(payload) + cipher.finalize() + mac).hex().upper()


@pytest.mark.parametrize("version", "DE")
def test_cryptography_makes_the_same_blocks(version: str) -> None:
    dice, carried = random.Random(1), 0
    for _ in range(400):
        kbpk, value = dice.randbytes(dice.choice((16, 24, 32))), dice.randbytes(dice.choice((16, 24, 32)))
        padding = dice.randbytes(-(2 + len(value)) % 16 if version == "D" else dice.randrange(20))
        payload = (8 * len(value)).to_bytes(2) + value + padding
        block = made_elsewhere(version, kbpk, "V0000K0AB00E0000", payload)
        protection, key = protection_for(version, kbpk), host_key("KEY_TRANSPORT", value, "AES")
        assert make_block(protection, KeyBlockHeader(version, "K0", "A", "B", "00", "E"), key, padding) == block
        opened = open_block(protection, block)[1].as_key("opened", "KEY_TRANSPORT", "AES", mode="B")
        assert opened.same_value(key)
        carried += block.endswith("FF")
    assert carried  # the counter of version E ran over into its next byte


# --- what was changed does not verify ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", "ABCDE")
def test_every_changed_character_is_refused(version: str) -> None:
    block = pin_key_block(version, optional_blocks=(("LB", "label"), ("KS", "00604B120F9292800000")))
    protection = protection_for(version)
    open_block(protection, block)
    for at, character in enumerate(block):
        for other in {*"0129ABCDEFNSaf ~\n\0é", chr(ord(character) ^ 1), chr(ord(character) ^ 0x20)} - {character}:
            with pytest.raises(KeyBlockError):
                open_block(protection, block[:at] + other + block[at + 1 :])


@pytest.mark.parametrize("version", "ABCDE")
def test_every_truncation_and_extension_is_refused(version: str) -> None:
    block, protection = pin_key_block(version), protection_for(version)
    for length in range(len(block)):
        for cut in (block[:length], f"{block[0]}{length:04}{block[5:length]}"):
            with pytest.raises(KeyBlockError):
                open_block(protection, cut)
    for more in ("0", "00", "0" * 16, "0" * 32, "\n"):
        for longer in (block + more, f"{block[0]}{len(block) + len(more):04}{block[5:]}{more}"):
            with pytest.raises(KeyBlockError):
                open_block(protection, longer)


@pytest.mark.parametrize("version", "ABCDE")
def test_another_protection_key_or_version_is_refused(version: str) -> None:
    block = pin_key_block(version)
    kind = "AES" if version in "DE" else "DES"
    with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
        open_block(protection_for(version, KBPK[kind][:30] + "77" + KBPK[kind][32:]), block)
    with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
        open_block(protection_for(version, KBPK[kind][:32]), block)
    for other in set("ABCDE") - {version}:
        with pytest.raises(KeyBlockError):
            open_block(protection_for(other), other + block[1:])
    with pytest.raises(KeyBlockError, match="not protected by such a key"):
        open_block(protection_for("B" if kind == "AES" else "D"), block)


def test_a_single_length_protection_key_is_refused() -> None:
    with pytest.raises(KeyBlockError, match="not protected by such a key"):
        open_block(protection_for("A", KBPK["DES"][:16]), pin_key_block("A"))


@pytest.mark.parametrize("version", "DE")
@pytest.mark.parametrize(
    "payload",
    [
        bytes(16),  # no key
        b"\x00\x07" + bytes(14),  # not whole bytes
        b"\x00\x81" + bytes(30),
        b"\x00\x78" + bytes(14),  # 15 bytes of 14
        b"\x01\x00" + bytes(30),  # 32 bytes of 30
        b"\x02\x08" + bytes(78),  # 65 bytes: longer than any key
        b"\xff\xff" + bytes(30),
        b"\xff\xf8" + bytes(30),
    ],
)
def test_a_right_mac_over_a_wrong_length_of_key_does_not_verify(version: str, payload: bytes) -> None:
    kbpk = bytes.fromhex(KBPK["AES"])
    with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
        open_block(protection_for(version), made_elsewhere(version, kbpk, "V0000K0AB00E0000", payload))


def test_a_key_of_no_length_of_its_algorithm() -> None:
    payload = b"\x00\x70" + bytes(14)
    block = made_elsewhere("D", bytes.fromhex(KBPK["AES"]), "V0000K0AB00E0000", payload)
    with pytest.raises(KeyBlockError, match="a length its algorithm does not have"):
        import_key(holder(protection_for("D")), "kbpk", block, "imported")
    with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
        open_block(protection_for("D"), block)[1].as_key("opened", "KEY_TRANSPORT", "AES", mode="B")


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "B0079P0TE00E0000",
        "Z0080P0TE00E0000",
        "b0080P0TE00E0000",
        "B0080p0TE00E0000",
        "B0080P9TE00E0000",
        "B0080P0tE00E0000",
        "B0080P0ZE00E0000",
        "B0080P0TZ00E0000",
        "B0080P0T100E0000",
        "B0080P0TE-0E0000",
        "B0080P0TE00X0000",
        "B0080P0TE00E0030",  # no such key context
        "B0080P0TE00E0001",  # the last character is reserved
        "B0080P0TE00EA000",
        "B0080P0TE00E0100",
        "B0080P0TE00E9900",
        "B+080P0TE00E0000",
        "B 80 P0TE00E0000",
        "B٠٠٨٠P0TE00E0000",
    ],
)
def test_malformed_headers(text: str) -> None:
    KeyBlockHeader.parse("B0080P0TE00E0000" + "0" * 64)
    with pytest.raises(KeyBlockError):
        KeyBlockHeader.parse(text + "0" * 64)


@pytest.mark.parametrize(
    ("count", "optional", "expected"),
    [
        (1, "LB08labe", (("LB", "labe"),)),
        (1, "LB04PB04", None),  # what stands behind the count belongs to the key: not whole blocks
        (2, "LB04PB04", (("LB", ""),)),
        (2, "LB06laPB06..PB08....", None),  # one too many
        (2, "LB06laPB0A......", (("LB", "la"),)),
        (1, "PB08....", ()),
        (2, "PB08....LB08labe", None),  # behind the padding
        (2, "LB08labeLB08labe", None),  # twice
        (2, "PB08....PB08....", None),
        (1, "LB0002000Elabe"[:14] + "  ", None),  # 14 long, 16 characters: not padded
        (1, "LB00020010label.", (("LB", "label."),)),  # extended, though short
        (1, "LB0002000Alabel.", (None)),  # ends at its own head: not whole blocks
        (1, "LB00020009label.", None),  # shorter than its own head
        (1, "LB00030000100000", None),  # a length of three bytes
        (1, "LB00010Alabel...", None),
        (1, "LB000200", None),
        (1, "LB03labe", None),
        (1, "LB00labe", None),
        (1, "LBFFlabe", None),
        (1, "LB0alabe..", None),  # hexadecimal is upper-case
        (1, "lb08labe", None),
        (1, "L\u00e908labe", None),
        (1, "LB08la\nb", None),
        (1, "LB08la\x7fb", None),
        (1, "PB08\u00e9...", None),
        (0, "LB08labe", ()),  # eight characters of what would be the payload
    ],
)
def test_optional_blocks(count: int, optional: str, expected: tuple[tuple[str, str], ...] | None) -> None:
    length = 16 + len(optional) + 64
    block = f"B{length:04}P0TE00E{count:02}00{optional}" + "0" * 64
    if expected is None:
        with pytest.raises(KeyBlockError):
            open_block(protection_for("B"), block)
        return
    header, end = KeyBlockHeader.parse(block)
    assert header.optional_blocks == expected
    assert end == 16 + (len(optional) if count else 0)


def test_a_block_has_at_most_9999_characters() -> None:
    key, protection = host_key("PIN_KEY", "3F419E1CB7079442AA37474C2EFBF8B8"), protection_for("B")
    most = 9999 - 16 - 80 - 10
    fitting = KeyBlockHeader("B", "P0", "T", "B", "00", "E", (("LB", "x" * (most - most % 8 - 2)),))
    block = make_block(protection, fitting, key, bytes(6))
    assert open_block(protection, block)[0] == fitting
    assert 9900 < len(block) <= 9999
    for label in ("x" * 9900, "x" * 70000):
        too_long = KeyBlockHeader("B", "P0", "T", "B", "00", "E", (("LB", label),))
        with pytest.raises(KeyBlockError, match="too long"):
            make_block(protection, too_long, key, bytes(6))
    many = tuple((f"{letter}{digit}", "1234") for letter in "ABCDEFGHIJ" for digit in "0123456789")
    with pytest.raises(KeyBlockError, match="too long"):
        make_block(protection, KeyBlockHeader("B", "P0", "T", "B", "00", "E", many), key, bytes(6))


def test_padding_that_does_not_make_whole_blocks_is_a_caller_s_mistake() -> None:
    key = host_key("PIN_KEY", "3F419E1CB7079442AA37474C2EFBF8B8")
    with pytest.raises(KeyBlockError, match="do not make a key block"):
        make_block(protection_for("B"), KeyBlockHeader("B", "P0", "T", "B", "00", "E"), key, bytes(5))


# --- whatever comes in ------------------------------------------------------------------------------------------------

BLOCKS = {version: pin_key_block(version, optional_blocks=(("LB", "label"),)) for version in "ABCDE"}


def refuse_or_open(version: str, text: str) -> None:
    """Nothing but a KeyBlockError ever comes out, unless the text is a good block after all."""
    if text in BLOCKS.values():
        return
    with pytest.raises(KeyBlockError) as refused:
        open_block(protection_for(version), text)
    assert len(text) < 24 or text[16:24] not in str(refused.value)


@given(version=st.sampled_from("ABCDE"), text=st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_text(version: str, text: str) -> None:
    refuse_or_open(version, text)
    refuse_or_open(version, f"{version}{len(text) + 12:04}P0TB00E{text}")
    refuse_or_open(version, f"{version}{len(text) + 16:04}P0TB00E0100{text}")


@given(
    version=st.sampled_from("ABCDE"),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 8), st.text(max_size=8)), min_size=1, max_size=4),
    repair=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_edit_of_a_good_block(version: str, edits: list[tuple[int, int, str]], repair: bool) -> None:
    text = BLOCKS[version]
    for at, gone, put in edits:
        text = text[:at] + put + text[at + gone :]
    refuse_or_open(version, f"{text[:1]}{len(text):04}{text[5:]}" if repair and len(text) > 5 else text)


IDENTIFIERS = st.from_regex(r"[A-OQ-Z][A-Z0-9]", fullmatch=True)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)


@given(version=st.sampled_from("ABCDE"), optional=st.dictionaries(IDENTIFIERS, PRINTABLE, max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_header_is_read_as_it_was_written(version: str, optional: dict[str, str]) -> None:
    header = KeyBlockHeader(version, "B0", "A", "X", "7a", "S", tuple(optional.items()), "2")
    body = "0" * 96
    text = header.text(len(body))
    assert len(text) % CIPHER_BLOCK_BYTES[version] == 0
    assert KeyBlockHeader.parse(text + body) == (header, len(text))


# --- what may be imported ---------------------------------------------------------------------------------------------


def imported(version: str, key: _core.HostKey, kbpk: str | None = None, **changes: Any) -> _core.HostKey:
    fields = {"usage": "K0", "algorithm": "T", "mode": "B", "version_number": "00", "exportability": "E"} | changes
    protection = protection_for(version, kbpk)
    padding = bytes(-(2 + key.length) % 16)
    block = make_block(protection, KeyBlockHeader(version, **fields), key, padding)
    return import_key(holder(protection), "kbpk", block, "imported")[0]


DOUBLE = host_key("DATA_KEY", KBPK["DES"][:32])
TRIPLE = host_key("DATA_KEY", KBPK["DES"])
AES_128 = host_key("DATA_KEY", KBPK["AES"][:32], "AES")
AES_256 = host_key("DATA_KEY", KBPK["AES"], "AES")
HMAC_256 = host_key("MAC_KEY", KBPK["AES"], "HMAC")


@pytest.mark.parametrize(
    ("key", "usage", "algorithm", "mode", "expected"),
    [
        (DOUBLE, "P0", "T", "B", "PIN_KEY"),
        (TRIPLE, "P0", "T", "E", "PIN_KEY"),
        (AES_128, "P0", "A", "D", "PIN_KEY"),
        (DOUBLE, "M0", "T", "C", "MAC_KEY"),
        (DOUBLE, "M1", "T", "G", "MAC_KEY"),
        (DOUBLE, "M3", "T", "V", "MAC_KEY"),
        (TRIPLE, "M6", "T", "C", "MAC_KEY"),
        (AES_256, "M6", "A", "N", "MAC_KEY"),
        (DOUBLE, "C0", "T", "C", "CARD_VERIFICATION"),
        (DOUBLE, "V1", "T", "V", "IBM3624_KEY"),
        (DOUBLE, "V2", "T", "G", "PVV_KEY"),
        (DOUBLE, "E0", "T", "X", "EMV_CRYPTOGRAM"),
        (DOUBLE, "E1", "T", "X", "EMV_CONFIDENTIALITY"),
        (AES_128, "E2", "A", "N", "EMV_INTEGRITY"),
        (DOUBLE, "E4", "T", "X", "EMV_DYNAMIC_NUMBER"),
        (AES_256, "B0", "A", "X", "DUKPT_BASE"),
        (DOUBLE, "B1", "T", "X", "DUKPT_INITIAL"),
        (AES_128, "D0", "A", "B", "DATA_KEY"),
        (TRIPLE, "K0", "T", "D", "KEY_TRANSPORT"),
        (AES_256, "K1", "A", "B", "KEY_BLOCK"),
    ],
)
def test_a_key_is_what_its_header_says(
    key: _core.HostKey, usage: str, algorithm: str, mode: str, expected: str
) -> None:
    made = imported("D", key, usage=usage, algorithm=algorithm, mode=mode)
    assert (made.usage, made.mode, made.label, made.kind) == (expected, mode, "imported", key.kind)
    assert made.same_value(key)


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        (DOUBLE, {"mode": "X"}, "usage K0 has no mode of use X"),
        (DOUBLE, {"usage": "B0"}, "usage B0 has no mode of use B"),
        (DOUBLE, {"usage": "B0", "mode": "Y"}, "usage B0 has no mode of use Y"),
        (DOUBLE, {"usage": "V2", "mode": "E"}, "usage V2 has no mode of use E"),
        (DOUBLE, {"usage": "P0", "mode": "T"}, "usage P0 has no mode of use T"),
        (AES_128, {"usage": "C0", "algorithm": "A", "mode": "C"}, "usage C0 is not of algorithm A"),
        (AES_128, {"usage": "M3", "algorithm": "A", "mode": "C"}, "usage M3 is not of algorithm A"),
        (DOUBLE, {"usage": "M7", "mode": "C"}, "usage M7 is not of algorithm T"),
        (DOUBLE, {"algorithm": "D"}, "usage K0 is not of algorithm D"),
        (DOUBLE, {"algorithm": "S"}, "usage K0 is not of algorithm S"),
        (DOUBLE, {"algorithm": "R"}, "usage K0 is not of algorithm R"),
        (DOUBLE, {"usage": "E5", "mode": "X"}, "no keys of usage E5"),
        (DOUBLE, {"usage": "S0", "mode": "S"}, "no keys of usage S0"),
        (DOUBLE, {"version_number": "c1"}, "a component"),
        (DOUBLE, {"context": "1"}, "for storage"),
        (HMAC_256, {"usage": "M7", "algorithm": "H", "mode": "C"}, "for SHA-256"),
        (HMAC_256, {"usage": "M7", "algorithm": "H", "mode": "C", "optional_blocks": (("HM", "22"),)}, "for SHA-256"),
        (AES_256, {}, "a length its algorithm does not have"),
        (host_key("DATA_KEY", "0123456789ABCDEF"), {}, "a length its algorithm does not have"),
        (host_key("DATA_KEY", "0123456789ABCDEF" * 2), {}, "no more than single DES"),
        (host_key("DATA_KEY", "0123456789ABCDEF0022446688AACCEE"), {}, "no more than single DES"),  # parity apart
    ],
)
def test_refused_on_import(key: _core.HostKey, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyBlockError, match=message):
        imported("D", key, **changes)


def test_an_hmac_key_says_its_hash() -> None:
    changes = {"usage": "M7", "algorithm": "H", "mode": "C", "optional_blocks": (("HM", "21"),)}
    assert imported("D", HMAC_256, **changes).same_value(HMAC_256)


@pytest.mark.parametrize(
    ("version", "kbpk", "key", "algorithm"),
    [
        ("D", KBPK["AES"][:32], AES_256, "A"),
        ("E", KBPK["AES"][:48], AES_256, "A"),
        ("B", KBPK["DES"], AES_128, "A"),
        ("B", KBPK["DES"][:32], TRIPLE, "T"),
        ("A", KBPK["DES"][:32] + KBPK["DES"][:16], TRIPLE, "T"),  # K1 K2 K1 is double-length, however it is written
    ],
)
def test_a_key_is_not_weaker_protected_than_it_is(version: str, kbpk: str, key: _core.HostKey, algorithm: str) -> None:
    with pytest.raises(KeyBlockError, match="stronger than the one that protects it"):
        imported(version, key, kbpk, algorithm=algorithm)
    with pytest.raises(KeyBlockError, match="stronger than the one that protects it"):
        export_key(holder(protection_for(version, kbpk)), "kbpk", key, "E", version="C" if version == "A" else version)


def test_a_protection_key_that_is_single_des() -> None:
    with pytest.raises(KeyBlockError, match="no more than single DES"):
        imported("B", DOUBLE, "0123456789ABCDEF" * 3)


@pytest.mark.parametrize(
    ("value", "parts"),
    [("123", 3), ("121", 2), ("122", 1), ("112", 1), ("111", 1), ("12", 2), ("11", 1), ("1", 1)],
)
def test_independent_parts_of_a_des_key(value: str, parts: int) -> None:
    assert independent_parts(host_key("DATA_KEY", "".join(each * 16 for each in value))) == parts
    with pytest.raises(InvalidCommand):
        independent_parts(AES_128)


# --- what may be exported ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        host_key("PIN_KEY", KBPK["DES"], mode="E"),
        host_key("MAC_KEY", KBPK["DES"][:32], mode="C"),
        host_key("CARD_VERIFICATION", KBPK["DES"][:32]),
        host_key("DUKPT_BASE", KBPK["DES"][:32], mode="X"),
        host_key("MAC_KEY", KBPK["AES"], "AES", "G"),
        host_key("EMV_CRYPTOGRAM", KBPK["AES"][:32], "AES", "X"),
        host_key("MAC_KEY", KBPK["AES"][:40], "HMAC", "V"),
    ],
    ids=lambda key: f"{key.usage}-{key.kind}",
)
def test_exported_and_imported_again(key: _core.HostKey) -> None:
    for version in ("B", "C", "D", "E") if key.kind == "DES" else ("D", "E"):
        keys = holder(protection_for(version))
        optional = [("LB", "a label")]
        block = export_key(keys, "kbpk", key, "E", version=version, version_number="A7", optional_blocks=optional)
        again, header = import_key(keys, "kbpk", block, "again")
        assert block[0] == header.version == version
        assert again.same_value(key)
        assert (again.usage, again.mode, again.kind) == (key.usage, key.mode, key.kind)
        assert (header.version_number, header.exportability, header.context) == ("A7", "E", "0")
        assert header.optional_blocks == (("LB", "a label"), *([("HM", "21")] if key.kind == "HMAC" else []))


@pytest.mark.parametrize(
    ("version", "keys", "characters"),
    [
        ("B", [DOUBLE, TRIPLE], 16 + 2 * (32 + 8)),
        ("D", [DOUBLE, TRIPLE], 16 + 2 * (32 + 16)),
        ("D", [AES_128, AES_256], 16 + 2 * (48 + 16)),
        ("E", [AES_128, AES_256], 16 + 2 * (34 + 16)),
    ],
)
def test_a_block_does_not_tell_the_length_of_its_key(version: str, keys: list[_core.HostKey], characters: int) -> None:
    pool = holder(protection_for(version))
    assert {len(export_key(pool, "kbpk", key, "E", version=version)) for key in keys} == {characters}


def test_the_version_is_chosen_by_the_protection_key() -> None:
    assert export_key(holder(protection_for("B")), "kbpk", DOUBLE, "E")[0] == "B"
    assert export_key(holder(protection_for("D")), "kbpk", DOUBLE, "E")[0] == "D"


def test_two_blocks_of_one_key_differ() -> None:
    pool = holder(protection_for("D"))
    assert export_key(pool, "kbpk", AES_128, "E") != export_key(pool, "kbpk", AES_128, "E")


@psec_warns
def test_psec_opens_what_is_exported() -> None:
    for version, key, value in (
        ("B", TRIPLE, KBPK["DES"]),
        ("C", DOUBLE, KBPK["DES"][:32]),
        ("D", AES_256, KBPK["AES"]),
    ):
        pool = holder(protection_for(version))
        block = export_key(pool, "kbpk", key, "S", version=version, sensitive=True)
        kbpk = bytes.fromhex(KBPK["AES" if version == "D" else "DES"])
        assert psec.unwrap(kbpk, block)[1] == bytes.fromhex(value)


@pytest.mark.parametrize(
    ("key", "arguments", "message"),
    [
        (DOUBLE, {"exportability": "N"}, "not exportable"),
        (DOUBLE, {"exportability": "S"}, "sensitive"),
        (DOUBLE, {"exportability": "?"}, "no such exportability"),
        (DOUBLE, {"version": "A"}, "version A of key blocks is deprecated"),
        (DOUBLE, {"version": "B"}, "not protected by such a key"),
        (DOUBLE, {"version": "Z"}, "no such version"),
        (DOUBLE, {"version_number": "1"}, "two letters or digits"),
        (DOUBLE, {"version_number": "c1"}, "component"),
        (DOUBLE, {"optional_blocks": [("LB", "a"), ("LB", "b")]}, "twice"),
        (DOUBLE, {"optional_blocks": [("PB", "a")]}, "padding block"),
        (DOUBLE, {"optional_blocks": [("LB", "é")]}, "printable"),
        (DOUBLE, {"optional_blocks": [("lb", "a")]}, "identifier"),
        (HMAC_256, {"optional_blocks": [("HM", "10")]}, "SHA-256"),
        (host_key("DATA_KEY", "0123456789ABCDEF"), {}, "of this length"),
        (host_key("DATA_KEY", "0123456789ABCDEF" * 3), {}, "single DES"),
        (host_key("MAC_KEY", "0123456789ABCDEF", "HMAC"), {}, "of this length"),
        (host_key("DATA_KEY", KBPK["AES"][:32], "SM4"), {}, "travels in no key block"),
        (host_key("SEALING", KBPK["AES"], "AES"), {}, "travels in no key block"),
        (host_key("PIN_KEY", KBPK["DES"], mode="X"), {}, "no mode of use X"),
        (host_key("CARD_VERIFICATION", KBPK["AES"], "AES"), {}, "not of algorithm A"),
    ],
)
def test_refused_on_export(key: _core.HostKey, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyBlockError, match=message):
        export_key(holder(protection_for("D")), "kbpk", key, **({"exportability": "E"} | arguments))


def test_the_protection_key_s_usage_and_mode_are_enforced() -> None:
    block = pin_key_block("D")
    with pytest.raises(KeyNotFound):
        import_key({}, "kbpk", block, "imported")
    for key in (host_key("KEY_TRANSPORT", KBPK["AES"], "AES"), protection_for("D", mode="E")):
        with pytest.raises(KeyUsageError):
            import_key(holder(key), "kbpk", block, "imported")
    for key in (host_key("KEY_TRANSPORT", KBPK["AES"], "AES"), protection_for("D", mode="D")):
        with pytest.raises(KeyUsageError):
            export_key(holder(key), "kbpk", DOUBLE, "E")
    import_key(holder(protection_for("D", mode="D")), "kbpk", block, "imported")
    export_key(holder(protection_for("D", mode="E")), "kbpk", DOUBLE, "E")


def test_a_key_in_the_token_protects_no_key_block(hsm: DirectHsm, make_key: Any) -> None:
    label = make_key(KeyUsage.PIN_KEY, KBPK["DES"])
    with pytest.raises(KeyUsageError):
        import_key(hsm.store.keys, label, pin_key_block("B"), "imported")


# --- AES key wrap -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kek_bytes", [16, 24, 32])
@pytest.mark.parametrize("key_bytes", [16, 24, 32, 40, 64])
def test_aes_key_wrap_as_cryptography_does(kek_bytes: int, key_bytes: int) -> None:
    dice = random.Random(kek_bytes * key_bytes)
    kek, value = dice.randbytes(kek_bytes), dice.randbytes(key_bytes)
    transport, key = host_key("KEY_TRANSPORT", kek, "AES"), host_key("MAC_KEY", value, "HMAC")
    wrapped = aes_key_wrap(transport, key)
    assert wrapped == wrap_elsewhere(kek, value)
    assert unwrap_elsewhere(kek, wrapped) == value
    assert aes_key_unwrap(transport, wrapped).as_key("unwrapped", "MAC_KEY", "HMAC", mode="N").same_value(key)
    for at in range(len(wrapped)):
        with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
            aes_key_unwrap(transport, wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :])
        with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
            aes_key_unwrap(transport, wrapped[:at])
    with pytest.raises(KeyBlockError, match=NOT_VERIFIED):
        aes_key_unwrap(transport, wrapped + bytes(72))


def test_aes_key_wrap_enforces_its_keys() -> None:
    wrapped = aes_key_wrap(host_key("KEY_TRANSPORT", KBPK["AES"], "AES"), AES_128)
    with pytest.raises(KeyUsageError):
        aes_key_wrap(host_key("KEY_BLOCK", KBPK["AES"], "AES"), AES_128)
    with pytest.raises(KeyUsageError):
        aes_key_wrap(host_key("KEY_TRANSPORT", KBPK["AES"], "AES", "D"), AES_128)
    with pytest.raises(KeyUsageError):
        aes_key_unwrap(host_key("KEY_TRANSPORT", KBPK["AES"], "AES", "E"), wrapped)
    with pytest.raises(InvalidCommand):
        aes_key_wrap(host_key("KEY_TRANSPORT", KBPK["DES"]), AES_128)
    with pytest.raises(InvalidCommand):
        aes_key_unwrap(host_key("KEY_TRANSPORT", KBPK["DES"]), wrapped)
    with pytest.raises(InvalidCommand):
        aes_key_wrap(host_key("KEY_TRANSPORT", KBPK["AES"], "AES"), host_key("MAC_KEY", "00" * 17, "HMAC"))
