"""The figures that the terminals' door keeps to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """connections: at once, of all peers and of one address. in_flight: messages of one connection.

    idle_s: without a byte. message_s: from a message's first byte to its last, and to be rid of an answer.
    message_bytes: of one message.
    """

    connections: int = 1000
    connections_per_address: int = 64
    in_flight: int = 16
    idle_s: float = 120.0
    message_s: float = 5.0
    message_bytes: int = 2048


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """budget_s: from a payment's arrival to its answer. institution: DE32 of answers.

    networks: the TPDU destinations that are served; empty: any. repeat_window_ms: how long after a message its like is
    a repeat; later it is a new payment under a used name. sign_ons: of one terminal in a minute, in this process.
    mac_key_algorithm: DES or TDES-2KEY, of the MAC keys that terminals are sent.
    """

    budget_s: float = 0.18
    institution: str = "01020344"
    networks: frozenset[str] = frozenset()
    repeat_window_ms: int = 60_000
    sign_ons: int = 6
    mac_key_algorithm: str = "DES"
