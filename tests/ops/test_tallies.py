import pytest
from prometheus_client import CollectorRegistry, generate_latest

from switch.ops.tallies import DistributionFamily, ReadingFamily, TallyFamily


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_tally_keeps_its_cell(registry: CollectorRegistry) -> None:
    family = TallyFamily("taps_total", "Taps.", ("channel", "outcome"), registry=registry)
    cell = family.of("unionpay", "approved")
    cell.count += 3
    assert family.of("unionpay", "approved") is cell
    assert 'taps_total{channel="unionpay",outcome="approved"} 3.0' in generate_latest(registry).decode()


def test_edges_are_inclusive_and_cumulative(registry: CollectorRegistry) -> None:
    family = DistributionFamily("latency_seconds", "Latency.", ("rpc",), (0.1, 0.2), registry=registry)
    family.of("Authorize").observe_batch([0.05, 0.2, 0.2000001])
    family.of("Authorize").observe(0.1)
    text = generate_latest(registry).decode()
    assert 'latency_seconds_bucket{le="0.1",rpc="Authorize"} 2.0' in text
    assert 'latency_seconds_bucket{le="0.2",rpc="Authorize"} 3.0' in text
    assert 'latency_seconds_bucket{le="+Inf",rpc="Authorize"} 4.0' in text
    assert 'latency_seconds_count{rpc="Authorize"} 4.0' in text
    assert registry.get_sample_value("latency_seconds_sum", {"rpc": "Authorize"}) == pytest.approx(0.5500001)


def test_a_reading_is_taken_when_scraped(registry: CollectorRegistry) -> None:
    family = ReadingFamily("queue_depth", "Waiting.", ("stage",), registry=registry)
    queue: list[int] = []
    family.follow("intents", reading=lambda: len(queue))
    queue.extend([1, 2])
    assert registry.get_sample_value("queue_depth", {"stage": "intents"}) == 2
    family.forget("intents")
    family.forget("intents")
    assert registry.get_sample_value("queue_depth", {"stage": "intents"}) is None


def test_mistakes_are_refused(registry: CollectorRegistry) -> None:
    family = TallyFamily("taps_total", "Taps.", ("channel",), registry=registry)
    with pytest.raises(ValueError, match="channel"):
        family.of("unionpay", "approved")
    with pytest.raises(ValueError, match="ascend"):
        DistributionFamily("latency", "Latency.", (), (0.2, 0.1), registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        TallyFamily("taps_total", "Taps again.", ("channel",), registry=registry)
