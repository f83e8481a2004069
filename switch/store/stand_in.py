"""Stand-in approvals and the advices owed for them: counted under a lock, so that all processes share the limits
(invariant 13)."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from prometheus_client import Counter

from switch.domain.authorization import CardCredential
from switch.domain.stand_in import StandInLimits, Used, approval_code, over_limit
from switch.ports import ChannelRequest, OwedAdvice
from switch.store.rows import authorization_from
from switch.store.sessions import Connection, Pool, Sessions

_DECIDED = Counter(
    "payswitch_stand_in_total",
    "Payments that could not reach their issuer and may be stood in for: approved, or why not",
    ["issuer", "outcome"],
)

log = structlog.get_logger()

_ENSURE = "INSERT INTO stand_in_issuers (issuer_id) VALUES ($1) ON CONFLICT DO NOTHING"
_LOCK = "SELECT now_ms() FROM stand_in_issuers WHERE issuer_id = $1 FOR UPDATE"

_KNOWN = "SELECT message_id, approval_code FROM stand_in_approvals WHERE issuer_id = $1 AND message_id = ANY($2)"

_USED_IN_ALL = """
SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor, count(*) AS count
FROM stand_in_approvals WHERE issuer_id = $1 AND approved_time_ms > $2
"""

_USED_BY_CARD = """
SELECT payer_key, sum(amount_minor)::bigint AS amount_minor, count(*) AS count
FROM stand_in_approvals WHERE issuer_id = $1 AND payer_key = ANY($2) AND approved_time_ms > $3 GROUP BY payer_key
"""

_KEEP = """
INSERT INTO stand_in_approvals (
    issuer_id, message_id, payer_key, amount_minor, currency, merchant_id, authorization_id, approval_code,
    approved_time_ms, due_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
"""

_CLAIM = """
WITH due AS (
    SELECT issuer_id, message_id FROM stand_in_approvals
    WHERE issuer_id = ANY($2) AND advice_code = '' AND due_time_ms <= now_ms() AND lease_until_ms <= now_ms()
    ORDER BY due_time_ms LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE stand_in_approvals AS s
SET lease_owner = $1, lease_until_ms = now_ms() + $4, fence = s.fence + 1
FROM due, authorizations AS a
WHERE s.issuer_id = due.issuer_id AND s.message_id = due.message_id
  AND a.merchant_id = s.merchant_id AND a.id = s.authorization_id
RETURNING a.*, s.issuer_id, s.message_id, s.approval_code AS told_code, s.approved_time_ms, s.attempts, s.fence
"""

_FINISH = """
UPDATE stand_in_approvals
SET advice_code = $4, attempts = attempts + 1, due_time_ms = now_ms() + $5, lease_owner = NULL, lease_until_ms = 0
WHERE issuer_id = $1 AND message_id = $2 AND fence = $3 AND advice_code = ''
"""


class PostgresStandIn:
    """Meets `switch.ports.StandIn` and `StandInStore`. limits: of each issuer that is stood in for."""

    def __init__(self, pool: Pool, limits: Mapping[str, StandInLimits], *, acquire_timeout_s: float = 0.1) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)
        self._limits = dict(limits)

    async def approve(self, issuer_id: str, requests: Sequence[ChannelRequest]) -> list[str | None]:
        """See `switch.ports.StandIn`."""
        limits = self._limits.get(issuer_id)
        codes: list[str | None] = [None] * len(requests)
        if limits is None:
            return codes
        asked: list[tuple[int, ChannelRequest]] = []
        for index, request in enumerate(requests):
            refusal = _never(limits, request)
            if refusal:
                _DECIDED.labels(issuer_id, refusal.replace(" ", "_")).inc()
            else:
                asked.append((index, request))
        if asked:
            decided = await self._sessions.transaction(
                lambda connection: _decide(connection, issuer_id, limits, [request for _, request in asked])
            )
            for (index, _), (code, why) in zip(asked, decided, strict=True):
                codes[index] = code
                _DECIDED.labels(issuer_id, why.replace(" ", "_")).inc()
            log.warning(
                "stand_in", issuer=issuer_id, asked=len(asked), approved=sum(code is not None for code in codes)
            )
        return codes

    async def claim_advices(self, owner: UUID, issuers: Sequence[str], limit: int, lease_s: float) -> list[OwedAdvice]:
        """See `switch.ports.StandInStore`."""
        rows = await self._sessions.run(
            lambda connection: connection.fetch(_CLAIM, owner, list(issuers), limit, int(lease_s * 1000))
        )
        advices = [
            OwedAdvice(
                row["issuer_id"], row["message_id"], authorization_from(row), row["told_code"],
                row["approved_time_ms"], row["attempts"], row["fence"],
            )
            for row in rows
        ]  # fmt: skip
        return sorted(advices, key=lambda advice: (advice.approved_time_ms, advice.message_id))

    async def finish_advices(self, results: Sequence[tuple[OwedAdvice, str, float]]) -> None:
        """See `switch.ports.StandInStore`."""
        rows = [
            (advice.issuer_id, advice.message_id, advice.fence, code, int(after_s * 1000))
            for advice, code, after_s in results
        ]
        await self._sessions.transaction(lambda connection: connection.executemany(_FINISH, rows))

    async def owed(self, issuer_id: str) -> int:
        """How many advices the issuer has not answered."""
        text = "SELECT count(*) FROM stand_in_approvals WHERE issuer_id = $1 AND advice_code = ''"
        count: int = await self._sessions.run(lambda connection: connection.fetchval(text, issuer_id))
        return count


def _never(limits: StandInLimits, request: ChannelRequest) -> str:
    if not isinstance(request.credential, CardCredential):
        return "not a card"
    if not request.authorization.payer_key:
        return "no payer key"
    return limits.refusal(
        request.credential.pan.reveal(), request.authorization.entry, request.money, bool(request.pin_block)
    )


async def _decide(
    connection: Connection, issuer_id: str, limits: StandInLimits, requests: Sequence[ChannelRequest]
) -> list[tuple[str | None, str]]:
    """(approval code or None, outcome) of each. All of an issuer's decisions are made under the lock of its row."""
    now_ms: int | None = await connection.fetchval(_LOCK, issuer_id)
    if now_ms is None:
        await connection.execute(_ENSURE, issuer_id)
        now_ms = await connection.fetchval(_LOCK, issuer_id)
    assert now_ms is not None
    since_ms = now_ms - limits.window_s * 1000
    names = [request.trace["message_id"] for request in requests]
    payers = [request.authorization.payer_key for request in requests]
    known = {row["message_id"]: row["approval_code"] for row in await connection.fetch(_KNOWN, issuer_id, names)}
    in_all = await connection.fetchrow(_USED_IN_ALL, issuer_id, since_ms)
    assert in_all is not None
    total = Used(in_all["amount_minor"], in_all["count"])
    rows = await connection.fetch(_USED_BY_CARD, issuer_id, payers, since_ms)
    cards = {row["payer_key"]: Used(row["amount_minor"], row["count"]) for row in rows}
    decided: list[tuple[str | None, str]] = []
    kept: list[tuple[object, ...]] = []
    for request, name, payer in zip(requests, names, payers, strict=True):
        if name in known:
            decided.append((known[name], "repeated"))
            continue
        record, amount_minor = request.authorization, request.money.amount_minor
        why = over_limit(limits, amount_minor, cards.get(payer, Used()), total)
        if why:
            decided.append((None, why))
            continue
        cards[payer], total = cards.get(payer, Used()).and_one(amount_minor), total.and_one(amount_minor)
        known[name] = code = approval_code(name)
        kept.append(
            (issuer_id, name, payer, amount_minor, request.money.currency, record.merchant_id, record.id, code, now_ms)
        )
        decided.append((code, "approved"))
    await connection.executemany(_KEEP, kept)
    return decided
