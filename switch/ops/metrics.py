"""The switch's metrics. Names, labels and edges are documented in docs/operations.md.

Labels take few values: never an id, an amount, a merchant or anything of the payer. What is counted per authorization
lives in `tallies`; what is rare is a plain `prometheus_client` metric. All are in the default registry.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from switch.domain.states import Decision, Operation
from switch.ops.tallies import Distribution, DistributionFamily, ReadingFamily, Tally, TallyFamily

# 0.2 is the budget: the share of answers inside it must be exact, so it is an edge.
LATENCY_EDGES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0)
FLUSH_EDGES_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 1.0)
LAG_EDGES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
BATCH_SIZE_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

REQUESTS = TallyFamily(
    "payswitch_requests_total",
    "Requests answered, by what was decided. channel is empty if none was asked.",
    ("rpc", "decision", "response_code", "channel"),
)
REQUEST_LATENCY = DistributionFamily(
    "payswitch_request_duration_seconds", "From admission to the answer.", ("rpc",), LATENCY_EDGES_S
)
CHANNEL_OUTCOMES = TallyFamily(
    "payswitch_channel_outcomes_total",
    "Results of messages to a channel: approved, declined, unknown, awaiting_payer, not_sent, late.",
    ("channel", "operation", "outcome"),
)
CHANNEL_LATENCY = DistributionFamily(
    "payswitch_channel_duration_seconds",
    "From handing a message to the channel to its result.",
    ("channel",),
    LATENCY_EDGES_S,
)
BATCH_SIZE = DistributionFamily("payswitch_batch_size", "Items in one flush of a stage.", ("stage",), BATCH_SIZE_EDGES)
FLUSH_DURATION = DistributionFamily(
    "payswitch_flush_duration_seconds", "How long one flush of a stage took.", ("stage",), FLUSH_EDGES_S
)
QUEUE_DEPTH = ReadingFamily("payswitch_queue_depth", "Items waiting for a stage's next flush.", ("stage",))
IN_FLIGHT = ReadingFamily("payswitch_in_flight", "Requests admitted and not yet answered.", ("rpc",))
FOLLOW_UP_BACKLOG = ReadingFamily(
    "payswitch_follow_up_backlog",
    "Reversals, inquiries, captures, refunds, increments and advices that have not ended.",
    ("operation",),
)
LOOP_LAG = DistributionFamily("payswitch_loop_lag_seconds", "How late the event loop woke a timer.", (), LAG_EDGES_S)

REQUEST_ERRORS = Counter(
    "payswitch_request_errors_total",
    "Requests that ended with a gRPC status instead of an answer; way: unary or stream.",
    ("way", "code"),
)
PLATFORM_CALLS = Counter(
    "payswitch_platform_calls_total",
    "Calls by which another process of the switch acted for an acquirer.",
    ("participant",),
)
MERCHANT_ALERTS = Counter(
    "payswitch_merchant_alerts_total", "What a merchant's people should hear of at once.", ("kind",)
)
REFUSED_ADMISSIONS = Counter(
    "payswitch_refused_admissions_total", "Requests refused before any work was done for them.", ("reason",)
)
FOLLOW_UPS = Counter("payswitch_follow_ups_total", "Follow-ups sent, by what they came to.", ("operation", "outcome"))
NOTIFICATIONS = Counter(
    "payswitch_notifications_total",
    "Notifications by what they came to. channel is empty where the request named none of ours.",
    ("channel", "outcome"),
)
DEAD_LETTERS = Counter("payswitch_dead_letters_total", "Follow-ups handed to a person.", ("channel",))
STAGE_FAILURES = Counter(
    "payswitch_stage_failures_total", "Flushes that came to nothing: the database or the HSM was away.", ("stage",)
)
RISK_JUDGEMENTS = TallyFamily(
    "payswitch_risk_judgements_total", "Payments judged, by outcome: pass, review, step_up, decline.", ("outcome",)
)
RISK_RULES_FIRED = TallyFamily(
    "payswitch_risk_rules_fired_total",
    "Payments that a rule, or a list (list:<name>, allow:<subject>), fired for; mode: live or shadow.",
    ("rule", "mode"),
)
RISK_RULES_FAILED = TallyFamily(
    "payswitch_risk_rules_failed_total",
    "Payments that a rule could not be evaluated for; it did what it says.",
    ("rule",),
)
SIGNALS = TallyFamily(
    "payswitch_signals_total", "What doors and services told risk control (risk_monitors.md), by kind.", ("kind",)
)
SIGNALS_DROPPED = Counter(
    "payswitch_signals_dropped_total",
    "Signals and counts that came to nothing: full (faster than they were worked), counters (Redis was away).",
    ("why",),
)
SIGNAL_ALERTS = Counter(
    "payswitch_signal_alerts_total", "Alerts of the monitors of accounts, devices and doors.", ("kind",)
)
DOOR_BLOCKS = Counter(
    "payswitch_door_blocks_total", "Addresses that were blocked for a while, by the alert.", ("kind",)
)
BLOCKED_ADDRESSES = Gauge("payswitch_blocked_addresses", "Addresses that this process lets in by no door.")
BLOCKED_REFUSALS = Counter(
    "payswitch_blocked_refusals_total", "Calls and requests from a blocked address, refused before any work."
)
RISK_ABSENT = TallyFamily(
    "payswitch_risk_absent_total",
    "Batches judged without what rules read: counters (Redis), model; each says what it does then. rules: a fault.",
    ("source",),
)
RISK_MALFORMED = Counter(
    "payswitch_risk_malformed_total",
    "Values of the counters in Redis that were none of ours, and were begun anew.",
)
TERMINAL_MESSAGES = Counter(
    "payswitch_terminal_messages_total", "Messages of terminals that were answered.", ("kind", "response_code")
)
TERMINAL_REFUSALS = Counter(
    "payswitch_terminal_refusals_total",
    "Messages and connections of terminals that were refused or broken off, by cause.",
    ("cause",),
)
TERMINAL_CONNECTIONS = Gauge("payswitch_terminal_connections", "Open connections of terminals.")
RECONCILIATIONS = Counter(
    "payswitch_reconciliations_total",
    "Daily reconciliations tried by themselves: done, not_ready, refused (the bill), failed.",
    ("channel", "outcome"),
)
BILLS_SUPERSEDED = Counter(
    "payswitch_bills_superseded_total", "Another bill came for a day that had one; it was compared anew.", ("channel",)
)
DISPUTES_EXPIRED = Counter(
    "payswitch_disputes_expired_total",
    "Stages of disputes that a deadline ended, by the state they were in.",
    ("state",),
)
HSM_OUTSTANDING = ReadingFamily(
    "payswitch_hsm_outstanding_items", "Items sent to an HSM process and not answered.", ("process",)
)
HSM_CONNECTED = ReadingFamily("payswitch_hsm_connected", "1 if the HSM process takes commands.", ("process",))
HSM_RESTARTS = Counter("payswitch_hsm_restarts_total", "HSM processes that ended and were started again.", ("process",))
HSM_FAILURES = Counter(
    "payswitch_hsm_failures_total",
    "Requests to the HSM without an answer: unreachable, lost (with its connection), time_limit.",
    ("reason",),
)
CHECK_READY = Gauge("payswitch_check_ready", "1 if the readiness check passed last time.", ("check",))
FEED_LAG = Gauge("payswitch_feed_lag_seconds", "How far the journal's feed is behind now.")
FEED_EVENTS = Counter("payswitch_feed_events_total", "Events that this process fed from the journal.")
FEED_CONSUMER_LAG = ReadingFamily(
    "payswitch_feed_consumer_lag_seconds",
    "How long ago everything there was of the journal's events was worked by now.",
    ("consumer",),
)
FEED_CONSUMER_WAITING = ReadingFamily(
    "payswitch_feed_consumer_waiting_events", "Events that waited when the consumer last looked.", ("consumer",)
)


class AnswerCounts:
    """Counts the answers of one rpc: two look-ups and a bisection per answer, no lock (measured: 0.4 µs)."""

    __slots__ = ("_latency", "_rpc", "_tallies")

    def __init__(self, rpc: str) -> None:
        self._rpc = rpc
        self._latency: Distribution = REQUEST_LATENCY.of(rpc)
        self._tallies: dict[tuple[Decision, str, str], Tally] = {}

    def observe(self, decision: Decision, response_code: str, channel: str, latency_s: float) -> None:
        """latency_s: from admission, queueing included. channel: "" if none was asked."""
        key = (decision, response_code, channel)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = REQUESTS.of(self._rpc, decision.name.lower(), response_code, channel)
        tally.count += 1
        self._latency.observe(latency_s)

    def observe_batch(self, answers: Iterable[tuple[Decision, str, str, float]]) -> None:
        """Each as in `observe`: (decision, response code, channel, latency_s)."""
        for decision, response_code, channel, latency_s in answers:
            self.observe(decision, response_code, channel, latency_s)


class ChannelCounts:
    """Counts the results of one channel."""

    __slots__ = ("_channel", "_latency", "_tallies")

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._latency: Distribution = CHANNEL_LATENCY.of(channel)
        self._tallies: dict[tuple[Operation, str], Tally] = {}

    def observe(self, operation: Operation, outcome: str, latency_s: float | None = None) -> None:
        """outcome: as CHANNEL_OUTCOMES lists them. latency_s: None if no reply was waited for (not_sent, late)."""
        key = (operation, outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = CHANNEL_OUTCOMES.of(self._channel, operation.name.lower(), outcome)
        tally.count += 1
        if latency_s is not None:
            self._latency.observe(latency_s)


class StageCounts:
    """Counts the flushes of one stage."""

    __slots__ = ("_duration", "_size")

    def __init__(self, stage: str) -> None:
        self._size: Distribution = BATCH_SIZE.of(stage)
        self._duration: Distribution = FLUSH_DURATION.of(stage)

    def observe_flush(self, size: int, duration_s: float) -> None:
        self._size.observe(size)
        self._duration.observe(duration_s)


WEBHOOK_ATTEMPTS = Counter(
    "payswitch_webhook_attempts_total",
    "Attempts to deliver a webhook, by what they came to: taken, status, redirect, timeout, address, connection, tls, "
    "protocol.",
    ("outcome",),
)
WEBHOOK_ENDPOINTS_DISABLED = Counter(
    "payswitch_webhook_endpoints_disabled_total", "Endpoints that took nothing for a day and were switched off."
)
AUDIT_CHAINED = Counter("payswitch_audit_chained_total", "Audit entries that this process gave their place.")
AUDIT_CHECKPOINTS = Counter(
    "payswitch_audit_checkpoints_total", "Checkpoints of the audit chain that this process signed."
)
_USER_RESULTS = "done, wrong, too_many (locked, or too fast), not_possible, not_permitted, malformed, failed"
USER_LOG_INS = Counter(
    "payswitch_user_log_ins_total",
    "Steps of users' log-ins; way: password, second_factor, passkey, refresh; result: second_factor_needed, "
    + _USER_RESULTS,
    ("way", "result"),
)
USER_STEP_UPS = Counter(
    "payswitch_user_step_ups_total",
    "Users who proved themselves again; way: totp, recovery, passkey, password, none; result: " + _USER_RESULTS,
    ("way", "result"),
)
USER_LOCK_OUTS = Counter(
    "payswitch_user_lock_outs_total", "Logins that were locked for wrong proofs, whether anybody has them or not."
)
