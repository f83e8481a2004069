"""Working keys that are made for a terminal and sent under its own key: what it makes of them, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from hsm import algorithms
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, PinFormatError
from hsm.keys import KeyState, KeyUsage
from hsm.token import create_token
from hsm.usages import Exportability

TMK = "terminal/m/t/tmk"
TPK, TAK = ("terminal/m/t/tpk", "PIN_KEY", "TDES-2KEY"), ("terminal/m/t/tak", "MAC_KEY", "DES")


def ecb(key: bytes, data: bytes, encrypt: bool = False) -> bytes:
    cipher = Cipher(TripleDES({8: key * 3, 16: key + key[:8], 24: key}[len(key)]), modes.ECB())
    work = cipher.encryptor() if encrypt else cipher.decryptor()
    return work.update(data) + work.finalize()


@pytest.fixture
def sign_on(key_reset: Any) -> dict[str, bytes]:
    return {name[:-4]: bytes.fromhex(value) for name, value in key_reset["pos_sign_on"].items()}


@pytest.fixture
async def switch(tmp_path: Path, sign_on: dict[str, bytes]) -> Any:
    """An HSM with the published terminal master key."""
    hsm = DirectHsm.open(create_token(tmp_path / "token"))
    mask = bytes(range(16))
    parts = [mask, bytes(a ^ b for a, b in zip(sign_on["tmk"], mask, strict=True))]
    hsm.store.import_components(TMK, KeyUsage.KEY_TRANSPORT, parts)
    yield hsm
    hsm.close()


async def test_the_published_sign_on_reads_as_we_write_it(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    """TPK 16 and 4 check bytes, TAK 8 and zeros to 16 and 4 check bytes; both checks are E(key, zeros)."""
    de62 = sign_on["de62"]
    assert ecb(sign_on["tmk"], de62[:16]) == sign_on["tpk"]
    assert ecb(sign_on["tmk"], de62[20:28]) == sign_on["tak"]
    assert de62[16:20] == ecb(sign_on["tpk"], bytes(8), encrypt=True)[:4]
    assert (de62[28:36], de62[36:]) == (bytes(8), ecb(sign_on["tak"], bytes(8), encrypt=True)[:4])
    kcv = await switch.import_working_key("published/tpk", "PIN_KEY", TMK, de62[:16])
    assert kcv == de62[16:19].hex().upper()


async def test_what_the_terminal_deciphers_works(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    (tpk_sent, tpk_check), (tak_sent, tak_check) = await switch.make_working_keys(TMK, [TPK, TAK])
    tpk, tak = ecb(sign_on["tmk"], tpk_sent), ecb(sign_on["tmk"], tak_sent)
    assert (len(tpk), len(tak)) == (16, 8)
    assert tpk_check == ecb(tpk, bytes(8), encrypt=True)[:4]
    assert tak_check == ecb(tak, bytes(8), encrypt=True)[:4]
    assert switch.key_check_value(TPK[0]) == tpk_check[:3].hex().upper()
    # The ECB MAC, by hand, over one block.
    block = b"\x12\x34\x56\x78\x90\xab\xcd\xef"
    first, second = block.hex().upper().encode()[:8], block.hex().upper().encode()[8:]
    inner = bytes(a ^ b for a, b in zip(ecb(tak, first, encrypt=True), second, strict=True))
    expected = ecb(tak, inner, encrypt=True).hex().upper()[:8].encode()
    assert await switch.macs([(TAK[0], algorithms.CUP_ECB, block)]) == [expected]
    # A PIN under the terminal's key: PIN 123456 of 6225880000000011, ISO 9564 format 0.
    switch.store.generate("zone", KeyUsage.PIN_KEY, "TDES-2KEY")
    pin_block = bytes(
        a ^ b for a, b in zip(bytes.fromhex("06123456FFFFFFFF"), bytes.fromhex("0000588000000001"), strict=True)
    )
    enciphered = ecb(tpk, pin_block, encrypt=True)
    [translated] = await switch.translate_pins([(TPK[0], 0, "zone", 0, enciphered, "6225880000000011")])
    assert isinstance(translated, bytes)


async def test_keys_are_fresh_and_those_before_serve_what_is_in_flight(switch: DirectHsm) -> None:
    first = await switch.make_working_keys(TMK, [TPK, TAK])
    [mac] = await switch.macs([(TAK[0], algorithms.CUP_ECB, b"in flight")])
    second = await switch.make_working_keys(TMK, [TPK, TAK])
    assert not {sent for sent, _ in first} & {sent for sent, _ in second}
    assert isinstance(mac, bytes)
    assert await switch.verify_macs([(TAK[0], algorithms.CUP_ECB, b"in flight", mac)]) == [None]
    await switch.make_working_keys(TMK, [TPK, TAK])
    [refusal] = await switch.verify_macs([(TAK[0], algorithms.CUP_ECB, b"in flight", mac)])
    assert refusal is not None
    states = [each.state for each in switch.store.inventory() if each.label == TPK[0]]
    assert sorted(states) == sorted([KeyState.CURRENT, KeyState.PREVIOUS, KeyState.RETIRED])


async def test_a_terminals_pin_key_deciphers_only(switch: DirectHsm) -> None:
    await switch.make_working_keys(TMK, [TPK, TAK])
    switch.store.generate("zone", KeyUsage.PIN_KEY, "TDES-2KEY")
    [refused] = await switch.translate_pins([("zone", 0, TPK[0], 0, bytes(8), "6225880000000011")])
    assert isinstance(refused, KeyUsageError | PinFormatError)
    assert "mode of use" in str(refused)


@pytest.mark.parametrize(
    ("under", "keys", "error"),
    [
        (TMK, [("terminal/x", "KEY_TRANSPORT", "TDES-2KEY")], KeyUsageError),
        (TMK, [("terminal/x", "SEALING", "AES-256")], KeyUsageError),
        (TMK, [("terminal/x", "PVV_KEY", "TDES-2KEY")], KeyUsageError),
        (TMK, [("terminal/x", "nonsense", "DES")], KeyUsageError),
        (TMK, [("terminal/x", "PIN_KEY", "DES")], InvalidCommand),
        (TMK, [("terminal/x", "PIN_KEY", "AES-128")], KeyUsageError),
        (TMK, [("terminal/x", "MAC_KEY", "SM4")], KeyUsageError),
        (TMK, [("terminal/x", "MAC_KEY", "TDES-3KEY")], KeyUsageError),
        (TMK, [("terminal/x", "MAC_KEY", "no such")], InvalidCommand),
        (TMK, [("hsm/storage", "MAC_KEY", "DES")], InvalidCommand),
        (TMK, [TAK, TAK], InvalidCommand),
        (TMK, [], InvalidCommand),
        ("nobody", [TAK], KeyNotFound),
        ("zone", [TAK], KeyUsageError),
        ("only-deciphers", [TAK], KeyUsageError),
        (TMK, [("zone", "PIN_KEY", "TDES-2KEY")], KeyUsageError),
        (TMK, [("zone", "MAC_KEY", "TDES-2KEY")], KeyUsageError),
    ],
)
async def test_what_does_not_leave(
    switch: DirectHsm, under: str, keys: list[tuple[str, str, str]], error: type[Exception]
) -> None:
    switch.store.generate("zone", KeyUsage.PIN_KEY, "TDES-2KEY")
    switch.store.generate("only-deciphers", KeyUsage.KEY_TRANSPORT, "TDES-2KEY", mode="D")
    before = switch.store.inventory()
    with pytest.raises(error):
        await switch.make_working_keys(under, keys)
    assert switch.store.inventory() == before
    last = switch.store.audit_lines()[-1]
    assert (last.event.action, last.phase) == ("make working keys", "failed")


async def test_a_transport_key_on_the_host_serves_as_well(switch: DirectHsm, sign_on: dict[str, bytes]) -> None:
    mask = bytes(range(16))
    parts = [mask, bytes(a ^ b for a, b in zip(sign_on["tmk"], mask, strict=True))]
    switch.store.import_components("host/tmk", KeyUsage.KEY_TRANSPORT, parts, exportability=Exportability.TRUSTED)
    [(sent, check)] = await switch.make_working_keys("host/tmk", [TPK])
    assert ecb(ecb(sign_on["tmk"], sent), bytes(8), encrypt=True)[:4] == check
