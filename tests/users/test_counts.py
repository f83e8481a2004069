"""What log-ins and step-ups come to is counted, and nothing in the counts says whose they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio
import pytest
from people_scene import Scene, fresh_login, refused
from prometheus_client import REGISTRY, generate_latest

from payswitch.v1 import user_pb2 as pb


def _counts() -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("payswitch_user_").removesuffix("_total"), *sample.labels.values()): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("payswitch_user_") and sample.name.endswith("_total")
    }


@contextmanager
def grown(expected: dict[tuple[str, ...], int]) -> Iterator[None]:
    before = _counts()
    yield
    after = _counts()
    assert {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)} == expected


async def test_log_ins_are_counted_by_their_results(scene: Scene) -> None:
    person = await scene.person()
    with grown({("log_ins", "password", "done"): 1, ("log_ins", "password", "wrong"): 1}):
        await person.log_in()
        with refused("UNAUTHENTICATED"):
            await scene.stub.LogIn(pb.LogInRequest(login=person.login, password="not the password"))
    await person.set_up_totp()
    expected = {
        ("log_ins", "password", "second_factor_needed"): 1,
        ("log_ins", "second_factor", "wrong"): 1,
        ("log_ins", "second_factor", "done"): 1,
        ("log_ins", "refresh", "done"): 1,
    }
    with grown(expected):
        ticket = (await person.log_in()).second_factor_needed.ticket
        with refused("UNAUTHENTICATED"):
            await person.finish(ticket, totp_code="000000")
        tokens = await person.finish(ticket, totp_code=person.totp())
        await scene.stub.Refresh(pb.RefreshRequest(refresh_token=tokens.refresh_token))


async def test_step_ups_are_counted_by_what_was_shown(scene: Scene) -> None:
    person = await scene.person()
    expected = {
        ("step_ups", "password", "done"): 1,
        ("step_ups", "totp", "wrong"): 1,
        ("step_ups", "none", "malformed"): 1,
    }
    with grown(expected):
        await person.call("StepUp", pb.StepUpRequest(password=person.password))
        with refused("UNAUTHENTICATED"):
            await person.call("StepUp", pb.StepUpRequest(totp_code="000000"))
        with refused("INVALID_ARGUMENT"):
            await person.call("StepUp", pb.StepUpRequest())


@pytest.mark.parametrize("registered", [True, False])
async def test_a_lock_is_counted_once_whoever_it_locks(scene: Scene, registered: bool) -> None:
    login = (await scene.person()).login if registered else fresh_login()
    expected = {
        ("log_ins", "password", "wrong"): 5,
        ("log_ins", "password", "too_many"): 2,
        ("lock_outs",): 1,
    }
    with grown(expected):
        for _ in range(7):
            with pytest.raises(grpc.aio.AioRpcError):
                await scene.stub.LogIn(pb.LogInRequest(login=login, password="not the password"))


async def test_nothing_in_them_says_whose(scene: Scene) -> None:
    person = await scene.person()
    await person.log_in()
    pages = generate_latest(REGISTRY).decode()
    for secret in (person.tokens.user_id, person.tokens.session_id, person.login, person.tokens.access_token):
        assert secret not in pages
