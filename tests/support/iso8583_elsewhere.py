"""This dialect taught to two independent codecs, from the text of the protocol page and from nothing of ours."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import iso8583
from iso8583.specs import default_ascii
from py8583.py8583 import DT, LT, Iso8583
from py8583.py8583spec import IsoSpec1987ASCII

# Field(s), kind and width as the page gives them; LL and LLL are ASCII prefixes.
DIALECT = """
2 LL19, 3 n6, 4 n12, 7 n10, 11 n6, 12 n6, 13–15 n4, 18 n4, 19 n3, 22 n3, 23 n3, 25 n2, 26 n2, 28 x9, 32/33 LL11,
35 LL37, 36 LLL104, 37 an12, 38 an6, 39 an2, 41 ans8, 42 ans15, 43 ans40, 44 LL25, 45 LL79, 48 LLLb512, 49–51 an3,
52 b8, 53 n16, 54 LLL40, 55 LLLb255, 57 LLL100, 59 LLL600, 60 LLL100, 61–63 LLL200, 70 n3, 90 n42, 96 b8, 100 LL11,
102/103 LL28, 104 LLL100, 121–123 LLL100, 128 b8
"""

Message = tuple[str, dict[int, str | bytes]]  # MTI, fields; binary fields as bytes


@dataclass(frozen=True)
class Layout:
    prefix: int
    binary: bool
    width: int


def _layouts() -> dict[int, Layout]:
    layouts = {}
    for item in DIALECT.replace("\n", " ").split(","):
        numbers, form = item.split()
        found = re.fullmatch(r"(L{2,3})?([a-z]*)(\d+)", form)
        assert found is not None
        first, *rest = re.split("[–/]", numbers)
        for number in range(int(first), int(rest[0] if rest else first) + 1):
            layouts[number] = Layout(len(found[1] or ""), found[2] == "b", int(found[3]))
    return layouts


LAYOUTS = _layouts()


@dataclass(frozen=True)
class Codec:
    """body: MTI, bitmap and fields, without the header."""

    name: str
    decode: Callable[[bytes], Message]
    encode: Callable[[str, dict[int, str | bytes]], bytes]


def _pyiso8583() -> Codec:
    spec: dict[str, Any] = deepcopy(default_ascii)
    spec["h"]["max_len"] = 0
    for key in ("p", "1"):
        spec[key] |= {"data_enc": "b", "len_type": 0, "max_len": 8}
    for number, layout in LAYOUTS.items():
        encoding = "b" if layout.binary else "latin-1"
        spec[str(number)] |= {
            "data_enc": encoding,
            "len_enc": "ascii",
            "len_type": layout.prefix,
            "max_len": layout.width,
        }

    def decode(body: bytes) -> Message:
        decoded, _ = iso8583.decode(body, spec)
        numbered = {int(key): value for key, value in decoded.items() if key not in ("h", "t", "p", "1")}
        return decoded["t"], {n: bytes.fromhex(v) if LAYOUTS[n].binary else v for n, v in numbered.items()}

    def encode(mti: str, fields: dict[int, str | bytes]) -> bytes:
        told = {str(n): v.hex().upper() if isinstance(v, bytes) else v for n, v in fields.items()}
        return bytes(iso8583.encode({"t": mti, **told}, spec)[0])

    return Codec("pyiso8583", decode, encode)


def _py8583() -> Codec:
    spec = IsoSpec1987ASCII()
    spec.ContentTypes = deepcopy(spec.ContentTypes)
    spec.DataTypes = deepcopy(spec.DataTypes)
    spec.DataType(1, DT.BIN)
    for number, layout in LAYOUTS.items():
        spec.ContentTypes[number] = {
            "ContentType": "b" if layout.binary else "ans",  # its "n" loses leading zeros
            "MaxLen": layout.width,
            "LenType": {0: LT.FIXED, 2: LT.LLVAR, 3: LT.LLLVAR}[layout.prefix],
        }
        spec.DataType(number, DT.BIN if layout.binary else DT.ASCII)
        spec.LengthDataType(number, DT.ASCII)

    def decode(body: bytes) -> Message:
        message = Iso8583(body, spec)
        fields = {n: message.FieldData(n) for n in LAYOUTS if message.Field(n) == 1}
        return message.MTI(), {n: bytes.fromhex(v) if LAYOUTS[n].binary else v for n, v in fields.items()}

    def encode(mti: str, fields: dict[int, str | bytes]) -> bytes:
        message = Iso8583(None, spec)
        message.MTI(mti)
        for number, value in fields.items():
            message.Field(number, 1)
            # Not by its setter, which holds the hex digits of a binary field to its width in bytes.
            message._Iso8583__FieldData[number] = value.hex().upper() if isinstance(value, bytes) else value
        return bytes(message.BuildIso())

    return Codec("py8583", decode, encode)


INDEPENDENT = (_pyiso8583(), _py8583())
