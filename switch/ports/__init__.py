"""What policy needs of the world. Adapters, the store and the HSM meet these by shape; `app` brings them together."""

from switch.ports.channels import (
    Approved,
    AwaitingPayer,
    BilledChannel,
    BillNotReady,
    BillRefused,
    Channel,
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Declined,
    Hastened,
    Notice,
    NotificationRefused,
    NotifyingChannel,
    Phase,
    Unknown,
)
from switch.ports.fast import Clock, Counters, CountersUnavailable
from switch.ports.hsm import Hsm, hsm_is_away
from switch.ports.journal import FollowUp, FollowUpResult, Journal, ProcessLeases, StoreUnavailable
from switch.ports.presented import HandoverClaim, HandoverClaims, NotOpened, Opener, OrderRefused, ScannedOrders
from switch.ports.routing import RoutingPlans
from switch.ports.stand_in import OwedAdvice, StandIn, StandInStore
from switch.ports.vault import DataKey, StoredToken, TokenAccess, TokenStore

__all__ = [
    "Approved",
    "AwaitingPayer",
    "BillNotReady",
    "BillRefused",
    "BilledChannel",
    "Channel",
    "ChannelHealth",
    "ChannelRequest",
    "ChannelResult",
    "Clock",
    "Counters",
    "CountersUnavailable",
    "DataKey",
    "Declined",
    "FollowUp",
    "FollowUpResult",
    "HandoverClaim",
    "HandoverClaims",
    "Hastened",
    "Hsm",
    "Journal",
    "NotOpened",
    "Notice",
    "NotificationRefused",
    "NotifyingChannel",
    "Opener",
    "OrderRefused",
    "OwedAdvice",
    "Phase",
    "ProcessLeases",
    "RoutingPlans",
    "ScannedOrders",
    "StandIn",
    "StandInStore",
    "StoreUnavailable",
    "StoredToken",
    "TokenAccess",
    "TokenStore",
    "Unknown",
    "hsm_is_away",
]
