"""The simulated issuer's accounts and rules: what each message does to them. No I/O; the day is given."""

from collections.abc import Callable, Iterable
from typing import Any

from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from adapters.issuer.simulator_accounts import PIN_TRIES, Account, Entry, EntryState, default_accounts
from adapters.issuer.simulator_bill import SimulatedBills
from adapters.issuer.simulator_card import CardKeys, is_equal, pin_verification_value
from adapters.issuer.simulator_chip import Chip, Objection, verify_chip, verify_track2
from adapters.issuer.simulator_pin import PinFormatError, read_pin_block
from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.sensitive import luhn_valid
from switch.domain.states import Operation

__all__ = ["Account", "SimulatedLedger", "default_accounts"]

_ORIGINALS = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})
_APPROVALS = frozenset({"00", "10", "11"})


class SimulatedLedger:
    """Accounts, and a book of every message that came, oldest first.

    zone_pin_key: 8, 16 or 24 bytes of DES key. card_keys: what the cards were personalized with. current_yymm: the
    month now; a card is good to the end of its own. bills: what is booked is written there, too.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        zone_pin_key: bytes,
        card_keys: CardKeys,
        current_yymm: Callable[[], str],
        bills: SimulatedBills,
    ) -> None:
        self.accounts = {account.pan.reveal(): account for account in accounts}
        self._zone_pin_key = zone_pin_key
        self._card_keys = card_keys
        self._current_yymm = current_yymm
        self._bills = bills
        # The issuer keeps no PIN, only what verifies it.
        self._pin_values = {pan: self._pin_value(pan, account.pin) for pan, account in self.accounts.items()}
        self._entries: dict[str, Entry] = {}
        self._answers: dict[str, IssuerAnswer] = {}
        self._rules: dict[Operation, Callable[[IssuerMessage, Entry], str]] = {
            Operation.CAPTURE: self._capture,
            Operation.VOID: self._void,
            Operation.REFUND: self._refund,
            Operation.INCREMENT: self._increment,
        }

    def book(self) -> list[dict[str, Any]]:
        return [entry.line() for entry in self._entries.values()]

    def entry(self, message_id: str) -> Entry | None:
        return self._entries.get(message_id)

    def process(self, message: IssuerMessage, scripted_code: str = "") -> IssuerAnswer:
        """Carry a message out once and answer it; a repeat gets the same answer and changes nothing.

        scripted_code: what a sale or pre-authorization shall be answered with, if it passes the checks of its own:
        "10" approves half of it, "11" approves it, any other declines it.
        """
        known = self._answers.get(message.message_id)
        if known is not None:
            entry = self._entries[message.message_id]
            entry.times_seen += 1
            # A repeat is the same message: another content under its id is refused, without effect.
            same = (entry.operation, entry.amount_minor) == (message.operation, message.money.amount_minor)
            if not same:
                return IssuerAnswer(message.message_id, "94", reason="other content, same message_id")
            return self._inquire(message) if message.operation is Operation.INQUIRY else known
        if message.operation is Operation.REVERSAL:
            answer = self._reverse(message)
        elif message.operation is Operation.INQUIRY:
            answer = self._inquire(message)
            self._note(message, EntryState.ANSWERED, answer.response_code)
        elif message.operation in self._rules:
            answer = self._follow(message)
        else:
            answer = self._authorize(message, scripted_code)
        self._answers[message.message_id] = answer
        return answer

    def _note(self, message: IssuerMessage, state: EntryState, code: str, account: Account | None = None) -> Entry:
        entry = Entry(
            message.message_id,
            message.operation,
            message.authorization_id,
            message.pan.masked() if message.pan is not None else "",
            message.money.amount_minor,
            message.money.currency,
            state,
            code,
            account=account,
        )
        self._entries[message.message_id] = entry
        return entry

    # --- sales and pre-authorizations -------------------------------------------------------------------------------

    def _authorize(self, message: IssuerMessage, scripted_code: str) -> IssuerAnswer:
        tombstone = self._entries.get(message.message_id)
        if tombstone is not None:
            tombstone.times_seen += 1
            return IssuerAnswer(message.message_id, "22", reason="reversed before it came")
        account = self.accounts.get(message.pan.reveal()) if message.pan is not None else None
        if message.stand_in is not None:
            return self._advised(message, account, message.stand_in.approval_code)
        chip: Chip | None = None
        try:
            account = self._checked(message, account)
            chip = self._read_card(message, account)
            code, reason = self._pin_objection(message, account) if message.pin_block else "", ""
        except Objection as objection:
            code, reason = objection.code, objection.reason
        asked_minor = message.money.amount_minor
        approved_minor = asked_minor // 2 if scripted_code == "10" else asked_minor
        if not code and scripted_code and scripted_code not in _APPROVALS:
            code = scripted_code
        if not code and account is not None and approved_minor > account.available_minor:
            code = "51"
        if code or account is None:
            self._note(message, EntryState.DECLINED, code)
            return IssuerAnswer(
                message.message_id, code, emv_response=chip.response(code) if chip else b"", reason=reason
            )
        code = scripted_code or "00"
        approval_code = f"{(len(self._entries) + 1) % 1_000_000:06d}"
        self._take(message, account, approved_minor, code, approval_code)
        part = Money(approved_minor, message.money.currency) if code == "10" else None
        emv_response = chip.response(code) if chip else b""
        return IssuerAnswer(message.message_id, code, approval_code, part, emv_response)

    def _advised(self, message: IssuerMessage, account: Account | None, approval_code: str) -> IssuerAnswer:
        """The switch has approved it already: it is booked whatever the account holds."""
        if account is None or message.money.currency != account.currency:
            code = "14" if account is None else "12"
            self._note(message, EntryState.DECLINED, code)
            return IssuerAnswer(message.message_id, code)
        self._take(message, account, message.money.amount_minor, "00", approval_code).stood_in = True
        return IssuerAnswer(message.message_id, "00", approval_code)

    def _take(
        self, message: IssuerMessage, account: Account, approved_minor: int, code: str, approval_code: str
    ) -> Entry:
        if message.operation is Operation.SALE:
            account.balance_minor -= approved_minor
            entry = self._note(message, EntryState.APPROVED, code, account)
            entry.captured_minor = approved_minor
            self._bills.book(BillKind.PAYMENT, message.message_id, approved_minor, message.money.currency)
        else:
            account.held_minor += approved_minor
            entry = self._note(message, EntryState.HELD, code, account)
        entry.approved_minor, entry.approval_code = approved_minor, approval_code
        return entry

    def _checked(self, message: IssuerMessage, account: Account | None) -> Account:
        """The account, if it may be charged at all. Raises Objection for the first check that fails."""
        if message.money.amount_minor <= 0:
            raise Objection("13", "amount")
        if account is None or message.pan is None or not luhn_valid(message.pan.reveal()):
            raise Objection("14", "no such card")
        if message.money.currency != account.currency:
            raise Objection("12", "currency")
        wrong_expiry = message.expiry_yymm not in ("", account.expiry_yymm)
        if wrong_expiry or account.expiry_yymm < self._current_yymm():
            raise Objection("54", "expiry")
        return account

    def _read_card(self, message: IssuerMessage, account: Account) -> Chip | None:
        """What the card proves of itself. A counter that was used before is a copy of an older tap."""
        verify_track2(self._card_keys, message, account.expiry_yymm, account.service_code)
        chip = verify_chip(self._card_keys, message)
        if chip is not None:
            if chip.counter in account.counters:
                raise Objection("59", "transaction counter used before")
            account.counters.add(chip.counter)
        return chip

    def _pin_objection(self, message: IssuerMessage, account: Account) -> str:
        if account.pin_tries_left == 0:
            return "75"
        pan = account.pan.reveal()
        try:
            pin = read_pin_block(self._zone_pin_key, message.pin_block, pan)
        except PinFormatError:
            return "99"
        if is_equal(self._pin_value(pan, pin), self._pin_values[pan]):
            account.pin_tries_left = PIN_TRIES
            return ""
        account.pin_tries_left -= 1
        return "55" if account.pin_tries_left else "75"

    def _pin_value(self, pan: str, pin: str) -> str:
        return pin_verification_value(self._card_keys.pvv, self._card_keys.pvki, pan, pin)

    def _inquire(self, message: IssuerMessage) -> IssuerAnswer:
        original = self._entries.get(message.original_message_id)
        if original is None or original.state is EntryState.TOMBSTONE:
            return IssuerAnswer(message.message_id, "25", reason="not seen")
        if original.authorization_id != message.authorization_id or original.operation not in _ORIGINALS:
            return IssuerAnswer(message.message_id, "12")
        return IssuerAnswer(message.message_id, "00", outcome=original.outcome())

    # --- what follows one -------------------------------------------------------------------------------------------

    def _follow(self, message: IssuerMessage) -> IssuerAnswer:
        original = self._entries.get(message.original_message_id)
        if original is None or original.account is None:
            code = "25"
        elif original.authorization_id != message.authorization_id or original.currency != message.money.currency:
            code = "12"
        elif original.state in (EntryState.REVERSED, EntryState.VOIDED):
            code = "22"
        else:
            code = self._rules[message.operation](message, original)
        self._note(message, EntryState.APPROVED if code == "00" else EntryState.DECLINED, code)
        return IssuerAnswer(message.message_id, code)

    def _capture(self, message: IssuerMessage, original: Entry) -> str:
        amount_minor = message.money.amount_minor
        if original.operation is not Operation.PRE_AUTHORIZATION or original.account is None:
            return "12"
        if not 0 < amount_minor <= original.approved_minor - original.captured_minor:
            return "64"
        original.account.held_minor -= amount_minor
        original.account.balance_minor -= amount_minor
        original.captured_minor += amount_minor
        original.state = EntryState.CAPTURED
        self._bill(BillKind.PAYMENT, message, original, amount_minor)
        return "00"

    def _increment(self, message: IssuerMessage, original: Entry) -> str:
        amount_minor = message.money.amount_minor
        if original.operation is not Operation.PRE_AUTHORIZATION or original.account is None or amount_minor <= 0:
            return "12"
        if amount_minor > original.account.available_minor:
            return "51"
        original.account.held_minor += amount_minor
        original.approved_minor += amount_minor
        return "00"

    def _void(self, message: IssuerMessage, original: Entry) -> str:
        captured_hold = original.operation is Operation.PRE_AUTHORIZATION and original.captured_minor
        if captured_hold or original.refunded_minor:
            return "22"
        self._give_back(message, original)
        original.state = EntryState.VOIDED
        return "00"

    def _refund(self, message: IssuerMessage, original: Entry) -> str:
        amount_minor = message.money.amount_minor
        if original.account is None or not 0 < amount_minor <= original.captured_minor - original.refunded_minor:
            return "64"
        original.account.balance_minor += amount_minor
        original.refunded_minor += amount_minor
        self._bill(BillKind.REFUND, message, original, amount_minor)
        return "00"

    def _reverse(self, message: IssuerMessage) -> IssuerAnswer:
        original = self._entries.get(message.original_message_id)
        if original is None:
            self._note(message, EntryState.APPROVED, "25")
            self._bury(message)
            return IssuerAnswer(message.message_id, "25", reason="not seen; it will be declined")
        if original.state in (EntryState.APPROVED, EntryState.HELD, EntryState.CAPTURED):
            if original.account is None:  # a capture, void or refund
                self._note(message, EntryState.DECLINED, "12")
                return IssuerAnswer(message.message_id, "12", reason="only a sale or pre-authorization is reversed")
            self._give_back(message, original)
            original.state = EntryState.REVERSED
        self._note(message, EntryState.APPROVED, "00")
        return IssuerAnswer(message.message_id, "00")

    def _bury(self, reversal: IssuerMessage) -> None:
        self._entries[reversal.original_message_id] = Entry(
            reversal.original_message_id,
            Operation.SALE,
            reversal.authorization_id,
            reversal.pan.masked() if reversal.pan is not None else "",
            reversal.money.amount_minor,
            reversal.money.currency,
            EntryState.TOMBSTONE,
            "22",
            times_seen=0,
        )

    def _give_back(self, message: IssuerMessage, original: Entry) -> None:
        account = original.account
        if account is None:
            return
        taken_minor = original.captured_minor - original.refunded_minor
        account.balance_minor += taken_minor
        if original.operation is Operation.PRE_AUTHORIZATION:
            account.held_minor -= original.approved_minor - original.captured_minor
        if taken_minor:
            self._bill(BillKind.REVERSAL, message, original, taken_minor)

    def _bill(self, kind: BillKind, message: IssuerMessage, original: Entry, amount_minor: int) -> None:
        self._bills.book(kind, message.message_id, amount_minor, original.currency, original.message_id)
