"""What an HSM process is for: fast commands, slow ones, or both."""

from enum import StrEnum

from hsm.commands import SLOW


class Role(StrEnum):
    """A slow command (RSA: half a millisecond) beside fast ones would raise their p99 from 7 to 46 µs."""

    ALL = "all"
    FAST = "fast"
    SLOW = "slow"

    def runs(self, command: str) -> bool:
        """
        >>> Role.FAST.runs("macs"), Role.FAST.runs("sign"), Role.SLOW.runs("sign"), Role.ALL.runs("sign")
        (True, False, True, True)
        """
        return self is Role.ALL or (self is Role.SLOW) == (command in SLOW)
