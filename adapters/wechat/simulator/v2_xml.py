"""API v2's flat XML and its two signatures, as the platform reads and writes them.

`<xml><name>value</name>…</xml>`, each name once. The sign is over the non-empty fields but itself, sorted, `k=v` joined
by `&`, then `&key=` and the merchant's key: MD5 or HMAC-SHA256 under that key, upper-case hex.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from xml.parsers import expat

_NAME = re.compile(r"[a-z_0-9]{1,40}")


class BadXml(Exception):
    """Not the flat document that API v2 speaks."""


def read_xml(body: bytes) -> dict[str, str]:
    """Raises BadXml, for a document type, an entity, an attribute or a second level too: none of them is ever needed.

    >>> read_xml(b"<xml><a>1</a><b><![CDATA[<&]]></b></xml>")
    {'a': '1', 'b': '<&'}
    """
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise BadXml(f"not XML: {expat.errors.messages[error.code]}") from None
    return reader.fields


class _Reader:
    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._open: list[str] = []
        self._pieces: list[str] = []

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        wrong = attributes or len(self._open) > 1 or name in self.fields
        if wrong or (not self._open and name != "xml") or (self._open and not _NAME.fullmatch(name)):
            raise BadXml("must be <xml> with plain fields, each once")
        self._open.append(name)
        self._pieces = []

    def end(self, name: str) -> None:
        self._open.pop()
        if self._open:
            self.fields[name] = "".join(self._pieces)

    def text(self, piece: str) -> None:
        if len(self._open) == 2:
            self._pieces.append(piece)
        elif piece.strip():
            raise BadXml("text between the fields")

    def refuse(self, *_: object) -> None:
        raise BadXml("document types and entities are refused")


def write_xml(fields: Mapping[str, str]) -> bytes:
    safe = {name: value.replace("]]>", "]]]]><![CDATA[>") for name, value in fields.items() if value}
    cells = (f"<{name}><![CDATA[{value}]]></{name}>" for name, value in safe.items())
    return ("<xml>" + "\n".join(cells) + "</xml>").encode()


def sign(fields: Mapping[str, str], key: str, sign_type: str) -> str:
    """sign_type: MD5 or HMAC-SHA256."""
    named = sorted((name, value) for name, value in fields.items() if value and name != "sign")
    text = "&".join([*(f"{name}={value}" for name, value in named), f"key={key}"]).encode()
    if sign_type == "HMAC-SHA256":
        return hmac.new(key.encode(), text, hashlib.sha256).hexdigest().upper()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()
