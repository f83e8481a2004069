# The PKCS #11 module: one per process, because C_Initialize is. `hsm.token` decides when it is opened and closed.

cdef CK_FUNCTION_LIST *pkcs11 = NULL
cdef bint inherited = False  # this process is a fork of one that had the module open

cdef dict RETURN_VALUES = {
    0x002: "CKR_HOST_MEMORY", 0x003: "CKR_SLOT_ID_INVALID", 0x005: "CKR_GENERAL_ERROR", 0x006: "CKR_FUNCTION_FAILED",
    0x007: "CKR_ARGUMENTS_BAD", 0x012: "CKR_ATTRIBUTE_TYPE_INVALID", 0x013: "CKR_ATTRIBUTE_VALUE_INVALID",
    0x030: "CKR_DEVICE_ERROR", 0x031: "CKR_DEVICE_MEMORY", 0x032: "CKR_DEVICE_REMOVED",
    0x040: "CKR_ENCRYPTED_DATA_INVALID", 0x060: "CKR_KEY_HANDLE_INVALID", 0x063: "CKR_KEY_TYPE_INCONSISTENT",
    0x068: "CKR_KEY_FUNCTION_NOT_PERMITTED", 0x070: "CKR_MECHANISM_INVALID", 0x071: "CKR_MECHANISM_PARAM_INVALID",
    0x082: "CKR_OBJECT_HANDLE_INVALID", 0x090: "CKR_OPERATION_ACTIVE", 0x091: "CKR_OPERATION_NOT_INITIALIZED",
    0x0A0: "CKR_PIN_INCORRECT", 0x0A4: "CKR_PIN_LOCKED", 0x0B1: "CKR_SESSION_COUNT",
    0x0B3: "CKR_SESSION_HANDLE_INVALID", 0x0D0: "CKR_TEMPLATE_INCOMPLETE", 0x0D1: "CKR_TEMPLATE_INCONSISTENT",
    0x0E1: "CKR_TOKEN_NOT_RECOGNIZED", 0x101: "CKR_USER_NOT_LOGGED_IN", 0x150: "CKR_BUFFER_TOO_SMALL",
    0x190: "CKR_CRYPTOKI_NOT_INITIALIZED",
}


cdef object unavailable(str function, CK_RV rv):
    return HsmUnavailable(f"{function}: {RETURN_VALUES.get(rv, 'error')} (0x{rv:x})")


cdef int check(str function, CK_RV rv) except -1:
    if rv != CKR_OK:
        raise unavailable(function, rv)
    return 0


def _mark_inherited():
    global inherited
    inherited = pkcs11 is not NULL


os.register_at_fork(after_in_child=_mark_inherited)


cdef int check_process() except -1:
    if inherited:
        raise HsmUnavailable("the token was opened before a fork; start the process by exec and open it there")
    if pkcs11 is NULL:
        raise HsmUnavailable("the PKCS #11 module is not open")
    return 0


def initialise(str module_path not None):
    """Load the module and C_Initialize it with CKF_OS_LOCKING_OK. Raises HsmUnavailable; also if it is open already."""
    global pkcs11
    cdef CK_FUNCTION_LIST *functions = NULL
    cdef CK_C_INITIALIZE_ARGS arguments
    cdef get_function_list_function entry
    if pkcs11 is not NULL or inherited:
        raise HsmUnavailable("the PKCS #11 module is open already in this process")
    path = os.fsencode(module_path)
    cdef void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL)
    if library is NULL:
        raise HsmUnavailable(f"cannot load {module_path}: {dlerror().decode(errors='replace')}")
    entry = <get_function_list_function>dlsym(library, b"C_GetFunctionList")
    if entry is NULL or entry(&functions) != CKR_OK:
        raise HsmUnavailable(f"{module_path} is not a PKCS #11 module")
    memset(&arguments, 0, sizeof(arguments))
    arguments.flags = CKF_OS_LOCKING_OK
    check("C_Initialize", functions.C_Initialize(&arguments))
    pkcs11 = functions  # the library stays loaded: unloading SoftHSM while OpenSSL holds its atexit hooks crashes


def finalise():
    """C_Finalize: every session and session object is gone. Close tokens first."""
    global pkcs11
    if pkcs11 is NULL or inherited:
        return
    cdef CK_FUNCTION_LIST *functions = pkcs11
    pkcs11 = NULL
    check("C_Finalize", functions.C_Finalize(NULL))


cdef CK_ULONG find_slot(bytes label) except? 0xFFFFFFFF:
    """The slot whose token has this label; with b"" the first that has no token yet."""
    cdef CK_ULONG slots[64]
    cdef CK_ULONG count = 64, index
    cdef CK_TOKEN_INFO information
    cdef bytes padded = label.ljust(32)
    check("C_GetSlotList", pkcs11.C_GetSlotList(CK_TRUE, slots, &count))
    for index in range(count):
        check("C_GetTokenInfo", pkcs11.C_GetTokenInfo(slots[index], &information))
        if label:
            if memcmp(information.label, PyBytes_AS_STRING(padded), 32) == 0:
                return slots[index]
        elif not information.flags & CKF_TOKEN_INITIALIZED:
            return slots[index]
    raise HsmUnavailable("no such token; was it created?" if label else "the module has no free slot")


cdef int read_pin(str path, CK_BYTE *page) except -1:
    """Read a token PIN from a file into locked memory; returns its length."""
    cdef bytes encoded = os.fsencode(path)
    cdef int descriptor = open_file(encoded, O_RDONLY)
    if descriptor < 0:
        raise HsmUnavailable(f"cannot read the PIN file {path}")
    cdef Py_ssize_t length = read_file(descriptor, page, 256)
    close_file(descriptor)
    while length > 0 and page[length - 1] in (10, 13):
        length -= 1
    if length < 4:
        raise HsmUnavailable(f"the PIN file {path} holds no PIN")
    return <int>length


def initialise_token(str label not None, str officer_pin_path not None, str user_pin_path not None):
    """C_InitToken in the first free slot and set the user PIN. PINs come from files and never become Python objects."""
    check_process()
    cdef CK_ULONG slot = find_slot(b""), session = 0
    cdef bytes padded = label.encode("ascii").ljust(32)
    cdef CK_BYTE *page = <CK_BYTE *>locked_page()
    cdef int length
    try:
        length = read_pin(officer_pin_path, page)
        check("C_InitToken", pkcs11.C_InitToken(slot, page, length, <CK_BYTE *>PyBytes_AS_STRING(padded)))
        check("C_OpenSession", pkcs11.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session))
        check("C_Login", pkcs11.C_Login(session, CKU_SO, page, length))
        length = read_pin(user_pin_path, page)
        check("C_InitPIN", pkcs11.C_InitPIN(session, page, length))
        check("C_Logout", pkcs11.C_Logout(session))
        check("C_CloseSession", pkcs11.C_CloseSession(session))
    finally:
        locked_page_free(page)
