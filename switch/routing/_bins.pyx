# cython: boundscheck=False, wraparound=False, cdivision=True
"""The BIN table's memory: ranges of PANs as sorted 64-bit integers, cut so that each PAN lies in one segment.

Reading takes four steps, all without the GIL: parse the lines into `Range`s (`_bins_lines.pxi`); sort them by where
they begin; for each PAN length walk over them with a heap of those that are open, the narrowest on top, and write a
segment whenever the top changes; share the segments of lengths that no line tells apart (`_bins_segments.pxi`). A
look-up goes by an index of leading digits to a few segments and bisects those: bisecting millions would miss the
processor's cache twenty times.
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

include "_bins_lines.pxi"
include "_bins_segments.pxi"


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

    def within(self, str digits not None):
        if not 0 < len(digits) <= SHORTEST or not (digits.isascii() and digits.isdigit()):
            return []
        cdef uint64_t width = POWERS[LONGEST - len(digits)], low = <uint64_t> int(digits) * width
        cuts = [length for length in range(LENGTHS) if self._cut_of[length] == length]
        found = [kinds_between(&self._cuts[<int> length], low, low + width) for length in cuts]
        return [each for each in found if each != {-1}]


cdef set kinds_between(const Cut *cut, uint64_t low, uint64_t until):
    """Of the PANs from low to below until; -1 where nothing is known."""
    cdef Py_ssize_t first = cut.index[low // cut.divisor], n
    while first + 1 < cut.count and cut.starts[first + 1] <= low:
        first += 1
    found = set()
    for n in range(first, cut.count):
        if n > first and cut.starts[n] >= until:
            break
        found.add(-1 if cut.kinds[n] == NO_KIND else <Py_ssize_t> cut.kinds[n])
    return found


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
