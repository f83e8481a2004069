# The commands: one function per item, run over a list under the token's lock. Shapes: `hsm.commands.emv`.

ctypedef object (*run_item)(Token token, dict keys, object item)


cdef list run_items(Token token, dict keys, object items, run_item run):
    cdef list given = list(items), results = []  # a copy first: no code of the caller runs under the lock
    token.enter()
    try:
        for item in given:
            try:
                results.append(run(token, keys, item))
            except HsmError as error:
                results.append(error)
    finally:
        wipe()
        token.leave()
    return results


cdef Key issuer_key(dict keys, str label, Usage usage, unsigned int wanted, bint may_derive):
    """A master key whose mode allows what is wanted; with `may_derive` one that derives only (X) will do as well."""
    cdef Key key = find_key_for(keys, label, usage, 0)
    if not (key.abilities & wanted == wanted or may_derive and key.abilities & MAY_DERIVE):
        raise KeyUsageError(f"key {label} may not do this: its mode of use is {key.mode}")
    return key


# --- cryptograms -----------------------------------------------------------------------------------------------------

def generate_cryptograms(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, generate_cryptogram)


def verify_cryptograms(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, verify_cryptogram)


def verify_cryptograms_and_respond(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, verify_cryptogram_and_respond)


def generate_arpcs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, generate_arpc)


cdef object generate_cryptogram(Token token, dict keys, object item):
    cdef CK_BYTE cryptogram[8]
    label, option, pan, psn, derivation, atc, un, padding, data = item
    derive_card_key(token, issuer_key(keys, label, EMV_CRYPTOGRAM, MAY_GENERATE, False), option, pan, psn)
    derive_session_key(card_key, derivation, cryptogram_diversifier(derivation, atc, un))
    cryptogram_under(session_key, padding, data, cryptogram)
    return PyBytes_FromStringAndSize(<char *>cryptogram, 8)


cdef object verify_cryptogram(Token token, dict keys, object item):
    label, option, pan, psn, derivation, atc, un, padding, data, cryptogram = item
    check_cryptogram(token, issuer_key(keys, label, EMV_CRYPTOGRAM, MAY_CHECK, True), option, pan, psn, derivation,
                     cryptogram_diversifier(derivation, atc, un), padding, data, cryptogram)
    return None


cdef object verify_cryptogram_and_respond(Token token, dict keys, object item):
    cdef Key issuer
    (label, option, pan, psn, derivation, atc, un, padding, data, cryptogram, response_derivation, method, code,
     proprietary) = item
    issuer = issuer_key(keys, label, EMV_CRYPTOGRAM, MAY_CHECK | MAY_GENERATE, True)
    check_response(method, code, proprietary)
    response_diversifier = cryptogram_diversifier(response_derivation, atc, un)
    check_cryptogram(token, issuer, option, pan, psn, derivation, cryptogram_diversifier(derivation, atc, un), padding,
                     data, cryptogram)
    derive_session_key(card_key, response_derivation, response_diversifier)
    return arpc_under(session_key, method, cryptogram, code, proprietary)


cdef int check_cryptogram(Token token, Key issuer, str option, str pan, str psn, str derivation, bytes diversifier,
                          int padding, bytes data, bytes cryptogram) except -1:
    """Leaves the card's key in `card_key`."""
    cdef CK_BYTE expected[8]
    wanted_length(cryptogram, 8, "the cryptogram")
    derive_card_key(token, issuer, option, pan, psn)
    derive_session_key(card_key, derivation, diversifier)
    cryptogram_under(session_key, padding, data, expected)
    if CRYPTO_memcmp(expected, PyBytes_AS_STRING(cryptogram), 8):
        raise CryptogramMismatch(f"an application cryptogram does not verify under {issuer.label}")
    return 0


cdef object generate_arpc(Token token, dict keys, object item):
    label, option, pan, psn, derivation, atc, un, cryptogram, method, code, proprietary = item
    derive_card_key(token, issuer_key(keys, label, EMV_CRYPTOGRAM, MAY_GENERATE, False), option, pan, psn)
    derive_session_key(card_key, derivation, cryptogram_diversifier(derivation, atc, un))
    return arpc_under(session_key, method, cryptogram, code, proprietary)


# --- issuer scripts --------------------------------------------------------------------------------------------------

def script_macs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, script_mac)


def encipher_script_data(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, encipher_script_item)


def pin_change_scripts(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, pin_change_script)


cdef int derive_script_key(Token token, Key issuer, str option, str pan, str psn, str derivation,
                           bytes diversifier) except -1:
    """Into `session_key`. Not the card's own key, and no key of a cryptogram."""
    if derivation == "card-key" or derivation == "mastercard-skd" or (
            derivation == "emv-common" and bounded(diversifier) != 8):
        raise InvalidCommand("this derivation, or a diversifier of this length, is not for secure messaging")
    derive_card_key(token, issuer, option, pan, psn)
    return derive_session_key(card_key, derivation, diversifier)


cdef object script_mac(Token token, dict keys, object item):
    label, option, pan, psn, derivation, diversifier, message, length = item
    derive_script_key(token, issuer_key(keys, label, EMV_INTEGRITY, MAY_GENERATE, True), option, pan, psn, derivation,
                      diversifier)
    return script_mac_under(session_key, message, length)


cdef object encipher_script_item(Token token, dict keys, object item):
    label, option, pan, psn, derivation, diversifier, encipherment, data = item
    derive_script_key(token, issuer_key(keys, label, EMV_CONFIDENTIALITY, MAY_ENCIPHER, False), option, pan, psn,
                      derivation, diversifier)
    return encipher_script(session_key, encipherment, data)


cdef bytes encipher_script(Secret *session, str encipherment, bytes data):
    if not 1 <= bounded(data) <= MAX_SCRIPT_DATA_BYTES:
        raise InvalidCommand(f"script data has 1 to {MAX_SCRIPT_DATA_BYTES} bytes")
    return encipher_under(session, encipherment, <const CK_BYTE *>PyBytes_AS_STRING(data), <int>PyBytes_GET_SIZE(data))


cdef object pin_change_script(Token token, dict keys, object item):
    """Every key is found, and every length is checked, before a PIN is deciphered."""
    cdef Key integrity, confidentiality, pin_key, cryptogram = None
    cdef bytes enciphered
    (integrity_label, confidentiality_label, cryptogram_label, option, pan, psn, derivation, diversifier, layout,
     encipherment, head, mac_length, pin_label, pin_format, block, current_block) = item
    integrity = issuer_key(keys, integrity_label, EMV_INTEGRITY, MAY_GENERATE, True)
    confidentiality = issuer_key(keys, confidentiality_label, EMV_CONFIDENTIALITY, MAY_ENCIPHER, True)
    pin_key = find_key_for(keys, pin_label, PIN_KEY, MAY_DECIPHER)
    check_script_pin(layout, current_block)
    check_encipherment(encipherment)
    check_mac_length(mac_length)
    bounded(head)
    if layout == "vis":
        cryptogram = issuer_key(keys, cryptogram_label, EMV_CRYPTOGRAM, MAY_GENERATE, True)
        derive_card_key(token, cryptogram, option, pan, psn)
        memcpy(work.mask, &card_key.value[4], 4)
    derive_script_key(token, confidentiality, option, pan, psn, derivation, diversifier)
    build_pin_block(token, pin_key, pin_format, layout, pan, block, current_block)
    enciphered = encipher_under(session_key, encipherment, work.pin_block, 8)
    derive_script_key(token, integrity, option, pan, psn, derivation, diversifier)
    return enciphered + script_mac_under(session_key, head + enciphered, mac_length)


# --- card codes ------------------------------------------------------------------------------------------------------

def dcvvs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, dcvv)


def verify_dcvvs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, verify_dcvv)


def cvc3s(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, cvc3)


def verify_cvc3s(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, verify_cvc3)


cdef object dcvv(Token token, dict keys, object item):
    cdef CK_BYTE digits[3]
    label, option, pan, psn, atc, expiry, service_code = item
    derive_card_key(token, issuer_key(keys, label, EMV_DYNAMIC_NUMBER, MAY_GENERATE, False), option, pan, psn)
    dcvv_under(card_key, pan, atc, expiry, service_code, digits)
    return digits_text(digits, 3)


cdef object verify_dcvv(Token token, dict keys, object item):
    cdef CK_BYTE digits[3]
    label, option, pan, psn, atc, expiry, service_code, code = item
    derive_card_key(token, issuer_key(keys, label, EMV_DYNAMIC_NUMBER, MAY_CHECK, True), option, pan, psn)
    dcvv_under(card_key, pan, atc, expiry, service_code, digits)
    check_code(digits, 3, code, 3, label)
    return None


cdef object cvc3(Token token, dict keys, object item):
    cdef CK_BYTE digits[5]
    label, option, pan, psn, track, un, atc = item
    derive_card_key(token, issuer_key(keys, label, EMV_DYNAMIC_NUMBER, MAY_GENERATE, False), option, pan, psn)
    cvc3_under(card_key, track, un, atc, digits)
    return digits_text(digits, 5)


cdef object verify_cvc3(Token token, dict keys, object item):
    cdef CK_BYTE digits[5]
    label, option, pan, psn, track, un, atc, code = item
    derive_card_key(token, issuer_key(keys, label, EMV_DYNAMIC_NUMBER, MAY_CHECK, True), option, pan, psn)
    cvc3_under(card_key, track, un, atc, digits)
    check_code(digits, 5, code, 3, label)
    return None
