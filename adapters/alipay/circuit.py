"""Whether Alipay is worth asking. Pure: fed with outcomes, asked before sending."""

from dataclasses import dataclass


@dataclass(slots=True)
class Circuit:
    """Opens after `threshold` failures in a row; a verified answer closes it.

    A failure is anything but a verified answer. heard: a verified answer came at least once.
    """

    threshold: int
    is_open: bool = False
    heard: bool = False
    failures: int = 0

    def succeeded(self) -> None:
        self.is_open = False
        self.heard = True
        self.failures = 0

    def failed(self) -> bool:
        """Count a failure; True if this one opened the circuit."""
        self.failures += 1
        opens = not self.is_open and self.failures >= self.threshold
        self.is_open = self.is_open or opens
        return opens

    def trip(self) -> None:
        """Open at once: a probe failed."""
        self.is_open = True


def probe_delay_s(attempt: int) -> float:
    """Doubling from 0.25 s to 5 s; attempt counts from 0.

    >>> [probe_delay_s(attempt) for attempt in (0, 1, 2, 9)]
    [0.25, 0.5, 1.0, 5.0]
    """
    return float(min(5.0, 0.25 * 2 ** min(attempt, 10)))
