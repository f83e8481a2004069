"""The wiring of a merchant's payments, refunds and webhooks: services, feed consumers and workers."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog

from payswitch.v1 import refund_pb2, transaction_pb2, webhook_pb2
from switch.api.refund_service import RefundServicer
from switch.api.transaction_service import TransactionServicer
from switch.api.webhook_service import WebhookServicer
from switch.domain.audit import AuditEntry
from switch.merchants.exports import Exports
from switch.merchants.page_tokens import PageTokens
from switch.merchants.refunds import Disputed, Refunds
from switch.merchants.transactions import PaymentsOfOrder, Transactions
from switch.merchants.webhook_delivery import WebhookWorker, WorkerLimits
from switch.merchants.webhook_sender import WebhookSender
from switch.merchants.webhook_target import TargetRules
from switch.merchants.webhooks import Webhooks
from switch.ports import StoreUnavailable
from switch.store.disputes import PostgresDisputes
from switch.store.feed_consumer import FeedConsumer, Span
from switch.store.merchants import PostgresMerchants
from switch.store.refunds import PostgresRefunds, finish_from_feed
from switch.store.sessions import Connection
from switch.store.transactions import PostgresTransactions, append_audit, project
from switch.store.webhook_queue import Circuit, WebhookQueue
from switch.store.webhooks import PostgresWebhooks, queue_events
from switch.wiring.feed import open_consumer
from switch.wiring.platform import Platform, Served

log = structlog.get_logger()

# An export's searches may take longer than a page's, and less than the database lets a statement.
_EXPORT_BUDGET_S = 0.3
_REFUNDS_EVERY_S = 2.0
_OPEN_EVERY_S = 2.0
_OPEN_OLDER_THAN_MS = 5_000
_OPEN_AT_ONCE = 500


def open_transactions(
    platform: Platform, disputed: Disputed | None = None, payments_of_order: PaymentsOfOrder | None = None
) -> Sequence[Served]:
    """disputed: minor units of a payment that are in dispute; None: by the disputes' own tables.

    payments_of_order: by the merchant's own number of an order.
    """
    pool, section = platform.pool, platform.settings.transactions
    store, tokens = PostgresTransactions(pool), PageTokens(platform.hsm)
    transactions = Transactions(store, platform.merchants, tokens, platform.clock, payments_of_order)

    async def audit(entry: AuditEntry) -> None:
        await append_audit(pool, entry)

    exports = Exports(
        transactions, PostgresTransactions(pool, _EXPORT_BUDGET_S), audit, section.export_rows, section.exports_at_once
    )
    told_secrets = PostgresMerchants(pool).told_secrets_of
    disputed = disputed or PostgresDisputes(pool).disputed_minor
    refunds = Refunds(PostgresRefunds(pool), platform.payments, tokens, platform.clock, disputed, told_secrets)

    async def apply(connection: Connection, span: Span) -> None:
        await project(connection, span)
        await finish_from_feed(connection, span)

    way = platform.right_of_way
    open_consumer(platform, FeedConsumer(platform.following, "transactions", apply, right_of_way=way))
    _repeat(platform, "refunds under way", _REFUNDS_EVERY_S, refunds.resume)
    _repeat(
        platform, "open transactions", _OPEN_EVERY_S, lambda: store.refresh_open(_OPEN_OLDER_THAN_MS, _OPEN_AT_ONCE)
    )
    return [
        Served(
            transaction_pb2.DESCRIPTOR.services_by_name["TransactionService"],
            TransactionServicer(transactions, exports),
        ),
        Served(refund_pb2.DESCRIPTOR.services_by_name["RefundService"], RefundServicer(refunds)),
    ]


def open_webhooks(platform: Platform) -> Sequence[Served]:
    pool, section = platform.pool, platform.settings.webhooks
    rules = TargetRules(frozenset(section.ports), section.allow_loopback)
    webhooks = Webhooks(
        PostgresWebhooks(pool), platform.hsm, platform.clock, os.urandom, rules, section.endpoints_per_merchant
    )
    way = platform.right_of_way
    open_consumer(platform, FeedConsumer(platform.following, "webhooks", queue_events, right_of_way=way))
    sender = WebhookSender(rules)
    platform.lifecycle.on_close("webhooks sender", sender.close)
    limits = WorkerLimits(section.at_once, section.of_each_endpoint)
    queue = WebhookQueue(pool, Circuit())
    worker = WebhookWorker(queue, sender, platform.hsm, platform.clock, random.random, limits)
    worker.start()
    platform.lifecycle.on_close("webhooks worker", worker.close)
    return [Served(webhook_pb2.DESCRIPTOR.services_by_name["WebhookService"], WebhookServicer(webhooks))]


def _repeat(platform: Platform, name: str, every_s: float, work: Callable[[], Awaitable[int]]) -> None:
    """Until the process closes: again at once while there was something to do, else after a while."""

    async def run() -> None:
        while True:
            done = 0
            try:
                done = await work()
            except StoreUnavailable as error:
                log.warning("work_not_done", work=name, reason=str(error))
            except Exception:
                log.exception("work_failed", work=name)
            await asyncio.sleep(0 if done >= _OPEN_AT_ONCE else every_s)

    task = asyncio.create_task(run(), name=name)

    async def close() -> None:
        task.cancel()
        await asyncio.wait([task])

    platform.lifecycle.on_close(name, close)
