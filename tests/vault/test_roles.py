"""Who may do what: every action in every role, against a list of its own."""

from collections.abc import Awaitable, Callable

import pytest
from vault_scene import REQUESTER, fresh_pan

from switch.domain.money import Money
from switch.domain.payment_token import TokenState
from switch.vault.roles import PERMITTED, Action, Caller, Forbidden, Role
from switch.vault.vault import Vault

NUMBER = "9999000000000004"
CALLS: dict[Action, Callable[[Vault, Caller], Awaitable[object]]] = {
    Action.TOKENIZE: lambda vault, caller: vault.tokenize(caller, REQUESTER, [fresh_pan()]),
    Action.LOOK_UP: lambda vault, caller: vault.look_up(caller, REQUESTER, [fresh_pan()]),
    Action.SHOW: lambda vault, caller: vault.show(caller, REQUESTER, [NUMBER]),
    Action.DETOKENIZE: lambda vault, caller: vault.detokenize(caller, REQUESTER, [NUMBER], "test"),
    Action.SET_STATE: lambda vault, caller: vault.set_state(caller, REQUESTER, [NUMBER], TokenState.SUSPENDED),
    Action.ISSUE_PAYMENT: lambda vault, caller: vault.issue_payments(caller, REQUESTER, [(NUMBER, Money(1, "CNY"))]),
    Action.REDEEM: lambda vault, caller: vault.redeem(caller, REQUESTER, []),
    Action.ROTATE_WRAPPING: lambda vault, caller: vault.rotate_wrapping(caller, "vault/wrapping"),
}
ALLOWED = {
    (Action.TOKENIZE, Role.REQUESTER),
    (Action.TOKENIZE, Role.PAYMENTS),
    (Action.LOOK_UP, Role.REQUESTER),
    (Action.LOOK_UP, Role.PAYMENTS),
    (Action.LOOK_UP, Role.DISPUTES),
    (Action.SHOW, Role.REQUESTER),
    (Action.SHOW, Role.PAYMENTS),
    (Action.SHOW, Role.DISPUTES),
    (Action.SHOW, Role.OPERATOR),
    (Action.DETOKENIZE, Role.PAYMENTS),
    (Action.DETOKENIZE, Role.DISPUTES),
    (Action.SET_STATE, Role.OPERATOR),
    (Action.ISSUE_PAYMENT, Role.REQUESTER),
    (Action.REDEEM, Role.PAYMENTS),
    (Action.ROTATE_WRAPPING, Role.OPERATOR),
}


async def test_every_action_in_every_role(vault: Vault) -> None:
    assert set(CALLS) == set(Action) == set(PERMITTED)
    done = set()
    for action, call in CALLS.items():
        for role in Role:
            try:
                await call(vault, Caller(REQUESTER, role))
            except Forbidden:
                continue
            done.add((action, role))
    assert done == ALLOWED


@pytest.mark.parametrize("action", sorted(each for each, role in ALLOWED if role is Role.REQUESTER), ids=str)
async def test_a_requester_acts_for_itself_alone(vault: Vault, action: Action) -> None:
    with pytest.raises(Forbidden, match="itself"):
        await CALLS[action](vault, Caller("another", Role.REQUESTER))


@pytest.mark.parametrize("requester", ["", "a|b", "-a", "x" * 65, "é", "a\n"])
async def test_a_requesters_name(vault: Vault, requester: str) -> None:
    with pytest.raises(ValueError, match="requester's name"):
        await vault.tokenize(Caller("road", Role.PAYMENTS), requester, [])
