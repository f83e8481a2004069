"""Tokenization and back."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import pytest
from vault_scene import DESK, OPERATOR, REQUESTER, ROAD, SHOP, StillClock, fresh_pan

from hsm.direct import DirectHsm
from switch.domain.money import Money
from switch.domain.payment_token import PaymentToken, Refusal, TokenState, check_digit, is_token
from switch.domain.sensitive import Pan
from switch.store.vault import PostgresTokenStore
from switch.vault.settings import VaultSettings
from switch.vault.vault import Vault

MakeVault = Callable[..., Vault]
DAY_MS = 24 * 60 * 60 * 1000


async def tokenized(vault: Vault, *pans: Pan) -> list[str]:
    tokens = await vault.tokenize(SHOP, REQUESTER, pans)
    return [each.digits for each in tokens if isinstance(each, PaymentToken)]


async def test_there_and_back(vault: Vault) -> None:
    pans = [fresh_pan(length) for length in range(12, 20)]
    tokens = await vault.tokenize(SHOP, REQUESTER, pans)
    assert [each.last_four for each in tokens] == [pan.reveal()[-4:] for pan in pans]
    assert [len(each.digits) for each in tokens] == list(range(12, 20))
    assert all(is_token(each.digits) and each.digits.startswith("9999") for each in tokens)
    digits = [each.digits for each in tokens]
    assert await vault.detokenize(ROAD, REQUESTER, digits, "capture") == pans
    assert await vault.show(OPERATOR, REQUESTER, digits) == tokens
    assert await vault.look_up(SHOP, REQUESTER, pans) == tokens


async def test_a_pan_has_one_live_token_with_a_requester_and_another_with_the_next(vault: Vault) -> None:
    pan = fresh_pan()
    first, twin = await vault.tokenize(ROAD, REQUESTER, [pan, pan])
    assert first == twin
    assert await vault.tokenize(ROAD, REQUESTER, [pan]) == [first]
    [other] = await vault.tokenize(ROAD, "other", [pan])
    assert other.digits != first.digits
    assert await vault.detokenize(ROAD, "other", [first.digits, other.digits], "test") == [Refusal.UNKNOWN, pan]


async def test_bad_items_stand_among_good_ones(vault: Vault) -> None:
    pan = fresh_pan()
    [token] = await tokenized(vault, pan)
    wrong = pan.reveal()[:-1] + str((int(pan.reveal()[-1]) + 1) % 10)
    bad = ["", "6225", wrong, pan.reveal() + "0000", "６" + pan.reveal()[1:], token]
    results = await vault.tokenize(SHOP, REQUESTER, [Pan(each) for each in bad] + [pan])
    assert results[:-1] == [Refusal.NOT_A_PAN] * len(bad)
    assert results[-1].digits == token
    assert await vault.look_up(SHOP, REQUESTER, [fresh_pan(), pan]) == [Refusal.UNKNOWN, results[-1]]
    asked = ["9999000000000004", "", token, "nonsense"]
    assert await vault.detokenize(ROAD, REQUESTER, asked, "x") == [
        Refusal.UNKNOWN,
        Refusal.UNKNOWN,
        pan,
        Refusal.UNKNOWN,
    ]
    assert await vault.tokenize(SHOP, REQUESTER, []) == []


@pytest.mark.parametrize("text", ["\0", "\ud800", "9999\0", "٩" * 16])
async def test_text_that_no_database_holds_is_an_unknown_token(vault: Vault, text: str) -> None:
    pan = fresh_pan()
    [token] = await tokenized(vault, pan)
    asked = [text, token]
    assert await vault.detokenize(ROAD, REQUESTER, asked, "x") == [Refusal.UNKNOWN, pan]
    assert (await vault.show(SHOP, REQUESTER, asked))[0] is Refusal.UNKNOWN
    assert (await vault.set_state(OPERATOR, REQUESTER, asked, TokenState.SUSPENDED))[0] is Refusal.UNKNOWN
    wanted = [(each, Money(1, "CNY")) for each in asked]
    assert await vault.issue_payments(SHOP, REQUESTER, wanted) == [Refusal.UNKNOWN, Refusal.SUSPENDED]


async def test_two_at_once_give_one_token(make_vault: MakeVault) -> None:
    """Two processes, twenty times the same PANs in other orders; the first data key is made in this race, too."""
    pans = [fresh_pan() for _ in range(20)]
    one, two = make_vault(), make_vault()
    results = await asyncio.gather(
        *(each.tokenize(ROAD, REQUESTER, pans[turn:] + pans[:turn]) for turn in range(10) for each in (one, two))
    )
    turned_back = [
        result[len(pans) - index // 2 :] + result[: len(pans) - index // 2] for index, result in enumerate(results)
    ]
    assert all(each == turned_back[0] for each in turned_back)
    assert len({each.digits for each in turned_back[0]}) == len(pans)


async def test_suspended_deleted_and_made_anew(vault: Vault, tables: asyncpg.Pool) -> None:
    pan = fresh_pan()
    [token] = await tokenized(vault, pan)
    [direct] = await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.DELETED)
    assert direct is Refusal.TRANSITION
    [suspended] = await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED)
    assert suspended.state is TokenState.SUSPENDED
    assert await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED) == [suspended]
    assert await vault.detokenize(ROAD, REQUESTER, [token], "capture") == [Refusal.SUSPENDED]
    assert await vault.detokenize(DESK, REQUESTER, [token], "chargeback") == [pan]
    assert await vault.tokenize(SHOP, REQUESTER, [pan]) == [suspended]
    [again] = await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.ACTIVE)
    assert again.state is TokenState.ACTIVE
    await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.SUSPENDED)
    [gone] = await vault.set_state(OPERATOR, REQUESTER, [token], TokenState.DELETED)
    assert (gone.state, gone.last_four) == (TokenState.DELETED, "")
    for state in (TokenState.ACTIVE, TokenState.SUSPENDED):
        assert await vault.set_state(OPERATOR, REQUESTER, [token], state) == [Refusal.TRANSITION]
    assert await vault.detokenize(DESK, REQUESTER, [token], "chargeback") == [Refusal.DELETED]
    row = await tables.fetchrow("SELECT pan_hash, sealed_pan FROM payment_tokens WHERE token = $1", token)
    assert tuple(row) == (b"", b"")
    [fresh] = await tokenized(vault, pan)
    assert fresh != token
    [unknown] = await vault.set_state(OPERATOR, REQUESTER, ["9999000000000004"], TokenState.SUSPENDED)
    assert unknown is Refusal.UNKNOWN


async def test_a_number_that_is_taken_is_drawn_anew(
    hsm: DirectHsm, store: PostgresTokenStore, clock: StillClock
) -> None:
    draws = iter([bytes(16), bytes(16), bytes(16), b"\1" * 16])
    vault = Vault(hsm, store, clock, entropy=lambda size: next(draws)[:size])
    first, second = await vault.tokenize(SHOP, REQUESTER, [fresh_pan(), fresh_pan()])
    assert is_token(second.digits)
    assert len({first.digits, second.digits}) == 2
    stuck = Vault(hsm, store, clock, entropy=bytes)
    assert await stuck.tokenize(SHOP, REQUESTER, [fresh_pan()]) == [Refusal.EXHAUSTED]


# --- at rest ----------------------------------------------------------------------------------------------------------


async def test_no_column_holds_a_clear_pan(vault: Vault, tables: asyncpg.Pool) -> None:
    pans = [fresh_pan(length) for length in (13, 16, 19)]
    tokens = await tokenized(vault, *pans)
    await vault.detokenize(DESK, REQUESTER, tokens, "chargeback 4711")
    dump = ""
    for table in ("payment_tokens", "token_data_keys", "token_accesses", "token_requesters"):
        rows = await tables.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} AS t")
        assert rows
        dump += "".join(row["row"] for row in rows)
    assert json.dumps(tokens[0])[1:-1] in dump  # the hunt reads what is there
    for pan in pans:
        for clue in (pan.reveal(), pan.reveal()[:-4], pan.reveal()[-8:]):
            assert clue not in dump
            assert clue.encode().hex() not in dump
            assert clue[::-1] not in dump


@pytest.mark.parametrize("column", ["pan_hash", "sealed_pan", "last_four"])
async def test_a_changed_row_is_noticed(vault: Vault, tables: asyncpg.Pool, column: str) -> None:
    """Two rows' values change places: each is valid by itself."""
    pans = [fresh_pan(), fresh_pan(), fresh_pan()]
    tokens = await tokenized(vault, *pans)
    values = await tables.fetch(
        f"SELECT token, {column} AS value FROM payment_tokens WHERE token = ANY ($1)", tokens[:2]
    )
    by_token = {row["token"]: row["value"] for row in values}
    if column == "pan_hash":
        await tables.execute("UPDATE payment_tokens SET pan_hash = 'x' WHERE token = $1", tokens[0])
    for token, other in (tokens[:2][::-1], tokens[:2]):
        await tables.execute(f"UPDATE payment_tokens SET {column} = $2 WHERE token = $1", token, by_token[other])
    results = await vault.detokenize(ROAD, REQUESTER, tokens, "capture")
    assert results == [Refusal.BROKEN, Refusal.BROKEN, pans[2]]
    looked_up = await vault.tokenize(SHOP, REQUESTER, pans)
    assert looked_up[:2] == [Refusal.BROKEN] * 2
    assert looked_up[2].digits == tokens[2]
    assert await tables.fetchval("SELECT count(*) FROM token_accesses") == 1


async def test_a_row_moved_to_another_requester_or_number_is_noticed(vault: Vault, tables: asyncpg.Pool) -> None:
    pan, moved, other = fresh_pan(), fresh_pan(), "9999000000000004"
    [token, renamed] = await tokenized(vault, pan, moved)
    await vault.tokenize(ROAD, "thief", [fresh_pan()])
    await tables.execute("UPDATE payment_tokens SET requester = 'thief' WHERE token = $1", token)
    await tables.execute(
        "UPDATE token_data_keys AS t SET wrapped = s.wrapped FROM token_data_keys AS s"
        " WHERE t.requester = 'thief' AND s.requester = $1",
        REQUESTER,
    )
    await tables.execute("UPDATE payment_tokens SET token = $2 WHERE token = $1", renamed, other)
    assert await vault.detokenize(ROAD, "thief", [token], "x") == [Refusal.BROKEN]
    assert await vault.detokenize(ROAD, REQUESTER, [token, other], "x") == [Refusal.UNKNOWN, Refusal.BROKEN]


# --- the access log ---------------------------------------------------------------------------------------------------


async def test_every_pan_given_out_leaves_a_row(vault: Vault, tables: asyncpg.Pool, clock: StillClock) -> None:
    tokens = await tokenized(vault, fresh_pan(), fresh_pan())
    asked = [*tokens, "9999000000000004", tokens[0]]
    await vault.detokenize(DESK, REQUESTER, asked, "chargeback 4711")
    rows = await tables.fetch("SELECT * FROM token_accesses")
    assert sorted(row["token"] for row in rows) == sorted([*tokens, tokens[0]])
    told = {(row["requester"], row["who"], row["role"], row["reason"], row["time_ms"]) for row in rows}
    assert told == {(REQUESTER, "desk", "disputes", "chargeback 4711", clock.now_ms)}
    assert {(row["id"].version, row["id"].int >> 80) for row in rows} == {(7, clock.now_ms)}


async def test_no_pan_without_its_row(vault: Vault, tables: asyncpg.Pool) -> None:
    [token] = await tokenized(vault, fresh_pan())
    await tables.execute("ALTER TABLE token_accesses ADD CONSTRAINT closed CHECK (false) NOT VALID")
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await vault.detokenize(ROAD, REQUESTER, [token], "capture")
    finally:
        await tables.execute("ALTER TABLE token_accesses DROP CONSTRAINT closed")


@pytest.mark.parametrize("reason", ["", "x" * 201, "card 6225880000001231", "a\0"])
async def test_a_reason_is_short_and_no_pan(vault: Vault, reason: str) -> None:
    with pytest.raises(ValueError, match="a reason has"):
        await vault.detokenize(ROAD, REQUESTER, [], reason)


# --- data keys --------------------------------------------------------------------------------------------------------


async def test_a_data_key_per_requester_and_period(vault: Vault, clock: StillClock, tables: asyncpg.Pool) -> None:
    early = fresh_pan()
    [first] = await tokenized(vault, early)
    await vault.tokenize(ROAD, "other", [fresh_pan()])
    clock.now_ms += 30 * DAY_MS
    late = fresh_pan()
    [second] = await tokenized(vault, late)
    rows = await tables.fetch("SELECT requester, period, wrapped FROM token_data_keys")
    assert len({row["wrapped"] for row in rows}) == len(rows) == 3
    assert await vault.detokenize(ROAD, REQUESTER, [first, second], "x") == [early, late]


async def test_rotation_moves_every_data_key_and_no_token(
    vault: Vault, make_vault: MakeVault, hsm: DirectHsm, tables: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pans = [fresh_pan() for _ in range(5)]
    tokens = [(await vault.tokenize(ROAD, f"shop-{index}", [pan]))[0].digits for index, pan in enumerate(pans)]
    before = await tables.fetch("SELECT * FROM payment_tokens ORDER BY requester")
    monkeypatch.setattr("switch.vault.rotation.BATCH", 2)
    assert await vault.rotate_wrapping(OPERATOR, "vault/wrapping-2") == 5
    assert await vault.rotate_wrapping(OPERATOR, "vault/wrapping-2") == 0
    assert await tables.fetch("SELECT * FROM payment_tokens ORDER BY requester") == before
    old_key = hsm.context.keys.pop("vault/wrapping")
    try:
        later = make_vault(wrapping_key="vault/wrapping-2")
        for index, token in enumerate(tokens):
            assert await later.detokenize(ROAD, f"shop-{index}", [token], "x") == [pans[index]]
    finally:
        hsm.context.keys["vault/wrapping"] = old_key


async def test_a_data_key_that_another_rotation_moved_is_left_to_it(vault: Vault, store: PostgresTokenStore) -> None:
    await tokenized(vault, fresh_pan())
    [before] = await store.data_keys_not_under("vault/wrapping-2", 10)
    await vault.rotate_wrapping(OPERATOR, "vault/wrapping-2")
    assert await store.rewrap([(before, replace(before, wrapping_key="vault/wrapping-3"))]) == 0


async def test_a_rotation_that_stopped_is_run_again(
    vault: Vault, tables: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        await vault.tokenize(ROAD, f"shop-{index}", [fresh_pan()])
    good = await tables.fetchval("SELECT wrapped FROM token_data_keys WHERE requester = 'shop-2'")
    await tables.execute("UPDATE token_data_keys SET wrapped = $1 WHERE requester = 'shop-2'", bytes(len(good)))
    monkeypatch.setattr("switch.vault.rotation.BATCH", 3)
    with pytest.raises(Exception, match="verify"):
        await vault.rotate_wrapping(OPERATOR, "vault/wrapping-2")
    left = await tables.fetch("SELECT requester FROM token_data_keys WHERE wrapping_key = 'vault/wrapping'")
    assert {row["requester"] for row in left} == {"shop-2", "shop-3", "shop-4"}
    await tables.execute("UPDATE token_data_keys SET wrapped = $1 WHERE requester = 'shop-2'", good)
    assert await vault.rotate_wrapping(OPERATOR, "vault/wrapping-2") == 3


# --- bounds -----------------------------------------------------------------------------------------------------------


async def test_a_batch_is_bounded(make_vault: MakeVault) -> None:
    vault = make_vault(max_batch=2)
    with pytest.raises(ValueError, match="at most 2"):
        await vault.tokenize(SHOP, REQUESTER, [fresh_pan()] * 3)


@pytest.mark.parametrize("prefix", ["", "99", "9899", "999x", "9999999", "６９９"])
def test_a_prefix_is_no_issuers(prefix: str) -> None:
    with pytest.raises(ValueError, match="random_prefix"):
        VaultSettings(random_prefix=prefix)


def test_check_digits() -> None:
    assert [check_digit(each) for each in ("622588000000123", "999900000000000")] == ["1", "4"]
