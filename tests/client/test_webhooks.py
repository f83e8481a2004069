"""The receiver's check, by the vector that Standard Webhooks publishes, and against every change."""

import pytest

from switch.client.webhooks import NotGenuine, verify

# https://github.com/standard-webhooks/standard-webhooks, libraries' tests: secret, id, timestamp, body, signature.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IDENTITY, TIME_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + "QUFB" * 11


def headers(**changed: str) -> dict[str, str]:
    given = {"Webhook-Id": IDENTITY, "webhook-timestamp": str(TIME_S), "webhook-signature": SIGNATURE}
    return given | changed


def test_the_published_vector() -> None:
    assert verify(headers(), BODY, [SECRET], TIME_S) == IDENTITY


def test_any_of_the_secrets_and_any_of_the_signatures() -> None:
    both = {"webhook-signature": f"v1a,xyz v1,AAAA v1,é {SIGNATURE}"}
    assert verify(headers(**both), BODY, [OTHER, SECRET], TIME_S) == IDENTITY


@pytest.mark.parametrize("late_s", [-300, 300])
def test_within_the_tolerance(late_s: int) -> None:
    assert verify(headers(), BODY, [SECRET], TIME_S + late_s) == IDENTITY


@pytest.mark.parametrize(
    ("changed", "body", "secret", "now_s"),
    [
        ({}, BODY + b" ", SECRET, TIME_S),
        ({}, BODY, OTHER, TIME_S),
        ({}, BODY, SECRET, TIME_S + 301),
        ({}, BODY, SECRET, TIME_S - 301),
        ({"webhook-timestamp": str(TIME_S + 1)}, BODY, SECRET, TIME_S),
        ({"webhook-timestamp": "-1"}, BODY, SECRET, TIME_S),
        ({"webhook-timestamp": "soon"}, BODY, SECRET, TIME_S),
        ({"Webhook-Id": "msg_other"}, BODY, SECRET, TIME_S),
        ({"Webhook-Id": ""}, BODY, SECRET, TIME_S),
        ({"webhook-signature": ""}, BODY, SECRET, TIME_S),
        ({"webhook-signature": SIGNATURE.replace("v1", "v2")}, BODY, SECRET, TIME_S),
        ({"webhook-signature": "v1,"}, BODY, SECRET, TIME_S),
        ({"webhook-signature": " ".join(["v1,AAAA"] * 16 + [SIGNATURE])}, BODY, SECRET, TIME_S),
    ],
)
def test_what_is_not_genuine(changed: dict[str, str], body: bytes, secret: str, now_s: int) -> None:
    with pytest.raises(NotGenuine):
        verify(headers(**changed), body, [secret], now_s)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_***", "é"])
def test_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify(headers(), BODY, [secret], TIME_S)
