"""Which contract a payment goes under, for each channel: found by look-up, however many merchants there are."""

from collections.abc import Iterator, Sequence

from switch.domain.authorization import AuthorizationRequest
from switch.routing.plan import Contract

# (channel, currency, merchant or "", acquirer or "")
Key = tuple[str, str, str, str]


def keys_of(contract: Contract) -> Iterator[Key]:
    """Everyone it is for; "" stands for all."""
    for merchant in contract.merchants or ("",):
        for acquirer in contract.acquirers or ("",):
            yield contract.channel, contract.currency, merchant, acquirer


class Contracts:
    """Of a whole plan. `exist` is false for a plan without: then every channel may be used."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self.exist = bool(contracts)
        self._by_key = {key: contract for contract in contracts for key in keys_of(contract)}

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
