"""What came back: every item is counted once, and its latency runs from when it was due."""

from array import array
from collections import Counter
from collections.abc import Iterable

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2

_APPROVED = common_pb2.DECISION_APPROVED
_ANSWERED = -1.0


class Tally:
    """The books of one step. Times are of `time.perf_counter`, in seconds.

    An item's sequence is its place in the order of `due`. Latencies are kept of items due from `measure_from_s` on;
    everything else is counted over the whole step, warm-up included. unexpected: what was not an approval -> how often.
    """

    def __init__(self) -> None:
        self.measure_from_s = float("inf")
        self.measure_until_s = float("inf")
        self.sent = 0
        self.answered = 0
        self.approved = 0
        self.unexpected: Counter[str] = Counter()
        self.latencies_s = array("d")
        self._due_s = array("d")

    def due(self, due_s: float) -> int:
        """Enter an item that is to be sent; its sequence."""
        self._due_s.append(due_s)
        self.sent += 1
        return self.sent - 1

    def take_frame(self, results: Iterable[pb.AuthorizeStreamResult], now_s: float) -> None:
        for result in results:
            if self._close(result.sequence, now_s):
                response = result.response
                if response.decision == _APPROVED:
                    self.approved += 1
                elif result.HasField("error"):
                    self.unexpected[f"error {result.error.code}: {result.error.message}"] += 1
                else:
                    self._count_refusal(response)

    def take(self, sequence: int, response: pb.AuthorizeResponse, now_s: float) -> None:
        if self._close(sequence, now_s):
            if response.decision == _APPROVED:
                self.approved += 1
            else:
                self._count_refusal(response)

    def take_echo(self, sequence: int, now_s: float) -> None:
        if self._close(sequence, now_s):
            self.approved += 1

    def take_error(self, sequence: int, error: str, now_s: float) -> None:
        if self._close(sequence, now_s):
            self.unexpected[error] += 1

    def close_books(self) -> None:
        """What has no answer by now gets none."""
        missing = self.sent - self.answered
        if missing:
            self.unexpected["no answer"] += missing

    def _close(self, sequence: int, now_s: float) -> bool:
        if sequence >= self.sent:
            self.unexpected["answer to nothing"] += 1
            return False
        due_s = self._due_s[sequence]
        if due_s == _ANSWERED:
            self.unexpected["answered twice"] += 1
            return False
        self._due_s[sequence] = _ANSWERED
        self.answered += 1
        if self.measure_from_s <= due_s < self.measure_until_s:
            self.latencies_s.append(now_s - due_s)
        return True

    def _count_refusal(self, response: pb.AuthorizeResponse) -> None:
        decision = common_pb2.Decision.Name(response.decision).removeprefix("DECISION_").lower()
        self.unexpected[f"{decision} {response.response_code} {response.reason} ({response.stage})"] += 1
