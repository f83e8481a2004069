"""Making the simulators: which clients they know, with which keys, and where they will listen."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from adapters.alipay.simulator import AlipayApplication, AlipaySimulator
from adapters.alipay.simulator import default_accounts as alipay_payers
from adapters.alipay.simulator.notifications import PAUSES_S as ALIPAY_PAUSES_S
from adapters.issuer.simulator import CardKeys
from adapters.issuer.simulator import default_accounts as issuer_accounts
from adapters.unionpay.simulator import Account, SimulatorSettings, UnionPaySimulator
from adapters.wechat.simulator import WeChatMerchant, WeChatSimulator
from adapters.wechat.simulator import default_accounts as wechat_payers
from adapters.wechat.simulator.notifications import SCHEDULE_S as WECHAT_PAUSES_S
from hsm.token import write_atomically
from switch.client.connection import ClientCredentials
from switch.config import Settings
from switch.demo.secrets import ISSUER, SharedKeys
from switch.demo.simulators import accounts, identity
from switch.demo.simulators.addresses import Ports
from switch.demo.simulators.cards import cards
from switch.demo.simulators.identity import Identity, rsa_key
from switch.demo.simulators.town import PatientIssuer, Town
from switch.pki import SERVER_NAMES, Authority

# Of a wallet's notifications in a hurry, before each repeat. Nobody who develops waits for hours.
SHORT_PAUSES_S = (2.0, 5.0, 15.0, 60.0, 240.0, 600.0)
REFUND_SETTLES_AFTER_S = 0.05


class SameIdentity(Exception):
    """The switch's settings name the independent client as the switch itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """settings and keys are the switch's, client is the other one. host: to listen on.

    documented_pauses: repeat notifications as late as the wallets do, after minutes and hours; else SHORT_PAUSES_S.
    in_haste: WeChat Pay's refunds are done when they are answered, and its bills there before their day is over.
    """

    settings: Settings
    keys: SharedKeys
    client: Identity
    host: str
    ports: Ports
    documented_pauses: bool = False
    in_haste: bool = False

    def build(self) -> Town:
        """Raises SameIdentity, PkiError."""
        authority = Authority(self.settings.state_dir / "pki")
        tls = _server_context(authority, self.host)
        known_cards, issued, alipay, wechat = cards(), issuer_accounts(), alipay_payers(), wechat_payers()
        issuer = PatientIssuer(
            self.settings.listen,
            ISSUER,
            self.keys.issuer_zpk,
            issued,
            credentials=_issuer_credentials(authority),
            card_keys=CardKeys(self.keys.issuer_ac, self.keys.issuer_cvv, self.keys.issuer_pvv),
        )
        purses = {
            "unionpay": accounts.of_unionpay(known_cards),
            "alipay": accounts.of_alipay(alipay),
            "wechat": accounts.of_wechat(wechat),
            "issuer": accounts.of_issuer(issued),
        }
        return Town(
            self._unionpay(known_cards),
            AlipaySimulator(
                self._applications(),
                self.host,
                self.ports.alipay,
                alipay,
                tls=tls,
                tls_port=self.ports.alipay_https,
                notify_pauses_s=ALIPAY_PAUSES_S if self.documented_pauses else SHORT_PAUSES_S,
                private_key_pem=self._platform_key("alipay"),
            ),
            WeChatSimulator(
                self._merchants(),
                public_key_id=self.settings.wechat.platform_public_key_id,
                host=self.host,
                port=self.ports.wechat,
                tls=tls,
                tls_port=self.ports.wechat_https,
                notification_pauses_s=WECHAT_PAUSES_S if self.documented_pauses else SHORT_PAUSES_S,
                private_key_pem=self._platform_key("wechat"),
                bills_at_once=self.in_haste,
                refund_settles_after_s=0.0 if self.in_haste else REFUND_SETTLES_AFTER_S,
                reversal_after_s=self.settings.wechat.reversal_after_ms / 1000,
                accounts=wechat,
            ),
            issuer,
            purses,
        )

    def _platform_key(self, name: str) -> str:
        """The wallet's own private key in PEM: the same at each start, so that who knows it may go on."""
        folder = self.settings.state_dir / "simulators" / "platforms"
        folder.mkdir(mode=0o700, exist_ok=True)
        return rsa_key(folder / f"{name}-private-key.pem")[1].decode()

    def _unionpay(self, known_cards: Sequence[Account]) -> UnionPaySimulator:
        switch = self.settings.unionpay
        _differ("unionpay.forwarding_institution_id", switch.forwarding_institution_id, identity.INSTITUTION_ID)
        members = {
            switch.forwarding_institution_id: self.keys.unionpay_mmk,
            identity.INSTITUTION_ID: bytes.fromhex(self.client.secrets.unionpay_mmk),
        }
        settings = SimulatorSettings(
            members,
            self.host,
            self.ports.unionpay,
            switch.destination_id,
            bills_dir=bills_dir(self.settings.state_dir),
        )
        return UnionPaySimulator(settings, known_cards)

    def _applications(self) -> list[AlipayApplication]:
        client, switch = self.client, self.settings.alipay
        _differ("alipay.app_id", switch.app_id, identity.APP_ID)
        known = [AlipayApplication(identity.APP_ID, client.application.public_pem, client.secrets.aes_key)]
        if self.keys.alipay_app_public_key:
            known.append(AlipayApplication(switch.app_id, self.keys.alipay_app_public_key))
        return known

    def _merchants(self) -> list[WeChatMerchant]:
        client, keys, switch = self.client, self.keys, self.settings.wechat
        _differ("wechat.mchid", switch.mchid, identity.MCHID)
        known = [
            WeChatMerchant(
                identity.APPID,
                identity.MCHID,
                client.merchant_serial_no,
                client.merchant.public_pem,
                client.secrets.apiv3_key.encode(),
                client.secrets.v2_key,
            )
        ]
        if keys.wechat_merchant_public_key:
            known.append(
                WeChatMerchant(
                    switch.appid, switch.mchid, switch.serial, keys.wechat_merchant_public_key, keys.apiv3_key
                )
            )
        return known


def bills_dir(state_dir: Path) -> Path:
    """Below it, in a folder named as the member, the UnionPay network leaves its daily files."""
    return state_dir / "simulators" / "unionpay"


def _differ(setting: str, switch: str, client: str) -> None:
    if switch == client:
        raise SameIdentity(f"{setting} is {client}, which is the independent client's: give the switch another")


def _issuer_credentials(authority: Authority) -> ClientCredentials:
    pair = authority.participant("issuer", ISSUER)
    return ClientCredentials(
        authority.ensure().read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
    )


def _server_context(authority: Authority, host: str) -> ssl.SSLContext:
    """Server side, with a certificate of the development authority for localhost and `host`."""
    pair = authority.server([*SERVER_NAMES, *_names_of(host)], "simulators")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    return context


def _names_of(host: str) -> list[x509.GeneralName]:
    try:
        name: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    return [] if name in SERVER_NAMES or not host else [name]


def publish(settings: Settings, keys: SharedKeys, town: Town) -> None:
    """The wallets' public keys, and what they encrypt under, where the switch's settings look for them."""
    for path, content in (
        (settings.alipay_public_key_path, town.alipay.public_key_pem.encode()),
        (settings.wechat_public_key_path, town.wechat.public_key_pem.encode()),
        (settings.state_dir / "simulators" / "wechat_root.pem", town.wechat.root_certificate_pem.encode()),
        (settings.state_dir / "simulators" / "wechat_apiv3.key", keys.apiv3_key),
    ):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)
