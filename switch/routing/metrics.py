"""What routing counts. Documented in docs/operations.md."""

from prometheus_client import Counter, Gauge

PLAN_VERSION = Gauge("payswitch_routing_plan_version", "Version of the routing plan in force; 0: the settings' routes.")
PLAN_RANGES = Gauge("payswitch_routing_bin_ranges", "PAN ranges in the BIN tables of the plan in force.")
PLAN_REFUSALS = Counter(
    "payswitch_routing_refusals_total",
    "Live plans not put in force here: store, missing, syntax, shape, bins, rules, fault.",
    ["cause"],
)
CHANNEL_FAILING = Gauge(
    "payswitch_routing_channel_failing", "1 while the channel's success rate keeps it behind the others.", ["channel"]
)
