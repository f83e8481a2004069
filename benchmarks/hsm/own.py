"""Our commands over the same work as the peers': the items of each operation, and the keys they need.

Keys that the product keeps in the token are in the token here: PIN keys, hashing, sealing, RSA, the EMV master key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.hsm.peers import BLOCK, MESSAGE, PAN
from hsm.keys import KeyStore, KeyUsage

BATCH = 32


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the table. item: what the command takes. batch: items of one call, where it is called with many."""

    name: str
    command: str
    item: tuple[Any, ...]
    batch: int = BATCH

    def items(self, count: int) -> Sequence[tuple[Any, ...]]:
        return [self.item] * count


PIN_SOURCE = "bench/pin-source"
PIN_TARGET = "bench/pin-target"
_DUKPT_KSN = bytes.fromhex("FFFF9876543210E00008")
_CARD = "4123456789012345"

_KEYS: Sequence[tuple[str, KeyUsage, str, str]] = (
    (PIN_SOURCE, KeyUsage.PIN_KEY, "DES", "FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658"),
    (PIN_TARGET, KeyUsage.PIN_KEY, "DES", "A1439D67319DFD6461022CD0EFA27AD3"),
    ("bench/mac-tdes", KeyUsage.MAC_KEY, "DES", "FB192A4C9DBCBC15A28AAD5EEF31F125"),
    ("bench/mac-aes", KeyUsage.MAC_KEY, "AES", bytes(range(32)).hex()),
    ("bench/cvk", KeyUsage.CARD_VERIFICATION, "DES", "0123456789ABCDEFFEDCBA9876543210"),
    ("bench/pvk", KeyUsage.PVV_KEY, "DES", "0123456789ABCDEFFEDCBA9876543210"),
    ("bench/imk", KeyUsage.EMV_CRYPTOGRAM, "DES", "0123456789ABCDEFFEDCBA9876543210"),
    ("bench/bdk", KeyUsage.DUKPT_BASE, "DES", "0123456789ABCDEFFEDCBA9876543210"),
    ("bench/fpe", KeyUsage.FPE_KEY, "AES", "2B7E151628AED2A6ABF7158809CF4F3C"),
)

OPERATIONS: Sequence[Operation] = (
    Operation("PIN translation 0→0, TDES", "translate_pins", (PIN_SOURCE, 0, PIN_TARGET, 0, BLOCK, PAN)),
    Operation("retail MAC, 200 bytes", "macs", ("bench/mac-tdes", "iso9797-alg3-pad1", MESSAGE)),
    Operation("AES-CMAC, 200 bytes", "macs", ("bench/mac-aes", "cmac", MESSAGE)),
    Operation("HMAC-SHA-256, 64 bytes", "keyed_hashes", ("bench/hash", MESSAGE[:64])),
    Operation("AES-256-GCM seal, 64 bytes", "seal", ("bench/seal", MESSAGE[:64], b"")),
    Operation("CVV", "card_codes", ("bench/cvk", _CARD, "8701", "101")),
    Operation("Visa PVV", "generate_pvvs", (PIN_SOURCE, 0, BLOCK, PAN, "bench/pvk", "1")),
    Operation(
        "ARQC", "generate_cryptograms",
        ("bench/imk", "A", _CARD, "00", "emv-common", bytes(2), bytes(4), 2, MESSAGE[:39]),
    ),
    Operation(
        "TDES DUKPT MAC, 200 bytes", "dukpt_macs",
        ("bench/bdk", _DUKPT_KSN, "TDES-2", "request", "iso9797-alg3-pad1", MESSAGE),
    ),
    Operation("FF1, 16 digits", "fpe_encipher", ("bench/fpe", "ff1", b"", "0123456789", _CARD)),
    Operation("RSA-2048 signature", "sign", ("bench/rsa", MESSAGE), batch=8),
    Operation("SM2 signature", "sign", ("bench/sm2", MESSAGE), batch=8),
)  # fmt: skip


def provide(store: KeyStore) -> None:
    """Make the keys in a token of the benchmark's own."""
    for label, usage, family, value in _KEYS:
        clear = bytes.fromhex(value)
        mask = bytes((17 * index + 5) % 256 for index in range(len(clear)))
        store.import_components(label, usage, [mask, bytes(a ^ b for a, b in zip(clear, mask, strict=True))], family)
    store.generate("bench/hash", KeyUsage.HASHING)
    store.generate("bench/seal", KeyUsage.SEALING)
    store.generate("bench/rsa", KeyUsage.SIGNING)
    store.generate("bench/sm2", KeyUsage.SIGNING, "SM2")
