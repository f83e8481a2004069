"""The road of one authorization and its way back.

Read `road.py` from top to bottom: admit, assess, route, protect, record, send, decide, conclude, answer.
`follow_on.py` is what an acquirer asks later (capture, void, refund, reverse); `resolve.py` learns what became of
an authorization whose channel stayed silent; `ownership.py` makes a crash somebody else's work.
"""
