"""Envelope encryption."""

from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.keys import KeyUsage


def made(hsm: DirectHsm, label: str) -> bytes:
    hsm.store.ensure(label, KeyUsage.KEY_WRAPPING)
    [wrapped] = hsm.run_now("make_data_keys", [(label,)])
    assert isinstance(wrapped, bytes)
    return wrapped


def test_what_is_sealed_is_unsealed(hsm: DirectHsm) -> None:
    first, second = made(hsm, "data-key/one"), made(hsm, "data-key/one")
    assert first != second
    items = [("data-key/one", key, bytes(size), b"row 7") for key in (first, second) for size in (0, 1, 16, 19, 4096)]
    sealed = hsm.run_now("seal_with_data_keys", items)
    assert [len(each) for each in sealed] == [len(item[2]) + 28 for item in items]
    back = [(label, key, box, context) for (label, key, _, context), box in zip(items, sealed, strict=True)]
    assert hsm.run_now("unseal_with_data_keys", back) == [item[2] for item in items]
    assert len({each[:12] for each in sealed}) == len(sealed)


def test_every_changed_byte_is_noticed(hsm: DirectHsm) -> None:
    key = made(hsm, "data-key/one")
    [box] = hsm.run_now("seal_with_data_keys", [("data-key/one", key, b"6225880000001239", b"token")])
    good = ("data-key/one", key, box, b"token")
    bad = [("data-key/one", key, box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :], b"token") for at in range(len(box))]
    bad += [("data-key/one", key[:at] + bytes([key[at] ^ 1]) + key[at + 1 :], box, b"token") for at in range(len(key))]
    bad += [("data-key/one", key, box[:size], b"token") for size in range(len(box))]
    bad += [("data-key/one", key[:size], box, b"token") for size in range(len(key))]
    bad += [("data-key/one", key, box, b"Token"), ("data-key/one", made(hsm, "data-key/one"), box, b"token")]
    results = hsm.run_now("unseal_with_data_keys", [item for each in bad for item in (each, good)])
    assert {type(each) for each in results[::2]} == {MacMismatch}
    assert set(results[1::2]) == {b"6225880000001239"}


def test_a_data_key_moves_to_a_new_wrapping_key(hsm: DirectHsm) -> None:
    old = made(hsm, "data-key/old")
    made(hsm, "data-key/new")
    [box] = hsm.run_now("seal_with_data_keys", [("data-key/old", old, b"data", b"")])
    [moved] = hsm.run_now("rewrap_data_keys", [("data-key/old", "data-key/new", old)])
    assert hsm.run_now("unseal_with_data_keys", [("data-key/new", moved, box, b"")]) == [b"data"]
    [wrong] = hsm.run_now("unseal_with_data_keys", [("data-key/new", old, box, b"")])
    assert isinstance(wrong, MacMismatch)


def test_a_wrapping_key_does_nothing_else(hsm: DirectHsm) -> None:
    wrapped = made(hsm, "data-key/one")
    hsm.store.ensure("data-key/sealing", KeyUsage.SEALING)
    refused = [
        *hsm.run_now("unseal", [("data-key/one", wrapped, b"")]),
        *hsm.run_now("seal", [("data-key/one", b"", b"")]),
        *hsm.run_now("make_data_keys", [("data-key/sealing",)]),
        *hsm.run_now("rewrap_data_keys", [("data-key/one", "data-key/sealing", wrapped)]),
    ]
    assert {type(each) for each in refused} == {KeyUsageError}
    [missing] = hsm.run_now("make_data_keys", [("nobody",)])
    assert isinstance(missing, KeyNotFound)
    [too_much] = hsm.run_now("seal_with_data_keys", [("data-key/one", wrapped, bytes(65537), b"")])
    assert isinstance(too_much, InvalidCommand)
