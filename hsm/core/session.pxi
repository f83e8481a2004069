# A logged-in token: its sessions, the objects in it, and the lock that makes its sessions safe to share.

# Attribute lists are built in place; 20 is more than any template here has.
cdef struct Template:
    CK_ATTRIBUTE attributes[20]
    CK_ULONG count
    CK_ULONG numbers[20]
    CK_BYTE flags[20]


cdef void add_flag(Template *template, CK_ULONG kind, bint value) noexcept nogil:
    template.flags[template.count] = value
    add_bytes(template, kind, &template.flags[template.count], 1)


cdef void add_number(Template *template, CK_ULONG kind, CK_ULONG value) noexcept nogil:
    template.numbers[template.count] = value
    add_bytes(template, kind, &template.numbers[template.count], sizeof(CK_ULONG))


cdef void add_bytes(Template *template, CK_ULONG kind, const void *value, CK_ULONG length) noexcept nogil:
    cdef CK_ATTRIBUTE *attribute = &template.attributes[template.count]
    attribute.type = kind
    attribute.pValue = <void *>value
    attribute.ulValueLen = length
    template.count += 1


cdef void add_protection(Template *template, unsigned int permissions) noexcept nogil:
    """What every key of ours is: private, sensitive, not extractable, and able to do only what its usage needs."""
    add_flag(template, CKA_PRIVATE, True)
    add_flag(template, CKA_SENSITIVE, True)
    add_flag(template, CKA_EXTRACTABLE, False)
    add_flag(template, CKA_ENCRYPT, permissions & MAY_ENCRYPT)
    add_flag(template, CKA_DECRYPT, permissions & MAY_DECRYPT)
    add_flag(template, CKA_SIGN, permissions & MAY_SIGN)
    add_flag(template, CKA_VERIFY, False)
    add_flag(template, CKA_WRAP, False)
    add_flag(template, CKA_UNWRAP, False)
    add_flag(template, CKA_DERIVE, False)


cdef enum:
    MAY_ENCRYPT = 1
    MAY_DECRYPT = 2
    MAY_SIGN = 4
    SIGNING_SESSIONS = 4
    RSA_BITS = 2048
    RSA_BYTES = 256

# The OBJECT IDENTIFIER of P-256 (RFC 5480, 2.1.1.1).
cdef const CK_BYTE *P256_CURVE = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"

cdef dict KEY_TYPES = {"DES": CKK_DES3, "AES": CKK_AES, "HMAC": CKK_GENERIC_SECRET}
cdef dict KEY_GENERATION = {
    CKK_DES3: CKM_DES3_KEY_GEN, CKK_AES: CKM_AES_KEY_GEN, CKK_GENERIC_SECRET: CKM_GENERIC_SECRET_KEY_GEN,
}


cdef class Token:
    """A token one is logged in to. Safe to share between threads; not between processes."""

    def __cinit__(self):
        self.closed = True
        memset(&self.work, 0, sizeof(Work))
        self.lock = PyThread_allocate_lock()
        if self.lock is NULL:
            raise MemoryError
        self.scratch = <Scratch *>locked_page()

    def __init__(self, str label not None, str pin_path not None):
        """Open sessions and log in. Call under a lock shared by all processes: SoftHSM fails concurrent logins."""
        check_process()
        self.slot = find_slot(label.encode("ascii"))
        self.signing = queue.SimpleQueue()
        cdef CK_BYTE *page = <CK_BYTE *>locked_page()
        cdef CK_RV rv
        self.home = self.open_session()
        try:
            length = read_pin(pin_path, page)
            rv = pkcs11.C_Login(self.home, CKU_USER, page, length)
        finally:
            locked_page_free(page)
        if rv == CKR_PIN_INCORRECT or rv == CKR_PIN_LOCKED:
            raise LoginRefused(f"the token refuses the PIN in its file ({RETURN_VALUES[rv]})")
        if rv != CKR_USER_ALREADY_LOGGED_IN:  # by another Token of this process: login belongs to the process
            check("C_Login", rv)
        self.work.slot = self.slot
        self.work.session = self.open_session()
        for _ in range(SIGNING_SESSIONS):
            self.signing.put(self.open_session())
        self.closed = False

    def __dealloc__(self):
        locked_page_free(self.scratch)
        if self.lock is not NULL:
            PyThread_free_lock(self.lock)

    def __repr__(self):
        return f"<Token {'closed' if self.closed else 'open'}>"

    def close(self):
        """Wait for running commands, then refuse all others. Sessions end with `finalise`."""
        if self.closed:
            return
        for _ in range(SIGNING_SESSIONS):
            self.signing.get()
        self.signing.put(None)
        self.enter()
        self.closed = True
        PyThread_release_lock(self.lock)

    cdef CK_ULONG open_session(self) except? 0:
        cdef CK_ULONG session = 0
        check("C_OpenSession", pkcs11.C_OpenSession(
            self.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session))
        return session

    cdef int enter(self) except -1:
        """Take the lock. A command that runs without the GIL may hold it, so never wait for it holding the GIL."""
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if self.closed or inherited or pkcs11 is NULL:
            PyThread_release_lock(self.lock)
            check_process()
            raise HsmUnavailable("the token is closed")
        return 0

    cdef void leave(self) noexcept nogil:
        OPENSSL_cleanse(self.scratch, sizeof(Scratch))
        PyThread_release_lock(self.lock)

    def objects(self):
        """Keys stored in the token: (handle, label, id), in no order. Session copies are not among them."""
        cdef CK_ULONG found[64]
        cdef CK_ULONG count = 1, index
        cdef list handles = []
        cdef Template template
        template.count = 0
        add_flag(&template, CKA_TOKEN, True)
        self.enter()
        try:
            check("C_FindObjectsInit", pkcs11.C_FindObjectsInit(self.work.session, template.attributes, template.count))
            while count:
                check("C_FindObjects", pkcs11.C_FindObjects(self.work.session, found, 64, &count))
                for index in range(count):
                    handles.append(found[index])
            check("C_FindObjectsFinal", pkcs11.C_FindObjectsFinal(self.work.session))
            return [(handle, self.attribute(handle, CKA_LABEL), self.attribute(handle, CKA_ID)) for handle in handles]
        finally:
            self.leave()

    cdef bytes attribute(self, CK_ULONG handle, CK_ULONG kind):
        """A readable attribute. The caller holds the lock."""
        cdef CK_BYTE value[1024]
        cdef CK_ATTRIBUTE attribute
        attribute.type = kind
        attribute.pValue = value
        attribute.ulValueLen = sizeof(value)
        check("C_GetAttributeValue", pkcs11.C_GetAttributeValue(self.work.session, handle, &attribute, 1))
        return PyBytes_FromStringAndSize(<char *>value, attribute.ulValueLen)

    def rsa_public_numbers(self, CK_ULONG handle):
        """(modulus, public exponent) of an RSA private key, big-endian."""
        self.enter()
        try:
            return self.attribute(handle, CKA_MODULUS), self.attribute(handle, CKA_PUBLIC_EXPONENT)
        finally:
            self.leave()

    def generate_secret(self, str kind not None, CK_ULONG length, unsigned int permissions):
        """Generate a secret key ("DES", "AES", "HMAC"; length in bytes) as a session object; returns its handle."""
        cdef CK_MECHANISM mechanism
        cdef CK_ULONG handle = 0
        cdef Template template
        template.count = 0
        key_type = KEY_TYPES[kind]
        mechanism.mechanism = KEY_GENERATION[key_type]
        mechanism.pParameter = NULL
        mechanism.ulParameterLen = 0
        add_flag(&template, CKA_TOKEN, False)
        if key_type != CKK_DES3:
            add_number(&template, CKA_VALUE_LEN, length)
        add_protection(&template, permissions)
        self.enter()
        try:
            check("C_GenerateKey", pkcs11.C_GenerateKey(
                self.home, &mechanism, template.attributes, template.count, &handle))
        finally:
            self.leave()
        return handle

    def create_secret(self, HostKey key not None, unsigned int permissions):
        """A host key's value as a session object, from locked memory; returns its handle."""
        cdef CK_ULONG handle = 0
        cdef Secret *secret = key.cipher.host
        cdef CK_ULONG length = secret.length
        cdef Template template
        template.count = 0
        key_type = KEY_TYPES.get(key.kind)
        if key_type is None:
            raise InvalidCommand(f"the token holds no {key.kind} keys")
        check_not_inherited()
        self.enter()
        try:
            memcpy(self.scratch.key, secret.value, length)
            if key_type == CKK_DES3 and length == 16:
                memcpy(&self.scratch.key[16], self.scratch.key, 8)  # SoftHSM's DES3 wants 24 bytes: K1 K2 K1
                length = 24
            add_flag(&template, CKA_TOKEN, False)
            add_number(&template, CKA_CLASS, CKO_SECRET_KEY)
            add_number(&template, CKA_KEY_TYPE, key_type)
            add_bytes(&template, CKA_VALUE, self.scratch.key, length)
            add_protection(&template, permissions)
            check("C_CreateObject", pkcs11.C_CreateObject(self.home, template.attributes, template.count, &handle))
        finally:
            self.leave()
        return handle

    def generate_rsa(self):
        """An RSA-2048 key pair as session objects; returns the private key's handle. Takes up to seconds, so it runs as
        signatures do: without the GIL and without the lock."""
        cdef CK_MECHANISM mechanism
        cdef CK_ULONG public = 0, private = 0, session
        cdef Template public_template, private_template
        cdef CK_BYTE exponent[3]
        cdef CK_RV rv
        exponent[0], exponent[1], exponent[2] = 1, 0, 1
        mechanism.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN
        mechanism.pParameter = NULL
        mechanism.ulParameterLen = 0
        public_template.count = 0
        add_flag(&public_template, CKA_TOKEN, False)
        add_number(&public_template, CKA_MODULUS_BITS, RSA_BITS)
        add_bytes(&public_template, CKA_PUBLIC_EXPONENT, exponent, 3)
        private_template.count = 0
        add_flag(&private_template, CKA_TOKEN, False)
        add_flag(&private_template, CKA_PRIVATE, True)
        add_flag(&private_template, CKA_SENSITIVE, True)
        add_flag(&private_template, CKA_EXTRACTABLE, False)
        add_flag(&private_template, CKA_SIGN, True)
        add_flag(&private_template, CKA_DECRYPT, False)
        add_flag(&private_template, CKA_UNWRAP, False)
        session = self.take_signing_session()
        try:
            with nogil:
                rv = pkcs11.C_GenerateKeyPair(
                    session, &mechanism, public_template.attributes, public_template.count,
                    private_template.attributes, private_template.count, &public, &private)
                if rv == CKR_OK:
                    rv = pkcs11.C_DestroyObject(session, public)
            check("C_GenerateKeyPair", rv)
        finally:
            self.signing.put(session)
        return private

    cdef CK_ULONG take_signing_session(self) except? 0:
        """Waits while all are in use. Put it back into `signing`: `close` waits for that."""
        check_process()
        taken = self.signing.get()
        if taken is None:
            self.signing.put(None)
            raise HsmUnavailable("the token is closed")
        return taken

    def is_protected(self, CK_ULONG handle):
        """Whether the value of a key is sensitive and not extractable."""
        self.enter()
        try:
            return self.attribute(handle, CKA_SENSITIVE) == b"\1" and self.attribute(handle, CKA_EXTRACTABLE) == b"\0"
        finally:
            self.leave()

    def store(self, CK_ULONG handle, bytes label not None, bytes identifier not None):
        """Copy a session object into the token, complete in one call: a crash leaves no half-made key."""
        cdef Template template
        template.count = 0
        add_flag(&template, CKA_TOKEN, True)
        add_bytes(&template, CKA_LABEL, PyBytes_AS_STRING(label), PyBytes_GET_SIZE(label))
        add_bytes(&template, CKA_ID, PyBytes_AS_STRING(identifier), PyBytes_GET_SIZE(identifier))
        return self.copy(handle, &template)

    def load(self, CK_ULONG handle):
        """Copy a token object into a session object: SoftHSM touches files for every use of a token object."""
        cdef Template template
        template.count = 0
        add_flag(&template, CKA_TOKEN, False)
        return self.copy(handle, &template)

    cdef object copy(self, CK_ULONG handle, void *given):
        cdef Template *template = <Template *>given
        cdef CK_ULONG made = 0
        self.enter()
        try:
            check("C_CopyObject", pkcs11.C_CopyObject(self.home, handle, template.attributes, template.count, &made))
        finally:
            self.leave()
        return made

    def destroy(self, CK_ULONG handle):
        """Destroy an object."""
        self.enter()
        try:
            check("C_DestroyObject", pkcs11.C_DestroyObject(self.home, handle))
        finally:
            self.leave()

    # --- EC P-256 (FIPS 186-4, D.1.2.3): keys that agree on a secret ---

    def generate_ec_p256(self):
        """A P-256 key for ECDH as a session object; returns its handle. Runs as `generate_rsa` does."""
        cdef CK_MECHANISM mechanism
        cdef CK_ULONG public = 0, private = 0, session
        cdef Template public_template, private_template
        cdef CK_RV rv
        mechanism.mechanism = CKM_EC_KEY_PAIR_GEN
        mechanism.pParameter = NULL
        mechanism.ulParameterLen = 0
        public_template.count = 0
        add_flag(&public_template, CKA_TOKEN, False)
        add_bytes(&public_template, CKA_EC_PARAMS, P256_CURVE, 10)
        private_template.count = 0
        add_flag(&private_template, CKA_TOKEN, False)
        add_flag(&private_template, CKA_PRIVATE, True)
        add_flag(&private_template, CKA_SENSITIVE, True)
        add_flag(&private_template, CKA_EXTRACTABLE, False)
        add_flag(&private_template, CKA_DERIVE, True)
        add_flag(&private_template, CKA_SIGN, False)
        add_flag(&private_template, CKA_DECRYPT, False)
        add_flag(&private_template, CKA_UNWRAP, False)
        session = self.take_signing_session()
        try:
            with nogil:
                rv = pkcs11.C_GenerateKeyPair(
                    session, &mechanism, public_template.attributes, public_template.count,
                    private_template.attributes, private_template.count, &public, &private)
                if rv == CKR_OK:
                    rv = pkcs11.C_DestroyObject(session, public)
            check("C_GenerateKeyPair", rv)
        finally:
            self.signing.put(session)
        return private

    def ec_public_point(self, CK_ULONG handle):
        """The public key of a P-256 private key: 04 ‖ x ‖ y, 65 bytes, with y even.

        A token keeps no public point beside a private key d, but ECDH with the generator gives the x coordinate of
        d·G. Of the two points that have it, ours is by agreement the one with even y: ECDH uses x coordinates only,
        which are the same for d and n - d, so it does not matter which of the two the token holds. No signature is
        ever made with such a key.
        """
        cdef CK_BYTE point[65]
        cdef CK_ULONG session
        cdef CK_RV rv
        cdef P256Work work
        open_p256(&work)
        session = 0
        try:
            write_p256_point(&work, EC_GROUP_get0_generator(work.curve), point)
            session = self.take_signing_session()
            with nogil:
                rv = self.agree(session, handle, point, point + 1)
            check("C_DeriveKey", rv)
            if BN_bin2bn(point + 1, 32, work.x) is NULL or EC_POINT_set_compressed_coordinates(
                work.curve, work.point, work.x, 0, work.numbers
            ) != 1:
                ERR_clear_error()
                raise HsmUnavailable("the token computes no point of P-256")
            write_p256_point(&work, work.point, point)
        finally:
            if session:
                self.signing.put(session)
            close_p256(&work)
        return PyBytes_FromStringAndSize(<char *>point, 65)

    cdef CK_RV agree(self, CK_ULONG session, CK_ULONG handle, const CK_BYTE *point, CK_BYTE *shared) noexcept nogil:
        """A token gives a derived secret as an object only: a readable one of this session, destroyed as soon as it is
        read. It is a private object, so SoftHSM holds it enciphered and wipes it when it is destroyed."""
        cdef CK_ECDH1_DERIVE_PARAMS parameters
        cdef CK_MECHANISM mechanism
        cdef CK_ATTRIBUTE value
        cdef CK_ULONG derived = 0
        cdef CK_RV rv, destroyed
        cdef Template template
        memset(&parameters, 0, sizeof(parameters))
        parameters.kdf = CKD_NULL
        parameters.ulPublicDataLen = 65
        parameters.pPublicData = <CK_BYTE *>point
        mechanism.mechanism = CKM_ECDH1_DERIVE
        mechanism.pParameter = &parameters
        mechanism.ulParameterLen = sizeof(parameters)
        template.count = 0
        add_flag(&template, CKA_TOKEN, False)
        add_flag(&template, CKA_PRIVATE, True)
        add_flag(&template, CKA_SENSITIVE, False)
        add_flag(&template, CKA_EXTRACTABLE, True)
        add_number(&template, CKA_CLASS, CKO_SECRET_KEY)
        add_number(&template, CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        add_number(&template, CKA_VALUE_LEN, 32)
        rv = pkcs11.C_DeriveKey(session, &mechanism, handle, template.attributes, template.count, &derived)
        if rv != CKR_OK:
            return rv
        value.type = CKA_VALUE
        value.pValue = shared
        value.ulValueLen = 32
        rv = pkcs11.C_GetAttributeValue(session, derived, &value, 1)
        destroyed = pkcs11.C_DestroyObject(session, derived)
        if rv != CKR_OK:
            return rv
        return destroyed if value.ulValueLen == 32 else CKR_GENERAL_ERROR


cdef struct P256Work:
    EC_GROUP *curve
    EC_POINT *point
    BIGNUM *x
    BN_CTX *numbers


cdef int open_p256(P256Work *work) except -1:
    memset(work, 0, sizeof(P256Work))
    work.curve = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)
    work.x = BN_new()
    work.numbers = BN_CTX_new()
    if work.curve is not NULL:
        work.point = EC_POINT_new(work.curve)
    if work.point is NULL or work.x is NULL or work.numbers is NULL:
        close_p256(work)
        raise MemoryError
    return 0


cdef void close_p256(P256Work *work) noexcept nogil:
    EC_POINT_free(work.point)
    EC_GROUP_free(work.curve)
    BN_free(work.x)
    BN_CTX_free(work.numbers)


cdef int write_p256_point(P256Work *work, const EC_POINT *point, CK_BYTE *encoded) except -1:
    if EC_POINT_point2oct(work.curve, point, POINT_CONVERSION_UNCOMPRESSED, encoded, 65, work.numbers) != 65:
        raise HsmUnavailable("OpenSSL could not write a point")
    return 0


cdef int combine(object components, CK_BYTE *key) except -1:
    """XOR the components into `key` (128 bytes); returns their common length."""
    cdef Py_ssize_t length = -1
    cdef Py_buffer view
    cdef CK_BYTE any_bit = 0
    if len(components) < 2:
        raise InvalidCommand("a key is formed from two components or more")
    memset(key, 0, 128)
    for component in components:
        PyObject_GetBuffer(component, &view, PyBUF_SIMPLE)
        try:
            if length < 0:
                length = view.len
            if view.len != length or not 8 <= length <= 64:
                raise InvalidCommand("components must have the same length, and one a key can have")
            for index in range(length):
                key[index] ^= (<CK_BYTE *>view.buf)[index]
        finally:
            PyBuffer_Release(&view)
    for index in range(length):
        any_bit |= key[index]
    if not any_bit:
        raise InvalidCommand("the components cancel out: the key would be zero")
    return <int>length
