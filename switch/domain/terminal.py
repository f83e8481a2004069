"""A payment terminal that connects to the switch, and what it sent, as it names it."""

from dataclasses import dataclass, field
from uuid import UUID

from switch.domain.authorization import Merchant
from switch.domain.states import Operation

FIRST_BATCH = 1
LARGEST_BATCH = 999_999


@dataclass(frozen=True, slots=True)
class WorkingKeys:
    """What a terminal got at one sign-on, sealed by the HSM: the key of its PIN blocks, the key of its MACs."""

    pin: bytes = field(repr=False)
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terminal:
    """merchant: whom it collects for. terminal_id: 8 letters or digits, unique within the merchant.

    key: HSM label of its master key (a KEY_TRANSPORT key). batch: the one that is open, 1 to 999999.
    signed_on: whether it may send payments. keys: of its last sign-on; previous_keys: of the one before, which are
    still good for what is in flight.
    """

    merchant: Merchant
    terminal_id: str
    acquirer_id: str
    key: str
    batch: int = FIRST_BATCH
    signed_on: bool = False
    keys: WorkingKeys | None = None
    previous_keys: WorkingKeys | None = None

    @property
    def name(self) -> str:
        """Among all terminals."""
        return f"{self.merchant.id}/{self.terminal_id}"


@dataclass(frozen=True, slots=True)
class TerminalEntry:
    """One message of a terminal: its name (batch, STAN) and what the switch knows it by.

    transmission_time_ms: when it first came, which its repeats share. id: of the authorization or follow-on that it
    asks for. authorization_id: of the authorization that it is about; its own id if it asks for one.
    """

    merchant_id: str
    terminal_id: str
    batch: int
    stan: int
    operation: Operation
    transmission_time_ms: int
    id: UUID
    authorization_id: UUID


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """What became of a terminal's batch, by the journal. Minor units.

    debit: sales and completions that stand. credit: refunds that were made.
    """

    debit_minor: int = 0
    debits: int = 0
    credit_minor: int = 0
    credits: int = 0
