"""The command set as a whole: what holds for every command."""

import doctest
import inspect
from pathlib import Path

import pytest

from hsm.commands import COMMANDS, SLOW

PAGE = Path(__file__).parents[2] / "docs" / "hsm.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_items_and_a_vector(name: str) -> None:
    described = inspect.getdoc(COMMANDS[name]) or ""
    assert "->" in described
    assert doctest.DocTestParser().get_examples(described)


def test_the_page_lists_every_command_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    listed = [cell.strip(" `") for row in rows for cell in row.split("|")[1].split(",")]
    assert sorted(listed) == sorted(COMMANDS)


def test_slow_commands_are_commands() -> None:
    assert COMMANDS.keys() >= SLOW
