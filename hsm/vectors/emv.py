"""EMV: what commands give is run through commands; keys in between, and what is made with them, through the core."""

from collections.abc import Mapping
from typing import Any, Final

from hsm import _core, _emv
from hsm.vectors.checks import Check, Checks, expect, unhex
from hsm.vectors.workshop import Workshop

Values = Mapping[str, Any]

CRYPTOGRAM: Final = "EMV_CRYPTOGRAM"
PIN_VALUE: Final = "0123456789ABCDEFFEDCBA9876543210"
PIN_PAN: Final = "4000001234567899"
JPOS_DERIVATIONS: Final = {"VSDC(MK)": "card-key", "MCHIP": "mastercard-skd", "EMV_CSKD": "emv-common"}
PADDINGS: Final = {"00": 1, "80": 2, "PaddingType.VISA": 1, "PaddingType.EMV": 2}


def _given(bench: Workshop, value_hex: str) -> _core.HostKey:
    return bench.key(bench.load(CRYPTOGRAM, value_hex))


def _expect_key(bench: Workshop, name: str, key: _core.HostKey, value_hex: str) -> None:
    expect(name, key.same_value(_given(bench, value_hex)), True)


def _card_key(bench: Workshop, issuer_hex: str, option: str, pan: str, psn: str) -> _core.HostKey:
    return _emv.card_key_of(bench.context.token, _given(bench, issuer_hex), option, pan, psn, "card")


def _session_key(bench: Workshop, card: _core.HostKey, derivation: str, diversifier: bytes) -> _core.HostKey:
    return _emv.session_key_of(bench.context.token, card, derivation, diversifier, "session")


# --- emv: one card through everything ---------------------------------------------------------------------------------


def _card(bench: Workshop, inputs: Values, outputs: Values) -> None:
    _keys_of_card(bench, inputs, outputs)
    _cryptograms_of_card(bench, inputs, outputs)


def _keys_of_card(bench: Workshop, inputs: Values, outputs: Values) -> None:
    atc, un = unhex(inputs["atc"]), unhex(inputs["un"])
    card, other = (_card_key(bench, inputs["imk"], option, inputs["pan"], inputs["psn"]) for option in "AB")
    _expect_key(bench, "icc_mk_option_a", card, outputs["icc_mk_option_a"])
    _expect_key(bench, "icc_mk_option_b", other, outputs["icc_mk_option_b"])
    for name, derivation, diversifier in (
        ("sk_common_csk", "emv-common", atc),
        ("sk_mastercard_skd_atc_un", "mastercard-skd", atc + un),
        ("sk_emv2000_tree", "emv2000-tree-4-8", atc),
        ("visa_sm_sk", "visa-sm", atc),
    ):
        _expect_key(bench, name, _session_key(bench, card, derivation, diversifier), outputs[name])
    session = _session_key(bench, card, "emv-common", atc)
    expect("script_mac_8", _emv.script_mac_with(session, unhex(inputs["data"]), 8), unhex(outputs["script_mac_8"]))


def _cryptograms_of_card(bench: Workshop, inputs: Values, outputs: Values) -> None:
    card = (bench.load(CRYPTOGRAM, inputs["imk"]), "A", inputs["pan"], inputs["psn"])
    transaction = (*card, "emv-common", unhex(inputs["atc"]), b"")
    data, arqc = unhex(inputs["data"]), unhex(outputs["arqc_csk_pad80"])
    for padding, name in ((2, "arqc_csk_pad80"), (1, "arqc_csk_pad00")):
        cryptogram = bench.one("generate_cryptograms", *transaction, padding, data)
        expect(name, cryptogram, unhex(outputs[name]))
        bench.one("verify_cryptograms", *transaction, padding, data, cryptogram)
    for name, response in (
        ("arpc_method1", (1, unhex(inputs["arc"]), b"")),
        ("arpc_method2", (2, unhex(inputs["csu"]), unhex(inputs["prop_auth_data"]))),
    ):
        expect(name, bench.one("generate_arpcs", *transaction, arqc, *response), unhex(outputs[name]))
        answered = bench.one("verify_cryptograms_and_respond", *transaction, 2, data, arqc, "emv-common", *response)
        expect(name, answered, unhex(outputs[name]))


# --- cryptograms and card codes of jPOS and pyemv ---------------------------------------------------------------------


def _transaction(bench: Workshop, inputs: Values) -> tuple[Any, ...]:
    """Everything but the derivation."""
    card = (bench.load(CRYPTOGRAM, inputs["imk"]), "A", inputs["pan"], inputs["psn"])
    return (*card, unhex(inputs["atc"]), unhex(inputs["un"]))


def _arqc(bench: Workshop, inputs: Values, outputs: Values) -> None:
    *card, atc, un = _transaction(bench, inputs)
    item = (*card, JPOS_DERIVATIONS[inputs["skd"]], atc, un, PADDINGS[inputs["padding"]], unhex(inputs["data"]))
    expect("arqc", bench.one("generate_cryptograms", *item), unhex(outputs["arqc"]))
    bench.one("verify_cryptograms", *item, unhex(outputs["arqc"]))


def _arpc(bench: Workshop, inputs: Values, outputs: Values) -> None:
    *card, atc, un = _transaction(bench, inputs)
    derivation = "card-key" if inputs.get("arpc_key") == "icc_mk" else JPOS_DERIVATIONS[inputs["skd"]]
    code = unhex(inputs["arc"] if inputs["method"] == 1 else inputs["csu"])
    item = (*card, derivation, atc, un, unhex(inputs["arqc"]), inputs["method"], code, b"")
    expect("arpc", bench.one("generate_arpcs", *item), unhex(outputs["arpc"]))


def _cvc3(bench: Workshop, inputs: Values, outputs: Values) -> None:
    label = bench.load("EMV_DYNAMIC_NUMBER", inputs["imk_cvc3"])
    option = inputs.get("mk_option", "A")
    track, un, atc = (unhex(inputs[name]) for name in ("track_template", "un", "atc"))
    item = (label, option, inputs["pan"], inputs["psn"], track, un, atc)
    for name, output in outputs.items():
        if name == "icc_mk_option_a":
            _expect_key(bench, name, _card_key(bench, inputs["imk_cvc3"], option, inputs["pan"], inputs["psn"]), output)
        else:
            expect(name, bench.one("cvc3s", *item), output.zfill(5))
            bench.one("verify_cvc3s", *item, output.zfill(5))


def _dcvv(bench: Workshop, inputs: Values, outputs: Values) -> None:
    psn = inputs["psn"] if inputs["psn"].isdecimal() else ""
    card = (bench.load("EMV_DYNAMIC_NUMBER", inputs["imk"]), inputs["mk_option"], inputs["pan"], psn)
    item = (*card, inputs["atc"], inputs["expiry"], inputs["service_code"])
    expect("dcvv", bench.one("dcvvs", *item), outputs["dcvv"])
    bench.one("verify_dcvvs", *item, outputs["dcvv"])


# --- single functions, with the keys that they take -------------------------------------------------------------------


def _text(inputs: Values, name: str) -> str:
    """An optional input; "None" stands for one that is missing."""
    value = str(inputs.get(name, "None"))
    return "" if value == "None" else value


def _traced_card_key(bench: Workshop, inputs: Values, outputs: Values) -> None:
    option = inputs["function"][-1].upper()
    key = _card_key(bench, inputs["iss_mk"], option, inputs["pan"], _text(inputs, "psn"))
    _expect_key(bench, "result", key, outputs["result"])


def _traced_common(bench: Workshop, inputs: Values, outputs: Values) -> None:
    key = _session_key(bench, _given(bench, inputs["icc_mk"]), "emv-common", unhex(inputs["r"]))
    _expect_key(bench, "result", key, outputs["result"])


def _traced_visa(bench: Workshop, inputs: Values, outputs: Values) -> None:
    key = _session_key(bench, _given(bench, inputs["icc_mk"]), "visa-sm", unhex(inputs["atc"]))
    _expect_key(bench, "result", key, outputs["result"])


def _traced_tree(bench: Workshop, inputs: Values, outputs: Values) -> None:
    branches, height = int(inputs["branch_factor"]), int(inputs["height"])
    card, atc, start = _given(bench, inputs["icc_mk"]), unhex(inputs["atc"]), unhex(inputs["iv"])
    key = _emv.tree_key_of(bench.context.token, card, atc, branches, height, start, "session")
    _expect_key(bench, "result", key, outputs["result"])


def _traced_cryptogram(bench: Workshop, inputs: Values, outputs: Values) -> None:
    padding = PADDINGS[inputs.get("padding_type", "PaddingType.EMV")]
    cryptogram = _emv.cryptogram_with(_given(bench, inputs["sk_ac"]), padding, unhex(inputs["data"]))
    expect("result", cryptogram[: int(inputs.get("length", 8))], unhex(outputs["result"]))


def _traced_arpc(bench: Workshop, inputs: Values, outputs: Values) -> None:
    method = int(inputs["function"][-1])
    code = unhex(inputs["arpc_rc"] if method == 1 else inputs["csu"])
    proprietary = unhex(_text(inputs, "prop_auth_data"))
    arpc = _emv.arpc_with(_given(bench, inputs["sk_ac"]), method, unhex(inputs["arqc"]), code, proprietary)
    expect("result", arpc, unhex(outputs["result"]))


def _traced_mac(bench: Workshop, inputs: Values, outputs: Values) -> None:
    length = int(inputs.get("length", 8))
    mac = _emv.script_mac_with(_given(bench, inputs["sk_smi"]), unhex(inputs["command"]), length)
    expect("result", mac, unhex(outputs["result"]))


def _traced_encipherment(bench: Workshop, inputs: Values, outputs: Values) -> None:
    encipherment = inputs["encryption_type"].removeprefix("EncryptionType.").lower()
    session, data = _given(bench, inputs["sk_smc"]), unhex(inputs["command_data"])
    enciphered = _emv.encipher_with(bench.context.token, session, encipherment, data)
    expect("result", enciphered, unhex(outputs["result"]))


def _traced_pin_block(bench: Workshop, inputs: Values, outputs: Values) -> None:
    """The core's clear block never shows: the vector's is enciphered under the same key, and the results compared."""
    token, session = bench.context.token, _given(bench, PIN_VALUE)
    pin_key = bench.key(bench.load("PIN_KEY", PIN_VALUE))
    current = _text(inputs, "current_pin")
    made = _emv.encipher_pin_with(
        token,
        session,
        _given(bench, inputs["icc_mk_ac"]),
        "vis",
        "mastercard",
        pin_key,
        0,
        PIN_PAN,
        _format_0(token, session, inputs["pin"]),
        _format_0(token, session, current) if current else b"",
    )
    expect("result", made, _emv.encipher_with(token, session, "mastercard", unhex(outputs["result"])))


def _format_0(token: _core.Token, key: _core.HostKey, pin: str) -> bytes:
    """A PIN block of format 0 (ISO 9564-1); one block of CBC from zeros is one of ECB."""
    field = unhex(f"0{len(pin):X}{pin:F<14}")
    account = unhex("0000" + PIN_PAN[-13:-1])
    clear = bytes(left ^ right for left, right in zip(field, account, strict=True))
    return _emv.encipher_with(token, key, "mastercard", clear)


def _traced_cvc3(bench: Workshop, inputs: Values, outputs: Values) -> None:
    track, un, atc = (unhex(inputs[name]) for name in ("track_template", "un", "atc"))
    expect("result", _emv.cvc3_with(_given(bench, inputs["icc_cvc3"]), track, un, atc), outputs["result"].zfill(5))


TRACED: Final[Mapping[str, Check]] = {
    "pyemv.kd.derive_icc_mk_a": _traced_card_key,
    "pyemv.kd.derive_icc_mk_b": _traced_card_key,
    "pyemv.kd.derive_common_sk": _traced_common,
    "pyemv.kd.derive_visa_sm_sk": _traced_visa,
    "pyemv.kd.derive_emv2000_tree_sk": _traced_tree,
    "pyemv.ac.generate_ac": _traced_cryptogram,
    "pyemv.ac.generate_arpc_1": _traced_arpc,
    "pyemv.ac.generate_arpc_2": _traced_arpc,
    "pyemv.sm.generate_command_mac": _traced_mac,
    "pyemv.sm.encrypt_command_data": _traced_encipherment,
    "pyemv.sm.format_vis_pin_block": _traced_pin_block,
    "pyemv.cvv.generate_cvc3": _traced_cvc3,
}


def _traced(bench: Workshop, inputs: Values, outputs: Values) -> None:
    expect("the outputs' shape", set(outputs), {"result"})
    TRACED[inputs["function"]](bench, inputs, outputs)


CHECKS: Final[Checks] = {
    "emv": _card,
    "emv_arqc": _arqc,
    "emv_arpc": _arpc,
    "emv_hsm_traced": _traced,
    "cvc3": _cvc3,
    "dcvv": _dcvv,
}
