"""The part of PKCS #11 v2.40 this package uses (OASIS pkcs11-base and pkcs11-curr v2.40 errata 01).

Structures have natural alignment, as on every Unix. Functions we never call stand in CK_FUNCTION_LIST as `void *`:
their place matters, their type does not.
"""

ctypedef unsigned char CK_BYTE
ctypedef unsigned long CK_ULONG
ctypedef CK_ULONG CK_RV

cdef enum:
    CK_FALSE = 0
    CK_TRUE = 1

    CKF_OS_LOCKING_OK = 0x02
    CKF_RW_SESSION = 0x02
    CKF_SERIAL_SESSION = 0x04
    CKF_TOKEN_INITIALIZED = 0x400

    CKU_SO = 0
    CKU_USER = 1

    CKO_SECRET_KEY = 0x04

    CKK_GENERIC_SECRET = 0x10
    CKK_DES3 = 0x15
    CKK_AES = 0x1F

    CKA_CLASS = 0x000
    CKA_TOKEN = 0x001
    CKA_PRIVATE = 0x002
    CKA_LABEL = 0x003
    CKA_VALUE = 0x011
    CKA_KEY_TYPE = 0x100
    CKA_ID = 0x102
    CKA_SENSITIVE = 0x103
    CKA_ENCRYPT = 0x104
    CKA_DECRYPT = 0x105
    CKA_WRAP = 0x106
    CKA_UNWRAP = 0x107
    CKA_SIGN = 0x108
    CKA_VERIFY = 0x10A
    CKA_DERIVE = 0x10C
    CKA_MODULUS = 0x120
    CKA_MODULUS_BITS = 0x121
    CKA_PUBLIC_EXPONENT = 0x122
    CKA_VALUE_LEN = 0x161
    CKA_EXTRACTABLE = 0x162
    CKA_EC_PARAMS = 0x180

    CKD_NULL = 1

    CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0000
    CKM_SHA256_RSA_PKCS = 0x0040
    CKM_DES3_KEY_GEN = 0x0131
    CKM_DES3_ECB = 0x0132
    CKM_SHA256_HMAC = 0x0251
    CKM_GENERIC_SECRET_KEY_GEN = 0x0350
    CKM_EC_KEY_PAIR_GEN = 0x1040
    CKM_ECDH1_DERIVE = 0x1050
    CKM_AES_KEY_GEN = 0x1080
    CKM_AES_ECB = 0x1081
    CKM_AES_GCM = 0x1087

    CKR_OK = 0x000
    CKR_GENERAL_ERROR = 0x005
    CKR_ENCRYPTED_DATA_INVALID = 0x040
    CKR_ENCRYPTED_DATA_LEN_RANGE = 0x041
    CKR_OPERATION_ACTIVE = 0x090
    CKR_PIN_INCORRECT = 0x0A0
    CKR_PIN_LOCKED = 0x0A4
    CKR_USER_ALREADY_LOGGED_IN = 0x100

ctypedef struct CK_VERSION:
    CK_BYTE major
    CK_BYTE minor

ctypedef struct CK_ATTRIBUTE:
    CK_ULONG type
    void *pValue
    CK_ULONG ulValueLen

ctypedef struct CK_MECHANISM:
    CK_ULONG mechanism
    void *pParameter
    CK_ULONG ulParameterLen

ctypedef struct CK_GCM_PARAMS:
    CK_BYTE *pIv
    CK_ULONG ulIvLen
    CK_ULONG ulIvBits
    CK_BYTE *pAAD
    CK_ULONG ulAADLen
    CK_ULONG ulTagBits

ctypedef struct CK_ECDH1_DERIVE_PARAMS:
    CK_ULONG kdf
    CK_ULONG ulSharedDataLen
    CK_BYTE *pSharedData
    CK_ULONG ulPublicDataLen
    CK_BYTE *pPublicData

ctypedef struct CK_C_INITIALIZE_ARGS:
    void *CreateMutex
    void *DestroyMutex
    void *LockMutex
    void *UnlockMutex
    CK_ULONG flags
    void *pReserved

ctypedef struct CK_TOKEN_INFO:
    CK_BYTE label[32]
    CK_BYTE manufacturerID[32]
    CK_BYTE model[16]
    CK_BYTE serialNumber[16]
    CK_ULONG flags
    CK_ULONG ulMaxSessionCount
    CK_ULONG ulSessionCount
    CK_ULONG ulMaxRwSessionCount
    CK_ULONG ulRwSessionCount
    CK_ULONG ulMaxPinLen
    CK_ULONG ulMinPinLen
    CK_ULONG ulTotalPublicMemory
    CK_ULONG ulFreePublicMemory
    CK_ULONG ulTotalPrivateMemory
    CK_ULONG ulFreePrivateMemory
    CK_VERSION hardwareVersion
    CK_VERSION firmwareVersion
    CK_BYTE utcTime[16]

# Shapes of functions: named after what they take, since many share one.
ctypedef CK_RV (*take_pointer_function)(void *) noexcept nogil
ctypedef CK_RV (*take_session_function)(CK_ULONG) noexcept nogil
ctypedef CK_RV (*list_slots_function)(CK_BYTE, CK_ULONG *, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*read_token_info_function)(CK_ULONG, CK_TOKEN_INFO *) noexcept nogil
ctypedef CK_RV (*initialise_token_function)(CK_ULONG, CK_BYTE *, CK_ULONG, CK_BYTE *) noexcept nogil
ctypedef CK_RV (*set_pin_function)(CK_ULONG, CK_BYTE *, CK_ULONG) noexcept nogil
ctypedef CK_RV (*open_session_function)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*log_in_function)(CK_ULONG, CK_ULONG, CK_BYTE *, CK_ULONG) noexcept nogil
ctypedef CK_RV (*create_object_function)(CK_ULONG, CK_ATTRIBUTE *, CK_ULONG, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*copy_object_function)(CK_ULONG, CK_ULONG, CK_ATTRIBUTE *, CK_ULONG, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*name_object_function)(CK_ULONG, CK_ULONG) noexcept nogil
ctypedef CK_RV (*object_attributes_function)(CK_ULONG, CK_ULONG, CK_ATTRIBUTE *, CK_ULONG) noexcept nogil
ctypedef CK_RV (*start_search_function)(CK_ULONG, CK_ATTRIBUTE *, CK_ULONG) noexcept nogil
ctypedef CK_RV (*next_objects_function)(CK_ULONG, CK_ULONG *, CK_ULONG, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*start_operation_function)(CK_ULONG, CK_MECHANISM *, CK_ULONG) noexcept nogil
ctypedef CK_RV (*transform_function)(CK_ULONG, const CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*generate_key_function)(CK_ULONG, CK_MECHANISM *, CK_ATTRIBUTE *, CK_ULONG, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*generate_key_pair_function)(CK_ULONG, CK_MECHANISM *, CK_ATTRIBUTE *, CK_ULONG,
                                    CK_ATTRIBUTE *, CK_ULONG,
                                    CK_ULONG *, CK_ULONG *) noexcept nogil
ctypedef CK_RV (*derive_key_function)(CK_ULONG, CK_MECHANISM *, CK_ULONG, CK_ATTRIBUTE *, CK_ULONG,
                                      CK_ULONG *) noexcept nogil

ctypedef struct CK_FUNCTION_LIST:
    CK_VERSION version
    take_pointer_function C_Initialize
    take_pointer_function C_Finalize
    void *C_GetInfo
    void *C_GetFunctionList
    list_slots_function C_GetSlotList
    void *C_GetSlotInfo
    read_token_info_function C_GetTokenInfo
    void *C_GetMechanismList
    void *C_GetMechanismInfo
    initialise_token_function C_InitToken
    set_pin_function C_InitPIN
    void *C_SetPIN
    open_session_function C_OpenSession
    take_session_function C_CloseSession
    take_session_function C_CloseAllSessions
    void *C_GetSessionInfo
    void *C_GetOperationState
    void *C_SetOperationState
    log_in_function C_Login
    take_session_function C_Logout
    create_object_function C_CreateObject
    copy_object_function C_CopyObject
    name_object_function C_DestroyObject
    void *C_GetObjectSize
    object_attributes_function C_GetAttributeValue
    object_attributes_function C_SetAttributeValue
    start_search_function C_FindObjectsInit
    next_objects_function C_FindObjects
    take_session_function C_FindObjectsFinal
    start_operation_function C_EncryptInit
    transform_function C_Encrypt
    transform_function C_EncryptUpdate
    void *C_EncryptFinal
    start_operation_function C_DecryptInit
    transform_function C_Decrypt
    transform_function C_DecryptUpdate
    void *C_DecryptFinal
    void *C_DigestInit
    void *C_Digest
    void *C_DigestUpdate
    void *C_DigestKey
    void *C_DigestFinal
    start_operation_function C_SignInit
    transform_function C_Sign
    void *C_SignUpdate
    void *C_SignFinal
    void *C_SignRecoverInit
    void *C_SignRecover
    void *C_VerifyInit
    void *C_Verify
    void *C_VerifyUpdate
    void *C_VerifyFinal
    void *C_VerifyRecoverInit
    void *C_VerifyRecover
    void *C_DigestEncryptUpdate
    void *C_DecryptDigestUpdate
    void *C_SignEncryptUpdate
    void *C_DecryptVerifyUpdate
    generate_key_function C_GenerateKey
    generate_key_pair_function C_GenerateKeyPair
    void *C_WrapKey
    void *C_UnwrapKey
    derive_key_function C_DeriveKey
    void *C_SeedRandom
    void *C_GenerateRandom
    void *C_GetFunctionStatus
    void *C_CancelFunction
    void *C_WaitForSlotEvent

ctypedef CK_RV (*get_function_list_function)(CK_FUNCTION_LIST **) noexcept nogil
