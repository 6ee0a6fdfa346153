/* What loading and saving a model folder share. */
#ifndef RLHF_HUB_FOLDER_INTERNAL_H
#define RLHF_HUB_FOLDER_INTERNAL_H

#include <stdbool.h>
#include <string.h>

#include "ckpt/safetensors.h"
#include "hub/folder.h"

#define RLHF__HUB_CONFIG  "config.json"
#define RLHF__HUB_WEIGHTS "model.safetensors"
#define RLHF__HUB_INDEX   "model.safetensors.index.json"

/* The tensor of a file that a named parameter is. */
typedef struct rlhf__hub_tensor {
    int64_t rows, cols; /* of the parameter, [out][in] */
    float *values;      /* [rows][cols] in the network; NULL: it has no memory yet */
    bool transposed;    /* the file has [in][out] (GPT-2's Conv1D) */
    int32_t rank;       /* 1 for norms and biases */
    int64_t shape[2];   /* in the file */
} rlhf__hub_tensor;

void rlhf__hub_tensor_of(const rlhf__params *params, const rlhf__named *named,
                         rlhf__hub_family family, rlhf__hub_tensor *out);
/* Gives a bare network the files' weights: memory for them, or, where the context maps
 * weights, a place in the files. The net's values are undefined on failure. */
rlhf_status rlhf__hub_read_weights(rlhf__transformer *net, rlhf__hub_family family,
                                   const char *path, rlhf__tensor_file *const *files,
                                   int64_t num_files);

static inline bool rlhf__ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

#endif
