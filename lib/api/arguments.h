/* Argument checks that several public calls share. */
#ifndef RLHF_API_ARGUMENTS_H
#define RLHF_API_ARGUMENTS_H

#include <stdint.h>

#include "base/error.h"

/* A ragged batch's shape: cu_seqlens from 0 and not descending, at least one sequence.
 * INVALID_ARG names the entry. Tokens are checked where the model is known. */
rlhf_status rlhf__check_ragged(const int32_t *tokens, const int64_t *cu_seqlens,
                               int64_t num_seqs);
/* INVALID_ARG unless both handles belong to one context. */
rlhf_status rlhf__check_same_context(const void *a, const void *b, const char *a_name,
                                     const char *b_name);
/* An output struct's struct_size, before anything is done; NULL is fine. */
rlhf_status rlhf__check_out_struct(const void *out, const char *name);

#endif
