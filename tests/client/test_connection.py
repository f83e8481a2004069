"""Dialling with mTLS, and backoff."""

from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc
from switch.client.acquirer import AcquirerClient
from switch.client.connection import Backoff, ClientCredentials


def issue(name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return certificate, key


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


class Naming(authorization_pb2_grpc.AuthorizationServiceServicer):
    async def Authorize(self, request, context):
        return pb.AuthorizeResponse(reason=context.auth_context()["x509_common_name"][0].decode())


async def test_mutual_tls_shows_the_participants_certificate():
    ca = issue("root", None)
    server_certificate, server_key = issue("switch.test", ca)
    certificate, key = issue("acquirer-1", ca)
    server = grpc.aio.server()
    authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server(Naming(), server)
    pair = [(key_pem(server_key), pem(server_certificate))]
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials(pair, root_certificates=pem(ca[0]), require_client_auth=True)
    )
    await server.start()
    credentials = ClientCredentials(pem(ca[0]), pem(certificate), key_pem(key))
    try:
        async with AcquirerClient(f"127.0.0.1:{port}", credentials=credentials, server_name="switch.test") as client:
            answer = await client.authorize_unary(pb.AuthorizeRequest(), budget_ms=5_000)
        assert answer.reason == "acquirer-1"
    finally:
        await server.stop(0)


def test_credentials_do_not_show_their_key():
    assert "secret" not in repr(ClientCredentials(b"ca", b"certificate", b"secret"))


def test_backoff_doubles_to_its_limit_and_starts_again():
    backoff = Backoff(first_s=0.1, longest_s=0.4)
    waits = [backoff.next_s() for _ in range(5)]
    for wait_s, whole_s in zip(waits, [0.1, 0.2, 0.4, 0.4, 0.4], strict=True):
        assert whole_s / 2 <= wait_s <= whole_s
    backoff.reset()
    assert backoff.next_s() <= 0.1
