"""The ISO 8583 codec beside the other Python packages: one sale with chip data and its answer, decoded and encoded.

    python -m benchmarks.codec [--seconds 0.2] [--rounds 7]

Every codec gets the same message. Ours reads and writes the 46-byte header too; the others begin at the MTI. Each is
first held to the bytes: what it decodes must encode to the very same message. A package that is not installed, or
cannot say this dialect, is left out by name. Figures are messages a second, the best of all rounds; the codecs take
turns within a round, so that a ratio compares what ran side by side.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from adapters.unionpay._codec import Header, encode
from adapters.unionpay.format import Fields
from benchmarks.codec_peers import PEERS, Codec, NotUsable, ours

_HEADER = Header("00010344", "44190440")
_EMV = bytes.fromhex(
    "5F2A02015682027C00950580000000009A032611239C01009F02060000000012349F03060000000000009F101307010103A0A002010A0100"
    "0000000012345678909F1A0201569F26081122334455667788"
    "9F2701809F3303E0E9C89F360201239F37040A0B0C0D8408A000000333010101"
)
_SALE: Fields = {
    2: "6225880000000019", 3: "000000", 4: "000000001234", 7: "1123120000", 11: "046875", 12: "120000", 13: "1123",
    14: "3012", 18: "5812", 19: "156", 22: "071", 23: "001", 25: "00", 26: "12", 32: "01020344", 33: "01020344",
    35: "6225880000000019=30122010000000000", 37: "32EZ0C046875", 41: "T0000001", 42: "104110554110001",
    43: "Noodle House             Shanghai    CHN", 49: "156", 52: bytes.fromhex("3C77B8E654636C38"),
    53: "2600000000000000", 55: _EMV, 60: "00000600030000", 128: b"25CB4D4F",
}  # fmt: skip
_ANSWER: Fields = {
    **{number: _SALE[number] for number in (2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49)},
    15: "1123", 38: "004711", 39: "00", 55: bytes.fromhex("910A11223344556677883030"), 128: b"0BADCAFE",
}  # fmt: skip
MESSAGES = (encode(_HEADER, "0200", _SALE), encode(_HEADER, "0210", _ANSWER))


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages a second. decode and encode: the best round. both: each round, decoding and encoding each message."""

    decode: float
    encode: float
    both: tuple[float, ...]


def available() -> tuple[dict[str, Codec], dict[str, str]]:
    """The codecs that reproduce the messages byte for byte, and why each of the others does not take part."""
    usable, left_out = {"payswitch": ours()}, {}
    for name, make in PEERS.items():
        try:
            codec = make()
            for message in MESSAGES:
                codec.check(message)
        except NotUsable as reason:
            left_out[name] = str(reason)
        else:
            usable[name] = codec
    return usable, left_out


def _rate(work: Callable[[], object], seconds: float) -> float:
    """How often `work` runs in a second, each run being two messages."""
    count, elapsed_s = 1, 0.0
    while True:
        started_s = time.perf_counter()
        for _ in range(count):
            work()
        elapsed_s = time.perf_counter() - started_s
        if elapsed_s >= seconds:
            return len(MESSAGES) * count / elapsed_s
        count = max(count * 2, int(count * seconds / max(elapsed_s, 1e-9)))


def measure(codecs: dict[str, Codec], seconds: float, rounds: int) -> dict[str, Figures]:
    decoding: dict[str, list[float]] = {name: [] for name in codecs}
    encoding: dict[str, list[float]] = {name: [] for name in codecs}
    for _ in range(rounds):
        for name, codec in codecs.items():
            decoding[name].append(_rate(codec.decoding(MESSAGES), seconds))
            encoding[name].append(_rate(codec.encoding(MESSAGES), seconds))
    return {
        name: Figures(
            max(decoding[name]),
            max(encoding[name]),
            tuple(1 / (1 / d + 1 / e) for d, e in zip(decoding[name], encoding[name], strict=True)),
        )
        for name in codecs
    }


def ratio(figures: dict[str, Figures], other: str) -> float:
    """How many times faster ours decodes and encodes; the median of the rounds."""
    return median(a / b for a, b in zip(figures["payswitch"].both, figures[other].both, strict=True))


def page(figures: dict[str, Figures], left_out: dict[str, str]) -> str:
    lines = [f"{'codec':<12} {'decode/s':>12} {'encode/s':>12} {'both/s':>12} {'ours ÷ it':>10}"]
    for name, figure in figures.items():
        beside = "" if name == "payswitch" else f"{ratio(figures, name):.1f}"
        lines.append(
            f"{name:<12} {figure.decode:>12,.0f} {figure.encode:>12,.0f} {max(figure.both):>12,.0f} {beside:>10}"
        )
    lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    others = [name for name in figures if name != "payswitch"]
    if others:
        fastest = max(others, key=lambda name: max(figures[name].both))
        lines.append(f"the fastest other is {fastest}: {ratio(figures, fastest):.1f} × (wanted ≥ 2)")
    if "pyiso8583" in figures:
        lines.append(f"pyiso8583: {ratio(figures, 'pyiso8583'):.1f} × (wanted ≥ 5)")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    codecs, left_out = available()
    print(page(measure(codecs, options.seconds, options.rounds), left_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
