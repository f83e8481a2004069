"""The wiring of the journal's feed: every process follows, one works, all tell how far it is."""

from collections.abc import Sequence

from switch.ops.metrics import FEED_CONSUMER_LAG, FEED_CONSUMER_WAITING, FEED_EVENTS, FEED_LAG
from switch.store.feed import JournalFeed
from switch.store.feed_consumer import FeedConsumer
from switch.wiring.platform import Platform, Served


def open_feed(platform: Platform) -> Sequence[Served]:
    """No calls: the follower alone."""
    feed = JournalFeed(platform.following, observe, right_of_way=platform.right_of_way)
    feed.start()
    platform.lifecycle.on_close("journal feed", feed.close)
    return ()


def open_consumer(platform: Platform, consumer: FeedConsumer) -> None:
    """It follows until the process closes, and tells how far it is behind."""
    FEED_CONSUMER_LAG.follow(consumer.name, reading=consumer.behind_s)
    FEED_CONSUMER_WAITING.follow(consumer.name, reading=consumer.waiting)
    consumer.start()
    platform.lifecycle.on_close(f"{consumer.name} feed", consumer.close)


def observe(events: int, lag_s: float) -> None:
    """After every step of this process's follower."""
    FEED_EVENTS.inc(events)
    FEED_LAG.set(lag_s)
