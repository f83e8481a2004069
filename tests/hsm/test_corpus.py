"""Input that parsers once had trouble with, or were feared to: each entry is refused by the named error or read.

Frames, BER-TLV and key blocks, in tests/vectors/parser_corpus.json: {"parser", "why", "hex", "outcome"}. What fuzzing
finds is added there. Each entry is also cut at every byte and changed at every byte: only the declared error comes out.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hsm.errors import KeyBlockError
from hsm.key_block import KeyBlockHeader
from hsm.wire import BadFrame, Codec, WireLimits
from switch.entry._tlv import parse_flat, parse_nested
from switch.entry.errors import EntryError

CORPUS = json.loads((Path(__file__).parents[1] / "vectors" / "parser_corpus.json").read_text())["entries"]

PARSERS: Mapping[str, tuple[Callable[[bytes], Any], type[Exception]]] = {
    "request": (lambda data: Codec().read_request(data), BadFrame),
    "answer": (lambda data: Codec().read_answer(data), BadFrame),
    "tlv": (lambda data: parse_flat(data, "corpus"), EntryError),
    "nested tlv": (lambda data: parse_nested(data, "corpus"), EntryError),
    "key block": (lambda data: KeyBlockHeader.parse(data.decode("latin-1")), KeyBlockError),
}


def outcome(parser: str, data: bytes) -> str:
    parse, refusal = PARSERS[parser]
    try:
        parse(data)
    except refusal as error:
        return type(error).__name__
    return "read"


@pytest.mark.parametrize("entry", CORPUS, ids=[f"{each['parser']}: {each['why']}" for each in CORPUS])
def test_each_entry_ends_as_it_should(entry: dict[str, str]) -> None:
    assert outcome(entry["parser"], bytes.fromhex(entry["hex"])) == entry["outcome"]


@pytest.mark.parametrize("entry", CORPUS, ids=[f"{each['parser']}: {each['why']}" for each in CORPUS])
def test_nothing_but_the_declared_error_comes_of_what_is_near(entry: dict[str, str]) -> None:
    data = bytes.fromhex(entry["hex"])[:160]
    for at in range(len(data)):
        outcome(entry["parser"], data[:at])
        for other in (0x00, 0x7F, 0x80, 0xFF, data[at] ^ 1):
            outcome(entry["parser"], data[:at] + bytes([other]) + data[at + 1 :])


def test_every_parser_has_entries_of_both_kinds() -> None:
    for parser in PARSERS:
        assert {each["outcome"] == "read" for each in CORPUS if each["parser"] == parser} == {True, False}


def test_a_frame_is_bounded_before_it_is_read() -> None:
    reader = Codec(WireLimits(frame_bytes=1024)).reader()
    assert reader.feed((1025).to_bytes(4) + bytes(10)) == []
    assert reader.broken
