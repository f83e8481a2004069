"""The codecs that `benchmarks.codec` compares, each taught this dialect from `adapters.unionpay.format`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from adapters.unionpay import _codec
from adapters.unionpay.format import FIELDS, HEADER_LENGTH, Kind

Work = Callable[[], object]


class NotUsable(Exception):
    """It is not installed, or it cannot say this dialect; the text says which."""


@dataclass(frozen=True, slots=True)
class Codec:
    """decode: a message to whatever the package makes of it; encode: that back to the message.

    skip: how many bytes of the message the package does not read (the dialect's header).
    """

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    skip: int = HEADER_LENGTH

    def check(self, message: bytes) -> None:
        """Raises NotUsable if it does not reproduce the message."""
        body = message[self.skip :]
        try:
            same = self.encode(self.decode(body)) == body
        except Exception as error:
            raise NotUsable(f"it fails with {type(error).__name__}") from error
        if not same:
            raise NotUsable("what it decodes does not encode to the same bytes")

    def decoding(self, messages: Sequence[bytes]) -> Work:
        decode, bodies = self.decode, [each[self.skip :] for each in messages]
        return lambda: [decode(each) for each in bodies]

    def encoding(self, messages: Sequence[bytes]) -> Work:
        encode, decoded = self.encode, [self.decode(each[self.skip :]) for each in messages]
        return lambda: [encode(each) for each in decoded]


def ours() -> Codec:
    return Codec(_codec.decode, lambda decoded: _codec.encode(*decoded), skip=0)


def _imported(*names: str) -> list[Any]:
    """Modules by name: nothing of ours needs these packages, so no checker may ask for them."""
    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        raise NotUsable("not installed") from error


def _pyiso8583() -> Codec:
    iso8583, specs = _imported("iso8583", "iso8583.specs")
    spec = {key: dict(value) for key, value in specs.default_ascii.items()}
    spec["h"] |= {"max_len": 0}
    for key in ("p", "1"):
        spec[key] |= {"data_enc": "b", "len_type": 0, "max_len": 8}
    for number, form in FIELDS.items():
        spec[str(number)] = {
            "data_enc": "b" if form.kind is Kind.B else "latin-1",
            "len_enc": "ascii",
            "len_type": form.prefix,
            "max_len": form.length,
            "desc": "",
        }
    return Codec(lambda body: iso8583.decode(body, spec)[0], lambda decoded: bytes(iso8583.encode(decoded, spec)[0]))


def _py8583() -> Codec:
    package, specs = _imported("py8583.py8583", "py8583.py8583spec")
    data, length = package.DT, package.LT
    spec = specs.IsoSpec1987ASCII()
    spec.DataType(1, data.BIN)
    for number, form in FIELDS.items():
        # All as "ans": its "n" turns digits into numbers, and loses the zeros before them.
        spec.ContentType(number, "b" if form.kind is Kind.B else "ans")
        spec.DataType(number, data.BIN if form.kind is Kind.B else data.ASCII)
        # Not by its setter, which refuses every length type there is.
        spec.ContentTypes[number]["LenType"] = {0: length.FIXED, 2: length.LLVAR, 3: length.LLLVAR}[form.prefix]
        spec.MaxLength(number, form.length)
        if form.prefix:
            spec.LengthDataType(number, data.ASCII)
    return Codec(lambda body: package.Iso8583(body, spec), lambda decoded: bytes(decoded.BuildIso()))


def _starkbank() -> Codec:
    message, template, field, header, length, parser, version = _imported(
        "starkbank.iso8583.message",
        *(f"starkbank.iso8583.{each}" for each in ("template.base", "utils.field", "utils.header", "utils.length")),
        *(f"starkbank.iso8583.{each}" for each in ("utils.parser", "version")),
    )
    fields = [
        field.Field("MTI", parser.ParseString("latin-1"), length.FixedLengthRule(4)),
        field.Field("DE000", parser.ParseBitmap(0), length.FixedLengthRule(8)),
        field.Field("DE001", parser.ParseBitmap(64), length.FixedLengthRule(8)),
    ]
    for number, form in FIELDS.items():
        fixed = length.FixedLengthRule(form.length)
        rule = length.VariableLengthRule(form.length, form.prefix, "ascii") if form.prefix else fixed
        content = parser.ParseBin() if form.kind is Kind.B else parser.ParseString("latin-1")
        fields.append(field.Field(f"DE{number:03d}", content, rule))
    rules = {version.IsoVersion._1987: template.Template(header.NoHeaderRule(), fields)}
    return Codec(
        lambda body: message.parse(body, template=rules),
        lambda decoded: bytes(message.unparse(decoded, template=rules)),
    )


def _iso8583sim() -> Codec:
    types, wire, codec = _imported("iso8583sim.core.types", "iso8583sim.wire", "iso8583sim.wire.codec")
    logging.getLogger("iso8583sim").setLevel(logging.CRITICAL)
    by_prefix = {0: types.FieldType.ALPHANUMERIC, 2: types.FieldType.LLVAR, 3: types.FieldType.LLLVAR}
    for number, form in FIELDS.items():
        binary = form.kind is Kind.B and form.prefix == 0
        types.ISO8583_FIELDS[number] = types.FieldDefinition(
            field_type=types.FieldType.BINARY if binary else by_prefix[form.prefix],
            max_length=form.length,
            description="",
        )
    layout = wire.WireFormat.ascii_binary()

    def decode(body: bytes) -> Any:
        message = codec.decode_message(body, layout)
        message.network = None  # its rules for UnionPay refuse an 0210 without DE22
        return message

    return Codec(decode, lambda decoded: bytes(codec.encode_message(decoded, layout)))


PEERS: dict[str, Callable[[], Codec]] = {
    "pyiso8583": _pyiso8583,
    "py8583": _py8583,
    "starkbank": _starkbank,
    "iso8583sim": _iso8583sim,
}
