"""Indicators of partners over the database: signed, once, ended, taken back; and what leaves the house."""

from typing import Any

import asyncpg
import pytest
import stix2
from case_scene import DAY_MS, CaseScene, case_scene, key
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from desk_scene import ANN, BOB, NOW_MS
from stix_made import BUNDLE_ID, bundle, indicator

from switch.domain.refusals import Invalid, Missing, NotProved
from switch.domain.risk import ListKind, Subject
from switch.domain.risk_case import CaseOutcome
from switch.domain.risk_listing import BatchState, ListingEntry, Marking
from switch.risk.card_tokens import token_of
from switch.risk.listing_desk import Wanted
from switch.risk.share_signature import PrivateKey, sign
from switch.risk.sharing import Imported, Partner, Sharing
from switch.risk.stix_reader import TLP_IDS, read_bundle
from switch.risk.subjects import address_key

SIGNERS: dict[str, PrivateKey] = {
    "bank": Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    "cert": ec.derive_private_key(7, ec.SECP256R1()),
}
CARD_KEY = bytes(range(64))
FAR, NEAR = "2027-01-01T00:00:00Z", "2026-01-03T00:00:00Z"
ADDRESS = address_key("192.0.2.7")


class Shared:
    def __init__(self, scene: CaseScene) -> None:
        partners = {
            "bank": Partner("bank", SIGNERS["bank"].public_key(), ListKind.BLOCK, 30, card_key=CARD_KEY),
            "cert": Partner("cert", SIGNERS["cert"].public_key(), ListKind.WATCH, 7, Marking.GREEN),
        }
        self.sharing = Sharing(
            partners, "payswitch", scene.lists, scene.listings, scene.listings, scene.cases, scene.clock
        )

    async def take(self, *objects: object, by: str = "bank") -> Imported:
        content = bundle(*objects)
        return await self.sharing.take(by, content, sign(SIGNERS[by], content), ANN)

    async def told(self, to: str) -> list[Any]:
        """The indicators of a bundle, as the library of OASIS reads it."""
        content = await self.sharing.tell(to)
        read_bundle(content)
        parsed = stix2.parse(content.decode(), allow_custom=True)
        return [each for each in parsed.objects if each["type"] == "indicator"]


@pytest.fixture
async def scene(database: asyncpg.Pool) -> CaseScene:
    return await case_scene(database)


@pytest.fixture
def shared(scene: CaseScene) -> Shared:
    return Shared(scene)


def another(number: int) -> str:
    return f"indicator--00000000-0000-4000-8000-{number:012x}"


# --- in ---------------------------------------------------------------------------------------------------------------


async def test_a_partners_indicator_blocks_until_its_end(scene: CaseScene, shared: Shared) -> None:
    taken = await shared.take(indicator(valid_until=NEAR, object_marking_refs=[TLP_IDS[Marking.GREEN]]))
    assert (taken.bundle_id, taken.indicators, taken.known, taken.expired, taken.lifted) == (BUNDLE_ID, 1, 0, 0, 0)
    assert await scene.blocked(Subject.IP, ADDRESS)
    [listed] = await scene.lists.page(Subject.IP, "", "share_bank", None, 9)
    assert (listed.shown, listed.marking, listed.listing.source) == ("192.0.2.7", Marking.GREEN, "share/bank")
    assert listed.listing.expires_time_ms == NOW_MS + 2 * DAY_MS


async def test_an_end_that_is_far_is_capped_and_trust_decides_the_list(scene: CaseScene, shared: Shared) -> None:
    await shared.take(
        indicator(valid_until=FAR), indicator(id=another(1), pattern="[ipv4-addr:value='192.0.2.9']"), by="cert"
    )
    found = await scene.lists.page(Subject.IP, "", "share_cert", None, 9)
    assert [each.listing.kind for each in found] == [ListKind.WATCH] * 2
    assert [each.listing.expires_time_ms for each in found] == [NOW_MS + 7 * DAY_MS] * 2
    assert not await scene.blocked(Subject.IP, ADDRESS)


async def test_what_is_signed_by_nobody_or_somebody_else_is_not_read(scene: CaseScene, shared: Shared) -> None:
    content = b"not even a bundle"
    good = sign(SIGNERS["bank"], content)
    for signature in (
        b"",
        b"x" * 64,
        b"x" * 500,
        sign(SIGNERS["cert"], content),
        sign(SIGNERS["bank"], content + b" "),
    ):
        with pytest.raises(NotProved):
            await shared.sharing.take("bank", content, signature, ANN)
    with pytest.raises(NotProved):
        await shared.sharing.take("cert", content, good, ANN)
    with pytest.raises(Missing):
        await shared.sharing.take("nobody", content, good, ANN)
    with pytest.raises(Invalid, match="1:1"):
        await shared.sharing.take("bank", content, good, ANN)
    assert await scene.audited() == []


async def test_a_faulty_bundle_changes_nothing(scene: CaseScene, shared: Shared) -> None:
    with pytest.raises(Invalid, match=r"objects\[1\].created"):
        await shared.take(indicator(), indicator(id=another(1), created="?"))
    wrong = token_of(key(5), bytes(64))
    with pytest.raises(Invalid, match=r"objects\[1\].pattern: was not made under the key"):
        await shared.take(indicator(), indicator(id=another(1), pattern=f"[x-payswitch-card:token = '{wrong}']"))
    assert not await scene.blocked(Subject.IP, ADDRESS)


async def test_the_same_again_and_an_older_version_are_known(scene: CaseScene, shared: Shared) -> None:
    later = indicator(modified="2026-01-02T00:00:00Z")
    assert (await shared.take(later)).batch is not None
    for again in (later, indicator()):
        taken = await shared.take(again)
        assert (taken.batch, taken.known) == (None, 1)


async def test_two_ids_of_one_pattern_are_one_entry_until_both_are_revoked(scene: CaseScene, shared: Shared) -> None:
    other = indicator(id=another(1))
    await shared.take(indicator(valid_until=NEAR), other)
    [listed] = await scene.lists.page(Subject.IP, "", "", None, 9)
    assert listed.listing.expires_time_ms == NOW_MS + 30 * DAY_MS
    revoked = {"revoked": True, "modified": "2026-01-02T00:00:00Z"}
    assert (await shared.take(indicator(**revoked))).lifted == 0
    assert await scene.blocked(Subject.IP, ADDRESS)
    assert (await shared.take(other | revoked)).lifted == 1
    assert not await scene.blocked(Subject.IP, ADDRESS)


async def test_what_is_revoked_before_it_was_ever_listed_stays_away(scene: CaseScene, shared: Shared) -> None:
    await shared.take(indicator(revoked=True, modified="2026-01-02T00:00:00Z"))
    assert (await shared.take(indicator())).known == 1
    assert not await scene.blocked(Subject.IP, ADDRESS)


async def test_another_pattern_takes_the_place_of_the_one_before(scene: CaseScene, shared: Shared) -> None:
    await shared.take(indicator())
    await shared.take(indicator(modified="2026-01-02T00:00:00Z", pattern="[ipv4-addr:value = '192.0.2.8']"))
    assert not await scene.blocked(Subject.IP, ADDRESS)
    assert await scene.blocked(Subject.IP, address_key("192.0.2.8"))


async def test_an_expired_one_is_not_listed_and_takes_off_what_it_was(scene: CaseScene, shared: Shared) -> None:
    early = {
        "created": "2025-01-01T00:00:00Z",
        "valid_from": "2025-01-01T00:00:00Z",
        "valid_until": "2025-02-01T00:00:00Z",
    }
    taken = await shared.take(indicator(**early))
    assert (taken.batch, taken.expired) == (None, 1)
    await shared.take(indicator())
    assert (await shared.take(indicator(**early, modified="2026-01-01T12:00:00Z"))).lifted == 1
    assert not await scene.blocked(Subject.IP, ADDRESS)


async def test_a_poisoned_bundle_waits_and_what_is_revoked_meanwhile_does_not_stand(
    scene: CaseScene, shared: Shared
) -> None:
    for number in range(10):
        await scene.judged({Subject.CARD: key(number), Subject.IP: ADDRESS})
    other = indicator(id=another(1), pattern="[ipv4-addr:value = '192.0.2.8']")
    batch = (await shared.take(indicator(), other)).batch
    assert batch is not None
    assert (batch.state, batch.source) == (BatchState.WAITING, "share/bank")
    await shared.take(other | {"revoked": True, "modified": "2026-01-02T00:00:00Z"})
    assert not await scene.blocked(Subject.IP, ADDRESS)
    await scene.lists.decide(batch.id, True, BOB)
    assert await scene.blocked(Subject.IP, ADDRESS)
    assert not await scene.blocked(Subject.IP, address_key("192.0.2.8"))


# --- out --------------------------------------------------------------------------------------------------------------


async def test_what_leaves_and_what_never_does(scene: CaseScene, shared: Shared) -> None:
    entries = [
        ListingEntry(Subject.IP, ADDRESS, 0, "192.0.2.7"),
        ListingEntry(Subject.IP, address_key("192.0.2.8"), 0),  # of a payment: nobody gave it in clear
        ListingEntry(Subject.CARD, key(1), NOW_MS + DAY_MS),
        *(ListingEntry(each, key(9), 0, "m1") for each in (Subject.USER, Subject.DEVICE, Subject.MERCHANT)),
    ]
    await scene.lists.add(Wanted(ListKind.BLOCK, "stolen", "a test", ANN.name, entries), ANN)
    await scene.lists.add(Wanted(ListKind.WATCH, "odd", "a test", ANN.name, entries[:1]), ANN)
    to_bank, to_cert = await shared.told("bank"), await shared.told("cert")
    token = token_of(key(1), CARD_KEY)
    assert [each.pattern for each in to_bank] == [
        "[ipv4-addr:value = '192.0.2.7']", f"[x-payswitch-card:token = '{token}']",
    ]  # fmt: skip
    assert [each.pattern for each in to_cert] == ["[ipv4-addr:value = '192.0.2.7']"]
    assert [each.object_marking_refs for each in (to_bank[0], to_cert[0])] == [
        [TLP_IDS[Marking.AMBER]], [TLP_IDS[Marking.GREEN]],
    ]  # fmt: skip
    assert [int(each.valid_until.timestamp() * 1000) - NOW_MS for each in to_bank] == [30 * DAY_MS, DAY_MS]
    assert [each.id for each in await shared.told("bank")] == [each.id for each in to_bank]
    content = await shared.sharing.tell("bank")
    assert key(1).encode() not in content
    assert b"m1" not in content


async def test_the_newest_leave_where_there_are_too_many(scene: CaseScene, shared: Shared) -> None:
    shared.sharing._most_told = 3
    for number in range(10):
        scene.clock.now_ms += 1
        await scene.block(Subject.CARD, key(9 - number))
    told = await shared.told("bank")
    assert [each.pattern for each in told] == [
        f"[x-payswitch-card:token = '{token_of(key(number), CARD_KEY)}']" for number in range(3)
    ]


async def test_cards_of_confirmed_cases_leave(scene: CaseScene, shared: Shared) -> None:
    for number, outcome in enumerate((CaseOutcome.CONFIRMED_FRAUD, CaseOutcome.FALSE_ALARM)):
        case_id = await scene.opened(Subject.CARD, key(number))
        await scene.desk.close(case_id, outcome, "looked into", 0, ANN)
    assert [each.pattern for each in await shared.told("bank")] == [
        f"[x-payswitch-card:token = '{token_of(key(0), CARD_KEY)}']"
    ]
    assert await shared.told("cert") == []


@pytest.mark.parametrize("marking", list(Marking))
async def test_what_a_partner_marked_is_passed_on_as_far_as_it_may(
    scene: CaseScene, shared: Shared, marking: Marking
) -> None:
    await shared.take(indicator(object_marking_refs=[TLP_IDS[marking]]))
    told = await shared.told("cert")
    assert [each.object_marking_refs for each in told] == (
        [[TLP_IDS[marking]]] if marking in (Marking.CLEAR, Marking.GREEN) else []
    )
    assert await shared.told("bank") == []


async def test_what_one_installation_tells_another_takes(scene: CaseScene, shared: Shared) -> None:
    await scene.block(Subject.CARD, key(1), name="stolen")
    content = await shared.sharing.tell("bank")
    await scene.pool.execute("DELETE FROM risk_listings")
    taken = await shared.sharing.take("bank", content, sign(SIGNERS["bank"], content), ANN)
    assert taken.indicators == 1
    [listed] = await scene.lists.page(Subject.CARD, key(1), "", None, 9)
    assert listed.listing.name == "share_bank"
