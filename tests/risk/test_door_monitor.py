"""Patterns of doors, each beside an honest twin; and that no participant is ever blocked."""

from uuid import uuid4

import pytest
from signal_scene import MINUTE_MS, SignalScene

from switch.domain.risk import Subject
from switch.ports.signals import Signal, SignalKind
from switch.risk.subjects import address_key, terminal_key

KINDS = SignalKind
SOMEWHERE = "203.0.113.7"
TERMINAL = ("m1", "t1")


def pin_failed(card: int, terminal: str = "ee" * 16) -> Signal:
    return Signal(KINDS.PIN_FAILED, keys={Subject.CARD: f"{card:032x}", Subject.TERMINAL: terminal})


async def many(scene: SignalScene, signal: Signal, count: int) -> None:
    for _ in range(count):
        await scene.tell(signal)


@pytest.mark.parametrize(
    ("signal", "most", "kind"),
    [
        (Signal(KINDS.BAD_SIGNATURE, terminal=TERMINAL, participant="terminal"), 10, "bad_signatures"),
        (Signal(KINDS.BAD_SIGNATURE, participant="channel/alipay", address=SOMEWHERE), 10, "bad_signatures"),
        (Signal(KINDS.CERTIFICATE_REFUSED, address=SOMEWHERE, participant="urn:x"), 5, "certificate_misuse"),
        (Signal(KINDS.WRONG_ROLE, address=SOMEWHERE, participant="issuer/bank"), 5, "certificate_misuse"),
        (Signal(KINDS.NOT_PERMITTED, uuid4(), address=SOMEWHERE), 20, "role_misuse"),
        (Signal(KINDS.WRONG_CREDENTIAL, address=SOMEWHERE), 10, "credential_guessing"),
        (Signal(KINDS.UNKNOWN_METHOD, address=SOMEWHERE), 30, "scanning"),
        (Signal(KINDS.UNKNOWN_PATH, address=SOMEWHERE), 30, "scanning"),
        (Signal(KINDS.MALFORMED, address=SOMEWHERE), 30, "scanning"),
        (Signal(KINDS.WRONG_CODE, terminal=TERMINAL, participant="acme"), 20, "code_guessing"),
    ],
    ids=lambda value: str(getattr(value, "kind", value)),
)
async def test_each_is_found_at_its_number_and_not_before(signal: Signal, most: int, kind: str) -> None:
    scene = SignalScene()
    await many(scene, signal, most - 1)
    assert scene.kinds() == []
    await many(scene, signal, 1)
    assert scene.kinds() == [kind]


@pytest.mark.parametrize("kind", [KINDS.UNKNOWN_METHOD, KINDS.UNKNOWN_PATH, KINDS.MALFORMED, KINDS.WRONG_CREDENTIAL])
async def test_a_stranger_is_blocked_and_a_participant_never(kind: SignalKind) -> None:
    scene = SignalScene()
    await many(scene, Signal(kind, address=SOMEWHERE, participant="acquirer/acme"), 200)
    assert scene.kinds()
    assert len(scene.here.blocks) == 0
    await many(scene, Signal(kind, address="203.0.113.8"), 30)
    assert scene.here.blocks.refuses("203.0.113.8")
    assert not scene.here.blocks.refuses(SOMEWHERE)


@pytest.mark.parametrize(
    "kind", [KINDS.BAD_SIGNATURE, KINDS.CERTIFICATE_REFUSED, KINDS.WRONG_ROLE, KINDS.NOT_PERMITTED, KINDS.WRONG_CODE]
)
async def test_what_may_be_forged_in_another_ones_name_blocks_nobody(kind: SignalKind) -> None:
    scene = SignalScene()
    await many(scene, Signal(kind, address=SOMEWHERE, terminal=TERMINAL), 200)
    assert scene.kinds()
    assert len(scene.here.blocks) == 0


async def test_pins_that_are_guessed_over_many_cards_are_found() -> None:
    scene = SignalScene()
    await scene.tell(*(pin_failed(card) for card in range(10)))
    alert = scene.alert("pin_guessing")
    assert (alert.subject, alert.key) == (Subject.TERMINAL, "ee" * 16)


async def test_a_busy_terminal_with_three_who_mistype_is_not() -> None:
    scene = SignalScene()
    for _ in range(4):
        await scene.tell(*(pin_failed(card) for card in range(3)))
    assert scene.kinds() == []


async def test_ten_terminals_with_a_card_each_are_not() -> None:
    scene = SignalScene()
    await scene.tell(*(pin_failed(card, f"{card:032x}") for card in range(10)))
    assert scene.kinds() == []


async def test_one_wrong_link_a_minute_is_a_person() -> None:
    scene = SignalScene()
    for _ in range(60):
        await scene.tell(Signal(KINDS.UNKNOWN_PATH, address=SOMEWHERE))
        scene.later(MINUTE_MS)
    assert scene.kinds() == []


async def test_whom_an_alert_is_about() -> None:
    scene = SignalScene(bad_signatures=1, certificate_refusals=1)
    await scene.tell(
        Signal(KINDS.BAD_SIGNATURE, terminal=TERMINAL), Signal(KINDS.WRONG_ROLE, address="2001:db8::5"),
    )  # fmt: skip
    assert scene.alert("bad_signatures").key == terminal_key(*TERMINAL)
    assert scene.alert("certificate_misuse").key == address_key("2001:db8::/64")
