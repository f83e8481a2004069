from typing import Any

import pytest

from hsm import algorithms
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.keys import KeyUsage

KEY = "0123456789ABCDEFFEDCBA9876543210"


def test_retail_mac(hsm: DirectHsm, make_key: Any, vectors: Any) -> None:
    for vector in vectors["retail_mac_alg3"]:
        key, data = make_key(KeyUsage.MAC_KEY, vector["inputs"]["key"]), bytes.fromhex(vector["inputs"]["data"])
        for name, mac_hex in vector["outputs"].items():
            padding = name[-1] if name.startswith("mac_padding") else str(vector["inputs"].get("padding", 1))
            [mac] = hsm.run_now("macs", [(key, f"iso9797-alg3-pad{padding}", data)])
            assert isinstance(mac, bytes)
            assert mac.hex().upper()[: len(mac_hex)] == mac_hex, (vector["id"], name)


def test_cbc_mac_with_triple_des(hsm: DirectHsm, make_key: Any, vectors: Any) -> None:
    for vector in vectors["cbc_mac_alg1_tdes"]:
        key, data = make_key(KeyUsage.MAC_KEY, vector["inputs"]["key"]), bytes.fromhex(vector["inputs"]["data"])
        for padding in (1, 2):
            [mac] = hsm.run_now("macs", [(key, f"iso9797-alg1-pad{padding}", data)])
            assert isinstance(mac, bytes)
            assert mac.hex().upper() == vector["outputs"][f"mac_padding{padding}"], vector["id"]


def test_key_check_values(hsm: DirectHsm, make_key: Any, vectors: Any) -> None:
    for vector in vectors["kcv"]:
        for usage in (KeyUsage.MAC_KEY, KeyUsage.PIN_KEY, KeyUsage.KEY_TRANSPORT):
            label = make_key(usage, vector["inputs"]["key"])
            assert hsm.key_check_value(label) == vector["outputs"]["tdes_kcv"], vector["id"]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 200])
def test_financial_mac_is_the_retail_mac_in_hexadecimal(hsm: DirectHsm, make_key: Any, length: int) -> None:
    key, data = make_key(KeyUsage.MAC_KEY, KEY), bytes(range(length))
    [whole, shaped] = hsm.run_now(
        "macs", [(key, algorithms.RETAIL_MAC_PADDING_1, data), (key, algorithms.CUP_FINANCIAL, data)]
    )
    assert isinstance(whole, bytes)
    assert shaped == whole[:4].hex().upper().encode()


def test_single_length_key_makes_a_cbc_mac(hsm: DirectHsm, make_key: Any) -> None:
    """FIPS PUB 113, annex 2: DES-CBC MAC of "7654321 Now is the time for " under 0123456789ABCDEF is F1D30F68…"""
    key = make_key(KeyUsage.MAC_KEY, KEY[:16])
    data = b"7654321 Now is the time for "
    [mac, financial, retail] = hsm.run_now(
        "macs",
        [
            (key, algorithms.CBC_MAC_PADDING_1, data),
            (key, algorithms.CUP_FINANCIAL, data),
            (key, algorithms.RETAIL_MAC_PADDING_1, data),
        ],
    )
    assert mac == bytes.fromhex("F1D30F6849312CA4")
    assert financial == b"F1D30F68"
    assert isinstance(retail, InvalidCommand)


def test_verification(hsm: DirectHsm, make_key: Any) -> None:
    key = make_key(KeyUsage.MAC_KEY, KEY)
    [mac] = hsm.run_now("macs", [(key, algorithms.CUP_FINANCIAL, b"data")])
    assert isinstance(mac, bytes)
    results = hsm.run_now(
        "verify_macs",
        [
            (key, algorithms.CUP_FINANCIAL, b"data", mac),
            (key, algorithms.CUP_FINANCIAL, b"Data", mac),
            (key, algorithms.CUP_FINANCIAL, b"data", mac[:7]),
            (key, algorithms.CUP_FINANCIAL, b"data", b""),
            (key, algorithms.CUP_FINANCIAL, b"data", mac.lower()),
            ("nobody", algorithms.CUP_FINANCIAL, b"data", mac),
            (key, algorithms.CUP_FINANCIAL, b"data", mac),
        ],
    )
    assert [type(each) for each in results] == [type(None), *[MacMismatch] * 4, KeyNotFound, type(None)]


@pytest.mark.parametrize("name", ["", "cup", "iso9797-alg3", "iso9797-alg3-pad4", "iso9797-alg2-pad1", "x" * 500])
def test_unknown_algorithm(hsm: DirectHsm, make_key: Any, name: str) -> None:
    [result] = hsm.run_now("macs", [(make_key(KeyUsage.MAC_KEY, KEY), name, b"")])
    assert isinstance(result, InvalidCommand)
    assert len(str(result)) < 100


def test_only_mac_keys_make_macs(hsm: DirectHsm, make_key: Any) -> None:
    for usage in (KeyUsage.PIN_KEY, KeyUsage.KEY_TRANSPORT, KeyUsage.SEALING, KeyUsage.HASHING):
        key = make_key(usage, KEY * (2 if usage is KeyUsage.HASHING else 1))
        for algorithm in (algorithms.CUP_FINANCIAL, algorithms.CUP_KEY_RESET, algorithms.CBC_MAC_PADDING_1):
            [result] = hsm.run_now("macs", [(key, algorithm, b"data")])
            assert isinstance(result, KeyUsageError)


def test_too_much_data(hsm: DirectHsm, make_key: Any) -> None:
    key = make_key(KeyUsage.MAC_KEY, KEY)
    results = hsm.run_now(
        "macs", [(key, algorithms.CUP_FINANCIAL, bytes(algorithms.MAX_DATA_BYTES + size)) for size in (0, 1)]
    )
    assert [type(each) for each in results] == [bytes, InvalidCommand]
