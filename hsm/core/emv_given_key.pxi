# The same with keys that were derived before and stay in locked memory: for key management and for vectors that give
# intermediate keys. Each takes the token, whose lock protects the working space.

cdef HostKey kept(Secret *secret, str usage, str label):
    cdef HostKey key = HostKey(label, usage)
    key.fill(secret.value, 16)
    return key


cdef int check_given(Key key) except -1:
    if key.use not in (EMV_CRYPTOGRAM, EMV_CONFIDENTIALITY, EMV_INTEGRITY, EMV_DYNAMIC_NUMBER):
        raise KeyUsageError(f"key {key.label} is not an EMV key")
    if not is_double_length_des(key):
        raise KeyUsageError(f"key {key.label} is not a double-length DES key")
    return 0


def card_key_of(Token token not None, Key issuer not None, str option not None, str pan not None, str psn not None,
                str label not None):
    check_given(issuer)
    token.enter()
    try:
        derive_card_key(token, issuer, option, pan, psn)
        return kept(card_key, issuer.usage, label)
    finally:
        wipe()
        token.leave()


def session_key_of(Token token not None, HostKey card not None, str derivation not None, bytes diversifier not None,
                   str label not None):
    check_given(card)
    token.enter()
    try:
        derive_session_key(card.cipher.host, derivation, diversifier)
        return kept(session_key, card.usage, label)
    finally:
        wipe()
        token.leave()


def tree_key_of(Token token not None, HostKey card not None, bytes atc not None, int branches, int height,
                bytes start not None, str label not None):
    cdef const CK_BYTE *counter = <const CK_BYTE *>PyBytes_AS_STRING(atc)
    check_given(card)
    wanted_length(atc, 2, "the ATC")
    wanted_length(start, 16, "the start of a key tree")
    if not (branches == 4 and height == 8 or branches == 2 and height == 16):
        raise InvalidCommand("a key tree has 4 branches and a height of 8, or 2 and 16")
    token.enter()
    try:
        derive_tree(card.cipher.host, 256 * counter[0] + counter[1], branches, height,
                    <const CK_BYTE *>PyBytes_AS_STRING(start))
        return kept(session_key, card.usage, label)
    finally:
        wipe()
        token.leave()


def cryptogram_with(HostKey session not None, int padding, bytes data not None):
    cdef CK_BYTE cryptogram[8]
    check_not_inherited()
    check_given(session)
    cryptogram_under(session.cipher.host, padding, data, cryptogram)
    return PyBytes_FromStringAndSize(<char *>cryptogram, 8)


def arpc_with(HostKey session not None, int method, bytes cryptogram not None, bytes code not None,
              bytes proprietary not None):
    check_not_inherited()
    check_given(session)
    return arpc_under(session.cipher.host, method, cryptogram, code, proprietary)


def script_mac_with(HostKey session not None, bytes message not None, int length):
    check_not_inherited()
    check_given(session)
    return script_mac_under(session.cipher.host, message, length)


def cvc3_with(HostKey card not None, bytes track not None, bytes un not None, bytes atc not None):
    cdef CK_BYTE digits[5]
    check_not_inherited()
    check_given(card)
    cvc3_under(card.cipher.host, track, un, atc, digits)
    return digits_text(digits, 5)


def encipher_with(Token token not None, HostKey session not None, str encipherment not None, bytes data not None):
    check_given(session)
    token.enter()
    try:
        return encipher_script(session.cipher.host, encipherment, data)
    finally:
        wipe()
        token.leave()


def encipher_pin_with(Token token not None, HostKey session not None, HostKey cryptogram, str layout not None,
                      str encipherment not None, Key pin_key not None, int pin_format, str pan not None,
                      bytes block not None, bytes current_block not None):
    check_given(session)
    check_script_pin(layout, current_block)
    if pin_key.use != PIN_KEY or not pin_key.abilities & MAY_DECIPHER:
        raise usage_error(pin_key, PIN_KEY)
    if cryptogram is None:
        if layout == "vis":
            raise InvalidCommand("layout vis needs the card's key for cryptograms")
    else:
        check_given(cryptogram)
    token.enter()
    try:
        if cryptogram is not None:
            memcpy(work.mask, &cryptogram.cipher.host.value[4], 4)
        build_pin_block(token, pin_key, pin_format, layout, pan, block, current_block)
        return encipher_under(session.cipher.host, encipherment, work.pin_block, 8)
    finally:
        wipe()
        token.leave()
