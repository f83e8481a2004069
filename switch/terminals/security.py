"""Keys, MACs and PINs between the switch and a terminal. The HSM does the work; its errors come as `Refused`.

A terminal's working keys lie sealed in the database, so every process serves every terminal. Its PIN blocks are
translated here, to a key of the switch's own under which the road takes them.
"""

from typing import Any

import structlog

from adapters.unionpay.pos.codec import Message
from adapters.unionpay.pos.format import MAC_FIELD
from adapters.unionpay.pos.messages import MAC_ALGORITHM, SentKey, working_keys_field
from switch.domain.authorization import PinBlock
from switch.domain.terminal import Terminal, WorkingKeys
from switch.ports import Hsm
from switch.terminals.refusals import HangUp, Refused

log = structlog.get_logger()

# HSM labels: a KEY_STORAGE key that seals working keys, and the PIN_KEY between the desk and the road.
STORAGE_KEY = "terminals/storage"
PIN_ZONE_KEY = "terminals/pin"
_PIN_KEY_ALGORITHM = "TDES-2KEY"
_PIN_FORMAT = 0
# The HSM's errors by name: nothing of ours is imported from it.
_MISMATCH = "MacMismatch"
_MAC_REFUSALS = {_MISMATCH: ("A0", "mac"), "TooManyFailures": ("A0", "mac_throttled")}
_PIN_REFUSALS = {"PinFormatError": ("99", "pin_block"), "InvalidCommand": ("99", "pin_block")}
_HSM_FAILED = ("96", "hsm")


class TerminalSecurity:
    """mac_key_algorithm: DES or TDES-2KEY."""

    def __init__(self, hsm: Hsm, mac_key_algorithm: str) -> None:
        self._hsm = hsm
        self._mac_key_algorithm = mac_key_algorithm

    async def verify(self, terminal: Terminal, message: Message) -> WorkingKeys:
        """The working keys that the message was made with: the current ones, or those before the last sign-on.

        Raises Refused: A0 for a wrong MAC, 77 where the terminal has no keys.
        """
        mac = message.fields.get(MAC_FIELD)
        if not isinstance(mac, bytes):
            raise Refused("A0", "mac_missing")
        if terminal.keys is None:
            raise Refused("77", "no_working_key")
        failure: Exception | None = None
        for keys in filter(None, (terminal.keys, terminal.previous_keys)):
            item = (STORAGE_KEY, terminal.name, keys.mac, MAC_ALGORITHM, message.covered, mac)
            failure = await self._one("verify_terminal_macs", item)
            if failure is None:
                return keys
            if type(failure).__name__ != _MISMATCH:
                break
        raise Refused(*_MAC_REFUSALS.get(type(failure).__name__, _HSM_FAILED))

    async def mac(self, terminal: Terminal, keys: WorkingKeys, covered: bytes) -> bytes:
        """DE64. Raises HangUp: a terminal that gets no answer reverses, one that gets an unproved answer may not."""
        try:
            mac = await self._one("terminal_macs", (STORAGE_KEY, terminal.name, keys.mac, MAC_ALGORITHM, covered))
        except Refused as refusal:
            raise HangUp(refusal.cause) from None
        if not isinstance(mac, bytes):
            raise HangUp("hsm")
        return mac

    async def zone_pin(self, terminal: Terminal, keys: WorkingKeys, block: bytes, pan: str) -> PinBlock:
        """DE52 as the road takes it. Raises Refused: 99 for a block that is none."""
        item = (
            STORAGE_KEY, terminal.name, keys.pin, _PIN_FORMAT, PIN_ZONE_KEY, _PIN_FORMAT, block, pan,
        )  # fmt: skip
        translated = await self._one("translate_terminal_pins", item)
        if not isinstance(translated, bytes):
            raise Refused(*_PIN_REFUSALS.get(type(translated).__name__, _HSM_FAILED))
        return PinBlock(translated, _PIN_FORMAT, PIN_ZONE_KEY)

    async def new_working_keys(self, terminal: Terminal) -> tuple[WorkingKeys, bytes]:
        """Fresh keys, and DE62 of the answer that brings them. Raises Refused (96)."""
        kinds = (("PIN_KEY", _PIN_KEY_ALGORITHM), ("MAC_KEY", self._mac_key_algorithm))
        made = await self._run(
            "make_terminal_keys", [(terminal.key, STORAGE_KEY, terminal.name, *each) for each in kinds]
        )
        failed = next((each for each in made if isinstance(each, Exception)), None)
        if failed is not None:
            log.warning("no_working_keys", reason=str(failed), terminal=terminal.name)
            raise Refused(*_HSM_FAILED)
        (pin_sent, pin_check, pin_sealed), (mac_sent, mac_check, mac_sealed) = made
        sent = working_keys_field(SentKey(pin_sent, pin_check), SentKey(mac_sent, mac_check))
        return WorkingKeys(pin_sealed, mac_sealed), sent

    async def _one(self, command: str, item: tuple[Any, ...]) -> Any:
        [result] = await self._run(command, [item])
        return result

    async def _run(self, command: str, items: list[tuple[Any, ...]]) -> list[Any]:
        """Raises Refused (96) where there is no HSM to ask."""
        try:
            return await self._hsm.run(command, items)
        except Exception as error:
            log.warning("hsm_failed", command=command, reason=type(error).__name__)
            raise Refused(*_HSM_FAILED) from None
