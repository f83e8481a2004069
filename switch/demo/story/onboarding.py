"""A merchant comes aboard: application, two reviews, contract, store and terminal, people, credential."""

import secrets

from payswitch.v1 import access_pb2
from payswitch.v1 import merchant_pb2 as pb
from switch.demo.story.callers import expect
from switch.demo.story.people import register
from switch.demo.story.reckoning import RATES, RESERVE_BASIS_POINTS, RESERVE_DAYS
from switch.demo.story.stage import Story
from switch.domain.registration import check_character

ACCOUNT_NUMBER = "6222021234567890"
_LICENCE = b"\x89PNG\r\n\x1a\n" + bytes(64)


async def applies(story: Story) -> str:
    """The owner registers and applies; two reviewers approve, and one of them twice is one."""
    owner = story.owner = await register(story.people, story.mailbox, "owner")
    await owner.add_passkey()
    await owner.log_in_with_passkey()
    application = (await owner.ask(pb.ApplyRequest(business=_business(), account=_account()))).application
    story.merchant_id = application.merchant_id
    document = pb.AddDocumentRequest(
        merchant_id=story.merchant_id, kind=pb.DOCUMENT_KIND_BUSINESS_LICENCE, content=_LICENCE
    )
    await owner.ask(document)
    review = pb.ReviewApplicationRequest(merchant_id=story.merchant_id, round=application.round, approve=True)
    first = await story.ann.ask(review)
    expect(first.application.state, pb.MERCHANT_STATE_APPLIED, "after one review")
    await story.ann.refused(review, "PERMISSION_DENIED")
    second = await story.bob.ask(review)
    expect(second.application.state, pb.MERCHANT_STATE_ACTIVE, "after two reviews")
    [membership] = (await owner.ask(pb.ListMembershipsRequest())).memberships
    expect((membership.merchant_id, membership.role), (story.merchant_id, access_pb2.ROLE_MERCHANT_OWNER), "owner")
    return f"{story.merchant_id}, approved by two people"


async def agrees(story: Story) -> str:
    """A contract from today, proposed by one reviewer and approved by another."""
    rates = [pb.ContractRate(channel=each) for each in RATES]
    for rate, fields in zip(rates, RATES.values(), strict=True):
        rate.MergeFrom(pb.ContractRate(**fields))  # type: ignore[arg-type]
    terms = pb.ContractTerms(
        from_day=story.today().isoformat(),
        currency="CNY",
        rates=rates,
        reserve_basis_points=RESERVE_BASIS_POINTS,
        reserve_days=RESERVE_DAYS,
        refunds_return_fee=True,
    )
    proposed = (await story.ann.ask(pb.ProposeContractRequest(merchant_id=story.merchant_id, terms=terms))).contract
    approval = pb.ApproveContractRequest(merchant_id=story.merchant_id, version=proposed.version)
    await story.ann.refused(approval, "PERMISSION_DENIED")
    approved = (await story.bob.ask(approval)).contract
    expect(approved.state, pb.CONTRACT_STATE_APPROVED, "the contract")
    return f"version {approved.version}, {len(rates)} rates, {RESERVE_BASIS_POINTS / 100:g} % held back"


async def opens(story: Story) -> str:
    """A store with a terminal, a manager who was invited, a till with a credential of its own."""
    owner, merchant_id = story.owner, story.merchant_id
    added = await owner.ask(pb.AddStoreRequest(merchant_id=merchant_id, name="Nanjing Road", address="1 Nanjing Road"))
    story.store_id = added.store.store_id
    terminal = pb.AddTerminalRequest(
        merchant_id=merchant_id, terminal_id=story.terminal_id, store_id=story.store_id, label="till 1"
    )
    await owner.ask(terminal)
    invite = pb.InviteRequest(merchant_id=merchant_id, role=access_pb2.ROLE_MERCHANT_MANAGER, label="Li")
    manager = story.manager = await register(story.people, story.mailbox, "manager")
    await manager.add_passkey()
    await owner.step_up()
    code = (await owner.ask(invite)).code
    joined = await manager.ask(pb.RedeemInvitationRequest(code=code))
    expect((joined.merchant_id, joined.role), (merchant_id, access_pb2.ROLE_MERCHANT_MANAGER), "the manager")
    await manager.refused(pb.RedeemInvitationRequest(code=code), "UNAUTHENTICATED")
    made = await owner.ask(
        pb.CreateApiCredentialRequest(merchant_id=merchant_id, role=access_pb2.ROLE_MERCHANT_CASHIER, label="till 1")
    )
    story.credential = made.secret
    story.secrets += [code, made.secret]
    [store] = (await story.manager.ask(pb.ListStoresRequest(merchant_id=merchant_id))).stores
    expect(store.store_id, story.store_id, "the store")
    return f"store {story.store_id}, terminal {story.terminal_id}, a manager, an API credential"


def _business() -> pb.MerchantBusiness:
    first = f"91310000MA{secrets.randbelow(10**7):07d}"
    return pb.MerchantBusiness(
        legal_name="上海街角茶馆有限公司",
        registration_kind=pb.REGISTRATION_KIND_UNIFIED_SOCIAL_CREDIT,
        registration=first + check_character(first),
        contact=pb.MerchantContact(name="王伟", phone="+8613800000000", email="wang@example.cn"),
        display_name="CORNER TEA HOUSE",
        city="SHANGHAI",
        category_code="5812",
    )


def _account() -> pb.BankAccount:
    return pb.BankAccount(account_name="上海街角茶馆有限公司", account_number=ACCOUNT_NUMBER, bank_code="102290002916")
