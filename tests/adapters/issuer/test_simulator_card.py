"""The issuer's and the card's cryptography, each against vectors that neither of them made."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.issuer import simulator_card as issuer
from benchmarks import software_card as card

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "crypto.json").read_text())["vectors"]


def of(category: str) -> list[Any]:
    found = [
        pytest.param(each["inputs"], each["outputs"], id=each["id"]) for each in VECTORS if each["category"] == category
    ]
    assert found
    return found


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(("given", "expected"), of("visa_pvv"))
def test_pvv(given: dict[str, str], expected: dict[str, str]) -> None:
    key = raw(given["pvk"])
    assert issuer.pin_verification_value(key, given["pvki"], given["pan"], given["pin"]) == expected["pvv"]
    keys = card.IssuerKeys(bytes(16), bytes(16), key, given["pvki"])
    assert card.discretionary_data(keys, given["pan"], "3012", given["pin"])[1:5] == expected["pvv"]


@pytest.mark.parametrize(("given", "expected"), of("cvv"))
def test_cvv(given: dict[str, str], expected: dict[str, str]) -> None:
    key, pan, expiry = raw(given["cvk"]), given["pan"], given["expiry_as_used"]
    assert issuer.card_verification_value(key, pan, expiry, given["service_code"]) == expected["cvv"]
    keys = card.IssuerKeys(bytes(16), key, bytes(16))
    assert card.discretionary_data(keys, pan, expiry, "1234")[5:] == issuer.card_verification_value(
        key, pan, expiry, "999"
    )


@pytest.mark.parametrize(("given", "expected"), of("emv"))
def test_keys_cryptogram_and_response(given: dict[str, str], expected: dict[str, str]) -> None:
    master = issuer.card_key(raw(given["imk"]), given["pan"], given["psn"])
    session = issuer.session_key(master, raw(given["atc"]))
    assert (master, session) == (raw(expected["icc_mk_option_a"]), raw(expected["sk_common_csk"]))
    arqc = issuer.application_cryptogram(session, raw(given["data"]))
    assert arqc == raw(expected["arqc_csk_pad80"])
    assert issuer.response_cryptogram(session, arqc, raw(given["arc"])) == raw(expected["arpc_method1"])
    by_card = card.session_key(card.master_key(raw(given["imk"]), given["pan"], given["psn"]), raw(given["atc"]))
    assert card.mac(by_card, raw(given["data"])) == arqc


def test_published_arqc_and_arpc() -> None:
    """jPOS: common session key, padding method 2, ARPC method 1."""
    arqc, arpc = (next(each for each in VECTORS if each["id"] == name) for name in ("emv_arqc-006", "emv_arpc-002"))
    given = arqc["inputs"]
    session = issuer.session_key(issuer.card_key(raw(given["imk"]), given["pan"], given["psn"]), raw(given["atc"]))
    cryptogram = issuer.application_cryptogram(session, raw(given["data"]))
    assert cryptogram == raw(arqc["outputs"]["arqc"]) == raw(arpc["inputs"]["arqc"])
    assert issuer.response_cryptogram(session, cryptogram, raw(arpc["inputs"]["arc"])) == raw(arpc["outputs"]["arpc"])
