/* Shared by the files that read safetensors. */
#ifndef RLHF_CKPT_SAFETENSORS_INTERNAL_H
#define RLHF_CKPT_SAFETENSORS_INTERNAL_H

#include "base/json.h"
#include "ckpt/safetensors.h"

struct rlhf__tensor_file {
    rlhf_context *context;
    char *path;
    int fd;
    int64_t size;
    rlhf__file_map map;
    rlhf__json *header;                 /* owns the names */
    rlhf__tensor_entry *entries;        /* by where their data begins */
    const rlhf__tensor_entry **by_name; /* the same, by name */
    int64_t num_entries, capacity;
    int64_t data_start, data_size;
};

/* Why bytes did not come: `error` 0 means that the file ends at byte `offset`, `missing`
 * bytes too early. */
typedef struct rlhf__read_fault {
    int error;
    int64_t offset, missing;
} rlhf__read_fault;

/* `size` bytes at `offset`, all of them; false, and the fault, otherwise. Any thread. */
bool rlhf__read_at(int fd, void *out, int64_t size, int64_t offset,
                   rlhf__read_fault *out_fault);
rlhf_status rlhf__fail_read(const char *path, const rlhf__read_fault *fault);
/* UNSUPPORTED unless its dtype is a floating-point one. */
rlhf_status rlhf__tensor_check_float(const rlhf__tensor_file *file,
                                     const rlhf__tensor_entry *entry);
/* Elements of a floating-point dtype, not F32, as fp32. Any thread. */
void rlhf__tensor_to_f32(rlhf__dtype dtype, const unsigned char *bytes, int64_t count,
                         float *out);

#endif
