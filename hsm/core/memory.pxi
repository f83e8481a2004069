# Memory for secrets: see `locked.h`.

cdef void *locked_page() except NULL:
    """A page of LOCKED_PAGE_BYTES zeros for a secret; give it back with `locked_page_free`, which wipes it."""
    cdef void *page = locked_page_new()
    if page is NULL:
        raise HsmUnavailable("cannot lock memory for a secret; raise the limit (ulimit -l, RLIMIT_MEMLOCK)")
    return page
