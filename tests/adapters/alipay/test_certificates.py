"""Certificate mode: serial numbers, chains, and a rotation that no payment waits for."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from alipay import DCAliPay
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY

from adapters.alipay.certificates import (
    CertificateRefused,
    read_certificates,
    root_serial_number,
    serial_number,
    verified_key,
)
from adapters.alipay.channel import AlipayChannel, AlipaySettings
from adapters.alipay.simulator import AlipaySimulator
from adapters.alipay.simulator.authority import PlatformAuthority
from adapters.alipay.simulator.signing import GatewayKey
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Phase, Unknown

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def authority() -> PlatformAuthority:
    return PlatformAuthority(NOW.timestamp)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("payswitch_alipay_certificates_total", {"outcome": outcome}) or 0.0


async def until(condition: Any) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within thirty seconds")


# --- serial numbers and chains --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_serial_numbers_as_an_independent_client_counts_them(authority: PlatformAuthority) -> None:
    platform, roots = authority.platform_certificate_pem, authority.root_certificates_pem
    assert serial_number(read_certificates(platform.encode())[0]) == DCAliPay.get_cert_sn(platform)
    assert root_serial_number(read_certificates(roots.encode())) == DCAliPay.get_root_cert_sn(roots)


def test_the_roots_number_leaves_out_what_is_not_signed_with_rsa(authority: PlatformAuthority) -> None:
    roots = read_certificates(authority.root_certificates_pem.encode())
    assert len(roots) == 3
    assert root_serial_number(roots) == f"{serial_number(roots[0])}_{serial_number(roots[2])}" == authority.root_sn
    junk = authority.root_certificates_pem.replace("-----BEGIN", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END", 1)
    assert read_certificates(junk.encode()) == roots[1:]


def test_a_chain_must_lead_to_a_root(authority: PlatformAuthority) -> None:
    roots = read_certificates(authority.root_certificates_pem.encode())
    chain = read_certificates(authority.platform_certificate_pem.encode())
    assert verified_key(chain, roots, NOW) == authority.key.public_key
    other = read_certificates(PlatformAuthority(NOW.timestamp).platform_certificate_pem.encode())
    far = dt.timedelta(days=6 * 365)
    for those, when, cause in (
        ([], NOW, "malformed"),
        (chain[:1], NOW, "foreign"),
        (other, NOW, "foreign"),
        ([chain[0], *other[1:]], NOW, "foreign"),
        (chain, NOW + far, "expired"),
        (chain, NOW - far, "expired"),
    ):
        with pytest.raises(CertificateRefused) as refused:
            verified_key(those, roots, when)
        assert refused.value.cause == cause


def test_a_certificate_that_is_no_authority_signs_nothing(authority: PlatformAuthority) -> None:
    """An application's certificate is of the same authority, and its owner has the key."""
    owner = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    leaf = read_certificates(authority.application_certificate_pem("2021", owner.public_key()).encode())[0]
    middle = read_certificates(authority.platform_certificate_pem.encode())[1]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Alipay")]))
        .issuer_name(leaf.subject)
        .public_key(owner.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=1))
        .sign(owner, SHA256())
    )
    roots = read_certificates(authority.root_certificates_pem.encode())
    with pytest.raises(CertificateRefused, match="foreign"):
        verified_key([made, leaf, middle], roots, NOW)


@pytest.mark.parametrize("name", ["application_certificate_pem", "root_certificates_pem", "alipay_certificate_pem"])
def test_a_certificate_that_cannot_be_used_is_named(simulator: AlipaySimulator, name: str) -> None:
    other = PlatformAuthority(NOW.timestamp)
    right = {
        "application_certificate_pem": simulator.application_certificate_pem("2021000000000001"),
        "root_certificates_pem": simulator.authority.root_certificates_pem,
        "alipay_certificate_pem": simulator.authority.platform_certificate_pem,
    }
    AlipaySettings("http://h/gateway.do", "2021", **right)
    wrong = {"alipay_certificate_pem": other.platform_certificate_pem}.get(name, "nothing")
    with pytest.raises(ValueError, match=name):
        AlipaySettings("http://h/gateway.do", "2021", **(right | {name: wrong}))


# --- the channel ----------------------------------------------------------------------------------------------------


async def test_the_whole_life_of_a_payment(certified: AlipayChannel, till: Any) -> None:
    sale = till.sale(1_000)
    assert isinstance(await till.ask(certified, sale), Approved)
    assert isinstance(await till.ask(certified, till.follow_on(sale, Operation.REFUND, 400)), Approved)
    assert isinstance(await till.ask(certified, till.follow_on(sale, Operation.INQUIRY)), Approved)
    other = till.sale(500)
    assert isinstance(await till.ask(certified, other), Approved)
    assert isinstance(await till.ask(certified, till.follow_on(other, Operation.REVERSAL)), Approved)


async def test_no_payment_waits_for_a_new_certificate(
    certified: AlipayChannel, simulator: AlipaySimulator, till: Any
) -> None:
    """The fetch is held up for as long as the payments take, and they end all the same."""
    await until(lambda: certified.health().ready)
    held, post = asyncio.Event(), certified._gateway.transport.post

    async def slow(parameters: Any) -> bytes:
        if "alipaycert" in parameters["method"]:
            await held.wait()
        return await post(parameters)

    certified._gateway.transport.post = slow  # type: ignore[method-assign]
    before = counted("admitted")
    simulator.authority.rotate()
    sales = [till.sale(100 + number) for number in range(20)]
    certified.prepare(sales)
    results = await asyncio.wait_for(asyncio.gather(*certified.send(sales)), 30)
    assert results == [AwaitingPayer()] * 20
    assert await till.ask(certified, till.follow_on(sales[0], Operation.INQUIRY)) == Unknown(
        Phase.SENT, "unknown_certificate"
    )
    assert certified.health().ready
    held.set()
    await until(lambda: counted("admitted") == before + 1)
    for sale in sales:
        assert isinstance(await till.ask(certified, till.follow_on(sale, Operation.INQUIRY)), Approved)
    assert isinstance(await till.ask(certified, till.sale()), Approved)


async def test_a_quiet_channel_learns_of_a_new_certificate_before_the_next_payment(
    channels: Any, simulator: AlipaySimulator, till: Any
) -> None:
    channel = await channels(
        simulator.gateway_url,
        "",
        application_certificate_pem=simulator.application_certificate_pem("2021000000000001"),
        root_certificates_pem=simulator.authority.root_certificates_pem,
        alipay_certificate_pem=simulator.authority.platform_certificate_pem,
        certificate_check_s=0.05,
    )
    before = counted("admitted")
    await until(lambda: channel.health().ready)
    simulator.authority.rotate()
    await until(lambda: counted("admitted") == before + 1)
    assert isinstance(await till.ask(channel, till.sale()), Approved)


async def test_a_channel_that_was_told_an_old_certificate(channels: Any, simulator: AlipaySimulator, till: Any) -> None:
    old = simulator.authority.platform_certificate_pem
    simulator.authority.rotate()
    channel = await channels(
        simulator.gateway_url,
        "",
        application_certificate_pem=simulator.application_certificate_pem("2021000000000001"),
        root_certificates_pem=simulator.authority.root_certificates_pem,
        alipay_certificate_pem=old,
    )
    await until(lambda: channel.health().ready)
    assert isinstance(await till.ask(channel, till.sale()), Approved)


@pytest.mark.parametrize("cause", ["foreign", "expired", "another", "missing", "malformed", "forged"])
async def test_a_certificate_that_is_not_believed(
    certified: AlipayChannel, simulator: AlipaySimulator, till: Any, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """Its payments are not outcomes, its fetch has a reason of its own, and nothing is learnt from it."""
    await until(lambda: certified.health().ready)
    authority, stranger = simulator.authority, PlatformAuthority(lambda: dt.datetime.now(dt.UTC).timestamp())
    brought = {"another": stranger.platform_certificate_pem, "missing": "", "malformed": "nothing"}.get(cause)
    if cause == "foreign":
        authority.rotate_to(stranger.key, stranger.platform_certificate_pem)
    elif cause == "expired":
        monkeypatch.setattr(authority, "_now_s", lambda: dt.datetime.now(dt.UTC).timestamp() - 6 * 365 * 86_400)
        authority.rotate()
    else:
        authority.rotate()
    if brought is not None:
        monkeypatch.setattr(authority, "platform_certificate", lambda sn: brought)
    if cause == "forged":
        # The certificate is the platform's own, but somebody else signs the answer that brings it.
        authority.rotate_to(GatewayKey(), authority.platform_certificate_pem)
    before = counted(cause)
    sale = till.sale()
    assert await till.ask(certified, sale) == AwaitingPayer()
    await until(lambda: counted(cause) == before + 1)
    inquiry = till.follow_on(sale, Operation.INQUIRY)
    assert await till.ask(certified, inquiry) == Unknown(Phase.SENT, "unknown_certificate")
    # It is not fetched again and again.
    assert counted(cause) == before + 1


async def test_an_answer_that_names_no_certificate_is_forged(
    certified: AlipayChannel, simulator: AlipaySimulator, till: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed with Alipay's other key, that of public-key mode."""
    await until(lambda: certified.health().ready)
    body = simulator._body
    monkeypatch.setattr(simulator, "_body", lambda key, value, certified=False, aes_key=b"": body(key, value))
    assert await till.ask(certified, till.sale()) == Unknown(Phase.SENT, "forged_answer")


async def test_a_request_under_a_stale_certificate_number_is_refused(
    certified: AlipayChannel, simulator: AlipaySimulator, till: Any
) -> None:
    certified._gateway._common["app_cert_sn"] = "0" * 32
    result = await till.ask(certified, till.sale())
    assert (result.response_code, result.reason) == ("30", "isv.invalid-app-cert-sn")
    assert simulator.book() == []
