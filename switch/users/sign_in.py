"""Logging in: by password, then a second factor where there is one; or by a passkey alone.

A login that does not exist is held against the hash of nobody: the same work, the same answer, the same lock-out.
"""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from switch.domain.account import Account, Ceremony, Purpose
from switch.domain.refusals import NotProved, TooMany
from switch.domain.user_token import SECRET_BYTES, is_secret_of, secret_hash
from switch.ports.signals import Signal, SignalKind
from switch.users.limits import AddressLimit
from switch.users.passkeys import CHALLENGE_BYTES, Passkeys
from switch.users.passwords import Passwords, normalized
from switch.users.proofs import DeviceProof, Factor, PasskeyAnswer, check_proof
from switch.users.registration import login_from
from switch.users.second_factor import Guarded, SecondFactor
from switch.users.session_book import Client, SessionBook, Tokens
from switch.users.world import World

_NOT_RIGHT: Final = "the login or the password is not right"
_TICKET: Final = "the ticket is not valid"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Of a log-in whose password was right. text: for its bearer alone."""

    text: str = field(repr=False)
    totp: bool
    passkey_options: str


class SignIn:
    def __init__(
        self, world: World, limit: AddressLimit, passwords: Passwords, factor: SecondFactor, passkeys: Passkeys,
        book: SessionBook, guarded: Guarded,
    ) -> None:  # fmt: skip
        self._world = world
        self._limit = limit
        self._passwords = passwords
        self._factor = factor
        self._passkeys = passkeys
        self._book = book
        self._guarded = guarded

    async def log_in(
        self, login_text: str, password: str, client_name: str, proof: DeviceProof | None, address: str
    ) -> Tokens | Ticket:
        """Raises Invalid, NotProved or TooMany."""
        await self._limit.admit(address)
        login = login_from(login_text)
        plain = normalized(password)
        account = await self._by_password(await self._world.seals.login_hash(login), plain, address)
        device_id = await self._device(account, proof, "log-in", login.text)
        client = Client(address, client_name, device_id)
        if account.has_second_factor:
            return await self._ticket(account, client)
        return await self._book.open(account, client, password=True, second_factor=False)

    async def _by_password(self, login_hash: bytes, password: str, address: str) -> Account:
        tally = await self._guarded.begin(login_hash)
        account = await self._world.stores.accounts.by_login(login_hash)
        encoded = self._passwords.nobody if account is None else account.password_hash
        try:
            right = await self._passwords.matches(encoded, password)
        except TooMany:
            await self._guarded.right(login_hash, wholly=False)
            raise
        if account is None or not right:
            await self._guarded.wrong(tally, login_hash, account, address)
            raise NotProved(_NOT_RIGHT)
        await self._guarded.right(login_hash, wholly=not account.has_second_factor)
        if self._passwords.outdated(encoded):
            await self._world.stores.accounts.rehash(account.id, encoded, await self._passwords.hash(password))
        return account

    async def _device(self, account: Account, proof: DeviceProof | None, act: str, context: str) -> UUID | None:
        """The bound device that the call is from. Raises NotProved for a proof that is none."""
        if proof is None:
            return None
        [device] = await self._world.stores.devices.devices([(account.id, proof.device_id)])
        if device is None or not device.active:
            raise NotProved("the device is not bound")
        check_proof(proof, act, context, device.public_key, self._world.now_ms())
        return device.id

    # --- the second step ----------------------------------------------------------------------------------------------

    async def _ticket(self, account: Account, client: Client) -> Ticket:
        world = self._world
        secret = world.entropy(SECRET_BYTES)
        ceremony = Ceremony(
            id=world.new_id(),
            purpose=Purpose.LOG_IN,
            user_id=account.id,
            challenge=world.entropy(CHALLENGE_BYTES),
            expires_time_ms=world.now_ms() + world.settings.ceremony_ms,
            secret_hash=secret_hash(secret),
            client_name=client.name,
            device_id=client.device_id,
            password_version=account.password_version,
        )
        await world.stores.ceremonies.add(ceremony)
        options = await self._passkeys.options(account, ceremony.challenge)
        return Ticket((ceremony.id.bytes + secret).hex(), bool(account.totp_sealed), options)

    async def finish(self, ticket: str, factor: Factor, address: str) -> Tokens:
        """A ticket takes a few tries of a code, and one of a passkey. Raises NotProved or TooMany."""
        await self._limit.admit(address)
        ceremony, account = await self._ticket_of(ticket, once=isinstance(factor, PasskeyAnswer))
        tally = await self._guarded.begin(account.login_hash)
        try:
            await self._factor.prove(account, factor, ceremony.challenge, address)
        except NotProved:
            await self._guarded.wrong(tally, account.login_hash, account, address)
            raise
        if not isinstance(factor, PasskeyAnswer):
            await self._take(ceremony.id)
        await self._guarded.right(account.login_hash, wholly=True)
        client = Client(address, ceremony.client_name, ceremony.device_id)
        return await self._book.open(account, client, password=True, second_factor=True)

    async def _ticket_of(self, ticket: str, *, once: bool) -> tuple[Ceremony, Account]:
        """once: it is used up by this. A password that was changed since has ended it."""
        ceremony_id, secret = _parts(ticket)
        tries, now_ms = self._world.settings.ticket_tries, self._world.now_ms()
        ceremony = await self._world.stores.ceremonies.attempt(ceremony_id, Purpose.LOG_IN, now_ms, tries)
        if ceremony is None or ceremony.user_id is None or not is_secret_of(secret, ceremony.secret_hash):
            raise NotProved(_TICKET)
        if once:
            await self._take(ceremony_id)
        account = await self._world.stores.accounts.get(ceremony.user_id)
        if account is None or account.password_version != ceremony.password_version:
            raise NotProved(_TICKET)
        return ceremony, account

    async def _take(self, ceremony_id: UUID) -> None:
        if await self._world.stores.ceremonies.take(ceremony_id, Purpose.LOG_IN, self._world.now_ms()) is None:
            raise NotProved(_TICKET)

    # --- a passkey alone ----------------------------------------------------------------------------------------------

    async def begin_passkey(self, address: str) -> tuple[str, str]:
        """(ceremony's id, options as JSON)."""
        await self._limit.admit(address)
        ceremony = await self._passkeys.new_ceremony(Purpose.PASSKEY_LOG_IN, None, None)
        return str(ceremony.id), await self._passkeys.options(None, ceremony.challenge)

    async def by_passkey(
        self, answer: PasskeyAnswer, client_name: str, proof: DeviceProof | None, address: str
    ) -> Tokens:
        """The passkey is both factors: the thing, and the finger or PIN that it verified. Raises NotProved, TooMany.

        Not shut by wrong passwords: nobody who guesses keeps the owner out.
        """
        await self._limit.admit(address)
        ceremony = await self._passkeys.taken(Purpose.PASSKEY_LOG_IN, answer.ceremony_id, None, None)
        account = await self._passkeys.named(answer.json)
        try:
            await self._passkeys.prove(account, ceremony.challenge, answer.json, address)
        except NotProved:
            about = account.login_hash.hex()
            failed = Signal(SignalKind.LOGIN_FAILED, account.id, address=address, about=about)
            self._world.signals.report(failed)
            raise
        device_id = await self._device(account, proof, "log-in", answer.ceremony_id)
        client = Client(address, client_name, device_id)
        return await self._book.open(account, client, password=False, second_factor=True)


def _parts(ticket: str) -> tuple[UUID, bytes]:
    """Raises NotProved."""
    try:
        data = bytes.fromhex(ticket) if ticket.isascii() and ticket.isalnum() else b""
    except ValueError:
        data = b""
    if len(data) != 16 + SECRET_BYTES:
        raise NotProved(_TICKET)
    return UUID(bytes=data[:16]), data[16:]
