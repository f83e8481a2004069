"""What a stranger may put into an answer: whatever it is, it is refused, and nothing else is raised."""

import base64
import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.demo.authenticator import SoftwareAuthenticator, encoded
from switch.domain.refusals import NotProved
from switch.users.webauthn_answers import (
    RelyingParty,
    creation_options,
    named_in,
    request_options,
    verify_assertion,
    verify_creation,
)

PARTY = RelyingParty("pay.example", "payswitch", ("https://pay.example",), 300_000)
CHALLENGE = bytes(range(32))
AUTHENTICATOR = SoftwareAuthenticator("https://pay.example", "packed")
USER = uuid4()
MADE = AUTHENTICATOR.create(creation_options(PARTY, USER, "a@example.com", CHALLENGE, []))
KEY = verify_creation(PARTY, MADE, CHALLENGE)
SHOWN = AUTHENTICATOR.get(request_options(PARTY, CHALLENGE, [KEY.id]))


def test_the_authenticator_and_the_party_agree() -> None:
    assert named_in(SHOWN) == (USER, KEY.id)
    assert verify_assertion(PARTY, SHOWN, CHALLENGE, KEY.public_key) == 2
    options = json.loads(creation_options(PARTY, USER, "a@example.com", CHALLENGE, [b"known"]))
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["attestation"] == "none"
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert [each["id"] for each in options["excludeCredentials"]] == [encoded(b"known")]
    assert json.loads(request_options(PARTY, CHALLENGE, []))["userVerification"] == "required"


def damaged(answer: str) -> st.SearchStrategy[str]:
    """One field of it another string, another type, or gone; or one byte of what it encodes turned."""

    def replace(choice: tuple[str, object]) -> str:
        name, value = choice
        document = json.loads(answer)
        holder = document["response"] if name in document["response"] else document
        if value is None:
            del holder[name]
        else:
            holder[name] = value
        return json.dumps(document)

    def turn(choice: tuple[str, int, int]) -> str:
        name, place, bits = choice
        document = json.loads(answer)
        text = document["response"][name]
        raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        raw[place % len(raw)] ^= bits
        document["response"][name] = encoded(bytes(raw))
        return json.dumps(document)

    document = json.loads(answer)
    signed = [name for name in document["response"] if name not in ("transports", "userHandle")]
    names = st.sampled_from([*signed, "id", "rawId", "type"])
    values = st.one_of(st.none(), st.text(max_size=20), st.integers(), st.lists(st.integers(), max_size=2))
    return st.one_of(
        st.tuples(names, values).map(replace),
        st.tuples(st.sampled_from(signed), st.integers(0, 10_000), st.integers(1, 255)).map(turn),
    )


@given(damaged(SHOWN))
def test_a_damaged_assertion_is_refused(answer: str) -> None:
    with pytest.raises(NotProved):
        verify_assertion(PARTY, answer, CHALLENGE, KEY.public_key)


@given(damaged(MADE))
def test_a_damaged_creation_is_refused(answer: str) -> None:
    with pytest.raises(NotProved):
        verify_creation(PARTY, answer, CHALLENGE)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=50).map(lambda data: json.dumps({"id": encoded(data)}))))
def test_what_is_none_at_all_is_refused(answer: str) -> None:
    for read in (named_in, lambda text: verify_assertion(PARTY, text, CHALLENGE, KEY.public_key)):
        with pytest.raises(NotProved):
            read(answer)
