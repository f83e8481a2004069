"""Key components from a terminal: not echoed, never a Python string, wiped after use."""

import os
import sys
import termios
from collections.abc import Callable
from typing import Final

MAX_LINE_BYTES: Final = 4096
_DIGITS: Final = {ord(digit): int(digit, 16) for digit in "0123456789abcdefABCDEF"}
_ECHO_AND_MODE: Final = 3  # c_lflag in termios's list


class NoTerminal(Exception):
    """Components are typed by people: there is no terminal to type them at."""


class BadComponent(Exception):
    """What was typed is not whole bytes in hexadecimal. The text does not repeat it."""


def read_component(prompt: str, show: Callable[[str], None]) -> bytearray:
    """One line of hexadecimal digits, blanks between them allowed. The caller wipes what it gets.

    Raises NoTerminal, BadComponent; EOFError at the end of input.
    """
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        raise NoTerminal("key components are typed at a terminal, not read from a pipe or a file")
    line = bytearray(MAX_LINE_BYTES)
    visible = termios.tcgetattr(descriptor)
    hidden = [*visible]
    hidden[_ECHO_AND_MODE] = (visible[_ECHO_AND_MODE] & ~termios.ECHO) | termios.ICANON
    try:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, hidden)
        show(prompt)
        length = os.readv(descriptor, [line])
        if not length:
            raise EOFError
        return _decoded(line, length)
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, visible)
        wipe(line)
        show("\n")


def wipe(buffer: bytearray) -> None:
    """Zero it in place: its size stays, so nothing is copied elsewhere."""
    buffer[:] = bytes(len(buffer))


def _decoded(line: bytearray, length: int) -> bytearray:
    """Into a buffer of the right size at once: one that grows would leave copies behind."""
    if line[length - 1] != ord("\n"):
        raise BadComponent("the line is too long")
    count = sum(line[index] in _DIGITS for index in range(length))
    if (
        count % 2
        or not count
        or any(line[index] not in _DIGITS and line[index] not in b" \r\n" for index in range(length))
    ):
        raise BadComponent("a component is an even number of hexadecimal digits")
    component = bytearray(count // 2)
    place = 0
    for index in range(length):
        digit = _DIGITS.get(line[index])
        if digit is not None:
            component[place // 2] |= digit << (4 if place % 2 == 0 else 0)
            place += 1
    return component
