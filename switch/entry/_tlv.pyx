# cython: boundscheck=False, wraparound=False
"""BER-TLV (ISO/IEC 8825-1, as EMV Book 3 Annex B profiles it): a strict flat walk, a nested walk, an encoder.

Definite lengths only; a tag is 1 to 4 bytes, a length 1 to 3. Everything is bounded: see the constants.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from switch.entry.errors import EntryError

LARGEST_BYTES = 1024
MOST_TAGS = 64
DEEPEST = 8

cdef Py_ssize_t _LARGEST_BYTES = LARGEST_BYTES
cdef Py_ssize_t _MOST_TAGS = MOST_TAGS
cdef int _DEEPEST = DEEPEST
cdef int _LONGEST_TAG = 4

cdef enum Fault:
    NONE
    TAG_TRUNCATED
    TAG_TOO_LONG
    TAG_MALFORMED
    LENGTH_TRUNCATED
    LENGTH_INDEFINITE
    LENGTH_TOO_LONG
    VALUE_TRUNCATED

_REASONS = {
    TAG_TRUNCATED: "ends inside a tag",
    TAG_TOO_LONG: "a tag longer than 4 bytes",
    TAG_MALFORMED: "a malformed tag",
    LENGTH_TRUNCATED: "ends inside a length",
    LENGTH_INDEFINITE: "an indefinite length",
    LENGTH_TOO_LONG: "a length of more than 2 bytes",
    VALUE_TRUNCATED: "a length beyond the end",
}

cdef struct Header:
    unsigned int tag
    bint constructed
    Py_ssize_t value_at
    Py_ssize_t length


cdef Fault read_tag(const unsigned char *data, Py_ssize_t *at, Py_ssize_t end, Header *header) noexcept nogil:
    """8825-1 8.1.2. Tag 00 is EMV's padding; a terminal has no reason to send it."""
    cdef unsigned char octet = data[at[0]]
    cdef int width = 1
    at[0] += 1
    header.tag = octet
    header.constructed = octet & 0x20
    if octet == 0:
        return TAG_MALFORMED
    if octet & 0x1F != 0x1F:
        return NONE
    while True:
        if at[0] == end:
            return TAG_TRUNCATED
        if width == _LONGEST_TAG:
            return TAG_TOO_LONG
        octet = data[at[0]]
        if width == 1 and octet == 0x80:
            return TAG_MALFORMED
        at[0] += 1
        width += 1
        header.tag = header.tag << 8 | octet
        if not octet & 0x80:
            return NONE


cdef Fault read_header(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, Header *header) noexcept nogil:
    """The tag and length (8825-1 8.1.3) at `at`, which is before `end`; the value lies before `end` too."""
    cdef Fault fault = read_tag(data, &at, end, header)
    if fault != NONE:
        return fault
    if at == end:
        return LENGTH_TRUNCATED
    cdef Py_ssize_t length = data[at]
    cdef int octets
    at += 1
    if length & 0x80:
        octets = length & 0x7F
        if octets == 0:
            return LENGTH_INDEFINITE
        if octets > 2:
            return LENGTH_TOO_LONG
        if end - at < octets:
            return LENGTH_TRUNCATED
        length = data[at] if octets == 1 else data[at] << 8 | data[at + 1]
        at += octets
    if length > end - at:
        return VALUE_TRUNCATED
    header.value_at = at
    header.length = length
    return NONE


cdef object refusal(Fault fault, Py_ssize_t at, str field):
    return EntryError(field, f"{_REASONS[fault]}, at byte {at}")


cdef int check_size(bytes data, str field) except -1:
    if PyBytes_GET_SIZE(data) == 0:
        raise EntryError(field, "empty")
    if PyBytes_GET_SIZE(data) > _LARGEST_BYTES:
        raise EntryError(field, f"longer than {LARGEST_BYTES} bytes")
    return 0


def parse_flat(bytes data not None, str field not None):
    check_size(data, field)
    cdef const unsigned char *octets = <const unsigned char *> PyBytes_AS_STRING(data)
    cdef Py_ssize_t at = 0, end = PyBytes_GET_SIZE(data), count = 0
    cdef Header header
    cdef Fault fault
    cdef dict tags = {}
    while at < end:
        fault = read_header(octets, at, end, &header)
        if fault != NONE:
            raise refusal(fault, at, field)
        if count == _MOST_TAGS:
            raise EntryError(field, f"more than {MOST_TAGS} tags")
        tags[header.tag] = PyBytes_FromStringAndSize(<const char *> octets + header.value_at, header.length)
        count += 1
        if len(tags) != count:
            raise EntryError(field, f"tag {header.tag:02X} twice")
        at = header.value_at + header.length
    return tags


cdef list walk(bytes data, Py_ssize_t at, Py_ssize_t end, int depth, Py_ssize_t *count, str field):
    """Calls itself for a constructed value, at most `DEEPEST` deep whatever the input."""
    if depth > _DEEPEST:
        raise EntryError(field, f"nested deeper than {DEEPEST}, at byte {at}")
    cdef const unsigned char *octets = <const unsigned char *> PyBytes_AS_STRING(data)
    cdef Header header
    cdef Fault fault
    cdef list found = []
    while at < end:
        fault = read_header(octets, at, end, &header)
        if fault != NONE:
            raise refusal(fault, at, field)
        if count[0] == _MOST_TAGS:
            raise EntryError(field, f"more than {MOST_TAGS} tags")
        count[0] += 1
        at = header.value_at + header.length
        if header.constructed:
            found.append((header.tag, walk(data, header.value_at, at, depth + 1, count, field)))
        else:
            value = PyBytes_FromStringAndSize(<const char *> octets + header.value_at, header.length)
            found.append((header.tag, value))
    return found


def parse_nested(bytes data not None, str field not None):
    check_size(data, field)
    cdef Py_ssize_t count = 0
    return walk(data, 0, PyBytes_GET_SIZE(data), 1, &count, field)


cdef int tag_width(unsigned int tag) except -1:
    """How many bytes the tag has, if it is a tag that `read_tag` gives back."""
    cdef unsigned char octets[4]
    cdef int width = 1 if tag < 0x100 else 2 if tag < 0x10000 else 3 if tag < 0x1000000 else 4
    cdef int index
    for index in range(width):
        octets[index] = tag >> 8 * (width - 1 - index) & 0xFF
    cdef Header header
    cdef Py_ssize_t at = 0
    if read_tag(octets, &at, width, &header) != NONE or at != width:
        raise ValueError(f"{tag:X} is not a tag")
    return width


cdef bytes write(list objects):
    cdef Py_ssize_t size = 0, length
    cdef unsigned int tag
    cdef bytes value
    for tag, value in objects:
        length = PyBytes_GET_SIZE(value)
        if length > 0xFFFF:
            raise ValueError("a value longer than 65,535 bytes")
        size += tag_width(tag) + (1 if length < 0x80 else 2 if length < 0x100 else 3) + length
    cdef bytes encoded = PyBytes_FromStringAndSize(NULL, size)
    cdef unsigned char *out = <unsigned char *> PyBytes_AS_STRING(encoded)
    cdef int shift
    for tag, value in objects:
        for shift in range(24, -8, -8):
            if tag >> shift:
                out[0] = tag >> shift & 0xFF
                out += 1
        length = PyBytes_GET_SIZE(value)
        if length >= 0x80:
            out[0] = 0x81 if length < 0x100 else 0x82
            out += 1
        if length >= 0x100:
            out[0] = length >> 8
            out += 1
        out[0] = length & 0xFF
        out += 1
        memcpy(out, PyBytes_AS_STRING(value), length)
        out += length
    return encoded


def encode(objects):
    return write(list(objects))


def encode_present(dict tags not None, tuple order not None):
    return write([(tag, tags[tag]) for tag in order if tag in tags])
