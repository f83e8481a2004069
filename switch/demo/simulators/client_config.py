"""The file that tells an independent client all it needs. docs/simulators.md lists its names, which never change."""

import json
from pathlib import Path
from typing import Any

from adapters.alipay.simulator import client_codes as alipay_codes
from adapters.unionpay.simulator import client_accounts, client_pans
from adapters.wechat.simulator import client_codes as wechat_codes
from hsm.token import write_atomically
from switch.demo.simulators import identity
from switch.demo.simulators.addresses import reachable, url
from switch.demo.simulators.identity import Identity
from switch.demo.simulators.town import Town


def write(path: Path, content: dict[str, Any]) -> None:
    """All or nothing, 0600."""
    write_atomically(path, _text(content))


def take_back(path: Path, content: dict[str, Any]) -> None:
    """Remove it, unless others have written theirs there: whoever waits for a file must not find one of the past."""
    if path.exists() and path.read_bytes() == _text(content):
        path.unlink()


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def content(
    town: Town, client: Identity, host: str, control_url: str, authority: Path, platforms: Path
) -> dict[str, Any]:
    """Of a town that listens. All paths are absolute.

    authority: the certificate of who signed the HTTPS certificates. platforms: a folder of this town's own, in which
    the platforms' keys and certificates are put.
    """
    ca = {"ca_certificate": str(authority.absolute())}
    platforms.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "alipay": _alipay(town, client, host, platforms) | ca,
        "wechat": _wechat(town, client, host, platforms) | ca,
        "unionpay": _unionpay(town, client, host),
        "control_url": control_url,
    }


def _alipay(town: Town, client: Identity, host: str, platforms: Path) -> dict[str, Any]:
    simulator = town.alipay
    return {
        "gateway_url": url("http", host, simulator.port, "/gateway.do"),
        "gateway_url_https": url("https", host, simulator.tls_port, "/gateway.do"),
        "app_id": identity.APP_ID,
        "app_private_key_pkcs1": str(client.application.pkcs1.absolute()),
        "app_private_key_pkcs8": str(client.application.pkcs8.absolute()),
        "alipay_public_key": _published(platforms, "alipay-public-key.pem", simulator.public_key_pem),
        "app_certificate": _published(
            platforms, "app-certificate.pem", simulator.application_certificate_pem(identity.APP_ID)
        ),
        "alipay_certificate": _published(
            platforms, "alipay-certificate.pem", simulator.authority.platform_certificate_pem
        ),
        "alipay_root_certificate": _published(
            platforms, "alipay-root-certificate.pem", simulator.authority.root_certificates_pem
        ),
        "aes_key": client.secrets.aes_key,
        "codes": alipay_codes(),
    }


def _wechat(town: Town, client: Identity, host: str, platforms: Path) -> dict[str, Any]:
    simulator = town.wechat
    return {
        "base_url": url("http", host, simulator.port),
        "base_url_https": url("https", host, simulator.tls_port),
        "appid": identity.APPID,
        "mchid": identity.MCHID,
        "merchant_serial_no": client.merchant_serial_no,
        "merchant_private_key": str(client.merchant.pkcs8.absolute()),
        "merchant_certificate": str(client.merchant_certificate.absolute()),
        "platform_public_key": _published(platforms, "wechat-platform-public-key.pem", simulator.public_key_pem),
        "platform_public_key_id": simulator.public_key_id,
        "platform_certificate": _published(platforms, "wechat-platform-certificate.pem", simulator.certificate_pem),
        "platform_certificate_serial_no": simulator.certificate_serial_no,
        "apiv3_key": client.secrets.apiv3_key,
        "v2_key": client.secrets.v2_key,
        "codes": wechat_codes(),
    }


def _unionpay(town: Town, client: Identity, host: str) -> dict[str, Any]:
    simulator = town.unionpay
    cards = {each.pan: {"expiry_yymm": each.expiry_yymm, "pin": each.pin} for each in client_accounts()}
    return {
        "host": reachable(host),
        "port": simulator.port,
        "institution_id": identity.INSTITUTION_ID,
        "network_id": simulator.settings.network,
        "key_file": str(client.master_key.absolute()),
        "pans": client_pans(),
        "bills_dir": str((simulator.settings.bills_dir or Path()).absolute() / identity.INSTITUTION_ID),
        "cards": {behaviour: cards[pan] for behaviour, pan in client_pans().items() if pan in cards},
    }


def _published(platforms: Path, name: str, pem: str) -> str:
    """0600. Nothing waits for the disk: it is made anew at each start."""
    path = platforms / name
    path.touch(mode=0o600)
    path.write_text(pem)
    return str(path.absolute())
