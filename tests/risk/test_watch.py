"""What is live is followed: loaded, exchanged, refused; what judged before goes on judging."""

import asyncio
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
import small_model
from desk_scene import MODEL, RULES, above, document, facts_with, rule
from prometheus_client import REGISTRY

from switch.domain.refusals import NotInForce
from switch.domain.risk import Outcome
from switch.domain.risk_release import Release, ReleaseKind, ReleaseState
from switch.ports import StoreUnavailable
from switch.ports.risk_desk import InForce
from switch.risk.document import read_rules
from switch.risk.model_file import ModelRefused
from switch.risk.monitor import LiveRisk
from switch.risk.rules import compile_rules
from switch.risk.watch import RiskWatch


class MemoryReleases:
    def __init__(self) -> None:
        self.live = InForce()
        self.contents: dict[tuple[ReleaseKind, int], bytes] = {}
        self.spoilt: set[int] = set()
        self.down = False
        self.read = 0

    async def in_force(self) -> InForce:
        if self.down:
            raise StoreUnavailable("down")
        return self.live

    async def find(self, kind: ReleaseKind, version: int) -> Release | None:
        content = self.contents.get((kind, version))
        if content is None:
            return None
        digest = hashlib.sha256(content).hexdigest()
        return Release(kind, version, "x", digest, len(content), ReleaseState.LIVE, "risk/ann", 1)

    async def content(self, kind: ReleaseKind, version: int) -> bytes:
        self.read += 1
        return self.contents[kind, version] + (b"x" if version in self.spoilt else b"")


class Told:
    """A model whose score is its content."""

    drift = None

    def __init__(self, content: bytes) -> None:
        if not content.isdigit():
            raise ModelRefused("header: no number")
        self._score = int(content)

    def score(self, rows: Any) -> list[int]:
        return [self._score for _ in rows]


@pytest.fixture
def releases() -> MemoryReleases:
    return MemoryReleases()


@pytest.fixture
def live() -> LiveRisk:
    return LiveRisk(compile_rules(read_rules(document())))


@pytest.fixture
def watch(releases: MemoryReleases, live: LiveRisk) -> RiskWatch:
    return RiskWatch(releases, live, live.rules, load=Told)  # type: ignore[arg-type]


def outcome(live: LiveRisk, minor: int) -> Outcome:
    return live.rules.judge(facts_with(amount_minor=minor)).outcome


def refusals(of: str, cause: str) -> float:
    return REGISTRY.get_sample_value(f"payswitch_risk_{of}_refusals_total", {"cause": cause}) or 0.0


async def test_without_anything_live_the_starter_rules_judge(live: LiveRisk, watch: RiskWatch) -> None:
    await watch.begin()
    assert outcome(live, 5_000_000) is Outcome.PASS
    assert live.scorer is None
    assert watch.state() == (True, "rule set 0, rules: 0; model none")


async def test_what_goes_live_judges_and_is_taken_back(
    releases: MemoryReleases, live: LiveRisk, watch: RiskWatch
) -> None:
    await watch.begin()
    releases.contents |= {(RULES, 3): above(100).encode(), (MODEL, 2): b"700"}
    releases.live = InForce(3, 2)
    await watch.look()
    assert outcome(live, 101) is Outcome.DECLINE
    assert live.rules.version == 3
    assert live.scorer is not None
    assert (live.scorer.version, live.scorer.score([{}])) == (2, [700])
    assert watch.state() == (True, "rule set 3, rules: 1; model 2")
    assert REGISTRY.get_sample_value("payswitch_risk_rules_version") == 3
    assert REGISTRY.get_sample_value("payswitch_risk_model_version") == 2
    releases.live = InForce()
    await watch.look()
    assert outcome(live, 101) is Outcome.PASS
    assert live.scorer is None


async def test_what_does_not_change_is_not_read_again(releases: MemoryReleases, watch: RiskWatch) -> None:
    releases.contents[RULES, 3], releases.live = above(100).encode(), InForce(3)
    await watch.begin()
    for _ in range(3):
        await watch.look()
    assert releases.read == 1


@pytest.mark.parametrize(
    ("content", "spoilt", "cause", "reason"),
    [
        (None, False, "missing", "there is no version 4"),
        (document(rule("x", "amount_minr > 1")), False, "rules", "amount_minr"),
        (above(1), True, "content", "its SHA-256 is not the one with which it was added"),
    ],
)
async def test_rules_that_fail_here_change_nothing_and_are_told(
    releases: MemoryReleases, live: LiveRisk, watch: RiskWatch, content: str | None, spoilt: bool, cause: str,
    reason: str,
) -> None:  # fmt: skip
    releases.contents[RULES, 3], releases.live = above(100).encode(), InForce(3)
    await watch.begin()
    before = refusals("rules", cause)
    if content is not None:
        releases.contents[RULES, 4] = content.encode()
    releases.spoilt |= {4} if spoilt else set()
    releases.live = InForce(4)
    for _ in range(3):
        await watch.look()
    assert outcome(live, 101) is Outcome.DECLINE
    assert refusals("rules", cause) == before + 1
    in_force, detail = watch.state()
    assert not in_force
    assert reason in detail
    assert detail.startswith("rule set 4 is live but not in force here: ")
    assert detail.endswith("in force: rule set 3, rules: 1; model none")
    releases.live = InForce(3)
    await watch.look()
    assert watch.state()[0]


async def test_a_process_does_not_begin_without_its_rules(releases: MemoryReleases, watch: RiskWatch) -> None:
    releases.contents[RULES, 3], releases.live = b"nonsense", InForce(3)
    with pytest.raises(NotInForce, match="no TOML"):
        await watch.begin()


async def test_a_model_that_fails_here_is_told_and_the_one_before_scores(
    releases: MemoryReleases, live: LiveRisk, watch: RiskWatch
) -> None:
    releases.contents |= {(MODEL, 1): b"1", (MODEL, 2): b"no model"}
    releases.live = InForce(0, 1)
    await watch.begin()
    before, releases.live = refusals("model", "model"), InForce(0, 2)
    await watch.look()
    assert live.scorer is not None
    assert live.scorer.version == 1
    assert refusals("model", "model") == before + 1
    assert "model 2 is live but not in force here: header: no number" in watch.state()[1]


async def test_a_process_begins_without_its_model(releases: MemoryReleases, live: LiveRisk) -> None:
    def without_library(content: bytes) -> Any:
        raise ImportError("No module named 'lightgbm'")

    releases.contents[MODEL, 1], releases.live = b"1", InForce(0, 1)
    watch = RiskWatch(releases, live, live.rules, load=without_library)
    before = refusals("model", "library")
    await watch.begin()
    assert live.scorer is None
    assert refusals("model", "library") == before + 1
    assert "the extra `model` is not installed" in watch.state()[1]


async def test_an_outage_of_the_store_changes_nothing(
    releases: MemoryReleases, live: LiveRisk, watch: RiskWatch
) -> None:
    releases.contents[RULES, 3], releases.live = above(100).encode(), InForce(3)
    await watch.begin()
    before, releases.down = refusals("rules", "store"), True
    await watch.look()
    assert live.rules.version == 3
    assert refusals("rules", "store") == before + 1


async def test_it_follows_by_itself(releases: MemoryReleases, live: LiveRisk) -> None:
    changed = asyncio.Event()

    class Telling(SimpleNamespace):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "rules" and value.version == 3:
                changed.set()

    telling: Any = Telling(rules=live.rules, scorer=None)
    watch = RiskWatch(releases, telling, live.rules, interval_s=0.001)
    await watch.begin()
    watch.start()
    releases.contents[RULES, 3], releases.live = above(100).encode(), InForce(3)
    await changed.wait()
    await watch.close()
    assert telling.rules.version == 3


async def test_the_drift_of_the_model_in_force_is_told() -> None:
    releases = MemoryReleases()
    releases.contents[ReleaseKind.MODEL, 1] = small_model.content()
    live = LiveRisk(compile_rules(read_rules('name = "none"')))
    watch = RiskWatch(releases, live, live.rules)  # type: ignore[arg-type]
    assert REGISTRY.get_sample_value("payswitch_risk_drift_rows") is None
    releases.live = InForce(model=1)
    await watch.look()
    assert live.scorer is not None
    live.scorer.score([{"amount_minor": 1} for _ in range(4096)])
    rows = REGISTRY.get_sample_value("payswitch_risk_drift_rows")
    assert rows is not None
    assert rows > 0
    releases.live = InForce()
    await watch.look()
    assert REGISTRY.get_sample_value("payswitch_risk_drift_rows") is None
