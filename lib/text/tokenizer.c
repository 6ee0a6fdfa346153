/* Tokenizers as a whole: made from a document, from files, saved, counted, looked at. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/context.h"
#include "text/parts.h"

#define MAX_CONFIG ((int64_t)16 << 20)

rlhf_status rlhf__ids_append(rlhf__ids *ids, int32_t id)
{
    if (ids->size == ids->capacity)
        RLHF__TRY(rlhf__grow(ids->context, &ids->data, &ids->capacity, ids->size + 1,
                             sizeof *ids->data));
    ids->data[ids->size++] = id;
    return RLHF_OK;
}

void rlhf__ids_free(rlhf__ids *ids)
{
    rlhf__free(ids->data);
    *ids = (rlhf__ids){.context = ids->context};
}

/* --- life --------------------------------------------------------------------------- */

rlhf__tokenizer *rlhf__tokenizer_ref(rlhf__tokenizer *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

static void destroy(rlhf__tokenizer *t)
{
    rlhf_context *context = t->context;

    for (int i = 0; i < 2; i++) {
        rlhf__strmap_free(&t->added[i].texts);
        rlhf__free(t->added[i].tokens);
    }
    for (int32_t i = 0; i < t->num_rewrites; i++) {
        rlhf__free((char *)t->rewrites[i].from);
        rlhf__free((char *)t->rewrites[i].to);
    }
    for (int32_t i = 0; i < t->num_stages; i++) {
        rlhf__regex_free(t->stages[i].regex);
        rlhf__free(t->stages[i].replacement);
    }
    rlhf__strmap_free(&t->names);
    rlhf__strmap_free(&t->whole);
    rlhf__free(t->tokens);
    rlhf__free(t->bytes);
    rlhf__free(t->merges);
    rlhf__free(t->json);
    rlhf__free(t->config);
    rlhf__free(t);
    rlhf__context_unref(context);
}

void rlhf__tokenizer_unref(rlhf__tokenizer *t)
{
    if (t && atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) == 1)
        destroy(t);
}

static rlhf_status create(rlhf_context *context, rlhf__tokenizer **out)
{
    rlhf__tokenizer *t;

    RLHF__TRY(rlhf__alloc(context, 1, sizeof *t, RLHF_MEMORY_GENERAL, &t));
    atomic_init(&t->references, 1);
    t->context = rlhf__context_ref(context);
    t->names.context = t->whole.context = context;
    t->added[0].texts.context = t->added[1].texts.context = context;
    t->bos_id = t->eos_id = t->unk_id = -1;
    *out = t;
    return RLHF_OK;
}

static rlhf_status keep_texts(rlhf__tokenizer *t, const char *text, int64_t size,
                              const char *config_text, int64_t config_size)
{
    t->json_size = size;
    t->config_size = config_size;
    RLHF__TRY(rlhf__strndup(t->context, text, (size_t)size, &t->json));
    if (!config_text)
        return RLHF_OK;
    return rlhf__strndup(t->context, config_text, (size_t)config_size, &t->config);
}

rlhf_status rlhf__tokenizer_build(rlhf_context *context, const rlhf__json *root,
                                  const char *text, int64_t size, const char *file,
                                  const char *config_text, int64_t config_size,
                                  const char *config_file, rlhf__tokenizer **out)
{
    rlhf__tokenizer *t;

    *out = NULL;
    if (!rlhf__json_is_object(root))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, NULL, "not a JSON object");
    RLHF__TRY(create(context, &t));
    rlhf_status status = rlhf__tokenizer_load_pipeline(t, root, file);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_load_model(t, root, file);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_load_added(t, root, file);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_load_post(t, root, file);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_load_decoder(t, root, file);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_load_special(t, config_text, config_size, config_file);
    if (status == RLHF_OK)
        status = keep_texts(t, text, size, config_text, config_size);
    if (status == RLHF_OK)
        *out = t;
    else
        rlhf__tokenizer_unref(t);
    return status;
}

/* --- files -------------------------------------------------------------------------- */

static bool ends_with(const char *path, const char *ending)
{
    size_t size = strlen(path), tail = strlen(ending);

    return size >= tail && strcmp(path + size - tail, ending) == 0;
}

/* Paths of both files: beside each other in the folder, or beside the file named. */
static rlhf_status find_files(rlhf_context *context, const char *path, char **out_json,
                              char **out_config)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;

    *out_config = NULL;
    if (!ends_with(path, ".json")) {
        RLHF__TRY(rlhf__path_join(context, path, "tokenizer.json", out_json));
        return rlhf__path_join(context, path, "tokenizer_config.json", out_config);
    }
    RLHF__TRY(rlhf__strdup(context, path, out_json));
    RLHF__TRY(rlhf__strndup(context, slash ? path : ".",
                            slash ? (size_t)(slash - path) : 1, &folder));
    rlhf_status status = rlhf__path_join(context, slash == path ? "/" : folder,
                                         "tokenizer_config.json", out_config);
    rlhf__free(folder);
    return status;
}

rlhf_status rlhf__tokenizer_load(rlhf_context *context, const char *path,
                                 rlhf__tokenizer **out)
{
    char *json_path = NULL, *config_path = NULL, *text = NULL, *config = NULL;
    int64_t size = 0, config_size = 0;
    rlhf__json *root = NULL;
    rlhf_status status;

    *out = NULL;
    status = find_files(context, path, &json_path, &config_path);
    if (status == RLHF_OK)
        status =
            rlhf__file_read(context, json_path, RLHF__TOKENIZER_MAX_FILE, &text, &size);
    if (status == RLHF_OK && rlhf__path_exists(config_path))
        status = rlhf__file_read(context, config_path, MAX_CONFIG, &config, &config_size);
    if (status == RLHF_OK)
        status = rlhf__json_parse(context, text, size, json_path, 1, &root);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_build(context, root, text, size, json_path, config,
                                       config_size, config_path, out);
    rlhf__json_free(root);
    rlhf__free(text);
    rlhf__free(config);
    rlhf__free(json_path);
    rlhf__free(config_path);
    return status;
}

static rlhf_status set_token(const rlhf__tokenizer *t, rlhf__json *config,
                             const char *key, int32_t id)
{
    if (id < 0)
        return RLHF_OK;
    int64_t name = t->tokens[id].name;
    return rlhf__json_set(config, key,
                          rlhf__json_new_string(rlhf__strmap_key(&t->names, name),
                                                t->names.entries[name].key_size));
}

/* The least that transformers' AutoTokenizer needs. */
static rlhf_status make_config(const rlhf__tokenizer *t, rlhf__buffer *out)
{
    static const char class[] = "PreTrainedTokenizerFast";
    rlhf__json *config = rlhf__json_new_object();
    rlhf_status status =
        config ? rlhf__json_set(config, "tokenizer_class",
                                rlhf__json_new_string(class, (int64_t)sizeof class - 1))
               : rlhf__fail_no_memory(0);

    if (status == RLHF_OK)
        status = set_token(t, config, "bos_token", t->bos_id);
    if (status == RLHF_OK)
        status = set_token(t, config, "eos_token", t->eos_id);
    if (status == RLHF_OK)
        status = set_token(t, config, "unk_token", t->unk_id);
    if (status == RLHF_OK)
        status = rlhf__json_set(config, "clean_up_tokenization_spaces",
                                rlhf__json_new_bool(false));
    if (status == RLHF_OK)
        status = rlhf__json_dump(config, 2, out);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(out, "\n", 1);
    rlhf__json_free(config);
    return status;
}

rlhf_status rlhf__tokenizer_save(const rlhf__tokenizer *t, rlhf__folder *folder)
{
    rlhf__buffer config = {.context = t->context};

    RLHF__TRY(rlhf__folder_write(folder, "tokenizer.json", t->json, t->json_size));
    if (t->config)
        return rlhf__folder_write(folder, "tokenizer_config.json", t->config,
                                  t->config_size);
    rlhf_status status = make_config(t, &config);
    if (status == RLHF_OK)
        status =
            rlhf__folder_write(folder, "tokenizer_config.json", config.data, config.size);
    rlhf__buffer_free(&config);
    return status;
}

/* --- looked at ---------------------------------------------------------------------- */

int32_t rlhf__tokenizer_vocab_size(const rlhf__tokenizer *t)
{
    return t->vocab_size;
}
int32_t rlhf__tokenizer_bos_id(const rlhf__tokenizer *t)
{
    return t->bos_id;
}
int32_t rlhf__tokenizer_eos_id(const rlhf__tokenizer *t)
{
    return t->eos_id;
}
int32_t rlhf__tokenizer_unk_id(const rlhf__tokenizer *t)
{
    return t->unk_id;
}

int32_t rlhf__tokenizer_find(const rlhf__tokenizer *t, const char *text, size_t size)
{
    int64_t entry = rlhf__strmap_find(&t->names, text, (int64_t)size);

    return entry >= 0 ? (int32_t)t->names.entries[entry].value : -1;
}

bool rlhf__tokenizer_is_special(const rlhf__tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab_size && t->tokens[id].special;
}
