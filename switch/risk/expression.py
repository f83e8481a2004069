"""What a compiled CEL expression is made of, read from its serialized form.

The library hands out `cel.expr.CheckedExpr` as bytes, inside a `google.protobuf.Any`, and brings no classes for it.
Field numbers: cel-spec, proto/cel/expr/checked.proto and syntax.proto; wire format: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

_ANY_VALUE: Final = 2
_REFERENCES, _EXPRESSION, _SOURCE = 2, 4, 5  # of CheckedExpr
_POSITIONS: Final = 4  # of SourceInfo
_OVERLOADS: Final = 3  # of Reference
_ID, _CONSTANT, _IDENTIFIER, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = range(2, 10)  # of Expr
_TARGET, _FUNCTION, _ARGUMENTS = 1, 2, 3  # of Expr.Call
_BOOL, _INT, _TEXT = 2, 3, 6  # of Constant

Fields = dict[int, list[bytes | int]]


class Kind(Enum):
    CONSTANT = auto()
    NAME = auto()
    CALL = auto()
    LIST = auto()
    FIELD = auto()  # of a message or map, `has()` too
    MESSAGE = auto()  # or map, written out
    LOOP = auto()  # all, exists, exists_one, map, filter


@dataclass(frozen=True, slots=True)
class Node:
    """offset: of what it is known by (a name's first letter, an operator), in code points.

    value: of a CONSTANT; None if it is neither bool, int nor text. name: of a NAME, or a CALL's function. overload:
    which function of that name, by the types of its arguments. parts: arguments (a method's target first), or elements.
    """

    kind: Kind
    offset: int
    value: bool | int | str | None = None
    name: str = ""
    overload: str = ""
    parts: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        yield self
        for each in self.parts:
            yield from each.walk()


def read_expression(serialized: bytes) -> Node:
    """serialized: by the library's own `Expression.serialize()`: trusted to be well formed."""
    checked = _fields(_bytes(_fields(serialized), _ANY_VALUE))
    positions = _map_of_numbers(_fields(_bytes(checked, _SOURCE)), _POSITIONS)
    overloads: dict[int, str] = {}
    for entry in checked.get(_REFERENCES, []):
        pair = _fields(_message(entry))
        found = _fields(_bytes(pair, 2)).get(_OVERLOADS)
        if found:
            overloads[_number(pair, 1)] = _message(found[0]).decode()
    return _Reader(positions, overloads).node(_bytes(checked, _EXPRESSION))


class _Reader:
    def __init__(self, positions: dict[int, int], overloads: dict[int, str]) -> None:
        self._positions = positions
        self._overloads = overloads

    def node(self, serialized: bytes) -> Node:
        fields = _fields(serialized)
        number = _number(fields, _ID)
        offset = self._positions.get(number, 0)
        if _CONSTANT in fields:
            return Node(Kind.CONSTANT, offset, _constant(_fields(_bytes(fields, _CONSTANT))))
        if _IDENTIFIER in fields:
            return Node(Kind.NAME, offset, name=_text(_fields(_bytes(fields, _IDENTIFIER)), 1))
        if _LIST in fields:
            return Node(Kind.LIST, offset, parts=self._nodes(_fields(_bytes(fields, _LIST)), 1))
        if _CALL in fields:
            call = _fields(_bytes(fields, _CALL))
            parts = self._nodes(call, _TARGET) + self._nodes(call, _ARGUMENTS)
            overload = self._overloads.get(number, "")
            return Node(Kind.CALL, offset, name=_text(call, _FUNCTION), overload=overload, parts=parts)
        others = {_SELECT: Kind.FIELD, _STRUCT: Kind.MESSAGE, _COMPREHENSION: Kind.LOOP}
        return Node(next(kind for number, kind in others.items() if number in fields), offset)

    def _nodes(self, fields: Fields, number: int) -> tuple[Node, ...]:
        return tuple(self.node(_message(each)) for each in fields.get(number, []))


def _constant(fields: Fields) -> bool | int | str | None:
    if _BOOL in fields:
        return bool(_number(fields, _BOOL))
    if _INT in fields:
        unsigned = _number(fields, _INT)
        return unsigned - (1 << 64) if unsigned >> 63 else unsigned
    return _text(fields, _TEXT) if _TEXT in fields else None


# --- the wire format --------------------------------------------------------------------------------------------------


def _fields(serialized: bytes) -> Fields:
    """By number, in order; what is fixed in length is not needed here, and comes as bytes.

    >>> _fields(bytes([0x10, 0x96, 0x01, 0x1A, 0x02, 0x68, 0x69]))
    {2: [150], 3: [b'hi']}
    """
    found: Fields = {}
    at = 0
    while at < len(serialized):
        key, at = _varint(serialized, at)
        value: bytes | int
        if key & 7 == 0:
            value, at = _varint(serialized, at)
        else:
            length = {1: 8, 5: 4}.get(key & 7)
            if length is None:
                length, at = _varint(serialized, at)
            value, at = serialized[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(serialized: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = serialized[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _message(value: bytes | int) -> bytes:
    assert isinstance(value, bytes)
    return value


def _bytes(fields: Fields, number: int) -> bytes:
    return _message(fields.get(number, [b""])[-1])


def _text(fields: Fields, number: int) -> str:
    return _bytes(fields, number).decode()


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    assert isinstance(value, int)
    return value


def _map_of_numbers(fields: Fields, number: int) -> dict[int, int]:
    pairs = (_fields(_message(each)) for each in fields.get(number, []))
    return {_number(pair, 1): _number(pair, 2) for pair in pairs}
