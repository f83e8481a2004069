"""The wallets' benchmark, tiny, so that it cannot rot. Its figures decide nothing here."""

from benchmarks.wallets import BATCHES, WALLETS, Costs, page, run


def test_every_wallet_is_measured() -> None:
    for wallet in WALLETS.values():
        found = run(wallet, count=4, rounds=1)
        assert set(found) == set(BATCHES)
        assert all(each.authorization_us > 0 and each.signatures_us > 0 and each.post_us > 0 for each in found[1])
        assert f"| {wallet.name}, 32 |" in page({wallet.name: found})


def test_the_ratio_is_to_what_is_wanted() -> None:
    assert Costs(authorization_us=400, signatures_us=200, post_us=100).ratio == 1.0
