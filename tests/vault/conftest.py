"""A vault on a real token and a real PostgreSQL, with a clock that stands still until it is moved."""

from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from vault_scene import CRYPTOGRAM_KEY, StillClock

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.store.vault import PostgresTokenStore
from switch.vault.settings import VaultSettings
from switch.vault.vault import Vault


@pytest.fixture(scope="session")
def vault_token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("vault") / "token")


@pytest.fixture(scope="module")
def hsm(vault_token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(vault_token_directory)
    hsm.store.ensure("vault/hash", KeyUsage.HASHING)
    hsm.store.ensure("vault/wrapping", KeyUsage.KEY_WRAPPING)
    hsm.store.ensure("vault/wrapping-2", KeyUsage.KEY_WRAPPING)
    hsm.store.ensure("vault/fpe", KeyUsage.FPE_KEY)
    if "vault/cryptogram" not in hsm.store:
        # Of a given value, which an installation's never has.
        mask = bytes(range(16))
        masked = bytes(left ^ right for left, right in zip(CRYPTOGRAM_KEY, mask, strict=True))
        hsm.store.import_components("vault/cryptogram", KeyUsage.EMV_CRYPTOGRAM, [mask, masked], mode="N")
    yield hsm
    hsm.close()


@pytest.fixture
async def tables(database: asyncpg.Pool) -> asyncpg.Pool:
    """The vault's tables, empty."""
    await database.execute(
        "DELETE FROM token_accesses; DELETE FROM payment_tokens; DELETE FROM token_data_keys;"
        " DELETE FROM token_requesters"
    )
    return database


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def store(tables: asyncpg.Pool) -> PostgresTokenStore:
    return PostgresTokenStore(tables)


MakeVault = Callable[..., Vault]


@pytest.fixture
def make_vault(hsm: DirectHsm, store: PostgresTokenStore, clock: StillClock) -> MakeVault:
    """make_vault(**settings) -> a vault as another process would have it."""

    def make(**settings: object) -> Vault:
        return Vault(hsm, store, clock, VaultSettings(**settings))  # type: ignore[arg-type]

    return make


@pytest.fixture
def vault(make_vault: MakeVault) -> Vault:
    return make_vault()
