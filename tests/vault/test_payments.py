"""One-time payments: issued, redeemed once, refused by name."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import asyncpg
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from vault_scene import CRYPTOGRAM_KEY, OPERATOR, REQUESTER, ROAD, SHOP, StillClock, fresh_pan

from hsm.direct import DirectHsm
from hsm.guard import Guard, GuardLimits
from switch.domain.money import Money
from switch.domain.payment_token import OneTimePayment, Refusal, TokenState
from switch.domain.sensitive import Pan
from switch.store.vault import PostgresTokenStore
from switch.vault.one_time import signed_data
from switch.vault.vault import Vault

MakeVault = Callable[..., Vault]
PRICE = Money(1250, "CNY")


@pytest.fixture(autouse=True)
def fresh_guard(hsm: DirectHsm) -> None:
    """Failures of one test do not count in the next."""
    hsm.context.guard = Guard(GuardLimits(failures=3))


async def with_token(vault: Vault, pan: Pan) -> str:
    [token] = await vault.tokenize(SHOP, REQUESTER, [pan])
    return token.digits


async def issued(vault: Vault, token: str, count: int = 1, money: Money = PRICE) -> list[OneTimePayment]:
    return await vault.issue_payments(SHOP, REQUESTER, [(token, money)] * count)


async def redeemed(vault: Vault, payments: Sequence[OneTimePayment]) -> list[Pan | Refusal]:
    return await vault.redeem(ROAD, REQUESTER, payments)


async def test_a_payment_is_redeemed_once(vault: Vault, tables: asyncpg.Pool) -> None:
    pan = fresh_pan()
    [payment] = await issued(vault, await with_token(vault, pan))
    assert await redeemed(vault, [payment]) == [pan]
    assert await redeemed(vault, [payment]) == [Refusal.REPLAYED]
    [row] = await tables.fetch("SELECT who, role, token, reason FROM token_accesses")
    assert tuple(row) == ("road", "payments", payment.token, "one-time payment redeemed")


async def test_a_batch_with_a_payment_twice_and_others(vault: Vault) -> None:
    pans = [fresh_pan(), fresh_pan(19)]
    tokens = [await with_token(vault, pan) for pan in pans]
    [first, second], [other] = await issued(vault, tokens[0], 2), await issued(vault, tokens[1])
    assert (first.counter, second.counter, other.counter) == (1, 2, 1)
    stranger = replace(first, token="9999000000000004")
    results = await redeemed(vault, [first, first, stranger, second, other, second])
    assert results == [pans[0], Refusal.REPLAYED, Refusal.UNKNOWN, pans[0], pans[1], Refusal.REPLAYED]


async def test_fifty_at_once_get_one_pan(make_vault: MakeVault, tables: asyncpg.Pool) -> None:
    pan = fresh_pan()
    vaults = [make_vault() for _ in range(5)]
    [payment] = await issued(vaults[0], await with_token(vaults[0], pan))
    results = await asyncio.gather(*(redeemed(vaults[index % 5], [payment]) for index in range(50)))
    assert [each for [each] in results if isinstance(each, Pan)] == [pan]
    assert [each for [each] in results if not isinstance(each, Pan)] == [Refusal.REPLAYED] * 49
    assert await tables.fetchval("SELECT count(*) FROM token_accesses") == 1


async def test_the_database_alone_admits_one(
    store: PostgresTokenStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have read the row before the first spends: what the vault saw decides nothing."""
    pan = fresh_pan()
    [payment] = await issued(vault, await with_token(vault, pan))
    gate, spend = asyncio.Barrier(8), store.redeem

    async def together(redemptions):  # type: ignore[no-untyped-def]
        async with gate:
            return await spend(redemptions)

    monkeypatch.setattr(store, "redeem", together)
    results = await asyncio.gather(*(redeemed(vault, [payment]) for _ in range(8)))
    assert sorted(isinstance(each, Pan) for [each] in results) == [False] * 7 + [True]


async def test_a_later_payment_makes_the_earlier_void(vault: Vault) -> None:
    pan = fresh_pan()
    first, second = await issued(vault, await with_token(vault, pan), 2)
    assert await redeemed(vault, [second]) == [pan]
    assert await redeemed(vault, [first]) == [Refusal.REPLAYED]


@pytest.mark.parametrize(
    "changes",
    [
        {"money": Money(1251, "CNY")},
        {"money": Money(1250, "USD")},
        {"money": Money(-1, "CNY")},
        {"money": Money(1250, "XXX")},
        {"counter": 2},
        {"counter": 0},
        {"counter": 65536},
        {"unpredictable_number": b"abcd"},
        {"unpredictable_number": b"abc"},
        {"expires_time_ms": 1 << 47},
        {"expires_time_ms": 1 << 64},
        {"cryptogram": bytes(8)},
        {"cryptogram": b""},
    ],
)
async def test_whatever_is_changed_is_refused_and_spends_nothing(vault: Vault, changes: dict[str, object]) -> None:
    pan = fresh_pan()
    [payment, _] = await issued(vault, await with_token(vault, pan), 2)
    assert await redeemed(vault, [replace(payment, **changes)]) == [Refusal.CRYPTOGRAM]
    assert await redeemed(vault, [payment]) == [pan]


async def test_a_payment_of_another_token_or_requester_is_refused(vault: Vault) -> None:
    tokens = [await with_token(vault, fresh_pan()) for _ in range(2)]
    [payment] = await issued(vault, tokens[0])
    await issued(vault, tokens[1])
    assert await redeemed(vault, [replace(payment, token=tokens[1])]) == [Refusal.CRYPTOGRAM]
    assert await vault.redeem(ROAD, "other", [payment]) == [Refusal.UNKNOWN]


async def test_expired_suspended_deleted(vault: Vault, clock: StillClock) -> None:
    pan = fresh_pan()
    token = await with_token(vault, pan)
    [payment] = await issued(vault, token)
    clock.now_ms = payment.expires_time_ms
    assert await redeemed(vault, [payment]) == [Refusal.EXPIRED]
    clock.now_ms -= 1
    await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED)
    assert await redeemed(vault, [payment]) == [Refusal.SUSPENDED]
    assert await issued(vault, token) == [Refusal.SUSPENDED]
    await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.ACTIVE)
    assert await redeemed(vault, [payment]) == [pan]
    await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED)
    await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.DELETED)
    assert await redeemed(vault, [payment]) == [Refusal.DELETED]
    assert await issued(vault, token) == [Refusal.DELETED]


async def test_suspended_between_reading_and_spending(
    store: PostgresTokenStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await with_token(vault, fresh_pan())
    [payment] = await issued(vault, token)
    spend = store.redeem

    async def late(redemptions):  # type: ignore[no-untyped-def]
        await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED)
        return await spend(redemptions)

    monkeypatch.setattr(store, "redeem", late)
    assert await redeemed(vault, [payment]) == [Refusal.SUSPENDED]


async def test_guessing_is_bounded(vault: Vault) -> None:
    pan = fresh_pan()
    [payment, later] = await issued(vault, await with_token(vault, pan), 2)
    guesses = [replace(payment, cryptogram=bytes([0] * 7 + [number])) for number in range(3)]
    assert await redeemed(vault, guesses) == [Refusal.CRYPTOGRAM] * 3
    assert await redeemed(vault, [payment, later]) == [Refusal.TOO_MANY_FAILURES] * 2


async def test_a_replay_does_not_forgive_guesses(vault: Vault) -> None:
    """Or whoever keeps one spent payment could guess for ever."""
    [spent, wanted] = await issued(vault, await with_token(vault, fresh_pan()), 2)
    await redeemed(vault, [spent])
    guesses = [replace(wanted, cryptogram=bytes([0] * 7 + [number])) for number in range(3)]
    for guess in guesses:
        assert await redeemed(vault, [guess, spent]) == [Refusal.CRYPTOGRAM, Refusal.REPLAYED]
    assert await redeemed(vault, [wanted]) == [Refusal.TOO_MANY_FAILURES]


async def test_a_row_that_cannot_be_opened_is_not_spent(vault: Vault, tables: asyncpg.Pool) -> None:
    pan = fresh_pan()
    token = await with_token(vault, pan)
    [payment] = await issued(vault, token)
    good = await tables.fetchval("SELECT sealed_pan FROM payment_tokens WHERE token = $1", token)
    await tables.execute("UPDATE payment_tokens SET sealed_pan = $2 WHERE token = $1", token, bytes(len(good)))
    assert await redeemed(vault, [payment]) == [Refusal.BROKEN]
    await tables.execute("UPDATE payment_tokens SET sealed_pan = $2 WHERE token = $1", token, good)
    assert await redeemed(vault, [payment]) == [pan]


async def test_a_payment_that_no_row_was_counted_for_is_refused(vault: Vault, tables: asyncpg.Pool) -> None:
    """A key holder's counter of the future: the row says how many were issued."""
    token = await with_token(vault, fresh_pan())
    [payment] = await issued(vault, token)
    await tables.execute("UPDATE payment_tokens SET issued_counter = 0 WHERE token = $1", token)
    assert await redeemed(vault, [payment]) == [Refusal.REPLAYED]


async def test_counters_end(vault: Vault, tables: asyncpg.Pool) -> None:
    token = await with_token(vault, fresh_pan())
    await tables.execute("UPDATE payment_tokens SET issued_counter = 65534 WHERE token = $1", token)
    [last] = await issued(vault, token)
    assert last.counter == 65535
    assert isinstance((await redeemed(vault, [last]))[0], Pan)
    unknown = ("9999000000000004", PRICE)
    refused = await vault.issue_payments(SHOP, REQUESTER, [(token, PRICE), unknown])
    assert refused == [Refusal.EXHAUSTED, Refusal.UNKNOWN]


@pytest.mark.parametrize("money", [Money(0, "CNY"), Money(10**12, "CNY"), Money(1, "XXX")])
async def test_amounts(vault: Vault, money: Money) -> None:
    with pytest.raises(ValueError, match="positive amount"):
        await issued(vault, await with_token(vault, fresh_pan()), money=money)


# --- the cryptogram, made again by other means ------------------------------------------------------------------------


def tdes(key: bytes, data: bytes) -> bytes:
    """key: 8 or 16 bytes."""
    encryptor = Cipher(TripleDES((key * 3)[:24]), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def untdes(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(TripleDES((key * 3)[:24]), modes.ECB()).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def with_odd_parity(key: bytes) -> bytes:
    return bytes(each & 0xFE | (each.bit_count() & 1 ^ each & 1 ^ 1) for each in key)


def cryptogram_by_hand(master: bytes, payment: OneTimePayment, data: bytes) -> bytes:
    """EMV 4.3, Book 2: A1.4.1 (option A), A1.3.1 (common session key), 8.1 (ISO/IEC 9797-1 algorithm 3)."""
    y = bytes.fromhex((payment.token + "00").zfill(16)[-16:])
    own = with_odd_parity(tdes(master, y) + tdes(master, xor(y, b"\xff" * 8)))
    counter = payment.counter.to_bytes(2, "big")
    session = tdes(own, counter + b"\xf0" + bytes(5)) + tdes(own, counter + b"\x0f" + bytes(5))
    left, right = session[:8], session[8:]
    padded = data + b"\x80" + bytes(-(len(data) + 1) % 8)
    state = bytes(8)
    for start in range(0, len(padded), 8):
        state = tdes(left, xor(state, padded[start : start + 8]))
    return tdes(left, untdes(right, state))


@pytest.mark.parametrize("length", [12, 16, 19])
async def test_the_cryptogram_is_emvs(vault: Vault, length: int) -> None:
    token = await with_token(vault, fresh_pan(length))
    for payment in await issued(vault, token, 2):
        assert cryptogram_by_hand(CRYPTOGRAM_KEY, payment, signed_data(REQUESTER, payment)) == payment.cryptogram
        assert payment.cryptogram.hex() not in repr(payment)
