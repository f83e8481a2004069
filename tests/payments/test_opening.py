"""The stage open: what a code or a handover becomes on the road, and what of it is kept."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from switch.domain.authorization import AuthorizationRequest, CardCredential, CodeCredential, Credential
from switch.domain.money import Money
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import Decision, EntryMode
from switch.payments.credential import unsealed
from switch.payments.errors import ContentDiffers, Unavailable
from switch.payments.opening import HANDOVER_SCHEME
from switch.payments.road import Road
from switch.ports import NotOpened, StoreUnavailable

pytestmark = pytest.mark.usefixtures("own_time")

CODE = "911234567890100596408877"
CARD = CardCredential(Pan("6225880000000005"), "4912")


class OneTimeOpener:
    """Opens each code for the first authorization that brings it."""

    def __init__(self, opens_to: Credential = CARD) -> None:
        self.opens_to = opens_to
        self.holders: dict[str, UUID] = {}
        self.batches: list[int] = []
        self.down = False

    async def open(self, presented: Sequence[tuple[UUID, AuthorizationRequest]]) -> list[Credential | NotOpened]:
        self.batches.append(len(presented))
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")
        opened: list[Credential | NotOpened] = []
        for authorization_id, request in presented:
            assert isinstance(request.credential, CodeCredential)
            holder = self.holders.setdefault(request.credential.code.reveal(), authorization_id)
            opened.append(self.opens_to if holder == authorization_id else NotOpened("57", "used before"))
        return opened


@pytest.fixture
async def codes(town: Any) -> AsyncIterator[OneTimeOpener]:
    opener = OneTimeOpener()
    town.world.openers = {"payswitch": opener}
    town.road = Road(town.world, town.settings)
    yield opener
    await town.road.close()


@pytest.fixture
def coded(request_of: Any) -> Any:
    def make(code: str = CODE, **fields: Any) -> AuthorizationRequest:
        credential = CodeCredential("payswitch", PaymentCode(code))
        return request_of(credential=credential, entry=EntryMode.PAYER_CODE, **fields)

    return make


async def test_a_code_is_paid_by_the_card_and_kept_as_the_card(town, codes, coded, request_of):
    record = await town.road.enter(coded(), 0.2)
    tapped = await town.road.enter(request_of(), 0.2)
    assert (record.decision, record.entry) == (Decision.APPROVED, EntryMode.PAYER_CODE)
    assert record.payer_key == tapped.payer_key
    assert record.masked_credential == "622588******0005"
    assert town.first.sent[0].credential == CARD
    assert await unsealed(town.hsm, record) == CardCredential(CARD.pan)


async def test_a_repeat_gets_its_answer_and_any_other_is_declined(town, codes, coded):
    request = coded()
    first = await town.road.enter(request, 0.2)
    again = await town.road.enter(request, 0.2)
    assert again == first
    other = await town.road.enter(coded(), 0.2)
    assert (other.decision, other.response_code, other.stage) == (Decision.DECLINED, "57", "open")
    assert CODE not in repr(other)
    assert other.masked_credential == "91********************77"
    assert len(town.first.sent) == 1


async def test_the_same_key_with_another_code_is_other_content(town, codes, coded):
    request = coded()
    await town.road.enter(request, 0.2)
    with pytest.raises(ContentDiffers):
        await town.road.enter(dataclasses.replace(request, money=Money(1, "CNY")), 0.2)
    other = CodeCredential("payswitch", PaymentCode(CODE[:-1] + "0"))
    with pytest.raises(ContentDiffers):
        await town.road.enter(dataclasses.replace(request, credential=other), 0.2)


async def test_codes_travel_in_one_batch_and_hold_up_nobody_else(town, codes, coded, request_of):
    codes.down = True
    answers = await asyncio.gather(
        *(town.road.enter(coded(f"91{n:022d}"), 0.2) for n in range(20)), town.road.enter(request_of(), 0.2),
        return_exceptions=True,
    )  # fmt: skip
    assert codes.batches == [20]
    assert all(isinstance(each, Unavailable) for each in answers[:-1])
    assert answers[-1].decision is Decision.APPROVED
    assert len(town.journal.rows) == 1


async def test_what_could_not_be_opened_is_sent_again(town, codes, coded):
    request = coded()
    codes.down = True
    with pytest.raises(Unavailable):
        await town.road.enter(request, 0.2)
    codes.down = False
    assert (await town.road.enter(request, 0.2)).decision is Decision.APPROVED


async def test_a_card_that_has_expired_is_told_behind_a_code(town, codes, coded):
    codes.opens_to = CardCredential(Pan("6225880000000005"), "2001")
    record = await town.road.enter(coded(), 0.2)
    assert (record.response_code, record.stage) == ("54", "open")


async def test_a_switch_without_a_wallet_takes_no_codes(town, coded):
    record = await town.road.enter(coded(), 0.2)
    assert (record.decision, record.response_code, record.stage) == (Decision.DECLINED, "40", "open")
    assert town.first.sent == []


async def test_a_handover_may_carry_a_code_of_ours(town, codes, request_of):
    inner = CodeCredential("payswitch", PaymentCode(CODE))
    town.world.openers = {HANDOVER_SCHEME: OneTimeOpener(inner), "payswitch": codes}
    road = Road(town.world, town.settings)
    sealed = CodeCredential(HANDOVER_SCHEME, PaymentCode("cmVjb3Jk" * 20))
    record = await road.enter(request_of(credential=sealed, entry=EntryMode.BLUETOOTH), 0.2)
    assert (record.decision, record.masked_credential) == (Decision.APPROVED, "622588******0005")
    assert codes.holders == {CODE: record.id}
