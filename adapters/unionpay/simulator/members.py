"""The network's members: each has a transport key, links and working keys of its own."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.unionpay.simulator.keys import DesKey

if TYPE_CHECKING:
    from adapters.unionpay.simulator.connection import Connection


@dataclass(slots=True)
class WorkingKeyPair:
    """A MAC key and a PIN key, with their wrapped forms for the 0800."""

    mak: DesKey
    pik: DesKey
    wrapped_mak: bytes = field(repr=False)
    wrapped_pik: bytes = field(repr=False)


class Member:
    """One institution. All its links work with the same keys; `links` holds those that are signed on.

    >>> Member("44190440", bytes(range(16)), double_length=True)
    Member('44190440', links=0)
    """

    def __init__(self, institution: str, mmk: bytes, *, double_length: bool) -> None:
        self.institution = institution
        self.links: set[Connection] = set()
        self._transport_key = DesKey(mmk)
        self._key_length = 16 if double_length else 8
        self._keys: WorkingKeyPair | None = None

    def __repr__(self) -> str:
        return f"Member({self.institution!r}, links={len(self.links)})"

    def keys(self) -> WorkingKeyPair:
        """The present ones, made when first asked for."""
        return self._keys or self.new_keys()

    def new_keys(self) -> WorkingKeyPair:
        mak, pik = os.urandom(self._key_length), os.urandom(self._key_length)
        wrap = self._transport_key.encrypt
        self._keys = WorkingKeyPair(DesKey(mak), DesKey(pik), wrap(mak), wrap(pik))
        return self._keys
