"""From an application to a merchant, by two reviewers; what it may become, by two people."""

import asyncio
import json

import pytest
from merchant_office import ANN, BOB, PNG, Office, account, acquirer, acting, business, payer

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.access import Caller, Role
from switch.domain.merchant import MerchantState
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible, TooMany

CAROL = Caller("reviewer/carol", frozenset({Role.REVIEWER}))
OPERATOR = Caller("operator/ops", frozenset({Role.OPERATOR}))


def review(merchant_id: str, approve: bool = True, round_: int = 1) -> pb.ReviewApplicationRequest:
    reason = "" if approve else "the licence is another business's"
    return pb.ReviewApplicationRequest(merchant_id=merchant_id, round=round_, approve=approve, reason=reason)


async def test_two_reviews_make_a_merchant_and_its_owner(office: Office) -> None:
    user = payer()
    merchant_id = await office.applied(user)
    assert len(merchant_id) == 15
    assert await office.merchants.role_of(merchant_id, user.user_id) is None
    first = (await office.service.ReviewApplication(review(merchant_id), ANN)).application
    assert first.state == pb.MERCHANT_STATE_APPLIED
    second = (await office.service.ReviewApplication(review(merchant_id), BOB)).application
    assert second.state == pb.MERCHANT_STATE_ACTIVE
    assert [each.reviewer for each in second.reviews] == ["reviewer/ann", "reviewer/bob"]
    assert await office.merchants.role_of(merchant_id, user.user_id) is Role.MERCHANT_OWNER
    profile = await office.merchants.profile(merchant_id)
    assert profile is not None
    assert (profile.name, profile.city, profile.country) == ("CORNER SHOP", "SHANGHAI", "CN")
    assert (profile.acquirer_id, profile.state) == ("payswitch", MerchantState.ACTIVE)
    owner = acting(user, merchant_id, Role.MERCHANT_OWNER)
    merchant = (await office.service.GetMerchant(pb.GetMerchantRequest(merchant_id=merchant_id), owner)).merchant
    assert merchant.account.account_number == "************7890"


async def test_reviews_of_one_moment_have_an_order(office: Office) -> None:
    """The clock stands: whoever was first, they are told by person."""
    merchant_id = await office.applied(payer())
    await office.service.ReviewApplication(review(merchant_id), BOB)
    second = (await office.service.ReviewApplication(review(merchant_id), ANN)).application
    assert [each.reviewer for each in second.reviews] == ["reviewer/ann", "reviewer/bob"]
    assert len({each.time_ms for each in second.reviews}) == 1


async def test_one_person_is_never_two(office: Office) -> None:
    merchant_id = await office.applied(payer())
    await office.service.ReviewApplication(review(merchant_id), ANN)
    with pytest.raises(NotPermitted):
        await office.service.ReviewApplication(review(merchant_id), ANN)
    own = await office.applied(acquirer("bob"))
    with pytest.raises(NotPermitted):
        await office.service.ReviewApplication(review(own), BOB)


async def test_two_reviewers_at_once_are_decided_one_after_the_other(office: Office) -> None:
    merchant_id = await office.applied(payer())
    answers = await asyncio.gather(
        *(office.service.ReviewApplication(review(merchant_id), each) for each in (ANN, BOB, CAROL, ANN)),
        return_exceptions=True,
    )
    done = [each for each in answers if not isinstance(each, BaseException)]
    assert len(done) == 2
    application = await office.service.GetApplication(pb.GetApplicationRequest(merchant_id=merchant_id), ANN)
    assert application.application.state == pb.MERCHANT_STATE_ACTIVE
    assert len({each.reviewer for each in application.application.reviews}) == 2
    assert all(isinstance(each, NotPermitted | NotPossible) for each in answers if each not in done)
    members = await office.pool.fetch("SELECT role FROM merchant_members WHERE merchant_id = $1", merchant_id)
    assert [each["role"] for each in members] == [Role.MERCHANT_OWNER]


async def test_a_rejected_one_applies_again_and_old_reviews_do_not_count(office: Office) -> None:
    user = payer()
    merchant_id = await office.applied(user)
    await office.service.ReviewApplication(review(merchant_id), ANN)
    await office.service.ReviewApplication(review(merchant_id, approve=False), BOB)
    with pytest.raises(NotPossible):
        await office.service.ReviewApplication(review(merchant_id), CAROL)
    again = pb.ApplyRequest(merchant_id=merchant_id, business=business(), account=account("6222029999999999"))
    with pytest.raises(Missing):
        await office.service.Apply(again, payer())
    application = (await office.service.Apply(again, user)).application
    assert (application.round, len(application.reviews)) == (2, 0)
    assert application.account.account_number == "************9999"
    with pytest.raises(NotPossible, match="round 2"):
        await office.service.ReviewApplication(review(merchant_id), ANN)
    for each in (ANN, CAROL):
        await office.service.ReviewApplication(review(merchant_id, round_=2), each)
    found = await office.service.GetMerchant(pb.GetMerchantRequest(merchant_id=merchant_id), OPERATOR)
    assert found.merchant.account.account_number == "************9999"


async def test_a_repeated_application_is_the_same_one(office: Office) -> None:
    user = payer()
    request = pb.ApplyRequest(business=business(), account=account())
    first, *others = await asyncio.gather(*(office.service.Apply(request, user) for _ in range(4)))
    assert all(each == first for each in others)
    other_account = pb.ApplyRequest(business=request.business, account=account("6222029999999999"))
    with pytest.raises(Exists):
        await office.service.Apply(other_account, user)
    for _ in range(4):
        await office.service.Apply(pb.ApplyRequest(business=business(), account=account()), user)
    with pytest.raises(TooMany):
        await office.service.Apply(pb.ApplyRequest(business=business(), account=account()), user)


async def test_an_application_is_seen_by_its_applicant_and_the_reviewers(office: Office) -> None:
    user = payer()
    merchant_id = await office.applied(user)
    request = pb.GetApplicationRequest(merchant_id=merchant_id)
    assert (await office.service.GetApplication(request, user)).application.merchant_id == merchant_id
    assert (await office.service.GetApplication(request, OPERATOR)).application.documents[0].size_bytes == len(PNG)
    for stranger in (payer(), acquirer()):
        with pytest.raises(Missing):
            await office.service.GetApplication(request, stranger)


async def test_applications_are_paged_newest_first(office: Office) -> None:
    made = []
    for number in range(5):
        office.clock.now_ms += number % 2  # some in the same millisecond
        made.append((office.clock.now_ms, await office.applied(acquirer())))
    await office.applied(payer())
    found, token = [], ""
    while True:
        request = pb.ListApplicationsRequest(page_size=2, page_token=token, state=pb.MERCHANT_STATE_APPLIED)
        page = await office.service.ListApplications(request, acquirer())
        found += [(each.applied_time_ms, each.merchant_id) for each in page.applications]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(made, reverse=True)
    everybody = await office.service.ListApplications(pb.ListApplicationsRequest(), ANN)
    assert len(everybody.applications) == 6
    nobody = await office.service.ListApplications(pb.ListApplicationsRequest(state=pb.MERCHANT_STATE_CLOSED), ANN)
    assert not nobody.applications
    for request in (pb.ListApplicationsRequest(page_token="1.'x"), pb.ListApplicationsRequest(page_size=101)):
        with pytest.raises(Invalid):
            await office.service.ListApplications(request, ANN)


async def test_documents_are_bounded_typed_and_fixed_once_somebody_has_looked(office: Office) -> None:
    user = payer()
    merchant_id = await office.applied(user)

    def document(content: bytes) -> pb.AddDocumentRequest:
        return pb.AddDocumentRequest(merchant_id=merchant_id, kind=pb.DOCUMENT_KIND_OTHER, content=content)

    same = await office.service.AddDocument(document(PNG), user)
    assert same.document.kind == pb.DOCUMENT_KIND_BUSINESS_LICENCE
    for number in range(2):
        await office.service.AddDocument(document(b"%PDF-1.7 " + bytes([number])), user)
    with pytest.raises(TooMany):
        await office.service.AddDocument(document(b"%PDF-1.7 3"), user)
    for wrong in (b"", b"MZ", PNG + bytes(262_144)):
        with pytest.raises(Invalid):
            await office.service.AddDocument(document(wrong), user)
    with pytest.raises(Missing):
        await office.service.AddDocument(document(b"%PDF-1.7 x"), payer())
    await office.service.ReviewApplication(review(merchant_id), ANN)
    with pytest.raises(NotPossible):
        await office.service.AddDocument(document(b"%PDF-1.7 y"), user)
    asked = pb.GetDocumentRequest(merchant_id=merchant_id, document_id=same.document.document_id)
    assert (await office.service.GetDocument(asked, ANN)).content == PNG
    with pytest.raises(Missing):
        await office.service.GetDocument(asked, payer())
    assert [each["who"] for each in await office.audited(merchant_id) if each["act"].endswith("GetDocument")] == [
        "reviewer/ann"
    ]


async def test_nothing_is_approved_without_a_licence(office: Office) -> None:
    request = pb.ApplyRequest(business=business(), account=account())
    merchant_id = (await office.service.Apply(request, payer())).application.merchant_id
    with pytest.raises(NotPossible, match="licence"):
        await office.service.ReviewApplication(review(merchant_id), ANN)


async def test_one_suspends_two_resume_and_two_close(office: Office) -> None:
    merchant_id, owner = await office.active()
    why = {"merchant_id": merchant_id, "reason": "complaints"}
    suspended = (await office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN)).merchant
    assert (suspended.state, suspended.state_reason) == (pb.MERCHANT_STATE_SUSPENDED, "complaints")
    with pytest.raises(NotPossible):
        await office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN)
    asked = (await office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), ANN)).merchant
    assert (asked.state, asked.asked_state) == (pb.MERCHANT_STATE_SUSPENDED, pb.MERCHANT_STATE_ACTIVE)
    # The same person under another role is the same person.
    for again in (ANN, Caller("operator/ann", frozenset({Role.OPERATOR}))):
        with pytest.raises(NotPermitted):
            await office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), again)
    resumed = (await office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), OPERATOR)).merchant
    assert (resumed.state, resumed.asked_by) == (pb.MERCHANT_STATE_ACTIVE, "")
    with pytest.raises(NotPossible):
        await office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), ANN)
    await office.service.CloseMerchant(pb.CloseMerchantRequest(**why), BOB)
    office.clock.now_ms += 8 * 24 * 3_600_000  # too late: it counts as the first again
    assert (
        await office.service.CloseMerchant(pb.CloseMerchantRequest(**why), ANN)
    ).merchant.state == pb.MERCHANT_STATE_ACTIVE
    closed = (await office.service.CloseMerchant(pb.CloseMerchantRequest(**why), BOB)).merchant
    assert closed.state == pb.MERCHANT_STATE_CLOSED
    assert owner.user_id is not None
    assert await office.merchants.role_of(merchant_id, owner.user_id) is Role.MERCHANT_VIEWER
    for call in (
        office.service.CloseMerchant(pb.CloseMerchantRequest(**why), ANN),
        office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN),
        office.service.AddStore(pb.AddStoreRequest(merchant_id=merchant_id, name="x", address="y"), owner),
    ):
        with pytest.raises(NotPossible):
            await call


async def test_an_applied_merchant_is_neither_resumed_nor_closed(office: Office) -> None:
    merchant_id = await office.applied(payer())
    why = {"merchant_id": merchant_id, "reason": "x"}
    for call in (
        office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), ANN),
        office.service.CloseMerchant(pb.CloseMerchantRequest(**why), ANN),
        office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN),
    ):
        with pytest.raises(NotPossible):
            await call


async def test_an_acquirer_reaches_its_own_merchants_only(office: Office) -> None:
    merchant_id, _ = await office.active(acquirer("acme"))
    request = pb.GetMerchantRequest(merchant_id=merchant_id)
    assert (await office.service.GetMerchant(request, acquirer("acme"))).merchant.acquirer_id == "acme"
    with pytest.raises(Missing):
        await office.service.GetMerchant(request, acquirer("other"))
    invite = pb.InviteRequest(merchant_id=merchant_id, role=20)  # type: ignore[arg-type]
    code = (await office.service.Invite(invite, acquirer("acme"))).code
    assert (await office.service.RedeemInvitation(pb.RedeemInvitationRequest(code=code), payer())).role == 20


async def test_the_audit_trail_tells_who_did_what_and_no_secret(office: Office) -> None:
    merchant_id, owner = await office.active()
    contact = pb.MerchantContact(name="李娜", phone="+8613900000000", email="li@example.cn")
    await office.service.ChangeContact(pb.ChangeContactRequest(merchant_id=merchant_id, contact=contact), owner)
    found, token = [], ""
    while True:
        request = pb.ListMerchantChangesRequest(merchant_id=merchant_id, page_size=2, page_token=token)
        page = await office.service.ListMerchantChanges(request, owner)
        found += page.changes
        token = page.next_page_token
        if not token:
            break
    acts = [each.act.removeprefix("MerchantService.") for each in found]
    assert sorted(acts) == ["AddDocument", "Apply", "ChangeContact", "ReviewApplication", "ReviewApplication"]
    change = next(each for each in found if each.act.endswith("ChangeContact"))
    assert (change.who, change.subject) == (owner.name, f"merchant/{merchant_id}")
    assert json.loads(change.before) == {"name": "王伟", "phone": "+8613800000000", "email": "wang@example.cn"}
    assert json.loads(change.after)["name"] == "李娜"
    assert not any("6222021234567890" in each.before + each.after for each in found)
