"""The simulated issuer's accounts and rules: what each message does to them. No I/O; the day is given."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from adapters.issuer.simulator_pin import PinFormatError, read_pin_block
from switch.domain.money import Money
from switch.domain.sensitive import Pan, luhn_valid
from switch.domain.states import Operation

_PIN_TRIES = 3
_APPROVALS = frozenset({"00", "10", "11"})


@dataclass(slots=True)
class Account:
    """One card. balance_minor: what is on the account, holds included; held_minor: what of it is held."""

    pan: Pan
    expiry_yymm: str
    pin: str = field(repr=False)
    balance_minor: int
    currency: str = "CNY"
    held_minor: int = 0
    pin_tries_left: int = _PIN_TRIES

    @property
    def available_minor(self) -> int:
        return self.balance_minor - self.held_minor


def default_accounts() -> list[Account]:
    """Twenty cards with PIN 1234: the second has 50.00 yuan, the third expired in December 2020.

    The others have ten million yuan and expire in December 2049.

    >>> accounts = default_accounts()
    >>> accounts[0].pan.reveal(), luhn_valid(accounts[0].pan.reveal()), accounts[1].balance_minor
    ('6259000000000005', True, 5000)
    """
    accounts = [Account(Pan(_with_check_digit(f"6259{n:011d}")), "4912", "1234", 1_000_000_000) for n in range(20)]
    accounts[1].balance_minor = 5_000
    accounts[2].expiry_yymm = "2012"
    return accounts


def _with_check_digit(digits: str) -> str:
    return next(digits + str(digit) for digit in range(10) if luhn_valid(digits + str(digit)))


class EntryState(StrEnum):
    APPROVED = "approved"
    HELD = "held"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    REVERSED = "reversed"
    TOMBSTONE = "tombstone"  # reversed before it came


@dataclass(slots=True)
class Entry:
    """One line of the book.

    amount_minor: what was asked; approved_minor: of a sale or pre-authorization, what of it was approved. Captures and
    refunds are added up on their original's line.
    """

    message_id: str
    operation: Operation
    authorization_id: str
    masked_pan: str
    amount_minor: int
    currency: str
    state: EntryState
    response_code: str = ""
    approved_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    times_seen: int = 1
    account: Account | None = field(default=None, repr=False)

    def line(self) -> dict[str, Any]:
        return {
            "message_id": self.message_id,
            "operation": self.operation.name.lower(),
            "authorization_id": self.authorization_id,
            "masked_pan": self.masked_pan,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "state": self.state.value,
            "response_code": self.response_code,
            "approved_minor": self.approved_minor,
            "captured_minor": self.captured_minor,
            "refunded_minor": self.refunded_minor,
            "times_seen": self.times_seen,
        }


class SimulatedLedger:
    """Accounts, and a book of every message that came, oldest first.

    zone_pin_key: 8, 16 or 24 bytes of DES key. current_yymm: the month now; a card is good to the end of its own.
    """

    def __init__(self, accounts: Iterable[Account], zone_pin_key: bytes, current_yymm: Callable[[], str]) -> None:
        self.accounts = {account.pan.reveal(): account for account in accounts}
        self._zone_pin_key = zone_pin_key
        self._current_yymm = current_yymm
        self._entries: dict[str, Entry] = {}
        self._answers: dict[str, IssuerAnswer] = {}
        self._rules: dict[Operation, Callable[[IssuerMessage, Entry], str]] = {
            Operation.CAPTURE: self._capture,
            Operation.VOID: self._void,
            Operation.REFUND: self._refund,
        }

    def book(self) -> list[dict[str, Any]]:
        return [entry.line() for entry in self._entries.values()]

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
            return known if same else IssuerAnswer(message.message_id, "94", reason="other content, same message_id")
        if message.operation is Operation.REVERSAL:
            answer = self._reverse(message)
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
        asked_minor = message.money.amount_minor
        code = self._objection(message, account)
        approved_minor = asked_minor // 2 if scripted_code == "10" else asked_minor
        if not code and scripted_code and scripted_code not in _APPROVALS:
            code = scripted_code
        if not code and account is not None and approved_minor > account.available_minor:
            code = "51"
        if code or account is None:
            self._note(message, EntryState.DECLINED, code)
            return IssuerAnswer(message.message_id, code)
        code = scripted_code or "00"
        self._take(message, account, approved_minor, code)
        approval_code = f"{len(self._entries) % 1_000_000:06d}"
        part = Money(approved_minor, message.money.currency) if code == "10" else None
        return IssuerAnswer(message.message_id, code, approval_code, part)

    def _take(self, message: IssuerMessage, account: Account, approved_minor: int, code: str) -> None:
        if message.operation is Operation.SALE:
            account.balance_minor -= approved_minor
            entry = self._note(message, EntryState.APPROVED, code, account)
            entry.captured_minor = approved_minor
        else:
            account.held_minor += approved_minor
            entry = self._note(message, EntryState.HELD, code, account)
        entry.approved_minor = approved_minor

    def _objection(self, message: IssuerMessage, account: Account | None) -> str:
        """The DE39 value of the first check that fails, or ""."""
        if message.money.amount_minor <= 0:
            return "13"
        if account is None or message.pan is None or not luhn_valid(message.pan.reveal()):
            return "14"
        if message.money.currency != account.currency:
            return "12"
        wrong_expiry = message.expiry_yymm not in ("", account.expiry_yymm)
        if wrong_expiry or account.expiry_yymm < self._current_yymm():
            return "54"
        return self._pin_objection(message, account) if message.pin_block else ""

    def _pin_objection(self, message: IssuerMessage, account: Account) -> str:
        if account.pin_tries_left == 0:
            return "75"
        try:
            pin = read_pin_block(self._zone_pin_key, message.pin_block, account.pan.reveal())
        except PinFormatError:
            return "99"
        if pin == account.pin:
            account.pin_tries_left = _PIN_TRIES
            return ""
        account.pin_tries_left -= 1
        return "55" if account.pin_tries_left else "75"

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
        return "00"

    def _void(self, message: IssuerMessage, original: Entry) -> str:
        captured_hold = original.operation is Operation.PRE_AUTHORIZATION and original.captured_minor
        if captured_hold or original.refunded_minor:
            return "22"
        self._give_back(original)
        original.state = EntryState.VOIDED
        return "00"

    def _refund(self, message: IssuerMessage, original: Entry) -> str:
        amount_minor = message.money.amount_minor
        if original.account is None or not 0 < amount_minor <= original.captured_minor - original.refunded_minor:
            return "64"
        original.account.balance_minor += amount_minor
        original.refunded_minor += amount_minor
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
            self._give_back(original)
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

    def _give_back(self, original: Entry) -> None:
        account = original.account
        if account is None:
            return
        account.balance_minor += original.captured_minor - original.refunded_minor
        if original.operation is Operation.PRE_AUTHORIZATION:
            account.held_minor -= original.approved_minor - original.captured_minor
