"""What a person does with second factors: set them up, name them, take them away. All of it on a fresh proof."""

from switch.domain.access import Caller
from switch.domain.account import Account, AlertKind, Passkey
from switch.domain.refusals import Missing, NotPossible
from switch.users.messages import Alerts
from switch.users.names import name_from
from switch.users.passkeys import Passkeys
from switch.users.recovery import Recovery
from switch.users.session_book import SessionBook
from switch.users.totp import Totp
from switch.users.world import World, change, parsed_id


class FactorDesk:
    def __init__(
        self, world: World, book: SessionBook, totp: Totp, passkeys: Passkeys, recovery: Recovery, alerts: Alerts
    ) -> None:
        self._world = world
        self._book = book
        self._totp = totp
        self._passkeys = passkeys
        self._recovery = recovery
        self._alerts = alerts

    # --- TOTP ---------------------------------------------------------------------------------------------------------

    async def enroll_totp(self, caller: Caller) -> tuple[str, str]:
        """(secret in base 32, otpauth URI), shown this once. One that is active stays so until the new one is."""
        account, _ = await self._book.fresh(caller)
        return await self._totp.begin(account)

    async def activate_totp(self, caller: Caller, code: str, address: str) -> list[str]:
        """The recovery codes of a user who had none. Raises NotProved or NotPossible."""
        account, session = await self._book.fresh(caller)
        step = await self._totp.pending_step(account, code)
        codes, hashes = await self._recovery.new_codes(account)
        entry = change(account.id, "ActivateTotp", before={"totp": bool(account.totp_sealed)}, after={"totp": True})
        given = await self._world.stores.accounts.activate_totp(account, step, hashes, entry)
        if given is None:
            raise NotPossible("another secret is pending")
        await self._book.mark(session, second_factor=True)
        await self._changed(account, address)
        return codes if given else []

    async def disable_totp(self, caller: Caller, address: str) -> None:
        account, _ = await self._book.fresh(caller)
        entry = change(account.id, "DisableTotp", before={"totp": True}, after={"totp": False})
        if not await self._world.stores.accounts.disable_totp(account.id, entry):
            raise Missing("there is no TOTP")
        await self._changed(account, address)

    # --- passkeys -----------------------------------------------------------------------------------------------------

    async def begin_passkey(self, caller: Caller) -> tuple[str, str]:
        """(ceremony's id, options as JSON)."""
        account, session = await self._book.fresh(caller)
        ceremony, options = await self._passkeys.begin_creation(account, session)
        return str(ceremony.id), options

    async def add_passkey(
        self, caller: Caller, ceremony_id: str, answer: str, name: str, address: str
    ) -> tuple[Passkey, list[str]]:
        """With the recovery codes of a user who had none. Raises Invalid, NotProved or NotPossible."""
        account, session = await self._book.fresh(caller)
        called = name_from(name)
        made = await self._passkeys.created(account, session, ceremony_id, answer)
        world = self._world
        passkey = Passkey(world.new_id(), account.id, made.id, made.public_key, made.sign_count, called, world.now_ms())
        codes, hashes = await self._recovery.new_codes(account)
        entry = change(account.id, "AddPasskey", f"passkey/{passkey.id}", after={"name": called})
        most = world.settings.most_passkeys
        given = await world.stores.factors.add_passkey(passkey, most, hashes, entry)
        if given is None:
            raise NotPossible(f"it is there already, or there are {most}")
        # Making it took the user's verification: that is a second factor shown.
        await self._book.mark(session, second_factor=True)
        await self._changed(account, address)
        return passkey, codes if given else []

    async def passkeys(self, caller: Caller) -> list[Passkey]:
        account, _ = await self._book.own(caller)
        return await self._world.stores.factors.passkeys(account.id)

    async def rename_passkey(self, caller: Caller, passkey_id: str, name: str) -> None:
        """Raises Invalid or Missing."""
        account, _ = await self._book.own(caller)
        passkey, called = await self._of(account, passkey_id), name_from(name)
        subject, before = f"passkey/{passkey.id}", {"name": passkey.name}
        entry = change(account.id, "RenamePasskey", subject, before, {"name": called})
        if not await self._world.stores.factors.rename_passkey(account.id, passkey.id, called, entry):
            raise Missing("no such passkey")

    async def remove_passkey(self, caller: Caller, passkey_id: str, address: str) -> None:
        """Raises Missing."""
        account, _ = await self._book.fresh(caller)
        passkey = await self._of(account, passkey_id)
        entry = change(account.id, "RemovePasskey", f"passkey/{passkey.id}", {"name": passkey.name})
        if not await self._world.stores.factors.remove_passkey(account.id, passkey.id, entry):
            raise Missing("no such passkey")
        await self._changed(account, address)

    async def _of(self, account: Account, passkey_id: str) -> Passkey:
        wanted = parsed_id(passkey_id)
        for each in await self._world.stores.factors.passkeys(account.id):
            if each.id == wanted:
                return each
        raise Missing("no such passkey")

    # --- recovery codes -----------------------------------------------------------------------------------------------

    async def regenerate(self, caller: Caller, address: str) -> list[str]:
        """Ten new ones; those before are void. Raises NotPossible without a second factor."""
        account, _ = await self._book.fresh(caller)
        if not account.has_second_factor:
            raise NotPossible("there is no second factor")
        codes, hashes = await self._recovery.new_codes(account)
        entry = change(account.id, "RegenerateRecoveryCodes", after={"recovery_codes": len(codes)})
        if not await self._world.stores.factors.replace_recovery(account.id, hashes, entry):
            raise Missing("no such account")
        await self._changed(account, address)
        return codes

    async def _changed(self, account: Account, address: str) -> None:
        await self._alerts.tell(account, AlertKind.SECOND_FACTOR_CHANGED, address)
