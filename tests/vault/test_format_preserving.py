"""Tokens without rows."""

from collections.abc import Callable

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vault_scene import DESK, OPERATOR, REQUESTER, ROAD, SHOP, fresh_pan

from switch.domain.money import Money
from switch.domain.payment_token import Refusal, TokenState, check_digit, is_token
from switch.domain.sensitive import Pan
from switch.vault.vault import SchemeChanged, Vault

MakeVault = Callable[..., Vault]


@pytest.fixture
def vaultless(make_vault: MakeVault) -> Vault:
    return make_vault(format_preserving=frozenset({REQUESTER}))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text("0123456789", min_size=15, max_size=15).filter(lambda each: not each.startswith("999")))
async def test_there_and_back(vaultless: Vault, body: str) -> None:
    pan = Pan(body + check_digit(body))
    [token] = await vaultless.tokenize(SHOP, REQUESTER, [pan])
    assert len(token.digits) == 19
    assert is_token(token.digits)
    assert await vaultless.look_up(SHOP, REQUESTER, [pan]) == [token]
    assert await vaultless.detokenize(ROAD, REQUESTER, [token.digits], "capture") == [pan]


async def test_it_keeps_no_token_but_every_access(vaultless: Vault, tables: asyncpg.Pool) -> None:
    pan = fresh_pan()
    [token] = await vaultless.tokenize(SHOP, REQUESTER, [pan])
    asked = [token.digits, "9999000000000004", token.digits[:-1] + "x"]
    assert await vaultless.detokenize(DESK, REQUESTER, asked, "chargeback") == [pan, Refusal.UNKNOWN, Refusal.UNKNOWN]
    assert await tables.fetchval("SELECT count(*) FROM payment_tokens") == 0
    [row] = await tables.fetch("SELECT token, role, reason FROM token_accesses")
    assert tuple(row) == (token.digits, "disputes", "chargeback")


async def test_other_lengths_are_refused_in_place(vaultless: Vault) -> None:
    pans = [fresh_pan(15), fresh_pan(16), fresh_pan(19), Pan("6225880000001230"), Pan("9999000000000004")]
    results = await vaultless.tokenize(SHOP, REQUESTER, pans)
    assert [results[0], *results[2:]] == [Refusal.NOT_SUPPORTED] * 2 + [Refusal.NOT_A_PAN] * 2
    assert results[1].last_four == pans[1].reveal()[-4:]


async def test_each_requester_has_numbers_of_its_own(make_vault: MakeVault) -> None:
    vault = make_vault(format_preserving=frozenset({"one", "two"}))
    pan = fresh_pan()
    [one], [two] = [await vault.tokenize(ROAD, each, [pan]) for each in ("one", "two")]
    assert one.digits != two.digits
    assert await vault.detokenize(ROAD, "two", [one.digits], "x") != [pan]


async def test_what_needs_a_row_is_not_supported(vaultless: Vault) -> None:
    [token] = await vaultless.tokenize(SHOP, REQUESTER, [fresh_pan()])
    refused = [
        await vaultless.show(OPERATOR, REQUESTER, [token.digits]),
        await vaultless.set_state(OPERATOR, REQUESTER, [token.digits], TokenState.SUSPENDED),
        await vaultless.issue_payments(SHOP, REQUESTER, [(token.digits, Money(1, "CNY"))]),
    ]
    assert refused == [[Refusal.NOT_SUPPORTED]] * 3


async def test_a_requester_keeps_its_scheme(vault: Vault, vaultless: Vault, make_vault: MakeVault) -> None:
    """Read by another scheme a token would turn into a stranger's PAN."""
    [token] = await vault.tokenize(SHOP, REQUESTER, [fresh_pan(19)])
    with pytest.raises(SchemeChanged):
        await vaultless.detokenize(ROAD, REQUESTER, [token.digits], "capture")
    with pytest.raises(SchemeChanged):
        await vaultless.tokenize(SHOP, REQUESTER, [fresh_pan()])
    await vault.show(OPERATOR, "new", [])  # a look fixes nothing
    await make_vault(format_preserving=frozenset({"new"})).tokenize(ROAD, "new", [fresh_pan()])
