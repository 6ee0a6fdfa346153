/* The store of comparisons: an SQLite file. Every change is one transaction that is on
 * disk when the call returns. */
#ifndef RLHF_FEEDBACK_FEEDBACK_H
#define RLHF_FEEDBACK_FEEDBACK_H

#include <rlhf/feedback.h>

#include "data/dataset.h"

typedef struct rlhf__feedback rlhf__feedback;

rlhf_status rlhf__feedback_open(rlhf_context *context, const char *path, uint64_t seed,
                                rlhf__feedback **out);
void rlhf__feedback_free(rlhf__feedback *feedback); /* NULL ok */
rlhf_status rlhf__feedback_add(rlhf__feedback *feedback,
                               const rlhf_comparison *comparison, int64_t *out_id);
/* All in one transaction; pairs with equal answers are left out and counted. The structs
 * lie `comparisons->struct_size` bytes apart, so that an older host's array is read
 * right. */
rlhf_status rlhf__feedback_add_many(rlhf__feedback *feedback,
                                    const rlhf_comparison *comparisons, int64_t count,
                                    int64_t *out_skipped);
/* out: a whole rlhf_comparison of today's size; its pointers are the store's until its
 * next call. */
rlhf_status rlhf__feedback_next(rlhf__feedback *feedback, rlhf_comparison *out);
rlhf_status rlhf__feedback_get(rlhf__feedback *feedback, int64_t id,
                               rlhf_comparison *out);
rlhf_status rlhf__feedback_choose(rlhf__feedback *feedback, int64_t id, int32_t choice);
rlhf_status rlhf__feedback_undo(rlhf__feedback *feedback, int64_t *out_id);
rlhf_status rlhf__feedback_get_info(rlhf__feedback *feedback,
                                    rlhf_feedback_info *out_info);
rlhf_status rlhf__feedback_export(rlhf__feedback *feedback, const char *path);
rlhf_status rlhf__feedback_dataset(rlhf__feedback *feedback,
                                   const rlhf_dataset_options *options,
                                   rlhf__dataset **out);

#endif
