"""WalletService: a user's cards and the devices that show payment codes."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError

from payswitch.v1 import wallet_pb2 as pb
from switch.api.errors import InvalidField
from switch.domain.access import Caller
from switch.domain.card import Card, CardState
from switch.domain.refusals import NotProved
from switch.domain.sensitive import Pan
from switch.ports import Hsm
from switch.users.cards import CardsOfUsers
from switch.users.code_enrolment import CodeEnrolments

CARD_INFO: Final = b"payswitch wallet card 1|"
_ENCAPSULATED_BYTES: Final = 65
_LARGEST_SEALED_BYTES: Final = 256
_AES_128_GCM: Final = 1
_STATES: Final[Mapping[CardState, pb.CardState]] = {
    CardState.PENDING: pb.CARD_STATE_PENDING,
    CardState.ACTIVE: pb.CARD_STATE_ACTIVE,
}


class WalletServicer:
    """keys: labels of the wallet's and the handovers' ENVELOPE keys and the handovers' SIGNING key."""

    def __init__(
        self,
        cards: CardsOfUsers,
        enrolments: CodeEnrolments,
        hsm: Hsm,
        keys: tuple[str, str, str] = ("wallet/envelope", "handover/envelope", "handover/sign"),
    ) -> None:
        self._cards = cards
        self._enrolments = enrolments
        self._hsm = hsm
        self._keys = keys

    async def GetKeys(self, request: pb.GetKeysRequest, caller: Caller) -> pb.GetKeysResponse:
        wallet, handover, signing = [(await self._hsm.public_key(each)).decode() for each in self._keys]
        return pb.GetKeysResponse(wallet_envelope=wallet, handover_envelope=handover, handover_signing=signing)

    async def AddCard(self, request: pb.AddCardRequest, caller: Caller) -> pb.AddCardResponse:
        user_id = _user(caller)
        number = await self._number(request, user_id)
        card = await self._cards.add(caller.name, user_id, Pan(number.pan), number.expiry)
        return pb.AddCardResponse(card=_shown(card))

    async def ProveCard(self, request: pb.ProveCardRequest, caller: Caller) -> pb.ProveCardResponse:
        card_id = _uuid(request.card_id, "card_id")
        card = await self._cards.prove(caller.name, _user(caller), card_id, request.amount_minor)
        return pb.ProveCardResponse(card=_shown(card))

    async def ListCards(self, request: pb.ListCardsRequest, caller: Caller) -> pb.ListCardsResponse:
        return pb.ListCardsResponse(cards=[_shown(each) for each in await self._cards.cards(_user(caller))])

    async def SetDefaultCard(self, request: pb.SetDefaultCardRequest, caller: Caller) -> pb.SetDefaultCardResponse:
        card = await self._cards.set_default(caller.name, _user(caller), _uuid(request.card_id, "card_id"))
        return pb.SetDefaultCardResponse(card=_shown(card))

    async def RemoveCard(self, request: pb.RemoveCardRequest, caller: Caller) -> pb.RemoveCardResponse:
        await self._cards.remove(caller.name, _user(caller), _uuid(request.card_id, "card_id"))
        return pb.RemoveCardResponse()

    async def EnrolPaymentCodes(
        self, request: pb.EnrolPaymentCodesRequest, caller: Caller
    ) -> pb.EnrolPaymentCodesResponse:
        device_id = _uuid(request.device_id, "device_id")
        enrolled = await self._enrolments.enrol(
            caller.name, _user(caller), device_id, request.envelope, request.signature
        )
        return pb.EnrolPaymentCodesResponse(device_number=enrolled.number, salt=enrolled.salt)

    async def WithdrawPaymentCodes(
        self, request: pb.WithdrawPaymentCodesRequest, caller: Caller
    ) -> pb.WithdrawPaymentCodesResponse:
        await self._enrolments.withdraw(caller.name, _user(caller), _uuid(request.device_id, "device_id"))
        return pb.WithdrawPaymentCodesResponse()

    async def _number(self, request: pb.AddCardRequest, user_id: UUID) -> pb.CardNumber:
        match request.WhichOneof("presented"):
            case "card":
                return request.card
            case "sealed_card":
                return await self._unsealed(request.sealed_card, user_id)
            case _:
                raise InvalidField("presented", "exactly one of card and sealed_card is needed")

    async def _unsealed(self, sealed: bytes, user_id: UUID) -> pb.CardNumber:
        if not _ENCAPSULATED_BYTES < len(sealed) <= _LARGEST_SEALED_BYTES:
            raise InvalidField("sealed_card", f"must be {_ENCAPSULATED_BYTES + 1} to {_LARGEST_SEALED_BYTES} bytes")
        encapsulated, ciphertext = sealed[:_ENCAPSULATED_BYTES], sealed[_ENCAPSULATED_BYTES:]
        item = (self._keys[0], _AES_128_GCM, encapsulated, CARD_INFO + user_id.bytes, b"", ciphertext)
        [clear] = await self._hsm.run("open_envelopes", [item])
        if isinstance(clear, Exception):
            if type(clear).__name__ in ("MacMismatch", "InvalidCommand"):
                raise NotProved("sealed_card does not open")
            raise clear
        try:
            return pb.CardNumber.FromString(bytes(clear))
        except DecodeError:
            raise InvalidField("sealed_card", "holds no CardNumber") from None


def _user(caller: Caller) -> UUID:
    assert caller.user_id is not None  # the gate lets nobody else be a PAYER
    return caller.user_id


def _uuid(value: str, field: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise InvalidField(field, "must be a UUID") from error


def _shown(card: Card) -> pb.Card:
    return pb.Card(
        card_id=str(card.id),
        state=_STATES.get(card.state, pb.CARD_STATE_UNSPECIFIED),
        masked=card.masked,
        brand=card.brand,
        channel=card.channel,
        expiry=card.expiry_yymm,
        is_default=card.is_default,
        created_time_ms=card.created_time_ms,
        tries=card.verification.tries,
    )
