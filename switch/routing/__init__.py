"""Which channels may serve a payment, in which order, and why.

`plan.py` says what a plan is, `document.py` reads one, `check.py` judges it before it goes live, `table.py` compiles
it, `choose.py` decides by it: pure, over gathered facts. `bins.py` knows card numbers by their first digits.
`live.py` holds the plan in force, `watch.py` follows the database's. docs/routing.md tells it to operators.
"""
