"""Bytes to fields and back (`_codec.pyx`), driven by `adapters.unionpay.format.FIELDS`. No I/O, no state."""

from adapters.unionpay.format import Fields

class Header:
    """The 46-byte header. Ids are institution codes without their padding; the total length is computed."""

    destination: str
    source: str
    version: int
    reject_code: str

    def __init__(
        self,
        destination: str,
        source: str,
        *,
        version: int = 2,
        reserved: bytes = ...,
        batch: int = 0,
        transaction_information: str = "00000000",
        user_information: int = 0,
        reject_code: str = "00000",
    ) -> None: ...
    def reply(self) -> Header: ...

def decode(message: bytes) -> tuple[Header, str, Fields]: ...
def encode(header: Header, mti: str, fields: Fields) -> bytes: ...
def encode_frame(header: Header, mti: str, fields: Fields) -> bytes: ...
def covered_text(
    mti: str, fields: Fields, numbers: tuple[int, ...], of_90: int = 42, restricted: bool = False
) -> bytes: ...
