"""Where a merchant is paid out: changed by two people, after a wait, and never shown whole."""

import asyncio
from dataclasses import replace

import pytest
from merchant_office import ANN, BOB, HOUR_MS, Office, account, acquirer, terms

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.access import Caller
from switch.domain.refusals import Missing, NotPermitted, NotPossible

NEW = "6222029999999999"


async def proposed(office: Office, merchant_id: str, owner: Caller, number: str = NEW) -> str:
    request = pb.ProposeSettlementAccountRequest(merchant_id=merchant_id, account=account(number))
    answer = (await office.service.ProposeSettlementAccount(request, owner)).account
    assert answer.state == pb.SETTLEMENT_ACCOUNT_STATE_PROPOSED
    return answer.account_id


async def states(office: Office, merchant_id: str) -> list[tuple[str, int]]:
    request = pb.ListSettlementAccountsRequest(merchant_id=merchant_id)
    found = (await office.service.ListSettlementAccounts(request, ANN)).accounts
    return [(each.account.account_number[-4:], each.state) for each in found]


async def paid_to(office: Office, merchant_id: str) -> str:
    contract = (await office.merchants.contracts([merchant_id], "2025-11-27"))[merchant_id]
    return contract.account_number


async def agreed(office: Office, merchant_id: str) -> None:
    request = pb.ProposeContractRequest(merchant_id=merchant_id, terms=terms())
    version = (await office.service.ProposeContract(request, ANN)).contract.version
    await office.service.ApproveContract(pb.ApproveContractRequest(merchant_id=merchant_id, version=version), BOB)


async def test_another_account_is_in_force_after_approval_and_cooling_off(office: Office) -> None:
    merchant_id, owner = await office.active()
    await agreed(office, merchant_id)
    assert await paid_to(office, merchant_id) == "6222021234567890"
    office.clock.now_ms += 1
    account_id = await proposed(office, merchant_id, owner)
    decide = pb.ApproveSettlementAccountRequest(merchant_id=merchant_id, account_id=account_id)
    approved = (await office.service.ApproveSettlementAccount(decide, ANN)).account
    assert approved.state == pb.SETTLEMENT_ACCOUNT_STATE_COOLING_OFF
    office.clock.now_ms += 24 * HOUR_MS - 1
    assert await paid_to(office, merchant_id) == "6222021234567890"
    office.clock.now_ms += 1
    assert await paid_to(office, merchant_id) == NEW
    assert await states(office, merchant_id) == [
        ("9999", pb.SETTLEMENT_ACCOUNT_STATE_IN_FORCE),
        ("7890", pb.SETTLEMENT_ACCOUNT_STATE_REPLACED),
    ]
    assert [kind for _, kind, _ in office.alerts] == ["settlement_account"] * 2
    assert not any(NEW in text for _, _, text in office.alerts)


async def test_it_can_be_cancelled_until_it_is_in_force(office: Office) -> None:
    merchant_id, owner = await office.active()
    office.clock.now_ms += 1
    first = await proposed(office, merchant_id, owner)
    with pytest.raises(NotPossible):
        await proposed(office, merchant_id, owner, "6222028888888888")
    approve = pb.ApproveSettlementAccountRequest(merchant_id=merchant_id, account_id=first)
    cancel = pb.CancelSettlementAccountRequest(merchant_id=merchant_id, account_id=first)
    await office.service.ApproveSettlementAccount(approve, ANN)
    await office.service.CancelSettlementAccount(cancel, owner)
    for call in (
        office.service.CancelSettlementAccount(cancel, owner),
        office.service.ApproveSettlementAccount(approve, ANN),
    ):
        with pytest.raises(NotPossible):
            await call
    office.clock.now_ms += 48 * HOUR_MS
    assert await states(office, merchant_id) == [
        ("9999", pb.SETTLEMENT_ACCOUNT_STATE_CANCELLED),
        ("7890", pb.SETTLEMENT_ACCOUNT_STATE_IN_FORCE),
    ]


async def test_who_proposed_it_does_not_approve_it(office: Office) -> None:
    merchant_id, _ = await office.active(acquirer("carol"))
    account_id = await proposed(office, merchant_id, acquirer("carol"))
    approve = pb.ApproveSettlementAccountRequest(merchant_id=merchant_id, account_id=account_id)
    with pytest.raises(NotPermitted):
        await office.service.ApproveSettlementAccount(approve, replace(ANN, name="reviewer/carol"))
    await office.service.ApproveSettlementAccount(approve, BOB)


async def test_approved_and_cancelled_at_once_is_one_of_them(office: Office) -> None:
    merchant_id, owner = await office.active()
    account_id = await proposed(office, merchant_id, owner)
    names = {"merchant_id": merchant_id, "account_id": account_id}
    await asyncio.gather(
        office.service.ApproveSettlementAccount(pb.ApproveSettlementAccountRequest(**names), ANN),
        office.service.CancelSettlementAccount(pb.CancelSettlementAccountRequest(**names), owner),
        return_exceptions=True,
    )
    # Whichever came first: approved first, the cancellation still holds; cancelled first, nothing is approved.
    assert (await states(office, merchant_id))[0] == ("9999", pb.SETTLEMENT_ACCOUNT_STATE_CANCELLED)


async def test_another_merchants_account_is_not_there(office: Office) -> None:
    merchant_id, owner = await office.active()
    other_id, _ = await office.active()
    account_id = await proposed(office, merchant_id, owner)
    with pytest.raises(Missing):
        await office.service.ApproveSettlementAccount(
            pb.ApproveSettlementAccountRequest(merchant_id=other_id, account_id=account_id), ANN
        )


async def test_a_number_is_sealed_for_its_row_and_in_no_text(office: Office) -> None:
    merchant_id, _ = await office.active()
    await agreed(office, merchant_id)
    rows = await office.pool.fetch("SELECT * FROM merchant_accounts WHERE merchant_id = $1", merchant_id)
    assert b"6222021234567890" not in rows[0]["sealed_number"]
    other_id, _ = await office.active()
    await agreed(office, other_id)
    await office.pool.execute(
        "UPDATE merchant_accounts SET sealed_number = $2 WHERE merchant_id = $1", other_id, rows[0]["sealed_number"]
    )
    with pytest.raises(Exception, match="cannot be opened"):
        await office.merchants.contracts([other_id], "2025-11-27")
    contracts = await office.merchants.contracts([merchant_id], "2025-11-27")
    assert "6222021234567890" not in repr(contracts)
