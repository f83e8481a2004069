"""What the HSM does for the user service: keyed hashes of what is looked up, and sealing of what is shown again."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from switch.domain.login import Login, LoginKind
from switch.ports import Hsm

# HSM labels: a HASHING and a SEALING key. Another hash key would be another set of users.
HASH_KEY: Final = "users/hash"
SEAL_KEY: Final = "users/seal"


class Seals:
    """Each hash and each seal is for one thing alone: its kind and owner are part of it."""

    def __init__(self, hsm: Hsm) -> None:
        self._hsm = hsm

    async def hashes(self, kind: str, data: Sequence[bytes]) -> list[bytes]:
        """HMAC-SHA-256."""
        answers: list[Any] = await self._hsm.keyed_hashes([(HASH_KEY, kind.encode() + b"|" + each) for each in data])
        return _values(answers)

    async def hash(self, kind: str, data: bytes) -> bytes:
        [value] = await self.hashes(kind, [data])
        return value

    async def login_hash(self, login: Login) -> bytes:
        return await self.hash("login", login.text.encode())

    async def seal(self, kind: str, owner: bytes, data: bytes) -> bytes:
        [value] = _values(await self._hsm.seal([(SEAL_KEY, data, _bound_to(kind, owner))]))
        return value

    async def unseal(self, kind: str, owner: bytes, sealed: bytes) -> bytes:
        """Raises the HSM's error where it is another's, or not what was sealed."""
        [value] = _values(await self._hsm.unseal([(SEAL_KEY, sealed, _bound_to(kind, owner))]))
        return value

    async def seal_login(self, login_hash: bytes, login: Login) -> bytes:
        return await self.seal("login", login_hash, login.text.encode())

    async def login_of(self, login_hash: bytes, kind: LoginKind, sealed: bytes) -> Login:
        return Login(kind, (await self.unseal("login", login_hash, sealed)).decode())

    async def code_hash(self, code_id: UUID, code: str) -> bytes:
        """Keyed: six digits would be found from a bare hash in a second."""
        return await self.hash("code", code_id.bytes + code.encode())


def _bound_to(kind: str, owner: bytes) -> bytes:
    return f"users 1|{kind}|".encode() + owner


def _values(answers: Sequence[Any]) -> list[bytes]:
    for each in answers:
        if isinstance(each, Exception):
            raise each
    return list(answers)
