"""`python -m benchmarks.payment_codes`: dynamic codes made and opened in one process, on a real PostgreSQL and token.

Every code goes all the way: made by its device, read, its secret unsealed, verified, claimed durably, its card's
number fetched from the vault with an entry in the access log. Beside it in the same run, on the same machine: bare
HMAC-SHA-256, and the bare INSERT of as many claims in batches of the same size.
"""

import argparse
import asyncio
import hmac
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.client.payment_codes import CodeDevice, finish_enrolment
from switch.domain.authorization import AuthorizationRequest, CardCredential, CodeCredential, Merchant
from switch.domain.dynamic_code import SEQUENCES, STEP_MS
from switch.domain.money import Money
from switch.domain.payment_codes import OWN_SCHEME
from switch.domain.payment_token import check_digit
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.domain.user import Device
from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import migrate
from switch.store.payment_codes import PostgresPaymentCodes
from switch.store.pool import create_pool
from switch.store.sessions import Pool
from switch.store.vault import PostgresTokenStore
from switch.users.payment_codes import PaymentCodes, bound_to
from switch.vault.vault import Vault
from switch.wiring.codes import WalletVault

BATCH = 128
_SHOP = Merchant("shop")
_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates a second. opened: of codes made before; whole: made and opened. inserted: rows of the bare INSERT.

    cpu_us: this process's processor time for one code that is made and opened; the database's is its own.
    """

    codes: int
    generated: float
    opened: float
    whole: float
    cpu_us: float
    hmacs: float
    inserted: float

    def lines(self) -> list[str]:
        per_insert = self.whole / self.inserted
        return [
            f"codes                {self.codes:>9,}",
            f"generated            {self.generated:>9,.0f} /s   {self.generated / self.hmacs:.2f} of bare HMAC-SHA-256",
            f"opened               {self.opened:>9,.0f} /s   {self.opened / self.inserted:.2f} of the bare INSERT",
            f"generated and opened {self.whole:>9,.0f} /s   {per_insert:.2f} of the bare INSERT; {self.cpu_us:.0f} µs",
            f"bare HMAC-SHA-256    {self.hmacs:>9,.0f} /s",
            f"bare INSERT          {self.inserted:>9,.0f} /s",
        ]


class OneTime:
    """A clock that stands at `now_ms`."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


class AllBound:
    """Every device is bound: the user service's own cost is its own."""

    async def devices(self, named: Sequence[tuple[UUID, UUID]]) -> list[Device | None]:
        return [Device(device_id, user_id, "phone", b"", True, 0) for user_id, device_id in named]


@dataclass(frozen=True, slots=True)
class Scene:
    pool: Pool
    clock: OneTime
    codes: PaymentCodes
    devices: list[CodeDevice]


def make_hsm(directory: Path) -> DirectHsm:
    hsm = DirectHsm.open(create_token(directory))
    hsm.store.ensure("wallet/seal", KeyUsage.SEALING)
    hsm.store.ensure("vault/hash", KeyUsage.HASHING)
    hsm.store.ensure("vault/wrapping", KeyUsage.KEY_WRAPPING)
    return hsm


async def make_scene(pool: Pool, hsm: DirectHsm, devices: int) -> Scene:
    """Users with a card and a device each."""
    clock = OneTime(time.time_ns() // 1_000_000)
    vault = WalletVault(Vault(hsm, PostgresTokenStore(pool), clock))
    codes = PaymentCodes(PostgresPaymentCodes(pool), AllBound(), vault, hsm, clock)
    made: list[CodeDevice] = []
    for first in range(0, devices, BATCH):
        made += await _add(pool, hsm, vault, range(first, min(first + BATCH, devices)))
    return Scene(pool, clock, codes, made)


async def _add(pool: Pool, hsm: DirectHsm, vault: WalletVault, numbers: range) -> list[CodeDevice]:
    devices = [finish_enrolment(n.to_bytes(32), 70_000_000_000 + n, bytes(32)) for n in numbers]
    sealed = await hsm.seal([("wallet/seal", each.secret, bound_to(each.number)) for each in devices])
    users = [uuid4() for _ in numbers]
    tokens = [await vault.token_of(_pan(n)) for n in numbers]
    await pool.executemany(
        "INSERT INTO code_devices VALUES ($1, $2, $2, $3, 0, 0, 0)",
        [(each.number, user, box) for each, user, box in zip(devices, users, sealed, strict=True)],
    )
    await pool.executemany(
        "INSERT INTO cards VALUES ($1, $1, 2, true, $2, 'unionpay', 'unionpay', '622588', '0000', '3912', $1, 0, 0, 0,"
        " true, 0, 0)",
        list(zip(users, tokens, strict=True)),
    )
    return devices


def _pan(number: int) -> Pan:
    body = f"622588{number:09d}"
    return Pan(body + check_digit(body))


def _requests(codes: Sequence[str]) -> list[tuple[UUID, AuthorizationRequest]]:
    return [
        (
            uuid4(),
            AuthorizationRequest(
                "acme", _SHOP, "t1", "k", 1, Operation.SALE, Money(1200, "CNY"), EntryMode.PAYER_CODE,
                CodeCredential(OWN_SCHEME, PaymentCode(code)),
            ),
        )
        for code in codes
    ]  # fmt: skip


def _codes_of(scene: Scene, count: int) -> list[str]:
    """The next `count` codes, of all devices in turn; the clock goes on as they run out."""
    made: list[str] = []
    while len(made) < count:
        if scene.devices[0].last_sequence == SEQUENCES - 1:
            scene.clock.now_ms += STEP_MS
        made += [each.code(scene.clock.now_ms) for each in scene.devices[: count - len(made)]]
    return made


async def _open_all(scene: Scene, requests: Sequence[tuple[UUID, AuthorizationRequest]]) -> None:
    """In batches, a few at once, as the road's processes have them."""
    batches = iter([requests[first : first + BATCH] for first in range(0, len(requests), BATCH)])

    async def work() -> None:
        for batch in batches:
            opened = await scene.codes.open(batch)
            assert all(isinstance(each, CardCredential) for each in opened)

    await asyncio.gather(*(work() for _ in range(_PARALLEL)))


async def measure(scene: Scene, count: int) -> Figures:
    """Codes are opened at most 60 s of their clock after they were made."""
    count = min(count, SEQUENCES * len(scene.devices) * 6)
    started_s = time.perf_counter()
    codes = _codes_of(scene, count)
    generated_s = time.perf_counter() - started_s
    requests = _requests(codes)
    started_s = time.perf_counter()
    await _open_all(scene, requests)
    opened_s = time.perf_counter() - started_s
    scene.clock.now_ms += 10 * STEP_MS
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    await _open_all(scene, _requests(_codes_of(scene, count)))
    whole_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    inserted_s = await _insert(scene.pool, count)
    return Figures(
        count, count / generated_s, count / opened_s, count / whole_s, cpu_s / count * 1e6, _hmacs(), count / inserted_s
    )


async def _insert(pool: Pool, count: int) -> float:
    """Seconds for as many rows, in the same batches, as many at once."""
    batches = iter(range(0, count, BATCH))

    async def work() -> None:
        for first in batches:
            numbers = list(range(first, min(first + BATCH, count)))
            ids = [uuid4() for _ in numbers]
            await pool.execute(
                "INSERT INTO payment_code_claims SELECT n, 1, 0, i FROM unnest($1::bigint[], $2::uuid[]) AS w (n, i)",
                numbers, ids,
            )  # fmt: skip

    started_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_PARALLEL)))
    return time.perf_counter() - started_s


def _hmacs(count: int = 50_000) -> float:
    key, message = b"k" * 32, b"12345678"
    started_s = time.perf_counter()
    for _ in range(count):
        hmac.digest(key, message, "sha256")
    return count / (time.perf_counter() - started_s)


async def run(devices: int, count: int, rounds: int) -> list[Figures]:
    with tempfile.TemporaryDirectory(prefix="payswitch-codes-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        hsm = make_hsm(Path(directory) / "token")
        try:
            dsn = await server.start()
            await migrate(dsn)
            pool = await create_pool(dsn)
            try:
                scene = await make_scene(pool, hsm, devices)
                figures = []
                for _ in range(rounds):
                    await pool.execute("DELETE FROM payment_code_claims")
                    figures.append(await measure(scene, count))
                    scene.clock.now_ms += 10 * STEP_MS
                return figures
            finally:
                await pool.close()
        finally:
            hsm.close()
            await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--codes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for figures in uvloop.run(run(arguments.devices, arguments.codes, arguments.rounds)):
        print("\n".join(figures.lines()), end="\n\n")


if __name__ == "__main__":
    main()
