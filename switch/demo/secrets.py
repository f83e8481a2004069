"""The development keys: made at first start, shared by the token and the simulators, never committed.

A real network hands its keys over in components at a ceremony; here the simulators stand for it, so the clear values
lie in one file, 0600, that only they and the demo's terminal read.
"""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.software_card import IssuerKeys
from hsm.errors import KeyNotFound
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, open_token, write_atomically
from switch.own_keys import provide_own_keys

ACQUIRER = "demo"
ISSUER = "demo"
_LENGTHS = {
    "unionpay_mmk": 16, "acquirer_zpk": 16, "issuer_zpk": 16, "apiv3_key": 32,
    "issuer_ac": 16, "issuer_cvv": 16, "issuer_pvv": 16,
}  # fmt: skip
_SIGNING = ("alipay/app", "wechat/merchant")


@dataclass(frozen=True, slots=True)
class SharedKeys:
    """Clear DES keys, 16 bytes each, and the public keys of what the token signs with (PEM).

    issuer_ac, issuer_cvv, issuer_pvv: what the demo issuer's cards were personalized with; the token has none of them.
    """

    unionpay_mmk: bytes = field(repr=False)
    acquirer_zpk: bytes = field(repr=False)
    issuer_zpk: bytes = field(repr=False)
    apiv3_key: bytes = field(repr=False)
    issuer_ac: bytes = field(repr=False)
    issuer_cvv: bytes = field(repr=False)
    issuer_pvv: bytes = field(repr=False)
    alipay_app_public_key: str = ""
    wechat_merchant_public_key: str = ""


def provide(state_dir: Path, token_dir: Path) -> SharedKeys:
    """Create the token and every key that is missing; returns what the simulators need. Idempotent."""
    create_token(token_dir)
    clear = _clear_keys(state_dir / "simulators" / "keys.json")
    with open_token(token_dir) as token:
        store = KeyStore(token)
        provide_own_keys(store)
        for label in _SIGNING:
            store.ensure(label, KeyUsage.SIGNING)
        _import(store, "unionpay/mmk", KeyUsage.KEY_TRANSPORT, clear["unionpay_mmk"])
        _import(store, f"acquirer/{ACQUIRER}/zpk", KeyUsage.PIN_KEY, clear["acquirer_zpk"])
        _import(store, f"issuer/{ISSUER}/zpk", KeyUsage.PIN_KEY, clear["issuer_zpk"])
        alipay, wechat = (store.public_key(label).decode() for label in _SIGNING)
    return SharedKeys(**clear, alipay_app_public_key=alipay, wechat_merchant_public_key=wechat)


def without_token(state_dir: Path) -> SharedKeys:
    """What the simulators need where there is no token, hence no switch: the wallets' public keys are empty."""
    clear = _clear_keys(state_dir / "simulators" / "keys.json")
    return SharedKeys(**clear, alipay_app_public_key="", wechat_merchant_public_key="")


def zone_pin_key(state_dir: Path) -> bytes:
    """The demo acquirer's PIN key, for its terminal."""
    return _clear_keys(state_dir / "simulators" / "keys.json")["acquirer_zpk"]


def issuer_card_keys(state_dir: Path) -> IssuerKeys:
    """What the demo issuer's cards were personalized with, for the cards."""
    keys = _clear_keys(state_dir / "simulators" / "keys.json")
    return IssuerKeys(keys["issuer_ac"], keys["issuer_cvv"], keys["issuer_pvv"])


def _clear_keys(path: Path) -> dict[str, bytes]:
    """What is missing is made: a file of an earlier version has fewer keys."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = {name: secrets.token_hex(length) for name, length in _LENGTHS.items() if name not in known}
    if missing:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(known | missing).encode())
    return {name: bytes.fromhex(value) for name, value in (known | missing).items() if name in _LENGTHS}


def _import(store: KeyStore, label: str, usage: KeyUsage, value: bytes) -> None:
    """As two components, the way a key is entered; a token that was made for other keys is not touched."""
    try:
        store.find(label)
    except KeyNotFound:
        mask = secrets.token_bytes(len(value))
        store.import_components(label, usage, [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))])
