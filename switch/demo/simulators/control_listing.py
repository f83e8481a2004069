"""What the routes of the control endpoint do, for whoever asks it without the documentation at hand."""

# By method and path, the latter without the simulator's name where all have it.
_EVERYWHERE = {
    ("GET", "book"): "everything that happened",
    ("GET", "scenarios"): "the faults that are set",
    (
        "POST",
        "scenarios",
    ): "set a fault: behaviour, and as needed code (DE39), delay_ms, amount_minor, times (0: always)",
    ("DELETE", "scenarios"): "forget all faults",
    ("GET", "listening"): "whether it is up",
    ("PUT", "listening"): "true or false: bring it up, or take it down; its book stays",
    ("GET", "accounts"): "accounts with their balances; ?offset= and ?limit= choose a part",
    ("PUT", "accounts/{account}"): '{"balance_minor": n}: top up an account, or empty it',
    ("GET", "notifications"): "every notification sent: how often, and what the receiver said last",
    ("POST", "scan"): "a payer scans an order's code",
    ("PUT", "clock"): '{"ahead_s": n}: its clock is so far ahead; a day that is over has its bill',
}
_OF_ONE = {
    ("PUT", "/wechat/clock"): '{"ahead_s": n}: its clock, by which it signs and judges signatures too, is so far ahead',
    ("POST", "/wechat/clock"): "the same",
    (
        "POST",
        "/wechat/faults",
    ): "the next calls of a path are refused unprocessed: path, status, code, times (0: always)",
    ("DELETE", "/wechat/faults"): "forget those",
    ("POST", "/wechat/refund_outcomes"): "what the next refunds become: status, settles_after_ms, amount_minor, times",
    ("POST", "/wechat/rotate_certificate"): "a new platform certificate signs from now on; retire: it alone is listed",
    ("POST", "/wechat/bills"): '{"at_once": true}: serve bills of days that are not over, too',
    ("GET", "/wechat/merchants"): "what the platform owes each merchant",
    ("POST", "/alipay/certificate"): "a new platform key and certificate from now on",
    ("POST", "/unionpay/key-resets"): "new working keys to every member, now",
    ("POST", "/unionpay/cutovers/begin"): "announce the date cutover (201): new payments are refused with 90",
    ("POST", "/unionpay/cutovers/end"): "end it (202): the next settlement day begins, the last one gets its bills",
    ("POST", "/unionpay/echoes"): "ask every link whether it lives; how many do",
    ("DELETE", "/unionpay/links"): "cut every link",
    ("POST", "/unionpay/bills/{day}"): "write the settlement files of a day (YYYY-MM-DD) as the book stands",
    ("GET", "/unionpay/state"): "members, their links, what was refused, the settlement day",
}


def what_it_does(method: str, path: str) -> str:
    """
    >>> what_it_does("GET", "/alipay/book")
    'everything that happened'
    """
    _, _, own = path.lstrip("/").partition("/")
    return _OF_ONE.get((method, path)) or _EVERYWHERE.get((method, own), "")
