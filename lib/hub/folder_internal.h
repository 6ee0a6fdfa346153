/* What loading and saving a model folder share. */
#ifndef RLHF_HUB_FOLDER_INTERNAL_H
#define RLHF_HUB_FOLDER_INTERNAL_H

#include <stdbool.h>

#include "hub/folder.h"

#define RLHF__HUB_CONFIG  "config.json"
#define RLHF__HUB_WEIGHTS "model.safetensors"
#define RLHF__HUB_INDEX   "model.safetensors.index.json"

/* The tensor of a file that a named parameter is. */
typedef struct rlhf__hub_tensor {
    int64_t rows, cols; /* of the parameter, [out][in] */
    float *values;      /* [rows][cols] in the network */
    bool transposed;    /* the file has [in][out] (GPT-2's Conv1D) */
    int32_t rank;       /* 1 for norms and biases */
    int64_t shape[2];   /* in the file */
} rlhf__hub_tensor;

void rlhf__hub_tensor_of(const rlhf__params *params, const rlhf__named *named,
                         rlhf__hub_family family, rlhf__hub_tensor *out);

#endif
