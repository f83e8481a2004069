"""Authorizations built before the clock starts: while it runs only key, time and sequence are set."""

import os
import time
from collections.abc import Sequence

from benchmarks.config import LoadConfig
from benchmarks.terminal import build_tap, load_account, pin_block_format0
from payswitch.v1 import authorization_pb2 as pb


class RequestPool:
    """NFC sales of `accounts` cards, used in turn. Keys are unique over runs and steps.

    One pool serves one event loop: requests are altered in place and serialized or copied before the next is asked for.
    """

    def __init__(self, config: LoadConfig) -> None:
        self._requests = [_request(config, index) for index in range(config.accounts)]
        self._run = os.urandom(6).hex()
        self._step = 0

    def begin_step(self) -> None:
        """Keys of earlier steps are not used again."""
        self._step += 1

    @property
    def request_bytes(self) -> int:
        """The size of one request as it is sent."""
        return len(self.serialized(0))

    def serialized(self, sequence: int) -> bytes:
        """One AuthorizeRequest, for the unary call."""
        request = self._requests[sequence % len(self._requests)]
        request.idempotency_key = f"{self._run}-{self._step}-{sequence}"
        request.transmission_time_ms = time.time_ns() // 1_000_000
        return request.SerializeToString()

    def frame(self, sequences: Sequence[int]) -> pb.AuthorizeStreamRequest:
        """One frame with the items of `sequences`."""
        requests, prefix = self._requests, f"{self._run}-{self._step}-"
        now_ms = time.time_ns() // 1_000_000
        frame = pb.AuthorizeStreamRequest()
        add = frame.items.add
        for sequence in sequences:
            request = requests[sequence % len(requests)]
            request.idempotency_key = f"{prefix}{sequence}"
            request.transmission_time_ms = now_ms
            add(sequence=sequence, request=request)
        return frame


def _request(config: LoadConfig, index: int) -> pb.AuthorizeRequest:
    pan, expiry_yymm, pin = load_account(index)
    request = pb.AuthorizeRequest(
        merchant_id=config.merchant_id,
        terminal_id=config.terminal_id,
        merchant_category_code=config.merchant_category_code,
        kind=pb.AUTHORIZATION_KIND_SALE,
    )
    request.amount.amount_minor = config.amount_minor
    request.amount.currency = config.currency
    request.nfc.emv = build_tap(pan, expiry_yymm, config.amount_minor, config.currency)
    if config.zone_pin_key:
        request.pin.block = pin_block_format0(pin, pan, config.zone_pin_key)
        request.pin.format = 0
    return request
