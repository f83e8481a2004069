"""What a notification does to the journal: an inquiry or refund that is open is due now. Nothing else ever."""

from uuid import UUID

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Operation, State
from switch.ports import Hastened, Notice, StoreUnavailable
from switch.store.follow_ups import NO_FOLLOW_ON
from switch.store.rows import authorization_from, follow_on_from
from switch.store.sessions import Connection, Sessions

_FIND = "SELECT * FROM authorizations WHERE merchant_id = $1 AND id = $2"

_MERCHANT_OF_OPEN = "SELECT merchant_id FROM follow_ups WHERE authorization_id = $1 AND state = 1 LIMIT 1"

# Of a payment that has ended, or never waited: the id says which day's partition, and all of that may have to be read.
_MERCHANT_OF_ANY = "SELECT merchant_id FROM authorizations WHERE id = $1 LIMIT 1"

_FIND_REFUNDS = "SELECT * FROM follow_ons WHERE merchant_id = $1 AND authorization_id = $2 AND operation = 5"

# Not before its time if it is late already; a claim that was made before learns of it by `hastened`.
_HASTEN = """
UPDATE follow_ups SET due_time_ms = least(due_time_ms, now_ms()), hastened = true
WHERE merchant_id = $1 AND authorization_id = $2 AND operation = $3 AND follow_on_id = $4 AND state = 1
"""

# Where nothing is open: what that says.
_NOTHING_OPEN = {State.SENT: Hastened.IN_FLIGHT, State.UNKNOWN: Hastened.BEING_REVERSED}


class Hastening:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._searching = False

    async def hasten(self, notice: Notice, merchant_id: str | None, authorization_id: UUID) -> Hastened:
        merchant = merchant_id or await self._merchant_of(authorization_id)

        async def work(connection: Connection) -> Hastened:
            row = await connection.fetchrow(_FIND, merchant, authorization_id)
            if row is None:
                return Hastened.UNKNOWN
            record = authorization_from(row)
            if record.channel != notice.channel or notice.reference not in record.trace.values():
                return Hastened.MISDIRECTED
            if not notice.refund_reference:
                return await self._inquiry(connection, record)
            for each in await connection.fetch(_FIND_REFUNDS, record.merchant_id, record.id):
                refund = follow_on_from(each)
                if notice.refund_reference in refund.trace.values():
                    return await self._refund(connection, refund)
            return Hastened.UNKNOWN

        return await self._sessions.run(work)

    async def _merchant_of(self, authorization_id: UUID) -> str | None:
        """Raises StoreUnavailable while another payment is looked for in a whole day: a peer that tells again and again
        of what has ended must not keep the database from payments. It comes again."""
        found: str | None = await self._sessions.run(lambda each: each.fetchval(_MERCHANT_OF_OPEN, authorization_id))
        if found is not None:
            return found
        if self._searching:
            raise StoreUnavailable("another payment is being looked for by its id alone")
        self._searching = True
        try:
            return await self._sessions.run(lambda each: each.fetchval(_MERCHANT_OF_ANY, authorization_id))
        finally:
            self._searching = False

    async def _inquiry(self, connection: Connection, record: Authorization) -> Hastened:
        if record.state is not State.AWAITING_PAYER:
            return _NOTHING_OPEN.get(record.state, Hastened.FINAL)
        return await _hasten(connection, record.merchant_id, record.id, Operation.INQUIRY, NO_FOLLOW_ON)

    async def _refund(self, connection: Connection, refund: FollowOn) -> Hastened:
        if refund.state is not State.UNKNOWN:
            return Hastened.IN_FLIGHT if refund.state is State.SENT else Hastened.FINAL
        return await _hasten(connection, refund.merchant_id, refund.authorization_id, Operation.REFUND, refund.id)


async def _hasten(
    connection: Connection, merchant_id: str, authorization_id: UUID, operation: Operation, follow_on_id: UUID
) -> Hastened:
    done = await connection.execute(_HASTEN, merchant_id, authorization_id, operation, follow_on_id)
    return Hastened.FINAL if done == "UPDATE 0" else Hastened.DUE  # it ended between the two statements
