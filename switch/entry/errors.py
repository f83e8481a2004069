"""The one way in which a presentation is refused."""


class EntryError(Exception):
    """What the payer or the terminal presented cannot be read, or contradicts the request.

    field: the request's field, as the caller knows it ("nfc.emv", "payer_code.code" …).
    reason: what is wrong there: tags, lengths and positions, never a value that was presented.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
