"""How signals are worked: bounded, once, and nobody's error when the world around is sick."""

import asyncio
from uuid import uuid4

from signal_scene import HOUR_MS, MINUTE_MS, SignalScene, entered, failed

from switch.domain.risk import Subject
from switch.ports.risk import Happening, Later
from switch.ports.signals import Note, Signal, SignalKind
from switch.risk.findings import Finding
from switch.risk.memory_windows import MemorySignalWindows

SOMEWHERE = "203.0.113.7"
SCAN = Signal(SignalKind.UNKNOWN_PATH, address=SOMEWHERE)


async def test_what_is_too_much_is_dropped_and_counted() -> None:
    scene = SignalScene(most=100)
    for _ in range(250):
        scene.here.watch.report(SCAN)
    assert scene.here.counted.signals[SignalKind.UNKNOWN_PATH] == 250
    assert scene.here.counted.drops == {"full": 150}
    await scene.here.watch.flush()
    for _ in range(100):
        scene.here.watch.report(SCAN)
    assert scene.here.counted.drops == {"full": 150}


async def test_counts_are_bounded_too() -> None:
    scene = SignalScene(most=100)
    told = [Happening(str(number), Later.DECLINES, {Subject.CARD: "11" * 16}, 0) for number in range(150)]
    scene.here.watch.count(told)
    await scene.here.watch.flush()
    assert scene.told.happenings == told[:100]
    assert scene.here.counted.drops == {"full": 50}


async def test_a_flood_of_one_kind_is_one_alert() -> None:
    scene = SignalScene()
    for _ in range(5_000):
        scene.here.watch.report(SCAN)
        scene.there.watch.report(SCAN)
    await scene.here.watch.flush()
    await scene.there.watch.flush()
    assert scene.kinds() == ["scanning"]
    assert scene.here.counted.alerts == scene.there.counted.alerts == {"scanning": 1}
    assert scene.here.counted.blocks == {"scanning": 1}


async def test_an_alert_of_the_same_is_raised_again_after_a_while() -> None:
    scene = SignalScene()
    await scene.tell(*[SCAN] * 30)
    scene.later(2 * HOUR_MS)
    await scene.tell(*[SCAN] * 30)
    assert scene.kinds() == ["scanning", "scanning"]


async def test_a_thousand_addresses_are_a_thousand_alerts_and_what_waits_is_bounded() -> None:
    scene = SignalScene()
    scene.alerts.down = True
    found = [Finding("x", Subject.IP, f"{number:032x}", 100, "text") for number in range(1_500)]
    scene.here.watch.find(found)
    await scene.here.watch.flush()
    scene.alerts.down = False
    scene.later(1_000)
    for _ in range(20):
        await scene.here.watch.flush()
    assert len(scene.alerts.alerts) == 1_000


async def test_alerts_wait_until_their_store_is_back() -> None:
    scene = SignalScene()
    scene.alerts.down = True
    await scene.tell(*[SCAN] * 30)
    assert scene.alerts.calls
    assert scene.kinds() == []
    scene.alerts.down = False
    await scene.here.watch.flush()
    assert scene.kinds() == []  # it has a second of rest
    scene.later(1_000)
    await scene.here.watch.flush()
    assert scene.kinds() == ["scanning"]


async def test_while_redis_is_gone_counts_are_dropped_and_each_process_looks_for_itself() -> None:
    scene = SignalScene()
    scene.windows.down = scene.told.down = True
    await scene.tell(*(failed(uuid4(), SOMEWHERE) for _ in range(20)), entered(uuid4(), SOMEWHERE))
    assert scene.kinds() == ["credential_stuffing"]
    assert scene.here.blocks.refuses(SOMEWHERE)
    assert scene.here.counted.drops == {"counters": 21}
    await scene.here.watch.follow_blocks()
    assert scene.here.blocks.refuses(SOMEWHERE)
    assert not scene.there.blocks.refuses(SOMEWHERE)


async def test_a_block_ends_after_its_time_in_every_process() -> None:
    scene = SignalScene()
    await scene.tell(*[SCAN] * 30)
    await scene.there.watch.follow_blocks()
    scene.later(15 * MINUTE_MS - 1)
    assert (scene.here.blocks.refuses(SOMEWHERE), scene.there.blocks.refuses(SOMEWHERE)) == (True, True)
    scene.later(1)
    await scene.there.watch.follow_blocks()
    assert (scene.here.blocks.refuses(SOMEWHERE), scene.there.blocks.refuses(SOMEWHERE)) == (False, False)


async def test_where_the_settings_say_so_nobody_is_blocked() -> None:
    for settings in ({"block_ms": 0}, {"blocking": frozenset({"credential_stuffing"})}):
        scene = SignalScene(**settings)
        await scene.tell(*[SCAN] * 30)
        assert scene.kinds() == ["scanning"]
        assert not scene.here.blocks.refuses(SOMEWHERE)


async def test_it_works_by_itself_until_it_is_closed() -> None:
    scene = SignalScene()
    scene.here.watch.start()
    scene.here.watch.report(failed(uuid4(), SOMEWHERE))
    async with asyncio.timeout(30):
        await scene.told.heard.wait()
    scene.here.watch.report(failed(uuid4(), SOMEWHERE))
    await scene.here.watch.close()
    assert len(scene.told.happenings) == 2
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "signals"]


async def test_the_memorys_windows_are_bounded() -> None:
    windows = MemorySignalWindows(lambda: 0, most_keys=10)
    await windows.note([Note(f"key {number}", "x", 1_000) for number in range(50)])
    assert len(windows) == 10
    noted = await windows.note([Note("one", f"element {number}", 1_000) for number in range(1_100)])
    assert noted[-1].count == 1_000
