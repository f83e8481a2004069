import datetime as dt
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from switch import pki
from switch.pki import Authority, Pair, ParticipantError, PkiError, participant_of, participant_uri


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def read(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def names_in(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_mutual_tls_works_and_the_participant_is_in_the_certificate(authority: Authority) -> None:
    server, client = authority.server(), authority.participant("acquirer", "shop-1")
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    accepting.verify_mode = ssl.CERT_REQUIRED
    accepting.load_cert_chain(server.certificate, server.private_key)
    dialling = ssl.create_default_context(cafile=authority.certificate)
    dialling.load_cert_chain(client.certificate, client.private_key)
    peer = handshake(accepting, dialling, "localhost")
    assert participant_of([name for kind, name in peer["subjectAltName"] if kind == "URI"]) == ("acquirer", "shop-1")
    for name in ("127.0.0.1", "::1"):
        handshake(accepting, dialling, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(accepting, dialling, "example.com")


def handshake(accepting: ssl.SSLContext, dialling: ssl.SSLContext, name: str) -> dict:
    """In memory; returns what the server learns of the client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = dialling.wrap_bio(to_client, to_server, server_hostname=name)
    server = accepting.wrap_bio(to_server, to_client, server_side=True)
    open_ends = [client, server]
    for _ in range(10):
        for end in list(open_ends):
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not open_ends
    return server.getpeercert()


def test_keys_are_private_and_certificates_are_not_for_ever(authority: Authority, tmp_path: Path) -> None:
    pair = authority.participant("issuer", "bank-1")
    for key in (pair.private_key, tmp_path / "pki" / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    certificate = read(pair)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert dt.timedelta(days=89) < life < dt.timedelta(days=91)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))


def test_a_second_run_changes_nothing(authority: Authority, tmp_path: Path) -> None:
    authority.ensure()
    authority.server()
    authority.participant("acquirer", "shop-1")
    before = {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    again = Authority(tmp_path / "pki")
    again.ensure()
    again.server()
    again.participant("acquirer", "shop-1")
    assert {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before


def test_what_nears_its_end_is_renewed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CERTIFICATE_DAYS", 20)
    first = read(authority.server()).serial_number
    monkeypatch.undo()
    second = read(authority.server()).serial_number
    assert first != second
    assert read(authority.server()).serial_number == second


def test_a_new_authority_renews_what_the_old_one_signed(authority: Authority, tmp_path: Path) -> None:
    before = read(authority.server()).serial_number
    for name in ("ca.pem", "ca.key"):
        (tmp_path / "pki" / name).unlink()
    after = read(authority.server())
    assert after.serial_number != before
    after.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))


def test_other_names_make_another_certificate(authority: Authority) -> None:
    authority.server()
    names = [x509.DNSName("switch.example")]
    assert names_in(read(authority.server(names))) == x509.SubjectAlternativeName(names)


def test_an_interrupted_run_is_redone(authority: Authority, tmp_path: Path) -> None:
    pair = authority.server()
    pair.certificate.unlink()
    (tmp_path / "pki" / "ca.pem").unlink()
    read(authority.server()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    )


def test_an_authority_without_its_key_is_not_replaced_silently(authority: Authority, tmp_path: Path) -> None:
    authority.ensure()
    (tmp_path / "pki" / "ca.key").unlink()
    with pytest.raises(PkiError, match=r"ca\.key is missing"):
        authority.server()


@pytest.mark.parametrize("file", ["server.pem", "server.key"])
def test_a_damaged_file_is_named(authority: Authority, tmp_path: Path, file: str) -> None:
    authority.server()
    (tmp_path / "pki" / file).write_text("nonsense")
    with pytest.raises(PkiError, match=r"server\.pem or its key is damaged"):
        authority.server()


def test_many_at_once_agree(authority: Authority) -> None:
    serials: list[int] = []
    threads = [
        threading.Thread(target=lambda: serials.append(read(authority.participant("acquirer", "shop-1")).serial_number))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(serials) == 8
    assert len(set(serials)) == 1


@given(st.sampled_from(pki.ROLES), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_every_name_that_is_written_is_read_back(role: str, participant_id: str) -> None:
    uri = participant_uri(role, participant_id)
    assert participant_of(["localhost", "spiffe://elsewhere/x", uri]) == (role, participant_id)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["localhost"],
        ["payswitch://acquirer/a", "payswitch://acquirer/b"],
        ["payswitch://acquirer/a", "payswitch://acquirer/a"],
        ["payswitch://acquirer/a", "PAYSWITCH://issuer/b"],
        ["payswitch://acquirer/"],
        ["payswitch://acquirer"],
        ["payswitch:acquirer/a"],
        ["payswitch://merchant/a"],
        ["payswitch://Acquirer/a"],
        ["PAYSWITCH://acquirer/a"],
        ["payswitch://acquirer/a/b"],
        ["payswitch://acquirer/a?b"],
        ["payswitch://acquirer/a%2Fb"],
        ["payswitch://x@acquirer/a"],
        ["payswitch://acquirer:1/a"],
        ["payswitch://acquirer/a\n"],
        ["payswitch://acquirer/\u0661"],
        ["payswitch://acquirer/.a"],
        ["payswitch://acquirer/" + "a" * 65],
    ],
)
def test_other_names_are_nobody(names: list[str]) -> None:
    with pytest.raises(ParticipantError):
        participant_of(names)


def test_no_certificate_is_issued_for_an_impossible_name(authority: Authority) -> None:
    for role, participant_id in (("merchant", "a"), ("acquirer", "../../etc/passwd"), ("acquirer", "")):
        with pytest.raises(ParticipantError):
            authority.participant(role, participant_id)
