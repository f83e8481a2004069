"""The names of the commands' algorithms.

ISO/IEC 9797-1:2011 block-cipher MACs, as long as the cipher's block (8 or 16 bytes):

- `iso9797-alg1-pad1`, `-pad2`, `-pad3`: algorithm 1, CBC-MAC; with DES for a single-length DES key (ANSI X9.9), with
  triple DES for longer ones, with AES or SM4 for their keys. With padding 1 or 2 it is only safe where all messages
  have one length.
- `iso9797-alg3-pad1`, `-pad2`, `-pad3`: algorithm 3, the retail MAC (ANSI X9.19); needs a DES key of double length.
- padding method 1: zeros as needed (empty data: one block of zeros); 2: a one bit, then zeros; 3: method 1 behind a
  block that holds the data's length in bits.

CMAC and HMAC:

- `cmac`: NIST SP 800-38B (ISO/IEC 9797-1 algorithm 5) under AES (16 bytes), SM4 (16) or triple DES (8).
- `hmac-sha256`, `hmac-sm3`: FIPS 198-1 under a key of kind HMAC, 32 bytes, over SHA-256 (FIPS 180-4) or SM3
  (GB/T 32905-2016).

A shorter MAC has a name of its own, so that no caller accepts one by mistake: `-8` or `-4` behind `cmac` and the names
of ISO/IEC 9797-1, `-16` behind the HMACs, for the first so many bytes.

UnionPay (Q/CUP 006): algorithm 3 for a double-length key, 1 for a single-length one, padding method 1:

- `cup-financial`: DE128 of financial messages: the first 4 MAC bytes as 8 upper-case hexadecimal characters (ASCII).
- `cup-key-reset`: DE128 of key resets: the first 4 MAC bytes, then the first 4 bytes of E(key, zeros). It is the one
  algorithm that takes a PIN key, and only a pending one: a new PIK proves itself with it before it is activated.

UnionPay's terminals send the "ECB MAC" under a single- or double-length key: the exclusive or of all 8-byte blocks,
the last zero-padded, is written as 16 upper-case hexadecimal characters A ‖ B; the MAC is E(K, E(K, A) xor B):

- `cup-ecb`: field 64: its first 4 bytes as 8 upper-case hexadecimal characters (ASCII).
- `cup-ecb-binary`: all 8 bytes.

A message whose blocks change places keeps its ECB MAC: use it towards such terminals only.

A label may carry the state of a working key: `unionpay/mak` is the current one, `unionpay/mak?pending` the one
imported and not yet activated, `unionpay/mak?previous` the one before. Verification under a plain label tries the
current key, then the previous one.
"""

from typing import Final

CBC_MAC_PADDING_1: Final = "iso9797-alg1-pad1"
CBC_MAC_PADDING_2: Final = "iso9797-alg1-pad2"
CBC_MAC_PADDING_3: Final = "iso9797-alg1-pad3"
RETAIL_MAC_PADDING_1: Final = "iso9797-alg3-pad1"
RETAIL_MAC_PADDING_2: Final = "iso9797-alg3-pad2"
RETAIL_MAC_PADDING_3: Final = "iso9797-alg3-pad3"
CMAC: Final = "cmac"
CMAC_8: Final = "cmac-8"
HMAC_SHA256: Final = "hmac-sha256"
HMAC_SM3: Final = "hmac-sm3"
CUP_FINANCIAL: Final = "cup-financial"
CUP_KEY_RESET: Final = "cup-key-reset"
CUP_ECB: Final = "cup-ecb"
CUP_ECB_BINARY: Final = "cup-ecb-binary"

PENDING: Final = "?pending"
PREVIOUS: Final = "?previous"

PIN_FORMATS: Final = frozenset({0, 1, 3, 4})
"""ISO 9564-1 formats of `translate_pins`; 0, 1 and 3 under triple DES, 4 under AES. A block that is bound to a PAN
(0, 3, 4) is not translated to format 1 (PCI PIN Security, requirement 3-3)."""

MAX_DATA_BYTES: Final = 65536
"""The most one item of any command may hold."""
