"""API v2's flat XML and its sign. Bytes in, values out; no I/O, no clock.

Source: https://pay.weixin.qq.com/wiki/doc/api/micropay.php?chapter=4_3 (signing). `<xml><name>value</name>…</xml>`; the
sign covers the non-empty fields but itself, sorted by name, `k=v` joined by `&`, then `&key=` and the merchant's key.
The reader knows nothing of XML but elements, text, CDATA and the five predefined entities: a document type cannot even
be expressed to it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from adapters.wechat.codec import InvalidAnswer, UnverifiedAnswer

SIGN_TYPE = "HMAC-SHA256"

_NAME = re.compile(r"<([a-zA-Z_][a-zA-Z_0-9]{0,39})>")
_SPACE = re.compile(r"\s*")
_TEXT = re.compile(r"[^<&]+")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&apos;": "'"}
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_MOST_FIELDS = 256


def sign(fields: Mapping[str, str], key: str, sign_type: str = SIGN_TYPE) -> str:
    """Upper-case hex; sign_type: HMAC-SHA256 or MD5. The vector is the one of WeChat Pay's own documentation.

    >>> documented = {"appid": "wxd930ea5d5a258f4f", "mch_id": "10000100", "device_info": "1000", "body": "test"}
    >>> documented["nonce_str"] = "ibuaiVcKdpRxkhJA"
    >>> sign(documented, "192006250b4c09247ec02edce69f6a2d", "MD5")
    '9A0A8659F005D6984697E2CA0A9CF3B7'
    >>> sign(documented, "192006250b4c09247ec02edce69f6a2d")
    '6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6'
    """
    text = "".join(f"{name}={fields[name]}&" for name in sorted(fields) if fields[name] and name != "sign")
    text += f"key={key}"
    if sign_type == "MD5":
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()
    return hmac.digest(key.encode(), text.encode(), "sha256").hex().upper()


def check(fields: Mapping[str, str], key: str) -> None:
    """Raise UnverifiedAnswer unless the platform signed these fields; by HMAC-SHA256, or by MD5 as its length says."""
    given = fields.get("sign", "")
    if not given:
        raise UnverifiedAnswer("stripped", "the sign is missing")
    expected = sign(fields, key, "MD5" if len(given) == 32 else SIGN_TYPE)
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise UnverifiedAnswer("forged", "the sign does not match")


def encode(fields: Mapping[str, str]) -> bytes:
    """
    >>> encode({"body": "a<b", "sign": ""})
    b'<xml><body>a&lt;b</body></xml>'
    """
    cells = (f"<{name}>{_escaped(value)}</{name}>" for name, value in fields.items() if value)
    return f"<xml>{''.join(cells)}</xml>".encode()


def decode(body: bytes) -> dict[str, str]:
    """The fields of a flat document, each once; empty ones left out. Raises InvalidAnswer.

    >>> decode(b"<xml><a><![CDATA[1]]></a>\\n<b>&lt;2</b><c/></xml>")
    Traceback (most recent call last):
    adapters.wechat.codec.InvalidAnswer: the XML is not flat
    >>> decode(b"<xml><a><![CDATA[1]]></a>\\n<b>&lt;2</b><c></c></xml>")
    {'a': '1', 'b': '<2'}
    """
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        raise InvalidAnswer("the XML is not UTF-8") from None
    if not text.startswith("<xml>") or not text.endswith("</xml>"):
        raise InvalidAnswer("the body is not <xml>")
    fields: dict[str, str] = {}
    at, end = len("<xml>"), len(text) - len("</xml>")
    while (at := _after_space(text, at)) < end:
        opened = _NAME.match(text, at, end)
        if opened is None or opened[1] in fields or len(fields) >= _MOST_FIELDS:
            raise InvalidAnswer("the XML is not flat")
        fields[opened[1]], at = _content(text, opened.end(), end, f"</{opened[1]}>")
    return {name: value for name, value in fields.items() if value}


def _content(text: str, at: int, end: int, closing: str) -> tuple[str, int]:
    """What stands before `closing`, and where it goes on."""
    pieces: list[str] = []
    while at < end:
        if text.startswith(closing, at):
            return "".join(pieces), at + len(closing)
        if text.startswith(_CDATA, at):
            over = text.find(_CDATA_END, at, end)
            if over < 0:
                break
            pieces.append(text[at + len(_CDATA) : over])
            at = over + len(_CDATA_END)
        elif (plain := _TEXT.match(text, at, end)) is not None:
            pieces.append(plain[0])
            at = plain.end()
        else:
            entity = next((each for each in _ENTITIES if text.startswith(each, at)), None)
            if entity is None:
                break
            pieces.append(_ENTITIES[entity])
            at += len(entity)
    raise InvalidAnswer("the XML is not flat")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
