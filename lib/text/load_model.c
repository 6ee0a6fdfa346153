/* tokenizer.json's "model" and "added_tokens": which texts have which ids, and what
 * merges. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "text/parts.h"
#include "text/utf8.h"

#define NAME(key) (int)strnlen((key), 60), (key) /* for "%.*s" in a message */

typedef struct only_arg {
    const char *const *known;
    const char *file, *where;
} only_arg;

static rlhf_status check_known(void *arg, const char *key, rlhf__json *value)
{
    const only_arg *a = arg;

    for (const char *const *name = a->known; *name; name++)
        if (strcmp(*name, key) == 0)
            return RLHF_OK;
    if (rlhf__json_is_null(value) ||
        (rlhf__json_is_bool(value) && !rlhf__json_bool(value, true)))
        return RLHF_OK;
    return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, a->file, 0, 0, a->where,
                         "%s has a field \"%.*s\" that this library does not know",
                         a->where, NAME(key));
}

rlhf_status rlhf__json_only(const rlhf__json *object, const char *const *known,
                            const char *file, const char *where)
{
    only_arg arg = {known, file, where};

    return rlhf__json_each(object, check_known, &arg);
}

/* --- vocabulary --------------------------------------------------------------------- */

typedef struct vocab_arg {
    rlhf__tokenizer *t;
    const char *file;
} vocab_arg;

static rlhf_status check_id(const char *file, const char *field, const char *key,
                            const rlhf__json *value)
{
    int64_t id = rlhf__json_i64(value, -1);

    if (!rlhf__json_is_int(value) || id < 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, field,
                             "%s: the id of \"%.*s\" is not an integer >= 0", field,
                             NAME(key));
    if (id >= RLHF__TOKENIZER_MAX_VOCAB)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, field,
                             "%s: id %" PRId64 " of \"%.*s\"; ids below %" PRId64
                             " are supported",
                             field, id, NAME(key), RLHF__TOKENIZER_MAX_VOCAB);
    return RLHF_OK;
}

static rlhf_status add_name(void *arg, const char *key, rlhf__json *value)
{
    vocab_arg *a = arg;
    rlhf__tokenizer *t = a->t;

    RLHF__TRY(rlhf__poll(t, t->names.num_entries));
    RLHF__TRY(check_id(a->file, "model.vocab", key, value));
    int64_t id = rlhf__json_i64(value, -1);
    t->vocab_size = (int32_t)rlhf__max_i64(t->vocab_size, id + 1);
    return rlhf__strmap_add(&t->names, key, (int64_t)strlen(key), id);
}

/* Makes room for ids below `vocab_size`. */
static rlhf_status resize_tokens(rlhf__tokenizer *t, int32_t vocab_size, int32_t old_size)
{
    rlhf__token *tokens;

    if (t->tokens && vocab_size <= old_size)
        return RLHF_OK;
    RLHF__TRY(rlhf__alloc(t->context, vocab_size, sizeof *tokens, RLHF_MEMORY_GENERAL,
                          &tokens));
    for (int32_t i = old_size; i < vocab_size; i++)
        tokens[i].name = -1;
    if (t->tokens)
        memcpy(tokens, t->tokens, (size_t)old_size * sizeof *tokens);
    rlhf__free(t->tokens);
    t->tokens = tokens;
    t->vocab_size = vocab_size;
    return RLHF_OK;
}

static rlhf_status load_vocab(rlhf__tokenizer *t, const rlhf__json *vocab,
                              const char *file)
{
    vocab_arg arg = {t, file};

    if (!rlhf__json_is_object(vocab))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model.vocab",
                             "model.vocab is not an object of tokens and ids");
    RLHF__TRY(rlhf__json_each(vocab, add_name, &arg));
    RLHF__TRY(resize_tokens(t, t->vocab_size, 0));
    t->model_size = t->names.num_entries;
    for (int64_t i = 0; i < t->model_size; i++) {
        int64_t id = t->names.entries[i].value;
        if (t->tokens[id].name >= 0)
            return rlhf__fail_at(
                RLHF_ERR_FORMAT, file, 0, 0, "model.vocab",
                "model.vocab gives id %" PRId64 " to \"%.*s\" and \"%.*s\"", id,
                NAME(rlhf__strmap_key(&t->names, t->tokens[id].name)),
                NAME(rlhf__strmap_key(&t->names, i)));
        t->tokens[id].name = i;
    }
    return RLHF_OK;
}

static int32_t find_model(const rlhf__tokenizer *t, const char *text, int64_t size)
{
    int64_t entry = rlhf__strmap_find(&t->names, text, size);

    return entry >= 0 && entry < t->model_size ? (int32_t)t->names.entries[entry].value
                                               : -1;
}

/* Ids of bytes and characters that need no look-up later. */
static void index_units(rlhf__tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char text[8], hex[] = "0123456789ABCDEF";
        int length = rlhf__utf8_encode(
            t->byte_level ? rlhf__byte_to_char((unsigned char)b) : (uint32_t)b, text);
        t->byte_id[b] = find_model(t, text, length);
        char fallback[] = {'<', '0', 'x', hex[b / 16], hex[b % 16], '>'};
        t->fallback_id[b] = find_model(t, fallback, sizeof fallback);
    }
}

/* --- merges ------------------------------------------------------------------------- */

typedef struct span {
    const char *text;
    int64_t size;
} span;

/* ["a", "b"], or "a b" in files before 2024. */
static rlhf_status read_pair(const rlhf__json *merge, int64_t index, const char *file,
                             span pair[2])
{
    const char *text = rlhf__json_string(merge, NULL);
    const char *blank = text ? strchr(text, ' ') : NULL;

    if (blank && !strchr(blank + 1, ' ')) {
        pair[0] = (span){text, blank - text};
        pair[1] = (span){blank + 1, rlhf__json_string_size(merge) - (blank + 1 - text)};
        return RLHF_OK;
    }
    for (int i = 0; i < 2; i++) {
        const rlhf__json *part = rlhf__json_at(merge, i);
        pair[i] = (span){rlhf__json_string(part, NULL), rlhf__json_string_size(part)};
    }
    if (!rlhf__json_is_array(merge) || rlhf__json_size(merge) != 2 || !pair[0].text ||
        !pair[1].text)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model.merges",
                             "model.merges[%" PRId64 "] is not a pair of tokens", index);
    return RLHF_OK;
}

static void put_merge(rlhf__tokenizer *t, rlhf__merge merge)
{
    uint64_t mask = (uint64_t)t->num_merge_slots - 1;
    uint64_t slot = rlhf__hash_pair(merge.key, t->merge_seed) & mask;

    while (t->merges[slot].key != RLHF__MERGE_FREE && t->merges[slot].key != merge.key)
        slot = (slot + 1) & mask;
    t->merges[slot] =
        merge; /* of two equal pairs the later counts, as in Hugging Face's map */
}

static rlhf_status load_merge(rlhf__tokenizer *t, const rlhf__json *merge, int64_t index,
                              rlhf__buffer *joined, const char *file)
{
    span pair[2];
    int32_t id[3];

    RLHF__TRY(read_pair(merge, index, file, pair));
    joined->size = 0;
    for (int i = 0; i < 2; i++) {
        RLHF__TRY(rlhf__buffer_append(joined, pair[i].text, pair[i].size));
        id[i] = find_model(t, pair[i].text, pair[i].size);
        if (id[i] < 0)
            return rlhf__fail_at(
                RLHF_ERR_FORMAT, file, 0, 0, "model.merges",
                "model.merges[%" PRId64 "]: \"%.*s\" is not in the vocabulary", index,
                (int)rlhf__min_i64(pair[i].size, 60), pair[i].text);
    }
    id[2] = find_model(t, joined->data, joined->size);
    if (id[2] < 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model.merges",
                             "model.merges[%" PRId64
                             "]: \"%.*s\" is not in the vocabulary",
                             index, NAME(joined->data));
    put_merge(t, (rlhf__merge){(uint64_t)(uint32_t)id[0] << 32 | (uint32_t)id[1],
                               (int32_t)index, id[2]});
    return RLHF_OK;
}

static rlhf_status load_merges(rlhf__tokenizer *t, const rlhf__json *merges,
                               const char *file)
{
    int64_t count = rlhf__json_size(merges);
    rlhf__buffer joined = {.context = t->context};
    rlhf_status status = RLHF_OK;

    if (!rlhf__json_is_array(merges))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model.merges",
                             "model.merges is not an array of pairs");
    t->merge_seed = rlhf__hash_seed();
    t->num_merge_slots = 16;
    while (t->num_merge_slots < 2 * count)
        t->num_merge_slots *= 2;
    RLHF__TRY(rlhf__alloc_raw(t->context, t->num_merge_slots, sizeof *t->merges,
                              RLHF_MEMORY_GENERAL, &t->merges));
    for (int64_t i = 0; i < t->num_merge_slots; i++)
        t->merges[i] = (rlhf__merge){RLHF__MERGE_FREE, 0, 0};
    for (int64_t i = 0; i < count && status == RLHF_OK; i++) {
        status = rlhf__poll(t, i);
        if (status == RLHF_OK)
            status = load_merge(t, rlhf__json_at(merges, i), i, &joined, file);
    }
    rlhf__buffer_free(&joined);
    return status;
}

/* --- model -------------------------------------------------------------------------- */

static rlhf_status check_model(const rlhf__json *model, const char *file)
{
    static const char *const known[] = {"type",
                                        "vocab",
                                        "merges",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        NULL};
    static const char *const affixes[] = {"continuing_subword_prefix",
                                          "end_of_word_suffix"};
    const rlhf__json *type = rlhf__json_get(model, "type");

    if (!rlhf__json_is_object(model))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model",
                             "model is not an object");
    if (!rlhf__json_is_null(type) && strcmp(rlhf__json_string(type, ""), "BPE") != 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "model.type",
                             "model.type is \"%.*s\"; only \"BPE\" is supported",
                             NAME(rlhf__json_string(type, "")));
    if (rlhf__json_f64(rlhf__json_get(model, "dropout"), 0) != 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "model.dropout",
                             "model.dropout is not 0; encoding is deterministic here");
    for (int i = 0; i < 2; i++)
        if (rlhf__json_string_size(rlhf__json_get(model, affixes[i])) > 0)
            return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, affixes[i],
                                 "model.%s is not supported", affixes[i]);
    return rlhf__json_only(model, known, file, "model");
}

rlhf_status rlhf__tokenizer_load_model(rlhf__tokenizer *t, const rlhf__json *root,
                                       const char *file)
{
    const rlhf__json *model = rlhf__json_get(root, "model");
    const rlhf__json *unk = rlhf__json_get(model, "unk_token");

    RLHF__TRY(check_model(model, file));
    RLHF__TRY(load_vocab(t, rlhf__json_get(model, "vocab"), file));
    RLHF__TRY(load_merges(t, rlhf__json_get(model, "merges"), file));
    t->fuse_unk = rlhf__json_bool(rlhf__json_get(model, "fuse_unk"), false);
    t->byte_fallback = rlhf__json_bool(rlhf__json_get(model, "byte_fallback"), false);
    t->ignore_merges = rlhf__json_bool(rlhf__json_get(model, "ignore_merges"), false);
    t->model_unk_id = -1;
    if (!rlhf__json_is_null(unk)) {
        t->model_unk_id =
            find_model(t, rlhf__json_string(unk, ""), rlhf__json_string_size(unk));
        if (t->model_unk_id < 0)
            return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "model.unk_token",
                                 "model.unk_token is not in the vocabulary");
    }
    index_units(t);
    return rlhf__bpe_index_whole(t);
}

/* --- added tokens ------------------------------------------------------------------- */

static rlhf_status name_added(rlhf__tokenizer *t, const char *text, int64_t size,
                              int32_t id, const char *file)
{
    int64_t entry = rlhf__strmap_find(&t->names, text, size);

    if (entry < 0 && t->tokens[id].name < 0) {
        RLHF__TRY(rlhf__strmap_add(&t->names, text, size, id));
        t->tokens[id].name = t->names.num_entries - 1;
    } else if (entry < 0 || t->names.entries[entry].value != id) {
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, file, 0, 0, "added_tokens",
            "added_tokens: \"%.*s\" with id %d contradicts the vocabulary",
            (int)rlhf__min_i64(size, 60), text, id);
    }
    return RLHF_OK;
}

/* `text` has at least one byte. */
static rlhf_status add_to_set(rlhf__tokenizer *t, rlhf__added_set *set, const char *text,
                              int64_t size, rlhf__added token, const char *file)
{
    if (rlhf__strmap_find(&set->texts, text, size) >= 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "added_tokens",
                             "added_tokens has \"%.*s\" twice",
                             (int)rlhf__min_i64(size, 60), text);
    RLHF__TRY(rlhf__strmap_add(&set->texts, text, size, token.id));
    RLHF__TRY(rlhf__grow(t->context, &set->tokens, &set->capacity, set->num_tokens + 1,
                         sizeof *set->tokens));
    token.name = set->texts.num_entries - 1;
    set->first_byte[(unsigned char)text[0]] = true;
    set->tokens[set->num_tokens++] = token;
    return RLHF_OK;
}

/* As the normalizer leaves the token's text. Where that is nothing, no text holds it: the
 * token has its id and is never found. */
static rlhf_status add_normalized(rlhf__tokenizer *t, const char *text, int64_t size,
                                  rlhf__added token, const char *file)
{
    rlhf__buffer changed = {.context = t->context};
    rlhf_status status = rlhf__normalize(t, text, size, file, &changed);

    if (status == RLHF_OK && changed.size > 0)
        status = add_to_set(t, &t->added[1], changed.data, changed.size, token, file);
    rlhf__buffer_free(&changed);
    return status;
}

static rlhf_status load_added(rlhf__tokenizer *t, const rlhf__json *item, int64_t index,
                              const char *file)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    const rlhf__json *content = rlhf__json_get(item, "content");
    const char *text = rlhf__json_string(content, "");
    int64_t size = rlhf__json_string_size(content);

    if (!rlhf__json_is_object(item) || size == 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "added_tokens",
                             "added_tokens[%" PRId64 "] has no content", index);
    if (size > RLHF__TOKENIZER_MAX_ADDED)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "added_tokens",
                             "added_tokens[%" PRId64 "] has %" PRId64
                             " bytes; at most %d are supported",
                             index, size, RLHF__TOKENIZER_MAX_ADDED);
    RLHF__TRY(check_id(file, "added_tokens", text, rlhf__json_get(item, "id")));
    RLHF__TRY(rlhf__json_only(item, known, file, "added_tokens"));
    if (rlhf__json_bool(rlhf__json_get(item, "single_word"), false))
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "added_tokens",
                             "added_tokens[%" PRId64 "]: single_word is not supported",
                             index);
    rlhf__added token = {
        .id = (int32_t)rlhf__json_i64(rlhf__json_get(item, "id"), -1),
        .special = rlhf__json_bool(rlhf__json_get(item, "special"), false),
        .lstrip = rlhf__json_bool(rlhf__json_get(item, "lstrip"), false),
        .rstrip = rlhf__json_bool(rlhf__json_get(item, "rstrip"), false)};
    RLHF__TRY(name_added(t, text, size, token.id, file));
    t->tokens[token.id].special = token.special;
    if (rlhf__json_bool(rlhf__json_get(item, "normalized"), !token.special))
        return add_normalized(t, text, size, token, file);
    return add_to_set(t, &t->added[0], text, size, token, file);
}

static int compare_added(const void *a, const void *b, void *arg)
{
    const rlhf__strmap *texts = arg;
    const rlhf__strmap_entry *x = &texts->entries[((const rlhf__added *)a)->name];
    const rlhf__strmap_entry *y = &texts->entries[((const rlhf__added *)b)->name];
    int order = memcmp(texts->keys + x->key_at, texts->keys + y->key_at,
                       (size_t)rlhf__min_i64(x->key_size, y->key_size));

    return order != 0 ? order : (x->key_size > y->key_size) - (x->key_size < y->key_size);
}

/* Sorts the set, and finds for each token the next shorter one that it begins with: the
 * one sorted before it, or one that this one begins with. */
static void sort_set(rlhf__added_set *set)
{
    if (set->num_tokens > 1)
        qsort_r(set->tokens, (size_t)set->num_tokens, sizeof *set->tokens, compare_added,
                &set->texts);
    for (int64_t i = 0; i < set->num_tokens; i++) {
        const rlhf__strmap_entry *own = &set->texts.entries[set->tokens[i].name], *other;
        int64_t at = i - 1;
        for (; at >= 0; at = set->tokens[at].shorter) {
            other = &set->texts.entries[set->tokens[at].name];
            if (other->key_size < own->key_size &&
                memcmp(set->texts.keys + other->key_at, set->texts.keys + own->key_at,
                       (size_t)other->key_size) == 0)
                break;
        }
        set->tokens[i].shorter = at;
    }
}

/* Room for all their ids at once; an id that is none is refused later, in its turn. */
static rlhf_status make_room(rlhf__tokenizer *t, const rlhf__json *added)
{
    int64_t most = t->vocab_size;

    for (int64_t i = 0; i < rlhf__json_size(added); i++) {
        int64_t id = rlhf__json_i64(rlhf__json_get(rlhf__json_at(added, i), "id"), -1);
        if (id < RLHF__TOKENIZER_MAX_VOCAB)
            most = rlhf__max_i64(most, id + 1);
    }
    return resize_tokens(t, (int32_t)most, t->vocab_size);
}

rlhf_status rlhf__tokenizer_load_added(rlhf__tokenizer *t, const rlhf__json *root,
                                       const char *file)
{
    const rlhf__json *added = rlhf__json_get(root, "added_tokens");

    if (!rlhf__json_is_null(added) && !rlhf__json_is_array(added))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "added_tokens",
                             "added_tokens is not an array");
    RLHF__TRY(make_room(t, added));
    for (int64_t i = 0; i < rlhf__json_size(added); i++) {
        RLHF__TRY(rlhf__poll(t, i));
        RLHF__TRY(load_added(t, rlhf__json_at(added, i), i, file));
    }
    for (int i = 0; i < 2; i++)
        sort_set(&t->added[i]);
    return RLHF_OK;
}
