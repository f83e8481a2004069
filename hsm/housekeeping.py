"""What an HSM process answers about its keys, beside the commands of `hsm.commands`.

Each takes a list of tuples and gives a list of results, like a command. Over a socket no key is generated, formed from
components, exported or removed: that is done at the token, by who may read its directory.

| command | item | result |
|---|---|---|
| `ping` | – | one item: the process's role and its pid |
| `reload` | – | none; when it is answered, what others stored before it was sent is in use |
| `inventory` | (first, count) | (label, usage, algorithm, KCV, state) of each of these keys, by label |
| `key_check_value` | (label,) | KCV, upper-case hex |
| `public_key` | (label,) | PEM of a signing key's public half |
| `import_working_key` | (label, usage, under, wrapped) | KCV of the pending key |
| `activate_working_key` | (label,) | None |
"""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from hsm.direct import DirectHsm
from hsm.errors import HsmError
from hsm.key_watch import KeyWatch
from hsm.roles import Role

log = logging.getLogger("hsm")

LARGEST_PAGE: Final = 500


class Housekeeping:
    """The commands above."""

    def __init__(self, hsm: DirectHsm, role: Role) -> None:
        self._hsm = hsm
        self._role = role
        self.keys = KeyWatch(hsm.store)
        self.commands: Mapping[str, Callable[[Sequence[Any]], Awaitable[list[Any]]]] = {
            "ping": self._ping,
            "reload": self._reload,
            "inventory": self._inventory,
            "key_check_value": self._key_check_value,
            "public_key": self._public_key,
            "import_working_key": self._import_working_key,
            "activate_working_key": self._activate_working_key,
        }

    # --- commands -----------------------------------------------------------------------------------------------------

    async def _ping(self, items: Sequence[Any]) -> list[Any]:
        return [(str(self._role), os.getpid()) for _ in items]

    async def _reload(self, items: Sequence[Any]) -> list[Any]:
        await self.keys.reload()
        return []

    async def _inventory(self, items: Sequence[tuple[int, int]]) -> list[Any]:
        keys = self._hsm.store.inventory()
        return [
            [
                (each.label, str(each.usage), each.algorithm, each.kcv, str(each.state))
                for each in keys[first : first + min(count, LARGEST_PAGE)]
            ]
            for first, count in items
        ]

    async def _key_check_value(self, items: Sequence[tuple[str]]) -> list[Any]:
        return [_or_error(self._hsm.key_check_value, label) for (label,) in items]

    async def _public_key(self, items: Sequence[tuple[str]]) -> list[Any]:
        return [_or_error(self._hsm.store.public_key, label) for (label,) in items]

    async def _import_working_key(self, items: Sequence[tuple[str, str, str, bytes]]) -> list[Any]:
        results: list[Any] = []
        for label, usage, under, wrapped in items:
            try:
                results.append(await self._hsm.import_working_key(label, usage, under, wrapped))
            except HsmError as error:
                results.append(error)
        return results

    async def _activate_working_key(self, items: Sequence[tuple[str]]) -> list[Any]:
        results: list[Any] = []
        for (label,) in items:
            try:
                await self._hsm.activate_working_key(label)
                results.append(None)
            except HsmError as error:
                results.append(error)
        return results


def _or_error(function: Callable[[str], Any], label: str) -> Any:
    try:
        return function(label)
    except HsmError as error:
        return error
