from ipaddress import ip_network

from signal_scene import MovedClock

from switch.domain.risk import Listing, ListKind, Subject
from switch.risk.blocks import MOST_BLOCKED, DoorBlocks
from switch.risk.lists import Lists
from switch.risk.subjects import address_key

HERE = "203.0.113.7"


def listing(kind: ListKind, address: str, expires_time_ms: int = 0) -> Listing:
    return Listing(kind, "addresses", Subject.IP, address_key(address), "seen scanning", "analyst", expires_time_ms)


def test_an_address_is_refused_for_its_time_and_counted() -> None:
    clock, refused = MovedClock(), list[str]()
    blocks = DoorBlocks(clock, refused=lambda: refused.append("one"))
    assert not blocks.refuses(HERE)
    blocks.take({HERE: 1_000})
    assert blocks.refuses(HERE)
    assert not blocks.refuses("203.0.113.8")
    assert not blocks.refuses("")
    assert (len(refused), len(blocks)) == (1, 1)
    clock.now_ms += 1_000
    assert not blocks.refuses(HERE)
    assert len(blocks) == 0


def test_a_shorter_block_does_not_end_a_longer_one() -> None:
    clock = MovedClock()
    blocks = DoorBlocks(clock)
    blocks.take({HERE: 10_000})
    blocks.take({HERE: 1_000})
    clock.now_ms += 5_000
    assert blocks.refuses(HERE)


def test_of_ipv6_the_customers_network_is_blocked() -> None:
    blocks = DoorBlocks(MovedClock())
    blocks.take({"2001:db8:1:2::/64": 1_000})
    assert blocks.refuses("2001:db8:1:2::9")
    assert not blocks.refuses("2001:db8:1:3::9")


def test_proxies_and_ones_own_networks_are_never_blocked() -> None:
    blocks = DoorBlocks(MovedClock(), (ip_network("10.0.0.0/8"), ip_network("fc00::/7")))
    blocks.take({"10.1.2.3": 1_000, "fd00::/64": 1_000, HERE: 1_000})
    assert [blocks.refuses(each) for each in ("10.1.2.3", "fd00::1", HERE)] == [False, False, True]
    assert not blocks.may_block("")


def test_a_block_list_is_heeded_and_an_allow_list_spares() -> None:
    clock, lists = MovedClock(), Lists()
    blocks = DoorBlocks(clock)
    blocks.heed(lambda: lists)
    lists.put(listing(ListKind.BLOCK, HERE, clock.now_ms + 1_000))
    lists.put(listing(ListKind.BLOCK, "2001:db8::9"))
    assert blocks.refuses(HERE)
    assert blocks.refuses("2001:db8::9")
    assert not blocks.refuses("2001:db8::8")
    clock.now_ms += 1_000
    assert not blocks.refuses(HERE)
    blocks.take({HERE: 1_000})
    lists.put(listing(ListKind.ALLOW, HERE))
    assert not blocks.refuses(HERE)


def test_it_is_bounded() -> None:
    blocks = DoorBlocks(MovedClock())
    blocks.take({f"198.18.{number // 256}.{number % 256}": 1_000 for number in range(MOST_BLOCKED + 50)})
    assert len(blocks) == MOST_BLOCKED
