"""What the channel is told about Alipay and its application."""

from dataclasses import dataclass

from adapters.alipay.trust import Trust


@dataclass(slots=True, frozen=True)
class AlipaySettings:
    """gateway_url: http(s) URL of gateway.do, without a query. alipay_public_key_pem: verifies answers.

    Certificate mode, instead of alipay_public_key_pem: application_certificate_pem (ours), root_certificates_pem (the
    file of roots that Alipay publishes), alipay_certificate_pem (the platform's, with what signed it).
    signing_key, content_key: HSM labels of the application's private key and of the AES key of content encryption; ""
    of the latter: nothing is encrypted. notify_url: base URL of our door for notifications, "" for none.
    seller_id: our account as bills name it, "" to take any.

    max_connections: exchanges at once; a quarter of them is kept for follow-ons, so that silent sales cannot hold up
    their own cancels. max_in_flight: messages accepted and not ended. timeout_s: how long an answer is waited for,
    callers or not. timeout_express: when Alipay closes a trade that its payer leaves unpaid. certificate_check_s:
    how often Alipay is asked under which certificate it answers. notification_age_max_s: Alipay repeats one for 25
    hours; an older one is not believed. Raises ValueError.
    """

    gateway_url: str
    app_id: str
    alipay_public_key_pem: str = ""
    application_certificate_pem: str = ""
    root_certificates_pem: str = ""
    alipay_certificate_pem: str = ""
    signing_key: str = "alipay/app"
    content_key: str = ""
    notify_url: str = ""
    seller_id: str = ""
    max_connections: int = 128
    max_in_flight: int = 4_096
    connect_timeout_s: float = 2.0
    timeout_s: float = 5.0
    failures_to_open: int = 16
    timeout_express: str = "2m"
    certificate_check_s: float = 600.0
    notification_age_max_s: float = 26 * 3_600.0

    def __post_init__(self) -> None:
        if not self.gateway_url.startswith(("http://", "https://")) or "?" in self.gateway_url:
            raise ValueError("gateway_url: must be an http(s) URL without a query")
        if self.notify_url and not self.notify_url.startswith(("http://", "https://")):
            raise ValueError("notify_url: must be empty or an http(s) URL")
        if not self.app_id:
            raise ValueError("app_id: must not be empty")
        for name in ("max_connections", "max_in_flight", "connect_timeout_s", "timeout_s", "failures_to_open"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above zero")
        self.trust()

    @property
    def certified(self) -> bool:
        """Whether in certificate mode."""
        return bool(self.application_certificate_pem)

    def trust(self) -> Trust:
        """Whose answers are believed. Raises ValueError, which names the setting."""
        if not self.certified:
            return Trust.by_public_key(self.alipay_public_key_pem)
        return Trust.by_certificates(
            self.application_certificate_pem, self.root_certificates_pem, self.alipay_certificate_pem
        )
