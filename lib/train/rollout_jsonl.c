/* A rollout as JSON lines: what was asked, what was answered, and how it was judged. */
#include "train/rollout.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static const char *const finish_names[] = {"none", "stop", "length", "context",
                                           "callback"};

static rlhf_status set_ids(rlhf__json *line, const char *key, const int32_t *ids,
                           int64_t count)
{
    rlhf__json *array = rlhf__json_new_array();
    rlhf_status status = array ? RLHF_OK : rlhf__fail_no_memory(0);

    for (int64_t i = 0; i < count && status == RLHF_OK; i++)
        status = rlhf__json_append(array, rlhf__json_new_i64(ids[i]));
    if (status != RLHF_OK) {
        rlhf__json_free(array);
        return status;
    }
    return rlhf__json_set(line, key, array);
}

/* Bytes that are not UTF-8 (half a character at the answer's end) become U+FFFD. */
static rlhf_status set_text(rlhf__json *line, const char *key, rlhf_context *context,
                            const rlhf__tokenizer *tokenizer, const int32_t *ids,
                            int64_t count, int32_t flags)
{
    rlhf__buffer bytes = {.context = context}, text = {.context = context};
    rlhf_status status = rlhf__tokenizer_decode(tokenizer, ids, count, flags, &bytes);

    if (status == RLHF_OK && bytes.size > 0)
        status = rlhf__utf8_repair(bytes.data, bytes.size, &text);
    if (status == RLHF_OK)
        status = rlhf__json_set(
            line, key, rlhf__json_new_string(text.data ? text.data : "", text.size));
    rlhf__buffer_free(&bytes);
    rlhf__buffer_free(&text);
    return status;
}

static rlhf__json *number_or_null(double value)
{
    return isfinite(value) ? rlhf__json_new_f64(value) : rlhf__json_new_null();
}

static rlhf_status fill_line(const rlhf__rollout *r, const rlhf__episode *e,
                             const rlhf__tokenizer *tokenizer, rlhf__json *line)
{
    const int32_t *prompt = r->tokens + e->first;
    const int32_t *completion = prompt + e->num_prompt;
    const int64_t length = e->num_tokens - e->num_prompt;

    RLHF__TRY(set_ids(line, "prompt_ids", prompt, e->num_prompt));
    RLHF__TRY(set_ids(line, "completion_ids", completion, length));
    if (tokenizer) {
        RLHF__TRY(set_text(line, "prompt", r->context, tokenizer, prompt, e->num_prompt,
                           RLHF__DECODE_SKIP_SPECIAL));
        RLHF__TRY(set_text(line, "completion", r->context, tokenizer, completion, length,
                           RLHF__DECODE_SKIP_SPECIAL | RLHF__DECODE_SKIP_UNKNOWN));
    }
    RLHF__TRY(rlhf__json_set(line, "score", number_or_null(e->score)));
    RLHF__TRY(rlhf__json_set(line, "kl", number_or_null(e->kl)));
    RLHF__TRY(rlhf__json_set(line, "length", rlhf__json_new_i64(e->num_actions)));
    return rlhf__json_set(
        line, "finish",
        rlhf__json_new_string(finish_names[e->finish],
                              (int64_t)strlen(finish_names[e->finish])));
}

rlhf_status rlhf__rollout_write_jsonl(const rlhf__rollout *rollout,
                                      const struct rlhf__tokenizer *tokenizer,
                                      const char *path)
{
    rlhf__buffer lines = {.context = rollout->context};
    rlhf_status status = RLHF_OK;

    for (int64_t i = 0; i < rollout->num_episodes && status == RLHF_OK; i++) {
        rlhf__json *line = rlhf__json_new_object();
        status = line ? fill_line(rollout, &rollout->episodes[i], tokenizer, line)
                      : rlhf__fail_no_memory(0);
        if (status == RLHF_OK)
            status = rlhf__json_dump(line, 0, &lines);
        if (status == RLHF_OK)
            status = rlhf__buffer_append(&lines, "\n", 1);
        rlhf__json_free(line);
    }
    if (status == RLHF_OK)
        status = rlhf__file_append(path, lines.data, lines.size);
    rlhf__buffer_free(&lines);
    return status;
}
