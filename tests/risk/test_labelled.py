"""A labelled history as lines: what is written is read, and what is wrong is refused with its line."""

import pytest
import small_model

from switch.risk.labelled import LARGEST_LINE_BYTES, HistoryRefused, history_line, read_history


def test_what_is_written_is_read() -> None:
    examples = list(small_model.history(50))
    assert list(read_history([history_line(each) for each in examples] + [b"\n"])) == examples


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "line 2"),
        (b"[]", "no object with facts"),
        (b'{"label": "fraud", "facts": {}}', "time_ms is missing"),
        (b'{"time_ms": 1, "label": "maybe", "facts": {}}', "neither fraud nor legitimate"),
        (b'{"time_ms": 1, "label": [], "facts": {}}', "line 2"),
        (b'{"time_ms": "1", "label": "fraud", "facts": {}}', "time_ms is no whole number"),
        (b'{"time_ms": true, "label": "fraud", "facts": {}}', "time_ms is no whole number"),
        (b'{"time_ms": 99999999999999999999, "label": "fraud", "facts": {}}', "64 bits"),
        (b'{"time_ms": 1, "label": "fraud", "facts": {"shoe": 1}}', "'shoe' is no fact"),
        (b'{"time_ms": 1, "label": "fraud", "facts": {"hour": "1"}}', "hour is not of type int"),
        (b'{"time_ms": 1, "label": "fraud", "facts": {"hour": true}}', "hour is not of type int"),
        (b'{"time_ms": 1, "label": "fraud", "facts": {"hour": 1e999}}', "hour is not of type int"),
        (b"x" * (LARGEST_LINE_BYTES + 1), "longer than"),
        (b"[" * 60_000, "line 2"),
    ],
)
def test_a_line_that_is_wrong_is_refused_with_its_number(line: bytes, reason: str) -> None:
    good = history_line(next(small_model.history(1)))
    with pytest.raises(HistoryRefused, match=reason) as refused:
        list(read_history([good, line]))
    assert str(refused.value).startswith("line 2: ")
