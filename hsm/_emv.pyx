# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""EMV on the issuer's side: card and session keys, cryptograms, issuer scripts, dynamic card codes (EMV 4.3, Book 2).

The typed face is `_emv.pyi`; tuple shapes and policy are in `hsm.commands.emv`. The parts: `core/emv_derivation.pxi`
keys of a card and of a transaction; `core/emv_cryptogram.pxi` cryptograms and responses; `core/emv_script.pxi` issuer
scripts; `core/emv_card_code.pxi` dCVV and CVC3; `core/emv_command.pxi` the commands over lists;
`core/emv_given_key.pxi` the same with keys that were derived before.
"""

from hsm.errors import CardCodeMismatch, CryptogramMismatch, HsmError, InvalidCommand, KeyUsageError, PinFormatError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from hsm._core cimport *
from hsm._libcrypto cimport *
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CKR_OK

cdef enum:
    MAX_SCRIPT_DATA_BYTES = 240  # enciphered and with a MAC of 4 bytes it still fits a command (Lc is at most 255)

# Working space in a locked page. It and the two secrets are used under the token's lock and wiped before it is let go.
cdef struct Workspace:
    CK_BYTE output[48]  # of run_block
    CK_BYTE key[16]
    CK_BYTE node[4][16]  # of a key tree: a new one, its parent, grandparent and great-grandparent
    CK_BYTE mask[4]  # of Visa's PIN block: part of the card's key
    CK_BYTE current_pin[8]
    CK_BYTE pin_block[8]
    CK_BYTE text[256]  # script data, padded, then enciphered
    int text_length

cdef Workspace *work = <Workspace *>locked_page()
cdef Secret *card_key = new_secret()
cdef Secret *session_key = new_secret()


cdef void wipe() noexcept nogil:
    OPENSSL_cleanse(work, sizeof(Workspace))
    OPENSSL_cleanse(card_key, sizeof(Secret))  # a DES secret owns nothing that would be lost
    OPENSSL_cleanse(session_key, sizeof(Secret))


cdef int wanted_length(bytes data, int length, str what) except -1:
    if bounded(data) != length:
        raise InvalidCommand(f"{what} must have {length} bytes")
    return 0


include "core/emv_derivation.pxi"
include "core/emv_cryptogram.pxi"
include "core/emv_script.pxi"
include "core/emv_card_code.pxi"
include "core/emv_command.pxi"
include "core/emv_given_key.pxi"
