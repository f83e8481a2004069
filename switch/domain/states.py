"""What may happen to an authorization: a table, looked up (STYLE 2)."""

from enum import IntEnum


class Operation(IntEnum):
    """What is asked of a channel. The numbers are stored: they are never reused."""

    SALE = 1
    PRE_AUTHORIZATION = 2
    CAPTURE = 3
    VOID = 4
    REFUND = 5
    REVERSAL = 6
    INQUIRY = 7
    INCREMENT = 8  # raise a pre-authorization by an amount
    ORDER = 9  # an order that the payer pays by scanning the code which the channel gives for it

    @property
    def words(self) -> str:
        """As a reason names it.

        >>> Operation.PRE_AUTHORIZATION.words
        'pre-authorization'
        """
        return self.name.lower().replace("_", "-")


class EntryMode(IntEnum):
    """How the payer presented. The numbers are stored: they are never reused."""

    NFC = 1
    PAYER_CODE = 2  # a wallet's barcode or QR: digits
    PAYER_QR = 3  # EMVCo consumer-presented mode
    MERCHANT_QR = 4  # EMVCo merchant-presented mode, scanned by the payer
    BLUETOOTH = 5
    KEYED = 6
    CHIP = 7  # in a terminal's slot
    STRIPE = 8


class Decision(IntEnum):
    APPROVED = 1
    DECLINED = 2
    UNKNOWN = 3
    AWAITING_PAYER = 4


class State(IntEnum):
    """Where an authorization stands. The numbers are stored: they are never reused."""

    SENT = 1  # the intent is durable; bytes may have left
    AWAITING_PAYER = 2
    APPROVED = 3
    DECLINED = 4
    UNKNOWN = 5  # the caller was told so; a reversal is on its way
    REVERSED = 6
    VOIDED = 7
    DEAD_LETTER = 8  # a person must look; an alert is up


TRANSITIONS: dict[State, frozenset[State]] = {
    State.SENT: frozenset({State.AWAITING_PAYER, State.APPROVED, State.DECLINED, State.UNKNOWN}),
    State.AWAITING_PAYER: frozenset({State.APPROVED, State.DECLINED, State.UNKNOWN}),
    State.UNKNOWN: frozenset({State.REVERSED, State.DEAD_LETTER}),
    State.APPROVED: frozenset({State.REVERSED, State.VOIDED}),
    State.DEAD_LETTER: frozenset({State.REVERSED}),
    State.DECLINED: frozenset(),
    State.REVERSED: frozenset(),
    State.VOIDED: frozenset(),
}


def may_become(current: State, following: State) -> bool:
    return following in TRANSITIONS[current]
