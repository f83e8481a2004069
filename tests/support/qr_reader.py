"""Reads a QR symbol of level M, versions 1 to 15, from its modules, by ISO/IEC 18004 alone: it shares nothing with the
library that makes them. No error is corrected: a symbol that was made right has none."""

from collections.abc import Sequence
from itertools import chain

Matrix = Sequence[Sequence[int]]  # rows of modules without the quiet zone, 1 is dark

# Table 9, level M: (blocks, data codewords) and, of two groups, the second.
_BLOCKS = {
    1: ((1, 16),), 2: ((1, 28),), 3: ((1, 44),), 4: ((2, 32),), 5: ((2, 43),), 6: ((4, 27),), 7: ((4, 31),),
    8: ((2, 38), (2, 39)), 9: ((3, 36), (2, 37)), 10: ((4, 43), (1, 44)), 11: ((1, 50), (4, 51)),
    12: ((6, 36), (2, 37)), 13: ((8, 37), (1, 38)), 14: ((4, 40), (5, 41)), 15: ((5, 41), (5, 42)),
}  # fmt: skip
# Table E.1: centres of alignment patterns.
_ALIGNMENT = {
    1: (), 2: (6, 18), 3: (6, 22), 4: (6, 26), 5: (6, 30), 6: (6, 34), 7: (6, 22, 38), 8: (6, 24, 42), 9: (6, 26, 46),
    10: (6, 28, 50), 11: (6, 30, 54), 12: (6, 32, 58), 13: (6, 34, 62), 14: (6, 26, 46, 66), 15: (6, 26, 48, 70),
}  # fmt: skip
_MASKS = (
    lambda y, x: (y + x) % 2, lambda y, x: y % 2, lambda y, x: x % 3, lambda y, x: (y + x) % 3,
    lambda y, x: (y // 2 + x // 3) % 2, lambda y, x: y * x % 2 + y * x % 3, lambda y, x: (y * x % 2 + y * x % 3) % 2,
    lambda y, x: ((y + x) % 2 + y * x % 3) % 2,
)  # fmt: skip
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_FORMAT_MASK = 0b101010000010010


def read(matrix: Matrix) -> str:
    version = (len(matrix) - 17) // 4
    form = 0
    for x in (0, 1, 2, 3, 4, 5, 7, 8):  # the first fifteen modules about the upper left finder
        form = form << 1 | matrix[8][x]
    level_and_mask = (form ^ _FORMAT_MASK >> 7) >> 3
    assert level_and_mask >> 3 == 0b00, "not of level M"
    words = _codewords(matrix, version, level_and_mask & 7)
    return _text(_data(words, version), version)


def _codewords(matrix: Matrix, version: int, mask: int) -> list[int]:
    """Two columns at a time from the right, up and down, past what is no data (7.7.3)."""
    size, bits = len(matrix), []
    columns = [x for x in range(size - 1, 0, -2) if x > 6] + [5, 3, 1]
    for turn, right in enumerate(columns):
        rows = range(size) if turn % 2 else range(size - 1, -1, -1)
        for y in rows:
            for x in (right, right - 1):
                if not _is_function(y, x, size, version):
                    bits.append(matrix[y][x] ^ (_MASKS[mask](y, x) == 0))
    return [int("".join(map(str, map(int, bits[at : at + 8]))), 2) for at in range(0, len(bits) - 7, 8)]


def _is_function(y: int, x: int, size: int, version: int) -> bool:
    low, high = 8, size - 8
    if (y <= low and (x <= low or x >= high)) or (y >= high and x <= low) or 6 in (y, x):
        return True
    if version >= 7 and ((y < 6 and x >= size - 11) or (x < 6 and y >= size - 11)):
        return True
    centres = _ALIGNMENT[version]
    finders = {(6, 6), (6, size - 7), (size - 7, 6)}
    return any(abs(y - cy) <= 2 and abs(x - cx) <= 2 for cy in centres for cx in centres if (cy, cx) not in finders)


def _data(words: list[int], version: int) -> str:
    """The blocks' data codewords put apart again, as bits (7.6)."""
    lengths = [length for count, length in _BLOCKS[version] for _ in range(count)]
    taken = iter(words)
    parts: list[list[int]] = [[] for _ in lengths]
    for at in range(max(lengths)):
        for block, length in zip(parts, lengths, strict=True):
            if at < length:
                block.append(next(taken))
    return "".join(f"{word:08b}" for word in chain.from_iterable(parts))


def _text(bits: str, version: int) -> str:
    """The segments up to the terminator (7.4)."""
    out, at = bytearray(), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    while len(bits) - at >= 4 and (mode := take(4)):
        if mode == 7:  # ECI: the character set of what follows
            take(8)
        elif mode == 4:
            out += bytes(take(8) for _ in range(take(8 if version < 10 else 16)))
        else:
            assert mode == 2, f"mode {mode}"
            count = take(9 if version < 10 else 11)
            for _ in range(count // 2):
                high, low = divmod(take(11), 45)
                out += (_ALPHANUMERIC[high] + _ALPHANUMERIC[low]).encode()
            if count % 2:
                out += _ALPHANUMERIC[take(6)].encode()
    return out.decode()
