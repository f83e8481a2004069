"""A financial message on a signed-on link: who may send it, what becomes of it, and how it is answered."""

import os
from typing import TYPE_CHECKING

from adapters.simulation import NORMAL, Behaviour, Scenario
from adapters.unionpay._codec import Header, encode_frame
from adapters.unionpay.format import Fields
from adapters.unionpay.simulator.book import PAYMENTS, REVERSAL, Entry
from adapters.unionpay.simulator.checks import is_notice, kind_of, refusal_of
from adapters.unionpay.simulator.members import Member

if TYPE_CHECKING:
    from adapters.unionpay.simulator.connection import Connection
    from adapters.unionpay.simulator.server import UnionPaySimulator

_REPLY_MTI = {"010": "0110", "020": "0210", "022": "0230", "042": "0430", "062": "0630"}
SERVED = frozenset(mti + repeat for mti in _REPLY_MTI for repeat in "01")
NOT_SIGNED_ON, NOT_A_MEMBER = "77", "58"  # 58 for a stranger: [U]
_FORMAT, _BAD_MAC, _CUTOVER = "30", "A0", "90"
_ECHOED = (2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49, 90)
_RESPONSE_DATA_HEAD = bytes.fromhex("910A")  # EMV tag 91: ARPC (8) and the issuer's response code (2)


def serve(
    network: "UnionPaySimulator",
    link: "Connection",
    header: Header,
    mti: str,
    fields: Fields,
    answers: list[bytes],
) -> None:
    """Process and answer; what is not acceptable changes nothing but the tally of refusals."""
    entry, scenario = None, NORMAL
    member = link.member if link.signed_on else None
    code = NOT_SIGNED_ON if member is None else _refusal(member, header, mti, fields)
    if not code and is_notice(mti):
        code = "00"
    elif not code and member is not None and (kind := kind_of(mti, fields)) is not None:
        if kind in PAYMENTS and network.in_cutover:
            code = _CUTOVER
        else:
            scenario = _scenario(network, kind, fields)
            code, entry = network.rules.process(mti, kind, fields, scenario, member.piks)
    if entry is None and code != "00":
        network.refused[code] += 1
    answer = _answer(network, link, header, mti, fields, code, entry, forged=scenario.behaviour is Behaviour.FORGED)
    if scenario.behaviour is Behaviour.NORMAL or scenario.behaviour is Behaviour.DECLINE:
        answers.append(answer)
    else:
        network.act(link, scenario, answer, answers)


def _refusal(member: Member, header: Header, mti: str, fields: Fields) -> str:
    """DE39 before anything is processed, or ""."""
    if header.source != member.institution or fields.get(33, member.institution) != member.institution:
        return NOT_A_MEMBER
    if code := refusal_of(mti, fields):
        return code
    return "" if any(key.financial_mac_fits(mti, fields) for key in member.maks) else _BAD_MAC


def _scenario(network: "UnionPaySimulator", kind: str, fields: Fields) -> Scenario:
    """What the control endpoint, the amount or the payer's account asks for, in this order."""
    if kind not in PAYMENTS:
        return NORMAL
    scenario = network.scenarios.choose(int(fields[4]))
    return network.rules.scenario_of(fields) if scenario is NORMAL else scenario


def _answer(
    network: "UnionPaySimulator",
    link: "Connection",
    header: Header,
    mti: str,
    request: Fields,
    code: str,
    entry: Entry | None,
    *,
    forged: bool,
) -> bytes:
    fields = {number: request[number] for number in _ECHOED if number in request}
    fields[15] = f"{network.settlement_day():%m%d}"
    fields[39] = code
    if entry is not None and entry.approval_code and entry.kind != REVERSAL:
        fields[38] = entry.approval_code
        if entry.approved_minor:
            fields[4] = f"{entry.approved_minor:012d}"
        if 55 in request:
            fields[55] = _RESPONSE_DATA_HEAD + os.urandom(8) + b"00"
    reply_mti = _REPLY_MTI[mti[:3]]
    if link.mak is not None:
        mac = link.mak.financial_mac(reply_mti, fields)
        fields[128] = bytes(reversed(mac)) if forged and mac != mac[::-1] else mac
    return encode_frame(header.reply(), reply_mti, fields)
