"""Keys and MACs between the switch and a terminal. The HSM holds the keys; errors come as `Refused`."""

import hmac

import structlog

from adapters.unionpay.pos.codec import Message
from adapters.unionpay.pos.format import MAC_FIELD
from adapters.unionpay.pos.messages import MAC_ALGORITHM, SentKey, working_keys_field
from switch.domain.terminal import Terminal
from switch.ports import Hsm
from switch.terminals.refusals import HangUp, Refused

log = structlog.get_logger()

PREVIOUS = "?previous"
# The HSM's errors by name: nothing of ours is imported from it.
_REFUSALS = {
    "MacMismatch": ("A0", "mac"),
    "TooManyFailures": ("A0", "mac_throttled"),
    "KeyNotFound": ("77", "no_working_key"),
}


class TerminalSecurity:
    def __init__(self, hsm: Hsm, mac_key_algorithm: str) -> None:
        self._hsm = hsm
        self._mac_key_algorithm = mac_key_algorithm

    async def verify(self, terminal: Terminal, message: Message) -> str:
        """Which working keys the message was made with: "" the current ones, "?previous" those before a new sign-on.

        Raises Refused: A0 for a wrong MAC, 77 where the terminal has no keys.
        """
        mac = message.fields.get(MAC_FIELD)
        if not isinstance(mac, bytes):
            raise Refused("A0", "mac_missing")
        [failure] = await self._hsm.verify_macs([(terminal.mac_key, MAC_ALGORITHM, message.covered, mac)])
        if failure is not None:
            raise Refused(*_REFUSALS.get(type(failure).__name__, ("96", "hsm")))
        # Verified, under the current key or the previous one; making a MAC knows the current one only.
        [current] = await self._hsm.macs([(terminal.mac_key, MAC_ALGORITHM, message.covered)])
        if isinstance(current, Exception):
            raise Refused("96", "hsm")
        return "" if hmac.compare_digest(current, mac) else PREVIOUS

    async def mac(self, key: str, covered: bytes) -> bytes:
        """DE64. Raises HangUp: a terminal that gets no answer reverses, one that gets an unproved answer may not."""
        [mac] = await self._hsm.macs([(key, MAC_ALGORITHM, covered)])
        if isinstance(mac, Exception):
            raise HangUp("hsm")
        return mac

    async def new_working_keys(self, terminal: Terminal) -> bytes:
        """DE62 of the answer to a sign-on: fresh keys, current from now on. Raises Refused (96)."""
        wanted = [
            (terminal.pin_key, "PIN_KEY", "TDES-2KEY"),
            (terminal.mac_key, "MAC_KEY", self._mac_key_algorithm),
        ]
        try:
            pin_key, mac_key = await self._hsm.make_working_keys(terminal.key, wanted)
        except Exception as error:
            log.warning("no_working_keys", reason=type(error).__name__, terminal=terminal.terminal_id)
            raise Refused("96", "hsm") from None
        return working_keys_field(SentKey(*pin_key), SentKey(*mac_key))
