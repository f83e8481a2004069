"""What the UnionPay channel counts."""

from prometheus_client import Counter, Gauge

REPLIES = Counter(
    "payswitch_unionpay_replies_total",
    "Financial replies by fate: settled, late (the caller had gone), unmatched, bad_mac, rejected (in the header)",
    ["fate"],
)
MALFORMED = Counter("payswitch_unionpay_malformed_total", "Frames that hold no message")
GARBAGE_BYTES = Counter("payswitch_unionpay_garbage_bytes_total", "Bytes skipped to find the next frame")
NOT_SENT = Counter("payswitch_unionpay_not_sent_total", "Messages refused before the link, by cause", ["cause"])
LINKS_READY = Gauge("payswitch_unionpay_links_ready", "Links that are signed on and hold working keys")
KEY_RESETS = Counter("payswitch_unionpay_key_resets_total", "Key resets by key and outcome", ["key", "outcome"])
