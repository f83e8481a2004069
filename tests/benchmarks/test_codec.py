"""The codec's benchmark, tiny, so that it cannot rot. Its figures decide nothing here."""

import subprocess
import sys

import pytest

from benchmarks.codec import MESSAGES, available, main, measure, page, ratio
from benchmarks.codec_peers import Codec, NotUsable


def test_every_installed_codec_reproduces_the_messages_and_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    codecs, left_out = available()
    assert {"payswitch", "pyiso8583", "py8583"} <= codecs.keys()
    assert set(left_out.values()) <= {"not installed"}
    figures = measure(codecs, 0.001, 1)
    assert all(min(each.decode, each.encode, *each.both) > 0 for each in figures.values())
    assert ratio(figures, "pyiso8583") > 0
    said = page(figures, left_out)
    assert "the fastest other is " in said
    assert main(["--seconds", "0.001", "--rounds", "1"]) == 0
    assert "pyiso8583: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("decode", "encode", "reason"),
    [
        (lambda body: body, lambda decoded: decoded[:-1], "what it decodes does not encode to the same bytes"),
        (lambda body: body, lambda decoded: 1 // 0, "it fails with ZeroDivisionError"),
    ],
)
def test_a_codec_that_is_wrong_takes_no_part(decode: object, encode: object, reason: str) -> None:
    with pytest.raises(NotUsable, match=reason):
        Codec(decode, encode).check(MESSAGES[0])  # type: ignore[arg-type]


def test_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.codec", "--seconds", "0.001", "--rounds", "1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "payswitch" in done.stdout
