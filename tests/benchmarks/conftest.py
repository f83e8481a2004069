"""A switch that approves everything, with a stall to order, on a real socket in this process."""

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.config import LoadConfig, TlsFiles
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc, common_pb2


class FakeSwitch(authorization_pb2_grpc.AuthorizationServiceServicer):
    """Answers in order. In a stream, the item whose key ends in `stall_on` holds everything up for `stall_s`."""

    def __init__(self) -> None:
        self.seen: list[pb.AuthorizeRequest] = []
        self.stall_on = "never"
        self.stall_s = 0.1
        self.decide: Callable[[int], int] = lambda number: common_pb2.DECISION_APPROVED

    def answer(self, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
        decision = self.decide(len(self.seen))
        self.seen.append(pb.AuthorizeRequest.FromString(request.SerializeToString()))
        code = "00" if decision == common_pb2.DECISION_APPROVED else "51"
        return pb.AuthorizeResponse(decision=decision, response_code=code, stage="send")

    async def Authorize(self, request, context):
        return self.answer(request)

    async def AuthorizeStream(self, request_iterator, context):
        async for frame in request_iterator:
            if any(item.request.idempotency_key.endswith(self.stall_on) for item in frame.items):
                await asyncio.sleep(self.stall_s)
            results = [
                pb.AuthorizeStreamResult(sequence=item.sequence, response=self.answer(item.request))
                for item in frame.items
            ]
            yield pb.AuthorizeStreamResponse(results=results)


@pytest.fixture
async def switch() -> AsyncIterator[tuple[FakeSwitch, str]]:
    """(the servicer, its target), in the clear."""
    servicer, server = FakeSwitch(), grpc.aio.server()
    authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
def small(tmp_path: Path) -> LoadConfig:
    """A run of about two seconds; the target is to be filled in."""
    return LoadConfig(
        "", tmp_path / "out", seconds=0.3, warmup_s=0.1, window=16, unary_concurrency=4, accounts=20, drain_s=2.0,
        echo=False, rate_per_s=200.0, zone_pin_key=bytes(range(16)),
    )  # fmt: skip


@pytest.fixture
def tls(tmp_path: Path) -> tuple[TlsFiles, TlsFiles]:
    """(a client's files, a server's files), made for this test."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(authority if ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        )
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificate("ca", authority_key, True))
    ends = []
    for name in ("client", "server"):
        key = ec.generate_private_key(ec.SECP256R1())
        files = TlsFiles(ca_file, tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        files.certificate.write_bytes(certificate(name, key, False))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        ends.append(files)
    return ends[0], ends[1]
