"""One-time payments: a token, an amount and a cryptogram that a requester hands on; they are redeemed once.

The cryptogram is EMV's (EMV 4.3, Book 2, 8.1): a key of the token's own (option A), from it the common session key of
the counter, and a MAC (ISO/IEC 9797-1, algorithm 3, padding method 2) over `signed_data`. The HSM bounds how often a
wrong one may be tried for a token.
"""

import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.payment_token import OneTimePayment, Refusal, TokenState
from switch.domain.sensitive import Pan
from switch.ports import Hsm, StoredToken, TokenAccess, TokenStore
from switch.vault.answers import values_of, verdicts_of
from switch.vault.sealing import Sealing
from switch.vault.settings import VaultSettings

LARGEST_COUNTER: Final = 0xFFFF
UNPREDICTABLE_BYTES: Final = 4
CRYPTOGRAM_BYTES: Final = 8
LATEST_TIME_MS: Final = (1 << 48) - 1
"""The year 10889: the bound that a UUIDv7 has, too."""
REFUSED_STATES: Final = {TokenState.SUSPENDED: Refusal.SUSPENDED, TokenState.DELETED: Refusal.DELETED}


class OneTimePayments:
    def __init__(
        self,
        hsm: Hsm,
        store: TokenStore,
        sealing: Sealing,
        settings: VaultSettings,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._hsm = hsm
        self._store = store
        self._sealing = sealing
        self._key = settings.cryptogram_key
        self._lifetime_ms = settings.payment_lifetime_ms
        self._entropy = entropy

    async def issue(
        self, requester: str, wanted: Sequence[tuple[str, Money]], now_ms: int
    ) -> list[OneTimePayment | Refusal]:
        """UNKNOWN, SUSPENDED, DELETED; EXHAUSTED after 65535 payments of a token. Raises ValueError for an amount."""
        for _, money in wanted:
            if not is_payable(money):
                raise ValueError("a payment has a positive amount of a known currency, of at most twelve digits")
        tokens = [token for token, _ in wanted]
        counters = await self._store.next_counters(requester, tokens)
        drafts = [
            OneTimePayment(token, money, counter, self._entropy(UNPREDICTABLE_BYTES), now_ms + self._lifetime_ms, b"")
            for (token, money), counter in zip(wanted, counters, strict=True)
            if counter is not None
        ]
        issued = iter(await self._signed(requester, drafts))
        refused = [token for token, counter in zip(tokens, counters, strict=True) if counter is None]
        reasons = iter(await self._reasons(requester, refused, Refusal.EXHAUSTED))
        return [next(reasons) if counter is None else next(issued) for counter in counters]

    async def _signed(self, requester: str, drafts: Sequence[OneTimePayment]) -> list[OneTimePayment]:
        if not drafts:
            return []
        items = [self._item(requester, each) for each in drafts]
        cryptograms = values_of(await self._hsm.run("generate_cryptograms", items))
        return [replace(each, cryptogram=made) for each, made in zip(drafts, cryptograms, strict=True)]

    async def redeem(
        self,
        requester: str,
        payments: Sequence[OneTimePayment],
        access_of: Callable[[str], TokenAccess],
        now_ms: int,
    ) -> list[Pan | Refusal]:
        """The PAN of each payment, once. access_of(token) -> what is kept with it.

        UNKNOWN, SUSPENDED, DELETED, EXPIRED, REPLAYED (or overtaken by a later payment of the token), CRYPTOGRAM
        (anything of the payment was changed), TOO_MANY_FAILURES, BROKEN.
        """
        results: dict[int, Pan | Refusal] = {}
        for turn in turns([each.token for each in payments]):
            outcomes = await self._redeem_distinct(requester, [payments[index] for index in turn], access_of, now_ms)
            results.update(zip(turn, outcomes, strict=True))
        return [results[index] for index in range(len(payments))]

    async def _redeem_distinct(
        self,
        requester: str,
        payments: Sequence[OneTimePayment],
        access_of: Callable[[str], TokenAccess],
        now_ms: int,
    ) -> list[Pan | Refusal]:
        """Of tokens that all differ. The PAN is opened first: a payment is not spent on a row that cannot be read."""
        found = await self._store.find_tokens(requester, [each.token for each in payments])
        rows = {each.token.digits: each for each in found if each is not None}
        outcomes: dict[str, Pan | Refusal] = {}
        for each in payments:
            refusal = _refusal_of(each, rows.get(each.token), now_ms)
            if refusal is not None:
                outcomes[each.token] = refusal
        standing = [each for each in payments if each.token not in outcomes]
        outcomes |= await self._unverified(requester, standing)
        standing = [each for each in standing if each.token not in outcomes]
        opened = await self._sealing.open([rows[each.token] for each in standing])
        outcomes |= {each.token: pan for each, pan in zip(standing, opened, strict=True)}
        standing = [each for each in standing if isinstance(outcomes[each.token], Pan)]
        outcomes |= await self._not_spent(requester, standing, access_of)
        return [outcomes[each.token] for each in payments]

    async def _unverified(self, requester: str, payments: Sequence[OneTimePayment]) -> dict[str, Refusal]:
        if not payments:
            return {}
        items = [(*self._item(requester, each), each.cryptogram) for each in payments]
        verdicts = verdicts_of(await self._hsm.run("verify_cryptograms", items))
        return {each.token: verdict for each, verdict in zip(payments, verdicts, strict=True) if verdict is not None}

    async def _not_spent(
        self, requester: str, payments: Sequence[OneTimePayment], access_of: Callable[[str], TokenAccess]
    ) -> dict[str, Refusal]:
        """Spend them, and say of those that another spent or suspended meanwhile why they are not."""
        spent = await self._store.redeem([(access_of(each.token), each.counter) for each in payments])
        lost = [each.token for each, is_spent in zip(payments, spent, strict=True) if not is_spent]
        return dict(zip(lost, await self._reasons(requester, lost, Refusal.REPLAYED), strict=True))

    async def _reasons(self, requester: str, tokens: Sequence[str], otherwise: Refusal) -> list[Refusal]:
        """Why these could not be counted up: by the state they are in, or else `otherwise`."""
        if not tokens:
            return []
        found = await self._store.find_tokens(requester, tokens)
        return [Refusal.UNKNOWN if row is None else REFUSED_STATES.get(row.token.state, otherwise) for row in found]

    def _item(self, requester: str, payment: OneTimePayment) -> tuple[Any, ...]:
        counter = payment.counter.to_bytes(2, "big")
        return (self._key, "A", payment.token, "", "emv-common", counter, b"", 2, signed_data(requester, payment))


def signed_data(requester: str, payment: OneTimePayment) -> bytes:
    """What a cryptogram covers: one byte 1, amount (6 bytes, minor units) and currency (2 bytes, numeric) as packed
    digits, counter (2), unpredictable number (4), expiry (8, Unix ms), then requester ‖ `|` ‖ token in ASCII.

    The first fields stand as EMV's card data objects do: 9F02, 5F2A, 9F36, 9F37.

    >>> payment = OneTimePayment("9999000000000004", Money(1250, "CNY"), 3, bytes.fromhex("01020304"), 4096, b"")
    >>> data = signed_data("shop", payment)
    >>> data[:23].hex(), data[23:]
    ('0100000000125001560003010203040000000000001000', b'shop|9999000000000004')
    """
    money = payment.money
    amount = bytes.fromhex(f"{money.amount_minor:012d}{money.currency_numeric:0>4}")
    numbers = struct.pack(">H4sQ", payment.counter, payment.unpredictable_number, payment.expires_time_ms)
    return b"\x01" + amount + numbers + f"{requester}|{payment.token}".encode()


def turns(tokens: Sequence[str]) -> list[list[int]]:
    """Positions in as few groups as possible, none with a token twice, each token's in their order.

    >>> turns(["a", "b", "a", "a"])
    [[0, 1], [2], [3]]
    """
    seen: Counter[str] = Counter()
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, token in enumerate(tokens):
        groups[seen[token]].append(index)
        seen[token] += 1
    return list(groups.values())


def is_payable(money: Money) -> bool:
    return 0 < money.amount_minor <= LARGEST_AMOUNT_MINOR and money.currency in CURRENCIES


def _refusal_of(payment: OneTimePayment, row: StoredToken | None, now_ms: int) -> Refusal | None:
    """What is known before its cryptogram is looked at. Fields that none can have are a wrong cryptogram."""
    if row is None:
        return Refusal.UNKNOWN
    if row.token.state in REFUSED_STATES:
        return REFUSED_STATES[row.token.state]
    if not _is_whole(payment):
        return Refusal.CRYPTOGRAM
    if payment.expires_time_ms <= now_ms:
        return Refusal.EXPIRED
    return Refusal.REPLAYED if payment.counter <= row.redeemed_counter else None


def _is_whole(payment: OneTimePayment) -> bool:
    return (
        is_payable(payment.money)
        and 0 < payment.counter <= LARGEST_COUNTER
        and 0 < payment.expires_time_ms <= LATEST_TIME_MS
        and len(payment.unpredictable_number) == UNPREDICTABLE_BYTES
        and len(payment.cryptogram) == CRYPTOGRAM_BYTES
    )
