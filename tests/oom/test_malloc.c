/* The C library's malloc fails in turn, with no hooks set: what jansson, libyaml, SQLite,
 * stdio and the samplers take from it, and the library's own memory too. A call then says
 * so, or does without; it does not crash, leak, or half-write. The symbols here stand
 * before those of the C library. */
#include "oom.h"

#include <errno.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
#define WHY_NOT "a sanitizer has a malloc of its own"
#elif !defined(__GLIBC__)
#define WHY_NOT "the C library is not glibc, whose malloc can be called by a second name"
#endif

#ifdef WHY_NOT

int main(void)
{
    print_message("skipped: %s\n", WHY_NOT);
    return 77;
}

#else

#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* Only calls on the thread of the test are failed and counted. */
static _Thread_local int is_test_thread;

static bool fails(void)
{
    failing_allocator *own = oom_memory();

    if (!is_test_thread || !oom_armed)
        return false;
    const int64_t index = own->count++;
    const bool failed = own->fail_at >= 0 && (index == own->fail_at ||
                                              (own->fail_all && index > own->fail_at));
    if (failed)
        errno = ENOMEM;
    return failed;
}

static void *counted(void *block)
{
    if (is_test_thread && block)
        oom_memory()->live++;
    return block;
}

EXPORT void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

EXPORT void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

EXPORT void *realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    void *grown = __libc_realloc(block, size);
    return block ? grown : counted(grown);
}

EXPORT void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);

    if (!block)
        return ENOMEM;
    *out = block;
    return 0;
}

EXPORT void free(void *block)
{
    if (is_test_thread && block)
        oom_memory()->live--;
    __libc_free(block);
}

int main(void)
{
    is_test_thread = 1;
    return oom_main(false, NULL);
}

#endif
