/**
 * @file feedback.h
 * Human feedback: pairs of answers, and which of two a person prefers, in a durable store
 * (an SQLite file; docs/feedback.md). Every change is on disk when the call returns,
 * whole or not at all, also after a power cut.
 *
 * Beside what an entry lists, any call on a store may give RLHF_ERR_BUSY (another process
 * held it for a second), RLHF_ERR_IO, RLHF_ERR_FORMAT (damage met on the way) and
 * RLHF_ERR_CANCELLED; nothing has changed then.
 *
 * @threads As common.h says; several processes may use one store, their changes queue.
 */
#ifndef RLHF_FEEDBACK_H
#define RLHF_FEEDBACK_H

#include <rlhf/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An open store. */
typedef struct rlhf_feedback rlhf_feedback;

/** What a person said, in terms of the display. */
typedef enum rlhf_choice {
    RLHF_CHOICE_NONE = 0,   /**< Not yet. */
    RLHF_CHOICE_FIRST = 1,  /**< The answer displayed first. */
    RLHF_CHOICE_SECOND = 2, /**< The answer displayed second. */
    RLHF_CHOICE_TIE = 3,    /**< Both are as good. */
    RLHF_CHOICE_SKIP = 4    /**< Not judged. */
} rlhf_choice;

/**
 * A prompt and two answers. Output of _next and _get (pointers owned by the store, until
 * its next call), input of _add (copied). struct_size is set by the caller in both.
 */
typedef struct rlhf_comparison {
    size_t struct_size;           /**< sizeof(rlhf_comparison) */
    int64_t id;                   /**< >= 1; ignored by _add. Never used twice. */
    const int32_t *prompt_ids;    /**< [num_prompt], each >= 0. */
    const int32_t *answer_ids[2]; /**< [num_answer[i]], each >= 0. */
    int64_t num_prompt;           /**< [0, 2^22] */
    int64_t num_answer[2];        /**< [0, 2^22] */
    const char *prompt_text;      /**< Zero-terminated, at most 16 MiB; NULL is "". */
    const char *answer_text[2];   /**< The same. */
    int32_t order;  /**< 0: answer 0 is displayed first; 1: answer 1. Drawn by _add from
                         the store's seed and the id; ignored on input. */
    int32_t choice; /**< An rlhf_choice; ignored on input. */
    int32_t preferred; /**< 0 or 1: the answer chosen; -1: none. Ignored on input. */
    int32_t reserved;  /**< 0 */
} rlhf_comparison;

/** Counts. Output struct. */
typedef struct rlhf_feedback_info {
    size_t struct_size;      /**< Set by the caller. */
    int64_t num_comparisons; /**< All. */
    int64_t num_pending;     /**< Without a choice. */
    int64_t num_chosen;      /**< First or second. */
    int64_t num_ties;        /**< Ties. */
    int64_t num_skipped;     /**< Skipped. */
} rlhf_feedback_info;

/**
 * Opens the store, making it if it is not there, and checks its schema, which must be as
 * the library writes it, and its pages.
 *
 * @param context       Its allocator and cancellation.
 * @param path          The file; its folder must be there.
 * @param seed          Of the display order of comparisons added through this handle.
 * @param out_feedback  The caller's.
 * @return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND (it cannot be opened, or is
 *         read-only); RLHF_ERR_FORMAT (not such a store, or damaged);
 *         RLHF_ERR_UNSUPPORTED (newer); RLHF_ERR_INVALID_ARG (an empty path).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_feedback_open(rlhf_context *context,
                                                        const char *path, uint64_t seed,
                                                        rlhf_feedback **out_feedback);

/**
 * Closes the store.
 *
 * @param feedback  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_feedback_free(rlhf_feedback *feedback);

/**
 * Adds a pair to be compared.
 *
 * @param feedback    The store.
 * @param comparison  Copied.
 * @param out_id      Optional: the new comparison's id.
 * @return RLHF_OK; RLHF_ERR_EXISTS (both answers are the same: equal texts, or equal
 *         ids); RLHF_ERR_INVALID_ARG (a negative id or count); RLHF_ERR_LIMIT (more ids
 *         or bytes than a comparison may have, or 2^53 comparisons).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_add(rlhf_feedback *feedback,
                                       const rlhf_comparison *comparison,
                                       int64_t *out_id);

/**
 * Adds many pairs in one transaction: all, or none on failure. Pairs with equal answers
 * are left out and counted.
 *
 * @param feedback     The store.
 * @param comparisons  [count], lying the first one's struct_size apart; copied.
 * @param count        >= 0
 * @param out_skipped  Optional: pairs left out; written on success.
 * @return As rlhf_feedback_add, without RLHF_ERR_EXISTS.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_add_many(rlhf_feedback *feedback,
                                            const rlhf_comparison *comparisons,
                                            int64_t count, int64_t *out_skipped);

/**
 * The comparison of the lowest id that has no choice.
 *
 * @param feedback  The store.
 * @param out       In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (none is left); RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_next(rlhf_feedback *feedback, rlhf_comparison *out);

/**
 * A comparison by its id.
 *
 * @param feedback  The store.
 * @param id        As _add gave it.
 * @param out       In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_get(rlhf_feedback *feedback, int64_t id,
                                       rlhf_comparison *out);

/**
 * Records a choice.
 *
 * @param feedback  The store.
 * @param id        The comparison.
 * @param choice    An rlhf_choice in terms of the display; not RLHF_CHOICE_NONE.
 * @return RLHF_OK; RLHF_ERR_EXISTS (it has one; undo first); RLHF_ERR_NOT_FOUND;
 *         RLHF_ERR_INVALID_ARG; RLHF_ERR_LIMIT (2^53 choices were made).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_choose(rlhf_feedback *feedback, int64_t id,
                                          int32_t choice);

/**
 * Takes the last choice back, and before that the one before; skips and ties too.
 *
 * @param feedback  The store.
 * @param out_id    Optional: the comparison that is without a choice again.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (there is no choice).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_undo(rlhf_feedback *feedback, int64_t *out_id);

/**
 * Counts of comparisons and choices.
 *
 * @param feedback  The store.
 * @param info      In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_get_info(rlhf_feedback *feedback,
                                            rlhf_feedback_info *info);

/**
 * Writes the choices of one instant as JSONL (`prompt`, `chosen`, `rejected`,
 * `prompt_ids`, `chosen_ids`, `rejected_ids`), in the order of ids; ties and skips are
 * left out. Bytes of texts that are not UTF-8 become U+FFFD; the ids are exact, and the
 * field is left out where a text came without any.
 *
 * @param feedback  The store.
 * @param path      The file; appears whole or not at all. A link stays, and the file that
 *                  it names is replaced; rights as in rlhf_model_save.
 * @return RLHF_OK; RLHF_ERR_IO (also where the path is there and not a regular file),
 *         RLHF_ERR_NOT_FOUND (the folder); RLHF_ERR_INVALID_ARG (an empty path; the
 *         store's own file, or one that SQLite keeps beside it).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_feedback_export(rlhf_feedback *feedback, const char *path);

/**
 * The choices of one instant as a preference dataset of ids, in the order of comparisons.
 * An answer that came as text alone is counted as empty.
 *
 * @param feedback     The store.
 * @param options      NULL: defaults. Its kind is taken as RLHF_DATASET_PREFERENCE;
 *                     add_bos and add_eos mean nothing: ids stay as they are.
 * @param out_dataset  The caller's; independent of the store.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_feedback_dataset(rlhf_feedback *feedback, const rlhf_dataset_options *options,
                      rlhf_dataset **out_dataset);

#ifdef __cplusplus
}
#endif

#endif
