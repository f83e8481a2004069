import asyncio
import os
import threading

import pytest

from switch.domain.refusals import TooMany
from switch.users.common_passwords import COMMON
from switch.users.passwords import Passwords
from switch.users.settings import Argon2

CHEAP = Argon2(memory_kib=8, passes=1, lanes=1, threads=2, queue=3)


async def test_threads_and_queue_are_bounded_and_the_loop_is_free() -> None:
    passwords = Passwords(CHEAP, os.urandom)
    gate, started, running, most = threading.Event(), threading.Semaphore(0), [], []

    def held() -> bool:
        running.append(1)
        started.release()
        most.append(len(running))
        gate.wait(30)
        running.pop()
        return True

    waiting = [asyncio.ensure_future(passwords._run(held)) for _ in range(5)]
    for _ in range(2):  # the loop turns while the threads are held
        assert await asyncio.to_thread(started.acquire, timeout=60)
    with pytest.raises(TooMany):
        await passwords.hash("one too many")
    # Whoever waits and goes away makes room; whoever is at work does not, until it is done.
    waiting[4].cancel()
    await asyncio.wait([waiting[4]])
    waiting.append(asyncio.ensure_future(passwords._run(held)))
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await passwords.matches(passwords.nobody, "x")
    waiting[0].cancel()
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await passwords.hash("the thread is still at it")
    gate.set()
    await asyncio.wait(waiting)
    assert max(most) <= 2
    assert await passwords.matches(await passwords.hash("there is room again"), "there is room again")
    passwords.close()


async def test_nobodys_hash_is_like_any_other_and_no_password_opens_it() -> None:
    passwords = Passwords(CHEAP, os.urandom)
    encoded = await passwords.hash("a password")
    assert encoded.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert passwords.nobody.split("$")[:4] == encoded.split("$")[:4]
    assert not passwords.outdated(encoded)
    assert not await passwords.matches(passwords.nobody, "")
    assert await passwords.hash("a password") != encoded
    passwords.close()


def test_the_list_holds_what_would_be_accepted_otherwise() -> None:
    assert len(COMMON) > 300
    assert [each for each in COMMON if len(each) < 8 or each != each.casefold()] == []
