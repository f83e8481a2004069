"""A lost lease stops the sending; a lost slot ends the process."""

import asyncio
from uuid import uuid4

import pytest

from switch.payments.ownership import Ownership

pytestmark = pytest.mark.usefixtures("own_time")


class Leases:
    """Grants the slots it is told to, and forgets a lease when `alive` is unset."""

    def __init__(self, *slots: int) -> None:
        self.slots = list(slots)
        self.alive = True
        self.announced = []

    async def announce(self, owner, address):
        self.announced.append((owner, address))

    async def join(self, name):
        self.alive = True
        return uuid4(), self.slots.pop(0)

    async def beat(self, owner, oldest_open_time_ms):
        return self.alive

    async def leave(self, owner):
        self.alive = False


async def test_a_lost_lease_is_joined_anew_under_another_owner():
    lost = []
    leases = Leases(3, 3)
    ownership = Ownership(leases, "p", 0.06, lambda: 0, lost.append)
    await ownership.join()
    before = ownership.owner
    await ownership.announce("host:1")
    ownership.start()
    leases.alive = False
    await asyncio.sleep(0.05)
    assert ownership.owner != before
    assert ownership.may_send()
    assert lost == []
    await ownership.withdraw()
    assert leases.announced == [(before, "host:1"), (ownership.owner, "host:1"), (ownership.owner, "")]
    await ownership.close()


async def test_a_lost_slot_ends_the_process():
    lost = []
    leases = Leases(3, 4)
    ownership = Ownership(leases, "p", 0.06, lambda: 0, lost.append)
    await ownership.join()
    ownership.start()
    leases.alive = False
    await asyncio.sleep(0.03)
    assert not ownership.may_send()
    assert lost == ["slot 3 was given to another process"]
    await ownership.close()


async def test_without_a_beat_in_time_nothing_may_be_sent():
    ownership = Ownership(Leases(0), "p", 0.03, lambda: 0, lambda reason: None)
    await ownership.join()
    assert ownership.may_send()
    await asyncio.sleep(0.04)
    assert not ownership.may_send()
    await ownership.close()
