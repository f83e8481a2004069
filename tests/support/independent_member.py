"""A member of the network that shares no line with ours: blocking sockets, pyiso8583, DES by `cryptography`.

What it does is what docs/unionpay.md tells an independent client to do.
"""

import socket
from itertools import count
from time import strftime

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from iso8583_elsewhere import INDEPENDENT, Message

_CODEC = INDEPENDENT[0]
_COVERED = (2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103)
_LENGTH_FIRST = {2, 32, 33, 100, 102, 103}


def _des(key: bytes, data: bytes, decrypt: bool = False) -> bytes:
    cipher = Cipher(TripleDES(key * 3 if len(key) == 8 else key + key[:8]), modes.ECB())
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def retail_mac(key: bytes, text: bytes) -> bytes:
    """X9.19 under 16 bytes, X9.9 under 8; zero padding."""
    state = bytes(8)
    text += bytes(-len(text) % 8)
    for at in range(0, len(text), 8):
        state = _des(key[:8], bytes(a ^ b for a, b in zip(state, text[at : at + 8], strict=True)))
    return _des(key[:8], _des(key[8:], state, decrypt=True)) if len(key) == 16 else state


def text_of(mti: str, fields: dict[int, str | bytes], numbers: tuple[int, ...]) -> str:
    parts = [mti]
    for number in numbers:
        value = fields.get(number)
        if isinstance(value, str):
            value = value[:20] if number == 90 else value
            parts.append(f"{len(value):02d}{value}" if number in _LENGTH_FIRST else value)
    return " ".join(parts).upper()


def financial_mac(key: bytes, mti: str, fields: dict[int, str | bytes]) -> bytes:
    kept = "".join(each for each in text_of(mti, fields, _COVERED) if each in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.")
    return retail_mac(key, " ".join(kept.split()).encode("ascii"))[:4].hex().upper().encode("ascii")


class IndependentMember:
    """`with IndependentMember(host, port, institution, network, mmk) as member: member.sale(pan, amount)`"""

    def __init__(self, host: str, port: int, institution: str, network: str, mmk: bytes) -> None:
        self._address = (host, port)
        self.institution, self.network = institution, network
        self._mmk = mmk
        self._stans = count(1)
        self._buffer = b""
        self.keys: dict[str, bytes] = {}  # "1": for PINs, "2": for MACs

    def __enter__(self) -> "IndependentMember":
        self._socket = socket.create_connection(self._address, timeout=5)
        try:
            reply = self.ask("0820", {7: strftime("%m%d%H%M%S"), 11: self._stan(), 33: self.institution, 70: "001"})
            if reply[1][39] != "00":
                raise PermissionError(reply[1][39])
            self._wait_for_keys()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask("0820", {7: strftime("%m%d%H%M%S"), 11: self._stan(), 33: self.institution, 70: "002"})
        finally:
            self._socket.close()

    def _wait_for_keys(self) -> None:
        while len(self.keys) < 2:
            self._take_key(self.receive())

    def renew_keys(self) -> None:
        """Ask for new ones (101) and wait for both."""
        self.keys.clear()
        self.ask("0820", {7: strftime("%m%d%H%M%S"), 11: self._stan(), 33: self.institution, 70: "101"})
        self._wait_for_keys()

    def _stan(self) -> str:
        return f"{next(self._stans):06d}"

    def send(self, mti: str, fields: dict[int, str | bytes]) -> None:
        body = _CODEC.encode(mti, fields)
        total = b"%04d" % (46 + len(body))
        ids = self.network.ljust(11).encode() + self.institution.ljust(11).encode()
        header = b"\x2e\x02" + total + ids + b"\0\0\0" + b"\0" + b"00000000" + b"\0" + b"00000"
        self._socket.sendall(total + header + body)

    def receive(self) -> Message:
        while True:
            if len(self._buffer) >= 4:
                end = 4 + int(self._buffer[:4])
                if len(self._buffer) >= end:
                    message, self._buffer = self._buffer[4:end], self._buffer[end:]
                    if message:
                        return _CODEC.decode(message[46:])
                    continue
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the network hung up")
            self._buffer += data

    def ask(self, mti: str, fields: dict[int, str | bytes]) -> Message:
        """Send, and give the message with the same DE11 that comes back; key resets in between are carried out."""
        self.send(mti, fields)
        while True:
            reply = self.receive()
            if reply[0] == "0800":
                self._take_key(reply)
            elif reply[1][11] == fields[11]:
                return reply

    def _take_key(self, message: Message) -> None:
        mti, fields = message
        assert mti == "0800"
        control, double = fields[53], fields.get(48)
        wrapped = double[2:] if isinstance(double, bytes) else fields[96]
        assert isinstance(control, str)
        assert isinstance(wrapped, bytes)
        key = _des(self._mmk, wrapped, decrypt=True)
        numbers = (7, 11, 39, 53, 70, 100)

        def mac(mti: str, told: dict[int, str | bytes]) -> bytes:
            return retail_mac(key, text_of(mti, told, numbers).encode())[:4] + _des(key, bytes(8))[:4]

        if mac(mti, fields) != fields[128]:
            raise ValueError("the key reset is not authentic")
        answer = {n: fields[n] for n in (7, 11, 53, 70, 100)} | {33: self.institution, 39: "00"}
        answer[128] = mac("0810", answer)
        self.send("0810", answer)
        self.keys[control[0]] = key

    def financial(self, mti: str, changes: dict[int, str | bytes]) -> Message:
        """With all that the network wants; `changes` add to it and replace it. Checks the MAC of the answer."""
        stan = self._stan()
        fields: dict[int, str | bytes] = {
            3: "000000", 7: strftime("%m%d%H%M%S"), 11: stan, 12: strftime("%H%M%S"), 13: strftime("%m%d"),
            18: "5411", 19: "156", 22: "012", 25: "00", 32: self.institution, 33: self.institution, 37: f"REF000{stan}",
            41: "TERMINAL", 42: "MERCHANT0000001", 43: "Somebody else's shop".ljust(37) + "CHN", 49: "156",
            60: "00000600030000",
        }  # fmt: skip
        fields |= changes
        fields[128] = financial_mac(self.keys["2"], mti, fields)
        reply = self.ask(mti, fields)
        if financial_mac(self.keys["2"], *reply) != reply[1][128]:
            raise ValueError("the answer is not authentic")
        return reply

    def sale(self, pan: str, amount_minor: int) -> Message:
        return self.financial("0200", {2: pan, 4: f"{amount_minor:012d}"})
