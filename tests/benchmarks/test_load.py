"""A tiny run against a fake switch: everything counted, latency from when an item was due, files written."""

import dataclasses
import json
import os

import grpc
import pytest

from benchmarks.arguments import parse_arguments
from benchmarks.echo import ECHO, echo_process
from benchmarks.load import channel_credentials, main, run
from payswitch.v1 import common_pb2

PNG = b"\x89PNG\r\n\x1a\n"


async def test_a_tiny_run_with_its_echo(switch, small):
    servicer, target = switch
    config = dataclasses.replace(
        small, target=target, echo=True, open_loop=("stream", "unary"), pids={"switch": os.getpid()}
    )
    report = await run(config)
    assert [step.name for step in report.steps] == [
        "echo", "stream maximum", "unary maximum", "stream open loop", "unary open loop",
    ]  # fmt: skip
    assert report.passed
    assert report.ratios.keys() == {"stream maximum", "unary maximum"}
    for step in report.steps:
        assert step.sent == step.answered == step.approved > 0
        assert step.answered_per_s > 0
        assert 0 < step.latency_ms["p50"] <= step.latency_ms["p99"] <= step.latency_ms["max"]
        assert step.cpu_us["generator"] >= 0
    assert sum(step.sent for step in report.steps[1:]) == len(servicer.seen)
    written = json.loads((config.output / "load.json").read_text())
    assert written["passed"] is True
    assert len(written["steps"]) == 5
    assert "zone_pin_key" not in written["settings"]
    assert (config.output / "latency.png").read_bytes().startswith(PNG)
    assert "stream maximum / echo" in report.text()


async def test_requests_are_whole_and_never_repeated(switch, small):
    servicer, target = switch
    await run(dataclasses.replace(small, target=target))
    keys = [request.idempotency_key for request in servicer.seen]
    assert len(set(keys)) == len(keys)
    assert len({request.nfc.emv for request in servicer.seen}) == small.accounts
    first = servicer.seen[0]
    assert (first.amount.amount_minor, first.amount.currency, len(first.pin.block)) == (100, "CNY", 8)
    assert first.transmission_time_ms > 1_700_000_000_000


async def test_one_stall_is_charged_to_every_item_that_was_due_meanwhile(switch, small):
    """100 ms at 500 items/s: about 50 items wait, from 100 ms down to 0; a closed loop would have shown one."""
    servicer, target = switch
    config = dataclasses.replace(small, target=target, rate_per_s=500.0, seconds=1.0, warmup_s=0.2, streams=1)

    servicer.stall_on = "-3-300"  # of the third step, 0.6 s after it began: inside the measured window
    report = await run(config)
    step = report.steps[-1]
    assert report.passed
    assert step.latency_ms["max"] >= 95
    # Half of the 50 waited longer than 50 ms: 5 of 100 items, so p95 and above show it. 3 of 100 leaves slack.
    assert next(ms for percentile, ms in step.curve if percentile >= 97) > 50


async def test_the_open_loop_sends_what_is_due(switch, small):
    _, target = switch
    report = await run(dataclasses.replace(small, target=target, rate_per_s=400.0, seconds=0.5, warmup_s=0.1))
    step = report.steps[-1]
    assert step.offered_per_s == 400.0
    # Every place on the schedule up to its end, however the machine stalled; the end itself is not exact.
    assert 400 * 0.6 <= step.sent <= 400 * 0.6 * 2
    assert step.sent == step.approved


async def test_an_unexpected_decision_fails_the_run_with_its_count(switch, small):
    servicer, target = switch
    servicer.decide = lambda number: (
        common_pb2.DECISION_DECLINED if number in (3, 5, 7) else common_pb2.DECISION_APPROVED
    )
    report = await run(dataclasses.replace(small, target=target))
    assert not report.passed
    assert report.unexpected_count == 3
    assert report.steps[0].unexpected == {"declined 51  (send)": 3}
    assert report.steps[0].approved == report.steps[0].sent - 3
    assert "FAILED: 3 unexpected answers" in report.text()


async def test_a_server_that_goes_silent_is_counted(switch, small):
    servicer, target = switch
    servicer.stall_on, servicer.stall_s = "-1-40", 60.0
    report = await run(dataclasses.replace(small, target=target, drain_s=0.2, streams=1))
    step = report.steps[0]
    assert not report.passed
    assert step.unexpected == {"no answer": step.sent - step.answered}
    assert step.sent > step.answered == step.approved


async def test_a_stream_that_breaks_is_counted(switch, small):
    servicer, target = switch

    def fail(number: int) -> int:
        if number == 50:
            raise ValueError("broken on purpose")
        return common_pb2.DECISION_APPROVED

    servicer.decide = fail
    report = await run(dataclasses.replace(small, target=target, streams=1))
    assert not report.passed
    assert any(what.startswith("stream ended: UNKNOWN") for what in report.steps[0].unexpected)


async def test_the_echo_wants_a_certificate(tls):
    client, server = tls
    async with echo_process(server) as (target, _):
        async with grpc.aio.secure_channel(target, channel_credentials(client)) as channel:
            assert await channel.unary_unary(ECHO)(b"x" * 300, timeout=10) == b"x" * 300
        nobody = grpc.ssl_channel_credentials(client.ca.read_bytes())
        async with grpc.aio.secure_channel(target, nobody) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(ECHO)(b"x", timeout=2)


def test_arguments(tmp_path, tls):
    client, server = tls
    key_file = tmp_path / "zpk.hex"
    key_file.write_text("0123456789ABCDEFFEDCBA9876543210\n")
    config = parse_arguments(
        [
            *("--target", "h:1", "--output", str(tmp_path), "--open-loop", "both", "--seconds", "3", "--window", "64"),
            *("--ca", str(client.ca), "--certificate", str(client.certificate), "--key", str(client.key)),
            *("--server-ca", str(server.ca), "--server-certificate", str(server.certificate)),
            *("--server-key", str(server.key), "--server-name", "switch", "--zone-pin-key-file", str(key_file)),
            *("--pids", f"switch={os.getpid()}", "--metrics", "http://h:2/metrics", "--metrics", "http://h:3/metrics"),
        ]
    )
    assert (config.tls, config.server_tls, config.server_name) == (client, server, "switch")
    assert (config.open_loop, config.seconds, config.window) == (("stream", "unary"), 3.0, 64)
    assert (config.pids, config.metrics_urls) == ({"switch": os.getpid()}, ("http://h:2/metrics", "http://h:3/metrics"))
    assert config.zone_pin_key.hex().upper() == "0123456789ABCDEFFEDCBA9876543210"
    assert "zone_pin_key" not in repr(config)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--ca", "x"], "--ca, --certificate and --key go together"),
        (["--ca", "x", "--certificate", "x", "--key", "x"], "needed for the echo"),
        (["--seconds", "-1"], "must not be negative"),
        (["--window", "0"], "must be at least 1"),
        (["--zone-pin-key-file", "/dev/null"], "/dev/null does not hold 16 or 24 bytes"),
        (["--zone-pin-key-file", "/nowhere"], "/nowhere is not a readable file of hex digits"),
        (["--pids", "switch=999999999"], "no process 999999999 for switch"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, capsys):
    with pytest.raises(SystemExit):
        main(["--target", "h:1", "--output", "x", *arguments])
    assert error in capsys.readouterr().err
