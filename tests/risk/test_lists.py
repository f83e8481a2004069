"""Lists in memory: who is on which, until when, and what is not taken."""

import pytest

from switch.domain.risk import Listing, ListKind, Subject
from switch.risk import lists
from switch.risk.lists import Listed, ListingRefused, Lists

CARD, OTHER = "00112233445566778899aabbccddeeff", "ff" * 16
NOW_MS = 1_800_000_000_000


def listing(
    kind: ListKind = ListKind.BLOCK,
    name: str = "stolen",
    subject: Subject = Subject.CARD,
    key: str = CARD,
    expires_time_ms: int = 0,
) -> Listing:
    return Listing(kind, name, subject, key, "reported", "desk", expires_time_ms)


def test_a_subject_stands_on_what_it_is_listed_on() -> None:
    held = Lists(
        [
            listing(),
            listing(ListKind.WATCH, "watched"),
            listing(ListKind.ALLOW, "regulars", Subject.MERCHANT, OTHER),
            listing(ListKind.STEP_UP, "checked", Subject.USER, OTHER),
        ]
    )
    standing = held.standing({Subject.CARD: CARD, Subject.USER: OTHER, Subject.MERCHANT: OTHER}, NOW_MS)
    assert standing.names == {
        "card_lists": ["stolen", "watched"],
        "user_lists": ["checked"],
        "merchant_lists": ["regulars"],
    }
    assert standing.blocks == (Listed(Subject.CARD, "stolen"),)
    assert standing.step_ups == (Listed(Subject.USER, "checked"),)
    assert standing.allowed == {Subject.MERCHANT}
    assert standing.declines == standing.blocks + standing.step_ups


def test_the_same_key_of_another_subject_is_another() -> None:
    standing = Lists([listing()]).standing({Subject.USER: CARD, Subject.CARD: OTHER}, NOW_MS)
    assert standing.names == {"user_lists": [], "card_lists": []}
    assert standing.declines == ()
    assert Lists().standing({Subject.CARD: CARD}, NOW_MS).names == {"card_lists": []}


def test_an_entry_holds_until_it_expires() -> None:
    held = Lists([listing(expires_time_ms=NOW_MS), listing(ListKind.WATCH, "watched", expires_time_ms=NOW_MS + 1)])
    assert held.standing({Subject.CARD: CARD}, NOW_MS - 1).names["card_lists"] == ["stolen", "watched"]
    assert held.standing({Subject.CARD: CARD}, NOW_MS).names["card_lists"] == ["watched"]
    assert held.sweep(NOW_MS - 1) == 0
    assert held.sweep(NOW_MS) == 1
    assert len(held) == 1
    assert held.sweep(NOW_MS + 1) == 1
    assert len(held) == 0


def test_put_again_replaces_the_expiry() -> None:
    held = Lists([listing(expires_time_ms=NOW_MS)])
    held.put(listing())
    assert len(held) == 1
    assert held.standing({Subject.CARD: CARD}, NOW_MS).blocks
    held.put(listing(ListKind.BLOCK, "seen"))
    held.put(listing(expires_time_ms=NOW_MS))
    assert held.standing({Subject.CARD: CARD}, NOW_MS).names["card_lists"] == ["seen"]


def test_dropped_is_off_and_dropping_what_is_not_on_does_nothing() -> None:
    held = Lists([listing(), listing(ListKind.WATCH, "watched")])
    held.drop(ListKind.WATCH, "stolen", Subject.CARD, CARD)
    held.drop(ListKind.BLOCK, "stolen", Subject.CARD, OTHER)
    held.drop(ListKind.BLOCK, "stolen", Subject.CARD, "no key")
    assert len(held) == 2
    held.drop(ListKind.BLOCK, "stolen", Subject.CARD, CARD)
    assert held.standing({Subject.CARD: CARD}, NOW_MS).names["card_lists"] == ["watched"]
    held.drop(ListKind.WATCH, "watched", Subject.CARD, CARD)
    assert len(held) == 0


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("name", listing(name="Stolen cards")),
        ("name", listing(name="")),
        ("name", listing(name="a" * 49)),
        ("key", listing(key="6225880000000000")),
        ("key", listing(key=CARD.upper())),
        ("key", listing(key="")),
        ("key", listing(key=CARD + "\n")),
        ("expires_time_ms", listing(expires_time_ms=-1)),
        ("expires_time_ms", listing(expires_time_ms=1 << 60)),
        ("reason", Listing(ListKind.BLOCK, "stolen", Subject.CARD, CARD, " ", "desk")),
        ("source", Listing(ListKind.BLOCK, "stolen", Subject.CARD, CARD, "reported", "x" * 201)),
    ],
)
def test_what_no_list_takes_is_refused_without_its_key(field: str, refused: Listing) -> None:
    held = Lists()
    with pytest.raises(ListingRefused) as error:
        held.put(refused)
    assert str(error.value).startswith(f"{field}: ")
    assert not refused.key or refused.key.strip() not in str(error.value)
    assert len(held) == 0


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_ENTRIES", 3)
    monkeypatch.setattr(lists, "MOST_OF_ONE_KEY", 2)
    held = Lists([listing(name="a"), listing(name="b")])
    with pytest.raises(ListingRefused, match="on 2 lists already"):
        held.put(listing(name="c"))
    held.put(listing(key=OTHER))
    with pytest.raises(ListingRefused, match="there are 3 entries already"):
        held.put(listing(name="a", key=OTHER))
    held.put(listing(name="a", expires_time_ms=NOW_MS))  # one that is on already is changed
    assert len(held) == 3


def test_names_of_lists_are_bounded_and_a_refused_entry_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_NAMES", 2)
    monkeypatch.setattr(lists, "MOST_OF_ONE_KEY", 1)
    held = Lists([listing(name="a")])
    with pytest.raises(ListingRefused, match="on 1 lists already"):
        held.put(listing(name="b"))
    held.put(listing(name="c", key=OTHER))
    with pytest.raises(ListingRefused, match="there are 2 lists already"):
        held.put(listing(name="d", key="ab" * 16))
    assert len(held) == 2
