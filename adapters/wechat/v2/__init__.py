"""API v2, for merchants that have no APIv3 key: payments by code, their queries, reversals and refunds over XML."""
