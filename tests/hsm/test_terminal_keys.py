"""Working keys of terminals: what a terminal makes of them, what serves with them, what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from hsm import algorithms
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch, PinFormatError, TooManyFailures
from hsm.keys import KeyUsage
from hsm.token import create_token
from hsm.usages import Exportability

TMK, STORAGE, ZONE, OWNER = "terminal/m/t/tmk", "terminals/storage", "terminals/pin", "m/t"
PIN, MAC = ("PIN_KEY", "TDES-2KEY"), ("MAC_KEY", "DES")
PAN = "6225880000000011"


def ecb(key: bytes, data: bytes, encrypt: bool = False) -> bytes:
    cipher = Cipher(TripleDES({8: key * 3, 16: key + key[:8], 24: key}[len(key)]), modes.ECB())
    work = cipher.encryptor() if encrypt else cipher.decryptor()
    return work.update(data) + work.finalize()


def halves(value: bytes) -> list[bytes]:
    mask = bytes(range(len(value)))
    return [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))]


@pytest.fixture(scope="module")
def sign_on(key_reset: Any) -> dict[str, bytes]:
    return {name[:-4]: bytes.fromhex(value) for name, value in key_reset["pos_sign_on"].items()}


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory, sign_on: dict[str, bytes]) -> Iterator[DirectHsm]:
    """An HSM with the published terminal master key."""
    hsm = DirectHsm.open(create_token(tmp_path_factory.mktemp("terminal-keys") / "token"))
    hsm.store.import_components(TMK, KeyUsage.KEY_TRANSPORT, halves(sign_on["tmk"]))
    hsm.store.generate(STORAGE, KeyUsage.KEY_STORAGE)
    hsm.store.generate(ZONE, KeyUsage.PIN_KEY)
    hsm.store.generate("receiving", KeyUsage.KEY_TRANSPORT, "TDES-2KEY", mode="D")
    hsm.store.import_components(
        "host/tmk", KeyUsage.KEY_TRANSPORT, halves(sign_on["tmk"]), exportability=Exportability.TRUSTED
    )
    yield hsm
    hsm.close()


async def made(switch: DirectHsm, *kinds: tuple[str, str], owner: str = OWNER) -> list[tuple[bytes, bytes, bytes]]:
    results = await switch.run("make_terminal_keys", [(TMK, STORAGE, owner, *kind) for kind in kinds])
    assert not any(isinstance(each, Exception) for each in results), results
    return results


async def test_the_published_sign_on_reads_as_we_write_it(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    """TPK 16 and 4 check bytes, TAK 8 and zeros to 16 and 4 check bytes; both checks are E(key, zeros)."""
    de62 = sign_on["de62"]
    assert ecb(sign_on["tmk"], de62[:16]) == sign_on["tpk"]
    assert ecb(sign_on["tmk"], de62[20:28]) == sign_on["tak"]
    assert de62[16:20] == ecb(sign_on["tpk"], bytes(8), encrypt=True)[:4]
    assert (de62[28:36], de62[36:]) == (bytes(8), ecb(sign_on["tak"], bytes(8), encrypt=True)[:4])
    kcv = await switch.import_working_key("published/tpk", "PIN_KEY", TMK, de62[:16])
    assert kcv == de62[16:19].hex().upper()


@pytest.mark.parametrize("under", [TMK, "host/tmk"])
async def test_what_the_terminal_deciphers_works(switch: DirectHsm, sign_on: dict[str, bytes], under: str) -> None:
    items = [(under, STORAGE, OWNER, *kind) for kind in (PIN, MAC, ("MAC_KEY", "TDES-2KEY"))]
    for (sent, check, sealed), length in zip(await switch.run("make_terminal_keys", items), (16, 8, 16), strict=True):
        clear = ecb(sign_on["tmk"], sent)
        assert (len(clear), check) == (length, ecb(clear, bytes(8), encrypt=True)[:4])
        assert clear not in sealed
        assert all(byte.bit_count() % 2 for byte in clear)  # odd parity


async def test_a_mac_by_hand(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    [(sent, _, sealed)] = await made(switch, MAC)
    tak, block = ecb(sign_on["tmk"], sent), b"\x12\x34\x56\x78\x90\xab\xcd\xef"
    first, second = block.hex().upper().encode()[:8], block.hex().upper().encode()[8:]
    inner = bytes(a ^ b for a, b in zip(ecb(tak, first, encrypt=True), second, strict=True))
    expected = ecb(tak, inner, encrypt=True).hex().upper()[:8].encode()
    item = (STORAGE, OWNER, sealed, algorithms.CUP_ECB, block)
    assert await switch.run("terminal_macs", [item]) == [expected]
    right, wrong = await switch.run("verify_terminal_macs", [(*item, expected), (*item, b"00000000")])
    assert right is None
    assert type(wrong) is MacMismatch


async def test_a_pin_of_the_terminal(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    """PIN 123456, ISO 9564 format 0; the zone's block is the one that a known key's block becomes."""
    [(sent, _, sealed)] = await made(switch, PIN)
    clear = (0x06123456FFFFFFFF ^ 0x0000588000000001).to_bytes(8)
    known = bytes(range(16, 32))
    if "known" not in switch.store:
        switch.store.import_components("known", KeyUsage.PIN_KEY, halves(known))
    expected = await switch.translate_pins([("known", 0, ZONE, 0, ecb(known, clear, encrypt=True), PAN)])
    block = ecb(ecb(sign_on["tmk"], sent), clear, encrypt=True)
    item = (STORAGE, OWNER, sealed, 0, ZONE, 0, block, PAN)
    assert await switch.run("translate_terminal_pins", [item]) == expected
    for other in ((*item[:6], bytes(8), PAN), (*item[:7], "6225880000000099")):
        [refused] = await switch.run("translate_terminal_pins", [other])
        assert type(refused) is PinFormatError


async def test_each_is_fresh_and_an_older_one_serves_as_long_as_it_is_kept(switch: DirectHsm) -> None:
    first, second = await made(switch, MAC, MAC)
    assert first[0] != second[0]
    macs = [
        (await switch.run("terminal_macs", [(STORAGE, OWNER, each[2], algorithms.CUP_ECB, b"data")]))[0]
        for each in (first, second, first)
    ]
    assert macs[0] == macs[2] != macs[1]


async def test_a_sealed_key_is_bound_to_its_owner_and_its_usage(switch: DirectHsm) -> None:
    (_, _, pin_key), (_, _, mac_key) = await made(switch, PIN, MAC)
    broken = mac_key[:-1] + bytes([mac_key[-1] ^ 1])
    for owner, sealed in (("m/other", mac_key), (OWNER, pin_key), (OWNER, broken), (OWNER, b""), (OWNER, bytes(36))):
        item = (STORAGE, owner, sealed, algorithms.CUP_ECB, b"data")
        [no_mac], [unverified] = (
            await switch.run("terminal_macs", [item]),
            await switch.run("verify_terminal_macs", [(*item, b"00000000")]),
        )
        assert (type(no_mac), type(unverified)) == (MacMismatch, MacMismatch)
    [refused] = await switch.run("translate_terminal_pins", [(STORAGE, OWNER, mac_key, 0, ZONE, 0, bytes(8), PAN)])
    assert type(refused) is MacMismatch


async def test_nothing_is_stored_for_them(switch: DirectHsm) -> None:
    before = switch.store.inventory()
    await made(switch, *(50 * [PIN, MAC]))
    assert switch.store.inventory() == before


async def test_guessing_at_a_terminals_mac_runs_dry(switch: DirectHsm) -> None:
    """The budget is the terminal's own: another one's messages are still verified."""
    [(_, _, sealed)] = await made(switch, MAC, owner="m/guessed")
    item = (STORAGE, "m/guessed", sealed, algorithms.CUP_ECB, b"data", b"00000000")
    results = await switch.run("verify_terminal_macs", 1100 * [item])
    assert type(results[-1]) is TooManyFailures
    [(_, _, sealed)] = await made(switch, MAC)
    [mac] = await switch.run("terminal_macs", [(STORAGE, OWNER, sealed, algorithms.CUP_ECB, b"data")])
    assert await switch.run("verify_terminal_macs", [(STORAGE, OWNER, sealed, algorithms.CUP_ECB, b"data", mac)]) == [
        None
    ]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ((TMK, STORAGE, OWNER, "KEY_TRANSPORT", "TDES-2KEY"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "SEALING", "AES-256"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "PVV_KEY", "TDES-2KEY"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "nonsense", "DES"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "PIN_KEY", "DES"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "PIN_KEY", "AES-128"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "MAC_KEY", "TDES-3KEY"), KeyUsageError),
        ((TMK, STORAGE, OWNER, "MAC_KEY", "no such"), KeyUsageError),
        ((TMK, STORAGE, "", *MAC), InvalidCommand),
        ((TMK, STORAGE, "a\nb", *MAC), InvalidCommand),
        ((TMK, STORAGE, "x" * 129, *MAC), InvalidCommand),
        (("nobody", STORAGE, OWNER, *MAC), KeyNotFound),
        ((ZONE, STORAGE, OWNER, *MAC), KeyUsageError),
        (("receiving", STORAGE, OWNER, *MAC), KeyUsageError),
        ((STORAGE, STORAGE, OWNER, *MAC), KeyUsageError),
        ((TMK, "nobody", OWNER, *MAC), KeyNotFound),
        ((TMK, "hsm/storage", OWNER, *MAC), KeyUsageError),
        ((TMK, TMK, OWNER, *MAC), KeyUsageError),
        ((TMK, "host/tmk", OWNER, *MAC), KeyUsageError),
    ],
)
async def test_what_is_not_made(switch: DirectHsm, item: tuple[str, ...], error: type[Exception]) -> None:
    good = (TMK, STORAGE, OWNER, *MAC)
    before, refused, after = await switch.run("make_terminal_keys", [good, item, good])
    assert type(refused) is error
    assert not isinstance(before, Exception)
    assert not isinstance(after, Exception)
