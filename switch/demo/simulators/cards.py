"""Which cards the simulated UnionPay network knows."""

from adapters.issuer.simulator_ledger import default_accounts as issuer_accounts
from adapters.unionpay.simulator import Account, client_accounts
from adapters.unionpay.simulator import default_accounts as unionpay_accounts
from benchmarks.terminal import load_account

# Load tests draw on these besides the handful of accounts with a meaning.
LOAD_ACCOUNTS = 10_000


def cards() -> list[Account]:
    """UnionPay knows the direct issuer's cards too: that is what makes another way to them. Load's are last."""
    shared = [Account(each.pan.reveal(), each.expiry_yymm, each.pin, each.balance_minor) for each in issuer_accounts()]
    load = (Account(*load_account(index), balance_minor=10**11) for index in range(LOAD_ACCOUNTS))
    return [*unionpay_accounts(), *client_accounts(), *shared, *load]
