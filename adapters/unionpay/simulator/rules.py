"""What the network decides about a financial message, once its link is known to be signed on."""

from collections.abc import Callable, Sequence
from datetime import date, datetime

from adapters.simulation import NORMAL, Behaviour, Scenario
from adapters.unionpay.format import Fields
from adapters.unionpay.simulator.accounts import PIN_TRIES, Account, with_check_digit
from adapters.unionpay.simulator.book import (
    APPROVED,
    LATER_OPERATIONS,
    PAYMENTS,
    REVERSAL,
    REVERSED,
    TOMBSTONE,
    Book,
    Entry,
)
from adapters.unionpay.simulator.checks import CODE_FIELDS
from adapters.unionpay.simulator.keys import DesKey, clear_pin

_PARTIAL = "10"


PinKeys = Sequence[DesKey]


def duplicate_key(fields: Fields) -> str:
    """The message as DE90 names it, without its MTI."""
    stan, transmission, acquirer, forwarder = (str(fields[number]) for number in (11, 7, 32, 33))
    return stan + transmission + acquirer.rjust(11, "0") + forwarder.rjust(11, "0")


def _printable(value: object) -> str:
    """ASCII alone: it goes into a file of fixed columns. Control characters do not get through the codec."""
    text = str(value)
    return text if text.isascii() else text.encode("ascii", "replace").decode("ascii")


class Rules:
    """Accounts, book and what follows from them. now: in Shanghai. settlement_day: of what is processed now."""

    def __init__(
        self,
        accounts: dict[str, Account],
        book: Book,
        now: Callable[[], datetime],
        settlement_day: Callable[[], date],
    ) -> None:
        self.accounts = accounts
        self.book = book
        self._issuers = {pan[:6] for pan in accounts}
        self._codes = {each.payment_code: each for each in accounts.values() if each.payment_code}
        self._now = now
        self._settlement_day = settlement_day
        self._approvals = 0

    def scenario_of(self, fields: Fields) -> Scenario:
        """What the payer's account always does."""
        account = self._account(fields)
        return NORMAL if account is None or account.behaviour is Behaviour.NORMAL else Scenario(account.behaviour)

    def process(
        self, mti: str, kind: str, fields: Fields, scenario: Scenario, pin_keys: PinKeys
    ) -> tuple[str, Entry | None]:
        """(DE39, the entry). A repeat is answered as before; a duplicate is 94 and changes nothing."""
        key = duplicate_key(fields)
        known = self.book.find(key)
        tombstone = known if known is not None and known.kind == TOMBSTONE else None
        if known is not None and tombstone is None:
            return (known.code, known) if mti[3] == "1" and known.kind == kind else ("94", None)
        # A reversal carries the DE37 of its original.
        reference = "" if kind == REVERSAL else "".join(str(fields[number]) for number in (37, 41, 42, 32, 33))
        if tombstone is None and self.book.is_known_reference(reference):
            return "94", None
        account = self._account(fields)
        entry = Entry(
            key=key,
            mti=mti,
            kind=kind,
            member=str(fields[33]),
            stan=str(fields[11]),
            transmission=str(fields[7]),
            acquirer=str(fields[32]),
            settlement_day=f"{self._settlement_day()}",
            time_ms=int(self._now().timestamp() * 1000),
            rrn=str(fields[37]),
            processing=str(fields[3]),
            terminal=_printable(fields[41]),
            merchant=_printable(fields[42]),
            pan_masked=account.pan_masked if account else "",
            amount_minor=int(fields[4]),
            account=account,
        )
        if tombstone is not None:
            entry.code = "22"
        elif kind in PAYMENTS:
            entry.code = self._pay(entry, fields, scenario, pin_keys)
        else:
            entry.code = self._follow(entry, fields)
        if entry.code in ("00", _PARTIAL):
            entry.state = APPROVED
            entry.moved = entry.moved or kind != REVERSAL
            self._approvals += 1
            entry.approval_code = f"{self._approvals % 1_000_000:06d}"
        self.book.put(entry, reference)
        return entry.code, entry

    def _account(self, fields: Fields) -> Account | None:
        if 2 in fields:
            return self.accounts.get(str(fields[2]))
        for number in CODE_FIELDS:
            if number in fields:
                code = fields[number]
                return self._codes.get(code if isinstance(code, str) else code.decode("latin-1"))
        return None

    def _pay(self, entry: Entry, fields: Fields, scenario: Scenario, pin_keys: PinKeys) -> str:
        account = entry.account
        if account is None:
            return self._no_account(fields)
        if account.refusal:
            return account.refusal
        if entry.amount_minor == 0:
            return "13"
        if fields.get(14, account.expiry_yymm) != account.expiry_yymm or account.expiry_yymm < f"{self._now():%y%m}":
            return "54"
        if 52 in fields and (refusal := self._check_pin(account, fields, pin_keys)):
            return refusal
        if account.limit_minor is not None and entry.amount_minor > account.limit_minor:
            return "61"
        granted_minor, code = entry.amount_minor, "00"
        if scenario.behaviour is Behaviour.DECLINE and scenario.code != "00":
            if scenario.code != _PARTIAL:
                return scenario.code
            granted_minor, code = entry.amount_minor // 2, _PARTIAL
        if account.balance_minor < granted_minor:
            return "51"
        account.balance_minor -= granted_minor
        entry.approved_minor = granted_minor
        return code

    def _no_account(self, fields: Fields) -> str:
        """DE39: 15 for a good number of an issuer that is not here, else 14."""
        pan = str(fields.get(2, ""))
        is_foreign = pan != "" and pan == with_check_digit(pan[:-1]) and pan[:6] not in self._issuers
        return "15" if is_foreign else "14"

    def _check_pin(self, account: Account, fields: Fields, pin_keys: PinKeys) -> str:
        """DE39, or "" if the PIN is right, under the PIN key of before or after a key reset."""
        if account.pin_tries_left == 0:
            return "75"
        block = fields[52]
        assert isinstance(block, bytes)
        pins = [pin for key in pin_keys if (pin := clear_pin(key, block, account.pan)) is not None]
        if not pins:
            return "99"
        if account.pin in pins:
            account.pin_tries_left = PIN_TRIES
            return ""
        account.pin_tries_left -= 1
        return "55" if account.pin_tries_left else "75"

    def _follow(self, entry: Entry, fields: Fields) -> str:
        """An operation on an earlier message. A reversal that finds none leaves a tombstone in its place."""
        named = str(fields[90])
        if named[31:] != str(fields[33]).rjust(11, "0"):  # another member's
            return "25"
        original = self.book.find(named[4:])
        if original is None:
            if entry.kind == REVERSAL:
                self._leave_tombstone(entry, named)
            return "25"
        if original.kind != TOMBSTONE:
            entry.original = original
            if original.mti[:3] != named[:3] or original.account is not entry.account:
                return "22"
        return LATER_OPERATIONS[entry.kind](entry, original)

    def _leave_tombstone(self, entry: Entry, named: str) -> None:
        self.book.put(
            Entry(
                key=named[4:],
                mti=named[:4],
                kind=TOMBSTONE,
                member=entry.member,
                stan=named[4:10],
                transmission=named[10:20],
                acquirer=named[20:31].lstrip("0"),
                settlement_day=entry.settlement_day,
                time_ms=entry.time_ms,
                rrn=entry.rrn,
                processing=entry.processing,
                terminal=entry.terminal,
                merchant=entry.merchant,
                pan_masked=entry.pan_masked,
                amount_minor=entry.amount_minor,
                state=REVERSED,
            )
        )
