"""Bundles of indicators, as a partner may write them."""

import json
from typing import Any

ID = "indicator--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f"
BUNDLE_ID = "bundle--44af6c39-c09b-49c5-9de2-394224b04982"


def indicator(**fields: Any) -> dict[str, Any]:
    values = {
        "type": "indicator", "spec_version": "2.1", "id": ID, "created": "2026-01-01T00:00:00Z",
        "modified": "2026-01-01T00:00:00.000Z", "valid_from": "2026-01-01T00:00:00Z", "pattern_type": "stix",
        "pattern": "[ipv4-addr:value = '192.0.2.7']",
    } | fields  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def bundle(*objects: object, **fields: Any) -> bytes:
    return json.dumps({"type": "bundle", "id": BUNDLE_ID, "objects": list(objects)} | fields).encode()
