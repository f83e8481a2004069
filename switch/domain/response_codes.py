"""ISO 8583 DE39 values of the UnionPay dialect (PROTOCOLS.md), the switch's one vocabulary of reasons."""

RESPONSE_CODES: dict[str, str] = {
    "00": "approved", "01": "refer to issuer", "02": "refer to issuer, special condition", "03": "invalid merchant",
    "04": "pick up card", "05": "do not honour", "09": "awaiting payer", "10": "partially approved",
    "11": "approved, VIP", "12": "invalid transaction", "13": "invalid amount", "14": "invalid card number",
    "15": "no such issuer", "22": "related transaction error", "25": "original not found", "30": "format error",
    "34": "suspected fraud", "38": "PIN tries exceeded, pick up", "40": "function not supported", "41": "lost card",
    "43": "stolen card", "51": "insufficient funds", "54": "expired card", "55": "incorrect PIN",
    "57": "not permitted to cardholder", "58": "not permitted to terminal", "59": "suspected fraud",
    "61": "exceeds amount limit", "62": "restricted card", "64": "original amount differs",
    "65": "exceeds frequency limit", "68": "response received too late", "75": "PIN tries exceeded",
    "77": "sign on again", "90": "cutover in progress", "91": "issuer or switch inoperative",
    "92": "network line error", "94": "duplicate transmission", "96": "system malfunction",
    "97": "terminal not found", "98": "issuer time-out", "99": "PIN format error", "A0": "MAC error",
}  # fmt: skip

# A refusal that says the asked party could not serve, not that the payer may not pay: another channel may be asked.
RETRIABLE_ELSEWHERE = frozenset({"91", "92", "90"})


def meaning(code: str) -> str:
    return RESPONSE_CODES.get(code, "unspecified")
