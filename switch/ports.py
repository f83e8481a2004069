"""What policy needs of the world. Adapters, the store and the HSM meet these by shape; `app` brings them together."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from switch.domain.authorization import Authorization, Credential, FollowOn, Merchant
from switch.domain.bill import Bill
from switch.domain.money import Money
from switch.domain.payment_token import PaymentToken, TokenScheme, TokenState
from switch.domain.routing_plan import StoredPlan
from switch.domain.states import Operation, State

# --- channels -------------------------------------------------------------------------------------------------------


class Phase(IntEnum):
    """How far a failed message got: only NOT_SENT may be tried elsewhere."""

    NOT_SENT = 1
    SENT = 2


@dataclass(slots=True)
class Approved:
    """approved_minor: less than asked for a partial approval (code 10); None: all of it."""

    response_code: str = "00"
    approval_code: str = ""
    retrieval_reference: str = ""
    channel_reference: str = ""
    emv_response: bytes = b""
    approved_minor: int | None = None


@dataclass(slots=True)
class Declined:
    """The channel said no. response_code is DE39; reason is the channel's own code or text, free of card data."""

    response_code: str
    reason: str = ""
    channel_reference: str = ""
    emv_response: bytes = b""


@dataclass(slots=True)
class Unknown:
    """Nothing is known but how far the message got. Silence, a bad MAC or signature, HTTP 5xx, a lost link."""

    phase: Phase
    reason: str


@dataclass(slots=True)
class AwaitingPayer:
    """The payer is typing a password, or has yet to scan; the outcome is learnt by inquiry or notification.

    code: of an ORDER, what the payer's wallet scans.
    """

    channel_reference: str = ""
    code: str = ""


ChannelResult = Approved | Declined | Unknown | AwaitingPayer


@dataclass(slots=True)
class ChannelRequest:
    """One message to a channel.

    operation: what to do. authorization: the record of the authorization (for a follow-on: of its original, whose
    `trace` names the original message). credential: in the clear, in memory only; for follow-ons the PAN or code
    alone; None where it was not kept. pin_block: under the channel's own PIN key, or b"".
    money: the amount of this message. deadline_s: `loop.time()` after which the answer is of no use to the caller.
    trace: written by `Channel.prepare`, durable before `Channel.send`; given again for a repeat, where repeat ≥ 1.
    """

    operation: Operation
    authorization: Authorization
    money: Money
    credential: Credential | None
    merchant: Merchant
    deadline_s: float
    pin_block: bytes = field(default=b"", repr=False)
    trace: dict[str, str] = field(default_factory=dict)
    repeat: int = 0


@dataclass(slots=True)
class ChannelHealth:
    """ready: would a message be sent now. detail: one line for an operator."""

    ready: bool
    detail: str


class Channel(Protocol):
    """A way to an issuer. Never raises for what a peer did: that is a `ChannelResult`.

    pin_key: HSM label of the key under which the channel wants PIN blocks, "" if it takes none.
    reversal_after_s: a reversal sent sooner would be refused by the protocol.
    """

    name: str
    operations: frozenset[Operation]
    pin_key: str
    pin_format: int
    reversal_after_s: float

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        """Fill each request's `trace` (STAN, out_trade_no …). No I/O: it runs before the intent is durable."""

    def send(self, requests: Sequence[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        """Send all in as few writes as the protocol allows; one future per request, in order.

        The caller may resolve a future itself (its deadline passed); a result that arrives for a done future is a
        late reply: the channel counts it and leaves it.
        """

    def health(self) -> ChannelHealth: ...

    async def start(self) -> None:
        """Begin connecting; returns at once and reconnects with backoff for ever. A dead peer is no error here."""

    async def close(self) -> None: ...


class NotificationRefused(Exception):
    """A notification that is not believed. `cause` is one word for the metrics: forged, expired, malformed, foreign."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel said by itself, verified: something became of that payment, or of that refund of it.

    It is a reason to ask, never an outcome by itself: whoever is told it inquires, so that a replayed or reordered
    notification can do nothing. reference, refund_reference: our names, as in `BillLine.reference`.
    event: the channel's own name of the event, the same in a repeat. said: the state it names, for the log.
    """

    channel: str
    reference: str
    refund_reference: str = ""
    event: str = ""
    said: str = ""


@runtime_checkable
class NotifyingChannel(Protocol):
    """A channel whose peer posts notifications over HTTP. Pure: no I/O, and safe to call with anything."""

    name: str

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verify and read one. headers: as received, names in any case. Raises NotificationRefused."""

    def notification_answer(self, accepted: bool) -> tuple[int, str, bytes]:
        """(HTTP status, content type, body) that ends the peer's retries, or makes it come again."""


class Hastened(StrEnum):
    """What a verified notification came to. The values are labels of a metric."""

    REPEATED = "repeated"  # an event that made it due before
    DUE = "hastened"  # the open inquiry of the payment, or what is open of the refund, is due now
    IN_FLIGHT = "in_flight"  # our own message has no recorded answer yet: the peer should come again
    BEING_REVERSED = "being_reversed"
    FINAL = "final"
    UNKNOWN = "unknown"  # no such payment, or no such refund of it
    MISDIRECTED = "misdirected"  # the payment is another channel's, or not the one that the notification names


class BillNotReady(Exception):
    """The channel makes that day's bill later: ask again."""


class BillRefused(Exception):
    """A bill that is not believed. `cause` is one word for the metrics: hash, totals, malformed, foreign, forged."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause


@runtime_checkable
class BilledChannel(Protocol):
    """A channel whose daily bill can be fetched."""

    name: str

    async def bill(self, day: date) -> Bill:
        """Fetched, verified and read. Raises BillNotReady, BillRefused, or ConnectionError where none can be had."""


# --- routing plans --------------------------------------------------------------------------------------------------


class RoutingPlans(Protocol):
    """Routing plans and their BIN tables, as they were loaded: neither is ever changed. Raises StoreUnavailable."""

    async def live_version(self) -> int:
        """Of the plan that is to be in force; 0: none, the settings' routes are."""

    async def find(self, version: int) -> StoredPlan | None: ...

    async def bin_table_chunks(self, sha256: str) -> tuple[int, int] | None:
        """(bytes, chunks) of the table with that SHA-256 (hexadecimal); None if it was never loaded."""

    async def bin_table_chunk(self, sha256: str, number: int) -> bytes:
        """One chunk, from 0; b"" if there is none."""


# --- stand-in ------------------------------------------------------------------------------------------------------


class StandIn(Protocol):
    """Who may approve in the place of an issuer that cannot be reached (invariant 13)."""

    async def approve(self, issuer_id: str, requests: Sequence[ChannelRequest]) -> list[str | None]:
        """The approval code (DE38) of each that is approved; durable, inside the limits, and an advice is owed.

        The same message (by its trace) is decided once. None: not approved. Raises StoreUnavailable if it cannot be
        sure: some may be durable, and advices owed.
        """


@dataclass(frozen=True, slots=True)
class OwedAdvice:
    """An advice that the issuer has not answered. message_id: of the message that was never sent to it.

    attempts: how often it was sent. fence: grows with every claim; a result counts only under its own.
    """

    issuer_id: str
    message_id: str
    authorization: Authorization
    approval_code: str
    approved_time_ms: int
    attempts: int
    fence: int


class StandInStore(Protocol):
    """The durable side of stand-in. Every method raises StoreUnavailable if it cannot be sure."""

    async def claim_advices(self, owner: UUID, issuers: Sequence[str], limit: int, lease_s: float) -> list[OwedAdvice]:
        """Advices that are due, oldest first, leased to `owner`."""

    async def finish_advices(self, results: "Sequence[tuple[OwedAdvice, str, float]]") -> None:
        """(advice, the issuer's response code, or "" to try again after so many seconds)."""


# --- the HSM --------------------------------------------------------------------------------------------------------


class Hsm(Protocol):
    """Payment cryptography in batches. Keys are labels. An item that fails yields an exception in its place.

    Items are plain tuples, so that `hsm` needs nothing of ours:
    translate_pins: (source key, source format, target key, target format, block, PAN digits) -> block under target
    macs: (key, algorithm, data) -> MAC; algorithm: see `hsm.algorithms`
    verify_macs: (key, algorithm, data, mac) -> None, or the exception
    sign: (key, data) -> RSASSA-PKCS1-v1_5 SHA-256 signature
    seal / unseal: (key, bytes, associated data) -> bytes; AES-256-GCM
    keyed_hashes: (key, data) -> HMAC-SHA-256, 32 bytes
    run: any command by its name, with the items and results that `hsm.commands` gives for it
    """

    async def run(self, command: str, items: Sequence[Any]) -> list[Any]: ...

    async def translate_pins(
        self, items: Sequence[tuple[str, int, str, int, bytes, str]]
    ) -> list[bytes | Exception]: ...

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]: ...

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]: ...

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]: ...

    async def seal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]: ...

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]: ...

    async def keyed_hashes(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]: ...

    async def import_working_key(self, label: str, usage: str, under: str, wrapped: bytes) -> str:
        """Unwrap a DES key (ECB under `under`), keep it as pending under `label`; returns its KCV, six hex digits."""

    async def activate_working_key(self, label: str) -> None:
        """The pending key becomes current, the current one previous (still verifies MACs)."""


# --- the journal ----------------------------------------------------------------------------------------------------


class StoreUnavailable(Exception):
    """The database cannot be reached or refuses to write: nothing may be approved."""


@dataclass(slots=True)
class FollowUp:
    """Work that must end: a reversal or an inquiry of an authorization, a capture, refund or increment that is open.

    operation: REVERSAL, INQUIRY, CAPTURE, REFUND or INCREMENT. attempts: how often it was sent by a resolver. fence:
    grows with every claim; a result is accepted only under the fence it was claimed with. follow_on: the capture,
    refund or increment, which was sent once before under `trace`; None for a reversal and an inquiry.
    """

    authorization: Authorization
    operation: Operation
    attempts: int
    fence: int
    first_due_time_ms: int
    trace: dict[str, str] = field(default_factory=dict)
    follow_on: FollowOn | None = None


class Journal(Protocol):
    """The durable truth. Every method raises StoreUnavailable if it cannot be sure. Lists are one transaction."""

    async def record_intents(self, intents: Sequence[Authorization]) -> list[Authorization | None]:
        """Insert; per item None if recorded, else the record that was there already (a repeat). Durable on return."""

    async def record_attempts(self, authorizations: Sequence[Authorization]) -> list[bool]:
        """The next channel of a cascade: channel, attempt, trace, explanation of rows still SENT and owned by us."""

    async def record_outcomes(
        self, authorizations: Sequence[Authorization], follow_up_after_s: Sequence[float]
    ) -> list[bool]:
        """Outcome of rows SENT and owned by us: state and answer fields; False where the row was no longer ours.

        An UNKNOWN outcome opens its reversal, an AWAITING_PAYER one its inquiry, due after so many seconds, in the
        same transaction. Durable on return.
        """

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None: ...

    async def find_follow_ons(self, merchant_id: str, authorization_id: UUID) -> list[FollowOn]: ...

    async def begin_follow_on(
        self, follow_on: FollowOn, tombstone: Authorization | None
    ) -> "tuple[FollowOn, Authorization | None]":
        """Check and reserve under the original's row lock (invariant 9), insert the follow-on, durable on return.

        Returns the stored follow-on and its original. A repeat returns what was stored before, untouched. A refused
        one is stored DECLINED with its reason (25 original missing, 64 amount, 12 not in this state). A REVERSAL of
        an original that does not exist stores `tombstone` in its place: state REVERSED.
        """

    async def finish_follow_on(self, follow_on: FollowOn, original: Authorization) -> None:
        """Outcome of a follow-on that is SENT: what was reserved for a declined one is given back; VOID and REVERSAL
        move the original, and an approved INCREMENT raises it; an UNKNOWN one is the resolver's from now on: a REVERSAL
        of the original, or the CAPTURE, REFUND or INCREMENT again. If it was not SENT any more nothing changes.
        `follow_on` and `original` then say what is stored.
        """

    async def hasten(self, notice: Notice, merchant_id: str | None, authorization_id: UUID) -> Hastened:
        """Make due now what is open of the payment, or of the refund, that the notice is of. Durable on return.

        Who has claimed it already asks again at once, should it learn nothing. merchant_id None: found by the id alone.
        """

    async def claim_follow_ups(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        """Due work, at most one per payer_key and in its order, leased to `owner` (FOR UPDATE SKIP LOCKED)."""

    async def keep_follow_up_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        """The trace of the message about to be sent, durable before its first byte."""

    async def finish_follow_ups(self, results: "Sequence[tuple[FollowUp, FollowUpResult]]") -> None: ...

    async def claim_in_doubt(self, owner: UUID) -> int:
        """Rows left SENT by processes whose lease ran out become UNKNOWN with an open reversal; returns how many."""


@dataclass(slots=True)
class FollowUpResult:
    """What a follow-up came to.

    state: the authorization's new state, or None to try again after `retry_after_s`.
    For an inquiry that ends in UNKNOWN a reversal is opened, due after `retry_after_s`.
    answer fields (approval_code …) are taken from `FollowUp.authorization`, which the resolver has updated.
    Of a capture, refund or increment it is the follow-on's: APPROVED, or DECLINED, which gives back what was
    reserved; its answer fields are taken from `FollowUp.follow_on`. DEAD_LETTER leaves it UNKNOWN and open, due after
    `retry_after_s`, but it no longer holds up what is newer of its payer.
    """

    state: State | None
    retry_after_s: float = 0.0


class ProcessLeases(Protocol):
    """Liveness of switch processes. slot: 0–63, unique among the living; partitions STANs."""

    async def join(self, name: str) -> "tuple[UUID, int]": ...

    async def announce(self, owner: UUID, address: str) -> None:
        """Where the process can be dialled, host:port; "" for nowhere (any more)."""

    async def living(self) -> "list[tuple[UUID, str]]":
        """(owner, address) of every process that lives and has announced an address, by slot."""

    async def beat(self, owner: UUID, oldest_open_time_ms: int) -> bool:
        """Extend the lease; False if it was lost (the process must stop sending)."""

    async def leave(self, owner: UUID) -> None: ...


# --- the vault ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key of a requester and a period of time, wrapped under the HSM's key of the label `wrapping_key`."""

    requester: str
    period: int
    wrapping_key: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token with what only the vault may use. data_key: the one that `sealed_pan` is sealed with.

    pan_hash, sealed_pan: b"" of a deleted token. redeemed_counter: of the last one-time payment that was redeemed.
    """

    token: PaymentToken
    pan_hash: bytes = field(repr=False)
    sealed_pan: bytes = field(repr=False)
    data_key: DataKey
    redeemed_counter: int = 0


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """One PAN given out: to whom, in which role, for what."""

    requester: str
    id: UUID
    who: str
    role: str
    token: str
    reason: str
    time_ms: int


class TokenStore(Protocol):
    """The vault's durable truth. Every method raises StoreUnavailable if it cannot be sure. Results are in order."""

    async def scheme(self, requester: str) -> TokenScheme | None: ...

    async def keep_scheme(self, requester: str, scheme: TokenScheme) -> TokenScheme:
        """The requester's scheme: this one if it had none."""

    async def data_key(self, requester: str, period: int) -> DataKey | None: ...

    async def keep_data_key(self, fresh: DataKey, now_ms: int) -> DataKey:
        """The data key of that requester and period: this one if there was none."""

    async def find_tokens(self, requester: str, tokens: Sequence[str]) -> list[StoredToken | None]: ...

    async def find_live(self, requester: str, pan_hashes: Sequence[bytes]) -> list[StoredToken | None]:
        """Tokens by their PAN, of those that are not deleted."""

    async def insert(self, tokens: Sequence[StoredToken]) -> list[bool]:
        """False where the number was taken, or the PAN has a live token. All of one requester, no PAN twice."""

    async def move(
        self, requester: str, tokens: Sequence[str], sources: Sequence[TokenState], target: TokenState
    ) -> None:
        """To `target` those that are in one of `sources`; DELETED erases PAN, hash and last four."""

    async def next_counters(self, requester: str, tokens: Sequence[str]) -> list[int | None]:
        """A fresh counter for each, of a token named twice two; None if it is not ACTIVE or has no 65535 left."""

    async def redeem(self, redemptions: "Sequence[tuple[TokenAccess, int]]") -> list[bool]:
        """(access, counter): raise the token's redeemed counter to it and keep the access, in one transaction.

        False where the token is not ACTIVE or the counter is not above the last redeemed; of concurrent callers with
        the same counter one alone gets True. All of one requester, no token twice.
        """

    async def keep_accesses(self, accesses: Sequence[TokenAccess]) -> None: ...

    async def data_keys_not_under(self, wrapping_key: str, limit: int) -> list[DataKey]: ...

    async def rewrap(self, changes: "Sequence[tuple[DataKey, DataKey]]") -> int:
        """(before, after): replace those that still are as before; returns how many."""


# --- fast, losable --------------------------------------------------------------------------------------------------


class CountersUnavailable(Exception):
    """Redis is gone: risk continues by policy."""


class Counters(Protocol):
    async def count_many(self, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        """For each (subject, event id): record the event once, return how many events the subject had in the window.

        One round trip for all. The same event id counted again changes nothing.
        """


class Clock(Protocol):
    def time_ms(self) -> int:
        """Unix time in milliseconds."""

    def monotonic_s(self) -> float:
        """`loop.time()`: deadlines are counted on it."""
