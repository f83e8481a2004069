"""API credentials: told once, kept as a hash, rotated with an overlap, revoked at once."""

import asyncio

import pytest
from merchant_office import HOUR_MS, Office

from payswitch.v1 import access_pb2
from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_fields as fields
from switch.domain.access import CREDENTIAL_PREFIX, Caller, Role
from switch.domain.refusals import Invalid, Missing, NotPermitted, TooMany

MANAGER, CASHIER = access_pb2.ROLE_MERCHANT_MANAGER, access_pb2.ROLE_MERCHANT_CASHIER


async def create(
    office: Office, who: Caller, role: access_pb2.Role = CASHIER, days: int = 0, networks: tuple[str, ...] = ()
) -> pb.CreateApiCredentialResponse:
    request = pb.CreateApiCredentialRequest(
        merchant_id=who.merchant_id, role=role, label="till", valid_days=days, networks=networks
    )
    return await office.service.CreateApiCredential(request, who)


async def rotate(office: Office, who: Caller, identity: str, hours: int) -> pb.RotateApiCredentialResponse:
    request = pb.RotateApiCredentialRequest(merchant_id=who.merchant_id, credential_id=identity, overlap_hours=hours)
    return await office.service.RotateApiCredential(request, who)


async def test_a_credential_acts_for_its_merchant_in_its_role_until_it_expires(office: Office) -> None:
    merchant_id, owner = await office.active()
    made = await create(office, owner, networks=("10.0.0.0/8", "2001:db8::/32"))
    assert made.secret.startswith(CREDENTIAL_PREFIX + merchant_id + "-")
    found = await office.merchants.credential(made.secret)
    assert found is not None
    assert (found.id, found.merchant_id, found.role) == (
        made.credential.credential_id,
        merchant_id,
        Role.MERCHANT_CASHIER,
    )
    assert found.networks == ("10.0.0.0/8", "2001:db8::/32")
    office.clock.now_ms = made.credential.expires_time_ms - 1
    assert await office.merchants.credential(made.secret)
    office.clock.now_ms += 1
    assert await office.merchants.credential(made.secret) is None
    listed = await office.service.ListApiCredentials(pb.ListApiCredentialsRequest(merchant_id=merchant_id), owner)
    assert not listed.credentials


async def test_what_is_none_is_none(office: Office) -> None:
    merchant_id, owner = await office.active()
    secret = (await create(office, owner)).secret
    identity, _, digits = secret.rpartition("_")
    other_digits = digits[:-1] + ("0" if digits[-1] != "0" else "1")
    for wrong in (
        "", CREDENTIAL_PREFIX, identity, f"{identity}_{other_digits}", f"{identity}_{digits.upper()}",
        secret.replace(merchant_id, "MNOBODY"), secret + "\x00", secret + "0", "payswitch_key_'; --_" + digits,
    ):  # fmt: skip
        assert await office.merchants.credential(wrong) is None
    assert await office.merchants.credential(secret)


async def test_a_secret_is_nowhere_but_with_whom_it_was_told(office: Office) -> None:
    merchant_id, owner = await office.active()
    made = await create(office, owner)
    second = await rotate(office, owner, made.credential.credential_id, 1)
    listed = await office.service.ListApiCredentials(pb.ListApiCredentialsRequest(merchant_id=merchant_id), owner)
    rows = await office.pool.fetch("SELECT * FROM merchant_credentials WHERE merchant_id = $1", merchant_id)
    texts = (
        repr(listed),
        repr([tuple(each) for each in rows]),
        repr(await office.audited(merchant_id)),
        repr(office.alerts),
    )
    for secret in (made.secret, second.secret):
        digits = secret.rpartition("_")[2]
        assert not any(digits in each for each in texts)


async def test_a_rotation_overlaps_as_long_as_it_is_told_to(office: Office) -> None:
    _, owner = await office.active()
    made = await create(office, owner)
    identity = made.credential.credential_id
    second = await rotate(office, owner, identity, 2)
    assert await office.merchants.credential(made.secret)
    assert await office.merchants.credential(second.secret)
    office.clock.now_ms += 2 * HOUR_MS
    assert await office.merchants.credential(made.secret) is None
    third = await rotate(office, owner, identity, 0)
    assert await office.merchants.credential(second.secret) is None
    assert await office.merchants.credential(third.secret)
    fourth, fifth = await rotate(office, owner, identity, 1), await rotate(office, owner, identity, 1)
    working = [await office.merchants.credential(each.secret) for each in (third, fourth, fifth)]
    assert [each is not None for each in working] == [False, True, True]
    gone = pb.RevokeApiCredentialRequest(merchant_id=owner.merchant_id, credential_id=identity)
    await office.service.RevokeApiCredential(gone, owner)
    for each in (fourth, fifth):
        assert await office.merchants.credential(each.secret) is None
    for call in (rotate(office, owner, identity, 1), office.service.RevokeApiCredential(gone, owner)):
        with pytest.raises(Missing):
            await call


async def test_an_overlap_does_not_outlive_what_it_overlaps(office: Office) -> None:
    _, owner = await office.active()
    made = await create(office, owner, days=1)
    office.clock.now_ms += 23 * HOUR_MS
    await rotate(office, owner, made.credential.credential_id, 48)
    office.clock.now_ms += HOUR_MS
    assert await office.merchants.credential(made.secret) is None


async def test_never_above_the_creators_role_and_never_by_a_machine(office: Office) -> None:
    merchant_id, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    made = await create(office, owner, MANAGER)
    machine = Caller(
        f"credential/{made.credential.credential_id}", frozenset({Role.MERCHANT_MANAGER}), merchant_id=merchant_id
    )
    with pytest.raises(NotPermitted):
        await create(office, machine)
    with pytest.raises(NotPermitted):
        await office.service.Invite(pb.InviteRequest(merchant_id=merchant_id, role=23), machine)  # type: ignore[arg-type]
    await create(office, manager, MANAGER)
    with pytest.raises(Invalid):
        await create(office, owner, access_pb2.ROLE_MERCHANT_OWNER)
    lowered = pb.ChangeRoleRequest(merchant_id=merchant_id, user_id=str(manager.user_id), role=CASHIER)
    await office.service.ChangeRole(lowered, owner)
    with pytest.raises(NotPermitted):
        await create(office, manager, MANAGER)
    with pytest.raises(NotPermitted):
        await rotate(office, manager, made.credential.credential_id, 1)


async def test_whoever_goes_leaves_a_list_of_what_he_made(office: Office) -> None:
    merchant_id, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    made = await create(office, manager)
    await create(office, owner)
    request = pb.RemoveMemberRequest(merchant_id=merchant_id, user_id=str(manager.user_id))
    left = (await office.service.RemoveMember(request, owner)).credential_ids
    assert left == [made.credential.credential_id]


async def test_who_was_told_a_secret_is_known(office: Office) -> None:
    """What a machine asks for is not approved by one of them, and who goes leaves its name behind."""
    merchant_id, owner = await office.active()
    manager, other = [await office.joined(owner, Role.MERCHANT_MANAGER) for _ in range(2)]
    identity = (await create(office, manager)).credential.credential_id
    assert await office.merchants.told_secrets_of(identity) == {manager.name}
    await rotate(office, other, identity, 1)
    assert await office.merchants.told_secrets_of(identity) == {manager.name, other.name}
    assert await office.merchants.told_secrets_of(f"{merchant_id}-000000000000") == frozenset()
    gone = pb.RemoveMemberRequest(merchant_id=merchant_id, user_id=str(other.user_id))
    assert list((await office.service.RemoveMember(gone, owner)).credential_ids) == [identity]


async def test_their_number_is_bounded_also_at_once(office: Office) -> None:
    _, owner = await office.active()
    answers = await asyncio.gather(*(create(office, owner) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(each, TooMany) for each in answers) == 2
    office.clock.now_ms += 91 * 24 * HOUR_MS
    await create(office, owner)  # the expired ones have made room


async def test_the_last_use_is_kept_to_the_hour(office: Office) -> None:
    merchant_id, owner = await office.active()
    made = await create(office, owner)

    async def last_used() -> int:
        request = pb.ListApiCredentialsRequest(merchant_id=merchant_id)
        return (await office.service.ListApiCredentials(request, owner)).credentials[0].last_used_time_ms

    assert await last_used() == 0
    first = office.clock.now_ms
    await office.merchants.credential(made.secret)
    office.clock.now_ms += HOUR_MS - 1
    await office.merchants.credential(made.secret)
    assert await last_used() == first
    office.clock.now_ms += 1
    await office.merchants.credential(made.secret)
    assert await last_used() == office.clock.now_ms


async def test_a_closed_merchants_credentials_are_none(office: Office) -> None:
    merchant_id, owner = await office.active()
    secret = (await create(office, owner)).secret
    await office.pool.execute("UPDATE merchants SET state = 3 WHERE merchant_id = $1", merchant_id)
    assert await office.merchants.credential(secret)  # suspended: refunds go on
    await office.pool.execute("UPDATE merchants SET state = 4 WHERE merchant_id = $1", merchant_id)
    assert await office.merchants.credential(secret) is None


@pytest.mark.parametrize(
    "networks", [("10.0.0.1/8",), ("10.0.0.0/33",), ("home",), ("10.0.0.0/8,::/0",), ("::/0",) * 17]
)
def test_a_network_is_a_network(networks: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="networks"):
        fields.networks(networks)


def test_times_are_bounded() -> None:
    for wrong in (lambda: fields.valid_days(367), lambda: fields.overlap_hours(169)):
        with pytest.raises(Invalid):
            wrong()
    assert (fields.valid_days(0), fields.valid_days(366), fields.overlap_hours(168)) == (90, 366, 168)
