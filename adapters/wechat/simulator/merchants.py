"""Who may ask: merchants as the platform knows them."""

from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class WeChatMerchant:
    """serial_no: of the merchant's API certificate, hex, compared without case. public_key_pem: PEM of its RSA key.

    apiv3_key: 32 bytes, encrypts what the platform sends. v2_key: 32 characters; "" for a merchant without API v2.
    """

    appid: str
    mchid: str
    serial_no: str
    public_key_pem: str
    apiv3_key: bytes = field(repr=False)
    v2_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if len(self.apiv3_key) != 32:
            raise ValueError("the APIv3 key must be 32 bytes")
        if self.v2_key and len(self.v2_key) != 32:
            raise ValueError("the v2 key must be 32 characters")
