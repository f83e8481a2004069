"""The story's own voice: what goes wrong is told, ends it, and is not mistaken for what went well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from payswitch.v1 import merchant_pb2
from switch.demo.story import callers, telling
from switch.demo.story.callers import Caller, StoryWrong, expect, until
from switch.demo.story.telling import Told, tell


class NoStory:
    closed = 0

    def __init__(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        NoStory.closed += 1


def chapter(error: Exception | None = None) -> Callable[[Any], Awaitable[str]]:
    async def play(story: Any) -> str:
        if error is not None:
            raise error
        return "seen"

    return play


@pytest.mark.parametrize("error", [StoryWrong("fees: 1, not 2"), ConnectionError("gone"), ValueError("too many")])
async def test_what_goes_wrong_is_told_and_ends_the_story(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    chapters = (("first", chapter()), ("second", chapter(error)), ("third", chapter()))
    monkeypatch.setattr(telling, "CHAPTERS", chapters)
    monkeypatch.setattr(telling, "Story", NoStory)
    before, heard = NoStory.closed, list[Told]()
    told = await tell(SimpleNamespace(), SimpleNamespace(), heard.append)  # type: ignore[arg-type]
    assert told == heard == [Told("first", "seen"), Told("second", "", f"{type(error).__name__}: {error}")]
    assert NoStory.closed == before + 1


def test_what_differs_is_wrong() -> None:
    expect((1, "a"), (1, "a"), "same")
    with pytest.raises(StoryWrong, match="fees: 1, not 2"):
        expect(1, 2, "fees")


async def test_what_never_comes_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "PATIENCE_S", 0.0)

    async def look() -> int:
        return 7

    assert await until(look, lambda found: found == 7, "seven") == 7
    with pytest.raises(StoryWrong, match="eight did not come; last: 7"):
        await until(look, lambda found: found == 8, "eight")


@pytest.fixture
async def register() -> AsyncIterator[Caller]:
    """Answers ListStores, and refuses all else."""

    async def stores(request: bytes, context: Any) -> bytes:
        return merchant_pb2.ListStoresResponse(
            stores=[merchant_pb2.MerchantStore(store_id="S0001")]
        ).SerializeToString()

    async def refuse(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "by another person")
        raise AssertionError

    service = "payswitch.v1.MerchantService"
    methods = {"ListStores": stores, "ApproveContract": refuse}
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Caller(channel, "token")
    await server.stop(None)
    await asyncio.sleep(0)


async def test_a_refusal_must_come_and_be_the_right_one(register: Caller) -> None:
    approval, listing = merchant_pb2.ApproveContractRequest(), merchant_pb2.ListStoresRequest()
    assert [each.store_id for each in (await register.ask(listing)).stores] == ["S0001"]
    await register.refused(approval, "PERMISSION_DENIED", "another person")
    with pytest.raises(StoryWrong, match="'PERMISSION_DENIED', not 'NOT_FOUND'"):
        await register.refused(approval, "NOT_FOUND")
    with pytest.raises(StoryWrong, match="does not say 'step-up'"):
        await register.refused(approval, "PERMISSION_DENIED", "step-up")
    with pytest.raises(StoryWrong, match="should be refused with NOT_FOUND, and was answered"):
        await register.refused(listing, "NOT_FOUND")
    with pytest.raises(TypeError, match="is no request"):
        await register.ask(merchant_pb2.ListStoresResponse())
