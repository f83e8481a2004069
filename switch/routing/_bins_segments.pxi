# From ranges that overlap to segments that do not: order, cut, index.

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
