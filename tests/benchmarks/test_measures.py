"""The books, the percentiles and what the switch's metrics say."""

import pytest

from benchmarks.observe import Snapshot, cpu_us_each, parse_stages, stage_us
from benchmarks.plot import write_plot
from benchmarks.report import summarize
from benchmarks.tally import Tally
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2

APPROVAL = pb.AuthorizeResponse(decision=common_pb2.DECISION_APPROVED, response_code="00")


def test_latency_runs_from_when_an_item_was_due_and_only_inside_the_window():
    tally = Tally()
    tally.measure_from_s, tally.measure_until_s = 10.0, 20.0
    for due_s in (9.0, 10.0, 19.0, 20.0):
        tally.due(due_s)
    frame = [pb.AuthorizeStreamResult(sequence=sequence, response=APPROVAL) for sequence in range(4)]
    tally.take_frame(frame, 25.0)
    assert list(tally.latencies_s) == [15.0, 6.0]
    assert tally.sent == tally.answered == tally.approved == 4


def test_everything_but_an_approval_is_named():
    tally = Tally()
    for _ in range(5):
        tally.due(0.0)
    declined = pb.AuthorizeResponse(
        decision=common_pb2.DECISION_DECLINED, response_code="55", reason="PIN", stage="send"
    )
    tally.take(0, declined, 1.0)
    tally.take_error(1, "UNAVAILABLE: down", 1.0)
    error = pb.AuthorizeStreamResult(sequence=2, error=pb.StreamError(code=8, message="busy"))
    tally.take_frame([error, error], 1.0)
    tally.take(3, APPROVAL, 1.0)
    tally.take(99, APPROVAL, 1.0)
    tally.close_books()
    assert tally.approved == 1
    assert tally.unexpected == {
        "declined 55 PIN (send)": 1,
        "UNAVAILABLE: down": 1,
        "error 8: busy": 1,
        "answered twice": 1,
        "answer to nothing": 1,
        "no answer": 1,
    }


def test_percentiles():
    tally = Tally()
    tally.measure_from_s = 0.0
    for ms in range(1, 1001):
        tally.take(tally.due(0.0), APPROVAL, ms / 1000)
    result = summarize("x", tally, 2.0, 1000, None)
    assert result.answered_per_s == 500
    assert result.latency_ms == pytest.approx(
        {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000, "mean": 500.5}, rel=2e-3
    )
    assert result.curve[0][0] == 0
    assert [ms for _, ms in result.curve] == sorted(ms for _, ms in result.curve)


def test_a_step_without_answers_has_no_curve_and_can_be_plotted(tmp_path):
    result = summarize("nothing", Tally(), 1.0, 0, None)
    assert result.curve == []
    write_plot([result], tmp_path / "latency.png")
    assert (tmp_path / "latency.png").stat().st_size > 1000


EXPOSITION = """\
# HELP payswitch_flush_duration_seconds Time in each stage.
# TYPE payswitch_flush_duration_seconds histogram
payswitch_flush_duration_seconds_bucket{le="+Inf",stage="admit"} 4
payswitch_flush_duration_seconds_count{stage="admit"} 4
payswitch_flush_duration_seconds_sum{stage="admit"} 0.002
payswitch_flush_duration_seconds_bucket{le="+Inf",stage="send"} 2
payswitch_flush_duration_seconds_count{stage="send"} 2
payswitch_flush_duration_seconds_sum{stage="send"} 0.010
# HELP other_seconds Else.
# TYPE other_seconds histogram
other_seconds_count 1
other_seconds_sum 1
"""


def test_stage_times_are_differences():
    stages = parse_stages(EXPOSITION)
    assert stages == {"admit": (0.002, 4), "send": (0.010, 2)}
    before, after = Snapshot({}, {"admit": (0.001, 2)}), Snapshot({}, stages)
    assert stage_us(before, after) == {
        "admit": {"count": 2, "mean_us": pytest.approx(500)},
        "send": {"count": 2, "mean_us": pytest.approx(5000)},
    }


def test_cpu_counts_children_from_their_birth():
    before = Snapshot({"postgres": {1: 10.0, 2: 5.0}}, {})
    after = Snapshot({"postgres": {1: 10.5, 3: 0.25}}, {})
    assert cpu_us_each(before, after, 1000) == {"postgres": pytest.approx(750)}
