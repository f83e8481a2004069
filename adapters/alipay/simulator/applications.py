"""Who may call the gateway."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AlipayApplication:
    """One application of the open platform.

    public_key_pem: what its requests are verified with. aes_key: base64 of the 16 bytes of its content encryption, ""
    for none. certificate_pem: its certificate if it has one already; else the gateway's own authority makes one.
    notify_url: where its notifications go if a request names no other.
    """

    app_id: str
    public_key_pem: str
    aes_key: str = field(default="", repr=False)
    certificate_pem: str = ""
    notify_url: str = ""
