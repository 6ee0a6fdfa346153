/* Public tokenizers: argument checks around text/. */
#include "text/tokenizer.h"

#include <inttypes.h>
#include <string.h>

#include "api/descs.h"
#include "api/handle.h"
#include "base/versioned_struct.h"

#define FIELD(member) #member, .offset = offsetof(rlhf_tokenizer_train_options, member)
static const rlhf__field train_fields[] = {
    {FIELD(vocab_size), .type = RLHF__FIELD_I32, .default_value = 1024, .min = 256,
     .max = 1 << 22, .help = "ids in all, special tokens and 256 bytes among them"},
    {FIELD(min_frequency), .type = RLHF__FIELD_I32, .default_value = 2, .min = 1,
     .max = INT32_MAX, .help = "a pair seen less often is not merged"},
    {FIELD(special_tokens), .type = RLHF__FIELD_POINTER, .help = "given the first ids"},
    {FIELD(num_special_tokens), .type = RLHF__FIELD_I32, .min = 0, .max = 4096,
     .help = "number of special_tokens"},
    {FIELD(reserved), .type = RLHF__FIELD_I32, .help = "0"},
    {FIELD(bos_token), .type = RLHF__FIELD_STRING, .help = "one of them; unset: none"},
    {FIELD(eos_token), .type = RLHF__FIELD_STRING, .help = "one of them; unset: none"},
};
#undef FIELD

const rlhf__struct_desc rlhf__tokenizer_train_options_desc = {
    "rlhf_tokenizer_train_options", sizeof(rlhf_tokenizer_train_options),
    sizeof(rlhf_tokenizer_train_options), train_fields,
    sizeof train_fields / sizeof train_fields[0]};

static const char *const default_special_tokens[] = {"<|endoftext|>"};

/* One token that begins and ends a text, as in GPT-2: what the table cannot say. */
static void set_default_tokens(rlhf_tokenizer_train_options *options)
{
    options->special_tokens = default_special_tokens;
    options->num_special_tokens = 1;
    options->bos_token = options->eos_token = default_special_tokens[0];
}

rlhf_status rlhf_tokenizer_train_options_init(rlhf_tokenizer_train_options *options,
                                              size_t struct_size)
{
    RLHF__TRY(
        rlhf__struct_init(&rlhf__tokenizer_train_options_desc, options, struct_size));
    set_default_tokens(options);
    return RLHF_OK;
}

static void destroy(void *handle)
{
    rlhf__tokenizer_unref(((rlhf_tokenizer *)handle)->core);
}

/* Takes the core over on success and failure. */
static rlhf_status wrap(rlhf_context *context, rlhf__tokenizer *core,
                        rlhf_tokenizer **out_tokenizer)
{
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_status status =
        rlhf__handle_create(context, sizeof *tokenizer, destroy, &tokenizer);

    if (status != RLHF_OK) {
        rlhf__tokenizer_unref(core);
        return status;
    }
    tokenizer->core = core;
    *out_tokenizer = tokenizer;
    return RLHF_OK;
}

/* --- training ----------------------------------------------------------------------- */

static rlhf_status check_texts(const char *const *texts, const size_t *sizes,
                               int64_t num_texts)
{
    if (num_texts < 0)
        return rlhf__fail_arg("num_texts", "num_texts must be >= 0, got %" PRId64,
                              num_texts);
    if (num_texts > 0 && (!texts || !sizes))
        return rlhf__fail_arg(texts ? "sizes" : "texts", "%s is NULL",
                              texts ? "sizes" : "texts");
    for (int64_t i = 0; i < num_texts; i++)
        if (!texts[i] && sizes[i] > 0)
            return rlhf__fail_arg("texts", "texts[%" PRId64 "] is NULL", i);
    return RLHF_OK;
}

static rlhf_status train(rlhf_context *context, const char *const *texts,
                         const size_t *sizes, int64_t num_texts,
                         const rlhf_tokenizer_train_options *options,
                         rlhf_tokenizer **out_tokenizer)
{
    const rlhf__tokenizer_train_settings settings = {
        .vocab_size = options->vocab_size,
        .min_frequency = options->min_frequency,
        .special_tokens = options->special_tokens,
        .num_special_tokens = options->num_special_tokens,
        .bos_token = options->bos_token,
        .eos_token = options->eos_token};
    rlhf__tokenizer_trainer *trainer = NULL;
    rlhf__tokenizer *core = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__tokenizer_trainer_create(context, &settings, &trainer));
    status = RLHF_OK;
    for (int64_t i = 0; i < num_texts && status == RLHF_OK; i++)
        status = rlhf__tokenizer_trainer_add(trainer, texts[i], sizes[i]);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_trainer_finish(trainer, &core);
    rlhf__tokenizer_trainer_free(trainer);
    return status == RLHF_OK ? wrap(context, core, out_tokenizer) : status;
}

rlhf_status rlhf_tokenizer_train(rlhf_context *context, const char *const *texts,
                                 const size_t *sizes, int64_t num_texts,
                                 const rlhf_tokenizer_train_options *options,
                                 rlhf_tokenizer **out_tokenizer)
{
    rlhf_tokenizer_train_options own;

    RLHF__REQUIRE(out_tokenizer);
    *out_tokenizer = NULL;
    RLHF__REQUIRE(context);
    RLHF__TRY(check_texts(texts, sizes, num_texts));
    RLHF__TRY(rlhf__struct_read(&rlhf__tokenizer_train_options_desc, options, &own));
    if (!options)
        set_default_tokens(&own);
    if (own.num_special_tokens > 0 && !own.special_tokens)
        return rlhf__fail_arg("special_tokens", "special_tokens is NULL");
    RLHF__ENTER_AND_RETURN(context,
                           train(context, texts, sizes, num_texts, &own, out_tokenizer));
}

/* --- files -------------------------------------------------------------------------- */

static rlhf_status load(rlhf_context *context, const char *path,
                        rlhf_tokenizer **out_tokenizer)
{
    rlhf__tokenizer *core = NULL;

    RLHF__TRY(rlhf__tokenizer_load(context, path, &core));
    return wrap(context, core, out_tokenizer);
}

rlhf_status rlhf_tokenizer_load(rlhf_context *context, const char *path,
                                rlhf_tokenizer **out_tokenizer)
{
    RLHF__REQUIRE(out_tokenizer);
    *out_tokenizer = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, load(context, path, out_tokenizer));
}

static rlhf_status save(const rlhf_tokenizer *tokenizer, const char *path)
{
    rlhf__folder *folder = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__folder_begin(tokenizer->handle.context, path, true, &folder));
    status = rlhf__tokenizer_save(tokenizer->core, folder);
    if (status == RLHF_OK)
        return rlhf__folder_commit(folder);
    rlhf__folder_abort(folder);
    return status;
}

rlhf_status rlhf_tokenizer_save(rlhf_tokenizer *tokenizer, const char *path)
{
    RLHF__REQUIRE(tokenizer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(tokenizer->handle.context, save(tokenizer, path));
}

void rlhf_tokenizer_free(rlhf_tokenizer *tokenizer)
{
    rlhf__handle_free(tokenizer);
}

/* --- ids ---------------------------------------------------------------------------- */

int32_t rlhf_tokenizer_vocab_size(const rlhf_tokenizer *tokenizer)
{
    return tokenizer ? rlhf__tokenizer_vocab_size(tokenizer->core) : 0;
}

int32_t rlhf_tokenizer_bos_id(const rlhf_tokenizer *tokenizer)
{
    return tokenizer ? rlhf__tokenizer_bos_id(tokenizer->core) : -1;
}

int32_t rlhf_tokenizer_eos_id(const rlhf_tokenizer *tokenizer)
{
    return tokenizer ? rlhf__tokenizer_eos_id(tokenizer->core) : -1;
}

int32_t rlhf_tokenizer_token_id(const rlhf_tokenizer *tokenizer, const char *token)
{
    return tokenizer && token
               ? rlhf__tokenizer_find(tokenizer->core, token, strlen(token))
               : -1;
}

/* Encoding and decoding read the tokenizer only and need no context: any thread may. */
rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer, const char *text,
                                  size_t size, int32_t parse_special, int32_t *out_ids,
                                  int64_t capacity, int64_t *out_count)
{
    rlhf_status status;

    RLHF__REQUIRE(tokenizer);
    RLHF__REQUIRE(out_count);
    if (!text && size > 0)
        return rlhf__fail_arg("text", "text is NULL");
    if (capacity < 0 || (capacity > 0 && !out_ids))
        return rlhf__fail_arg(capacity < 0 ? "capacity" : "out_ids",
                              "capacity is %" PRId64 " and out_ids %s", capacity,
                              out_ids ? "not NULL" : "NULL");
    rlhf__ids ids = {.context = tokenizer->handle.context};
    status = rlhf__tokenizer_encode(tokenizer->core, text ? text : "", size,
                                    parse_special ? RLHF__ENCODE_PARSE_SPECIAL : 0, &ids);
    if (status == RLHF_OK) {
        *out_count = ids.size;
        if (out_ids && ids.size > capacity)
            status = rlhf__fail(RLHF_ERR_LIMIT,
                                "the text has %" PRId64 " ids, capacity is %" PRId64,
                                ids.size, capacity);
        else if (out_ids && ids.size > 0)
            memcpy(out_ids, ids.data, (size_t)ids.size * sizeof *out_ids);
    }
    rlhf__ids_free(&ids);
    return status;
}

rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer, const int32_t *ids,
                                  int64_t num_ids, int32_t skip_special, char *out_text,
                                  size_t capacity, size_t *out_size)
{
    rlhf_status status;

    RLHF__REQUIRE(tokenizer);
    RLHF__REQUIRE(out_size);
    if (num_ids < 0 || (num_ids > 0 && !ids))
        return rlhf__fail_arg(num_ids < 0 ? "num_ids" : "ids",
                              "num_ids is %" PRId64 " and ids %s", num_ids,
                              ids ? "not NULL" : "NULL");
    if (capacity > 0 && !out_text)
        return rlhf__fail_arg("out_text", "out_text is NULL");
    rlhf__buffer text = {.context = tokenizer->handle.context};
    status = rlhf__tokenizer_decode(tokenizer->core, ids, num_ids,
                                    skip_special ? RLHF__DECODE_SKIP_SPECIAL : 0, &text);
    if (status == RLHF_OK) {
        const size_t size = (size_t)text.size;
        *out_size = size;
        if (out_text && size > capacity)
            status = rlhf__fail(RLHF_ERR_LIMIT, "the text has %zu bytes, capacity is %zu",
                                size, capacity);
        else if (out_text && size > 0)
            memcpy(out_text, text.data, size);
        if (status == RLHF_OK && size < capacity)
            out_text[size] = '\0';
    }
    rlhf__buffer_free(&text);
    return status;
}

/* --- streams ------------------------------------------------------------------------ */

static void destroy_stream(void *handle)
{
    rlhf_text_stream *stream = handle;

    rlhf__text_stream_free(stream->core);
    rlhf__handle_unref(stream->tokenizer);
}

rlhf_status rlhf_text_stream_create(rlhf_tokenizer *tokenizer, int32_t skip_special,
                                    rlhf_text_stream **out_stream)
{
    rlhf_text_stream *stream = NULL;
    rlhf_status status;

    RLHF__REQUIRE(out_stream);
    *out_stream = NULL;
    RLHF__REQUIRE(tokenizer);
    RLHF__TRY(rlhf__handle_create(tokenizer->handle.context, sizeof *stream,
                                  destroy_stream, &stream));
    stream->tokenizer = rlhf__handle_ref(tokenizer);
    status = rlhf__text_stream_create(tokenizer->handle.context, tokenizer->core,
                                      skip_special ? RLHF__DECODE_SKIP_SPECIAL : 0,
                                      &stream->core);
    if (status != RLHF_OK) {
        rlhf__handle_unref(stream);
        return status;
    }
    *out_stream = stream;
    return RLHF_OK;
}

rlhf_status rlhf_text_stream_push(rlhf_text_stream *stream, int32_t id,
                                  const char **out_text, size_t *out_size)
{
    RLHF__REQUIRE(stream);
    RLHF__REQUIRE(out_text);
    RLHF__REQUIRE(out_size);
    return rlhf__text_stream_push(stream->core, id, out_text, out_size);
}

/* No call that has callbacks is of a stream: it goes at once. */
void rlhf_text_stream_free(rlhf_text_stream *stream)
{
    rlhf__handle_unref(stream);
}
