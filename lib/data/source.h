/* Datasets that draw from a source of the host; called by data/dataset.c. */
#ifndef RLHF_DATA_SOURCE_H
#define RLHF_DATA_SOURCE_H

#include "data/dataset.h"

rlhf_status rlhf__source_next(rlhf__dataset *dataset, rlhf_example *out_example);
rlhf_status rlhf__source_save(rlhf__dataset *dataset, void *out_bytes, size_t capacity,
                              size_t *out_size);
rlhf_status rlhf__source_restore(rlhf__dataset *dataset, const void *bytes, size_t size);

#endif
