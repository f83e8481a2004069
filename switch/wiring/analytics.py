"""The wiring of the merchants' analytics: the roll-ups' consumer, the service, and the rebuilding of a merchant."""

from collections.abc import Sequence

import asyncpg

from payswitch.v1 import analytics_pb2
from switch.api.analytics_service import AnalyticsServicer
from switch.merchants.analytics.analytics import Analytics
from switch.store.analytics import PostgresAnalytics
from switch.store.analytics_rollups import analytics_consumer, rebuild
from switch.wiring.feed import open_consumer
from switch.wiring.platform import Platform, Served


def open_analytics(platform: Platform) -> Sequence[Served]:
    open_consumer(platform, analytics_consumer(platform.following, platform.right_of_way))
    analytics = Analytics(PostgresAnalytics(platform.pool), platform.merchants)
    service = analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"]
    return (Served(service, AnalyticsServicer(analytics)),)


async def rebuild_analytics(dsn: str, merchant_id: str | None = None) -> int:
    """For a command: a merchant's roll-ups anew, or everybody's, from the events; returns how many those are."""
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "payswitch-analytics"})
    try:
        return await rebuild(connection, merchant_id)
    finally:
        await connection.close()
