"""A strict UnionPay network for tests, benchmarks and the demo.

It shares the codec and the framer with the adapter (captured messages stand beside both) and nothing else: MAC texts,
MACs, PIN blocks and key wrapping are its own, on `cryptography`.
"""

from adapters.unionpay.simulator.accounts import (
    Account,
    DefaultAccounts,
    client_accounts,
    client_pans,
    default_accounts,
    generate_accounts,
)
from adapters.unionpay.simulator.book import Entry
from adapters.unionpay.simulator.server import UnionPaySimulator
from adapters.unionpay.simulator.settings import SimulatorSettings

__all__ = [
    "Account",
    "DefaultAccounts",
    "Entry",
    "SimulatorSettings",
    "UnionPaySimulator",
    "client_accounts",
    "client_pans",
    "default_accounts",
    "generate_accounts",
]
