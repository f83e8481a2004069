import asyncio

import pytest

from switch.ops.checks import Check, NotReady, Readiness


async def fine() -> str:
    return "fine"


async def broken() -> str:
    raise NotReady("no link is up")


async def buggy() -> str:
    raise KeyError("row")


async def stuck() -> str:
    await asyncio.sleep(60)
    return "never"


async def test_every_check_is_reported_under_its_name() -> None:
    readiness = Readiness(
        [
            Check("database", fine),
            Check("channel/alipay", broken, required=False),
            Check("hsm", stuck, timeout_s=0.01),
            Check("counters", buggy, required=False),
        ]
    )
    report = await readiness.report()
    assert [(each.name, each.passed, each.detail) for each in report.results] == [
        ("database", True, "fine"),
        ("channel/alipay", False, "no link is up"),
        ("hsm", False, "no answer in 0.01 s"),
        ("counters", False, "KeyError: 'row'"),
    ]
    assert not report.ready


async def test_an_optional_check_only_degrades() -> None:
    report = await Readiness([Check("database", fine), Check("channel/alipay", broken, required=False)]).report()
    assert report.ready
    assert report.degraded


async def test_however_many_ask_the_checks_run_once() -> None:
    runs = 0

    async def counted() -> str:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        return ""

    readiness = Readiness([Check("database", counted)], fresh_s=60)
    await asyncio.gather(*(readiness.report() for _ in range(20)))
    assert runs == 1


async def test_a_stale_result_is_renewed() -> None:
    up = False

    async def flapping() -> str:
        if not up:
            raise NotReady("down")
        return "up"

    readiness = Readiness([Check("database", flapping)], fresh_s=0)
    assert not (await readiness.report()).ready
    up = True
    assert (await readiness.report()).ready
    readiness.drain()
    assert not (await readiness.report()).ready


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="same name"):
        Readiness([Check("database", fine), Check("database", fine)])
