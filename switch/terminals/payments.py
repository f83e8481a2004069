"""What a terminal asks of the road: payments, what follows on them, reversals. And the end of its batch."""

import asyncio
from dataclasses import replace

import structlog

from adapters.unionpay.pos.format import Fields, MalformedMessage
from adapters.unionpay.pos.messages import (
    BALANCED,
    REVERSED_KINDS,
    UNBALANCED,
    PosKind,
    Reference,
    Totals,
    original_of,
    totals_field,
    totals_of,
)
from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential, FollowOn, FollowOnRequest
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Operation, State
from switch.domain.terminal import Terminal, TerminalEntry, WorkingKeys
from switch.payments.errors import Unavailable
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.ports import Clock, Journal
from switch.terminals import answers, requests
from switch.terminals.answers import Answer
from switch.terminals.refusals import Refused, refusal_of
from switch.terminals.security import TerminalSecurity
from switch.terminals.settings import DeskSettings
from switch.terminals.store import TerminalStore

log = structlog.get_logger()

_AUTHORIZATIONS = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})
# What each later operation may be about.
_ORIGINALS = {
    PosKind.VOID_SALE: frozenset({Operation.SALE}),
    PosKind.VOID_PRE_AUTHORIZATION: frozenset({Operation.PRE_AUTHORIZATION}),
    PosKind.COMPLETION: frozenset({Operation.PRE_AUTHORIZATION}),
    PosKind.REFUND: frozenset({Operation.SALE, Operation.CAPTURE}),
}
_HALF_DAY_MS = 12 * 3_600_000
# Some minutes: longer than a database takes to fail over.
_UNDO_TRIES = 60
_UNDO_FIRST_PAUSE_S = 0.5
_UNDO_LONGEST_PAUSE_S = 10.0


class TerminalPayments:
    def __init__(
        self, road: Road, follow_ons: FollowOns, journal: Journal, store: TerminalStore, security: TerminalSecurity,
        clock: Clock, settings: DeskSettings,
    ) -> None:  # fmt: skip
        self._road = road
        self._follow_ons = follow_ons
        self._journal = journal
        self._store = store
        self._security = security
        self._clock = clock
        self._settings = settings
        self._undoing: set[asyncio.Task[None]] = set()

    # --- sale and pre-authorization -----------------------------------------------------------------------------------

    async def authorize(self, terminal: Terminal, kind: PosKind, fields: Fields, keys: WorkingKeys) -> Answer:
        """keys: those that the message was made with. Raises Refused."""
        name = _in_open_batch(terminal, requests.reference(fields))
        now_ms = self._clock.time_ms()
        request = requests.authorization_request(terminal, kind, fields, _key(terminal, name), now_ms)
        if request.pin is not None and isinstance(request.credential, CardCredential):
            pan = request.credential.pan.reveal()
            request.pin = await self._security.zone_pin(terminal, keys, request.pin.block, pan)
        entry = await self._kept(terminal, name, request.operation, now_ms)
        request = replace(request, transmission_time_ms=entry.transmission_time_ms)
        record = await self._entered(terminal, entry, request)
        if record.state in (State.REVERSED, State.VOIDED):
            # A repeat of what was undone since: the decision it once got is not worth goods any more.
            raise Refused("22", "undone")
        return answers.authorized(record, answers.own_reference(entry.transmission_time_ms, name.stan))

    async def _entered(self, terminal: Terminal, entry: TerminalEntry, request: AuthorizationRequest) -> Authorization:
        try:
            return await asyncio.shield(self._road.enter(request, self._settings.budget_s))
        except Unavailable as error:
            # The outcome is open, and the terminal is told that there is none: nothing may stay of it.
            self._undo_later(terminal, entry, request.money)
            raise refusal_of(error) from None
        except Exception as error:
            raise refusal_of(error) from None

    # --- what follows on them -----------------------------------------------------------------------------------------

    async def follow_on(self, terminal: Terminal, kind: PosKind, fields: Fields) -> Answer:
        """A void, completion or refund of what DE61 names. Raises Refused."""
        name = _in_open_batch(terminal, requests.reference(fields))
        money = requests.money(fields)
        original = await self._original(terminal, kind, fields)
        now_ms = self._clock.time_ms()
        entry = await self._kept(terminal, name, requests.OPERATIONS[kind], now_ms, original)
        stored = await self._carried_out(terminal, entry, requests.OPERATIONS[kind], _key(terminal, name), money)
        return answers.followed(stored, answers.own_reference(entry.transmission_time_ms, name.stan))

    async def _original(self, terminal: Terminal, kind: PosKind, fields: Fields) -> TerminalEntry:
        named = _named_original(fields)
        found = await self._store.entry(terminal.merchant.id, terminal.terminal_id, named.batch, named.stan)
        if found is None or found.operation not in _ORIGINALS[kind]:
            raise Refused("25", "no_original")
        if 38 in fields:
            record = await self._journal.find(terminal.merchant.id, found.authorization_id)
            if record is None or record.approval_code.strip() != requests.text(fields, 38).strip():
                raise Refused("25", "approval_code")
        return found

    async def reverse(self, terminal: Terminal, fields: Fields) -> Answer:
        """Of the message that DE61 names, or else of the one with the same batch and STAN; it may come before it."""
        name = _named_original(fields) if 61 in fields else requests.reference(fields)
        kind = REVERSED_KINDS.get((requests.text(fields, 3)[:2], requests.text(fields, 25)))
        if kind is None:
            raise Refused("30", "reversal_of_what")
        operation, money = requests.OPERATIONS[kind], requests.money(fields)
        if operation not in _AUTHORIZATIONS:
            raise Refused("40", "reversal_of_follow_on")
        now_ms = self._clock.time_ms()
        entry = await self._store.keep(_entry(terminal, name, operation, now_ms))
        if entry.operation not in _AUTHORIZATIONS:
            raise Refused("40", "reversal_of_follow_on")
        stored = await self._carried_out(terminal, entry, Operation.REVERSAL, _reversal_key(terminal, name), money)
        return answers.followed(stored, answers.own_reference(entry.transmission_time_ms, name.stan))

    async def _carried_out(
        self, terminal: Terminal, entry: TerminalEntry, operation: Operation, key: str, money: Money
    ) -> FollowOn:
        time_ms = _renewed(entry.transmission_time_ms, self._clock.time_ms())
        wanted = FollowOnRequest(
            operation, terminal.acquirer_id, terminal.merchant.id, entry.authorization_id, key, time_ms, money
        )
        try:
            return await asyncio.shield(self._follow_ons.carry_out(wanted))
        except Exception as error:
            raise refusal_of(error) from None

    async def _kept(
        self, terminal: Terminal, name: Reference, operation: Operation, now_ms: int,
        original: TerminalEntry | None = None,
    ) -> TerminalEntry:  # fmt: skip
        """The entry of a message, or of its first arrival. Raises Refused (94) where the name is another message's."""
        entry = await self._store.keep(_entry(terminal, name, operation, now_ms, original))
        is_about = original is None or entry.authorization_id == original.authorization_id
        is_repeat = now_ms - entry.transmission_time_ms <= self._settings.repeat_window_ms
        if entry.operation is not operation or not is_about or not is_repeat:
            raise Refused("94", "name_used")
        return entry

    # --- the end of a batch -------------------------------------------------------------------------------------------

    async def settle(self, terminal: Terminal, fields: Fields) -> Answer:
        """Compare the terminal's totals with the journal's and close the batch, whatever comes of it.

        DE48 repeats the terminal's totals and says whether they are the journal's. Raises Refused.
        """
        batch = requests.reference(fields).batch
        if batch > terminal.batch:
            raise Refused("77", "batch")
        try:
            domestic, foreign = totals_of(requests.text(fields, 48))
        except MalformedMessage:
            raise Refused("30", "field_48") from None
        found = await self._store.totals(terminal, batch)
        ours = Totals(found.debit_minor, found.debits, found.credit_minor, found.credits)
        is_balanced = (domestic, foreign) == (ours, Totals())
        if not is_balanced:
            log.warning(
                "batch_differs", terminal=terminal.terminal_id, merchant=terminal.merchant.id, batch=batch,
                ours=str(ours), theirs=str(domestic),
            )  # fmt: skip
        await self._store.close_batch(terminal, batch)
        said = BALANCED if is_balanced else UNBALANCED
        return Answer("00", self._clock.time_ms(), {48: totals_field(domestic, foreign, said)})

    # --- undoing what was not answered --------------------------------------------------------------------------------

    def _undo_later(self, terminal: Terminal, entry: TerminalEntry, money: Money) -> None:
        task = asyncio.create_task(self._undo(terminal, entry, money), name="terminal undo")
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _undo(self, terminal: Terminal, entry: TerminalEntry, money: Money) -> None:
        """The reversal that the terminal will send as well, under the same name: whoever is first, it is one."""
        key = _reversal_key(terminal, Reference(entry.batch, entry.stan))
        pause_s = _UNDO_FIRST_PAUSE_S
        for _ in range(_UNDO_TRIES):
            try:
                await self._carried_out(terminal, entry, Operation.REVERSAL, key, money)
            except Exception as error:
                log.info("not_undone_yet", reason=str(error), terminal=terminal.terminal_id)
                await asyncio.sleep(pause_s)
                pause_s = min(_UNDO_LONGEST_PAUSE_S, 2 * pause_s)
            else:
                return
        log.error("not_undone", terminal=terminal.terminal_id, merchant=terminal.merchant.id, stan=entry.stan)

    async def close(self, timeout_s: float) -> None:
        """Wait for what is being undone, but no longer than that."""
        if self._undoing:
            _, late = await asyncio.wait(self._undoing, timeout=timeout_s)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _in_open_batch(terminal: Terminal, name: Reference) -> Reference:
    """A terminal learns its batch when it signs on. Raises Refused (77)."""
    if name.batch != terminal.batch:
        raise Refused("77", "batch")
    return name


def _named_original(fields: Fields) -> Reference:
    try:
        return original_of(requests.text(fields, 61))
    except MalformedMessage:
        raise Refused("30", "field_61") from None


def _key(terminal: Terminal, name: Reference) -> str:
    """The idempotency key of a message: its name among all of the acquirer and merchant."""
    return f"pos/{terminal.terminal_id}/{name.batch:06d}/{name.stan:06d}"


def _reversal_key(terminal: Terminal, name: Reference) -> str:
    return _key(terminal, name) + "/reversal"


def _renewed(time_ms: int, now_ms: int) -> int:
    """The transmission time of what is asked now: that of the entry, moved on by half days.

    A reversal is kept by its terminal until it is answered, longer than the road takes a time for current. Its repeats
    share one identity within half a day, and one effect for ever.

    >>> _renewed(1_000, 60_000), _renewed(1_000, 50_000_000)
    (1000, 43201000)
    """
    return time_ms + max(0, now_ms - time_ms) // _HALF_DAY_MS * _HALF_DAY_MS


def _entry(
    terminal: Terminal, name: Reference, operation: Operation, time_ms: int, original: TerminalEntry | None = None
) -> TerminalEntry:
    """As the road computes the identity: from the time of the first arrival."""
    merchant_id = terminal.merchant.id
    identity = computed_id(terminal.acquirer_id, merchant_id, time_ms, _key(terminal, name))
    about = identity if original is None else original.authorization_id
    return TerminalEntry(merchant_id, terminal.terminal_id, name.batch, name.stan, operation, time_ms, identity, about)
