"""A payment terminal in front of the whole product: what it is told, and what the network's own book says."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from shop import POOR, RICH, UNIONPAY, Booked, fresh_amount

from adapters.unionpay.pos.codec import Message, frame
from adapters.unionpay.pos.messages import Totals
from adapters.unionpay.pos.simulator import CHIP, CONTACTLESS, KEYED, STRIPE, Card, Sent, SimulatedTerminal
from hsm.keys import KeyStore, KeyUsage
from hsm.token import open_token
from switch import config
from switch.demo.environment import HOST, Environment

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERCHANT, TERMINAL, ACQUIRER = "104110053110001", "T0000001", "demo"
MASTER_KEY = bytes.fromhex("CA5D92598DCA48CE8A4C76361A9269E9")
CARD = Card(RICH.pan, RICH.expiry_yymm, RICH.pin)
POOR_CARD = Card(POOR.pan, POOR.expiry_yymm, POOR.pin)
PAID, REFUSED, UNDONE = "paid", "refused", "undone"
# What the machine was too slow for is asked again, as a cashier would, under a new STAN.
_TOO_SLOW = {"68", "91", "96", "98"}
_TRIES = 20


class Counter:
    """A terminal on a shop's counter."""

    def __init__(self, environment: Environment, port: int) -> None:
        self.environment = environment
        self.terminal = SimulatedTerminal(HOST, port, MERCHANT, TERMINAL, MASTER_KEY)

    @property
    def last(self) -> Sent:
        assert self.terminal.last is not None
        return self.terminal.last

    async def signed_on(self) -> None:
        """The switch takes a new master key over within half a second."""
        for _ in range(_TRIES):
            if code(await self.terminal.sign_on()) == "00":
                return
            await asyncio.sleep(0.2)
        raise AssertionError("the terminal could not sign on")

    async def until_answered(self, call: Callable[[], Awaitable[Message]]) -> Message:
        for _ in range(_TRIES):
            answer = await call()
            if code(answer) not in _TOO_SLOW:
                return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"no answer in {_TRIES} tries")

    async def sale(self, card: Card = CARD, entry: str = KEYED, pin: str = "", amount_minor: int = 0) -> Message:
        return await self.until_answered(lambda: self.terminal.sale(card, amount_minor or fresh_amount(), entry, pin))

    async def booked(self, amount_minor: int) -> list[Booked]:
        entries = [each for each in await self.environment.book("unionpay") if each["amount_minor"] == amount_minor]
        return [read for read in map(UNIONPAY.read, entries) if read is not None]

    async def refusals(self, cause: str) -> float:
        wanted = f'payswitch_terminal_refusals_total{{cause="{cause}"}} '
        text = await self.environment.get_text(f"{self.environment.operations_url}/metrics")
        return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def code(message: Message) -> str:
    return str(message.fields[39])


def provide_master_key(token_dir: Path) -> None:
    mask = bytes(range(16))
    parts = [mask, bytes(a ^ b for a, b in zip(MASTER_KEY, mask, strict=True))]
    with open_token(token_dir) as token:
        KeyStore(token).import_components(f"terminal/{MERCHANT}/{TERMINAL}/tmk", KeyUsage.KEY_TRANSPORT, parts)


async def add_terminal(environment: Environment) -> None:
    """By the command that an operator uses, beside the running switch."""
    await asyncio.to_thread(provide_master_key, environment.state_dir / "tokens")
    arguments = ("terminals", "add", MERCHANT, TERMINAL, "--acquirer", ACQUIRER, "--name", "Corner Shop")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "switch.cli", *arguments),
        env={**os.environ, config.CONFIG_VARIABLE: str(environment.config_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    assert (process.returncode, b"batch 000001" in said) == (0, True), complaint.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_door() -> AsyncIterator[tuple[Environment, int]]:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    overrides = {
        "PAYSWITCH_RISK__VELOCITY_LIMIT_PER_MINUTE": "0",
        "PAYSWITCH_OPERATIONS__LOG_LEVEL": "debug",
        "PAYSWITCH_TERMINALS__LISTEN": f"{HOST}:{port}",
        "PAYSWITCH_TERMINALS__SIGN_ONS_PER_MINUTE": "600",
        "PAYSWITCH_TERMINALS__MESSAGE_MS": "500",
    }
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-", ignore_cleanup_errors=True) as directory:
        async with Environment(Path(directory) / "state", overrides) as environment:
            await add_terminal(environment)
            yield environment, port


_stans = iter(range(1, 900_000, 1000))


@pytest_asyncio.fixture(loop_scope="module")
async def counter(with_door: tuple[Environment, int]) -> AsyncIterator[Counter]:
    counter = Counter(*with_door)
    counter.terminal.stan = next(_stans)
    await counter.terminal.connect()
    await counter.signed_on()
    yield counter
    await counter.terminal.close()


@pytest.mark.parametrize(
    ("entry", "pin"), [(KEYED, ""), (STRIPE, CARD.pin), (CHIP, CARD.pin), (CHIP, ""), (CONTACTLESS, "")]
)
async def test_a_sale_is_approved_and_booked_once(counter: Counter, entry: str, pin: str) -> None:
    answer = await counter.sale(CARD, entry, pin)
    assert code(answer) == "00"
    amount_minor = counter.last.amount_minor
    assert str(answer.fields[37]).strip()
    assert str(answer.fields[38]).strip()
    assert await counter.booked(amount_minor) == [Booked(PAID, amount_minor)]


async def test_a_decline(counter: Counter) -> None:
    assert code(await counter.sale(POOR_CARD)) == "51"
    assert await counter.booked(counter.last.amount_minor) == [Booked(REFUSED)]


async def test_a_wrong_pin(counter: Counter) -> None:
    assert code(await counter.sale(CARD, CHIP, "654321")) == "55"
    assert await counter.booked(counter.last.amount_minor) == [Booked(REFUSED)]
    assert code(await counter.sale(CARD, CHIP, CARD.pin)) == "00"


async def test_a_repeat_has_one_effect(counter: Counter) -> None:
    first = await counter.sale()
    assert code(first) == "00"
    again = await counter.until_answered(lambda: counter.terminal.send(counter.last))
    assert again == first
    amount_minor = counter.last.amount_minor
    assert await counter.booked(amount_minor) == [Booked(PAID, amount_minor)]


async def test_a_void(counter: Counter) -> None:
    assert code(await counter.sale()) == "00"
    sale = counter.last
    assert code(await counter.until_answered(lambda: counter.terminal.void(CARD, sale))) in ("00", "12")
    assert [each.standing for each in await counter.booked(sale.amount_minor)] == [UNDONE]


async def test_a_pre_authorization_its_completion_and_a_refund(counter: Counter) -> None:
    terminal, amount_minor = counter.terminal, fresh_amount()
    held = await counter.until_answered(lambda: terminal.pre_authorize(CARD, amount_minor, CHIP, CARD.pin))
    assert code(held) == "00"
    original = counter.last
    completed = await counter.until_answered(
        lambda: terminal.complete(CARD, original, amount_minor - 100, str(held.fields[38]))
    )
    assert code(completed) == "00"
    assert code(await counter.until_answered(lambda: terminal.refund(CARD, counter.last, 300))) == "00"
    assert await counter.booked(original.amount_minor) == [Booked(PAID, amount_minor - 100, 300)]


async def test_silence_is_reversed(counter: Counter) -> None:
    amount_minor = fresh_amount()
    await counter.environment.scenario("unionpay", behaviour="silent", amount_minor=amount_minor, times=1)
    assert code(await counter.terminal.sale(CARD, amount_minor)) in _TOO_SLOW
    sale = counter.last
    assert code(await counter.until_answered(lambda: counter.terminal.reverse(sale))) == "00"
    for _ in range(600):
        if [each.standing for each in await counter.booked(amount_minor)] in ([UNDONE], []):
            break
        await asyncio.sleep(0.1)
    assert PAID not in [each.standing for each in await counter.booked(amount_minor)]


async def test_a_reversal_of_an_approved_sale(counter: Counter) -> None:
    assert code(await counter.sale()) == "00"
    sale = counter.last
    assert code(await counter.until_answered(lambda: counter.terminal.reverse(sale))) == "00"
    for _ in range(600):
        if [each.standing for each in await counter.booked(sale.amount_minor)] == [UNDONE]:
            break
        await asyncio.sleep(0.1)
    assert [each.standing for each in await counter.booked(sale.amount_minor)] == [UNDONE]


async def test_a_reversal_before_its_original(counter: Counter) -> None:
    terminal, amount_minor = counter.terminal, fresh_amount()
    sale = terminal.build("0200", terminal.payment(CARD, amount_minor))
    assert code(await counter.until_answered(lambda: terminal.reverse(sale))) == "00"
    assert code(await counter.until_answered(lambda: terminal.send(sale))) == "22"
    assert await counter.booked(amount_minor) == []


async def test_a_wrong_mac(counter: Counter) -> None:
    before, amount_minor = await counter.refusals("mac"), fresh_amount()
    counter.terminal.tampered = True
    assert code(await counter.terminal.sale(CARD, amount_minor)) == "A0"
    assert await counter.refusals("mac") == before + 1
    assert await counter.booked(amount_minor) == []


async def test_a_settlement(counter: Counter) -> None:
    """The batch of the tests before is closed, whatever it holds; the next one holds one sale and balances."""
    await counter.until_answered(lambda: counter.terminal.settle(Totals()))
    await counter.signed_on()
    assert code(await counter.sale()) == "00"
    amount_minor = counter.last.amount_minor
    answer = await counter.until_answered(lambda: counter.terminal.settle(Totals(amount_minor, 1)))
    assert (code(answer), str(answer.fields[48])[30]) == ("00", "1")
    assert code(await counter.terminal.sale(CARD, fresh_amount())) == "77"
    await counter.signed_on()
    assert code(await counter.sale()) == "00"


async def test_strangers_bytes_and_slow_ones(counter: Counter, with_door: tuple[Environment, int]) -> None:
    environment, port = with_door
    for data, cause in (
        (b"GET / HTTP/1.1\r\n\r\n", "frame"),
        (frame(bytes(60)), "malformed"),
        (frame(counter.terminal.build("0200", {}, mac=False).data)[:20], "slow"),
    ):
        before = await counter.refusals(cause)
        async with SimulatedTerminal(HOST, port, MERCHANT, TERMINAL, MASTER_KEY) as stranger:
            await stranger.send_bytes(data)
            assert await stranger.hung_up()
        assert await counter.refusals(cause) == before + 1
    assert code(await counter.sale()) == "00"
    assert environment.pids["switch"]


async def test_keys_outlive_the_process(counter: Counter, with_door: tuple[Environment, int]) -> None:
    environment, _ = with_door
    assert await environment.stop_switch() == 0
    await environment.start_switch()
    await counter.terminal.connect()
    assert code(await counter.sale(CARD, CHIP, CARD.pin)) == "00"


async def test_nothing_of_the_card_is_in_the_logs(counter: Counter, with_door: tuple[Environment, int]) -> None:
    environment, _ = with_door
    assert code(await counter.sale(CARD, CHIP, CARD.pin)) == "00"
    text = "".join(each.read_text(errors="replace") for each in (environment.state_dir / "log").iterdir())
    assert "switch" in text
    assert CARD.pan not in text
    assert CARD.track2.partition("=")[2] not in text
