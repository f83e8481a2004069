"""CRC-16/CCITT-FALSE: polynomial 1021, initial value FFFF, nothing reflected, nothing inverted."""

import binascii


def crc16(data: bytes) -> int:
    """
    >>> hex(crc16(b"123456789"))
    '0x29b1'
    """
    return binascii.crc_hqx(data, 0xFFFF)
