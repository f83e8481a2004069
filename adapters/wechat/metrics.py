"""What is counted of WeChat Pay: everything that was refused has a cause of its own."""

from prometheus_client import Counter

LATE_ANSWERS = Counter(
    "payswitch_wechat_late_answers", "Answers that came after their request had been given up", ["operation"]
)
UNVERIFIED_ANSWERS = Counter(
    "payswitch_wechat_unverified_answers",
    "Answers without a valid signature of the platform, by cause: stripped, malformed, expired, unknown_key, forged",
    ["operation", "cause"],
)
REFUSED_CERTIFICATES = Counter(
    "payswitch_wechat_refused_certificates",
    "Platform certificates not believed, by cause: foreign (another authority), undecryptable, malformed, expired, "
    "unsigned (the whole answer)",
    ["cause"],
)
REFUSED_BILLS = Counter(
    "payswitch_wechat_refused_bills", "Daily bills not believed, by cause: hash, totals, malformed, foreign", ["cause"]
)
REFUSED_NOTIFICATIONS = Counter(
    "payswitch_wechat_refused_notifications",
    "Notifications not believed, by cause: forged, expired, malformed, foreign",
    ["cause"],
)
CERTIFICATE_REFRESHES = Counter(
    "payswitch_wechat_certificate_refreshes", "Downloads of the platform certificates, by outcome", ["outcome"]
)
