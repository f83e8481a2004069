"""What the UnionPay channel counts. Every refusal of what comes from the network has a cause of its own."""

from prometheus_client import Counter, Gauge

REPLIES = Counter(
    "payswitch_unionpay_replies_total",
    "Financial replies by fate: settled, late (the caller had gone), undecided (a code or amount that decides nothing)",
    ["fate"],
)
REFUSED = Counter(
    "payswitch_unionpay_refused_total",
    "What came from the network and was not believed: malformed_header, malformed_mti, malformed_field, unknown_mti, "
    "unmatched, duplicate, wrong_mti, foreign (DE7 or DE32 differs), bad_mac, rejected (reject code in the header), "
    "unasked (a management reply), unknown_request, key_reset, garbage, bill_<cause>",
    ["cause"],
)
GARBAGE_BYTES = Counter("payswitch_unionpay_garbage_bytes_total", "Bytes skipped to find the next frame")
NOT_SENT = Counter("payswitch_unionpay_not_sent_total", "Messages refused before the link, by cause", ["cause"])
MOVED = Counter("payswitch_unionpay_moved_total", "Messages whose link died before the write: they took another")
LINKS_READY = Gauge("payswitch_unionpay_links_ready", "Links that are signed on and hold working keys")
NETWORK_REQUESTS = Counter(
    "payswitch_unionpay_network_requests_total",
    "What the network asked of us: echo, cutover_begins, cutover_ends, notice, key_reset",
    ["request"],
)
KEY_RESETS = Counter("payswitch_unionpay_key_resets_total", "Key resets by key and outcome", ["key", "outcome"])
