"""The phone's side: says hello, believes a certified terminal, shows the offer, and seals the credential to the HSM."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.entry.bluetooth import HandoverKind
from switch.entry.handover.certificate import TerminalCertificate, verify_certificate
from switch.entry.handover.errors import HandoverError
from switch.entry.handover.frames import FrameAssembler, FrameType, build_frame
from switch.entry.handover.sealed import NONCE_BYTES, Binding, seal_credential
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
    read_point,
    verify_hellos,
)

_OFFER = struct.Struct(f">Q3s{NONCE_BYTES}s")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the payer is asked for, by whom. nonce: the terminal's, for this payment alone."""

    terminal: TerminalCertificate
    money: Money
    nonce: bytes


@dataclass(frozen=True, slots=True)
class PhoneKeys:
    """Of the switch, known beforehand (WalletService.GetKeys)."""

    signing: RSAPublicKey
    envelope: ec.EllipticCurvePublicKey


class Phone:
    """One session. `hello()` is sent first; what arrives goes to `receive`; then `offer` is there to be agreed to."""

    def __init__(
        self, keys: PhoneKeys, entropy: Callable[[int], bytes] = token_bytes, make_key: MakeKey = fresh_key
    ) -> None:
        self._keys = keys
        self._ephemeral = make_key()
        self._hello = build_hello(self._ephemeral, entropy(HELLO_NONCE_BYTES))
        self._frames = FrameAssembler()
        self._certificate: TerminalCertificate | None = None
        self._sends: Direction | None = None
        self._receives: Direction | None = None
        self._handed_over = False
        self.offer: Offer | None = None
        self.result: str | None = None
        """DE39 of the payment, once the terminal has told it."""

    @property
    def is_amid(self) -> bool:
        """A frame has begun and not ended: what is missing was lost if the link falls silent."""
        return self._frames.is_amid

    def hello(self) -> bytes:
        return build_frame(FrameType.PHONE_HELLO, self._hello)

    def receive(self, chunk: bytes, now_ms: int) -> None:
        """Raises HandoverError: the session is over."""
        for kind, body in self._frames.feed(chunk):
            if kind is FrameType.TERMINAL_HELLO and self._sends is None:
                self._begin(body, now_ms)
            elif kind is FrameType.RECORD and self._receives is not None:
                self._take(*self._receives.open(body))
            else:
                raise HandoverError("a frame that is not expected now")

    def hand_over(self, kind: HandoverKind, payload: bytes, now_ms: int) -> bytes:
        """What is sent when the payer agrees to `offer`: once. kind, payload: as in a clear handover record."""
        if self.offer is None or self._sends is None or self._handed_over:
            raise HandoverError("there is no offer to agree to")
        self._handed_over = True
        terminal = self.offer.terminal
        binding = Binding(terminal.merchant_id, terminal.terminal_id, self.offer.money, self.offer.nonce, now_ms)
        sealed = seal_credential(self._keys.envelope, binding, kind, payload)
        return build_frame(FrameType.RECORD, self._sends.seal(Inside.CREDENTIAL, sealed))

    def _begin(self, hello: bytes, now_ms: int) -> None:
        other = check_hello(hello)
        size = HELLO_BYTES + 2 + int.from_bytes(hello[HELLO_BYTES : HELLO_BYTES + 2], "big")
        unsigned, signature = hello[:size], hello[size + 1 :]
        if len(hello) <= size or len(signature) != hello[size]:
            raise HandoverError("a hello of the wrong length")
        certificate = verify_certificate(unsigned[HELLO_BYTES + 2 :], self._keys.signing, now_ms)
        verify_hellos(read_point(certificate.public_key), self._hello, unsigned, signature)
        self._certificate = certificate
        self._sends, self._receives = agree(self._ephemeral, other, self._hello, hello)

    def _take(self, inside: int, content: bytes) -> None:
        assert self._certificate is not None  # there are no keys before
        if inside == Inside.OFFER and self.offer is None:
            self.offer = _read_offer(self._certificate, content)
        elif inside == Inside.RESULT and self._handed_over and self.result is None:
            self.result = content.decode("ascii", "replace")
        else:
            raise HandoverError("a record that is not expected now")


def _read_offer(certificate: TerminalCertificate, content: bytes) -> Offer:
    if len(content) != _OFFER.size:
        raise HandoverError("a malformed offer")
    amount_minor, currency, nonce = _OFFER.unpack(content)
    name = currency.decode("ascii", "replace")
    if name not in CURRENCIES or not 0 < amount_minor <= LARGEST_AMOUNT_MINOR:
        raise HandoverError("an offer of an impossible amount")
    return Offer(certificate, Money(amount_minor, name), nonce)


def offer_content(money: Money, nonce: bytes) -> bytes:
    """Amount (8 bytes, minor units), currency (3 letters), nonce (16)."""
    return _OFFER.pack(money.amount_minor, money.currency.encode("ascii"), nonce)
