"""WeChat Pay API v3: payment codes (codepay), orders, reversals and refunds over signed HTTPS."""
