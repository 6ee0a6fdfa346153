/* Contexts, tokenizers, datasets, configs. */
#include "oom.h"

/* --- contexts ----------------------------------------------------------------------- */

static void nothing(oom_world *w)
{
    (void)w;
}

static rlhf_status context_create(oom_world *w)
{
    const rlhf_allocator hooks = failing_hooks(w->memory);
    rlhf_context_options options;
    rlhf_context *context = (void *)w;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 3;
    options.allocator = w->hooked ? &hooks : NULL;
    return oom_take(rlhf_context_create(&options, &context), &context, &w->context_out);
}

/* --- tokenizers --------------------------------------------------------------------- */

static rlhf_status tokenizer_train(oom_world *w)
{
    static const char *const texts[2] = {"the cat sat on the mat, ",
                                         "and the dog on the log"};
    static const size_t sizes[2] = {24, 22};
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer = (void *)w;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 264;
    return oom_take(
        rlhf_tokenizer_train(w->context, texts, sizes, 2, &options, &tokenizer),
        &tokenizer, &w->tokenizer_out);
}

static rlhf_status load_from(oom_world *w, const char *name)
{
    rlhf_tokenizer *tokenizer = (void *)w;

    return oom_take(rlhf_tokenizer_load(w->context, oom_fixture(name), &tokenizer),
                    &tokenizer, &w->tokenizer_out);
}

static rlhf_status tokenizer_load(oom_world *w)
{
    return load_from(w, "tokenizer");
}

static rlhf_status tokenizer_load_fallback(oom_world *w)
{
    return load_from(w, "byte-fallback.json");
}

static rlhf_status tokenizer_save(oom_world *w)
{
    return rlhf_tokenizer_save(w->tokenizer, test_join(w->folder, "tokenizer"));
}

/* Over a folder that holds another file, and maybe a subfolder: they stay. */
static void need_old_folder(oom_world *w)
{
    oom_need_tokenizer(w);
    assert_ok(rlhf_tokenizer_save(w->tokenizer, test_join(w->folder, "tokenizer")));
    test_write(test_join(w->folder, "tokenizer/notes.txt"), "mine", 4);
    test_write(test_join(w->folder, "tokenizer/tokenizer_config.json"), "{}", 2);
}

static void need_old_subfolder(oom_world *w)
{
    need_old_folder(w);
    w->skip_temporary = !w->hooked;
    assert_int_equal(mkdir(test_join(w->folder, "tokenizer/more"), 0777), 0);
    test_write(test_join(w->folder, "tokenizer/more/own.txt"), "mine too", 8);
}

static rlhf_status tokenizer_encode(oom_world *w)
{
    int32_t ids[32];
    int64_t count;

    oom_prepare(ids, sizeof ids, false);
    oom_prepare(&count, sizeof count, false);
    const rlhf_status status = rlhf_tokenizer_encode(
        w->tokenizer, "the cat<|endoftext|> sat", 24, 1, ids, 32, &count);
    oom_keep(w, status, ids, sizeof ids, false);
    return oom_keep(w, status, &count, sizeof count, false);
}

static rlhf_status tokenizer_decode(oom_world *w)
{
    static const int32_t ids[4] = {0, 85, 70, 260};
    char text[32];
    size_t size;

    oom_prepare(text, sizeof text, false);
    oom_prepare(&size, sizeof size, false);
    const rlhf_status status =
        rlhf_tokenizer_decode(w->tokenizer, ids, 4, 0, text, sizeof text, &size);
    oom_keep(w, status, text, sizeof text, false);
    return oom_keep(w, status, &size, sizeof size, false);
}

static rlhf_status text_stream_create(oom_world *w)
{
    rlhf_text_stream *stream = (void *)w;

    return oom_take(rlhf_text_stream_create(w->tokenizer, 0, &stream), &stream,
                    &w->stream);
}

static void need_stream(oom_world *w)
{
    oom_need_tokenizer(w);
    assert_ok(rlhf_text_stream_create(w->tokenizer, 0, &w->stream));
}

static rlhf_status text_stream_push(oom_world *w)
{
    const char *text;
    size_t size;

    oom_prepare(&text, sizeof text, false);
    oom_prepare(&size, sizeof size, false);
    const rlhf_status status = rlhf_text_stream_push(w->stream, 262, &text, &size);
    if (status == RLHF_OK)
        oom_put(w, text, size);
    else
        oom_keep(w, status, &text, sizeof text, false);
    return oom_keep(w, status, &size, sizeof size, false);
}

/* --- datasets ----------------------------------------------------------------------- */

static rlhf_status dataset_create(oom_world *w)
{
    const rlhf_dataset_options options = oom_dataset_options(RLHF_DATASET_TEXT);
    rlhf_dataset *dataset = (void *)w;

    return oom_take(rlhf_dataset_create(w->context, &options, &dataset), &dataset,
                    &w->dataset_out);
}

static rlhf_status next_row(void *user_data, rlhf_example *out)
{
    static const int32_t tokens[4] = {3, 4, 5, 6};

    (void)user_data;
    out->tokens = tokens;
    out->num_tokens = 4;
    return RLHF_OK;
}

static rlhf_status save_row(void *user_data, void *out_bytes, size_t capacity,
                            size_t *out_size)
{
    (void)user_data;
    (void)out_bytes;
    (void)capacity;
    *out_size = 0;
    return RLHF_OK;
}

static rlhf_status restore_row(void *user_data, const void *bytes, size_t size)
{
    (void)user_data;
    (void)bytes;
    (void)size;
    return RLHF_OK;
}

static rlhf_status dataset_create_from_source(oom_world *w)
{
    const rlhf_source_ops ops = {sizeof ops, next_row, save_row, restore_row, NULL};
    rlhf_dataset *dataset = (void *)w;

    return oom_take(rlhf_dataset_create_from_source(w->context, RLHF_DATASET_TEXT, &ops,
                                                    NULL, &dataset),
                    &dataset, &w->dataset_out);
}

static rlhf_status load_rows(oom_world *w, const char *name, int32_t kind)
{
    const rlhf_dataset_options options = oom_dataset_options(kind);
    rlhf_dataset *dataset = (void *)w;

    return oom_take(rlhf_dataset_load(w->context, w->tokenizer, oom_fixture(name),
                                      &options, &dataset),
                    &dataset, &w->dataset_out);
}

static rlhf_status dataset_load_plain(oom_world *w)
{
    return load_rows(w, "plain.txt", RLHF_DATASET_TEXT);
}

static rlhf_status dataset_load_text(oom_world *w)
{
    return load_rows(w, "text.jsonl", RLHF_DATASET_TEXT);
}

static rlhf_status dataset_load_completion(oom_world *w)
{
    return load_rows(w, "completion.jsonl", RLHF_DATASET_COMPLETION);
}

static rlhf_status dataset_load_preference(oom_world *w)
{
    return load_rows(w, "preference.jsonl", RLHF_DATASET_PREFERENCE);
}

static rlhf_status dataset_load_prompt(oom_world *w)
{
    return load_rows(w, "completion.jsonl", RLHF_DATASET_PROMPT);
}

static void need_text(oom_world *w)
{
    oom_need_rows(w, RLHF_DATASET_TEXT);
}
static void need_pairs(oom_world *w)
{
    oom_need_rows(w, RLHF_DATASET_PREFERENCE);
}

/* An empty set, so that the first row's memory is among what fails. */
static void need_empty(oom_world *w)
{
    const rlhf_dataset_options options = oom_dataset_options(RLHF_DATASET_PREFERENCE);

    oom_need_context(w);
    assert_ok(rlhf_dataset_create(w->context, &options, &w->dataset));
}

static rlhf_status dataset_append(oom_world *w)
{
    static const int32_t chosen[4] = {2, 3, 4, 5}, rejected[4] = {2, 3, 5, 4};
    const rlhf_example row = {.struct_size = sizeof row,
                              .tokens = chosen,
                              .num_tokens = 4,
                              .prompt_length = 2,
                              .rejected = rejected,
                              .num_rejected = 4};

    return rlhf_dataset_append(w->dataset, &row);
}

static rlhf_status dataset_split(oom_world *w)
{
    rlhf_dataset *train = (void *)w, *held_out = (void *)w;
    const rlhf_status status = rlhf_dataset_split(w->dataset, 3, 9, &train, &held_out);

    oom_take(status, &train, &w->dataset_out);
    return oom_take(status, &held_out, &w->held_out);
}

static rlhf_status keep_example(oom_world *w, rlhf_status status, const rlhf_example *e)
{
    if (status != RLHF_OK)
        return oom_keep(w, status, e, sizeof *e, true);
    oom_put(w, e->tokens, (size_t)e->num_tokens * sizeof *e->tokens);
    oom_put(w, &e->id, sizeof e->id);
    return status;
}

static rlhf_status dataset_next(oom_world *w)
{
    rlhf_example example;

    oom_prepare(&example, sizeof example, true);
    return keep_example(w, rlhf_dataset_next(w->dataset, &example), &example);
}

static rlhf_status dataset_row(oom_world *w)
{
    rlhf_example example;

    oom_prepare(&example, sizeof example, true);
    return keep_example(w, rlhf_dataset_row(w->dataset, 2, &example), &example);
}

static rlhf_status dataset_get_info(oom_world *w)
{
    rlhf_dataset_info info = {.struct_size = sizeof info};

    return rlhf_dataset_get_info(w->dataset, &info);
}

/* A position of the second epoch, which has an order of its own. */
static void need_moved(oom_world *w)
{
    need_text(w);
    for (int i = 0; i < 9; i++) {
        rlhf_example example = {.struct_size = sizeof example};
        assert_ok(rlhf_dataset_next(w->dataset, &example));
    }
    assert_ok(
        rlhf_dataset_save_position(w->dataset, w->bytes, sizeof w->bytes, &w->size));
    assert_ok(rlhf_dataset_rewind(w->dataset));
}

static rlhf_status dataset_rewind(oom_world *w)
{
    return rlhf_dataset_rewind(w->dataset);
}

static rlhf_status dataset_save_position(oom_world *w)
{
    unsigned char bytes[RLHF_SOURCE_POSITION_MAX];
    size_t size;

    return rlhf_dataset_save_position(w->dataset, bytes, sizeof bytes, &size);
}

static rlhf_status dataset_restore_position(oom_world *w)
{
    return rlhf_dataset_restore_position(w->dataset, w->bytes, w->size);
}

/* --- configs ------------------------------------------------------------------------ */

static rlhf_status config_load(oom_world *w)
{
    rlhf_config *config = (void *)w;

    return oom_take(rlhf_config_load(w->context, oom_fixture("config.yaml"), &config),
                    &config, &w->config);
}

static void need_config(oom_world *w)
{
    oom_need_context(w);
    assert_ok(rlhf_config_load(w->context, oom_fixture("config.yaml"), &w->config));
}

static rlhf_status config_read(oom_world *w)
{
    rlhf_ppo_options options;
    double rate;

    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    rate = options.learning_rate;
    const rlhf_status status =
        rlhf_config_read(w->config, "ppo", "rlhf_ppo_options", &options);
    if (status == RLHF_OK)
        oom_put(w, &options, sizeof options);
    else
        assert_true(options.learning_rate == rate);
    return status;
}

static rlhf_status config_values(oom_world *w)
{
    const char *text;
    int64_t integer;
    double number;

    assert_ok(rlhf_config_string(w->config, "paths.model", NULL, &text));
    assert_ok(rlhf_config_int(w->config, "steps", 0, 0, 9, &integer));
    assert_ok(rlhf_config_double(w->config, "rate", 0, 0, 1, &number));
    assert_string_equal(text, "a/b");
    assert_int_equal(integer, 7);
    assert_true(number == 0.5);
    return RLHF_OK;
}

static void need_read_config(oom_world *w)
{
    rlhf_tokenizer_train_options options;

    need_config(w);
    assert_ok(config_read(w));
    assert_ok(config_values(w));
    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    assert_ok(rlhf_config_read(w->config, "tokenizer", "rlhf_tokenizer_train_options",
                               &options));
}

static rlhf_status config_finish(oom_world *w)
{
    return rlhf_config_finish(w->config);
}

const oom_scenario oom_data_scenarios[] = {
    {"rlhf_context_create", nothing, context_create, 0},
    {"rlhf_tokenizer_train", oom_need_context, tokenizer_train, OOM_JSON},
    {"rlhf_tokenizer_load", oom_need_context, tokenizer_load, OOM_JSON},
    {"rlhf_tokenizer_load byte fallback", oom_need_context, tokenizer_load_fallback,
     OOM_JSON},
    {"rlhf_tokenizer_save", oom_need_tokenizer, tokenizer_save, 0},
    {"rlhf_tokenizer_save over a folder", need_old_folder, tokenizer_save, 0},
    {"rlhf_tokenizer_save over a subfolder", need_old_subfolder, tokenizer_save, 0},
    {"rlhf_tokenizer_encode", oom_need_tokenizer, tokenizer_encode, 0},
    {"rlhf_tokenizer_decode", oom_need_tokenizer, tokenizer_decode, 0},
    {"rlhf_text_stream_create", oom_need_tokenizer, text_stream_create, 0},
    {"rlhf_text_stream_push", need_stream, text_stream_push, OOM_KEEPS},
    {"rlhf_dataset_create", oom_need_context, dataset_create, 0},
    {"rlhf_dataset_create_from_source", oom_need_context, dataset_create_from_source, 0},
    {"rlhf_dataset_load plain", oom_need_tokenizer, dataset_load_plain, 0},
    {"rlhf_dataset_load text", oom_need_tokenizer, dataset_load_text, OOM_JSON},
    {"rlhf_dataset_load completion", oom_need_tokenizer, dataset_load_completion,
     OOM_JSON},
    {"rlhf_dataset_load preference", oom_need_tokenizer, dataset_load_preference,
     OOM_JSON},
    {"rlhf_dataset_load prompt", oom_need_tokenizer, dataset_load_prompt, OOM_JSON},
    {"rlhf_dataset_append", need_empty, dataset_append, OOM_KEEPS},
    {"rlhf_dataset_split", need_pairs, dataset_split, 0},
    {"rlhf_dataset_next", need_text, dataset_next, OOM_KEEPS},
    {"rlhf_dataset_row", need_text, dataset_row, OOM_NONE},
    {"rlhf_dataset_get_info", need_text, dataset_get_info, OOM_NONE},
    {"rlhf_dataset_rewind", need_moved, dataset_rewind, OOM_NONE},
    {"rlhf_dataset_save_position", need_text, dataset_save_position, OOM_NONE},
    {"rlhf_dataset_restore_position", need_moved, dataset_restore_position, OOM_NONE},
    {"rlhf_config_load", oom_need_context, config_load, 0},
    {"rlhf_config_read", need_config, config_read, OOM_KEEPS},
    {"rlhf_config_string", need_config, config_values, OOM_NONE},
    {"rlhf_config_int", need_config, config_values, OOM_NONE},
    {"rlhf_config_double", need_config, config_values, OOM_NONE},
    {"rlhf_config_finish", need_read_config, config_finish, OOM_NONE},
    {NULL, NULL, NULL, 0}};
