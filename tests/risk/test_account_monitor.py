"""Patterns of accounts, each beside an honest twin that looks like it and must raise nothing."""

from uuid import UUID, uuid4

from signal_scene import DAY_MS, HOUR_MS, MINUTE_MS, SignalScene, addresses, changed, entered, failed

from switch.domain.payer import Payer
from switch.domain.risk import Subject
from switch.ports.signals import Signal, SignalKind
from switch.risk.subjects import address_key, own, user_key

HOME, CAFE = "203.0.113.7", "198.51.100.9"
KINDS = SignalKind


def key_of(user: UUID) -> str:
    return user_key(Payer(user=own(user)))


# --- one address, many accounts ---------------------------------------------------------------------------------------


async def test_one_address_that_tries_many_accounts_is_found_and_blocked() -> None:
    scene = SignalScene()
    for number in range(19):
        await scene.tell(failed(None, HOME, f"login {number}"))
    assert scene.kinds() == []
    await scene.tell(failed(uuid4(), HOME, "login 19"))
    alert = scene.alert("credential_stuffing")
    assert (alert.subject, alert.key) == (Subject.IP, address_key(HOME))
    assert alert.facts == {"accounts": 20, "entered": 0}
    assert scene.here.blocks.refuses(HOME)
    assert HOME not in repr(alert)


async def test_one_login_that_is_tried_on_and_on_is_one_account() -> None:
    scene = SignalScene()
    for _ in range(50):
        await scene.tell(failed(None, HOME, "the same"))
    assert "credential_stuffing" not in scene.kinds()


async def test_what_is_spread_over_hours_is_no_machine() -> None:
    scene = SignalScene()
    for number in range(40):
        await scene.tell(failed(None, HOME, f"login {number}"))
        scene.later(MINUTE_MS)
    assert scene.kinds() == []


async def test_a_family_behind_one_address_is_nobody() -> None:
    scene = SignalScene()
    for person in [uuid4() for _ in range(5)]:
        for _ in range(3):
            await scene.tell(failed(person, HOME))
        await scene.tell(entered(person, HOME))
    assert scene.kinds() == []
    assert not scene.here.blocks.refuses(HOME)


async def test_a_carriers_address_behind_which_most_come_in_is_not_blocked() -> None:
    scene = SignalScene()
    for _ in range(30):
        person = uuid4()
        await scene.tell(failed(person, HOME), entered(person, HOME))
    assert scene.kinds() == []
    assert not scene.here.blocks.refuses(HOME)


async def test_all_processes_count_together_and_block_together() -> None:
    scene = SignalScene()
    for number in range(20):
        await scene.tell(failed(None, HOME, f"login {number}"), process=(scene.here, scene.there)[number % 2])
    assert scene.kinds() == ["credential_stuffing"]
    await scene.here.watch.follow_blocks()
    assert scene.here.blocks.refuses(HOME)
    assert scene.there.blocks.refuses(HOME)


# --- many addresses, one account --------------------------------------------------------------------------------------


async def test_many_addresses_that_try_one_account_are_found_and_none_is_blocked() -> None:
    scene, user, source = SignalScene(), uuid4(), addresses()
    for _ in range(10):
        await scene.tell(failed(user, next(source)))
    assert scene.alert("distributed_guessing").key == key_of(user)
    assert len(scene.here.blocks) == 0


async def test_somebody_who_forgot_his_password_on_three_networks_is_not() -> None:
    scene, user, source = SignalScene(), uuid4(), addresses()
    for address in (next(source), next(source), next(source)):
        for _ in range(2):
            await scene.tell(failed(user, address))
    assert scene.kinds() == []


# --- coming in --------------------------------------------------------------------------------------------------------


async def test_who_gets_in_after_many_failures_is_found() -> None:
    scene, user = SignalScene(), uuid4()
    for _ in range(8):
        await scene.tell(failed(user, CAFE))
        scene.later(5 * MINUTE_MS)
    await scene.tell(entered(user, CAFE))
    assert scene.alert("success_after_failures").facts == {"failures": 8}


async def test_an_owner_who_enters_from_home_while_somebody_guesses_is_not() -> None:
    scene, user = SignalScene(), uuid4()
    for _ in range(8):
        await scene.tell(failed(user, CAFE))
    await scene.tell(entered(user, HOME))
    assert scene.kinds() == []


async def test_a_person_who_mistypes_thrice_is_not() -> None:
    scene, user = SignalScene(), uuid4()
    for _ in range(3):
        await scene.tell(failed(user, HOME))
    await scene.tell(entered(user, HOME, new_network=True))
    assert scene.kinds() == []


async def test_a_new_network_without_a_device_after_failures_is_found() -> None:
    scene, user, source = SignalScene(), uuid4(), addresses()
    for _ in range(5):
        await scene.tell(failed(user, next(source)))
    await scene.tell(entered(user, CAFE, new_network=True))
    assert scene.kinds() == ["login_anomaly"]


async def test_the_same_on_a_bound_device_is_its_owner() -> None:
    scene, user = SignalScene(), uuid4()
    for _ in range(9):
        await scene.tell(failed(user, CAFE))
    await scene.tell(entered(user, CAFE, uuid4(), new_network=True))
    assert scene.kinds() == []


# --- taking over ------------------------------------------------------------------------------------------------------


async def test_a_password_then_a_factor_then_a_device_is_a_take_over() -> None:
    scene, user = SignalScene(), uuid4()
    for kind in (KINDS.PASSWORD_RESET, KINDS.FACTOR_CHANGED):
        await scene.tell(changed(kind, user))
        scene.later(10 * MINUTE_MS)
    assert scene.kinds() == []
    await scene.tell(Signal(KINDS.DEVICE_ADDED, user, uuid4(), CAFE, about="k"), changed(KINDS.CARD_ADDED, user))
    alert = scene.alert("account_takeover")
    assert (alert.subject, alert.key, alert.severity) == (Subject.USER, key_of(user), 800)


async def test_from_a_new_network_it_is_graver() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(changed(KINDS.PASSWORD_RESET, user), entered(user, CAFE, new_network=True))
    await scene.tell(changed(KINDS.FACTOR_CHANGED, user), changed(KINDS.CARD_ADDED, user))
    assert scene.alert("account_takeover").severity == 900


async def test_a_new_phone_on_a_holiday_is_not() -> None:
    """A network that nobody knew, a device, its factor and a card: but nobody touched the password."""
    scene, user = SignalScene(), uuid4()
    await scene.tell(entered(user, HOME))
    scene.later(DAY_MS)
    await scene.tell(entered(user, CAFE, new_network=True), Signal(KINDS.DEVICE_ADDED, user, uuid4(), CAFE))
    await scene.tell(changed(KINDS.FACTOR_CHANGED, user), changed(KINDS.CARD_ADDED, user))
    assert scene.kinds() == []


async def test_who_registers_sets_everything_up_at_once() -> None:
    scene, user = SignalScene(), uuid4()
    kinds = (KINDS.REGISTERED, KINDS.PASSWORD_CHANGED, KINDS.FACTOR_CHANGED, KINDS.DEVICE_ADDED, KINDS.CARD_ADDED)
    await scene.tell(*(Signal(kind, user, uuid4(), HOME) for kind in kinds))
    assert scene.kinds() == []


async def test_the_same_steps_over_weeks_are_a_life() -> None:
    scene, user = SignalScene(), uuid4()
    for kind in (KINDS.PASSWORD_CHANGED, KINDS.FACTOR_CHANGED, KINDS.DEVICE_ADDED, KINDS.CARD_ADDED):
        await scene.tell(Signal(kind, user, uuid4(), HOME))
        scene.later(2 * HOUR_MS)
    assert scene.kinds() == []


async def test_a_password_that_is_changed_last_is_tidying_up() -> None:
    scene, user = SignalScene(), uuid4()
    for kind in (KINDS.DEVICE_ADDED, KINDS.FACTOR_CHANGED, KINDS.PASSWORD_CHANGED):
        await scene.tell(Signal(kind, user, uuid4(), HOME))
        scene.later(MINUTE_MS)
    assert scene.kinds() == []


# --- dormant ----------------------------------------------------------------------------------------------------------


async def test_who_wakes_after_months_and_changes_everything_is_found() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(entered(user, HOME))
    scene.later(100 * DAY_MS)
    await scene.tell(entered(user, CAFE))
    scene.later(MINUTE_MS)
    await scene.tell(Signal(KINDS.DEVICE_ADDED, user, uuid4(), CAFE), changed(KINDS.CARD_ADDED, user))
    assert scene.alert("dormant_then_active").facts == {"steps": ["card", "device"]}


async def test_who_comes_back_with_a_new_phone_is_not() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(entered(user, HOME))
    scene.later(100 * DAY_MS)
    await scene.tell(entered(user, HOME), Signal(KINDS.DEVICE_ADDED, user, uuid4(), HOME))
    assert scene.kinds() == []


async def test_who_was_here_last_month_was_not_dormant() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(entered(user, HOME))
    scene.later(40 * DAY_MS)
    await scene.tell(entered(user, HOME), Signal(KINDS.DEVICE_ADDED, user, uuid4(), HOME))
    await scene.tell(changed(KINDS.CARD_ADDED, user))
    assert scene.kinds() == []


# --- at once, and cards -----------------------------------------------------------------------------------------------


async def test_a_reused_token_and_a_copied_passkey_are_alerts_by_themselves() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(changed(KINDS.TOKEN_REUSED, user), changed(KINDS.PASSKEY_COPIED, user))
    assert scene.kinds() == ["refresh_token_reused", "passkey_copied"]


async def test_cards_that_are_tried_out_are_found_and_one_that_is_declined_is_not() -> None:
    scene, thief, honest = SignalScene(), uuid4(), uuid4()
    await scene.tell(*(Signal(KINDS.CARD_REFUSED, thief) for _ in range(5)), Signal(KINDS.CARD_REFUSED, honest))
    assert scene.alert("card_testing").key == key_of(thief)


async def test_what_the_roads_rules_read_is_told() -> None:
    scene, user = SignalScene(), uuid4()
    await scene.tell(failed(user, HOME), entered(user, HOME), changed(KINDS.PASSWORD_RESET, user))
    [happening] = scene.told.happenings
    assert happening.subjects == {Subject.USER: key_of(user), Subject.IP: address_key(HOME)}
    assert [(each.name, each.user) for each in scene.told.marks] == [
        ("signed_in", key_of(user)),
        ("password_changed", key_of(user)),
    ]
