"""Codes that are expired, early, used, guessed, foreign, of a revoked device: none buys anything, and each says why."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from wallet_scene import Payer, Wallet, asked, bind, enrol, fresh_wallet_pan, make_payer

from switch.client.payment_codes import begin_enrolment
from switch.domain.authorization import CardCredential
from switch.domain.dynamic_code import STEP_MS, build_code, luhn_digit
from switch.domain.refusals import Invalid, Missing, NotProved
from switch.ports import NotOpened
from switch.users.code_settings import CodeSettings


def guess(payer: Payer, by: int = 1, step_digit: int | None = None) -> str:
    """A code of the payer's device with another value."""
    code = payer.shows.code(1_790_000_000_000)
    value = (int(code[15:23]) + by) % 10**8
    body = f"{code[:13]}{code[13] if step_digit is None else step_digit}{code[14]}{value:08d}"
    return body + luhn_digit(body)


async def test_a_code_becomes_the_default_card(wallet: Wallet, payer: Payer) -> None:
    opened = await wallet.pay(payer.shows.code(wallet.clock.now_ms))
    assert isinstance(opened, CardCredential)
    assert (opened.pan, opened.expiry_yymm) == (payer.pan, "3012")
    [row] = await wallet.pool.fetch("SELECT who, role, reason FROM token_accesses WHERE requester = 'wallet'")
    assert tuple(row) == ("wallet", "payments", "payment code")


async def test_a_code_pays_once_and_a_repeat_is_the_same_payment(wallet: Wallet, payer: Payer) -> None:
    code, first = payer.shows.code(wallet.clock.now_ms), uuid4()
    assert isinstance(await wallet.pay(code, authorization_id=first), CardCredential)
    assert await wallet.pay(code) == NotOpened("57", "the payment code was used before")
    assert isinstance(await wallet.pay(code, authorization_id=first), CardCredential)
    wallet.clock.now_ms += 200_000  # a repeat comes when it comes, and by then anybody else is told that it was used
    assert isinstance(await wallet.pay(code, wallet.another(), authorization_id=first), CardCredential)
    assert (await wallet.pay(code)).response_code == "57"


async def test_of_many_at_once_in_two_processes_one_has_the_code(wallet: Wallet, payer: Payer) -> None:
    code, other = payer.shows.code(wallet.clock.now_ms), wallet.another()
    batches = [[asked(code) for _ in range(3)] for _ in range(8)]
    opened = await asyncio.gather(*((wallet.codes if n % 2 else other).open(batch) for n, batch in enumerate(batches)))
    flat = [each for batch in opened for each in batch]
    assert sum(isinstance(each, CardCredential) for each in flat) == 1
    assert {each.response_code for each in flat if isinstance(each, NotOpened)} == {"57"}


async def test_codes_of_one_minute_and_of_one_step_are_all_good(wallet: Wallet, payer: Payer) -> None:
    codes = [payer.shows.code(wallet.clock.now_ms) for _ in range(3)]
    codes.append(payer.shows.code(wallet.clock.now_ms + STEP_MS))
    assert len(set(codes)) == 4
    opened = await wallet.codes.open([asked(each) for each in reversed(codes)])
    assert all(isinstance(each, CardCredential) for each in opened)


@pytest.mark.parametrize(
    ("shown_before_s", "expected"),
    [
        (0, ""), (59, ""), (60, ""), (70, "54"), (80, "54"), (300, "54"),  # old codes
        (-19, ""), (-20, ""), (-30, "54"), (-300, "54"),  # of a clock that is ahead
    ],
)  # fmt: skip
async def test_sixty_seconds_and_what_clocks_may_differ(
    wallet: Wallet, payer: Payer, shown_before_s: int, expected: str
) -> None:
    wallet.clock.now_ms -= wallet.clock.now_ms % STEP_MS  # the beginning of a step: the shortest life of a code
    opened = await wallet.pay(payer.shows.code(wallet.clock.now_ms - shown_before_s * 1000))
    assert (opened.response_code if isinstance(opened, NotOpened) else "") == expected
    [wrong] = await wallet.pool.fetch("SELECT wrong FROM code_devices")
    assert wrong["wrong"] == 0  # who is late is no guesser


async def test_a_code_lives_at_most_seventy_seconds_by_a_right_clock(wallet: Wallet, payer: Payer) -> None:
    wallet.clock.now_ms -= wallet.clock.now_ms % STEP_MS
    code, late = payer.shows.code(wallet.clock.now_ms), payer.shows.code(wallet.clock.now_ms)
    wallet.clock.now_ms += 69_999
    assert isinstance(await wallet.pay(code), CardCredential)
    wallet.clock.now_ms += 1
    assert (await wallet.pay(late)).reason == "the payment code has expired"


async def test_what_nobody_made_is_not_told_from_what_is_nobodys(wallet: Wallet, payer: Payer) -> None:
    nobody = build_code((payer.shows.number + 1) % 10**11, payer.shows.secret, wallet.clock.now_ms // STEP_MS, 0)
    assert (
        await wallet.pay(guess(payer)) == await wallet.pay(nobody) == NotOpened("14", "the payment code is not valid")
    )


async def test_another_devices_value_is_wrong(wallet: Wallet, payer: Payer) -> None:
    other = await make_payer(wallet)
    swapped = build_code(payer.shows.number, other.shows.secret, wallet.clock.now_ms // STEP_MS, 0)
    assert (await wallet.pay(swapped)).response_code == "14"


async def test_guesses_lock_the_device_until_their_hour_is_over(wallet: Wallet, payer: Payer) -> None:
    # From many places, and in one batch: the limit is the device's.
    guesses = [asked(guess(payer, n + 1), terminal_id=f"t{n}") for n in range(8)]
    opened = [each for each in await wallet.codes.open(guesses) if isinstance(each, NotOpened)]
    assert [each.response_code for each in opened] == ["14"] * 5 + ["75"] * 3
    right = payer.shows.code(wallet.clock.now_ms)
    assert (await wallet.pay(right, wallet.another())).response_code == "75"
    wallet.clock.now_ms += CodeSettings().wrong_window_ms
    assert isinstance(await wallet.pay(payer.shows.code(wallet.clock.now_ms)), CardCredential)
    # A right code does not forgive: four wrong ones between two payments would be a guess every time.
    for n in range(4):
        await wallet.pay(guess(payer, n + 1), terminal_id=f"u{n}")
    assert isinstance(await wallet.pay(payer.shows.code(wallet.clock.now_ms)), CardCredential)
    assert (await wallet.pay(guess(payer, 9), terminal_id="v")).response_code == "14"
    assert (await wallet.pay(payer.shows.code(wallet.clock.now_ms))).response_code == "75"


async def test_a_terminal_and_an_acquirer_that_bring_wrong_codes_are_stopped(wallet: Wallet, payer: Payer) -> None:
    codes = wallet.another(wrong_per_terminal=3, wrong_per_acquirer=5)
    nobody = [build_code(n, b"x" * 32, wallet.clock.now_ms // STEP_MS, 0) for n in range(10)]
    tried = [await wallet.pay(each, codes) for each in nobody[:4]]
    assert [each.response_code for each in tried] == ["14"] * 3 + ["65"]
    good = payer.shows.code(wallet.clock.now_ms)
    assert (await wallet.pay(good, codes)).response_code == "65"
    assert isinstance(await wallet.pay(good, codes, terminal_id="t2"), CardCredential)
    for each in nobody[4:6]:
        await wallet.pay(each, codes, terminal_id="t3")
    good = payer.shows.code(wallet.clock.now_ms)
    assert (await wallet.pay(good, codes, terminal_id="t4")).response_code == "65"
    assert isinstance(await wallet.pay(good, codes, acquirer_id="other"), CardCredential)
    wallet.clock.now_ms += 60_000
    assert isinstance(await wallet.pay(payer.shows.code(wallet.clock.now_ms), codes), CardCredential)


async def test_a_revoked_device_and_a_wallet_without_a_card(wallet: Wallet, payer: Payer) -> None:
    device = wallet.devices.known[payer.user_id, payer.device_id]
    wallet.devices.known[payer.user_id, payer.device_id] = replace(device, active=False)
    assert (
        await wallet.pay(payer.shows.code(wallet.clock.now_ms))
    ).reason == "the device of the payment code was revoked"
    wallet.devices.known[payer.user_id, payer.device_id] = device
    await wallet.pool.execute("UPDATE cards SET is_default = false")
    assert (await wallet.pay(payer.shows.code(wallet.clock.now_ms))).reason == "the payer has no card to pay with"


async def test_a_suspended_card_pays_nothing(wallet: Wallet, payer: Payer) -> None:
    await wallet.vault.suspend(await wallet.vault.token_of(payer.pan))
    assert (await wallet.pay(payer.shows.code(wallet.clock.now_ms))).response_code == "62"


async def test_a_secret_in_another_devices_row_opens_nothing(wallet: Wallet, payer: Payer) -> None:
    other = await make_payer(wallet)
    await wallet.pool.execute(
        "UPDATE code_devices SET sealed_secret = (SELECT sealed_secret FROM code_devices WHERE number = $2)"
        " WHERE number = $1",
        payer.shows.number, other.shows.number,
    )  # fmt: skip
    stolen = build_code(payer.shows.number, other.shows.secret, wallet.clock.now_ms // STEP_MS, 0)
    assert (await wallet.pay(stolen)).response_code == "14"


# --- enrolment --------------------------------------------------------------------------------------------------------


async def test_enrolling_anew_ends_the_codes_before(wallet: Wallet, payer: Payer) -> None:
    before = payer.shows.code(wallet.clock.now_ms)
    now = await enrol(wallet, payer.user_id, payer.device_id, payer.device_key)
    assert now.number != payer.shows.number
    assert (await wallet.pay(before)).response_code == "14"
    assert isinstance(await wallet.pay(now.code(wallet.clock.now_ms)), CardCredential)
    await wallet.enrolments.withdraw("user/x", payer.user_id, payer.device_id)
    assert (await wallet.pay(now.code(wallet.clock.now_ms))).response_code == "14"
    with pytest.raises(Missing):
        await wallet.enrolments.withdraw("user/x", payer.user_id, payer.device_id)
    acts = await wallet.pool.fetch(
        "SELECT act FROM audit_trail WHERE subject = $1 ORDER BY time_ms, id", f"device/{payer.device_id}"
    )
    assert sorted(each["act"] for each in acts) == [
        "WalletService.EnrolPaymentCodes", "WalletService.EnrolPaymentCodes", "WalletService.WithdrawPaymentCodes",
    ]  # fmt: skip


async def test_many_enrolments_of_one_device_at_once_leave_one(wallet: Wallet) -> None:
    user_id, device_id, key = await bind(wallet)
    devices = await asyncio.gather(*(enrol(wallet, user_id, device_id, key) for _ in range(6)))
    await wallet.card_of(user_id, fresh_wallet_pan())
    opened = await wallet.codes.open([asked(each.code(wallet.clock.now_ms)) for each in devices])
    assert sum(isinstance(each, CardCredential) for each in opened) == 1


async def test_an_enrolment_is_of_its_device_its_user_and_this_hsm(wallet: Wallet) -> None:
    user_id, device_id, key = await bind(wallet)
    _, other_device, other_key = await bind(wallet)
    pem = wallet.hsm.store.public_key("wallet/envelope")
    _, good = begin_enrolment(pem, user_id, device_id, key)
    _, by_other = begin_enrolment(pem, user_id, device_id, other_key)
    _, second = begin_enrolment(pem, user_id, device_id, key)
    _, elsewhere = begin_enrolment(wallet.hsm.store.public_key("handover/envelope"), user_id, device_id, key)
    enrol_ = wallet.enrolments.enrol

    with pytest.raises(NotProved):
        await enrol_("user/x", user_id, device_id, by_other.envelope, by_other.signature)
    with pytest.raises(NotProved):  # its own signature over another envelope
        await enrol_("user/x", user_id, device_id, second.envelope, good.signature)
    with pytest.raises(NotProved):  # sealed to another key
        await enrol_("user/x", user_id, device_id, elsewhere.envelope, elsewhere.signature)
    with pytest.raises(Missing):  # another user's device
        await enrol_("user/x", user_id, other_device, good.envelope, good.signature)
    with pytest.raises(Invalid):
        await enrol_("user/x", user_id, device_id, good.envelope + b"0", good.signature)
    await enrol_("user/x", user_id, device_id, good.envelope, good.signature)


async def test_who_closes_his_account_leaves_no_device_that_makes_codes(wallet: Wallet, payer: Payer) -> None:
    other = await make_payer(wallet)
    await wallet.enrolments.give_up(f"user/{payer.user_id}", payer.user_id)
    codes = [asked(each.shows.code(wallet.clock.now_ms)) for each in (payer, other)]
    gone, stays = await wallet.codes.open(codes)
    assert isinstance(gone, NotOpened)
    assert isinstance(stays, CardCredential)
    acts = await wallet.pool.fetch("SELECT act FROM audit_trail WHERE who = $1", f"user/{payer.user_id}")
    assert "WalletService.WithdrawPaymentCodes" in [each["act"] for each in acts]
