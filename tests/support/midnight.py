"""The wallets' days end at midnight in Shanghai; what is paid and billed within one test is of one day."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_LONGEST_TEST_S = 60


@pytest.fixture
def clear_of_midnight() -> None:
    """Should the day end within a minute, the test begins with the new one."""
    now = datetime.now(_SHANGHAI)
    left_s = 86_400 - (now.hour * 3_600 + now.minute * 60 + now.second)
    if left_s < _LONGEST_TEST_S:
        time.sleep(left_s + 1)
