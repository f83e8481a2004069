"""The payer's context from the wire, and to another process of the switch."""

from uuid import UUID

import pytest

from payswitch.v1 import authorization_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.payer_context import context_of, payer_of
from switch.domain.payer import UNKNOWN_PAYER, Payer, Place, Posture
from switch.pki import ParticipantError, participant_uri
from switch.risk.subjects import own


def test_an_acquirers_numbers_are_its_own() -> None:
    context = pb.PaymentContext(payer_id="7", device_id="d-1", ip_address="192.0.2.7")
    assert payer_of(context, "acq-1:") == Payer("acq-1:7", "acq-1:d-1", "192.0.2.7")
    assert payer_of(context, "acq-2:") != payer_of(context, "acq-1:")
    assert payer_of(pb.PaymentContext(), "acq-1:") == UNKNOWN_PAYER


def test_no_acquirer_names_a_user_of_the_switch() -> None:
    """Nor one whose participant id is the switch's name."""
    whose, _, identity = own(UUID(int=1)).rpartition(":")
    with pytest.raises(ParticipantError):
        participant_uri("acquirer", whose)
    assert payer_of(pb.PaymentContext(payer_id=identity), "payswitch:").user != own(UUID(int=1))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("2001:DB8:0::1", "2001:db8::1"), ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7")],
)
def test_one_address_has_one_spelling(text: str, canonical: str) -> None:
    assert payer_of(pb.PaymentContext(ip_address=text), "").ip_address == canonical


def test_the_whole_context_goes_to_another_process_and_is_the_same_there() -> None:
    payer = Payer(":u", ":d", "2001:db8::1", Place(-90_000_000, 180_000_000), Posture.ATTESTED | Posture.ROOTED)
    assert payer_of(pb.PaymentContext.FromString(context_of(payer).SerializeToString()), "") == payer


def test_a_place_may_be_the_middle_of_nowhere() -> None:
    assert payer_of(pb.PaymentContext(latitude_e6=0, longitude_e6=0), "").place == Place(0, 0)


@pytest.mark.parametrize(
    ("context", "field"),
    [
        (pb.PaymentContext(payer_id="x" * 65), "context.payer_id"),
        (pb.PaymentContext(device_id="a\nb"), "context.device_id"),
        (pb.PaymentContext(ip_address="192.0.2.256"), "context.ip_address"),
        (pb.PaymentContext(ip_address="1" * 10_000), "context.ip_address"),
        (pb.PaymentContext(ip_address="fe80::1%eth0"), "context.ip_address"),
        (pb.PaymentContext(latitude_e6=1), "context"),
        (pb.PaymentContext(latitude_e6=90_000_001, longitude_e6=0), "context.latitude_e6"),
        (pb.PaymentContext(latitude_e6=0, longitude_e6=-180_000_001), "context.longitude_e6"),
        (pb.PaymentContext(posture=[0]), "context.posture"),
        (pb.PaymentContext(posture=[1] * 9), "context.posture"),
    ],
)
def test_a_bad_field_is_named(context: pb.PaymentContext, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        payer_of(context, "")
    assert str(refused.value).startswith(field)
