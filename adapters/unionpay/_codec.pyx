# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bytes to fields and back, driven by `adapters.unionpay.format.FIELDS`. No I/O, no state.

Layout of a message: header (46 bytes), MTI (4 ASCII digits), bitmap (8 bytes, 16 if its first bit is set), fields in
ascending order, each after its LL or LLL prefix if it has one (Q/CUP 006.2; PROTOCOLS, UnionPay).
Fields of kind B are `bytes`, all others `str`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject
from libc.string cimport memcmp, memcpy, memset

from adapters.unionpay.format import (
    FIELDS,
    HEADER_LENGTH,
    HEADER_MARK,
    LARGEST_MESSAGE_LENGTH,
    VERSIONS,
    Kind,
    MalformedMessage,
)

cdef extern from "Python.h":
    object PyUnicode_DecodeLatin1(const char *data, Py_ssize_t size, const char *errors)
    int PyUnicode_KIND(object text)
    int PyUnicode_1BYTE_KIND
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    HEADER = 46
    LONGEST = 4096
    LAST_FIELD = 128
    DIGIT = 1
    LETTER = 2  # and the space: what AN allows beyond digits
    PRINTABLE = 4
    TRACK = 8

cdef enum:
    KIND_NONE = 0
    KIND_N = 1
    KIND_AN = 2
    KIND_ANS = 3
    KIND_Z = 4
    KIND_B = 5
    KIND_XN = 6

cdef struct Format:
    unsigned char kind
    unsigned char prefix
    unsigned short length

cdef Format[LAST_FIELD + 1] formats
cdef unsigned char[256] classes  # what each byte is, as bits
cdef unsigned char[7] allowed  # by kind, the classes it may hold


cdef void _load_tables() except *:
    """Copy the tables of `format` into C arrays, once, and refuse tables this codec was not written for."""
    cdef int byte
    if HEADER_LENGTH != HEADER or LARGEST_MESSAGE_LENGTH != LONGEST:
        raise ImportError("adapters.unionpay.format and _codec disagree: rebuild")
    if [int(kind) for kind in Kind] != [KIND_N, KIND_AN, KIND_ANS, KIND_Z, KIND_B, KIND_XN]:
        raise ImportError("adapters.unionpay.format and _codec disagree: rebuild")
    memset(formats, 0, sizeof(formats))
    for number, field in FIELDS.items():
        formats[number].kind = field.kind
        formats[number].prefix = field.prefix
        formats[number].length = field.length
    memset(classes, 0, sizeof(classes))
    for byte in range(0x20, 0x100):
        classes[byte] = 0 if byte == 0x7F else PRINTABLE
    for byte in b"0123456789":
        classes[byte] |= DIGIT | TRACK
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ":
        classes[byte] |= LETTER
    for byte in b"=D":
        classes[byte] |= TRACK
    allowed[KIND_N] = DIGIT
    allowed[KIND_AN] = DIGIT | LETTER
    allowed[KIND_ANS] = PRINTABLE
    allowed[KIND_Z] = TRACK


_load_tables()


cdef inline bint _conforms(const unsigned char *data, Py_ssize_t size, int kind) noexcept nogil:
    """Whether every byte is one that `kind` allows."""
    cdef Py_ssize_t index
    cdef unsigned char bits
    if kind == KIND_B:
        return True
    if kind == KIND_XN:
        if data[0] != c"C" and data[0] != c"D":
            return False
        data += 1
        size -= 1
        kind = KIND_N
    bits = allowed[kind]
    for index in range(size):
        if not classes[data[index]] & bits:
            return False
    return True


cdef inline int _number(const unsigned char *data, int digits) noexcept nogil:
    """The value of so many ASCII digits, or -1."""
    cdef int index, value = 0
    for index in range(digits):
        if not classes[data[index]] & DIGIT:
            return -1
        value = value * 10 + data[index] - c"0"
    return value


cdef inline void _put_number(unsigned char *data, int digits, int value) noexcept nogil:
    cdef int index
    for index in range(digits - 1, -1, -1):
        data[index] = c"0" + value % 10
        value //= 10


cdef class Header:
    """The 46-byte header.

    1 length 0x2E; 1 version; 4 total length; 11 destination; 11 source; 3 reserved; 1 batch; 8 transaction
    information; 1 user information; 5 reject code. Captured messages use both binary and ASCII zeros in the reserved,
    batch and user bytes: they are kept as they came.

    >>> header = Header("00010344", "44190440")
    >>> header.reply().destination, header.reply().source
    ('44190440', '00010344')
    """

    cdef unsigned char[HEADER] raw

    def __init__(
        self,
        str destination,
        str source,
        *,
        int version=2,
        bytes reserved=b"\0\0\0",
        int batch=0,
        str transaction_information="00000000",
        int user_information=0,
        str reject_code="00000",
    ):
        raw = b"".join((
            bytes((HEADER_MARK, version)), b"0000",
            destination.encode("latin-1").ljust(11), source.encode("latin-1").ljust(11),
            reserved, bytes((batch,)), transaction_information.encode("latin-1"), bytes((user_information,)),
            reject_code.encode("latin-1"),
        ))
        if len(raw) != HEADER:
            raise MalformedMessage(None, "a part has the wrong length")
        memcpy(self.raw, PyBytes_AS_STRING(raw), HEADER)
        _check_header(self.raw)

    @property
    def version(self):
        return self.raw[1]

    @property
    def destination(self):
        return self.raw[6:17].decode("latin-1").rstrip()

    @property
    def source(self):
        return self.raw[17:28].decode("latin-1").rstrip()

    @property
    def reject_code(self):
        return self.raw[41:46].decode("latin-1")

    def reply(self):
        """The header of a response: the ids swapped, all else kept."""
        cdef Header header = Header.__new__(Header)
        memcpy(header.raw, self.raw, HEADER)
        memcpy(header.raw + 6, self.raw + 17, 11)
        memcpy(header.raw + 17, self.raw + 6, 11)
        return header

    def __eq__(self, other):
        if not isinstance(other, Header):
            return NotImplemented
        return memcmp(self.raw, (<Header> other).raw, HEADER) == 0

    def __hash__(self):
        return hash(PyBytes_FromStringAndSize(<char *> self.raw, HEADER))

    def __repr__(self):
        return f"Header({self.destination!r}, {self.source!r}, reject_code={self.reject_code!r})"


cdef int _check_header(const unsigned char *raw) except -1:
    if raw[0] != HEADER:
        raise MalformedMessage(None, "its length is not 46")
    if raw[1] not in VERSIONS:
        raise MalformedMessage(None, "unknown version")
    if not _conforms(raw + 6, 22, KIND_AN):
        raise MalformedMessage(None, "an institution id holds other than letters and digits")
    if _number(raw + 32, 8) < 0 or _number(raw + 41, 5) < 0:
        raise MalformedMessage(None, "transaction information or reject code holds other than digits")
    return 0


def decode(bytes message not None):
    """Header and body to (header, MTI, fields).

    Raises MalformedMessage, naming the field, for anything but a whole message: a wrong total length, an unknown
    field, a truncated, overlong, empty or ill-formed value, bytes left over.

    >>> decode(b".")
    Traceback (most recent call last):
    adapters.unionpay.format.MalformedMessage: header: truncated
    """
    cdef const unsigned char *data = <const unsigned char *> PyBytes_AS_STRING(message)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    cdef Py_ssize_t at = HEADER + 4
    cdef Py_ssize_t length
    cdef const unsigned char *bitmap
    cdef int number, last = 64
    cdef Format form
    cdef dict fields = {}
    cdef Header header
    if size < HEADER + 12:
        raise MalformedMessage(None if size < HEADER else 0, "truncated")
    if size > LONGEST or _number(data + 2, 4) != size:
        raise MalformedMessage(None, "its total length is not the message's")
    _check_header(data)
    header = Header.__new__(Header)
    memcpy(header.raw, data, HEADER)
    memcpy(header.raw + 2, b"0000", 4)
    if _number(data + HEADER, 4) < 0:
        raise MalformedMessage(0, "the MTI is not four digits")
    bitmap = data + at
    at += 8
    if bitmap[0] & 0x80:
        last = LAST_FIELD
        at += 8
        if at > size:
            raise MalformedMessage(0, "truncated")
    for number in range(2, last + 1):
        if not bitmap[(number - 1) >> 3] & (0x80 >> ((number - 1) & 7)):
            continue
        form = formats[number]
        if form.kind == KIND_NONE:
            raise MalformedMessage(number, "not a field of this dialect")
        length = form.length
        if form.prefix:
            if at + form.prefix > size:
                raise MalformedMessage(number, "truncated")
            length = _number(data + at, form.prefix)
            at += form.prefix
            if length < 1 or length > form.length:
                raise MalformedMessage(number, "its length is out of bounds")
        if at + length > size:
            raise MalformedMessage(number, "truncated")
        if form.kind == KIND_B:
            fields[number] = PyBytes_FromStringAndSize(<const char *> data + at, length)
        elif _conforms(data + at, length, form.kind):
            fields[number] = PyUnicode_DecodeLatin1(<const char *> data + at, length, NULL)
        else:
            raise MalformedMessage(number, "it holds a byte that its kind does not allow")
        at += length
    if at != size:
        raise MalformedMessage(0, "bytes follow the last field")
    return header, PyUnicode_DecodeLatin1(<const char *> data + HEADER, 4, NULL), fields


cdef Py_ssize_t _put_field(unsigned char *target, Py_ssize_t room, int number, object value) except -1:
    """Write one field with its prefix; returns how many bytes."""
    cdef Format form = formats[number]
    cdef const unsigned char *data
    cdef Py_ssize_t length
    if form.kind == KIND_NONE:
        raise MalformedMessage(number, "not a field of this dialect")
    if form.kind == KIND_B:
        if type(value) is not bytes:
            raise MalformedMessage(number, "not bytes")
        data = <const unsigned char *> PyBytes_AS_STRING(value)
        length = PyBytes_GET_SIZE(value)
    else:
        if type(value) is not str or PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND:
            raise MalformedMessage(number, "not text of one byte a character")
        data = <const unsigned char *> PyUnicode_DATA(value)
        length = PyUnicode_GET_LENGTH(value)
    if length < 1 or length > form.length or (form.prefix == 0 and length != form.length):
        raise MalformedMessage(number, "its length is out of bounds")
    if not _conforms(data, length, form.kind):
        raise MalformedMessage(number, "it holds a byte that its kind does not allow")
    if form.prefix + length > room:
        raise MalformedMessage(number, "the message grows too long")
    _put_number(target, form.prefix, <int> length)
    memcpy(target + form.prefix, data, length)
    return form.prefix + length


cdef bytes _encode(Header header, str mti, dict fields, bint framed):
    cdef unsigned char[4 + LONGEST] buffer
    cdef unsigned char *message = buffer + 4
    cdef unsigned char *bitmap = message + HEADER + 4
    cdef PyObject *values[LAST_FIELD + 1]
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t at
    cdef int number, last = 0
    memset(values, 0, sizeof(values))
    while PyDict_Next(fields, &position, &key, &value):
        number = <object> key
        if number < 2 or number > LAST_FIELD:
            raise MalformedMessage(0, "a field number is out of bounds")
        values[number] = value
        if number > last:
            last = number
    if PyUnicode_GET_LENGTH(mti) != 4 or PyUnicode_KIND(mti) != PyUnicode_1BYTE_KIND:
        raise MalformedMessage(0, "the MTI is not four digits")
    memcpy(message, header.raw, HEADER)
    memcpy(message + HEADER, PyUnicode_DATA(mti), 4)
    if _number(message + HEADER, 4) < 0:
        raise MalformedMessage(0, "the MTI is not four digits")
    memset(bitmap, 0, 16)
    at = HEADER + 4 + (16 if last > 64 else 8)
    if last > 64:
        bitmap[0] = 0x80
    for number in range(2, last + 1):
        if values[number] is not NULL:
            bitmap[(number - 1) >> 3] |= 0x80 >> ((number - 1) & 7)
            at += _put_field(message + at, LONGEST - at, number, <object> values[number])
    _put_number(message + 2, 4, <int> at)
    if framed:
        _put_number(buffer, 4, <int> at)
        return PyBytes_FromStringAndSize(<char *> buffer, at + 4)
    return PyBytes_FromStringAndSize(<char *> message, at)


def encode(Header header not None, str mti not None, dict fields not None):
    """(header, MTI, fields) to header and body. Raises MalformedMessage, naming the field, for what does not fit.

    >>> encode(Header("1", "2"), "0820", {7: "1123080000", 11: "000001", 70: "301"})[46:50]
    b'0820'
    """
    return _encode(header, mti, fields, False)


def encode_frame(Header header not None, str mti not None, dict fields not None):
    """As `encode`, with the four ASCII digits of length before it: ready for the socket."""
    return _encode(header, mti, fields, True)


cdef Py_ssize_t _append_covered(
    unsigned char *target, Py_ssize_t size, const unsigned char *data, Py_ssize_t length, bint restricted
) noexcept nogil:
    """Append in upper case; if restricted, only what a financial MAC covers, and no space after a space."""
    cdef Py_ssize_t index
    cdef unsigned char byte
    for index in range(length):
        byte = data[index]
        if c"a" <= byte <= c"z":
            byte -= 32
        if restricted and not (c"A" <= byte <= c"Z" or c"0" <= byte <= c"9" or byte == c"," or byte == c"."):
            if byte != c" " or target[size - 1] == c" ":
                continue
        target[size] = byte
        size += 1
    return size


def covered_text(str mti not None, dict fields not None, tuple numbers not None, int of_90=42, bint restricted=False):
    """What a MAC covers: MTI and the named fields that are present, one space between, LL before variable ones.

    Upper case. of_90: how many characters of field 90 count. restricted: keep only `A-Z 0-9 , .` and single spaces.
    Raises MalformedMessage for a field that is not text or is longer than its format allows.

    >>> covered_text("0800", {7: "0517160726", 100: "44190440"}, (7, 11, 100))
    b'0800 0517160726 0844190440'
    """
    cdef unsigned char[LONGEST] buffer
    cdef unsigned char[4] prefix
    cdef Py_ssize_t size, length
    cdef int number
    cdef Format form
    if PyUnicode_GET_LENGTH(mti) != 4 or PyUnicode_KIND(mti) != PyUnicode_1BYTE_KIND:
        raise MalformedMessage(0, "the MTI is not four digits")
    memcpy(buffer, PyUnicode_DATA(mti), 4)
    if _number(buffer, 4) < 0:
        raise MalformedMessage(0, "the MTI is not four digits")
    size = 4
    for key in numbers:
        value = fields.get(key)
        if value is None:
            continue
        number = key
        form = formats[number]
        if type(value) is not str or PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND:
            raise MalformedMessage(number, "not text of one byte a character")
        length = PyUnicode_GET_LENGTH(value)
        if length > form.length or size + length + 4 > LONGEST:
            raise MalformedMessage(number, "its length is out of bounds")
        if buffer[size - 1] != c" " or not restricted:
            buffer[size] = c" "
            size += 1
        if form.prefix:
            _put_number(prefix, form.prefix, <int> length)
            size = _append_covered(buffer, size, prefix, form.prefix, restricted)
        if number == 90 and length > of_90:
            length = of_90
        size = _append_covered(buffer, size, <const unsigned char *> PyUnicode_DATA(value), length, restricted)
    while restricted and buffer[size - 1] == c" ":
        size -= 1
    return PyBytes_FromStringAndSize(<char *> buffer, size)
