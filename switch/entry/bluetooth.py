"""The handover record: what a phone gives the terminal over Bluetooth LE. docs/bluetooth.md is its description.

Offset 0: magic `PSBT`. 4: version, 1. 5: kind. 6: payload length, 2 bytes, big-endian. 8: payload. Last 2 bytes:
CRC-16/CCITT-FALSE of all before, big-endian.
"""

import base64
import struct
from enum import IntEnum

from switch.domain.authorization import CodeCredential, Credential
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.entry.crc16 import crc16
from switch.entry.emv import parse_tap
from switch.entry.errors import EntryError
from switch.entry.ndef import uri_of
from switch.entry.payer_code import parse_payer_code

MAGIC = b"PSBT"
VERSION = 1
LARGEST_PAYLOAD_BYTES = 1024
HANDOVER_SCHEME = "handover"

_HEADER = struct.Struct(">4sBBH")
_CRC_BYTES = 2
# Nonce, time, encapsulated key, and a ciphertext of two bytes with its tag.
_SHORTEST_SEALED_BYTES = 16 + 8 + 65 + 18


class HandoverKind(IntEnum):
    """What the payload is. The numbers are on the air: they are never reused."""

    EMV = 1  # BER-TLV, as in a tap
    PAYER_CODE = 2  # ASCII: a wallet's digits, or the base64 of a consumer-presented code
    SEALED = 3  # either of them, sealed to the HSM (`switch.entry.handover`)
    ORDER = 16  # the other way, from the terminal to the phone: an NDEF message, as on a tag


_KINDS = frozenset(HandoverKind)


def build_handover(kind: HandoverKind, payload: bytes) -> bytes:
    """A record of 10 bytes more than its payload, which has 1 to 1,024 (else ValueError).

    >>> build_handover(HandoverKind.PAYER_CODE, b"134512345678901234").hex()
    '50534254010200123133343531323334353637383930313233349242'
    """
    if not 1 <= len(payload) <= LARGEST_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes")
    record = _HEADER.pack(MAGIC, VERSION, kind, len(payload)) + payload
    return record + crc16(record).to_bytes(_CRC_BYTES, "big")


def parse_handover(record: bytes, money: Money | None = None, field: str = "bluetooth.record") -> Credential:
    """The credential in one whole record: the same as the same payload tapped or scanned. Raises EntryError.

    Of a sealed one it is a `CodeCredential` of the scheme "handover", which the road opens.
    """
    payload = _payload(record, field)
    if record[5] == HandoverKind.SEALED:
        if len(payload) < _SHORTEST_SEALED_BYTES:
            raise EntryError(field, "the sealed credential is too short")
        return CodeCredential(HANDOVER_SCHEME, SealedRecord(base64.b64encode(payload).decode()))
    return parse_payload(record[5], payload, money, field)


def parse_payload(kind: int, payload: bytes, money: Money | None, field: str = "bluetooth.record") -> Credential:
    """Of a record of kind EMV or PAYER_CODE, clear or opened. Raises EntryError."""
    if kind == HandoverKind.EMV:
        return parse_tap(payload, money, field)
    if kind == HandoverKind.ORDER:
        raise EntryError(field, "an order, not a credential")
    if kind != HandoverKind.PAYER_CODE:
        raise EntryError(field, "neither EMV data nor a payer's code")
    try:
        text = payload.decode("ascii")
    except UnicodeDecodeError:
        raise EntryError(field, "the payer's code is not ASCII") from None
    return parse_payer_code(text, field)[1]


def order_address(record: bytes, field: str = "bluetooth.record") -> str:
    """The address in one whole record of an order: what the payer's app asks `ScanOrder` about. Raises EntryError.

    >>> order_address(build_handover(HandoverKind.ORDER, bytes.fromhex("d1010855016e66632e636f6d")))
    'http://www.nfc.com'
    """
    payload = _payload(record, field)
    if record[5] != HandoverKind.ORDER:
        raise EntryError(field, "a credential, not an order")
    return uri_of(payload, field)


def _payload(record: bytes, field: str) -> bytes:
    size = _record_bytes(record, field)
    if size is None or len(record) < size:
        raise EntryError(field, "truncated")
    if len(record) > size:
        raise EntryError(field, "bytes after the record")
    _check_crc(record, field)
    return record[_HEADER.size : -_CRC_BYTES]


class SealedRecord(PaymentCode):
    """A sealed credential, base64: nothing of it is worth showing."""

    __slots__ = ()

    def masked(self) -> str:
        return "sealed"


class HandoverAssembler:
    """Puts records together from notifications of any size (23 to 517 bytes of ATT MTU less 3, or single bytes).

    Holds at most one record. After an error what came before is forgotten: the phone starts its record again.
    """

    def __init__(self, field: str = "bluetooth.record") -> None:
        self._field = field
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that `chunk` completes, each with a right CRC. Raises EntryError as soon as one cannot be."""
        self._held += chunk
        try:
            return self._take_whole()
        except EntryError:
            self._held.clear()
            raise

    def _take_whole(self) -> list[bytes]:
        whole = []
        while (size := _record_bytes(self._held, self._field)) is not None and len(self._held) >= size:
            record = bytes(self._held[:size])
            _check_crc(record, self._field)
            whole.append(record)
            del self._held[:size]
        return whole


def _record_bytes(record: bytes | bytearray, field: str) -> int | None:
    """The size of the record that begins here, None while its header is incomplete; wrong bytes raise at once."""
    if not MAGIC.startswith(record[:4]) and record[:4] != MAGIC:
        raise EntryError(field, "not a handover record")
    if len(record) > 4 and record[4] != VERSION:
        raise EntryError(field, f"version {record[4]} is not supported")
    if len(record) > 5 and record[5] not in _KINDS:
        raise EntryError(field, f"kind {record[5]} is not supported")
    if len(record) < _HEADER.size:
        return None
    length: int = _HEADER.unpack_from(record)[3]
    if not 1 <= length <= LARGEST_PAYLOAD_BYTES:
        raise EntryError(field, f"a payload of {length} bytes")
    return _HEADER.size + length + _CRC_BYTES


def _check_crc(record: bytes, field: str) -> None:
    if crc16(record[:-_CRC_BYTES]) != int.from_bytes(record[-_CRC_BYTES:], "big"):
        raise EntryError(field, "the CRC is wrong")
