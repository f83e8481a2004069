"""MerchantService: fields are checked, the policy decides, the answer is shaped. docs/merchants.md tells the rest."""

from switch.api.merchant_contract_calls import ContractCalls
from switch.api.merchant_onboarding_calls import OnboardingCalls
from switch.api.merchant_people_calls import CredentialCalls, PeopleCalls, PlaceCalls


class MerchantServicer(OnboardingCalls, ContractCalls, PlaceCalls, PeopleCalls, CredentialCalls):
    """Registered by `switch.api.guarded.add_guarded`."""
