"""What following the desk counts. Documented in docs/operations.md."""

from prometheus_client import REGISTRY, Counter, Gauge

from switch.risk.drift_metrics import DriftMetrics

RULES_VERSION = Gauge("payswitch_risk_rules_version", "Version of the rule set in force; 0: the starter rules.")
MODEL_VERSION = Gauge("payswitch_risk_model_version", "Version of the model in force; 0: none.")
RULES_REFUSALS = Counter(
    "payswitch_risk_rules_refusals_total",
    "Live rule sets not put in force here: store, missing, content, rules, fault.",
    ["cause"],
)
MODEL_REFUSALS = Counter(
    "payswitch_risk_model_refusals_total",
    "Live models not put in force here: store, missing, content, model, library, fault.",
    ["cause"],
)
LIST_ENTRIES = Gauge("payswitch_risk_list_entries", "Entries of block, allow, watch and step-up lists in this process.")
LIST_REFUSALS = Counter(
    "payswitch_risk_list_refusals_total", "Changes of lists not put in force here: store, entry, fault.", ["cause"]
)
MODEL_DRIFT = DriftMetrics()
REGISTRY.register(MODEL_DRIFT)
