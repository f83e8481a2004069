"""The parameters of a request: read from query and form, looked at one by one, their signature checked last."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from adapters.alipay.simulator.fields import FIELDS
from adapters.alipay.simulator.refusal import Refused

LONGEST_FORM_BYTES: Final = 64 * 1024
_MOST_PARAMETERS: Final = 64


def _is_timestamp(text: str) -> bool:
    try:
        return f"{datetime.strptime(text, '%Y-%m-%d %H:%M:%S'):%Y-%m-%d %H:%M:%S}" == text
    except ValueError:
        return False


# name, its name in sub_codes, what it must be
_PUBLIC_PARAMETERS: Final[tuple[tuple[str, str, Callable[[str], bool]], ...]] = (
    ("method", "method", lambda value: value in FIELDS),
    ("charset", "charset", lambda value: value.lower() in ("utf-8", "utf8")),
    ("sign_type", "signature-type", lambda value: value == "RSA2"),
    ("timestamp", "timestamp", _is_timestamp),
    ("version", "version", lambda value: value == "1.0"),
    ("sign", "signature", lambda value: True),
)


def check_public_parameters(parameters: Mapping[str, str]) -> None:
    """All but app_id and the worth of the signature. Raises Refused."""
    for name, spoken_name, valid in _PUBLIC_PARAMETERS:
        if not parameters.get(name):
            raise Refused("40001", f"isv.missing-{spoken_name}")
        if not valid(parameters[name]):
            raise Refused("40002", f"isv.invalid-{spoken_name}")
    if parameters.get("format", "JSON").upper() != "JSON":
        raise Refused("40002", "isv.invalid-format")
    if parameters.get("encrypt_type", "AES") not in ("", "AES"):
        raise Refused("40002", "isv.invalid-encrypt-type")


def check_certificate_numbers(parameters: Mapping[str, str], app_sn: str, root_sn: str) -> None:
    """Of a request in certificate mode. Raises Refused; the names of the refusals are unverified."""
    for name, right in (("app_cert_sn", app_sn), ("alipay_root_cert_sn", root_sn)):
        spoken_name = name.replace("_", "-")
        if not parameters.get(name):
            raise Refused("40001", f"isv.missing-{spoken_name}")
        if parameters[name].lower() != right:
            raise Refused("40002", f"isv.invalid-{spoken_name}")


async def read_parameters(request: web.Request) -> dict[str, str]:
    """Query and form merged. Raises Refused: not UTF-8, too many, too long, or one name with two values."""
    try:
        form = await request.read() if request.content_type == "application/x-www-form-urlencoded" else b""
        # keep_blank_values: an empty parameter is there, but not signed.
        pairs = _pairs(request.rel_url.raw_query_string) + _pairs(form.decode())
    except (ValueError, web.HTTPRequestEntityTooLarge):
        raise Refused("40002", "isv.invalid-parameter", "the parameters cannot be read") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if parameters.setdefault(name, value) != value:
            raise Refused("40002", "isv.invalid-parameter", f"{name[:32]} has two values")
    return parameters


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MOST_PARAMETERS)
