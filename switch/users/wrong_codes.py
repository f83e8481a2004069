"""How many wrong codes come from where: bounded in memory, forgotten by the minute."""

from typing import Final

from switch.domain.authorization import AuthorizationRequest

MINUTE_MS: Final = 60_000


class WrongCodes:
    """Counts of this minute; this process's own, as a guesser who spreads over processes meets the device's lock."""

    def __init__(self, per_terminal: int, per_acquirer: int) -> None:
        self._per_terminal = per_terminal
        self._per_acquirer = per_acquirer
        self._minute = 0
        self._counts: dict[tuple[str, ...], int] = {}

    def too_many(self, request: AuthorizationRequest, now_ms: int) -> bool:
        """Whether codes from there are not looked at for the rest of the minute."""
        self._turn(now_ms)
        return (
            self._counts.get(_terminal(request), 0) >= self._per_terminal
            or self._counts.get((request.acquirer_id,), 0) >= self._per_acquirer
        )

    def count(self, request: AuthorizationRequest, now_ms: int) -> None:
        self._turn(now_ms)
        for key in (_terminal(request), (request.acquirer_id,)):
            self._counts[key] = self._counts.get(key, 0) + 1

    def _turn(self, now_ms: int) -> None:
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()


def _terminal(request: AuthorizationRequest) -> tuple[str, ...]:
    return request.acquirer_id, request.merchant.id, request.terminal_id
