"""What the channel must be told of one merchant account at WeChat Pay."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WeChatSettings:
    """Raises ValueError where a setting lacks what it needs.

    base_url: scheme, host and port, no path.
    How the platform is known, at least one of two: platform_public_key_pem (PEM text) with platform_public_key_id
    (`PUB_KEY_ID_…`); or platform_root_pem, the certificate of the authority that issues platform certificates, which
    are then downloaded and replaced by themselves. With the public key every request names it.
    apiv3_key: 32 bytes; opens notifications and platform certificates, b"" if neither is wanted.
    v2_key: 32 characters: the merchant is one of API v2. Payments by code then go over v2, and nothing else is needed.
    client_certificate, client_private_key: PEM paths; the platform takes v2's reversals and refunds only with them.
    notify_url: base of the door's URL, "" for none: then there are no orders, which need one.
    signing_key: HSM label of the merchant's RSA-2048 key. device_ip: told as the terminal's address.
    reversal_after_s: WeChat Pay refuses a reversal sooner than 15 s after its payment.
    answer_timeout_s: how long an answer is listened for, past the caller's deadline, so that it is at least counted.
    max_connections: sales at once, and a quarter as many for all else on top, so that silent sales cannot hold up
    their own reversals. There is no queue: a request beyond the bound is not sent.
    certificate_refresh_s: between two downloads; WeChat Pay asks for less than 12 h. certificate_pause_s: before an
    answer under an unknown certificate may cause the next.
    fund_flow_check: whether a day's trade bill must agree with its fund-flow bill; that the two always do is not
    verified for every kind of merchant.
    """

    base_url: str
    appid: str
    mchid: str
    merchant_serial_no: str
    platform_public_key_pem: str = ""
    platform_public_key_id: str = ""
    platform_root_pem: str = ""
    apiv3_key: bytes = field(default=b"", repr=False)
    v2_key: str = field(default="", repr=False)
    client_certificate: str = ""
    client_private_key: str = ""
    notify_url: str = ""
    signing_key: str = "wechat/merchant"
    device_ip: str = "127.0.0.1"
    reversal_after_s: float = 15.0
    connect_timeout_s: float = 1.0
    answer_timeout_s: float = 10.0
    max_connections: int = 512
    certificate_refresh_s: float = 39_600.0
    certificate_pause_s: float = 60.0
    fund_flow_check: bool = False

    def __post_init__(self) -> None:
        if bool(self.platform_public_key_pem) != bool(self.platform_public_key_id):
            raise ValueError("the platform's public key and its id belong together")
        if self.apiv3_key and len(self.apiv3_key) != 32:
            raise ValueError("the APIv3 key must be 32 bytes")
        if self.v2_key:
            if len(self.v2_key) != 32:
                raise ValueError("the v2 key must be 32 characters")
            return
        if not self.platform_public_key_pem and not self.platform_root_pem:
            raise ValueError("the platform's public key or the root of its certificates is needed")
        if self.platform_root_pem and not self.apiv3_key:
            raise ValueError("platform certificates need the APIv3 key")
