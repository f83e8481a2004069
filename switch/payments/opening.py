"""open: what was presented closed becomes a card or a wallet's code before anything is asked of it.

A handover is opened first, for what it carries may be a code of ours, which then becomes a card. The fingerprint stays
that of what was presented, so that a repeat is known as one; the payer's key, the mask and what is sealed are those of
the credential that pays.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog

from switch.domain.authorization import AuthorizationRequest, CodeCredential
from switch.domain.payment_codes import OWN_SCHEME
from switch.entry.bluetooth import HANDOVER_SCHEME
from switch.payments.credential import HASH_KEY, SEAL_KEY
from switch.payments.decide import decline
from switch.payments.errors import Unavailable
from switch.payments.intake import credential_bytes, expired, masked_credential
from switch.payments.transaction import Transaction
from switch.ports import Hsm, NotOpened, Opener

log = structlog.get_logger()

ORDER: Final = (HANDOVER_SCHEME, OWN_SCHEME)
"""Schemes of what is presented closed, in the order in which one may hold the other."""


def is_closed(request: AuthorizationRequest) -> bool:
    return isinstance(request.credential, CodeCredential) and request.credential.scheme in ORDER


class Opening:
    def __init__(self, hsm: Hsm, openers: Mapping[str, Opener]) -> None:
        self._hsm = hsm
        self._openers = openers

    async def open(self, batch: list[Transaction]) -> None:
        """Of a batch that is closed each goes on with its credential, is declined, or is refused as Unavailable."""
        for scheme in ORDER:
            await self._open_scheme(scheme, [each for each in batch if _scheme_of(each) == scheme])
        await self._keep([each for each in batch if not each.decided and not each.answer.done()])

    async def _open_scheme(self, scheme: str, batch: list[Transaction]) -> None:
        batch = [each for each in batch if not each.decided and not each.answer.done()]
        if not batch:
            return
        opener = self._openers.get(scheme)
        if opener is None:
            for each in batch:
                decline(each.record, "open", "40", "not taken by this switch")
            return
        try:
            opened = await opener.open([(each.record.id, each.request) for each in batch])
        except Exception as error:
            # Only those are refused, and the rest of the batch goes on: it needs nothing of what has failed here.
            log.warning("not_opened", scheme=scheme, batch=len(batch), reason=type(error).__name__)
            for each in batch:
                each.refuse(Unavailable("what was presented could not be opened; send the same request again"))
            return
        for each, credential in zip(batch, opened, strict=True):
            if isinstance(credential, NotOpened):
                decline(each.record, "open", credential.response_code, credential.reason)
            elif isinstance(credential, CodeCredential) and each.request.pin is not None:
                decline(each.record, "open", "30", "a payment code takes no PIN")
            else:
                each.request = replace(each.request, credential=credential)

    async def _keep(self, batch: list[Transaction]) -> None:
        """The record is of the credential that pays."""
        credentials = [credential_bytes(each.request.credential, each.record.id) for each in batch]
        keys = await self._hsm.keyed_hashes([(HASH_KEY, credential) for credential in credentials])
        items = [
            (SEAL_KEY, credential, each.record.id.bytes) for credential, each in zip(credentials, batch, strict=True)
        ]
        for each, key, sealed in zip(batch, keys, await self._hsm.seal(items), strict=True):
            if isinstance(key, Exception) or isinstance(sealed, Exception):
                each.refuse(Unavailable("the HSM is not available"))
                continue
            record = each.record
            record.payer_key, record.sealed_credential = key[:16], sealed
            record.masked_credential = masked_credential(each.request.credential)
            if expired(each.request):
                decline(record, "open", "54")


def _scheme_of(transaction: Transaction) -> str:
    credential = transaction.request.credential
    return credential.scheme if isinstance(credential, CodeCredential) else ""
