"""What the network asks of us on its own: echoes, cutovers, notices. Key resets are `working_keys`' part."""

import structlog

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header
from adapters.unionpay.format import Fields
from adapters.unionpay.link import Link
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.working_keys import ECHO

log = structlog.get_logger()

CUTOVER_BEGINS, CUTOVER_ENDS = "201", "202"
_NAMES = {ECHO: "echo", CUTOVER_BEGINS: "cutover_begins", CUTOVER_ENDS: "cutover_ends"}
_ECHOED = (7, 11, 70, 100)
_UNSUPPORTED = "40"


class NetworkRequests:
    """Answers 0820 and 0620.

    in_cutover: between 201 and 202 the network may answer new payments with 90, which another channel may take; what
    is in flight stays as it is. settlement_date: MMDD, as the last cutover said; "" while none did.
    """

    def __init__(self, settings: UnionPaySettings) -> None:
        self._settings = settings
        self.in_cutover = False
        self.settlement_date = ""

    def answer(self, link: Link, header: Header, mti: str, fields: Fields) -> None:
        code = str(fields.get(70, ""))
        response: Fields = {number: fields[number] for number in _ECHOED if number in fields}
        response |= {33: self._settings.forwarder, 39: "00"}
        if mti == "0620":
            # [U] what it says; it moves no money, so it is confirmed and shown.
            metrics.NETWORK_REQUESTS.labels("notice").inc()
            log.info("unionpay_notice")
        elif code in _NAMES:
            metrics.NETWORK_REQUESTS.labels(_NAMES[code]).inc()
            self._note(code, fields)
        else:
            metrics.REFUSED.labels("unknown_request").inc()
            response[39] = _UNSUPPORTED
        try:
            link.respond(header, mti, response)
        except ConnectionError:
            log.warning("unionpay_network_request_unanswered")

    def _note(self, code: str, fields: Fields) -> None:
        if code == ECHO:
            return
        self.in_cutover = code == CUTOVER_BEGINS
        if code == CUTOVER_ENDS:
            self.settlement_date = str(fields.get(15, ""))
        log.info("unionpay_cutover", under_way=self.in_cutover, settlement_date=self.settlement_date)
