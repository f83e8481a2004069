"""The figures that the merchant service keeps to."""

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class MerchantSettings:
    """acquirer_id: who acquires for merchants that applied by themselves. channels: each needs a rate in a contract.

    account_cooling_off_ms: from the approval of another settlement account until it is in force.
    The rest: how many there may be of one merchant, but open_applications: of one applicant, at most 100.
    """

    acquirer_id: str = "payswitch"
    channels: tuple[str, ...] = ()
    account_cooling_off_ms: int = 24 * HOUR_MS
    invitation_ms: int = 72 * HOUR_MS
    second_person_ms: int = 7 * DAY_MS
    open_applications: int = 5
    open_applications_of_acquirer: int = 100
    documents: int = 12
    stores: int = 1_000
    terminals: int = 10_000
    members: int = 500
    invitations: int = 50
    credentials: int = 20
    accounts: int = 200
    contracts: int = 500
