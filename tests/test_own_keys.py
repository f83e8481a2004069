"""The keys that the switch itself needs: made where they are missing, listed where operators look."""

from pathlib import Path

import pytest

from hsm.direct import DirectHsm
from hsm.keys import KeyStore
from hsm.token import create_token, open_token
from switch.app import KeysProbe
from switch.ops.checks import NotReady
from switch.own_keys import OWN_KEYS, needed_by, provide_own_keys

PAGE = Path(__file__).parent.parent / "docs" / "keys.md"


def test_they_are_made_once(tmp_path: Path) -> None:
    with open_token(create_token(tmp_path / "token")) as token:
        store = KeyStore(token)
        store.ensure("journal/seal", OWN_KEYS[0].usage)
        assert provide_own_keys(store) == [each.label for each in OWN_KEYS[1:]]
        assert provide_own_keys(store) == []
        assert all(store.find(each.label).usage is each.usage for each in OWN_KEYS)
        assert store.find("vault/cryptogram").mode == "N"


@pytest.mark.parametrize("each", OWN_KEYS, ids=lambda each: each.label)
def test_the_page_lists_them(each) -> None:
    mode = f", mode {each.mode}" if each.mode else ""
    services = ", ".join(sorted(each.services)) or "—"
    assert f"| `{each.label}` | {each.usage}{mode} | {services} | {each.purpose} |" in PAGE.read_text()


async def test_a_process_says_what_it_lacks(tmp_path: Path) -> None:
    directory = create_token(tmp_path / "token")
    hsm = DirectHsm.open(directory)

    class Access:
        async def key_check_value(self, label: str) -> str:
            return hsm.key_check_value(label)

    class Settings:
        services = ("merchant",)

    class Foundation:
        settings, hsm = Settings, Access()

    try:
        hsm.store.ensure("journal/hash", OWN_KEYS[1].usage)
        probe = KeysProbe(Foundation())  # type: ignore[arg-type]
        with pytest.raises(NotReady, match="merchants/seal, merchants/page-token, webhooks/seal"):
            await probe.probe()
        provide_own_keys(hsm.store)
        assert await probe.probe() == f"{len(needed_by(frozenset({'merchant'})))} there"
    finally:
        hsm.close()
