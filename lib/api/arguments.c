/* Argument checks that several public calls share. */
#include "api/arguments.h"

#include <inttypes.h>

#include "api/handle.h"
#include "base/versioned_struct.h"

rlhf_status rlhf__check_ragged(const int32_t *tokens, const int64_t *cu_seqlens,
                               int64_t num_seqs)
{
    if (!tokens || !cu_seqlens)
        return rlhf__fail_arg(tokens ? "cu_seqlens" : "tokens", "%s is NULL",
                              tokens ? "cu_seqlens" : "tokens");
    if (num_seqs < 1)
        return rlhf__fail_arg("num_seqs", "num_seqs must be >= 1, got %" PRId64,
                              num_seqs);
    if (cu_seqlens[0] != 0)
        return rlhf__fail_arg("cu_seqlens", "cu_seqlens[0] must be 0, got %" PRId64,
                              cu_seqlens[0]);
    for (int64_t s = 0; s < num_seqs; s++)
        if (cu_seqlens[s + 1] < cu_seqlens[s])
            return rlhf__fail_arg("cu_seqlens",
                                  "cu_seqlens must not descend, [%" PRId64 "] is %" PRId64
                                  " after %" PRId64,
                                  s + 1, cu_seqlens[s + 1], cu_seqlens[s]);
    return RLHF_OK;
}

rlhf_status rlhf__check_same_context(const void *a, const void *b, const char *a_name,
                                     const char *b_name)
{
    const rlhf__handle *first = a, *second = b;

    if (first->context != second->context)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s and %s belong to different contexts",
                          a_name, b_name);
    return RLHF_OK;
}

rlhf_status rlhf__check_out_struct(const void *out, const char *name)
{
    return out ? rlhf__struct_check_out(out, name) : RLHF_OK;
}
