"""The wiring of disputes: the service, and what ends their stages when nobody does."""

from collections.abc import Sequence

from payswitch.v1 import dispute_pb2 as pb
from switch.api.dispute_service import DisputeServicer
from switch.settlement.disputes import DisputeDeadlines, Disputes, Rules
from switch.store.disputes import PostgresDisputes
from switch.wiring.platform import Platform, Served


def open_disputes(platform: Platform) -> Sequence[Served]:
    section = platform.settings.disputes
    rules = Rules(
        retrieval_days=section.retrieval_days,
        chargeback_days=section.chargeback_days,
        represented_days=section.represented_days,
        second_days=section.second_days,
        fee_minor=section.fee_minor,
    )
    disputes = Disputes(PostgresDisputes(platform.pool), platform.clock, rules)
    deadlines = DisputeDeadlines(disputes)
    deadlines.start()
    platform.lifecycle.on_close("dispute deadlines", deadlines.close)
    return [Served(pb.DESCRIPTOR.services_by_name["DisputeService"], DisputeServicer(disputes))]
