"""No text that a caller or a proxy writes makes a signal fail."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_scene import SignalScene

from switch.ports.signals import Signal, SignalKind
from switch.risk.sources import canonical, source_of


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.7:443", ""),
        ("192.0.2.07", ""),
        ("1", ""),
        ("", ""),
    ],
)
def test_where_a_caller_is(address: str, source: str) -> None:
    assert source_of(address) == source


@given(st.text(max_size=60) | st.ip_addresses().map(str))
async def test_any_text_is_taken(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)
    scene = SignalScene()
    for kind in SignalKind:
        await scene.tell(Signal(kind, uuid4(), uuid4(), text, (text, text), text, text, new_network=True))
    assert not scene.here.blocks.refuses(text)
    assert sum(scene.here.counted.signals.values()) == len(SignalKind)
