/* Reference counting of public handles. */
#include "api/handle.h"

#include "base/alloc.h"

rlhf_status rlhf__handle_create(rlhf_context *context, size_t size,
                                void (*destroy)(void *handle), void *out_handle)
{
    rlhf__handle *handle = NULL;

    RLHF__TRY(rlhf__alloc(context, 1, size, RLHF_MEMORY_GENERAL, &handle));
    atomic_init(&handle->references, 1);
    handle->context = context ? rlhf__context_ref(context) : NULL;
    handle->destroy = destroy;
    *(void **)out_handle = handle;
    return RLHF_OK;
}

void *rlhf__handle_ref(void *handle)
{
    rlhf__handle *h = handle;

    if (h)
        atomic_fetch_add_explicit(&h->references, 1, memory_order_relaxed);
    return handle;
}

void rlhf__handle_unref(void *handle)
{
    rlhf__handle *h = handle;

    if (!h || atomic_fetch_sub_explicit(&h->references, 1, memory_order_acq_rel) != 1)
        return;
    rlhf_context *context = h->context;
    if (h->destroy)
        h->destroy(handle);
    rlhf__free(handle);
    rlhf__context_unref(context);
}

void rlhf__handle_free(void *handle)
{
    rlhf__handle *h = handle;

    if (!h || !h->context || !rlhf__context_is_inside(h->context)) {
        rlhf__handle_unref(handle);
        return;
    }
    h->next_freed = h->context->freed;
    h->context->freed = h;
}

rlhf_status rlhf__leave(rlhf_context *context, rlhf__entry *entry, rlhf_status status)
{
    rlhf__handle *freed = context->freed;

    context->freed = NULL;
    status = rlhf__context_leave(context, entry, status);
    while (freed) {
        rlhf__handle *next = freed->next_freed;
        rlhf__handle_unref(freed);
        freed = next;
    }
    return status;
}
