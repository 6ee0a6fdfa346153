/* tokenizer_config.json: which tokens begin and end a text. */
#include <string.h>

#include "base/context.h"
#include "text/parts.h"

/* Names in use, the most specific first; GPT-2's serves for both ends. */
static const char *const bos_names[] = {"<s>",   "<|begin_of_text|>", "<|startoftext|>",
                                        "<bos>", "<|endoftext|>",     NULL};
static const char *const eos_names[] = {"</s>",  "<|end_of_text|>", "<|eot_id|>",
                                        "<eos>", "<|im_end|>",      "<|endoftext|>",
                                        NULL};
static const char *const unk_names[] = {"<unk>", NULL};

static int32_t find_common(const rlhf__tokenizer *t, const char *const *names)
{
    int32_t id = -1;

    for (; *names && id < 0; names++)
        id = rlhf__tokenizer_find(t, *names, strlen(*names));
    return id;
}

/* A name, an object with "content", or null for none; a missing key leaves it to the
 * common names. A name that no token has is a warning: the folder's other tokens still
 * work. */
static rlhf_status read_token(const rlhf__tokenizer *t, const rlhf__json *config,
                              const char *key, const char *const *names, const char *file,
                              int32_t *out_id)
{
    const rlhf__json *value = rlhf__json_get(config, key);
    const rlhf__json *name =
        rlhf__json_is_object(value) ? rlhf__json_get(value, "content") : value;

    *out_id = value ? -1 : find_common(t, names);
    if (rlhf__json_is_null(value))
        return RLHF_OK;
    if (!rlhf__json_is_string(name))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, key,
                             "%s is not the name of a token", key);
    *out_id = rlhf__tokenizer_find(t, rlhf__json_string(name, ""),
                                   (size_t)rlhf__json_string_size(name));
    if (*out_id < 0)
        rlhf__log(t->context, RLHF_LOG_WARNING, "%s: %s \"%.60s\" is not a token", file,
                  key, rlhf__json_string(name, ""));
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_load_special(rlhf__tokenizer *t, const char *config_text,
                                         int64_t config_size, const char *config_file)
{
    rlhf__json *config = NULL;

    if (config_text)
        RLHF__TRY(rlhf__json_parse(t->context, config_text, config_size, config_file, 1,
                                   &config));
    rlhf_status status = RLHF_OK;
    if (config && !rlhf__json_is_object(config))
        status =
            rlhf__fail_at(RLHF_ERR_FORMAT, config_file, 0, 0, NULL, "not a JSON object");
    if (status == RLHF_OK)
        status = read_token(t, config, "bos_token", bos_names, config_file, &t->bos_id);
    if (status == RLHF_OK)
        status = read_token(t, config, "eos_token", eos_names, config_file, &t->eos_id);
    if (status == RLHF_OK)
        status = read_token(t, config, "unk_token", unk_names, config_file, &t->unk_id);
    if (t->unk_id < 0)
        t->unk_id = t->model_unk_id;
    rlhf__json_free(config);
    return status;
}
