/**
 * @file feedback.h
 * Human feedback: pairs of answers, and which of two a person prefers, in a durable store
 * (an SQLite file). A choice is on disk when the call returns.
 */
#ifndef RLHF_FEEDBACK_H
#define RLHF_FEEDBACK_H

#include <rlhf/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_feedback rlhf_feedback;

typedef enum rlhf_choice {
    RLHF_CHOICE_NONE = 0,  /**< Not yet. */
    RLHF_CHOICE_FIRST = 1, /**< The answer displayed first. */
    RLHF_CHOICE_SECOND = 2,
    RLHF_CHOICE_TIE = 3,
    RLHF_CHOICE_SKIP = 4
} rlhf_choice;

/** A prompt and two answers. Output of _next and _get (pointers owned by the store,
 *  until its next call), input of _add. Size-versioned. */
typedef struct rlhf_comparison {
    size_t struct_size;
    int64_t id;                   /**< >= 1; ignored by _add. */
    const int32_t *prompt_ids;    /**< [num_prompt] */
    const int32_t *answer_ids[2]; /**< [num_answer[i]] */
    int64_t num_prompt;
    int64_t num_answer[2];
    const char *prompt_text; /**< UTF-8, zero-terminated. */
    const char *answer_text[2];
    int32_t order;     /**< 0: answer 0 is displayed first; 1: answer 1. By a seeded
                        draw in _add. */
    int32_t choice;    /**< An rlhf_choice, in terms of the display. */
    int32_t preferred; /**< 0 or 1: the answer chosen; -1: none. */
    int32_t reserved;
} rlhf_comparison;

/** Output struct. */
typedef struct rlhf_feedback_info {
    size_t struct_size; /**< Set by the caller. */
    int64_t num_comparisons;
    int64_t num_pending;
    int64_t num_chosen; /**< First or second. */
    int64_t num_ties;
    int64_t num_skipped;
} rlhf_feedback_info;

/** Opens the store, making it if it is not there. @param seed Of the display order.
 *  @return RLHF_OK; RLHF_ERR_IO; RLHF_ERR_FORMAT (not such a store);
 *  RLHF_ERR_UNSUPPORTED (newer); RLHF_ERR_BUSY (another process writes). @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_feedback_open(rlhf_context *context,
                                                        const char *path, uint64_t seed,
                                                        rlhf_feedback **out_feedback);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_feedback_free(rlhf_feedback *feedback);
/** Adds a pair to be compared; texts and ids are copied. RLHF_ERR_EXISTS when both
 *  answers are the same. @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_add(rlhf_feedback *feedback,
                                       const rlhf_comparison *comparison,
                                       int64_t *out_id);
/** Many pairs in one transaction: all or none; pairs with equal answers are left out and
 *  counted in *out_skipped. @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_add_many(rlhf_feedback *feedback,
                                            const rlhf_comparison *comparisons,
                                            int64_t count, int64_t *out_skipped);
/** The first comparison without a choice; RLHF_ERR_NOT_FOUND when none is left. @since
 * 0.1 */
RLHF_API rlhf_status rlhf_feedback_next(rlhf_feedback *feedback, rlhf_comparison *out);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_get(rlhf_feedback *feedback, int64_t id,
                                       rlhf_comparison *out);
/** Records a choice (an rlhf_choice in terms of the display). RLHF_ERR_EXISTS if it has
 * one.
 *  @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_choose(rlhf_feedback *feedback, int64_t id,
                                          int32_t choice);
/** Takes the last choice back; *out_id is its comparison. RLHF_ERR_NOT_FOUND: none.
 * @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_undo(rlhf_feedback *feedback, int64_t *out_id);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_get_info(rlhf_feedback *feedback,
                                            rlhf_feedback_info *info);
/** Writes the choices as JSONL (`prompt`, `chosen`, `rejected`, `prompt_ids`,
 *  `chosen_ids`, `rejected_ids`), whole or not at all; ties and skips are left out.
 *  @since 0.1 */
RLHF_API rlhf_status rlhf_feedback_export(rlhf_feedback *feedback, const char *path);
/** The choices as a preference dataset. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_feedback_dataset(rlhf_feedback *feedback, const rlhf_dataset_options *options,
                      rlhf_dataset **out_dataset);

#ifdef __cplusplus
}
#endif

#endif
