"""Structured logs on stderr: one JSON object a line, or colours where a person is looking.

Everything passes through here, `logging` included (asyncio, aiohttp, grpc), so that everything is redacted.
Log with `structlog.get_logger()`: an event name in snake_case, then key=value fields.
"""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from switch.ops.redaction import redact_event

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", as_json: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up logging for the process; may be called again, and the last call counts.

    level: one of LEVELS. as_json: None chooses JSON unless the stream is a terminal. stream: stderr by default.
    Raises ValueError for another level.
    """
    if level not in LEVELS:
        raise ValueError(f"log level must be one of {', '.join(LEVELS)}")
    target = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # text without local variables: those may hold anything
    ]
    final = [redact_event, _renderer(as_json if as_json is not None else not target.isatty())]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,  # modules hold loggers made before this call
    )
    _configure_logging(target, max(number, logging.INFO), shared, final)


def _renderer(as_json: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _configure_logging(target: TextIO, level: int, shared: list[Processor], final: list[Any]) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # one line per scrape says nothing
    logging.captureWarnings(True)
