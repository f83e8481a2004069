"""What a caller is told of errors that are not of the service's own making."""

import grpc
import pytest

from hsm.errors import HsmUnavailable, InvalidCommand, LoginRefused
from switch.api.errors import status_of


@pytest.mark.parametrize("error", [HsmUnavailable("the link is down"), LoginRefused("the PIN 1234 is refused")])
def test_an_hsm_that_is_away_is_unavailable(error: Exception) -> None:
    assert status_of(error) == (grpc.StatusCode.UNAVAILABLE, "the HSM is not available")


def test_a_command_that_it_refuses_is_a_mistake_of_ours() -> None:
    assert status_of(InvalidCommand("no key x")) == (grpc.StatusCode.INTERNAL, "internal error")
