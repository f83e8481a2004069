"""A peer on an HSM socket that may say anything."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hsm.wire import Answer, Codec

PATIENCE_S = 10.0


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until it holds."""
    for _ in range(int(PATIENCE_S / 0.02)):
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came true")


class RawPeer:
    """`async with RawPeer(path) as peer:`"""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.codec = Codec()
        self._frames = self.codec.reader()
        self._answers: list[Answer] = []

    async def __aenter__(self) -> "RawPeer":
        self.reader, self.writer = await asyncio.open_unix_connection(str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, number: int, command: str, items: list[Any]) -> None:
        self.writer.write(self.codec.request(number, command, items))

    def send_body(self, body: bytes) -> None:
        self.writer.write(len(body).to_bytes(4) + body)

    async def answer(self) -> Answer:
        """The next one."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._answers:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._answers += [self.codec.read_answer(each) for each in self._frames.feed(data)]
        return self._answers.pop(0)

    async def ask(self, command: str, items: list[Any], number: int = 1) -> Any:
        """The results of one request."""
        self.send(number, command, items)
        answer = await self.answer()
        assert answer.number == number
        return answer.results

    async def is_hung_up(self) -> bool:
        """Waits for the end of the stream."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(65536):
                    continue
        except ConnectionError:
            return True
        return True
