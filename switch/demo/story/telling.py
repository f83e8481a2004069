"""The whole story, told chapter by chapter; what goes wrong ends it, since each stands on those before."""

from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio
from aiohttp import ClientError

from switch.client.acquirer import AcquirerClient
from switch.client.errors import PaymentError
from switch.demo.environment import Environment
from switch.demo.story.callers import StoryWrong
from switch.demo.story.chapters import CHAPTERS
from switch.demo.story.stage import Story

_WENT_WRONG = (StoryWrong, PaymentError, ClientError, ConnectionError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Told:
    """A chapter. problem: "" if all was as it should be."""

    name: str
    remark: str
    problem: str = ""


async def tell(environment: Environment, client: AcquirerClient, heard: Callable[[Told], None]) -> list[Told]:
    """heard: called after each chapter."""
    story = Story(environment, client)
    told: list[Told] = []
    try:
        for name, chapter in CHAPTERS:
            try:
                each = Told(name, await chapter(story))
            except grpc.aio.AioRpcError as error:
                each = Told(name, "", f"{error.code().name}: {error.details()}")
            except _WENT_WRONG as error:
                each = Told(name, "", f"{type(error).__name__}: {error}")
            told.append(each)
            heard(each)
            if each.problem:
                break
    finally:
        await story.close()
    return told
