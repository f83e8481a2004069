"""The kept corpus: input that was thought of, or once went wrong, with what becomes of it. Its keys are test keys.

To keep another one: add it with its hex to tests/vectors/unionpay_corpus.json.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unionpay_ends import MemberEnd, NetworkEnd

from adapters.unionpay._codec import decode, encode
from adapters.unionpay.format import MalformedMessage
from adapters.unionpay.frame import Framer
from switch.ports import Approved

CORPUS = json.loads((Path(__file__).parents[2] / "vectors" / "unionpay_corpus.json").read_text())["entries"]


def codec(data: bytes) -> str:
    try:
        header, mti, fields = decode(data)
    except MalformedMessage as error:
        return str(error)
    return "read" if encode(header, mti, fields) == data else "read, and written shorter"


def stream(data: bytes) -> str:
    framer = Framer(garbage_limit=1_000)
    messages = framer.feed(data)
    while framer.error is not None and framer.skipped <= 1_000:
        messages += framer.resynchronise()
    ended = ", dropped" if framer.error is not None else ""
    return f"{len(messages)} messages, {framer.keep_alives} keep-alives, {framer.skipped_ever} bytes skipped{ended}"


def network(data: bytes) -> str:
    """What was refused for which reason, and DE39 of the answers."""

    async def work() -> str:
        end = NetworkEnd()
        before = end.balances()
        end.hear(data)
        refused = ", ".join(f"{count} {cause}" for cause, count in sorted(end.network.refused.items()))
        codes: list[Any] = []
        for answer in Framer().feed(end.wire.written):
            codes.append("sent back" if answer[41:46] != b"00000" else decode(answer)[2][39])
        moved = "" if end.balances() == before else ", money moved"
        return f"refused: {refused or 'nothing'}; answered: {', '.join(codes) or 'nothing'}{moved}"

    with asyncio.Runner() as runner:
        return runner.run(work())


def link(data: bytes) -> str:
    """What became of a sale of 10.00 that waits, and what was refused."""

    async def work() -> str:
        end = MemberEnd()
        [future] = await end.sell(1_000)
        await end.hear(data)
        refused = ", ".join(f"{count} {cause}" for cause, count in sorted(end.refused().items()))
        if not future.done():
            result = "waits"
        elif isinstance(future.result(), Approved):
            result = f"approved {future.result().response_code}"
        else:
            result = getattr(future.result(), "response_code", "") or future.result().reason
        return f"{result}; refused: {refused or 'nothing'}"

    with asyncio.Runner() as runner:
        return runner.run(work())


PARSERS: dict[str, Callable[[bytes], str]] = {"codec": codec, "stream": stream, "network": network, "link": link}


@pytest.mark.parametrize("entry", CORPUS, ids=[f"{each['parser']}: {each['why']}" for each in CORPUS])
def test_the_corpus(entry: dict[str, str]) -> None:
    assert PARSERS[entry["parser"]](bytes.fromhex(entry["hex"])) == entry["outcome"]


def test_it_reaches_every_parser() -> None:
    for name in PARSERS:
        assert sum(each["parser"] == name for each in CORPUS) >= 8
