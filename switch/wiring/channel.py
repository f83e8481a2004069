"""The channels that the settings switch on, each with what its files hold."""

from pathlib import Path

from adapters.alipay.channel import AlipayChannel, AlipaySettings
from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.unionpay.channel import UnionPayChannel
from adapters.unionpay.settings import UnionPaySettings
from adapters.wechat.channel import WeChatChannel
from adapters.wechat.settings import WeChatSettings
from switch.config import Settings
from switch.domain.stand_in import StandInLimits
from switch.domain.states import EntryMode
from switch.ports import Channel, Clock, Hsm, StandIn
from switch.settings_sections import StandInRule


def build_channels(
    settings: Settings, hsm: Hsm, clock: Clock, hub: IssuerHub, slot: int, stand_in: StandIn | None = None
) -> dict[str, Channel]:
    """Every channel that is switched on, by name."""
    stood_in_for = {rule.issuer for rule in settings.stand_in}
    channels: list[Channel] = [
        IssuerChannel(issuer, hub, stand_in=stand_in if issuer in stood_in_for else None) for issuer in settings.issuers
    ]
    unionpay, alipay, wechat = settings.unionpay, settings.alipay, settings.wechat
    if unionpay.host:
        channels.append(
            UnionPayChannel(
                UnionPaySettings(
                    host=unionpay.host,
                    port=unionpay.port,
                    acquirer=unionpay.acquiring_institution_id,
                    forwarder=unionpay.forwarding_institution_id,
                    network=unionpay.destination_id,
                    source=unionpay.source_id,
                    links=unionpay.links,
                    slot=slot,
                    entry_mode_code=unionpay.entry_mode_code,
                    code_field=unionpay.code_field,
                    reversal_reason=unionpay.reversal_reason,
                    terminal_type=unionpay.terminal_type,
                    captures_by_advice=unionpay.captures_by_advice,
                    key_life_s=unionpay.key_life_s,
                    bills_dir=str(settings.unionpay_bills_path),
                    bill_totals=unionpay.bill_totals,
                ),
                hsm,
                clock,
            )
        )
    if alipay.gateway_url:
        channels.append(AlipayChannel(alipay_settings(settings), hsm, clock))
    if wechat.base_url:
        channels.append(WeChatChannel(wechat_settings(settings), hsm, clock))
    return {channel.name: channel for channel in channels}


def alipay_settings(settings: Settings) -> AlipaySettings:
    """With what the files hold: in certificate mode the three certificates, else Alipay's public key."""
    alipay = settings.alipay
    certified = bool(alipay.application_certificate)

    def certificate(file: str) -> str:
        return read_file(Path(file)).decode() if certified else ""

    return AlipaySettings(
        gateway_url=alipay.gateway_url,
        app_id=alipay.app_id,
        alipay_public_key_pem="" if certified else read_file(settings.alipay_public_key_path).decode(),
        application_certificate_pem=certificate(alipay.application_certificate),
        root_certificates_pem=certificate(alipay.root_certificates),
        alipay_certificate_pem=certificate(alipay.platform_certificate),
        content_key=alipay.content_key,
        notify_url=alipay.notify_url or settings.notify_url_of("alipay"),
        seller_id=alipay.seller_id,
    )


def wechat_settings(settings: Settings) -> WeChatSettings:
    """With what the files hold. A merchant of API v2 needs its key alone; certificates replace the public key."""
    wechat, apiv3 = settings.wechat, settings.wechat_apiv3_key_path
    root = read_file(Path(wechat.platform_root)).decode() if wechat.platform_root else ""
    public = not root and not wechat.v2_key_file
    return WeChatSettings(
        base_url=wechat.base_url,
        appid=wechat.appid,
        mchid=wechat.mchid,
        merchant_serial_no=wechat.serial,
        platform_public_key_pem=read_file(settings.wechat_public_key_path).decode() if public else "",
        platform_public_key_id=wechat.platform_public_key_id if public else "",
        platform_root_pem=root,
        # A key of 32 random bytes may end like a line; an editor's newline comes on top.
        apiv3_key=read_file(apiv3)[:32] if apiv3 is not None else b"",
        v2_key=read_file(Path(wechat.v2_key_file)).decode().strip() if wechat.v2_key_file else "",
        client_certificate=wechat.client_certificate,
        client_private_key=wechat.client_private_key,
        notify_url=wechat.notify_url or settings.notify_url_of("wechat"),
        reversal_after_s=wechat.reversal_after_ms / 1000,
        fund_flow_check=wechat.fund_flow_check,
    )


def read_file(path: Path) -> bytes:
    """Raises SystemExit, with how to find the setting, where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SystemExit(f"cannot read {path}: {error.strerror}; `payswitch check-config` names the setting") from None


def stand_in_limits(rule: StandInRule) -> StandInLimits:
    return StandInLimits(
        currency=rule.currency,
        largest_minor=rule.largest_minor,
        card_minor=rule.card_minor,
        card_count=rule.card_count,
        total_minor=rule.total_minor,
        total_count=rule.total_count,
        window_s=rule.window_s,
        pan_prefixes=tuple(rule.pan_prefixes),
        entries=frozenset(EntryMode[entry.upper()] for entry in rule.entries),
    )
