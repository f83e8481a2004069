# A BIN table's file, line by line: what a range is, what is wrong with a line.

cdef enum Fault:
    NONE
    MEMORY
    LINE_TOO_LONG
    COLUMNS
    LOW_NOT_DIGITS
    HIGH_NOT_DIGITS
    WIDTHS_DIFFER
    HIGH_BELOW_LOW
    LENGTH_NOT_ALLOWED
    LENGTH_TOO_SHORT
    CONTROL
    TOO_MANY_RANGES
    TOO_MANY_KINDS
    TWICE
    EMPTY

_REASONS = {
    LINE_TOO_LONG: f"longer than {LONGEST_LINE} bytes",
    COLUMNS: "fewer than 8 columns",
    LOW_NOT_DIGITS: "low is not 1 to 19 digits",
    HIGH_NOT_DIGITS: "high is neither empty nor 1 to 19 digits",
    WIDTHS_DIFFER: "low and high have different numbers of digits",
    HIGH_BELOW_LOW: "high is below low",
    LENGTH_NOT_ALLOWED: "length is neither empty, nor 12 to 19, nor two of these with - between, the lower first",
    LENGTH_TOO_SHORT: "low has more digits than the shortest PAN of the range",
    CONTROL: "a control character",
    EMPTY: "an empty line",
}


class BinTableRefused(Exception):
    """A file that is not taken: none of it is. line: from 1, or 0 for the file as a whole. No digit of it is shown."""

    def __init__(self, line, reason):
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


cdef struct Range:
    uint64_t low
    uint64_t high
    uint32_t kind
    uint32_t line
    uint8_t lengths  # bit n: PANs of 12 + n digits

cdef struct Kind:
    const uint8_t *text
    uint32_t size
    uint32_t line

cdef struct Reading:
    const uint8_t *data
    Py_ssize_t size
    Range *ranges
    Py_ssize_t count
    Py_ssize_t room
    Py_ssize_t most_ranges
    Kind *kinds
    uint32_t kind_count
    uint32_t kind_room
    uint32_t most_kinds
    uint32_t *slots  # open addressing: index of a kind + 1
    uint64_t slot_mask
    bint seen[256]  # which sets of lengths occur
    Py_ssize_t line
    Py_ssize_t other_line


cdef Py_ssize_t read_digits(const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """How many digits stand before the comma; -1 if none, too many, or something else."""
    cdef Py_ssize_t count = 0
    cdef uint64_t number = 0
    while at < end and at[0] != b",":
        if at[0] < b"0" or at[0] > b"9" or count == LONGEST:
            return -1
        number = number * 10 + (at[0] - 48)
        count += 1
        at += 1
    if count == 0 or at == end:
        return -1
    value[0] = number
    return count


cdef int read_length(const uint8_t *at) noexcept nogil:
    """Two digits from 12 to 19, or -1."""
    if at[0] != b"1" or at[1] < b"2" or at[1] > b"9":
        return -1
    return 10 + at[1] - 48


cdef uint8_t lengths_between(int shortest, int longest) noexcept nogil:
    cdef int mask = 0, length
    for length in range(shortest, longest + 1):
        mask |= 1 << (length - SHORTEST)
    return <uint8_t> mask


cdef Fault parse_line(Reading *reading, const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef uint64_t low = 0, high = 0
    cdef Py_ssize_t width, high_width
    cdef int shortest, longest
    cdef const uint8_t *comma
    cdef Range *made
    width = read_digits(at, end, &low)
    if width < 0:
        return LOW_NOT_DIGITS if memchr(at, b",", end - at) != NULL else COLUMNS
    at += width + 1
    if at < end and at[0] == b",":
        high = low
        at += 1
    else:
        high_width = read_digits(at, end, &high)
        if high_width < 0:
            return HIGH_NOT_DIGITS if memchr(at, b",", end - at) != NULL else COLUMNS
        if high_width != width:
            return WIDTHS_DIFFER
        at += width + 1
    if high < low:
        return HIGH_BELOW_LOW
    comma = <const uint8_t *> memchr(at, b",", end - at)
    if comma == NULL:
        return COLUMNS
    if comma == at:
        shortest, longest = SHORTEST if width <= SHORTEST else <int> width, LONGEST
    elif comma - at == 2:
        shortest = longest = read_length(at)
    elif comma - at == 5 and at[2] == b"-":
        shortest, longest = read_length(at), read_length(at + 3)
    else:
        return LENGTH_NOT_ALLOWED
    if shortest < 0 or longest < shortest:
        return LENGTH_NOT_ALLOWED
    if width > shortest:
        return LENGTH_TOO_SHORT
    if reading.count == reading.most_ranges:
        return TOO_MANY_RANGES
    if reading.count == reading.room and not grow(reading):
        return MEMORY
    made = &reading.ranges[reading.count]
    made.low = low * POWERS[LONGEST - width]
    made.high = high * POWERS[LONGEST - width] + (POWERS[LONGEST - width] - 1)
    made.line = <uint32_t> reading.line
    made.lengths = lengths_between(shortest, longest)
    reading.seen[made.lengths] = True
    reading.count += 1
    return find_kind(reading, comma + 1, end, &made.kind)


cdef bint grow(Reading *reading) noexcept nogil:
    cdef Py_ssize_t room = reading.room * 2
    cdef Range *ranges = <Range *> realloc(reading.ranges, room * sizeof(Range))
    if ranges == NULL:
        return False
    reading.ranges, reading.room = ranges, room
    return True


cdef Fault find_kind(Reading *reading, const uint8_t *at, const uint8_t *end, uint32_t *index) noexcept nogil:
    """The index of this text among the kinds, as a new one if it was not seen yet (FNV-1a, open addressing)."""
    cdef uint64_t digest = <uint64_t> 0xCBF29CE484222325
    cdef Py_ssize_t size = end - at, n
    cdef uint64_t slot
    cdef Kind *kind
    for n in range(size):
        if at[n] < 32 or at[n] == 127:
            return CONTROL
        digest = (digest ^ at[n]) * <uint64_t> 0x100000001B3
    slot = (digest ^ digest >> 32) & reading.slot_mask
    while reading.slots[slot] != 0:
        kind = &reading.kinds[reading.slots[slot] - 1]
        if kind.size == size and memcmp(kind.text, at, size) == 0:
            index[0] = reading.slots[slot] - 1
            return NONE
        slot = (slot + 1) & reading.slot_mask
    if reading.kind_count == reading.most_kinds:
        return TOO_MANY_KINDS
    kind = &reading.kinds[reading.kind_count]
    kind.text, kind.size, kind.line = at, <uint32_t> size, <uint32_t> reading.line
    reading.kind_count += 1
    reading.slots[slot] = reading.kind_count
    index[0] = reading.kind_count - 1
    return NONE


cdef Fault parse(Reading *reading, Py_ssize_t at) noexcept nogil:
    """Every line after the header, which ends at `at`."""
    cdef const uint8_t *line
    cdef const uint8_t *end
    cdef const uint8_t *stop = reading.data + reading.size
    cdef Fault fault
    line = reading.data + at
    reading.line = 1
    while line < stop:
        reading.line += 1
        end = <const uint8_t *> memchr(line, b"\n", stop - line)
        if end == NULL:
            end = stop
        if end - line > _LONGEST_LINE:
            return LINE_TOO_LONG
        at = end - reading.data + 1
        if end > line and (end - 1)[0] == b"\r":
            end -= 1
        if end == line:
            return EMPTY
        fault = parse_line(reading, line, end)
        if fault != NONE:
            return fault
        line = reading.data + at
    return NONE
