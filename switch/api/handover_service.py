"""HandoverService: certificates of terminals that take sealed handovers."""

import re

from payswitch.v1 import handover_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.requests import merchant_id
from switch.domain.access import Caller, Role
from switch.payments.terminal_certificates import TerminalCertificates

_TERMINAL_ID = re.compile(r"[0-9A-Za-z]{1,8}", re.ASCII).fullmatch


class HandoverServicer:
    def __init__(self, certificates: TerminalCertificates) -> None:
        self._certificates = certificates

    async def CertifyTerminal(self, request: pb.CertifyTerminalRequest, caller: Caller) -> pb.CertifyTerminalResponse:
        if not _TERMINAL_ID(request.terminal_id):
            raise InvalidField("terminal_id", "must be 1 to 8 letters or digits")
        certified = await self._certificates.certify(
            caller.name,
            caller.person if Role.ACQUIRER in caller.roles else "",
            merchant_id(request.merchant_id),
            request.terminal_id,
            request.public_key,
            request.signature,
        )
        return pb.CertifyTerminalResponse(certificate=certified.certificate, not_after_time_ms=certified.not_after_ms)
