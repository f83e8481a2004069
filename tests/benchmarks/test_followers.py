"""What each follower costs, of a handful of payments: it can be measured, and all of them come to the end."""

from benchmarks.followers import page, run


async def test_every_follower_works_every_event() -> None:
    costs = await run(payments=300)
    events = costs["feed"].events
    assert events > 300
    for name in ("analytics", "transactions", "webhooks", "orders", "ledger"):
        assert costs[f"{name}, first half"].events + costs[f"{name}, second half"].events == events
    assert page(costs).count("\n") == 12
