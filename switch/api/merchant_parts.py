"""What the calls of MerchantService are made of."""

from switch.merchants.accounts import Accounts
from switch.merchants.contracts import Contracts
from switch.merchants.credentials import Credentials
from switch.merchants.keeping import Keeping
from switch.merchants.onboarding import Onboarding
from switch.merchants.people import People
from switch.merchants.places import Places
from switch.ports import Clock


class MerchantParts:
    def __init__(
        self, onboarding: Onboarding, keeping: Keeping, accounts: Accounts, contracts: Contracts, places: Places,
        people: People, credentials: Credentials, clock: Clock,
    ) -> None:  # fmt: skip
        self.onboarding = onboarding
        self.keeping = keeping
        self.accounts = accounts
        self.contracts = contracts
        self.places = places
        self.people = people
        self.credentials = credentials
        self.clock = clock
