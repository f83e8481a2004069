"""Versions and states: rotation, activation, retirement, key blocks, and where each key lives."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hsm import _core
from hsm.algorithms import CUP_FINANCIAL
from hsm.direct import DirectHsm
from hsm.errors import (
    HsmError,
    InvalidCommand,
    KeyBlockError,
    KeyExists,
    KeyNotFound,
    KeyUsageError,
    MacMismatch,
)
from hsm.key_block import KeyBlockHeader, make_block
from hsm.keys import KeyPlace, KeyStore, KeyUsage
from hsm.token import create_token, open_token
from hsm.usages import ALGORITHMS, FAMILIES, Exportability, block_usage, lives_in_token

E, N, S = Exportability.TRUSTED, Exportability.NEVER, Exportability.SENSITIVE


class Clock:
    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def life(tmp_path: Path, clock: Clock) -> Iterator[DirectHsm]:
    hsm = DirectHsm(KeyStore(open_token(create_token(tmp_path / "token")), clock_ms=clock))
    yield hsm
    hsm.close()


def states(store: KeyStore, label: str) -> dict[int, str]:
    return {each.version: each.state for each in store.inventory() if each.label == label}


@pytest.mark.parametrize("usage", [KeyUsage.MAC_KEY, KeyUsage.PIN_KEY, KeyUsage.SIGNING])
def test_versions_move_forward(life: DirectHsm, clock: Clock, usage: KeyUsage) -> None:
    store = life.store
    first = store.generate("key", usage, expires_time_ms=clock.now_ms + 1000)
    clock.now_ms += 600
    second = store.rotate("key")
    assert states(store, "key") == {1: "current", 2: "pending"}
    assert store.find("key").kcv == first.kcv != second.kcv
    assert store.find("key?pending") == second
    assert second.expires_time_ms == clock.now_ms + 1000
    assert (second.algorithm, second.mode, second.place) == (first.algorithm, first.mode, first.place)
    with pytest.raises(KeyExists):
        store.rotate("key")
    clock.now_ms += 1
    activated = store.activate("key")
    assert (activated.kcv, activated.state_since_time_ms) == (second.kcv, clock.now_ms)
    assert states(store, "key") == {1: "previous", 2: "current"}
    assert store.find("key?previous").created_time_ms == first.created_time_ms
    store.rotate("key", activate=True, reason="yearly")
    assert states(store, "key") == {1: "retired", 2: "previous", 3: "current"}
    assert set(life.context.keys) & {"key", "key?previous", "key?pending"} == {"key", "key?previous"}
    store.retire("key?previous")
    assert states(store, "key") == {1: "retired", 2: "retired", 3: "current"}
    store.retire("key")
    assert "key" not in life.context.keys
    with pytest.raises(KeyNotFound):
        store.rotate("key")
    assert store.verify() == []


def test_what_cannot_be_rotated_or_retired(life: DirectHsm) -> None:
    store = life.store
    store.generate("hash", KeyUsage.HASHING)
    with pytest.raises(KeyUsageError, match="would not be found"):
        store.rotate("hash")
    for label in ("hsm/storage", "hsm/audit"):
        with pytest.raises(KeyUsageError, match="own"):
            store.retire(label)
    with pytest.raises(InvalidCommand, match="own"):
        store.generate("hsm/other", KeyUsage.MAC_KEY)
    for label in ("nobody", "hash?previous", "hash?retired", ""):
        with pytest.raises(KeyNotFound):
            store.retire(label)
    with pytest.raises(KeyNotFound):
        store.activate("hash")


def test_retired_versions_are_forgotten_in_the_end(life: DirectHsm) -> None:
    """UnionPay changes its keys every day: the file must not grow for ever."""
    life.store.generate("unionpay/mmk", KeyUsage.KEY_TRANSPORT)
    for number in range(1, 25):
        life.store.import_working_key("unionpay/mak", KeyUsage.MAC_KEY, "unionpay/mmk", bytes([number] * 16))
        life.store.activate_working_key("unionpay/mak")
    versions = states(life.store, "unionpay/mak")
    assert list(versions) == [24, 23, *range(7, 23)]
    assert versions[7] == "retired"
    assert life.store.verify() == []


def test_sealed_data_opens_under_the_previous_key(life: DirectHsm) -> None:
    store = life.store
    store.generate("seal", KeyUsage.SEALING)
    [old] = life.run_now("seal", [("seal", b"old", b"a")])
    store.rotate("seal", activate=True)
    [new] = life.run_now("seal", [("seal", b"new", b"a")])
    broken = old[:-1] + bytes([old[-1] ^ 1])
    results = life.run_now(
        "unseal", [("seal", old, b"a"), ("seal", new, b"a"), ("seal", broken, b"a"), ("seal?previous", new, b"a")]
    )
    assert results[:2] == [b"old", b"new"]
    assert [type(each) for each in results[2:]] == [MacMismatch, MacMismatch]
    with pytest.raises(KeyUsageError, match="stored data"):  # a second rotation would make the old data unreadable
        store.rotate("seal", activate=True)
    store.rotate("seal")
    with pytest.raises(KeyUsageError, match="stored data"):
        store.activate("seal")
    assert life.run_now("unseal", [("seal", old, b"a")]) == [b"old"]
    store.retire("seal?previous", reason="all of it is sealed anew")
    store.activate("seal")
    assert life.run_now("unseal", [("seal", new, b"a")]) == [b"new"]
    assert isinstance(life.run_now("unseal", [("seal", old, b"a")])[0], MacMismatch)


def test_another_process_is_noticed(life: DirectHsm) -> None:
    other = DirectHsm(KeyStore(life.store.token))
    assert not life.store.changed()
    other.store.generate("mac", KeyUsage.MAC_KEY)
    other.store.generate("pin", KeyUsage.PIN_KEY)
    assert not other.store.changed()
    assert life.store.changed()
    life.store.reload()
    assert not life.store.changed()
    assert life.store.inventory() == other.store.inventory()
    other.store.rotate("pin", activate=True)
    other.store.rotate("pin", activate=True)
    other.store.rotate("hsm/storage")
    other.store.retire("mac")
    assert life.store.verify() == []
    assert states(life.store, "pin") == {1: "retired", 2: "previous", 3: "current"}
    assert life.context.keys.keys() == other.context.keys.keys()
    life.store.generate("after", KeyUsage.MAC_KEY)  # under the storage key that the other one made
    assert life.store.verify() == []


# --- where keys live --------------------------------------------------------------------------------------------------

COMBINATIONS = [
    (usage, algorithm, exportability)
    for usage, exportability in itertools.product(KeyUsage, (N, E))
    for algorithm, (family, _) in ALGORITHMS.items()
    if family in FAMILIES[usage] and usage is not KeyUsage.KEY_STORAGE
]


def test_every_key_that_can_be_lives_where_it_should(life: DirectHsm) -> None:
    made = {}
    for number, (usage, algorithm, exportability) in enumerate(COMBINATIONS):
        family = ALGORITHMS[algorithm][0]
        label = f"key/{number}"
        if algorithm == "DES" and usage is not KeyUsage.MAC_KEY:
            with pytest.raises(InvalidCommand):
                life.store.generate(label, usage, algorithm, exportability=exportability)
        elif exportability is not N and block_usage(usage, family) is None:
            with pytest.raises(InvalidCommand, match="no key block"):
                life.store.generate(label, usage, algorithm, exportability=exportability)
        else:
            made[label] = life.store.generate(label, usage, algorithm, exportability=exportability)
            in_token = lives_in_token(usage, family, exportability)
            assert made[label].place is (KeyPlace.TOKEN if in_token else KeyPlace.HOST)
            assert isinstance(life.context.keys[label], _core.TokenKey if in_token else _core.HostKey)
    for usage, algorithm in ((KeyUsage.DUKPT_BASE, "TDES-2KEY"), (KeyUsage.PIN_KEY, "AES-256")):
        places = {
            (each.exportability, each.place)
            for each in made.values()
            if (each.usage, each.algorithm) == (usage, algorithm)
        }
        assert places == {(E, KeyPlace.HOST), (N, KeyPlace.TOKEN if usage is KeyUsage.PIN_KEY else KeyPlace.HOST)}
    assert life.store.verify() == []


@pytest.mark.parametrize(
    ("algorithm", "length"), [("TDES-2KEY", 16), ("TDES-3KEY", 24), ("AES-128", 16), ("AES-256", 32)]
)
def test_a_key_is_the_same_in_the_token_and_on_the_host(life: DirectHsm, algorithm: str, length: int) -> None:
    parts = [bytes(range(length)), bytes([0x3C] * length)]
    family = ALGORITHMS[algorithm][0]
    inside = life.store.import_components("inside", KeyUsage.PIN_KEY, parts, family)
    outside = life.store.import_components("outside", KeyUsage.PIN_KEY, parts, family, exportability=E)
    assert (inside.kcv, inside.algorithm) == (outside.kcv, outside.algorithm)
    assert (inside.place, outside.place) == (KeyPlace.TOKEN, KeyPlace.HOST)
    pan, form = "6225880000001239", 4 if family == "AES" else 0
    block = next(
        found
        for number in range(100_000)  # a random block is a valid format 1 field once in a few hundred
        if isinstance(found := translated(life, number, length if family == "AES" else 8, form, pan), bytes)
    )
    [there] = life.run_now("translate_pins", [("inside", form, "outside", form, block, pan)])
    [back] = life.run_now("translate_pins", [("outside", form, "inside", form, there, pan)])
    assert isinstance(back, bytes)
    if family == "DES":
        assert block == there == back


def translated(hsm: DirectHsm, number: int, length: int, form: int, pan: str) -> Any:
    if "zpk" not in hsm.store:
        hsm.store.generate("zpk", KeyUsage.PIN_KEY)
    [found] = hsm.run_now("translate_pins", [("zpk", 1, "inside", form, number.to_bytes(8), pan)])
    return found


@pytest.mark.parametrize(
    ("usage", "mode"),
    [(KeyUsage.PIN_KEY, "C"), (KeyUsage.MAC_KEY, "B"), (KeyUsage.SIGNING, "V"), (KeyUsage.PIN_KEY, "")],
)
def test_a_mode_that_does_not_fit(life: DirectHsm, usage: KeyUsage, mode: str) -> None:
    if not mode:
        assert life.store.generate("key", usage, mode=None).mode == "B"
        return
    with pytest.raises(InvalidCommand, match="mode of use"):
        life.store.generate("key", usage, mode=mode)


def test_a_mode_of_use_is_kept_to(life: DirectHsm, tmp_path: Path) -> None:
    life.store.generate("verify", KeyUsage.MAC_KEY, mode="V")
    [refused] = life.run_now("macs", [("verify", CUP_FINANCIAL, b"")])
    assert life.context.keys["verify"].mode == life.store.find("verify").mode == "V"
    assert refused is not None


def test_an_exportable_transport_key_unwraps_as_well(life: DirectHsm) -> None:
    parts = [bytes(range(1, 17)), bytes(16)]
    life.store.import_components("inside", KeyUsage.KEY_TRANSPORT, parts)
    life.store.import_components("outside", KeyUsage.KEY_TRANSPORT, parts, exportability=E)
    wrapped = bytes(range(100, 116))
    kcvs = {
        life.store.import_working_key(f"mak/{under}", KeyUsage.MAC_KEY, under, wrapped)
        for under in ("inside", "outside")
    }
    assert len(kcvs) == 1


# --- versions that come from outside ----------------------------------------------------------------------------------


def test_components_of_the_next_version(life: DirectHsm) -> None:
    parts, next_parts = [bytes(range(16)), bytes([1] * 16)], [bytes(range(16)), bytes([2] * 16)]
    with pytest.raises(KeyNotFound):
        life.store.import_components("zpk", KeyUsage.PIN_KEY, parts, pending=True)
    first = life.store.import_components("zpk", KeyUsage.PIN_KEY, parts)
    with pytest.raises(KeyExists):
        life.store.import_components("zpk", KeyUsage.PIN_KEY, next_parts)
    with pytest.raises(KeyUsageError, match="another usage"):
        life.store.import_components("zpk", KeyUsage.KEY_TRANSPORT, next_parts, pending=True)
    second = life.store.import_components("zpk", KeyUsage.PIN_KEY, next_parts, pending=True)
    assert (life.store.find("zpk").kcv, life.store.find("zpk?pending").kcv) == (first.kcv, second.kcv)
    with pytest.raises(KeyExists):
        life.store.import_components("zpk", KeyUsage.PIN_KEY, parts, pending=True)
    assert life.store.activate("zpk").version == 2


@pytest.mark.parametrize(
    ("usage", "algorithm"),
    [
        (KeyUsage.PIN_KEY, "TDES-2KEY"),
        (KeyUsage.PIN_KEY, "AES-256"),
        (KeyUsage.MAC_KEY, "HMAC-SHA-256"),
        (KeyUsage.CARD_VERIFICATION, "TDES-2KEY"),
        (KeyUsage.DUKPT_BASE, "AES-128"),
        (KeyUsage.KEY_TRANSPORT, "TDES-3KEY"),
    ],
)
def test_key_blocks_go_out_and_come_in(life: DirectHsm, usage: KeyUsage, algorithm: str) -> None:
    store = life.store
    store.generate("kbpk", KeyUsage.KEY_BLOCK)
    made = store.generate("key", usage, algorithm, exportability=E)
    block = store.export_key_block("key", "kbpk")
    header, _ = KeyBlockHeader.parse(block)
    assert (header.mode, header.exportability) == (made.mode, "E")
    copy = store.import_key_block("copy", "kbpk", block)
    assert (copy.kcv, copy.usage, copy.algorithm, copy.mode, copy.exportability) == (
        made.kcv,
        made.usage,
        made.algorithm,
        made.mode,
        made.exportability,
    )
    assert copy.place is KeyPlace.HOST
    store.rotate("key", activate=True)
    assert store.import_key_block("copy", "kbpk", store.export_key_block("key", "kbpk"), pending=True).version == 2
    assert store.activate("copy").kcv == store.find("key").kcv
    assert store.verify() == []


def test_what_leaves_in_no_key_block(life: DirectHsm) -> None:
    store = life.store
    store.generate("kbpk", KeyUsage.KEY_BLOCK)
    for label, exportability in (("never", N), ("sensitive", S)):
        store.generate(label, KeyUsage.MAC_KEY, exportability=exportability)
    store.generate("inside", KeyUsage.PIN_KEY)
    for label in ("never", "inside", "hsm/storage", "kbpk"):
        with pytest.raises(KeyUsageError, match="not exportable"):
            store.export_key_block(label, "kbpk")
    with pytest.raises(KeyBlockError, match="sensitive"):
        store.export_key_block("sensitive", "kbpk")
    block = store.export_key_block("sensitive", "kbpk", sensitive=True)
    for label, under in (("nobody", "kbpk"), ("sensitive", "nobody")):
        with pytest.raises(KeyNotFound):
            store.export_key_block(label, under, sensitive=True)
    for changed in (block[:-1] + ("0" if block[-1] != "0" else "1"), block[:-2], "", "B0080P0TE00E0000"):
        with pytest.raises(KeyBlockError):
            store.import_key_block("copy", "kbpk", changed)
    with pytest.raises(KeyUsageError):
        store.import_key_block("copy", "never", block)
    assert "copy" not in store


def test_a_key_block_that_never_leaves_again_goes_into_the_token(life: DirectHsm) -> None:
    """A partner's block says N: from then on the token alone has the key."""
    store = life.store
    store.generate("kbpk", KeyUsage.KEY_BLOCK)
    made = store.generate("key", KeyUsage.PIN_KEY, exportability=E)
    source, protection = life.context.keys["key"], life.context.keys["kbpk"]
    assert isinstance(source, _core.HostKey)
    assert isinstance(protection, _core.HostKey)
    block = make_block(protection, KeyBlockHeader("D", "P0", "T", "B", "00", "N"), source, bytes(6))
    copy = store.import_key_block("copy", "kbpk", block)
    assert (copy.place, copy.kcv, copy.exportability) == (KeyPlace.TOKEN, made.kcv, N)
    with pytest.raises(HsmError):
        store.export_key_block("copy", "kbpk")


def test_public_keys_of_every_kind_of_pair(life: DirectHsm) -> None:
    """The key pairs of the token and of the host; a pending one is given to the partner before it is activated."""
    for label, usage, algorithm in (
        ("rsa", KeyUsage.SIGNING, "RSA-2048"),
        ("sm2", KeyUsage.SIGNING, "SM2"),
        ("ec", KeyUsage.ENVELOPE, "EC-P256"),
    ):
        made = life.store.generate(label, usage, algorithm)
        current = life.store.public_key(label)
        pending = life.store.rotate(label)
        assert life.store.public_key(f"{label}?pending") != current
        assert made.kcv != pending.kcv
        life.store.activate(label)
        assert life.store.public_key(f"{label}?previous") == current
    for label in ("rsa", "sm2"):
        [signature] = life.run_now("sign", [(label, b"data")])
        for name, verifies in ((label, True), (f"{label}?previous", False)):
            [result] = life.run_now("verify_signatures", [(life.store.public_key(name), b"data", signature)])
            assert (result is None) == verifies
