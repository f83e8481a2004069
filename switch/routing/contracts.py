"""Which contract a payment goes under, for each channel: found by look-up, however many merchants there are."""

from collections.abc import Iterator, Mapping, Sequence

from switch.domain.authorization import AuthorizationRequest
from switch.routing.plan import Contract

# (channel, currency, merchant or "", acquirer or "")
Key = tuple[str, str, str, str]


def keys_of(contract: Contract) -> Iterator[Key]:
    """Everyone it is for; "" stands for all."""
    for merchant in contract.merchants or ("",):
        for acquirer in contract.acquirers or ("",):
            yield contract.channel, contract.currency, merchant, acquirer


# What is remembered of merchants, at most; then all is forgotten and found again.
_MOST_REMEMBERED = 65_536

Terms = Mapping[str, Contract]
"""The contract that a payment goes under, by channel; a channel without one is not in it."""


class Contracts:
    """Of a whole plan. `exist` is false for a plan without: then every channel may be used."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self.exist = bool(contracts)
        self._channels = tuple({contract.channel: None for contract in contracts})
        self._by_key = {key: contract for contract in contracts for key in keys_of(contract)}
        self._remembered: dict[tuple[str, str, str], Terms] = {}

    def terms(self, request: AuthorizationRequest) -> Terms:
        """For all channels; they are the same for each payment of a merchant in a currency."""
        key = request.money.currency, request.merchant.id, request.acquirer_id
        terms = self._remembered.get(key)
        if terms is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = {channel: self.find(channel, request) for channel in self._channels}
            terms = {channel: contract for channel, contract in found.items() if contract is not None}
            self._remembered[key] = terms
        return terms

    def find(self, channel: str, request: AuthorizationRequest) -> Contract | None:
        """The most particular: of this merchant of this acquirer, of this merchant, of this acquirer, of all."""
        found, currency = self._by_key.get, request.money.currency
        merchant, acquirer = request.merchant.id, request.acquirer_id
        return (
            found((channel, currency, merchant, acquirer))
            or found((channel, currency, merchant, ""))
            or found((channel, currency, "", acquirer))
            or found((channel, currency, "", ""))
        )
