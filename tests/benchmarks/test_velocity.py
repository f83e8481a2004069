"""The benchmark in small: that what it measures was counted, and that it says what it measured."""

import pytest

from benchmarks import velocity
from switch.store.velocity import RedisVelocity


def test_a_small_run_fills_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    counted: list[int] = []
    see = RedisVelocity.see

    async def watched(self: RedisVelocity, sightings: list[velocity.Sighting]) -> list[dict[str, int]]:
        facts = await see(self, sightings)
        counted.extend(each.get("merchant_count_1d", 0) for each in facts)
        return facts

    monkeypatch.setattr(RedisVelocity, "see", watched)
    arguments = ["--cards", "20", "--merchants", "2", "--payments", "256", "--rounds", "1", "--taps", "64"]
    assert velocity.main(arguments) == 0
    assert max(counted) > 30  # of two merchants, one has most of the 144 that were measured
    said = capsys.readouterr().out
    for row in ("PING", "GET", "taps in batches of 1", "taps in batches of 8", "taps in batches of 64"):
        assert f"\n{row} " in said
    for kind in ("card", "card_merchant", "events", "merchant", "terminal"):
        assert f" {kind} " in said
