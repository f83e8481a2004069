"""The network's members: each has a transport key, links and working keys of its own."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.unionpay.simulator.keys import DesKey

if TYPE_CHECKING:
    from adapters.unionpay.simulator.connection import Connection

_GENERATIONS = 3  # one on its way, the current one, the one before it


@dataclass(frozen=True, slots=True)
class WorkingKeyPair:
    """A MAC key and a PIN key, with their wrapped forms for the 0800."""

    mak: DesKey
    pik: DesKey
    wrapped_mak: bytes = field(repr=False)
    wrapped_pik: bytes = field(repr=False)


class Member:
    """One institution. All its links work with the same keys; `links` holds those that are signed on.

    generations: working keys, newest first. A message under any of them is good on any link: a reset reaches the links
    one after the other while traffic flows.

    >>> Member("44190440", bytes(range(16)), double_length=True)
    Member('44190440', links=0)
    """

    def __init__(self, institution: str, mmk: bytes, *, double_length: bool) -> None:
        self.institution = institution
        self.links: set[Connection] = set()
        self.generations: list[WorkingKeyPair] = []
        self._transport_key = DesKey(mmk)
        self._key_length = 16 if double_length else 8

    def __repr__(self) -> str:
        return f"Member({self.institution!r}, links={len(self.links)})"

    @property
    def maks(self) -> list[DesKey]:
        return [each.mak for each in self.generations]

    @property
    def piks(self) -> list[DesKey]:
        return [each.pik for each in self.generations]

    def keys(self) -> WorkingKeyPair:
        """The present ones, made when first asked for."""
        return self.generations[0] if self.generations else self.new_keys()

    def new_keys(self) -> WorkingKeyPair:
        mak, pik = os.urandom(self._key_length), os.urandom(self._key_length)
        wrap = self._transport_key.encrypt
        keys = WorkingKeyPair(DesKey(mak), DesKey(pik), wrap(mak), wrap(pik))
        self.generations = [keys, *self.generations[: _GENERATIONS - 1]]
        return keys

    def forget(self, keys: WorkingKeyPair) -> None:
        """No link took them."""
        self.generations = [each for each in self.generations if each is not keys]
