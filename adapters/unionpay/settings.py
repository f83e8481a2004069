"""What a member agrees with the network, and how its links behave."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnionPaySettings:
    """Institution codes are digits, at most 11; times are seconds.

    acquirer: DE32. forwarder: DE33. source: of the header, "" for the forwarder. network: the header's destination.
    slot: 0–63, unique among the living switch processes; partitions the STANs.
    mak, pik, mmk: HSM labels of the MAC key, the PIN key and the transport key they arrive under.
    settle_s: after sign-on the network may reset the keys at once; so long a link waits for that before it is ready.
    key_life_s: after so long new working keys are asked for; 0: only the network resets them.
    bills_dir: the folder where the network's settlement files arrive, "" for none.
    late_window_s: how long an unanswered message is remembered, so that a late reply is known for what it is.

    Not verified against the network, hence settings: entry_mode_code and code_field (how a payer's QR code travels),
    reversal_reason (DE60 of a reversal), longest_pin (DE26), terminal_type (DE60.2.5: 03 is a POS),
    captures_by_advice (a completion as 0220 instead of 0200), bill_totals (settlement files end in a line of totals).
    """

    host: str
    port: int
    acquirer: str
    forwarder: str
    network: str = "00010344"
    source: str = ""
    slot: int = 0
    links: int = 1
    country: str = "156"
    mak: str = "unionpay/mak"
    pik: str = "unionpay/pik"
    mmk: str = "unionpay/mmk"
    entry_mode_code: str = "03"
    code_field: int = 59
    reversal_reason: str = "4021"
    longest_pin: str = "12"
    terminal_type: str = "03"
    captures_by_advice: bool = False
    bills_dir: str = ""
    bill_totals: bool = True
    reversal_after_s: float = 0.0
    connect_timeout_s: float = 3.0
    reply_timeout_s: float = 5.0
    settle_s: float = 0.2
    keep_alive_s: float = 30.0
    echo_after_s: float = 60.0
    tick_s: float = 1.0
    backoff_first_s: float = 0.1
    backoff_most_s: float = 30.0
    key_request_every_s: float = 5.0
    key_life_s: float = 86_400.0
    late_window_s: float = 120.0
    pending_limit: int = 20_000
    write_buffer_limit_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for name in ("acquirer", "forwarder", "network"):
            code = getattr(self, name)
            if not (code.isascii() and code.isdigit() and len(code) <= 11):
                raise ValueError(f"{name}: an institution code is one to eleven digits")
        if self.source and not (self.source.isascii() and self.source.isalnum() and len(self.source) <= 11):
            raise ValueError("source: at most eleven letters and digits")
        if not 0 <= self.slot < 64:
            raise ValueError("slot: 0 to 63")
        if self.links < 1:
            raise ValueError("links: at least one")
        if self.code_field not in (48, 59):
            raise ValueError("code_field: 48 or 59")
