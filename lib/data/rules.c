/* What of a row is kept: docs/data.md, "What happens to a row". */
#include <string.h>

#include "data/dataset.h"

#include "base/size.h"

static bool sides_equal(const rlhf_example *example, int64_t num_tokens,
                        int64_t num_rejected, int64_t first)
{
    return num_tokens == num_rejected &&
           memcmp(example->tokens + first, example->rejected + first,
                  (size_t)(num_tokens - first) * sizeof(int32_t)) == 0;
}

static bool is_empty(const rlhf_example *example, int32_t kind)
{
    if (kind == RLHF_DATASET_PROMPT)
        return example->num_tokens == 0;
    if (kind == RLHF_DATASET_COMPLETION) /* one token alone has nothing before it */
        return example->num_tokens == example->prompt_length || example->num_tokens < 2;
    return example->num_tokens == example->prompt_length ||
           example->num_rejected == example->prompt_length;
}

rlhf__verdict rlhf__row_judge(const rlhf__dataset *dataset, const rlhf_example *example,
                              rlhf__row_cut *out_cut)
{
    const int64_t limit = dataset->options.max_length;
    const bool pair = dataset->kind == RLHF_DATASET_PREFERENCE;
    const int64_t num_rejected = pair ? example->num_rejected : 0;
    const int64_t prompt = dataset->kind == RLHF_DATASET_PROMPT ? example->num_tokens
                                                                : example->prompt_length;
    const int64_t excess = rlhf__max_i64(example->num_tokens, num_rejected) - limit;
    rlhf__row_cut cut = {0, 0, example->num_tokens, num_rejected, prompt};

    *out_cut = cut;
    if (is_empty(example, dataset->kind))
        return RLHF__ROW_EMPTY;
    if (pair && sides_equal(example, cut.num_tokens, cut.num_rejected, 0))
        return RLHF__ROW_IDENTICAL;
    if (excess <= 0)
        return RLHF__ROW_KEEP;
    if (dataset->options.overlong == RLHF_OVERLONG_DROP)
        return RLHF__ROW_OVERLONG;

    /* The prompt's left goes first, up to a BOS and, so that the answer's first token
     * keeps something before it, its last token. Then the answers' ends. */
    if (prompt > 0) {
        cut.head = dataset->bos_id >= 0 && example->tokens[0] == dataset->bos_id;
        cut.skip = rlhf__min_i64(excess, prompt - 1);
    }
    cut.prompt_length = prompt - cut.skip;
    cut.num_tokens = rlhf__min_i64(cut.num_tokens - cut.skip, limit);
    if (pair) {
        cut.num_rejected = rlhf__min_i64(cut.num_rejected - cut.skip, limit);
        if (cut.num_tokens == cut.num_rejected &&
            sides_equal(example, cut.num_tokens + cut.skip, cut.num_rejected + cut.skip,
                        cut.head + cut.skip))
            return RLHF__ROW_IDENTICAL;
    }
    *out_cut = cut;
    return RLHF__ROW_TRUNCATED;
}

void rlhf__dataset_count(rlhf__dataset *dataset, rlhf__verdict verdict)
{
    rlhf_dataset_info *info = &dataset->info;

    info->num_truncated += verdict == RLHF__ROW_TRUNCATED;
    info->num_overlong_dropped += verdict == RLHF__ROW_OVERLONG;
    info->num_identical_dropped += verdict == RLHF__ROW_IDENTICAL;
    info->num_empty_dropped += verdict == RLHF__ROW_EMPTY;
}
