"""Devices: bound to their user by a key that they prove to hold, named, revoked."""

from hashlib import blake2s
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.account import AlertKind, Purpose
from switch.domain.refusals import Invalid, Missing, NotPossible, NotProved
from switch.domain.user import Device
from switch.ports.signals import Signal, SignalKind
from switch.users.messages import Alerts
from switch.users.names import name_from
from switch.users.passkeys import Passkeys
from switch.users.proofs import binding_text, check_signature, p256_key
from switch.users.session_book import SessionBook
from switch.users.world import World, change, parsed_id

_LARGEST_ATTESTATION = 8192


class DeviceDesk:
    def __init__(self, world: World, book: SessionBook, passkeys: Passkeys, alerts: Alerts) -> None:
        self._world = world
        self._book = book
        self._ceremonies = passkeys
        self._alerts = alerts

    async def begin(self, caller: Caller) -> tuple[str, bytes]:
        """(ceremony's id, challenge)."""
        account, session = await self._book.own(caller)
        ceremony = await self._ceremonies.new_ceremony(Purpose.BIND_DEVICE, account, session)
        return str(ceremony.id), ceremony.challenge

    async def bind(
        self, caller: Caller, ceremony_id: str, name: str, public_key: bytes, signature: bytes, attestation: bytes,
        address: str,
    ) -> Device:  # fmt: skip
        """The caller's session is the device's from now on. Raises Invalid, NotPermitted, NotProved or NotPossible."""
        account, session = await self._book.fresh(caller)
        called = name_from(name)
        if len(attestation) > _LARGEST_ATTESTATION:
            raise Invalid("attestation", f"has more than {_LARGEST_ATTESTATION} bytes")
        p256_key(public_key)
        ceremony = await self._ceremonies.taken(Purpose.BIND_DEVICE, ceremony_id, account, session)
        check_signature(public_key, signature, binding_text(ceremony.challenge, account.id, public_key))
        world = self._world
        device = Device(world.new_id(), account.id, called, public_key, True, world.now_ms())
        entry = change(account.id, "BindDevice", f"device/{device.id}", after={"name": called, "active": True})
        most = world.settings.most_devices
        added = await world.stores.devices.add(device, attestation, session.id, most, entry)
        if added is None:
            raise NotProved("log in again")
        if not added:
            raise NotPossible(f"there are {most} devices: revoke one")
        # The key and not the device's number: who binds one machine again and again has as many numbers.
        about = blake2s(public_key, digest_size=16).hexdigest()
        world.signals.report(Signal(SignalKind.DEVICE_ADDED, account.id, device.id, address, about=about))
        await self._alerts.tell(account, AlertKind.DEVICE_BOUND, address)
        return device

    async def all(self, caller: Caller) -> list[Device]:
        account, _ = await self._book.own(caller)
        return await self._world.stores.devices.all(account.id)

    async def rename(self, caller: Caller, device_id: str, name: str) -> None:
        """Raises Invalid or Missing."""
        account, _ = await self._book.own(caller)
        called = name_from(name)
        device = await self._of(account.id, device_id)
        before, after = {"name": device.name}, {"name": called}
        entry = change(account.id, "RenameDevice", f"device/{device.id}", before, after)
        if not await self._world.stores.devices.rename(account.id, device.id, called, entry):
            raise Missing("no such device")

    async def revoke(self, caller: Caller, device_id: str) -> None:
        """Its sessions end, too. No fresh proof: whoever has lost a device is in haste. Raises Missing."""
        account, _ = await self._book.own(caller)
        device = await self._of(account.id, device_id)
        entry = change(account.id, "RevokeDevice", f"device/{device.id}", {"active": True}, {"active": False})
        if not await self._world.stores.devices.revoke(account.id, device.id, self._world.now_ms(), entry):
            raise Missing("no such device")

    async def _of(self, user_id: UUID, device_id: str) -> Device:
        wanted = parsed_id(device_id)
        for each in await self._world.stores.devices.all(user_id):
            if each.id == wanted:
                return each
        raise Missing("no such device")
