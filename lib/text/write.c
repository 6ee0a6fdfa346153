/* tokenizer.json and tokenizer_config.json of a tokenizer that was just learnt. */
#include <string.h>

#include "text/parts.h"

static rlhf_status set_text(rlhf__json *object, const char *key, const char *text)
{
    return rlhf__json_set(object, key,
                          rlhf__json_new_string(text, (int64_t)strlen(text)));
}

static rlhf_status set_flags(rlhf__json *object, const char *const *keys, bool value)
{
    for (; *keys; keys++)
        RLHF__TRY(rlhf__json_set(object, *keys, rlhf__json_new_bool(value)));
    return RLHF_OK;
}

static rlhf_status set_nulls(rlhf__json *object, const char *const *keys)
{
    for (; *keys; keys++)
        RLHF__TRY(rlhf__json_set(object, *keys, rlhf__json_new_null()));
    return RLHF_OK;
}

/* A new object or array, put into `parent` under `key` or at its end; borrowed. */
static rlhf_status add_child(rlhf__json *parent, const char *key, rlhf__json *child,
                             rlhf__json **out)
{
    *out = child;
    return key ? rlhf__json_set(parent, key, child) : rlhf__json_append(parent, child);
}

static rlhf_status write_added(rlhf__json *root, const rlhf__strmap *names,
                               int64_t num_special)
{
    static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized",
                                      NULL};
    static const char *const on[] = {"special", NULL};
    rlhf__json *list, *item;

    RLHF__TRY(add_child(root, "added_tokens", rlhf__json_new_array(), &list));
    for (int64_t i = 0; i < num_special; i++) {
        RLHF__TRY(add_child(list, NULL, rlhf__json_new_object(), &item));
        RLHF__TRY(rlhf__json_set(item, "id", rlhf__json_new_i64(i)));
        RLHF__TRY(set_text(item, "content", rlhf__strmap_key(names, i)));
        RLHF__TRY(set_flags(item, off, false));
        RLHF__TRY(set_flags(item, on, true));
    }
    return RLHF_OK;
}

static rlhf_status write_byte_level(rlhf__json *root, const char *key)
{
    static const char *const on[] = {"trim_offsets", "use_regex", NULL};
    static const char *const off[] = {"add_prefix_space", NULL};
    rlhf__json *component;

    RLHF__TRY(add_child(root, key, rlhf__json_new_object(), &component));
    RLHF__TRY(set_text(component, "type", "ByteLevel"));
    RLHF__TRY(set_flags(component, off, false));
    return set_flags(component, on, true);
}

static rlhf_status write_merges(rlhf__json *model, const rlhf__strmap *names,
                                const rlhf__ids *merges)
{
    rlhf__json *list, *item;

    RLHF__TRY(add_child(model, "merges", rlhf__json_new_array(), &list));
    for (int64_t i = 0; i < merges->size; i += 3) {
        if (merges->data[i + 2] < 0)
            continue;
        RLHF__TRY(add_child(list, NULL, rlhf__json_new_array(), &item));
        for (int side = 0; side < 2; side++) {
            int32_t id = merges->data[i + side];
            RLHF__TRY(rlhf__json_append(
                item, rlhf__json_new_string(rlhf__strmap_key(names, id),
                                            names->entries[id].key_size)));
        }
    }
    return RLHF_OK;
}

static rlhf_status write_model(rlhf__json *root, const rlhf__strmap *names,
                               const rlhf__ids *merges)
{
    static const char *const nulls[] = {
        "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", NULL};
    static const char *const off[] = {"fuse_unk", "byte_fallback", "ignore_merges", NULL};
    rlhf__json *model, *vocab;

    RLHF__TRY(add_child(root, "model", rlhf__json_new_object(), &model));
    RLHF__TRY(set_text(model, "type", "BPE"));
    RLHF__TRY(set_nulls(model, nulls));
    RLHF__TRY(set_flags(model, off, false));
    RLHF__TRY(add_child(model, "vocab", rlhf__json_new_object(), &vocab));
    for (int64_t i = 0; i < names->num_entries; i++)
        RLHF__TRY(
            rlhf__json_set(vocab, rlhf__strmap_key(names, i), rlhf__json_new_i64(i)));
    return write_merges(model, names, merges);
}

static rlhf_status write_root(rlhf__json *root, const rlhf__strmap *names,
                              const rlhf__ids *merges, int64_t num_special)
{
    static const char *const before[] = {"truncation", "padding", NULL};
    static const char *const none[] = {"normalizer", NULL}, *const post[] = {
                                                                "post_processor", NULL};

    RLHF__TRY(set_text(root, "version", "1.0"));
    RLHF__TRY(set_nulls(root, before));
    RLHF__TRY(write_added(root, names, num_special));
    RLHF__TRY(set_nulls(root, none));
    RLHF__TRY(write_byte_level(root, "pre_tokenizer"));
    RLHF__TRY(set_nulls(root, post));
    RLHF__TRY(write_byte_level(root, "decoder"));
    return write_model(root, names, merges);
}

static rlhf_status write_config(const char *bos, const char *eos, rlhf__buffer *out)
{
    static const char *const off[] = {"clean_up_tokenization_spaces", NULL};
    static const char *const no_bos[] = {"bos_token", NULL}, *const no_eos[] = {
                                                                 "eos_token", NULL};
    rlhf__json *config = rlhf__json_new_object();
    rlhf_status status =
        config ? set_text(config, "tokenizer_class", "PreTrainedTokenizerFast")
               : rlhf__fail_no_memory(0);

    if (status == RLHF_OK)
        status = bos ? set_text(config, "bos_token", bos) : set_nulls(config, no_bos);
    if (status == RLHF_OK)
        status = eos ? set_text(config, "eos_token", eos) : set_nulls(config, no_eos);
    if (status == RLHF_OK)
        status = set_flags(config, off, false);
    if (status == RLHF_OK)
        status = rlhf__json_dump(config, 2, out);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(out, "\n", 1);
    rlhf__json_free(config);
    return status;
}

rlhf_status rlhf__tokenizer_from_merges(rlhf_context *context, const rlhf__strmap *names,
                                        const rlhf__ids *merges, int64_t num_special,
                                        const char *bos, const char *eos,
                                        rlhf__tokenizer **out)
{
    rlhf__buffer text = {.context = context}, config = {.context = context};
    rlhf__json *root = rlhf__json_new_object();
    rlhf_status status =
        root ? write_root(root, names, merges, num_special) : rlhf__fail_no_memory(0);

    *out = NULL;
    if (status == RLHF_OK)
        status = rlhf__json_dump(root, 1, &text);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&text, "\n", 1);
    if (status == RLHF_OK)
        status = write_config(bos, eos, &config);
    if (status == RLHF_OK)
        status =
            rlhf__tokenizer_build(context, root, text.data, text.size, "tokenizer.json",
                                  config.data, config.size, "tokenizer_config.json", out);
    rlhf__buffer_free(&text);
    rlhf__buffer_free(&config);
    rlhf__json_free(root);
    return status;
}
