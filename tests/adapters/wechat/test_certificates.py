"""Platform certificates: fetched in the background, replaced while payments run, never believed from a stranger."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.wechat.metrics import CERTIFICATE_REFRESHES, REFUSED_CERTIFICATES, UNVERIFIED_ANSWERS
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer
from switch.domain.states import Operation
from switch.ports import Approved, Phase, Unknown


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about within 30 s")


@pytest.fixture
async def till(till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any) -> Any:
    made = await till_for(settings_for(simulator, **certificate_settings(simulator), certificate_pause_s=0.0))
    await until(lambda: bool(made.channel.health().ready))
    return made


def counted(counter: Any, *labels: str) -> float:
    value: float = counter.labels(*labels)._value.get()
    return value


async def test_a_payment_is_believed_under_a_certificate(till: Any) -> None:
    sale = till.sale()
    assert isinstance(await till.do_one(sale), Approved)
    assert isinstance(await till.do_one(till.follow(sale, Operation.INQUIRY)), Approved)


async def test_a_new_certificate_is_learnt_from_the_answer_that_names_it(till: Any, simulator: Any) -> None:
    old = simulator.certificate_serial_no
    simulator.world.platform.rotate()
    assert isinstance(await till.do_one(till.sale()), Approved)
    assert till.channel._keys.knows(old)  # both are valid for a while
    assert till.channel._keys.knows(simulator.certificate_serial_no)
    simulator.world.platform.rotate()
    simulator.world.platform.expire_old()
    assert isinstance(await till.do_one(till.sale()), Approved)
    assert not till.channel._keys.knows(old)


async def test_a_payment_during_a_refresh_does_not_wait_for_it(till: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresh hangs for as long as the test likes; payments come and go meanwhile."""
    keeper, release = till.channel._keeper, asyncio.Event()
    fetch: Callable[..., Awaitable[Answer]] = keeper._fetch

    async def hanging(call: Any) -> Answer:
        answer = await fetch(call)
        await release.wait()
        return answer

    monkeypatch.setattr(keeper, "_fetch", hanging)
    refresh = asyncio.create_task(keeper.refresh())
    results = [await till.do_one(till.sale()) for _ in range(3)]
    assert [type(each) for each in results] == [Approved] * 3
    assert not refresh.done()
    release.set()
    assert await refresh


async def test_a_refresh_uses_none_of_the_payments_connections(
    till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any
) -> None:
    settings = settings_for(simulator, **certificate_settings(simulator), max_connections=1)
    till = await till_for(settings)
    await until(lambda: bool(till.channel.health().ready))
    silent = till.sale(990_200, deadline_s=5.0)
    till.channel.prepare([silent])
    till.channel.send([silent])
    assert await till.channel._keeper.refresh()


async def test_a_certificate_of_another_authority_is_refused(till: Any, simulator: Any) -> None:
    before = counted(REFUSED_CERTIFICATES, "foreign"), counted(UNVERIFIED_ANSWERS, "sale", "unknown_key")
    simulator.world.platform.rotate(impostor=True)
    sale = till.sale()
    assert await till.do_one(sale) == Unknown(Phase.SENT, "unverified answer: wechatpay-serial names another key")
    assert not till.channel._keys.knows(simulator.certificate_serial_no)
    after = counted(REFUSED_CERTIFICATES, "foreign"), counted(UNVERIFIED_ANSWERS, "sale", "unknown_key")
    assert after[0] > before[0]
    assert after[1] == before[1] + 1


async def test_the_whole_answer_must_be_signed_by_a_good_certificate(till: Any, simulator: Any) -> None:
    before = counted(REFUSED_CERTIFICATES, "unsigned"), counted(CERTIFICATE_REFRESHES, "failed")
    simulator.world.platform.rotate(impostor=True)  # lists a good one too, but signs itself
    assert not await till.channel._keeper.refresh()
    assert counted(REFUSED_CERTIFICATES, "unsigned") == before[0] + 1
    assert counted(CERTIFICATE_REFRESHES, "failed") == before[1] + 1


async def test_what_the_apiv3_key_does_not_open_is_refused(
    till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any
) -> None:
    before = counted(REFUSED_CERTIFICATES, "undecryptable")
    till = await till_for(settings_for(simulator, **certificate_settings(simulator), apiv3_key=b"x" * 32))
    await until(lambda: counted(REFUSED_CERTIFICATES, "undecryptable") > before)
    assert till.channel.health().detail == "the platform certificates are not there yet"
    assert isinstance(await till.do_one(till.sale()), Unknown)


async def test_an_expired_certificate_is_refused(
    till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any
) -> None:
    before = counted(REFUSED_CERTIFICATES, "expired")
    till = await till_for(settings_for(simulator, **certificate_settings(simulator)))
    await until(lambda: bool(till.channel.health().ready))
    keeper = till.channel._keeper
    keeper._clock = Later(keeper._clock)
    assert not await keeper.refresh()
    assert counted(REFUSED_CERTIFICATES, "expired") == before + 1


class Later:
    """Ten years on."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def time_ms(self) -> int:
        time_ms: int = self._clock.time_ms() + 10 * 365 * 86_400_000
        return time_ms


async def test_unknown_serials_do_not_make_us_ask_at_anyones_pleasure(
    till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any
) -> None:
    till = await till_for(settings_for(simulator, **certificate_settings(simulator), certificate_pause_s=60.0))
    await until(lambda: bool(till.channel.health().ready))
    begun_s = till.channel._keeper._last_begun_s
    simulator.world.platform.rotate()
    assert isinstance(await till.do_one(till.sale()), Unknown)
    assert till.channel._keeper._last_begun_s == begun_s


async def test_certificates_come_when_the_platform_is_back(
    till_for: Any, settings_for: Any, simulator: Any, certificate_settings: Any
) -> None:
    changes = certificate_settings(simulator)
    await simulator.stop_listening()
    till = await till_for(settings_for(simulator, **changes))
    assert not till.channel.health().ready
    await simulator.resume()
    await until(lambda: bool(till.channel.health().ready))
    assert isinstance(await till.do_one(till.sale()), Approved)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"platform_public_key_pem": "", "platform_public_key_id": ""}, "public key or the root"),
        ({"platform_public_key_id": ""}, "belong together"),
        ({"platform_root_pem": "x", "apiv3_key": b""}, "need the APIv3 key"),
        ({"apiv3_key": b"short"}, "32 bytes"),
        ({"v2_key": "short"}, "32 characters"),
    ],
)
def test_settings_that_cannot_work(settings_for: Any, changes: dict[str, Any], problem: str) -> None:
    class Nowhere:
        port, public_key_pem, public_key_id = 1, "pem", "PUB_KEY_ID_1"

    assert isinstance(settings_for(Nowhere()), WeChatSettings)
    with pytest.raises(ValueError, match=problem):
        settings_for(Nowhere(), **changes)
