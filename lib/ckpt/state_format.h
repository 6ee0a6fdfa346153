/* What the writer and the reader of saved state agree on; docs/formats.md has it in
 * words. */
#ifndef RLHF_CKPT_STATE_FORMAT_H
#define RLHF_CKPT_STATE_FORMAT_H

#include "base/hash.h"
#include "ckpt/safetensors.h"
#include "ckpt/state.h"

#define RLHF__STATE_JSON      "state.json"
#define RLHF__STATE_TENSORS   "state.safetensors"
#define RLHF__STATE_MAX_BYTES ((int64_t)16 << 20) /* of one byte string */

rlhf__dtype rlhf__state_dtype(rlhf__state_type type);
/* "avx2"; the number as it stands in rlhf_cpu_level. */
/* "float32" or "bfloat16": what a context of the dtype computes in. */
const char *rlhf__state_compute_name(int32_t dtype);
const char *rlhf__state_level_name(int32_t level);
/* Adds one scalar to the checksum over all of them. */
void rlhf__state_hash_value(rlhf__sha256 *hash, const char *name, const char *text);
/* "PREFIX/NAME" into out; INTERNAL where it does not fit. */
rlhf_status rlhf__state_param_name(const char *prefix, const char *name, char out[160]);

#endif
