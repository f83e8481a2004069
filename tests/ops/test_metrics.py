from pathlib import Path
from time import process_time

from prometheus_client import REGISTRY

from switch.domain.states import Decision, Operation
from switch.ops import metrics

ANSWER = {"rpc": "Test", "decision": "approved", "response_code": "00", "channel": "unionpay"}


def test_answers_are_counted_with_an_exact_edge_at_the_budget() -> None:
    counts = metrics.AnswerCounts("Test")
    counts.observe_batch([(Decision.APPROVED, "00", "unionpay", 0.2), (Decision.UNKNOWN, "68", "unionpay", 0.21)])
    assert REGISTRY.get_sample_value("payswitch_requests_total", ANSWER) == 1
    inside = REGISTRY.get_sample_value("payswitch_request_duration_seconds_bucket", {"rpc": "Test", "le": "0.2"})
    every = REGISTRY.get_sample_value("payswitch_request_duration_seconds_count", {"rpc": "Test"})
    assert (inside, every) == (1, 2)


def test_channels_are_counted_and_only_replies_are_timed() -> None:
    counts = metrics.ChannelCounts("test")
    counts.observe(Operation.SALE, "approved", 0.03)
    counts.observe(Operation.SALE, "not_sent")
    labels = {"channel": "test", "operation": "sale", "outcome": "not_sent"}
    assert REGISTRY.get_sample_value("payswitch_channel_outcomes_total", labels) == 1
    assert REGISTRY.get_sample_value("payswitch_channel_duration_seconds_count", {"channel": "test"}) == 1


def test_flushes_are_counted() -> None:
    metrics.StageCounts("test").observe_flush(size=128, duration_s=0.002)
    assert REGISTRY.get_sample_value("payswitch_batch_size_bucket", {"stage": "test", "le": "128.0"}) == 1
    assert REGISTRY.get_sample_value("payswitch_flush_duration_seconds_sum", {"stage": "test"}) == 0.002


def test_an_authorization_costs_little() -> None:
    """2 µs is the budget; 20 leaves room for a busy machine and still finds a lock or an allocation gone wild."""
    answers, channel = metrics.AnswerCounts("Cost"), metrics.ChannelCounts("cost")
    batch = [(Decision.APPROVED, "00", "unionpay", 0.02)] * 128
    started = process_time()
    for _ in range(50):
        answers.observe_batch(batch)
        for _ in batch:
            channel.observe(Operation.SALE, "approved", 0.02)
    assert (process_time() - started) / (50 * 128) < 20e-6


def test_every_metric_is_documented() -> None:
    families = [each for name, each in vars(metrics).items() if name.isupper() and hasattr(each, "describe")]
    assert len(families) > 10
    document = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for family in families:
        (metric,) = family.describe()
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"| `{name}` | {metric.type} |" in document
        assert metric.documentation in document
