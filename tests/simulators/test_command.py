"""`payswitch simulators` as a process: started anyhow, it answers; asked to end, it ends; in the way, it says so."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from alone import Alone, free_ports

GENERATED = (
    *("app_private_key_pkcs8", "app_private_key_pkcs1", "aes_key", "alipay_public_key"),
    *("merchant_private_key", "merchant_serial_no", "apiv3_key", "v2_key", "platform_public_key"),
)


def kept(config: dict[str, Any]) -> dict[str, str]:
    """What a client of an earlier start still uses: the keys of both sides, those in files by their content."""
    values = {name: part[name] for part in (config["alipay"], config["wechat"]) for name in GENERATED if name in part}
    values["key_file"] = config["unionpay"]["key_file"]
    return {name: Path(value).read_text() if value.startswith("/") else value for name, value in values.items()}


def connects(config: dict[str, Any]) -> None:
    with socket.create_connection((config["unionpay"]["host"], config["unionpay"]["port"]), timeout=10):
        pass


def test_it_starts_again_with_the_same_keys_and_ends_when_asked(tmp_path: Path) -> None:
    found = []
    for number in (signal.SIGTERM, signal.SIGINT):
        alone = Alone(tmp_path)
        config = alone.config()
        connects(config)
        found.append(kept(config))
        files = list((tmp_path / "state" / "simulators").rglob("*"))
        assert len(files) > 15
        assert [each for each in files if each.stat().st_mode & 0o077] == [], "key files are the owner's only"
        code, said = alone.end(number)
        assert code == 0, alone.log
        assert config["alipay"]["gateway_url"] in said
        assert not (tmp_path / "client.json").exists()
        assert "issuer_link" not in alone.log, "it complains that no switch is there"
    assert found[0] == found[1]
    assert found[0].keys() == {*GENERATED, "key_file"}


def test_several_run_beside_each_other_even_in_one_folder(tmp_path: Path) -> None:
    first, second, third = Alone(tmp_path / "a"), Alone(tmp_path / "b", state="../a/state"), Alone(tmp_path / "c")
    configs = [each.config() for each in (first, second, third)]
    for each in configs:
        connects(each)
        paths = [Path(value) for part in (each["alipay"], each["wechat"]) for value in part.values() if _is_path(value)]
        assert len(paths) == 12
        assert all(path.is_absolute() and path.read_text().startswith("-----BEGIN") for path in paths)
    assert len({each["unionpay"]["port"] for each in configs}) == 3
    assert kept(configs[0]) == kept(configs[1]) != kept(configs[2])
    assert [each.end()[0] for each in (first, second, third)] == [0, 0, 0]


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".pem")


def test_a_port_that_is_taken_is_said_and_nothing_is_promised(tmp_path: Path) -> None:
    """Of each listener; all are started at once, since most of the time goes into starting."""
    with ExitStack() as taken:
        started = {}
        for name in ("unionpay", "alipay", "wechat", "alipay_https", "wechat_https", "control"):
            port = taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            (tmp_path / name).mkdir()
            (tmp_path / name / "client.json").write_text("of an earlier run")
            started[name] = port, Alone(tmp_path / name, *free_ports(**{name: port}))
        for name, (port, alone) in started.items():
            alone.process.wait(timeout=100)
            assert alone.end()[0] == 1, name
            assert f"{port}" in alone.log
            assert "taken" in alone.log
            assert name.split("_")[0] in alone.log
            assert "Traceback" not in alone.log
            assert not (tmp_path / name / "client.json").exists()


def test_a_shell_may_start_it_in_any_way(tmp_path: Path) -> None:
    ways = ("{} <&-", "{} < /dev/null > /dev/null", "nohup {} > out", "{} >&-")
    started = [_by_a_shell(tmp_path / str(number), how) for number, how in enumerate(ways)]
    for file, process in started:
        _until_there(file, process)
        connects(json.loads(file.read_text()))
        process.terminate()
        assert process.wait(timeout=30) == 0, (file.parent / "log").read_text()


def _by_a_shell(folder: Path, how: str) -> "tuple[Path, subprocess.Popen[bytes]]":
    """The file of --client-config to come, and the process; its parent is gone and nobody reads what it says."""
    folder.mkdir()
    file = folder / "client.json"
    command = [sys.executable, "-m", "switch.cli", "simulators", "--state-dir", str(folder / "state")]
    command += ["--client-config", str(file), *free_ports()]
    environment = os.environ | {"PAYSWITCH_LISTEN": "127.0.0.1:9"}
    line = f"cd {shlex.quote(str(folder))}; exec {how.format(shlex.join(command))}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
        )
    assert process.stdin is not None
    process.stdin.close()
    assert process.stdout is not None
    process.stdout.close()
    return file, process


def _until_there(file: Path, process: "subprocess.Popen[bytes]") -> None:
    while not file.exists():
        with pytest.raises(subprocess.TimeoutExpired):  # it does not end
            process.wait(timeout=0.05)


def test_a_child_that_announces_itself_ends_with_its_standard_input(tmp_path: Path) -> None:
    alone = Alone(tmp_path, "--announce", *free_ports(), stdin=subprocess.PIPE)
    config = alone.config()
    process = alone.process
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"control": config["control_url"]}
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdout.close()


def test_a_client_that_is_the_switch_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "payswitch.toml").write_text('[wechat]\nmchid = "1900000002"\n')
    environment = {"PAYSWITCH_CONFIG": str(tmp_path / "payswitch.toml")}
    command = [sys.executable, "-m", "switch.cli", "simulators", "--state-dir", str(tmp_path / "state"), *free_ports()]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "wechat.mchid" in done.stderr
