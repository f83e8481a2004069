"""WeChat Pay's settings, from the files that they name to what the channel is told."""

from pathlib import Path
from typing import Any

import pytest

from switch.config import ConfigurationError, Settings, load
from switch.wiring.channel import wechat_settings


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    simulators = tmp_path / "simulators"
    simulators.mkdir()
    (simulators / "wechat.pem").write_text("public key")
    (tmp_path / "root.pem").write_text("root")
    (tmp_path / "v2.key").write_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345\n")
    (tmp_path / "apiv3.key").write_bytes(b"0123456789abcdef0123456789abcdef\n")

    def settings(**wechat: str) -> Settings:
        return load(state_dir=tmp_path, wechat=wechat)

    return settings


def test_the_public_key_is_the_default(loaded: Any) -> None:
    told = wechat_settings(loaded())
    assert (told.platform_public_key_pem, told.platform_root_pem, told.apiv3_key) == ("public key", "", b"")


def test_certificate_mode_reads_root_and_key(loaded: Any, tmp_path: Path) -> None:
    told = wechat_settings(loaded(platform_root=str(tmp_path / "root.pem"), apiv3_key_file=str(tmp_path / "apiv3.key")))
    assert (told.platform_public_key_id, told.platform_root_pem) == ("", "root")
    assert told.apiv3_key == b"0123456789abcdef0123456789abcdef"


def test_the_simulators_apiv3_key_is_found(loaded: Any, tmp_path: Path) -> None:
    key = bytes(range(32))[::-1]  # ends like any bytes do
    (tmp_path / "simulators" / "wechat_apiv3.key").write_bytes(key)
    assert wechat_settings(loaded()).apiv3_key == key


def test_a_merchant_of_v2_needs_its_key_alone(loaded: Any, tmp_path: Path) -> None:
    (tmp_path / "simulators" / "wechat.pem").unlink()
    told = wechat_settings(loaded(v2_key_file=str(tmp_path / "v2.key")))
    assert told.v2_key == "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    assert told.v2_key not in repr(told)


@pytest.mark.parametrize(
    ("wechat", "said"),
    [
        ({"client_private_key": "key.pem"}, "together with wechat.client_certificate"),
        ({"v2_key_file": "v2.key", "platform_root": "root.pem"}, "must be empty where platform_root is given"),
    ],
)
def test_settings_that_do_not_fit(loaded: Any, wechat: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        loaded(**wechat)
