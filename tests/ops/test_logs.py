import io
import json
import logging
import warnings

import pytest
import structlog

from switch.ops import logs

PAN = "6225880000001231"

pytestmark = pytest.mark.usefixtures("logging_restored")


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger().info("link_up", link=1, peer="127.0.0.1", body=b"\x00")
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {"event": "link_up", "level": "info", "link": 1, "peer": "127.0.0.1", "body": "<1 bytes>"}


def test_a_card_number_never_arrives_not_even_in_a_traceback() -> None:
    stream = io.StringIO()
    logs.configure(level="debug", stream=stream)
    log = structlog.get_logger()
    pan = PAN
    try:
        raise ValueError(f"cannot route {pan}")
    except ValueError:
        log.exception("failed", card=pan)
    log.debug(f"card {pan}")
    log.bind(track=f"{pan}=3012").warning("bound")
    logging.getLogger("asyncio").error("lost %s", pan, exc_info=ValueError(pan))
    assert PAN not in stream.getvalue()
    assert stream.getvalue().count("622588******1231") >= 6
    assert "Traceback" in stream.getvalue()


def test_standard_logging_and_warnings_come_the_same_way() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("aiohttp.server").warning("odd %s", "request")
    logging.getLogger("aiohttp.server").debug("noise")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert (first["event"], first["logger"], first["level"]) == ("odd request", "aiohttp.server", "warning")
    assert "old" in str(second["event"])


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    logs.configure(level="warning", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_person_gets_text() -> None:
    stream = io.StringIO()
    logs.configure(as_json=False, stream=stream)
    try:
        raise ValueError(PAN)
    except ValueError:
        structlog.get_logger().exception("failed", card=PAN)
    assert "failed" in stream.getvalue()
    assert PAN not in stream.getvalue()


def test_a_wrong_level_is_refused() -> None:
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        logs.configure(level="loud")
