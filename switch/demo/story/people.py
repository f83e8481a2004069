"""People of the story: each has an account, an authenticator app, passkeys and perhaps a phone bound by its key."""

import secrets
import time
from dataclasses import dataclass, field
from uuid import UUID

import grpc.aio
import pyotp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from payswitch.v1 import user_pb2 as pb
from switch.demo.authenticator import SoftwareAuthenticator
from switch.demo.story.callers import Caller, StoryWrong, expect
from switch.users.proofs import binding_text

_ORIGIN = "https://localhost"
_TOTP_STEP_S = 30


@dataclass
class Mailbox:
    """As whoever delivers the switch's e-mails takes them."""

    sender: Caller
    _kept: list[pb.UserMessage] = field(default_factory=list)

    async def code(self, to: str) -> str:
        """The last code that was sent there. Raises StoryWrong."""
        taken = (await self.sender.ask(pb.TakeMessagesRequest(limit=100))).messages
        if taken:
            await self.sender.ask(pb.ConfirmMessagesRequest(ids=[each.id for each in taken]))
        self._kept += taken
        codes = [each.code for each in self._kept if each.to == to and each.code]
        if not codes:
            raise StoryWrong(f"no code was sent to {to}")
        return codes[-1]


class Phone:
    """A device's key, which never leaves it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = ""

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(SHA256()))


class Person(Caller):
    """Registered and verified, not logged in yet. secrets: what only this person may know."""

    def __init__(self, channel: grpc.aio.Channel, login: str, password: str, user_id: str) -> None:
        super().__init__(channel)
        self.login = login
        self.user_id = user_id
        self.phone = Phone()
        self._password = password
        self._authenticator = SoftwareAuthenticator(_ORIGIN)
        self._totp: pyotp.TOTP | None = None
        self.secrets: list[str] = [password]

    async def log_in(self) -> pb.LogInResponse:
        """With the password; the answer may ask for a second factor."""
        answer: pb.LogInResponse = await self.ask(pb.LogInRequest(login=self.login, password=self._password))
        self._has(answer.tokens)
        return answer

    async def log_in_with_totp(self) -> None:
        """The code that was used when the app was set up is refused; the next one is taken."""
        assert self._totp is not None
        ticket = (await self.log_in()).second_factor_needed.ticket
        used = pb.FinishLogInRequest(ticket=ticket, totp_code=self._used)
        await self.refused(used, "UNAUTHENTICATED")
        following = self._totp.at(int(time.time()) + _TOTP_STEP_S)
        answer = await self.ask(pb.FinishLogInRequest(ticket=ticket, totp_code=following))
        self._has(answer.tokens)

    async def log_in_with_passkey(self) -> None:
        """Neither login nor password."""
        begun = await self.ask(pb.BeginPasskeyLogInRequest())
        made = self._authenticator.get(begun.options_json)
        request = pb.LogInWithPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=made, client_name="phone")
        answer = await self.ask(request)
        expect(answer.tokens.user_id, self.user_id, "the passkey's user")
        self._has(answer.tokens)

    async def set_up_totp(self) -> None:
        secret = (await self.ask(pb.EnrollTotpRequest())).secret
        self._totp = pyotp.TOTP(secret)
        self._used = self._totp.now()
        answer = await self.ask(pb.ActivateTotpRequest(code=self._used))
        expect(len(answer.recovery_codes), 10, "recovery codes")
        self.secrets += [secret, *answer.recovery_codes]

    def _has(self, tokens: pb.Tokens) -> None:
        self.token = tokens.access_token
        self.secrets += [each for each in (tokens.access_token, tokens.refresh_token) if each]

    async def add_passkey(self) -> None:
        begun = await self.ask(pb.BeginPasskeyRequest())
        made = self._authenticator.create(begun.options_json)
        await self.ask(pb.AddPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=made, name="phone"))

    async def step_up(self) -> None:
        begun = await self.ask(pb.BeginStepUpRequest())
        made = self._authenticator.get(begun.options_json)
        proof = pb.PasskeyAnswer(ceremony_id=begun.ceremony_id, passkey_json=made)
        await self.ask(pb.StepUpRequest(passkey=proof))

    async def bind_phone(self) -> None:
        begun = await self.ask(pb.BeginDeviceRequest())
        signature = self.phone.sign(binding_text(begun.challenge, UUID(self.user_id), self.phone.public_key))
        request = pb.BindDeviceRequest(
            ceremony_id=begun.ceremony_id, name="phone", public_key=self.phone.public_key, signature=signature
        )
        self.phone.id = (await self.ask(request)).device_id


async def register(channel: grpc.aio.Channel, mailbox: Mailbox, name: str) -> Person:
    """An account of its own in every story: `name`, and digits that nobody else has."""
    stranger = Caller(channel)
    login, password = f"{name}.{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(18)
    registered = await stranger.ask(pb.RegisterRequest(login=login, password=password))
    code = await mailbox.code(login)
    request = pb.VerifyRequest(registration_id=registered.registration_id, code=code)
    person = Person(channel, login, password, (await stranger.ask(request)).user_id)
    await person.log_in()
    return person
