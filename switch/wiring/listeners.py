"""The wiring of the listeners: participants (mutual TLS), people and merchants (TLS), operators (private network)."""

from collections.abc import Sequence

import grpc.aio
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from payswitch.v1 import authorization_pb2_grpc, issuer_pb2_grpc, operations_pb2_grpc
from switch.api import wire
from switch.api.gate import Gate
from switch.api.guarded import UnknownMethods, add_guarded
from switch.api.operations_service import OperationsServicer
from switch.config import Settings, split_address
from switch.ops.checks import Readiness
from switch.ops.health import HealthStatus
from switch.ops.http import operations_app, start_http
from switch.ops.lifecycle import Lifecycle
from switch.ops.loop_lag import LoopLag
from switch.ports.signals import Signals
from switch.wiring.authorization import Engine
from switch.wiring.channel import read_file
from switch.wiring.foundation import closing
from switch.wiring.platform import Served

# A frame of 512 requests with chip data fits; a larger message is refused before it is parsed.
_LARGEST_MESSAGE_BYTES = 2 * 1024 * 1024
# An evidence of a dispute fits.
_LARGEST_UPLOAD_BYTES = 6 * 1024 * 1024
# Of everybody who reaches the listener at once, besides the streams that watch orders; and of one connection.
_PEOPLE_AT_ONCE = 1_000
_STREAMS_OF_ONE = 100


async def listen_to_participants(
    settings: Settings,
    engine: Engine | None,
    operators: OperationsServicer | None,
    served: Sequence[Served],
    gate: Gate,
    signals: Signals,
) -> tuple[grpc.aio.Server, int]:
    """Mutual TLS, no reflection; returns the server and its port."""
    largest = max(_LARGEST_MESSAGE_BYTES, _LARGEST_UPLOAD_BYTES if served else 0)
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", largest),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
    )
    if engine is not None:
        add = authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server
        wire.add_to_server(add, engine.authorizations, server)
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(engine.issuers, server)  # type: ignore[no-untyped-call]
    if operators is not None:
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(operators, server)  # type: ignore[no-untyped-call]
    for each in served:
        add_guarded(each.service, each.servicer, gate, server, settings.platform.admitted_again_s)
    server.add_generic_rpc_handlers((UnknownMethods(signals),))
    port = server.add_secure_port(settings.listen, _credentials(settings, mutual=True))
    await server.start()
    return server, port


async def listen_to_people(
    settings: Settings, served: Sequence[Served], gate: Gate, lifecycle: Lifecycle, signals: Signals
) -> str:
    """TLS: callers show access tokens and API credentials. Returns the address, "" without a service or a listener."""
    if not served or not settings.platform.listen:
        return ""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", _LARGEST_UPLOAD_BYTES),
            ("grpc.max_concurrent_streams", _STREAMS_OF_ONE),
        ],
        maximum_concurrent_rpcs=_PEOPLE_AT_ONCE + settings.orders.watchers,
    )
    for each in served:
        add_guarded(each.service, each.servicer, gate, server, settings.platform.admitted_again_s)
    server.add_generic_rpc_handlers((UnknownMethods(signals),))
    port = server.add_secure_port(settings.platform.listen, _credentials(settings, mutual=False))
    await server.start()
    lifecycle.on_finish("people", lambda: server.stop(1.0), 3.0)
    host, _ = split_address(settings.platform.listen)
    return f"{host}:{port}"


async def listen_to_operators(
    settings: Settings, readiness: Readiness, health: HealthStatus, lifecycle: Lifecycle, services: Sequence[str]
) -> tuple[str, str]:
    """HTTP, and gRPC health with reflection and channelz. services: full names; returns both addresses."""
    lag = LoopLag()
    lag.start()
    lifecycle.on_close("loop lag", closing(lag.close))
    host, port = split_address(settings.operations.listen)
    runner = await start_http(operations_app(readiness, lag.seconds), host, port)
    lifecycle.on_close("operations http", runner.cleanup)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    channelz.add_channelz_servicer(server)  # type: ignore[arg-type]  # its stubs know only the blocking server
    names = ("grpc.health.v1.Health", *services, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    grpc_port = server.add_insecure_port(settings.operations.grpc_listen)
    await server.start()
    lifecycle.on_close("operations grpc", lambda: server.stop(0.2))
    await health.start()
    lifecycle.on_close("health", health.close)
    http_port = runner.addresses[0][1]
    grpc_host, _ = split_address(settings.operations.grpc_listen)
    return f"{host}:{http_port}", f"{grpc_host}:{grpc_port}"


def _credentials(settings: Settings, mutual: bool) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(read_file(settings.private_key_path), read_file(settings.certificate_path))],
        root_certificates=read_file(settings.ca_path) if mutual else None,
        require_client_auth=mutual,
    )
