#ifndef RLHF_FEEDBACK_H
#define RLHF_FEEDBACK_H

#include <rlhf/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_feedback rlhf_feedback;

typedef enum rlhf_choice {
    RLHF_CHOICE_NONE = 0,
    RLHF_CHOICE_FIRST = 1,
    RLHF_CHOICE_SECOND = 2,
    RLHF_CHOICE_TIE = 3,
    RLHF_CHOICE_SKIP = 4
} rlhf_choice;

typedef struct rlhf_comparison {
    size_t struct_size;
    int64_t id;
    const int32_t *prompt_ids;
    const int32_t *answer_ids[2];
    int64_t num_prompt;
    int64_t num_answer[2];
    const char *prompt_text;
    const char *answer_text[2];
    int32_t order;
    int32_t choice;
    int32_t preferred;
    int32_t reserved;
} rlhf_comparison;

typedef struct rlhf_feedback_info {
    size_t struct_size;
    int64_t num_comparisons;
    int64_t num_pending;
    int64_t num_chosen;
    int64_t num_ties;
    int64_t num_skipped;
} rlhf_feedback_info;

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_feedback_open(rlhf_context *context,
                                                        const char *path, uint64_t seed,
                                                        rlhf_feedback **out_feedback);

RLHF_API void rlhf_feedback_free(rlhf_feedback *feedback);

RLHF_API rlhf_status rlhf_feedback_add(rlhf_feedback *feedback,
                                       const rlhf_comparison *comparison,
                                       int64_t *out_id);

RLHF_API rlhf_status rlhf_feedback_add_many(rlhf_feedback *feedback,
                                            const rlhf_comparison *comparisons,
                                            int64_t count, int64_t *out_skipped);

RLHF_API rlhf_status rlhf_feedback_next(rlhf_feedback *feedback, rlhf_comparison *out);

RLHF_API rlhf_status rlhf_feedback_get(rlhf_feedback *feedback, int64_t id,
                                       rlhf_comparison *out);

RLHF_API rlhf_status rlhf_feedback_choose(rlhf_feedback *feedback, int64_t id,
                                          int32_t choice);

RLHF_API rlhf_status rlhf_feedback_undo(rlhf_feedback *feedback, int64_t *out_id);

RLHF_API rlhf_status rlhf_feedback_get_info(rlhf_feedback *feedback,
                                            rlhf_feedback_info *info);

RLHF_API rlhf_status rlhf_feedback_export(rlhf_feedback *feedback, const char *path);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_feedback_dataset(rlhf_feedback *feedback, const rlhf_dataset_options *options,
                      rlhf_dataset **out_dataset);

#ifdef __cplusplus
}
#endif

#endif
