/* One row of JSONL: its fields by TRL's names, its ids, and the place where the prompt
 * ends. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "data/load.h"

#include "base/json.h"
#include "base/size.h"

/* --- fields ------------------------------------------------------------------------- */

static rlhf_status fail_field(const rlhf__loader *loader, rlhf_status status,
                              const char *field, const char *words)
{
    return rlhf__fail_at(status, loader->path, loader->line, 0, field, "field \"%s\" %s",
                         field, words);
}

static rlhf_status missing(const rlhf__loader *loader, const rlhf__json *row,
                           const char *field)
{
    if (rlhf__json_is_array(rlhf__json_get(row, "messages")))
        return fail_field(loader, RLHF_ERR_UNSUPPORTED, "messages",
                          "is a conversation; only plain texts are supported");
    return fail_field(loader, RLHF_ERR_FORMAT, field, "is missing");
}

static rlhf_status get_text(const rlhf__loader *loader, const rlhf__json *row,
                            const char *field, rlhf__part *part)
{
    const rlhf__json *value = rlhf__json_get(row, field);

    part->text = NULL;
    part->size = 0;
    if (rlhf__json_is_null(value))
        return RLHF_OK;
    if (rlhf__json_is_array(value) && rlhf__json_is_object(rlhf__json_at(value, 0)))
        return fail_field(loader, RLHF_ERR_UNSUPPORTED, field,
                          "is a conversation; only plain texts are supported");
    if (!rlhf__json_is_string(value))
        return fail_field(loader, RLHF_ERR_FORMAT, field, "must be a text");
    part->text = rlhf__json_string(value, "");
    part->size = rlhf__json_string_size(value);
    return RLHF_OK;
}

static rlhf_status get_ids(const rlhf__loader *loader, const rlhf__json *row,
                           const char *field, rlhf__part *part)
{
    const rlhf__json *value = rlhf__json_get(row, field);
    const int64_t vocab_size = loader->dataset->vocab_size;

    part->has_ids = false;
    part->ids.size = 0;
    if (rlhf__json_is_null(value))
        return RLHF_OK;
    if (!rlhf__json_is_array(value))
        return fail_field(loader, RLHF_ERR_FORMAT, field, "must be a list of ids");
    for (int64_t i = 0; i < rlhf__json_size(value); i++) {
        const rlhf__json *item = rlhf__json_at(value, i);
        const int64_t id = rlhf__json_i64(item, -1);
        if (!rlhf__json_is_int(item))
            return rlhf__fail_at(RLHF_ERR_FORMAT, loader->path, loader->line, 0, field,
                                 "field \"%s\": item %" PRId64 " must be an integer",
                                 field, i);
        if (id < 0 || id >= vocab_size)
            return rlhf__fail_at(RLHF_ERR_FORMAT, loader->path, loader->line, 0, field,
                                 "field \"%s\": item %" PRId64 " must be in [0, %" PRId64
                                 "), got %" PRId64,
                                 field, i, vocab_size, id);
        RLHF__TRY(rlhf__ids_append(&part->ids, (int32_t)id));
    }
    part->has_ids = true;
    return RLHF_OK;
}

/* `ids_field` may be NULL. */
static rlhf_status get_part(const rlhf__loader *loader, const rlhf__json *row,
                            const char *field, const char *ids_field, rlhf__part *part)
{
    RLHF__TRY(get_text(loader, row, field, part));
    part->has_ids = false;
    if (ids_field)
        RLHF__TRY(get_ids(loader, row, ids_field, part));
    return RLHF_OK;
}

static bool is_there(const rlhf__part *part)
{
    return part->text || part->has_ids;
}

static bool is_empty(const rlhf__part *part)
{
    return part->has_ids ? part->ids.size == 0 : part->size == 0;
}

/* --- ids ---------------------------------------------------------------------------- */

rlhf_status rlhf__loader_add_bos(const rlhf__loader *loader, rlhf__ids *ids)
{
    const rlhf__dataset *dataset = loader->dataset;

    if (!dataset->options.add_bos || dataset->bos_id < 0)
        return RLHF_OK;
    return rlhf__ids_append(ids, dataset->bos_id);
}

rlhf_status rlhf__loader_add_eos(const rlhf__loader *loader, rlhf__ids *ids)
{
    const rlhf__dataset *dataset = loader->dataset;

    if (!dataset->options.add_eos || dataset->eos_id < 0)
        return RLHF_OK;
    if (ids->size > 0 && ids->data[ids->size - 1] == dataset->eos_id)
        return RLHF_OK;
    return rlhf__ids_append(ids, dataset->eos_id);
}

/* Ids of a row's beginning, *out_added of which have no text in the row: a BOS of ours,
 * unless the text spells one out. */
static rlhf_status encode_start(const rlhf__loader *loader, const char *text,
                                int64_t size, rlhf__ids *ids, int64_t *out_added)
{
    ids->size = 0;
    RLHF__TRY(rlhf__loader_add_bos(loader, ids));
    *out_added = ids->size;
    RLHF__TRY(rlhf__tokenizer_encode(loader->tokenizer, text, (size_t)size,
                                     RLHF__ENCODE_PARSE_SPECIAL, ids));
    if (*out_added == 1 && ids->size > 1 && ids->data[1] == ids->data[0]) {
        memmove(ids->data, ids->data + 1, (size_t)(ids->size - 1) * sizeof *ids->data);
        ids->size--;
        *out_added = 0;
    }
    return RLHF_OK;
}

static rlhf_status append_ids(const rlhf__ids *from, rlhf__ids *to)
{
    for (int64_t i = 0; i < from->size; i++)
        RLHF__TRY(rlhf__ids_append(to, from->data[i]));
    return RLHF_OK;
}

/* Prompt and answer as one text, so that the ids are those that the model would see; the
 * prompt is the tokens that lie wholly within its text. */
static rlhf_status encode_jointly(rlhf__loader *loader, const rlhf__part *prompt,
                                  const rlhf__part *answer, rlhf__ids *ids,
                                  int64_t *out_prompt_length)
{
    rlhf__buffer *joined = &loader->joined;
    int64_t added = 0;

    joined->size = 0;
    RLHF__TRY(rlhf__buffer_append(joined, prompt->text, prompt->size));
    RLHF__TRY(rlhf__buffer_append(joined, answer->text, answer->size));
    RLHF__TRY(encode_start(loader, joined->data, joined->size, ids, &added));
    *out_prompt_length = added;
    if (ids->size > added)
        *out_prompt_length +=
            rlhf__tokenizer_count_within(loader->tokenizer, ids->data + added,
                                         ids->size - added, (size_t)prompt->size, 0);
    return rlhf__loader_add_eos(loader, ids);
}

/* Prompt and answer into `ids`; ids that are given stay as they are. */
static rlhf_status build_side(rlhf__loader *loader, const rlhf__part *prompt,
                              const rlhf__part *answer, rlhf__ids *ids,
                              int64_t *out_prompt_length)
{
    int64_t added;

    if (!prompt->has_ids && !answer->has_ids)
        return encode_jointly(loader, prompt, answer, ids, out_prompt_length);
    ids->size = 0;
    if (prompt->has_ids)
        RLHF__TRY(append_ids(&prompt->ids, ids));
    else
        RLHF__TRY(encode_start(loader, prompt->text, prompt->size, ids, &added));
    *out_prompt_length = ids->size;
    if (answer->has_ids)
        return append_ids(&answer->ids, ids);
    RLHF__TRY(rlhf__tokenizer_encode(loader->tokenizer, answer->text,
                                     (size_t)answer->size, RLHF__ENCODE_PARSE_SPECIAL,
                                     ids));
    return rlhf__loader_add_eos(loader, ids);
}

/* --- rows by kind ------------------------------------------------------------------- */

static rlhf_status drop(rlhf__loader *loader, rlhf__verdict verdict)
{
    loader->dataset->info.num_read++;
    rlhf__dataset_count(loader->dataset, verdict);
    return RLHF_OK;
}

static rlhf_status add_text(rlhf__loader *loader, const rlhf__json *row)
{
    rlhf__ids *ids = &loader->sides[0];
    int64_t added;

    RLHF__TRY(get_part(loader, row, "text", NULL, &loader->answer));
    if (!is_there(&loader->answer))
        return missing(loader, row, "text");
    if (is_empty(&loader->answer))
        return drop(loader, RLHF__ROW_EMPTY);
    RLHF__TRY(
        encode_start(loader, loader->answer.text, loader->answer.size, ids, &added));
    RLHF__TRY(rlhf__loader_add_eos(loader, ids));
    return rlhf__dataset_append(
        loader->dataset, &(rlhf_example){.tokens = ids->data, .num_tokens = ids->size});
}

static rlhf_status add_completion(rlhf__loader *loader, const rlhf__json *row)
{
    rlhf__ids *ids = &loader->sides[0];
    int64_t prompt_length = 0;

    RLHF__TRY(get_part(loader, row, "prompt", "prompt_ids", &loader->prompt));
    RLHF__TRY(get_part(loader, row, "completion", "completion_ids", &loader->answer));
    if (!is_there(&loader->prompt))
        return missing(loader, row, "prompt");
    if (!is_there(&loader->answer))
        return missing(loader, row, "completion");
    if (is_empty(&loader->answer))
        return drop(loader, RLHF__ROW_EMPTY);
    RLHF__TRY(build_side(loader, &loader->prompt, &loader->answer, ids, &prompt_length));
    return rlhf__dataset_append(loader->dataset,
                                &(rlhf_example){.tokens = ids->data,
                                                .num_tokens = ids->size,
                                                .prompt_length = prompt_length});
}

/* TRL's implicit prompt: what the texts have in common. A blank before the first
 * difference goes to the answers, and each answer keeps at least its last character. */
static int64_t common_text(const rlhf__part *a, const rlhf__part *b)
{
    const int64_t shorter = rlhf__min_i64(a->size, b->size);
    int64_t at = 0;

    while (at < shorter && a->text[at] == b->text[at])
        at++;
    const bool differ = at < shorter;
    if (!differ && at > 0)
        at--;
    while (at > 0 && ((unsigned char)a->text[at] & 0xc0) == 0x80)
        at--; /* not within a character */
    if (differ && at > 0 && a->text[at - 1] == ' ')
        at--;
    return at;
}

static int64_t common_ids(const rlhf__ids *a, const rlhf__ids *b, int64_t limit)
{
    int64_t at = 0;

    while (at < limit && a->data[at] == b->data[at])
        at++;
    return at;
}

/* Without a prompt: the common beginning of the sides, of their ids where they have them.
 */
static rlhf_status split_implicit(rlhf__loader *loader)
{
    rlhf__part *prompt = &loader->prompt, *answer = &loader->answer;
    rlhf__part *rejected = &loader->rejected;

    if (answer->has_ids != rejected->has_ids)
        return fail_field(loader, RLHF_ERR_FORMAT,
                          answer->has_ids ? "rejected_ids" : "chosen_ids",
                          "is missing: without a prompt both sides need ids");
    if (answer->has_ids) {
        const int64_t shorter = rlhf__min_i64(answer->ids.size, rejected->ids.size);
        const int64_t length = common_ids(&answer->ids, &rejected->ids, shorter - 1);
        prompt->has_ids = true;
        prompt->ids.size = 0;
        for (int64_t i = 0; i < length; i++)
            RLHF__TRY(rlhf__ids_append(&prompt->ids, answer->ids.data[i]));
        for (int side = 0; side < 2 && length > 0; side++) {
            rlhf__ids *ids = side ? &rejected->ids : &answer->ids;
            memmove(ids->data, ids->data + length,
                    (size_t)(ids->size - length) * sizeof *ids->data);
            ids->size -= length;
        }
        return RLHF_OK;
    }
    prompt->text = answer->text;
    prompt->size = common_text(answer, rejected);
    answer->text += prompt->size;
    answer->size -= prompt->size;
    rejected->text += prompt->size;
    rejected->size -= prompt->size;
    return RLHF_OK;
}

/* Fills prompt, answer and rejected; *out_empty: a side has nothing. */
static rlhf_status get_pair(rlhf__loader *loader, const rlhf__json *row, bool *out_empty)
{
    RLHF__TRY(get_part(loader, row, "prompt", "prompt_ids", &loader->prompt));
    RLHF__TRY(get_part(loader, row, "chosen", "chosen_ids", &loader->answer));
    RLHF__TRY(get_part(loader, row, "rejected", "rejected_ids", &loader->rejected));
    if (!is_there(&loader->answer))
        return missing(loader, row, "chosen");
    if (!is_there(&loader->rejected))
        return missing(loader, row, "rejected");
    *out_empty = is_empty(&loader->answer) || is_empty(&loader->rejected);
    if (*out_empty || is_there(&loader->prompt))
        return RLHF_OK;
    return split_implicit(loader);
}

static rlhf_status add_preference(rlhf__loader *loader, const rlhf__json *row)
{
    const rlhf__json *margin = rlhf__json_get(row, "margin");
    rlhf__ids *a = &loader->sides[0], *b = &loader->sides[1];
    int64_t prompt_a = 0, prompt_b = 0;
    bool empty = false;

    RLHF__TRY(get_pair(loader, row, &empty));
    if (!rlhf__json_is_null(margin) &&
        (!rlhf__json_is_number(margin) || !isfinite(rlhf__json_f64(margin, 0))))
        return fail_field(loader, RLHF_ERR_FORMAT, "margin", "must be a number");
    if (empty)
        return drop(loader, RLHF__ROW_EMPTY);
    RLHF__TRY(build_side(loader, &loader->prompt, &loader->answer, a, &prompt_a));
    RLHF__TRY(build_side(loader, &loader->prompt, &loader->rejected, b, &prompt_b));
    if (a->size == 0 || b->size == 0) /* a text of which the tokenizer has nothing */
        return drop(loader, RLHF__ROW_EMPTY);
    /* One prompt for both sides: a token that straddles its end on one side is out on
     * both. */
    const int64_t prompt_length = common_ids(a, b, rlhf__min_i64(prompt_a, prompt_b));
    return rlhf__dataset_append(loader->dataset,
                                &(rlhf_example){.tokens = a->data,
                                                .num_tokens = a->size,
                                                .prompt_length = prompt_length,
                                                .rejected = b->data,
                                                .num_rejected = b->size,
                                                .margin = rlhf__json_f64(margin, 0)});
}

static rlhf_status add_prompt(rlhf__loader *loader, const rlhf__json *row)
{
    rlhf__part *prompt = &loader->prompt;
    rlhf__ids *ids = &loader->sides[0];
    bool empty = false;
    int64_t added;

    RLHF__TRY(get_part(loader, row, "prompt", "prompt_ids", prompt));
    if (!is_there(prompt) && (!rlhf__json_is_null(rlhf__json_get(row, "chosen")) ||
                              !rlhf__json_is_null(rlhf__json_get(row, "chosen_ids"))))
        RLHF__TRY(get_pair(loader, row, &empty)); /* a pair's implicit prompt */
    else if (!is_there(prompt))
        return missing(loader, row, "prompt");
    if (empty || is_empty(prompt))
        return drop(loader, RLHF__ROW_EMPTY);
    ids->size = 0;
    if (prompt->has_ids)
        RLHF__TRY(append_ids(&prompt->ids, ids));
    else
        RLHF__TRY(encode_start(loader, prompt->text, prompt->size, ids, &added));
    return rlhf__dataset_append(loader->dataset,
                                &(rlhf_example){.tokens = ids->data,
                                                .num_tokens = ids->size,
                                                .prompt_length = ids->size});
}

static rlhf_status add_row(rlhf__loader *loader, const rlhf__json *row)
{
    if (!rlhf__json_is_object(row))
        return rlhf__fail_at(RLHF_ERR_FORMAT, loader->path, loader->line, 0, NULL,
                             "a row must be a JSON object, one a line");
    switch (loader->dataset->kind) {
    case RLHF_DATASET_TEXT:
        return add_text(loader, row);
    case RLHF_DATASET_COMPLETION:
        return add_completion(loader, row);
    case RLHF_DATASET_PREFERENCE:
        return add_preference(loader, row);
    default:
        return add_prompt(loader, row);
    }
}

rlhf_status rlhf__loader_add_line(rlhf__loader *loader, const char *text, int64_t size)
{
    rlhf__json *row = NULL;
    rlhf_status status;

    if (strspn(text, " \t\r") == (size_t)size)
        return RLHF_OK;
    RLHF__TRY(
        rlhf__json_parse(loader->context, text, size, loader->path, loader->line, &row));
    status = add_row(loader, row);
    rlhf__json_free(row);
    return status;
}
