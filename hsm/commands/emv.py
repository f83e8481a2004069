"""EMV on the issuer's side: cryptograms, issuer scripts, dynamic card codes (EMV 4.3, Book 2). Double-length DES keys.

**The card** opens every tuple: issuer's master key, option, PAN, PAN sequence number. Option "A" or "B" (A1.4.1 and
A1.4.2; up to 16 digits of PAN both are the same); PAN of 12 to 19 digits; sequence number of 2 digits, "" where there
is none (derived as 00). The card's own keys are derived for each item and wiped behind the batch.

**Session keys** of a cryptogram take the ATC (2 bytes) and the unpredictable number (4 bytes; b"" where the derivation
has no use for it); those of secure messaging take a diversifier:

| derivation            | cryptogram takes | diversifier of scripts  | source                                        |
|-----------------------|------------------|-------------------------|-----------------------------------------------|
| `"card-key"`          | nothing          | —                       | VIS, cryptogram version 10: no session key    |
| `"emv-common"`        | ATC              | 8 bytes: ARQC, or RAND  | EMV 4.3, Book 2, A1.3.1                       |
| `"mastercard-skd"`    | ATC and UN       | —                       | M/Chip; its scripts take `"emv-common"`       |
| `"emv2000-tree-4-8"`  | ATC              | ATC                     | EMV 4.0, Book 2, A1.3: 4 branches, height 8   |
| `"emv2000-tree-2-16"` | ATC              | ATC                     | the same: 2 branches, height 16               |
| `"visa-sm"`           | —                | ATC                     | VIS 1.5: the card's key xor the ATC           |

**Modes of use.** An issuer's master key is usually of mode X (derive) in a key block. Such a key does what an issuer's
host does: verify, answer a cryptogram that verifies, sign scripts, change PINs. What lets its caller choose the data of
an encipherment, or makes what only a card should make, wants a mode that says so: G, C or N for `generate_cryptograms`,
`generate_arpcs`, `dcvvs` and `cvc3s`; E, B or N for `encipher_script_data`. With a response to any "cryptogram" under
`"card-key"` a caller could compute the session keys of the other derivations; with script data of his choice he could
find the PIN in a PIN change. A key of mode V verifies codes and cryptograms, and does not respond.

All commands fail with KeyNotFound, KeyUsageError (also for keys of other families and lengths) and InvalidCommand (a
length, an option or a name that does not exist); more is said where there is more.
"""

from collections.abc import Sequence
from typing import Any, Final

from hsm import _emv
from hsm.commands.context import Commands, Context

CARD_KEY: Final = "card-key"
EMV_COMMON: Final = "emv-common"
MASTERCARD_SKD: Final = "mastercard-skd"
EMV2000_TREE_4_8: Final = "emv2000-tree-4-8"
EMV2000_TREE_2_16: Final = "emv2000-tree-2-16"
VISA_SECURE_MESSAGING: Final = "visa-sm"


def generate_cryptograms(
    context: Context, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes]]
) -> list[bytes | Exception]:
    """(EMV_CRYPTOGRAM key, option, PAN, sequence number, derivation, ATC, UN, padding, data) -> cryptogram, 8 bytes.

    What a card does; for simulated cards and tests. padding: method 2 of ISO/IEC 9797-1, or 1 (Visa's version 10).
    EMV 4.3, Book 2, 8.1.2.

    >>> key = load("EMV_CRYPTOGRAM", "12345678" * 4)
    >>> data = bytes.fromhex(
    ...     "000000010000000000001000084000000010800840980704001111111158003456A08003242000")
    >>> atc, un = bytes.fromhex("3456"), bytes.fromhex("11111111")
    >>> one("generate_cryptograms", key, "A", "1234567890123456", "00", "mastercard-skd", atc, un, 2, data).hex()
    'ac8074c9e62ee6ef'
    """
    return _emv.generate_cryptograms(context.token, context.keys, items)


def verify_cryptograms(
    context: Context, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes, bytes]]
) -> list[Exception | None]:
    """(…as `generate_cryptograms`, cryptogram) -> None, or CryptogramMismatch; TooManyFailures for a PAN under its key.

    ARQC, TC and AAC alike. EMV 4.3, Book 2, 8.1.

    >>> key = load("EMV_CRYPTOGRAM", "12345678" * 4, mode="X")
    >>> data = bytes.fromhex(
    ...     "000000010000000000001000084000000010800840980704001111111158003456A08003242000")
    >>> item = (key, "A", "1234567890123456", "00", "emv-common", bytes.fromhex("3456"), b"", 2, data)
    >>> run("verify_cryptograms", [(*item, bytes.fromhex("55BE45DD2C9E0CBF")), (*item, bytes(8))])
    [None, CryptogramMismatch('an application cryptogram does not verify under emv_cryptogram-1')]
    """
    return context.guard.run(
        items, _key_and_pan, lambda each: _emv.verify_cryptograms(context.token, context.keys, each)
    )


def verify_cryptograms_and_respond(
    context: Context,
    items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int, bytes, bytes, str, int, bytes, bytes]],
) -> list[bytes | Exception]:
    """(…as `verify_cryptograms`, response derivation, method, code, proprietary data) -> ARPC, or CryptogramMismatch.

    The last four are those of `generate_arpcs`. Nothing is answered to a cryptogram that does not verify.
    EMV 4.3, Book 2, 8.1 and 8.2.

    >>> key = load("EMV_CRYPTOGRAM", "12345678" * 4, mode="X")
    >>> data = bytes.fromhex(
    ...     "000000010000000000001000084000000010800840980704001111111158003456A08003242000")
    >>> card = (key, "A", "1234567890123456", "00")
    >>> transaction = ("mastercard-skd", bytes.fromhex("3456"), bytes.fromhex("11111111"), 2, data)
    >>> response = ("card-key", 1, bytes.fromhex("0012"), b"")
    >>> arqc = bytes.fromhex("AC8074C9E62EE6EF")
    >>> one("verify_cryptograms_and_respond", *card, *transaction, arqc, *response).hex()
    '5b5b712f9a644774'
    """
    return context.guard.run(
        items, _key_and_pan, lambda each: _emv.verify_cryptograms_and_respond(context.token, context.keys, each)
    )


def generate_arpcs(
    context: Context, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, bytes, int, bytes, bytes]]
) -> list[bytes | Exception]:
    """(EMV_CRYPTOGRAM key, option, PAN, sequence number, derivation, ATC, UN, cryptogram, method, code, proprietary
    data) -> ARPC.

    Method 1: code is the authorization response code, 2 bytes; no proprietary data (b""); -> 8 bytes (8.2.1).
    Method 2: code is the card status update, 4 bytes; proprietary data of 0 to 8 bytes; -> 4 bytes (8.2.2).
    The derivation is that of the ARPC's key: M/Chip and VIS answer under "card-key", EMV's common key under the session
    key. Does not look whether the cryptogram is one: an issuer's host wants `verify_cryptograms_and_respond`.

    >>> key = load("EMV_CRYPTOGRAM", "12345678" * 4)
    >>> arqc, atc = bytes.fromhex("55BE45DD2C9E0CBF"), bytes.fromhex("3456")
    >>> update = bytes.fromhex("00120000")
    >>> card = (key, "A", "1234567890123456", "00")
    >>> one("generate_arpcs", *card, "emv-common", atc, b"", arqc, 2, update, b"").hex()
    'b4c698b6'
    """
    return _emv.generate_arpcs(context.token, context.keys, items)


def script_macs(
    context: Context, items: Sequence[tuple[str, str, str, str, str, bytes, bytes, int]]
) -> list[bytes | Exception]:
    """(EMV_INTEGRITY key, option, PAN, sequence number, derivation, diversifier, message, length) -> MAC.

    message: all that the MAC covers, not padded: the command's header, what the scheme puts behind it (Visa: ATC and
    ARQC), the command's data. length: 4 to 8 bytes. EMV 4.3, Book 2, 9.2.3.

    >>> key = load("EMV_INTEGRITY", "FEDCBA98765432100123456789ABCDEF", mode="X")
    >>> message = bytes.fromhex("8418000008001C29CCA15AE665FA2E")
    >>> one("script_macs", key, "A", "1234567890123456", "", "visa-sm", bytes.fromhex("001C"), message, 8).hex()
    'db56ba60087cefd3'
    """
    return _emv.script_macs(context.token, context.keys, items)


def encipher_script_data(
    context: Context, items: Sequence[tuple[str, str, str, str, str, bytes, str, bytes]]
) -> list[bytes | Exception]:
    """(EMV_CONFIDENTIALITY key, option, PAN, sequence number, derivation, diversifier, encipherment, data) -> bytes.

    data: 1 to 240 bytes. EMV 4.3, Book 2, 9.3 and A1.1, in the ways of the schemes:

    - "visa": a byte with the length, the data, padding method 2 of ISO/IEC 9797-1; ECB.
    - "mastercard": padding method 2 where the data does not fill its last block; CBC from zeros.
    - "emv" (common core definitions): padding method 2 always; CBC from zeros.

    >>> key = load("EMV_CONFIDENTIALITY", "89ABCDEF0123456776543210FEDCBA98")
    >>> arqc, data = bytes.fromhex("7A788EA6B8A3E733"), bytes.fromhex("249999FFFFFFFFFF")
    >>> one("encipher_script_data", key, "A", "1234567890123456", "00", "emv-common", arqc, "visa", data).hex()
    '1b2943bed3d298f9c75848d17317cd1d'
    """
    return _emv.encipher_script_data(context.token, context.keys, items)


def pin_change_scripts(
    context: Context,
    items: Sequence[tuple[str, str, str, str, str, str, str, bytes, str, str, bytes, int, str, int, bytes, bytes]],
) -> list[bytes | Exception]:
    """The data of a PIN CHANGE command (EMV 4.3, Book 3, 6.5.10), with the new PIN from an enciphered block.

    (EMV_INTEGRITY key, EMV_CONFIDENTIALITY key, EMV_CRYPTOGRAM key, option, PAN, sequence number, derivation,
    diversifier, layout, encipherment, head, MAC length, PIN_KEY, PIN format, block, current block)
    -> enciphered PIN block (8 or 16 bytes) ‖ MAC of the given length.

    - derivation, diversifier: as of `script_macs`, for both session keys; encipherment: as of `encipher_script_data`.
    - layout "iso-2": format 2 of ISO 9564-1; no cryptogram key ("") and no current block (b"").
    - layout "vis": Visa's own, made with the card's key for cryptograms and, where the current block is not b"", with
      the PIN that the card holds now (VIS 1.5, PIN change).
    - head: what the MAC covers before the enciphered block: the header with Lc, then as for `script_macs`.
    - PIN format: 0, 1 or 3, or 4 under AES; of both blocks, under the same key and the card's PAN.

    Fails also with PinFormatError, in one message for all causes, and TooManyFailures for a PAN under its PIN key.

    >>> integrity = load("EMV_INTEGRITY", "FEDCBA98765432100123456789ABCDEF", mode="X")
    >>> confidentiality = load("EMV_CONFIDENTIALITY", "89ABCDEF0123456776543210FEDCBA98", mode="X")
    >>> cryptogram = load("EMV_CRYPTOGRAM", "0123456789ABCDEFFEDCBA9876543210", mode="X")
    >>> pin = load("PIN_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> head = bytes.fromhex("8424000218001C29CCA15AE665FA2E")
    >>> script = one(
    ...     "pin_change_scripts", integrity, confidentiality, cryptogram, "A", "1234567890123456", "00", "visa-sm",
    ...     bytes.fromhex("001C"), "vis", "visa", head, 8, pin, 0, bytes.fromhex("278CE4308BF9844D"), b"")
    >>> script[:16].hex(), script[16:].hex()
    ('bb221af527377a2811d2b6ebc396a939', '1a965a5cb2ce62da')
    """
    return context.guard.run(
        items,
        lambda item: (item[12], item[4]),
        lambda each: _emv.pin_change_scripts(context.token, context.keys, each),
    )


def dcvvs(context: Context, items: Sequence[tuple[str, str, str, str, str, str, str]]) -> list[str | Exception]:
    """(EMV_DYNAMIC_NUMBER key, option, PAN, sequence number, ATC, expiry date, service code) -> dCVV, 3 digits.

    What a card does. ATC: 4 decimal digits, as the track carries them; they stand for the first four of the PAN. Expiry
    date: YYMM. Visa contactless (magnetic stripe data): a CVV under the card's key.

    >>> key = load("EMV_DYNAMIC_NUMBER", "12345678" * 4)
    >>> one("dcvvs", key, "A", "1234567890123456", "", "3210", "1310", "226")
    '422'
    """
    return _emv.dcvvs(context.token, context.keys, items)


def verify_dcvvs(
    context: Context, items: Sequence[tuple[str, str, str, str, str, str, str, str]]
) -> list[Exception | None]:
    """(…as `dcvvs`, dCVV) -> None, or CardCodeMismatch; TooManyFailures for a PAN under its key.

    >>> key = load("EMV_DYNAMIC_NUMBER", "12345678" * 4, mode="X")
    >>> run("verify_dcvvs", [(key, "B", "1234567890123456789", "", "3210", "1310", "226", "562")])
    [None]
    """
    return context.guard.run(items, _key_and_pan, lambda each: _emv.verify_dcvvs(context.token, context.keys, each))


def cvc3s(context: Context, items: Sequence[tuple[str, str, str, str, bytes, bytes, bytes]]) -> list[str | Exception]:
    """(EMV_DYNAMIC_NUMBER key, option, PAN, sequence number, track, UN, ATC) -> CVC3, 5 digits.

    What a card does. track: the static data of track 1 (ASCII) or track 2 (packed, filled with F to whole bytes), with
    nothing yet where UN, ATC and CVC3 will stand; UN: 4 bytes, its digits packed; ATC: 2 bytes. MasterCard contactless
    (magnetic stripe profile).

    >>> key = load("EMV_DYNAMIC_NUMBER", "12345678" * 4)
    >>> track = bytes.fromhex("1234567890123456D12012061000110000000F")
    >>> one("cvc3s", key, "A", "1234567890123456", "00", track, bytes.fromhex("00002710"), bytes.fromhex("2710"))
    '39464'
    """
    return _emv.cvc3s(context.token, context.keys, items)


def verify_cvc3s(
    context: Context, items: Sequence[tuple[str, str, str, str, bytes, bytes, bytes, str]]
) -> list[Exception | None]:
    """(…as `cvc3s`, code) -> None, or CardCodeMismatch; TooManyFailures for a PAN under its key.

    code: the last 3, 4 or 5 digits, as many as the track has room for.

    >>> key = load("EMV_DYNAMIC_NUMBER", "12345678" * 4, mode="X")
    >>> track = bytes.fromhex("1234567890123456D12012061000110000000F")
    >>> item = (key, "A", "1234567890123456", "00", track, bytes.fromhex("00002710"), bytes.fromhex("2710"))
    >>> run("verify_cvc3s", [(*item, "464"), (*item, "465")])
    [None, CardCodeMismatch('a card code does not verify under emv_dynamic_number-1')]
    """
    return context.guard.run(items, _key_and_pan, lambda each: _emv.verify_cvc3s(context.token, context.keys, each))


def _key_and_pan(item: tuple[Any, ...]) -> tuple[str, str]:
    return item[0], item[2]


COMMANDS: Final[Commands] = {
    "generate_cryptograms": generate_cryptograms,
    "verify_cryptograms": verify_cryptograms,
    "verify_cryptograms_and_respond": verify_cryptograms_and_respond,
    "generate_arpcs": generate_arpcs,
    "script_macs": script_macs,
    "encipher_script_data": encipher_script_data,
    "pin_change_scripts": pin_change_scripts,
    "dcvvs": dcvvs,
    "verify_dcvvs": verify_dcvvs,
    "cvc3s": cvc3s,
    "verify_cvc3s": verify_cvc3s,
}
