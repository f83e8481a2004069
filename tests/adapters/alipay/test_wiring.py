"""From the switch's settings to the channel's."""

from pathlib import Path
from typing import Any

import pytest

from adapters.alipay.simulator import AlipaySimulator
from switch.config import load
from switch.wiring.channel import alipay_settings


@pytest.fixture
def files(simulator: AlipaySimulator, tmp_path: Path) -> dict[str, Path]:
    texts = {
        "PUBLIC_KEY": simulator.public_key_pem,
        "APPLICATION_CERTIFICATE": simulator.application_certificate_pem("2021000000000001"),
        "ROOT_CERTIFICATES": simulator.authority.root_certificates_pem,
        "PLATFORM_CERTIFICATE": simulator.authority.platform_certificate_pem,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in texts}


async def test_public_key_mode(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_ALIPAY__PUBLIC_KEY", str(files["PUBLIC_KEY"]))
    monkeypatch.setenv("PAYSWITCH_ALIPAY__NOTIFY_URL", "https://pay.example/notify/alipay")
    settings = alipay_settings(load())
    assert not settings.trust().certified
    assert (settings.notify_url, settings.content_key) == ("https://pay.example/notify/alipay", "")


async def test_certificate_mode_needs_no_public_key(
    files: dict[str, Path], simulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in files.items():
        if name != "PUBLIC_KEY":
            monkeypatch.setenv(f"PAYSWITCH_ALIPAY__{name}", str(path))
    monkeypatch.setenv("PAYSWITCH_ALIPAY__PUBLIC_KEY", "/nowhere")
    monkeypatch.setenv("PAYSWITCH_ALIPAY__CONTENT_KEY", "alipay/content")
    settings = alipay_settings(load())
    trust = settings.trust()
    assert (trust.certified, trust.root_sn) == (True, simulator.authority.root_sn)
    assert trust.key(simulator.authority.platform_sn) == simulator.authority.key.public_key
    assert settings.content_key == "alipay/content"
