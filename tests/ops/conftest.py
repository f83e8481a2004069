import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """`logs.configure` is for a whole process; a test gives everything back."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, level, access_level, shown = root.handlers[:], root.level, access.level, warnings.showwarning
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    logging.captureWarnings(False)
    warnings.showwarning = shown
    root.handlers[:] = handlers
    root.setLevel(level)
    access.setLevel(access_level)
