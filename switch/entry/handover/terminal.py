"""The terminal's side: proves its key, offers an amount, and gets a record that it cannot read for the switch."""

from collections.abc import Callable
from secrets import token_bytes

from cryptography.hazmat.primitives.asymmetric import ec

from switch.domain.money import Money
from switch.entry.bluetooth import HandoverKind, build_handover
from switch.entry.errors import EntryError
from switch.entry.handover.errors import HandoverError
from switch.entry.handover.frames import FrameAssembler, FrameType, build_frame
from switch.entry.handover.phone import offer_content
from switch.entry.handover.sealed import NONCE_BYTES, read_sealed
from switch.entry.handover.session import (
    HELLO_BYTES,
    HELLO_NONCE_BYTES,
    Direction,
    Inside,
    MakeKey,
    agree,
    build_hello,
    check_hello,
    fresh_key,
    sign_hellos,
)


class HandoverTerminal:
    """One session for one payment. What `receive` returns is sent; then `record` is AuthorizeRequest.bluetooth.record.

    key: the certified one. certificate: `build_certificate`. money: of the payment.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: bytes,
        money: Money,
        entropy: Callable[[int], bytes] = token_bytes,
        make_key: MakeKey = fresh_key,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._money = money
        self._ephemeral = make_key()
        self._hello_nonce = entropy(HELLO_NONCE_BYTES)
        self._nonce = entropy(NONCE_BYTES)
        self._frames = FrameAssembler()
        self._sends: Direction | None = None
        self._receives: Direction | None = None
        self._answered = False
        self.record: bytes | None = None

    @property
    def is_amid(self) -> bool:
        return self._frames.is_amid

    def receive(self, chunk: bytes) -> list[bytes]:
        """What is to be sent now. Raises HandoverError: the session is over."""
        sent: list[bytes] = []
        for kind, body in self._frames.feed(chunk):
            if kind is FrameType.PHONE_HELLO and self._sends is None:
                sent += self._begin(body)
            elif kind is FrameType.RECORD and self._receives is not None:
                self._take(*self._receives.open(body))
            else:
                raise HandoverError("a frame that is not expected now")
        return sent

    def answer(self, response_code: str) -> bytes:
        """Tell the phone how the payment ended: DE39."""
        if self._sends is None or self.record is None or self._answered:
            raise HandoverError("there is nothing to answer")
        self._answered = True
        return build_frame(FrameType.RECORD, self._sends.seal(Inside.RESULT, response_code.encode("ascii")))

    def _begin(self, phone_hello: bytes) -> list[bytes]:
        if len(phone_hello) != HELLO_BYTES:
            raise HandoverError("a hello of the wrong length")
        other = check_hello(phone_hello)
        unsigned = build_hello(self._ephemeral, self._hello_nonce)
        unsigned += len(self._certificate).to_bytes(2, "big") + self._certificate
        signature = sign_hellos(self._key, phone_hello, unsigned)
        hello = unsigned + bytes([len(signature)]) + signature
        self._receives, self._sends = agree(self._ephemeral, other, phone_hello, hello)
        offer = self._sends.seal(Inside.OFFER, offer_content(self._money, self._nonce))
        return [build_frame(FrameType.TERMINAL_HELLO, hello), build_frame(FrameType.RECORD, offer)]

    def _take(self, inside: int, content: bytes) -> None:
        if inside != Inside.CREDENTIAL or self.record is not None:
            raise HandoverError("a record that is not expected now")
        try:
            sealed = read_sealed(content)
            record = build_handover(HandoverKind.SEALED, content)
        except (EntryError, ValueError):
            raise HandoverError("the phone's credential is malformed") from None
        if sealed.nonce != self._nonce:
            raise HandoverError("the phone's credential is for another payment")
        self.record = record
