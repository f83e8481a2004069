"""Format-preserving encryption: a PAN stays a number of as many digits. NIST SP 800-38G and the draft of its Rev. 1.

Algorithms: "ff1" (tweak: up to 256 bytes) and "ff3-1" (tweak: 7 bytes). The text is written in an alphabet: a number
from 2 to 36 stands for so many of 0-9a-z, in lower case; a string is the alphabet itself, 2 to 256 different characters
in order.

Bounds: at least a million texts must have the text's length (6 digits), and the longer half of the text may have at
most 2^96 values: 56 digits, 40 of 26 letters, 32 of 62 characters. The standard demands the second of FF3-1 only.
Choose "ff1" for what is new: NIST's second draft of Rev. 1 (2025) drops FF3-1, whose margin against attacks has shrunk.
Two equal texts under one tweak become equal: give each text a tweak of its own where there is one (a merchant, a
position), and keep key and tweak with the stored text's version. Nothing tells that a text was changed.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _fpe
from hsm.commands.context import Commands, Context


def fpe_encipher(context: Context, items: Sequence[tuple[str, str, bytes, int | str, str]]) -> list[str | Exception]:
    """(key, algorithm, tweak, radix or alphabet, text) -> text of the same length and alphabet.

    Key: FPE_KEY on the host, AES, whose mode of use permits enciphering (B, E, N). SP 800-38G Rev. 1, algorithms 7
    and 9. Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    NIST's FF1 sample 1 and 2:

    >>> key = load("FPE_KEY", "2B7E151628AED2A6ABF7158809CF4F3C", "AES")
    >>> tweak = bytes.fromhex("39383736353433323130")
    >>> run("fpe_encipher", [(key, "ff1", b"", 10, "0123456789"), (key, "ff1", tweak, 10, "0123456789")])
    ['2433477484', '6124200773']
    """
    return _fpe.encipher(context.keys, items)


def fpe_decipher(context: Context, items: Sequence[tuple[str, str, bytes, int | str, str]]) -> list[str | Exception]:
    """(key, algorithm, tweak, radix or alphabet, text) -> the text that `fpe_encipher` was given.

    As `fpe_encipher`, with a mode of use that permits deciphering (B, D, N); algorithms 8 and 10. Nothing is verified:
    a wrong key or tweak gives another text.

    NIST ACVP, FF3-1:

    >>> key = load("FPE_KEY", "2DE79D232DF5585D68CE47882AE256D6", "AES")
    >>> one("fpe_decipher", key, "ff3-1", bytes.fromhex("CBD09280979564"), "0123456789", "8901801106")
    '3992520240'
    """
    return _fpe.decipher(context.keys, items)


COMMANDS: Final[Commands] = {"fpe_encipher": fpe_encipher, "fpe_decipher": fpe_decipher}
