/* Memory for secrets: a page of its own each, locked, left out of core dumps, zero in a forked child, wiped at the end.
 * A page of its own because mlock does not nest: unlocking one secret would unlock its neighbours. */
#ifndef PAYSWITCH_LOCKED_H
#define PAYSWITCH_LOCKED_H

#include <stddef.h>
#include <sys/mman.h>
#include <openssl/crypto.h>

enum { LOCKED_PAGE_BYTES = 4096 };

static inline void *locked_page_new(void) {
    void *page = mmap(NULL, LOCKED_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (page == MAP_FAILED) return NULL;
    if (mlock(page, LOCKED_PAGE_BYTES) != 0) {
        munmap(page, LOCKED_PAGE_BYTES);
        return NULL;
    }
#ifdef MADV_DONTDUMP
    madvise(page, LOCKED_PAGE_BYTES, MADV_DONTDUMP);
#endif
#ifdef MADV_WIPEONFORK
    madvise(page, LOCKED_PAGE_BYTES, MADV_WIPEONFORK);
#endif
    return page;
}

static inline void locked_page_free(void *page) {
    if (page == NULL) return;
    OPENSSL_cleanse(page, LOCKED_PAGE_BYTES);
    munmap(page, LOCKED_PAGE_BYTES);
}

#endif
