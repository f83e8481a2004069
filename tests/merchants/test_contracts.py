"""Contracts: two people, versions that never change, and a rate for every channel."""

import asyncio
from typing import Any

import pytest
from merchant_office import ANN, BOB, HOUR_MS, Office, payer, terms

from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_fields
from switch.domain.access import Caller
from switch.domain.contract import fee_minor, rate_for
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.merchants.contracts import check_terms

TODAY, TOMORROW, LATER = "2025-11-27", "2025-11-28", "2025-12-05"


async def proposed(office: Office, merchant_id: str, from_day: str, *rates: pb.ContractRate, **fields: Any) -> int:
    request = pb.ProposeContractRequest(merchant_id=merchant_id, terms=terms(from_day, *rates, **fields))
    return (await office.service.ProposeContract(request, ANN)).contract.version


async def approve(office: Office, merchant_id: str, version: int, who: Caller = BOB) -> pb.ContractRecord:
    request = pb.ApproveContractRequest(merchant_id=merchant_id, version=version)
    return (await office.service.ApproveContract(request, who)).contract


async def in_force(office: Office, merchant_id: str, day: str) -> int | None:
    contract = (await office.merchants.contracts([merchant_id, "NOBODY"], day)).get(merchant_id)
    return contract.version if contract else None


async def test_versions_follow_each_other_from_their_days_on(office: Office) -> None:
    merchant_id, _ = await office.active()
    first = await proposed(office, merchant_id, TODAY)
    assert await in_force(office, merchant_id, TODAY) is None
    await approve(office, merchant_id, first)
    second = await proposed(office, merchant_id, LATER, pb.ContractRate(basis_points=60, cap_minor=100))
    await approve(office, merchant_id, second)
    assert (first, second) == (1, 2)
    assert await in_force(office, merchant_id, "2025-11-26") is None
    assert await in_force(office, merchant_id, "2025-12-04") == 1
    assert await in_force(office, merchant_id, LATER) == 2
    [contract] = (await office.merchants.contracts([merchant_id], LATER)).values()
    rate = rate_for(contract, "alipay", "", 0)
    assert rate is not None
    assert fee_minor(rate, 1_000_000) == 100


async def test_two_people_and_no_day_that_has_begun(office: Office) -> None:
    merchant_id, _ = await office.active()
    first = await proposed(office, merchant_id, TODAY)
    with pytest.raises(NotPermitted):
        await approve(office, merchant_id, first, ANN)
    await approve(office, merchant_id, first)
    with pytest.raises(NotPossible):
        await proposed(office, merchant_id, "2025-11-26")
    with pytest.raises(NotPossible):
        await proposed(office, merchant_id, TODAY)
    late = await proposed(office, merchant_id, TOMORROW)
    office.clock.now_ms += 12 * HOUR_MS  # midnight in Shanghai: that day has begun
    with pytest.raises(NotPossible, match="2025-11-28"):
        await approve(office, merchant_id, late)
    with pytest.raises(NotPossible):
        await approve(office, merchant_id, first)
    with pytest.raises(Missing):
        await approve(office, merchant_id, 9)


async def test_while_no_contract_has_begun_one_reaches_back_a_month(office: Office) -> None:
    merchant_id, _ = await office.active()
    await approve(office, merchant_id, await proposed(office, merchant_id, LATER))
    with pytest.raises(NotPossible, match="2025-10-27 or later"):
        await proposed(office, merchant_id, "2025-10-26")
    back = await proposed(office, merchant_id, "2025-10-27")
    office.clock.now_ms += 12 * HOUR_MS
    with pytest.raises(NotPossible, match="2025-10-28 or later"):
        await approve(office, merchant_id, back)
    back = await proposed(office, merchant_id, "2025-10-28")
    await approve(office, merchant_id, back)
    assert await in_force(office, merchant_id, "2025-10-28") == back
    with pytest.raises(NotPossible, match="after"):
        await proposed(office, merchant_id, "2025-10-29")


async def test_an_overtaken_proposal_is_not_approved_any_more(office: Office) -> None:
    merchant_id, _ = await office.active()
    first, second = await proposed(office, merchant_id, TODAY), await proposed(office, merchant_id, TODAY)
    await approve(office, merchant_id, second)
    with pytest.raises(NotPossible):
        await approve(office, merchant_id, first)
    refused = pb.RefuseContractRequest(merchant_id=merchant_id, version=first)
    assert (await office.service.RefuseContract(refused, ANN)).contract.state == pb.CONTRACT_STATE_REFUSED


async def test_proposals_at_once_get_versions_of_their_own(office: Office) -> None:
    merchant_id, owner = await office.active()
    versions = await asyncio.gather(*(proposed(office, merchant_id, LATER) for _ in range(4)))
    assert sorted(versions) == [1, 2, 3, 4]
    request = pb.ListContractsRequest(merchant_id=merchant_id)
    listed = (await office.service.ListContracts(request, owner)).contracts
    assert [each.version for each in listed] == [4, 3, 2, 1]
    answers = await asyncio.gather(*(approve(office, merchant_id, 4) for _ in range(3)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in answers) == 1


R = pb.ContractRate


@pytest.mark.parametrize(
    ("rates", "fields", "named"),
    [
        ([R(channel="alipay", basis_points=38)], {}, "unionpay"),
        ([R(card_type="debit", basis_points=38)], {}, "unionpay, alipay"),
        ([R(from_minor=1, basis_points=38)], {}, "unionpay, alipay"),
        ([R(channel="alipay"), R(channel="unionpay", card_type="credit")], {}, "unionpay"),
        ([R(basis_points=38), R(basis_points=40)], {}, "same"),
        ([R(basis_points=1_001)], {}, "basis_points"),
        ([R(channel="cash")], {}, "channel"),
        ([R(card_type="gold")], {}, "card_type"),
        ([R(minimum_minor=10, cap_minor=9)], {}, "cap_minor"),
        ([R(fixed_minor=-1)], {}, "amount"),
        ([R()] * 201, {}, "rates"),
        ([R()], {"reserve_basis_points": 5_001, "reserve_days": 1}, "reserve_basis_points"),
        ([R()], {"reserve_basis_points": 100}, "reserve_days"),
        ([R()], {"reserve_basis_points": 100, "reserve_days": 366}, "reserve_days"),
    ],
)
def test_a_contract_that_is_wrong_is_refused_by_name(
    rates: list[pb.ContractRate], fields: dict[str, int], named: str
) -> None:
    contract = merchant_fields.terms("M1", terms(TODAY, *rates, **fields))
    with pytest.raises(Invalid, match=named):
        check_terms(contract, ("unionpay", "alipay"))


async def test_a_line_for_each_channel_is_enough(office: Office) -> None:
    merchant_id, _ = await office.active()
    rates = [R(channel="alipay", basis_points=38), R(channel="unionpay", basis_points=50)]
    assert await proposed(office, merchant_id, TODAY, *rates, R(channel="issuer:bank-1")) == 1


@pytest.mark.parametrize("from_day", ["", "20251127", "2025-02-30", "2025-W48-4", "2025-11-27T00"])
def test_a_day_is_a_day(from_day: str) -> None:
    with pytest.raises(Invalid, match="from_day"):
        merchant_fields.terms("M1", terms(from_day))


async def test_none_with_a_merchant_that_is_not_there_or_rejected(office: Office) -> None:
    with pytest.raises(Missing):
        await proposed(office, "NOBODY", TODAY)
    merchant_id = await office.applied(payer())
    assert await proposed(office, merchant_id, TODAY) == 1  # agreed while it is reviewed
    review = pb.ReviewApplicationRequest(merchant_id=merchant_id, round=1, reason="no")
    await office.service.ReviewApplication(review, BOB)
    with pytest.raises(NotPossible):
        await proposed(office, merchant_id, TODAY)
