"""What a person or a credential changed: who, what, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. Written in the transaction of the change itself, never changed afterwards.

    merchant_id: the merchant it is of, "" for the platform's own and for users. who: `Caller.name`. act: the call's
    name ("MerchantService.AddStore"). subject: what was changed, `<kind>/<id>`. before, after: the fields that differ,
    empty for what was not there; never a secret, a card number or a password, nor their hashes.
    """

    merchant_id: str
    who: str
    act: str
    subject: str
    before: Mapping[str, object] = field(default_factory=dict)
    after: Mapping[str, object] = field(default_factory=dict)
