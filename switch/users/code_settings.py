"""What an installation chooses for payment codes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """seal_key (SEALING), envelope_key (ENVELOPE, EC-P256): labels of HSM keys.

    wrong_per_device: wrong codes of a device in wrong_window_ms, after which it is locked until the window ends.
    wrong_per_terminal, wrong_per_acquirer: wrong codes a minute, in each process, after which no code of theirs is
    looked at until the minute ends.
    """

    seal_key: str = "wallet/seal"
    envelope_key: str = "wallet/envelope"
    wrong_per_device: int = 5
    wrong_window_ms: int = 3_600_000
    wrong_per_terminal: int = 10
    wrong_per_acquirer: int = 600
