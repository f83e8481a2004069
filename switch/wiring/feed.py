"""The wiring of the journal's feed: every process follows, one works, all tell how far it is."""

from collections.abc import Sequence

from switch.ops.metrics import FEED_EVENTS, FEED_LAG
from switch.store.feed import JournalFeed
from switch.wiring.platform import Platform, Served


def open_feed(platform: Platform) -> Sequence[Served]:
    """No calls: the follower alone."""
    feed = JournalFeed(platform.pool, observe)
    feed.start()
    platform.lifecycle.on_close("journal feed", feed.close)
    return ()


def observe(events: int, lag_s: float) -> None:
    """After every step of this process's follower."""
    FEED_EVENTS.inc(events)
    FEED_LAG.set(lag_s)
