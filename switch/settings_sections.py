"""The sections of the settings: what each may hold, its default, what it is for. `switch.config` joins them."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.risk.share_signature import public_key


def _host_and_port(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port with a port from 0 to 65535 ([host]:port for IPv6)")
    return text


def _shaped(pattern: str, rule: str) -> AfterValidator:
    """A validator whose error says the rule in words."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(rule)
        return text

    return AfterValidator(check)


def _currency(text: str) -> str:
    if text not in CURRENCIES:
        raise ValueError("must be a supported ISO 4217 alphabetic code")
    return text


def _url_with(schemes: tuple[str, ...]) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(schemes):
            raise ValueError(f"must be empty or begin with {' or '.join(schemes)}")
        return url

    return AfterValidator(check)


def _ip_network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError("must be an IP network, such as 192.0.2.0/24, without host bits") from None
    return text


Address = Annotated[str, AfterValidator(_host_and_port)]
OptionalAddress = Annotated[str, AfterValidator(lambda text: text and _host_and_port(text))]
IPNetwork = Annotated[str, AfterValidator(_ip_network)]
Network = Annotated[str, _shaped(r"[0-9A-F]{4}", "must be 4 hexadecimal digits, upper case")]
InstitutionId = Annotated[str, _shaped(r"\d{8,11}", "must be 8 to 11 digits")]
HeaderId = Annotated[str, _shaped(r"[0-9A-Za-z]{1,11}", "must be 1 to 11 letters or digits")]
ParticipantId = Annotated[str, _shaped(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "must be 1 to 64 of A-Z a-z 0-9 . _ -")]
HttpUrl = Annotated[str, _shaped(r"(https?://[^\s/?#]+[^\s?#]*)?", "must be empty or http(s)://host… without a query")]
AppId = Annotated[str, _shaped(r"[0-9A-Za-z]{1,32}", "must be 1 to 32 letters or digits")]
SellerId = Annotated[str, _shaped(r"(2088\d{12})?", "must be empty or 2088 and 12 digits")]
MerchantNumber = Annotated[str, _shaped(r"\d{8,10}", "must be 8 to 10 digits")]
SerialNumber = Annotated[str, _shaped(r"[0-9A-Fa-f]{1,40}", "must be 1 to 40 hex digits")]
PublicKeyId = Annotated[str, _shaped(r"PUB_KEY_ID_[0-9A-Za-z]+", "must begin with PUB_KEY_ID_")]
PanPrefix = Annotated[str, _shaped(r"\d{0,11}", "must be at most 11 digits")]
Currency = Annotated[str, AfterValidator(_currency)]
PostgresUrl = Annotated[SecretStr, _url_with(("postgresql://", "postgres://"))]
RedisUrl = Annotated[SecretStr, _url_with(("redis://", "rediss://", "unix://"))]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class Operations(Section):
    listen: Address = Field(
        default="127.0.0.1:7480", description="HTTP: /livez, /readyz, /metrics; private network only"
    )
    grpc_listen: Address = Field(
        default="127.0.0.1:7481", description="gRPC: health, reflection, channelz; private network only"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON"
    )
    drain_grace_ms: int = Field(default=1000, ge=0, le=60_000, description="between NOT_SERVING and refusing new calls")
    drain_finish_ms: int = Field(
        default=5000, ge=0, le=300_000, description="longest wait for requests in flight at the end"
    )


class Audit(Section):
    """The chain of the audit trail (docs/audit.md), made by processes of the operations service."""

    checkpoint_s: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="from one signed checkpoint to the next, at least; none where nothing was added",
    )
    checkpoint_file: str = Field(
        default="", description="where checkpoints are exported; empty: <state_dir>/audit/checkpoints.jsonl"
    )


class Tls(Section):
    """Empty paths mean the development files below state_dir/pki, which `payswitch pki init` creates."""

    ca: str = Field(
        default="", description="PEM file of the authorities that sign participants; empty: <state_dir>/pki/ca.pem"
    )
    certificate: str = Field(default="", description="PEM chain of the switch; empty: <state_dir>/pki/server.pem")
    private_key: str = Field(default="", description="PEM key of the switch; empty: <state_dir>/pki/server.key")

    @field_validator("private_key")
    @classmethod
    def _belongs_to_the_certificate(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) != bool(info.data.get("certificate", value)):
            raise ValueError("must be given together with tls.certificate")
        return value


class HsmSettings(Section):
    token_dir: str = Field(default="", description="SoftHSM's token folder; empty: <state_dir>/tokens")
    module: str = Field(default="", description="PKCS#11 module; empty: SoftHSM's, where the system keeps it")
    mode: Literal["auto", "direct", "process"] = Field(
        default="auto",
        description="direct: in the switch's process; process: in processes of its own; "
        "auto: direct if PostgreSQL and Redis are embedded, too, else process",
    )
    processes: int = Field(default=1, ge=1, le=64, description="HSM processes to start for all but signatures")
    signing_processes: int = Field(default=1, ge=1, le=64, description="HSM processes to start for signatures")
    sockets: list[str] = Field(
        default=[], description="sockets of HSM processes that run already; none is started then"
    )
    request_time_limit_ms: int = Field(
        default=1000, ge=10, le=60_000, description="longest wait for an HSM process that does not answer"
    )

    @field_validator("sockets")
    @classmethod
    def _are_for_processes(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if value and info.data.get("mode") == "direct":
            raise ValueError("must be empty where mode is direct")
        if len(set(value)) != len(value):
            raise ValueError("a socket is named twice")
        return value


class Budgets(Section):
    answer_budget_ms: int = Field(
        default=180, ge=20, le=200, description="from admission to the answer, at most; 200 less the way to the caller"
    )
    answer_reserve_ms: int = Field(
        default=50, ge=1, le=150, description="kept back from the channel to record and answer"
    )
    max_in_flight: int = Field(
        default=20_000, ge=1, le=1_000_000, description="requests admitted and not yet answered, at most"
    )

    @field_validator("answer_reserve_ms")
    @classmethod
    def _fits_into_the_budget(cls, value: int, info: ValidationInfo) -> int:
        if value >= info.data.get("answer_budget_ms", value + 1):
            raise ValueError("must be less than answer_budget_ms")
        return value


class Batching(Section):
    max_batch: int = Field(default=128, ge=1, le=4096, description="items in one flush of a stage, at most")
    pace_ms: float = Field(default=4.0, ge=0, le=50, description="from one flush's start to the next's, at least")


class TransmissionWindow(Section):
    back_s: int = Field(default=86_400, ge=60, le=604_800, description="oldest transmission time that is admitted")
    ahead_s: int = Field(
        default=300, ge=1, le=3600, description="furthest transmission time in the future that is admitted"
    )


class Risk(Section):
    velocity_limit_per_minute: int = Field(
        default=60, ge=0, le=1_000_000, description="authorizations per card and minute; 0: no limit"
    )
    contactless_no_pin_limit_minor: int = Field(
        default=100_000, ge=0, le=LARGEST_AMOUNT_MINOR, description="largest tap without a PIN, minor units"
    )
    counters_down_policy: Literal["continue", "decline"] = Field(
        default="continue", description="what to do without Redis"
    )


class RiskDesk(Section):
    """What a rule set or a model must have shown before it goes live (docs/risk_desk.md)."""

    replay_days: int = Field(default=7, ge=1, le=366, description="days that its replay covers, or all there are")
    replay_age_h: int = Field(default=24, ge=1, le=720, description="hours after which its replay is too old")
    newly_declined_basis_points: int = Field(
        default=50, ge=0, le=10_000,
        description="of what was let pass, hundredths of a percent: whoever approves more confirms the figure",
    )  # fmt: skip
    replay_processes: int = Field(default=2, ge=1, le=64, description="processes that one replay takes beside the road")


class RiskCases(Section):
    """Alerts, cases and lists (docs/risk_cases.md)."""

    alert_window_min: int = Field(
        default=60, ge=1, le=1440, description="within which what a rule says of a subject again is the same alert"
    )
    freeze_days: int = Field(default=30, ge=1, le=3650, description="that a case's freeze or step-up stands")
    payer_basis_points: int = Field(
        default=50, ge=0, le=10_000,
        description="of last week's payers, hundredths of a percent: entries that meet more need a second person",
    )  # fmt: skip
    merchant_basis_points: int = Field(
        default=100, ge=0, le=10_000,
        description="of last week's payments, hundredths of a percent: a larger merchant's entry needs a second person",
    )  # fmt: skip
    looked_back_days: int = Field(default=7, ge=1, le=31, description="whose payments entries are held against")


class RiskPartner(Section):
    """Somebody with whom indicators are shared, as signed STIX 2.1 bundles (docs/risk_cases.md)."""

    id: str = Field(pattern="^[a-z][a-z0-9_]{0,31}$", description="by which calls and lists name him")
    public_key: str = Field(description="in PEM, Ed25519 or ECDSA P-256: verifies what he sends")
    trust: Literal["watch", "block"] = Field(default="watch", description="the list that his indicators make")
    days: int = Field(default=30, ge=1, le=365, description="after which an indicator ends at the latest")
    marking: Literal["clear", "green", "amber", "amber_strict", "red"] = Field(
        default="amber", description="TLP 2.0 of what he is sent of our own"
    )
    card_key: SecretStr = Field(
        default=SecretStr(""),
        description="128 hexadecimal digits that both have, for cards; only between installations that hash alike",
    )

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, value: str) -> str:
        public_key(value)
        return value

    @field_validator("card_key")
    @classmethod
    def _is_sixty_four_bytes(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (len(text) != 128 or set(text) - set("0123456789abcdefABCDEF")):
            raise ValueError("must be 128 hexadecimal digits")
        return value


class RiskShare(Section):
    sender: str = Field(
        default="payswitch",
        min_length=1,
        max_length=64,
        description="the name by which partners know this installation",
    )
    partners: list[RiskPartner] = Field(default=[], description="with whom indicators are shared")

    @field_validator("partners")
    @classmethod
    def _are_different(cls, partners: list[RiskPartner]) -> list[RiskPartner]:
        if len({each.id for each in partners}) != len(partners):
            raise ValueError("an id is there twice")
        return partners


class RiskMonitors(Section):
    """What makes an alert of accounts, devices and doors, and what blocks an address (docs/risk_monitors.md)."""

    buffer: int = Field(
        default=10_000, ge=100, le=1_000_000, description="signals that wait to be worked in a process, at most"
    )
    window_minutes: int = Field(default=10, ge=1, le=60, description="the short window, of what a machine does")
    stuffed_accounts: int = Field(
        default=20, ge=2, le=1000, description="accounts tried in vain from one address in the short window"
    )
    guessing_addresses: int = Field(
        default=10, ge=2, le=1000, description="addresses that tried one account in vain in an hour"
    )
    anomaly_failures: int = Field(
        default=5, ge=1, le=1000,
        description="failures of an account in an hour before somebody enters from a new network",
    )  # fmt: skip
    failures_before_success: int = Field(
        default=8, ge=2, le=1000, description="failures of one address at an account in an hour before it enters"
    )
    takeover_minutes: int = Field(
        default=60, ge=1, le=1440, description="in which a changed password and two more changes are one story"
    )
    dormant_days: int = Field(default=90, ge=7, le=730, description="without a sign-in: the account was dormant")
    devices_of_account: int = Field(
        default=5, ge=2, le=1000, description="devices added to an account in a day, or paid with in 30"
    )
    accounts_of_device: int = Field(
        default=5, ge=2, le=1000, description="accounts that bound one device key, or paid with one device in 30 days"
    )
    device_declines: int = Field(default=10, ge=1, description="payments of a device that were declined in a day")
    refused_cards: int = Field(
        default=5, ge=1, le=1000, description="cards declined in a day when one account added them"
    )
    code_guesses: int = Field(default=20, ge=1, le=1000, description="wrong payment codes at one terminal in an hour")
    pin_failed_cards: int = Field(
        default=10, ge=2, le=1000, description="cards whose PIN was wrong at one terminal in an hour"
    )
    bad_signatures: int = Field(
        default=10, ge=1, le=1000, description="wrong signatures or MACs of one sender in the short window"
    )
    certificate_refusals: int = Field(
        default=5, ge=1, le=1000, description="calls in an hour with a certificate that is not for them"
    )
    role_misuses: int = Field(
        default=20, ge=1, le=1000, description="calls in the short window that are not open to their caller"
    )
    scans: int = Field(
        default=30, ge=1, le=1000, description="requests in the short window for what is not there, or malformed"
    )
    wrong_credentials: int = Field(
        default=10, ge=1, le=1000, description="wrong API credentials from one address in the short window"
    )
    alert_again_minutes: int = Field(
        default=60, ge=1, le=1440, description="for so long the same alert of the same subject is not raised again"
    )
    block_minutes: int = Field(
        default=15, ge=0, le=1440, description="how long an address is blocked for an alert in blocking; 0: never"
    )
    blocking: list[Literal["credential_stuffing", "credential_guessing", "scanning"]] = Field(
        default=["credential_stuffing", "credential_guessing", "scanning"],
        description="alerts that block the address they are about",
    )
    never_blocked: list[IPNetwork] = Field(
        default=[
            *("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"),
        ],
        description="networks of proxies and of one's own: no door turns them away",
    )


class FollowUps(Section):
    inquiry_interval_ms: int = Field(default=3000, ge=100, description="between two inquiries while a payer is typing")
    payer_timeout_ms: int = Field(
        default=60_000, ge=1000, description="how long a payer may take before the payment is cancelled"
    )
    reversal_backoff_first_ms: int = Field(default=1000, ge=10, description="before the second sending of a reversal")
    reversal_backoff_max_ms: int = Field(
        default=60_000, ge=10, description="between two sendings of a reversal, at most"
    )
    max_attempts: int = Field(default=1000, ge=1, description="sendings before a reversal becomes a dead letter")

    @field_validator("reversal_backoff_max_ms")
    @classmethod
    def _is_not_below_the_first(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("reversal_backoff_first_ms", value):
            raise ValueError("must not be less than reversal_backoff_first_ms")
        return value


class Notifications(Section):
    """Plain HTTP: a proxy in front speaks TLS with the wallets and passes `/notify/` on."""

    listen: OptionalAddress = Field(
        default="127.0.0.1:7482", description="HTTP: what wallets report by themselves; empty: switched off"
    )
    public_url: HttpUrl = Field(
        default="", description="base URL under which wallets reach it, told them with each payment; empty: none"
    )
    per_second: int = Field(
        default=200, ge=1, le=10_000, description="notifications read by one process; more are told to come again"
    )


class UnionPaySettings(Section):
    """The defaults reach the simulator that `payswitch simulators` starts; an empty host switches the channel off."""

    host: str = Field(default="127.0.0.1", description="the network's host; empty: no UnionPay")
    port: int = Field(default=7583, ge=1, le=65535, description="the network's port")
    acquiring_institution_id: InstitutionId = Field(default="01020344", description="DE32")
    forwarding_institution_id: InstitutionId = Field(default="01020344", description="DE33")
    source_id: HeaderId | Literal[""] = Field(default="", description="our id in the message header; empty: DE33's")
    destination_id: HeaderId = Field(default="00010344", description="the network's id in the message header")
    links: int = Field(default=2, ge=1, le=64, description="persistent connections of one process")
    entry_mode_code: str = Field(default="03", pattern=r"^\d{2}$", description="DE22 of a QR or payment code")
    code_field: Literal[48, 59] = Field(default=59, description="the field in which a payment code travels")
    reversal_reason: str = Field(default="4021", pattern=r"^\d{4}$", description="DE60.1 of a reversal")
    terminal_type: str = Field(default="03", pattern=r"^\d{2}$", description="DE60.2.5: 03 is a POS")
    captures_by_advice: bool = Field(default=False, description="a completion is told (0220) instead of asked (0200)")
    key_life_s: int = Field(default=86_400, ge=0, description="working keys are renewed after this; 0: never by us")
    bills_dir: str = Field(
        default="", description="where settlement files arrive; empty: <state_dir>/simulators/unionpay/<DE33>"
    )
    bill_totals: bool = Field(default=True, description="settlement files end in a line of totals")


class AlipaySettings(Section):
    """The application's private key is `alipay/app` in the HSM. An empty gateway_url switches the channel off."""

    gateway_url: HttpUrl = Field(
        default="http://127.0.0.1:7584/gateway.do", description="the gateway; empty: no Alipay"
    )
    app_id: AppId = Field(default="2021000000000001", description="our application")
    public_key: str = Field(
        default="", description="PEM of Alipay's public key; empty: <state_dir>/simulators/alipay.pem"
    )
    application_certificate: str = Field(
        default="", description="PEM of our certificate; given: certificate mode, public_key is not read"
    )
    root_certificates: str = Field(default="", description="PEM of Alipay's roots, for certificate mode")
    platform_certificate: str = Field(
        default="", description="PEM of Alipay's certificate and what signed it; later ones are fetched"
    )
    content_key: str = Field(
        default="", description="HSM label of the AES key of content encryption; empty: contents are not encrypted"
    )
    notify_url: HttpUrl = Field(
        default="", description="where Alipay reaches our door for notifications; empty: it is only asked"
    )
    seller_id: SellerId = Field(default="", description="our account, as bills must name it; empty: any")

    @field_validator("platform_certificate")
    @classmethod
    def _all_or_none(cls, value: str, info: ValidationInfo) -> str:
        others = [info.data.get(name, "") for name in ("application_certificate", "root_certificates")]
        if {bool(value), *map(bool, others)} == {True, False}:
            raise ValueError("must be given together with application_certificate and root_certificates")
        return value


class WeChatSettings(Section):
    """The merchant's private key is `wechat/merchant` in the HSM. An empty base_url switches the channel off."""

    base_url: HttpUrl = Field(default="http://127.0.0.1:7585", description="the API; empty: no WeChat Pay")
    appid: AppId = Field(default="wx0000000000000001", description="our application")
    mchid: MerchantNumber = Field(default="1900000001", description="our merchant number")
    serial: SerialNumber = Field(
        default="0000000000000000000000000000000000000001",
        description="serial number of our merchant certificate",
    )
    platform_public_key: str = Field(
        default="", description="PEM of the platform's public key; empty: <state_dir>/simulators/wechat.pem"
    )
    platform_public_key_id: PublicKeyId = Field(default="PUB_KEY_ID_0000000000000000000000000001", description="its id")
    reversal_after_ms: int = Field(
        default=15_000, ge=0, description="the platform refuses a reverse sooner after the payment"
    )
    platform_root: str = Field(
        default="", description="PEM of the root of platform certificates; given: certificate mode, no public key"
    )
    apiv3_key_file: str = Field(
        default="", description="file of the 32-byte APIv3 key; empty: <state_dir>/simulators/wechat_apiv3.key if there"
    )
    v2_key_file: str = Field(
        default="", description="file of the 32-character key of API v2; given: payments go over v2, nothing over v3"
    )
    client_certificate: str = Field(default="", description="PEM of our API certificate, for reversals over API v2")
    client_private_key: str = Field(default="", description="PEM of its key")
    notify_url: HttpUrl = Field(
        default="",
        description="our door as WeChat Pay reaches it; empty: <notifications.public_url>/notify/wechat, if given",
    )
    fund_flow_check: bool = Field(
        default=False, description="refuse a day's trade bill that disagrees with its fund-flow bill"
    )

    @field_validator("client_private_key")
    @classmethod
    def _belongs_to_the_certificate(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) != bool(info.data.get("client_certificate", value)):
            raise ValueError("must be given together with wechat.client_certificate")
        return value

    @field_validator("v2_key_file")
    @classmethod
    def _is_one_api(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("platform_root"):
            raise ValueError("must be empty where platform_root is given: a merchant is of API v2 or v3")
        return value


class StandInRule(Section):
    """What the switch may approve in an issuer's place while that has no link to it. Amounts in minor units."""

    issuer: ParticipantId = Field(description="participant id, listed in issuers")
    currency: str = Field(default="CNY", pattern="^[A-Z]{3}$", description="no other is stood in for")
    largest_minor: int = Field(gt=0, description="of one approval")
    card_minor: int = Field(gt=0, description="of one card in the window")
    card_count: int = Field(gt=0, description="approvals of one card in the window")
    total_minor: int = Field(gt=0, description="of all cards in the window")
    total_count: int = Field(gt=0, description="approvals of all cards in the window")
    window_s: int = Field(default=86_400, ge=60, le=2_592_000, description="length of the window, which slides")
    pan_prefixes: list[PanPrefix] = Field(min_length=1, description="cards that may be stood in for")
    entries: list[Literal["nfc", "payer_qr", "bluetooth", "keyed"]] = Field(
        default=["nfc"], min_length=1, description="how the card must have been presented"
    )


class Terminals(Section):
    """UnionPay's POS dialect over TCP, without TLS: for a private network, or behind something that ends TLS."""

    listen: OptionalAddress = Field(default="", description="host:port for payment terminals; empty: no such door")
    networks: list[Network] = Field(
        default=[], description="TPDU destinations (NII) that are served, 4 hexadecimal digits; empty: any"
    )
    connections: int = Field(default=1000, ge=1, le=100_000, description="connections of terminals, at most")
    connections_per_address: int = Field(default=64, ge=1, le=100_000, description="of one IP address, at most")
    in_flight: int = Field(default=16, ge=1, le=256, description="messages of one connection under way, at most")
    idle_ms: int = Field(default=120_000, ge=100, description="longest silence of a connection")
    message_ms: int = Field(
        default=5000, ge=100, le=60_000, description="from a message's first byte to its last, at most"
    )
    largest_message_bytes: int = Field(default=2048, ge=128, le=2048, description="longest message")
    repeat_window_ms: int = Field(
        default=60_000, ge=1000, le=3_600_000,
        description="how long a message with the same batch and STAN is a repeat; later its name is used up",
    )  # fmt: skip
    sign_ons_per_minute: int = Field(default=6, ge=1, le=600, description="of one terminal, at most")
    mac_key: Literal["single", "double"] = Field(
        default="single", description="length of the MAC keys that terminals are sent"
    )


class RouteRule(Section):
    """Where payments go: exactly one of pan_prefix ("" is every card) and scheme, then the channels in order."""

    name: str = Field(min_length=1, description="shown in a payment's route explanation")
    pan_prefix: PanPrefix | None = Field(default=None, description="leading digits of the PAN")
    scheme: Literal["alipay", "wechat", "unionpay"] | None = Field(default=None, description="whose payment code it is")
    channels: list[str] = Field(min_length=1, description="unionpay, alipay, wechat or issuer:<id>, best first")

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.pan_prefix is None) == (self.scheme is None):
            raise ValueError("exactly one of pan_prefix and scheme must be given")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("a channel is named twice")
        return self


class Merchants(Section):
    """Merchants that were onboarded here (docs/merchants.md)."""

    only_onboarded: bool = Field(
        default=False, description="take payments for onboarded merchants only: acquirers bring none of their own"
    )
    acquirer_id: ParticipantId = Field(
        default="payswitch", description="who acquires for merchants that apply by themselves"
    )
    account_cooling_off_h: int = Field(
        default=24, ge=1, le=720, description="hours from the approval of another settlement account to its use"
    )
    invitation_h: int = Field(default=72, ge=1, le=720, description="hours in which an invitation may be redeemed")
    credentials: int = Field(default=20, ge=1, le=100, description="working API credentials of one merchant, at most")


class Platform(Section):
    """The services for users and merchants, and how they reach the authorization service if it is not beside them."""

    listen: OptionalAddress = Field(
        default="127.0.0.1:7444", description="gRPC with TLS, for users and merchants; empty: no such listener"
    )
    authorizations: OptionalAddress = Field(
        default="",
        description="host:port of the authorization service; needed where services leave it to another process",
    )
    certificate: str = Field(
        default="", description="PEM chain of this process's platform participant; empty: the development authority's"
    )
    private_key: str = Field(default="", description="PEM file of its private key")
    admitted_again_s: float = Field(
        default=30.0, gt=0, le=3600, description="while a stream lasts, how often its caller's right is looked at again"
    )


class Followers(Section):
    """Who follows the journal gives way to the road of his process (docs/feed.md)."""

    give_way_above: int = Field(
        default=16, ge=0, le=100_000, description="authorizations in flight above which followers of the journal wait"
    )
    insist_after_ms: int = Field(
        default=3_000, ge=0, le=600_000, description="behind by more, a follower goes on, with rests"
    )
    no_rest_after_ms: int = Field(default=30_000, ge=0, le=3_600_000, description="behind by more, without rests")


class Orders(Section):
    """Orders, and the page behind their QR (docs/orders.md). Without TLS: a proxy in front speaks it."""

    listen: OptionalAddress = Field(default="", description="host:port of the page behind an order's QR; empty: off")
    public_url: str = Field(
        default="",
        pattern=r"^(https://[a-z0-9.-]{1,100}(:[0-9]{1,5})?(/[A-Za-z0-9._-]{1,40})*)?$",
        description="https://… as payers reach that page; empty: no addresses in QRs and on tags",
    )
    forwarded_for: bool = Field(
        default=False, description="whether the proxy in front names the payer's address last in X-Forwarded-For"
    )
    per_address_per_minute: int = Field(default=60, ge=1, le=10_000, description="of one address at the page, at most")
    redirect_hosts: list[str] = Field(
        default=["qr.alipay.com"], description="hosts of wallets' codes to which the page may send a payer"
    )
    per_shop_code_per_minute: int = Field(
        default=30, ge=1, le=10_000, description="orders that the page makes of one printed code, at most"
    )
    open_per_shop_code: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="orders of one printed code that a maker may have open; all who use the page are one",
    )
    step_up_above_minor: dict[Currency, Annotated[int, Field(ge=0)]] = Field(
        default={"CNY": 100_000},
        description="by currency, what a payer may pay for orders in 24 h without a second factor of late, minor "
        "units; of another currency nothing",
    )
    unpaid_kept_days: int = Field(
        default=30, ge=1, le=36_500, description="after so long a closed or expired order is dropped"
    )
    paid_kept_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="after so long a paid order is dropped, counted from its last refund; 0: never",
    )
    watchers: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="streams that watch orders, at most; one merchant has a tenth of them",
    )


class Wallet(Section):
    """Who asks for the proof that a card is its user's (docs/wallet.md), as the payer's bank shows it."""

    acquirer_id: ParticipantId = Field(default="wallet", description="the acquirer that verifies users' cards")
    merchant_id: str = Field(
        default="WALLET", pattern="^[0-9A-Za-z]{1,15}$", description="its merchant, as the payer's bank shows it"
    )
    merchant_name: str = Field(default="payswitch wallet", max_length=25, description="that merchant's name")
    merchant_city: str = Field(default="Shanghai", max_length=13, description="that merchant's city")
    terminal_id: str = Field(default="00000001", pattern="^[0-9A-Za-z]{1,8}$", description="that merchant's terminal")


class Users(Section):
    """People's accounts (docs/users.md)."""

    rp_id: str = Field(
        default="localhost", min_length=1, description="WebAuthn: the domain passkeys belong to, for ever"
    )
    rp_name: str = Field(default="payswitch", min_length=1, description="as authenticators show it")
    origins: list[str] = Field(
        default=["https://localhost"], min_length=1, description="WebAuthn: where passkeys may be used, scheme://host"
    )
    access_token_ms: int = Field(default=600_000, ge=10_000, le=3_600_000, description="how long an access token lives")
    refresh_token_ms: int = Field(
        default=2_592_000_000, ge=60_000, le=31_536_000_000, description="how long a refresh token lives"
    )
    session_ms: int = Field(
        default=7_776_000_000, ge=60_000, le=31_536_000_000, description="from log-in to the last refresh, at most"
    )
    refresh_grace_ms: int = Field(
        default=10_000, ge=0, le=60_000, description="how long a refresh may be repeated with the same answer"
    )
    argon2_memory_kib: int = Field(default=47_104, ge=8, le=4_194_304, description="memory of one password hash")
    argon2_passes: int = Field(default=1, ge=1, le=100, description="passes over it")
    argon2_lanes: int = Field(default=1, ge=1, le=16, description="lanes in it")
    password_threads: int = Field(default=2, ge=1, le=64, description="password hashes at once in a process")
    password_queue: int = Field(default=32, ge=0, le=10_000, description="password hashes that wait, at most")
    free_tries: int = Field(default=5, ge=1, le=100, description="wrong tries in a row before a login is locked")
    first_lock_ms: int = Field(
        default=30_000, ge=1, le=86_400_000, description="the first lock; each wrong try doubles it"
    )
    longest_lock_ms: int = Field(default=900_000, ge=1, le=86_400_000, description="the longest lock")
    codes_per_hour: int = Field(default=5, ge=1, le=100, description="codes sent to one login, at most")
    codes_per_day: int = Field(default=10, ge=1, le=1000, description="codes sent to one login in a day, at most")
    calls_per_address: int = Field(
        default=60, ge=1, le=1_000_000, description="log-ins and the like in a minute of one IP address, at most"
    )
    rescue_wait_h: int = Field(
        default=72, ge=24, le=720, description="hours from the approval of a rescue until it may be completed"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for origin in self.origins:
            host = re.sub(r":\d+$", "", origin.partition("://")[2])
            app = origin.startswith("android:apk-key-hash:")
            if not app and host != self.rp_id and not host.endswith(f".{self.rp_id}"):
                raise ValueError(f"origins: {origin} is not of the domain in rp_id")
        if self.argon2_memory_kib < 8 * self.argon2_lanes:
            raise ValueError("argon2_memory_kib must be at least 8 for each of argon2_lanes")
        if self.longest_lock_ms < self.first_lock_ms:
            raise ValueError("longest_lock_ms must not be shorter than first_lock_ms")
        return self


_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Messages(Section):
    """How `payswitch messages send` delivers users' messages (docs/messages.md)."""

    switch: OptionalAddress = Field(
        default="", description="host:port of a switch that serves users, with mutual TLS; empty: listen's"
    )
    certificate: str = Field(
        default="", description="PEM chain of the messenger participant; empty: the development authority's"
    )
    private_key: str = Field(default="", description="PEM file of its private key")
    at_once: int = Field(default=10, ge=1, le=100, description="messages taken together")
    timeout_ms: int = Field(default=20_000, ge=100, le=50_000, description="one attempt, all of it")
    dead_letters: str = Field(
        default="", description="where messages that are given up are named; empty: <state_dir>/messages/dead.jsonl"
    )
    ca: str = Field(default="", description="PEM of the authorities of mail server and gateway; empty: the system's")
    smtp: OptionalAddress = Field(default="", description="host:port of the mail server; empty: no e-mails")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls from the first byte, or none, to this machine alone"
    )
    smtp_user: str = Field(default="", description="of AUTH; empty: none")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="of AUTH")
    mail_from: str = Field(
        default="no-reply@localhost",
        pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,190}$",
        description="the sender's address",
    )
    sms_url: HttpUrl = Field(default="", description="hook of the gateway for short messages, https; empty: none")
    sms_secret: SecretStr = Field(default=SecretStr(""), description="whsec_… that signs what the hook gets")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("certificate and private_key must be given together")
        host = self.smtp.rpartition(":")[0]
        if self.smtp and self.smtp_security == "none" and host.strip("[]") not in _LOCAL_HOSTS:
            raise ValueError("smtp_security: none is for a mail server on this machine")
        if self.sms_url.startswith("http:") and urlsplit(self.sms_url).hostname not in _LOCAL_HOSTS:
            raise ValueError("sms_url: http is for a gateway on this machine; codes go elsewhere over TLS alone")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError("smtp_user: a password goes over TLS alone")
        return self


class Reconciliation(Section):
    """The channels' daily bills against our records."""

    daily: bool = Field(default=True, description="whether this process fetches the bills of its channels by itself")
    first_hour: int = Field(
        default=10, ge=0, le=23, description="of the following day, Shanghai, before which no bill is asked for"
    )
    tolerance_s: int = Field(
        default=600, ge=0, le=7200, description="so near to midnight a channel's clock may say another day"
    )


class Retention(Section):
    """How long what is kept (docs/retention.md); 0: for ever. Done by processes of the operations service."""

    journal_days: int = Field(
        default=1830, ge=0, le=36_600,
        description="days of payments in the journal, with their follow-ups and events; 0, or 400 and more",
    )  # fmt: skip
    transactions_days: int = Field(
        default=1830, ge=0, le=36_600, description="days of payments in merchants' lists; 0, or 400 and more"
    )
    webhooks_days: int = Field(
        default=90, ge=0, le=36_600, description="days of webhooks' deliveries and their log; 0, or 7 and more"
    )
    first_hour: int = Field(
        default=3, ge=0, le=23, description="of the day, Shanghai, before which housekeeping does not begin"
    )
    batch: int = Field(default=5_000, ge=1, le=100_000, description="rows deleted in one transaction, at most")
    pause_ms: int = Field(default=200, ge=0, le=60_000, description="between two of them")

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        for name, least in (("journal_days", 400), ("transactions_days", 400), ("webhooks_days", 7)):
            if 0 < getattr(self, name) < least:
                raise ValueError(f"{name} must be 0 or at least {least}")
        return self


class Disputes(Section):
    """Deadlines in days from the day on which a stage begins, and what a chargeback costs."""

    retrieval_days: int = Field(default=10, ge=1, le=120, description="for a merchant to answer a retrieval request")
    chargeback_days: int = Field(default=14, ge=1, le=120, description="for a merchant to answer a chargeback")
    represented_days: int = Field(default=30, ge=1, le=365, description="for the issuer to answer a representment")
    second_days: int = Field(default=10, ge=1, le=120, description="for a merchant to answer a second chargeback")
    fee_minor: int = Field(
        default=0, ge=0, le=1_000_000,
        description="what a chargeback costs the merchant, whatever comes of it; minor units of its currency",
    )  # fmt: skip


class TransactionsSettings(Section):
    """A merchant's payments for its people (docs/transactions.md)."""

    export_rows: int = Field(default=100_000, ge=1, le=1_000_000, description="rows of one export, at most")
    exports_at_once: int = Field(default=2, ge=1, le=32, description="exports that a process makes at once, at most")


class WebhooksSettings(Section):
    """Telling merchants what happened (docs/webhooks.md)."""

    ports: list[int] = Field(default=[443, 8443], min_length=1, description="ports that an endpoint's URL may name")
    allow_loopback: bool = Field(
        default=False, description="http and this machine's own addresses: for tests and development only"
    )
    endpoints_per_merchant: int = Field(default=10, ge=1, le=1000, description="endpoints of one merchant, at most")
    at_once: int = Field(default=64, ge=1, le=1000, description="messages that a process sends at once, at most")
    of_each_endpoint: int = Field(default=4, ge=1, le=100, description="of one endpoint at once, at most")


class Settlement(Section):
    """The ledger's days, and what merchants are paid."""

    close_grace_s: int = Field(
        default=300, ge=0, le=86_400, description="from the end of a business day until it may be closed"
    )
    early_close: bool = Field(
        default=False,
        description="a day may be closed and reconciled before it is over: for demonstrations and tests; what comes"
        " later belongs to the next day",
    )
    smallest_payout_minor: int = Field(
        default=100, ge=1, description="what is less is carried over; minor units of whichever currency"
    )
    largest_batch: int = Field(default=10_000, ge=1, le=100_000, description="payouts in a settlement batch, at most")
    debtor_name: str = Field(
        default="", max_length=140, description="holder of the account that merchants are paid from"
    )
    debtor_account: str = Field(default="", max_length=34, description="its number or IBAN")
    debtor_bank_code: str = Field(default="", max_length=12, description="its bank: BIC, or CNAPS of 12 digits")
