# cython: boundscheck=False, wraparound=False, cdivision=True
"""The BIN table's memory: ranges of PANs as sorted 64-bit integers, cut so that each PAN lies in one segment.

Reading takes four steps, all without the GIL: parse the lines into `Range`s; sort them by where they begin; for each
PAN length walk over them with a heap of those that are open, the narrowest on top, and write a segment whenever the
top changes; share the segments of lengths that no line tells apart. A look-up goes by an index of leading digits to a
few segments and bisects those: bisecting millions would miss the processor's cache twenty times.
"""

from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp

HEADER = b"low,high,length,scheme,issuer,issuer_name,type,country"
MOST_RANGES = 100_000_000
MOST_KINDS = 500_000
LONGEST_LINE = 512

cdef Py_ssize_t _LONGEST_LINE = LONGEST_LINE
cdef enum:
    SHORTEST = 12
    LONGEST = 19
    LENGTHS = 8
    NO_KIND = 0xFFFFFFFF

cdef uint64_t POWERS[20]
cdef int _exponent
POWERS[0] = 1
for _exponent in range(1, 20):
    POWERS[_exponent] = POWERS[_exponent - 1] * 10

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


# --- parsing --------------------------------------------------------------------------------------------------------


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


# --- ordering -------------------------------------------------------------------------------------------------------


cdef int by_low(const void *left, const void *right) noexcept nogil:
    cdef const Range *a = <const Range *> left
    cdef const Range *b = <const Range *> right
    if a.low != b.low:
        return -1 if a.low < b.low else 1
    if a.high != b.high:
        return -1 if a.high < b.high else 1
    if a.lengths != b.lengths:
        return -1 if a.lengths < b.lengths else 1
    return -1 if a.line < b.line else 1


cdef Fault refuse_twins(Reading *reading) noexcept nogil:
    cdef Py_ssize_t n
    cdef Range *a
    cdef Range *b
    for n in range(1, reading.count):
        a, b = &reading.ranges[n - 1], &reading.ranges[n]
        if a.low == b.low and a.high == b.high and a.lengths == b.lengths:
            reading.line, reading.other_line = b.line, a.line
            return TWICE
    return NONE


cdef int count_bits(uint8_t mask) noexcept nogil:
    cdef int count = 0
    while mask:
        count += mask & 1
        mask >>= 1
    return count


cdef bint is_narrower(const Range *a, const Range *b) noexcept nogil:
    cdef uint64_t width_a = a.high - a.low, width_b = b.high - b.low
    cdef int lengths_a, lengths_b
    if width_a != width_b:
        return width_a < width_b
    lengths_a, lengths_b = count_bits(a.lengths), count_bits(b.lengths)
    if lengths_a != lengths_b:
        return lengths_a < lengths_b
    if a.low != b.low:
        return a.low > b.low
    return a.lengths > b.lengths


# --- cutting --------------------------------------------------------------------------------------------------------


cdef struct Heap:
    const Range **items  # the narrowest on top
    Py_ssize_t size

cdef struct Cut:
    uint64_t *starts
    uint32_t *kinds
    Py_ssize_t count
    uint32_t *index  # for each leading number: the last segment that begins at or before its first PAN; one more behind
    uint64_t divisor  # a PAN's number divided by it is its leading number
    Py_ssize_t leads


cdef void push(Heap *heap, const Range *item) noexcept nogil:
    cdef Py_ssize_t child = heap.size, parent
    heap.size += 1
    while child > 0:
        parent = (child - 1) >> 1
        if not is_narrower(item, heap.items[parent]):
            break
        heap.items[child] = heap.items[parent]
        child = parent
    heap.items[child] = item


cdef void pop(Heap *heap) noexcept nogil:
    cdef const Range *last
    cdef Py_ssize_t parent = 0, child
    heap.size -= 1
    last = heap.items[heap.size]
    while True:
        child = 2 * parent + 1
        if child >= heap.size:
            break
        if child + 1 < heap.size and is_narrower(heap.items[child + 1], heap.items[child]):
            child += 1
        if not is_narrower(heap.items[child], last):
            break
        heap.items[parent] = heap.items[child]
        parent = child
    heap.items[parent] = last


cdef void write(Cut *cut, uint64_t start, uint32_t kind) noexcept nogil:
    if cut.count and cut.kinds[cut.count - 1] == kind:
        return
    cut.starts[cut.count], cut.kinds[cut.count] = start, kind
    cut.count += 1


cdef uint64_t advance(Heap *heap, Cut *cut, uint64_t at, uint64_t until) noexcept nogil:
    """Write the segments of [at, until) from the ranges that are open."""
    cdef const Range *top
    while at < until and heap.size:
        top = heap.items[0]
        if top.high < at:
            pop(heap)
            continue
        write(cut, at, top.kind)
        at = until if top.high >= until else top.high + 1
    if at < until:
        write(cut, at, NO_KIND)
    return until


cdef void cut_up(Reading *reading, uint8_t length_bit, Heap *heap, Cut *cut) noexcept nogil:
    """All segments for PANs of one length. `cut` has room for two per range and one more."""
    cdef uint64_t at = 0
    cdef Py_ssize_t n
    cdef const Range *each
    heap.size = cut.count = 0
    for n in range(reading.count):
        each = &reading.ranges[n]
        if each.lengths & length_bit:
            at = advance(heap, cut, at, each.low)
            push(heap, each)
    advance(heap, cut, at, POWERS[LONGEST])


cdef bint index_leads(Cut *cut) noexcept nogil:
    """As many leading digits as give at most one entry a segment, and at most 7."""
    cdef int digits = 0
    cdef Py_ssize_t segment = 0, lead
    while digits < 7 and <Py_ssize_t> POWERS[digits + 1] <= cut.count:
        digits += 1
    cut.divisor, cut.leads = POWERS[LONGEST - digits], <Py_ssize_t> POWERS[digits]
    cut.index = <uint32_t *> malloc((cut.leads + 1) * sizeof(uint32_t))
    if cut.index == NULL:
        return False
    for lead in range(cut.leads):
        while segment + 1 < cut.count and cut.starts[segment + 1] <= lead * cut.divisor:
            segment += 1
        cut.index[lead] = <uint32_t> segment
    cut.index[cut.leads] = <uint32_t> (cut.count - 1)
    return True


cdef class Segments:
    cdef readonly tuple kinds
    cdef readonly tuple kind_lines
    cdef readonly Py_ssize_t ranges
    cdef readonly Py_ssize_t memory_bytes
    cdef Cut _cuts[LENGTHS]
    cdef int _cut_of[LENGTHS]

    def __init__(self, data, Py_ssize_t most_ranges=MOST_RANGES, Py_ssize_t most_kinds=MOST_KINDS):
        if self.kinds is not None:
            raise TypeError("a table is made once")
        cdef const uint8_t[::1] view = memoryview(data).cast("B")
        cdef Reading reading
        cdef Py_ssize_t start = end_of_header(view)
        cdef Fault fault = NONE
        cdef uint64_t slots = 1024
        reading.data, reading.size = &view[0], view.shape[0]
        reading.count = reading.kind_count = 0
        reading.line = reading.other_line = 0
        reading.most_ranges, reading.most_kinds = most_ranges, <uint32_t> most_kinds
        while slots < 2 * <uint64_t> most_kinds:
            slots *= 2
        reading.slot_mask = slots - 1
        reading.room = 1024
        for index in range(256):
            reading.seen[index] = False
        reading.ranges = <Range *> malloc(reading.room * sizeof(Range))
        reading.kinds = <Kind *> malloc(most_kinds * sizeof(Kind))
        reading.slots = <uint32_t *> calloc(slots, sizeof(uint32_t))
        try:
            if reading.ranges == NULL or reading.kinds == NULL or reading.slots == NULL:
                raise MemoryError
            with nogil:
                fault = parse(&reading, start)
                if fault == NONE:
                    qsort(reading.ranges, reading.count, sizeof(Range), by_low)
                    fault = refuse_twins(&reading)
            if fault == NONE:
                fault = self._cut(&reading)
            if fault != NONE:
                raise refusal(fault, &reading)
            self.kinds = tuple([kind_text(&reading.kinds[n]) for n in range(reading.kind_count)])
            self.kind_lines = tuple([reading.kinds[n].line for n in range(reading.kind_count)])
            self.ranges = reading.count
        finally:
            free(reading.ranges)
            free(reading.kinds)
            free(reading.slots)

    cdef Fault _cut(self, Reading *reading):
        cdef Heap heap
        cdef Cut cut
        cdef Fault fault = NONE
        cdef int length, earlier
        heap.items = <const Range **> malloc((reading.count + 1) * sizeof(void *))
        cut.starts = <uint64_t *> malloc((2 * reading.count + 1) * sizeof(uint64_t))
        cut.kinds = <uint32_t *> malloc((2 * reading.count + 1) * sizeof(uint32_t))
        if heap.items == NULL or cut.starts == NULL or cut.kinds == NULL:
            fault = MEMORY
        else:
            with nogil:
                for length in range(LENGTHS):
                    self._cut_of[length] = length
                    for earlier in range(length):
                        if same_ranges(reading, earlier, length):
                            self._cut_of[length] = self._cut_of[earlier]
                            break
                    if self._cut_of[length] == length:
                        cut_up(reading, <uint8_t> (1 << length), &heap, &cut)
                        if not keep(&cut, &self._cuts[length]) or not index_leads(&self._cuts[length]):
                            fault = MEMORY
                            break
        free(heap.items)
        free(cut.starts)
        free(cut.kinds)
        for length in range(LENGTHS):
            if self._cut_of[length] == length:
                self.memory_bytes += self._cuts[length].count * (sizeof(uint64_t) + sizeof(uint32_t))
                self.memory_bytes += (self._cuts[length].leads + 1) * sizeof(uint32_t)
        return fault

    def __dealloc__(self):
        for length in range(LENGTHS):
            free(self._cuts[length].starts)
            free(self._cuts[length].kinds)
            free(self._cuts[length].index)

    def find(self, str pan not None):
        cdef Py_ssize_t length = PyUnicode_GET_LENGTH(pan), n
        if length < SHORTEST or length > LONGEST or PyUnicode_KIND(pan) != 1:
            return -1
        cdef const uint8_t *digits = <const uint8_t *> PyUnicode_DATA(pan)
        cdef uint64_t number = 0
        for n in range(length):
            if digits[n] < 48 or digits[n] > 57:
                return -1
            number = number * 10 + (digits[n] - 48)
        number *= POWERS[LONGEST - length]
        cdef Cut *cut = &self._cuts[self._cut_of[length - SHORTEST]]
        cdef uint64_t lead = number // cut.divisor
        cdef const uint64_t *base = cut.starts + cut.index[lead]
        cdef Py_ssize_t left = <Py_ssize_t> cut.index[lead + 1] - cut.index[lead] + 1, half
        # The last segment that begins at or below the number. No branch that could be guessed wrong: the compiler
        # makes a conditional move of it.
        while left > 1:
            half = left >> 1
            base = base + half if base[half] <= number else base
            left -= half
        cdef uint32_t kind = cut.kinds[base - cut.starts]
        return -1 if kind == NO_KIND else <Py_ssize_t> kind


cdef Py_ssize_t end_of_header(const uint8_t[::1] view) except -1:
    """Where the first line after the header begins."""
    cdef bytes head = bytes(view[: len(HEADER) + 2])
    for ending in (b"\n", b"\r\n"):
        if head.startswith(HEADER + ending):
            return len(HEADER) + len(ending)
    raise BinTableRefused(1, f"the header is not {HEADER.decode()}")


cdef bint same_ranges(Reading *reading, int a, int b) noexcept nogil:
    """Whether no line tells PANs of these two lengths apart."""
    cdef int mask
    for mask in range(256):
        if reading.seen[mask] and (mask >> a & 1) != (mask >> b & 1):
            return False
    return True


cdef bint keep(const Cut *made, Cut *kept) noexcept nogil:
    """Copy into memory of the right size."""
    cdef Py_ssize_t n
    kept.starts = <uint64_t *> malloc(made.count * sizeof(uint64_t))
    kept.kinds = <uint32_t *> malloc(made.count * sizeof(uint32_t))
    if kept.starts == NULL or kept.kinds == NULL:
        return False
    for n in range(made.count):
        kept.starts[n], kept.kinds[n] = made.starts[n], made.kinds[n]
    kept.count = made.count
    return True


cdef bytes kind_text(const Kind *kind):
    return (<const char *> kind.text)[:kind.size]


cdef object refusal(Fault fault, const Reading *reading):
    if fault == MEMORY:
        return MemoryError()
    if fault == TWICE:
        return BinTableRefused(reading.line, f"the same range and lengths as line {reading.other_line}")
    if fault == TOO_MANY_RANGES:
        return BinTableRefused(reading.line, f"more than {reading.most_ranges} ranges")
    if fault == TOO_MANY_KINDS:
        return BinTableRefused(reading.line, f"more than {reading.most_kinds} different issuers")
    return BinTableRefused(reading.line, _REASONS[fault])
