"""A phone and a terminal with a byte link between them that cuts, loses, doubles and reorders: no radio is needed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from switch.entry.bluetooth import HandoverKind
from switch.entry.handover.errors import HandoverError
from switch.entry.handover.phone import Offer, Phone
from switch.entry.handover.terminal import HandoverTerminal

Fault = Callable[[list[bytes]], list[bytes]]
"""What a link makes of the pieces of one message."""


def _as_they_are(pieces: list[bytes]) -> list[bytes]:
    return pieces


@dataclass
class ByteLink:
    """sizes: of the pieces, as an ATT MTU leaves them (20 bytes and more), or any other. sent: every byte, in order."""

    sizes: Iterator[int] = field(default_factory=lambda: repeat(20))
    fault: Fault = _as_they_are
    sent: list[bytes] = field(default_factory=list)

    def carry(self, message: bytes) -> list[bytes]:
        """The pieces as they arrive."""
        self.sent.append(message)
        pieces = []
        while message:
            size = max(1, next(self.sizes))
            pieces.append(message[:size])
            message = message[size:]
        return self.fault(pieces)


@dataclass
class SimulatedPhone:
    """A payer's phone: agrees to every offer that `agrees` takes, and hands `payload` over."""

    phone: Phone
    kind: HandoverKind
    payload: bytes
    agrees: Callable[[Offer], bool] = lambda offer: True

    def arrived(self, piece: bytes, now_ms: int) -> list[bytes]:
        """What it sends now."""
        before = self.phone.offer
        self.phone.receive(piece, now_ms)
        offer = self.phone.offer
        if before is None and offer is not None and self.agrees(offer):
            return [self.phone.hand_over(self.kind, self.payload, now_ms)]
        return []


def exchange(phone: SimulatedPhone, terminal: HandoverTerminal, link: ByteLink, now_ms: int) -> bytes:
    """Carry a session to its end; the record for the switch. Raises HandoverError, also for a link that fell silent."""
    to_terminal: list[bytes] = link.carry(phone.phone.hello())
    to_phone: list[bytes] = []
    while to_terminal or to_phone:
        for piece in _taken(to_terminal):
            for message in terminal.receive(piece):
                to_phone += link.carry(message)
        for piece in _taken(to_phone):
            for message in phone.arrived(piece, now_ms):
                to_terminal += link.carry(message)
    if terminal.record is None:
        amid = terminal.is_amid or phone.phone.is_amid
        raise HandoverError("the link fell silent within a frame" if amid else "the phone handed nothing over")
    return terminal.record


def tell(phone: SimulatedPhone, terminal: HandoverTerminal, link: ByteLink, response_code: str, now_ms: int) -> None:
    """The payment's end, from the terminal to the phone."""
    for piece in link.carry(terminal.answer(response_code)):
        phone.arrived(piece, now_ms)


def _taken(pieces: list[bytes]) -> Sequence[bytes]:
    taken = pieces[:]
    pieces.clear()
    return taken
