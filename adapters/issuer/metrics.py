"""What is counted of an issuer's side."""

from prometheus_client import Counter

REFUSED = Counter(
    "payswitch_issuer_refused_total",
    "What an issuer said and was not believed, by what was wrong with it: a field of an answer, a frame, a notice, a "
    "bill, a sign-on",
    ["issuer", "cause"],
)
