import os
import subprocess
import sys
from pathlib import Path

import pytest

from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, find_module, open_token

ROOT = Path(__file__).parent.parent.parent


def content(place: Path) -> dict[str, bytes]:
    return {str(each.relative_to(place)): each.read_bytes() for each in place.rglob("*") if each.is_file()}


def usable(place: Path) -> None:
    with open_token(place) as token:
        KeyStore(token).ensure("key", KeyUsage.PIN_KEY)


def test_created_twice_is_created_once(tmp_path: Path) -> None:
    place = create_token(tmp_path / "deep" / "token")
    usable(place)
    before = content(place)
    assert create_token(place) == place
    assert content(place) == before
    usable(place)


def test_nobody_else_may_look_in(tmp_path: Path) -> None:
    place = create_token(tmp_path / "token")
    assert place.stat().st_mode & 0o777 == 0o700
    for name in ("user-pin", "officer-pin", "softhsm2.conf", "lock"):
        assert (place / name).stat().st_mode & 0o777 == 0o600, name
    (place / "user-pin").chmod(0o644)
    with pytest.raises(HsmUnavailable, match="closed to other users"):
        open_token(place)


def test_pins_are_random_and_stay_in_their_files(tmp_path: Path) -> None:
    places = [create_token(tmp_path / name) for name in "ab"]
    pins = {(place / name).read_text() for place in places for name in ("user-pin", "officer-pin")}
    assert len(pins) == 4
    with open_token(places[0]):
        assert not any(pin.strip() in value for pin in pins for value in os.environ.values())


@pytest.mark.parametrize("moment", ["initialise", "rename"])
def test_an_interrupted_creation_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def fail(*_: object) -> None:
        raise OSError("the lights went out")

    with monkeypatch.context() as patch:
        patch.setattr(*{"initialise": ("hsm._core.initialise_token", fail), "rename": (Path, "rename", fail)}[moment])
        with pytest.raises(OSError, match="lights"):
            create_token(tmp_path / "token")
    with pytest.raises(HsmUnavailable, match="no token"):
        open_token(tmp_path / "token")
    usable(create_token(tmp_path / "token"))


def test_what_a_killed_creation_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "token" / "tokens.unfinished" / "1b0f"
    left.mkdir(parents=True)
    (left / "token.object").write_bytes(b"half")
    (tmp_path / "token" / "user-pin").write_bytes(b"")
    usable(create_token(tmp_path / "token"))


def test_the_directory_may_be_moved(tmp_path: Path) -> None:
    usable(create_token(tmp_path / "token"))
    moved = (tmp_path / "token").rename(tmp_path / "moved")
    with open_token(moved) as token:
        assert "key" in KeyStore(token)


def test_four_processes_at_once_make_one_token_and_one_key(tmp_path: Path) -> None:
    program = """
import sys
from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
hsm = DirectHsm.open(create_token(sys.argv[1]))
print(*(hsm.store.ensure(*each).kcv for each in (("pin", KeyUsage.PIN_KEY), ("mac", KeyUsage.MAC_KEY))))
hsm.close()
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "token")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(answers) == 1


def test_one_directory_at_a_time(tmp_path: Path) -> None:
    first, second = create_token(tmp_path / "a"), create_token(tmp_path / "b")
    with open_token(first), pytest.raises(HsmUnavailable, match="close it first"):
        open_token(second)
    usable(second)


def test_a_lost_or_wrong_pin(tmp_path: Path) -> None:
    place = create_token(tmp_path / "token")
    (place / "user-pin").write_bytes(b"0" * 32)
    with pytest.raises(HsmUnavailable, match="refuses the PIN"):
        open_token(place)
    (place / "user-pin").write_bytes(b"\n")
    with pytest.raises(HsmUnavailable, match="holds no PIN"):
        open_token(place)
    (place / "user-pin").unlink()
    with pytest.raises(HsmUnavailable, match="lost its PIN"):
        open_token(place)


def test_a_module_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HsmUnavailable, match="install SoftHSM"):
        find_module(tmp_path / "missing.so")
    bogus = tmp_path / "bogus.so"
    bogus.write_bytes(b"not a library")
    monkeypatch.setenv("PAYSWITCH_PKCS11_MODULE", str(bogus))
    with pytest.raises(HsmUnavailable, match="cannot load"):
        create_token(tmp_path / "token")


def test_a_fork_is_refused_the_token(tmp_path: Path) -> None:
    hsm = DirectHsm.open(create_token(tmp_path / "token"))
    hsm.store.generate("mac", KeyUsage.MAC_KEY)
    items = [("mac", "cup-financial", b"data")]
    before = hsm.run_now("macs", items)
    child = os.fork()
    if child == 0:
        refused = 0
        for command in (
            lambda: hsm.run_now("macs", items),
            lambda: hsm.run_now("seal", []),
            lambda: hsm.store.reload(),
            lambda: open_token(tmp_path / "token"),
        ):
            try:
                command()
            except HsmUnavailable:
                refused += 1
        os._exit(0 if refused == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert hsm.run_now("macs", items) == before
    hsm.close()


async def test_closed_is_closed(tmp_path: Path) -> None:
    hsm = DirectHsm.open(create_token(tmp_path / "token"))
    hsm.store.generate("seal", KeyUsage.SEALING)
    hsm.close()
    hsm.close()
    for command in (hsm.seal([("seal", b"", b"")]), hsm.sign([("seal", b"")]), hsm.translate_pins([])):
        with pytest.raises(HsmUnavailable):
            await command
    with pytest.raises(HsmUnavailable):
        hsm.run_now("sign", [("seal", b"")])
    with pytest.raises(HsmUnavailable):
        hsm.store.reload()
