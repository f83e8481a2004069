"""The keys that the switch itself needs, whatever channels it has: one table."""

from dataclasses import dataclass
from typing import Final

from hsm.keys import KeyStore
from hsm.usages import KeyUsage


@dataclass(frozen=True, slots=True)
class OwnKey:
    """services: those that cannot work without it (`Settings.services`). mode: "" is that of the usage."""

    label: str
    usage: KeyUsage
    services: frozenset[str]
    purpose: str
    mode: str = ""


def _key(label: str, usage: KeyUsage, services: str, purpose: str, mode: str = "") -> OwnKey:
    return OwnKey(label, usage, frozenset(services.split()), purpose, mode)


_ALL: Final = "authorization order user merchant settlement operations"

OWN_KEYS: Final = (
    _key("journal/seal", KeyUsage.SEALING, "authorization", "card numbers and payment codes in the journal"),
    _key("journal/hash", KeyUsage.HASHING, _ALL, "who paid: the journal's payer_key"),
    _key("users/hash", KeyUsage.HASHING, "user", "login names, codes and tokens of users"),
    _key("users/seal", KeyUsage.SEALING, "user", "users' contacts and TOTP secrets"),
    _key("vault/hash", KeyUsage.HASHING, "authorization user order", "card numbers in the vault"),
    _key("vault/wrapping", KeyUsage.KEY_WRAPPING, "authorization user order", "the vault's data keys"),
    _key("vault/fpe", KeyUsage.FPE_KEY, "", "format-preserving tokens"),
    # The vault makes what it verifies, which a key of the usage's own mode (X) may not.
    _key("vault/cryptogram", KeyUsage.EMV_CRYPTOGRAM, "", "one-time payments with a token", "N"),
    _key("wallet/seal", KeyUsage.SEALING, "authorization user", "secrets of payment codes"),
    _key("wallet/envelope", KeyUsage.ENVELOPE, "user", "what users' devices send sealed"),
    _key("handover/envelope", KeyUsage.ENVELOPE, "authorization user", "sealed Bluetooth handovers"),
    _key("handover/sign", KeyUsage.SIGNING, "user", "certificates of terminals for handovers"),
    _key("merchants/seal", KeyUsage.SEALING, "merchant settlement", "merchants' account numbers"),
    _key("merchants/page-token", KeyUsage.HASHING, "merchant", "page tokens"),
    _key("webhooks/seal", KeyUsage.SEALING, "merchant", "webhooks' secrets"),
    _key("audit/sign", KeyUsage.SIGNING, "operations", "checkpoints of the audit trail"),
)


def provide_own_keys(store: KeyStore) -> list[str]:
    """Make those that are missing, in the state current; returns their labels."""
    missing = [each for each in OWN_KEYS if each.label not in store]
    for each in missing:
        if each.mode:
            store.generate(each.label, each.usage, mode=each.mode)
        else:
            store.ensure(each.label, each.usage)
    return [each.label for each in missing]


def needed_by(services: frozenset[str]) -> list[str]:
    return [each.label for each in OWN_KEYS if each.services & services]
