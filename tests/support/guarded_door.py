"""A listener with mutual TLS and the gate, and callers with certificates, tokens and credentials."""

from dataclasses import dataclass
from typing import Any

import grpc.aio

from payswitch.v1 import merchant_pb2_grpc as pb_grpc
from switch.pki import Authority, Pair


@dataclass
class Door:
    """A guarded listener, as its callers reach it."""

    authority: Authority
    port: int

    async def call(
        self, method: str, request: Any, pair: Pair, bearer: str = "", header: str = "Bearer "
    ) -> tuple[grpc.StatusCode, str]:
        """(status, its text)"""
        try:
            await self.answer(method, request, pair, bearer, header)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return grpc.StatusCode.OK, ""

    async def answer(self, method: str, request: Any, pair: Pair, bearer: str = "", header: str = "Bearer ") -> Any:
        credentials = grpc.ssl_channel_credentials(
            self.authority.certificate.read_bytes(), pair.private_key.read_bytes(), pair.certificate.read_bytes()
        )
        metadata = [("authorization", header + bearer)] if bearer else []
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials) as channel:
            stub: Any = pb_grpc.MerchantServiceStub(channel)  # type: ignore[no-untyped-call]
            return await getattr(stub, method)(request, metadata=metadata)


def listener_credentials(authority: Authority) -> grpc.ServerCredentials:
    own = authority.server()
    return grpc.ssl_server_credentials(
        [(own.private_key.read_bytes(), own.certificate.read_bytes())], authority.certificate.read_bytes(), True
    )
