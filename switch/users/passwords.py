"""Passwords: which are accepted, and Argon2id (RFC 9106) off the event loop, in few threads with a bounded queue."""

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2

from switch.domain.login import Login
from switch.domain.refusals import Invalid, TooMany
from switch.users.common_passwords import COMMON
from switch.users.settings import Argon2

T = TypeVar("T")

_SHORTEST: Final = 8
_LONGEST: Final = 128
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


def normalized(password: str) -> str:
    """NFC, so that the same characters are the same password whatever keyboard made them (RFC 8265 4.2).

    Raises Invalid for one that could not be anybody's.
    """
    if len(password) > 4 * _LONGEST:
        raise Invalid("password", f"has more than {_LONGEST} characters")
    plain = unicodedata.normalize("NFC", password)
    if len(plain) > _LONGEST:
        raise Invalid("password", f"has more than {_LONGEST} characters")
    return plain


def accepted(password: str, login: Login, field: str = "password") -> str:
    """A new password, normalized. Raises Invalid."""
    try:
        plain = normalized(password)
    except Invalid:
        raise Invalid(field, f"has more than {_LONGEST} characters") from None
    if len(plain) < _SHORTEST:
        raise Invalid(field, f"has fewer than {_SHORTEST} characters")
    if any(unicodedata.category(each) == "Cc" for each in plain):
        raise Invalid(field, "has a control character")
    folded = plain.casefold()
    if folded in COMMON or len(set(folded)) < 3:
        raise Invalid(field, "is one of those that are tried first")
    if folded in (login.text, login.text.partition("@")[0], login.text.removeprefix("+")):
        raise Invalid(field, "is the login")
    return plain


class Passwords:
    """entropy: that many random bytes. `nobody`: the hash that a login without an account is held against."""

    def __init__(self, settings: Argon2, entropy: Callable[[int], bytes]) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.passes,
            memory_cost=settings.memory_kib,
            parallelism=settings.lanes,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        self._entropy = entropy
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="password")
        self._room = threading.BoundedSemaphore(settings.threads + settings.queue)
        self.nobody = self._hash(entropy(_HASH_BYTES).hex())

    async def hash(self, password: str) -> str:
        """Raises TooMany."""
        return await self._run(lambda: self._hash(password))

    async def matches(self, encoded: str, password: str) -> bool:
        """Whatever parameters it was hashed with. Raises TooMany."""
        return await self._run(lambda: self._matches(encoded, password))

    def outdated(self, encoded: str) -> bool:
        """Whether it was hashed with other parameters than are set now."""
        return self._hasher.check_needs_rehash(encoded)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password, salt=self._entropy(_SALT_BYTES))

    def _matches(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except argon2.exceptions.VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._room.acquire(blocking=False):
            raise TooMany("too many log-ins at once: later")
        future = self._threads.submit(work)
        # When the thread is done, not when its caller has gone: a thread that works is room that is taken.
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)
