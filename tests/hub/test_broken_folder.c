/* Model folders that are broken: config.json, the index or the weights say what cannot
 * be, or do not fit each other. Each is refused by file, field and words. */
#include "tiny.h"

#include "test_files.h"

typedef struct fixture {
    char folder[TEST_PATH];
    char model[2 * TEST_PATH];
    rlhf_context *context;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    snprintf(f->model, sizeof f->model, "%s/model", f->folder);
    f->context = support_context(NULL, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

/* A fresh folder of a tiny Llama. */
static void save_model(const fixture *f, const rlhf_model_config *config)
{
    rlhf_model *model;

    test_folder_remove(f->model);
    assert_ok(rlhf_model_create(f->context, config, 1, &model));
    assert_ok(rlhf_model_save(model, f->model));
    rlhf_model_free(model);
}

static void save_tiny(const fixture *f)
{
    const rlhf_model_config config = tiny_config(23, 8);

    save_model(f, &config);
}

static void expect_refused(const fixture *f, rlhf_status status, const char *file,
                           const char *field, const char *words)
{
    rlhf_model *model = (rlhf_model *)(uintptr_t)f;
    rlhf_error_info info = {.struct_size = sizeof info};
    char path[3 * TEST_PATH];

    snprintf(path, sizeof path, "%s%s", f->model, file);
    assert_fails(rlhf_model_load(f->context, f->model, &model), status, words);
    assert_null(model);
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.file, path);
    assert_string_equal(info.field, field);
    assert_non_null(strstr(info.message, path));
}

/* Replaces the first `from` of a text; the caller frees the new one. */
static char *replaced(const char *text, size_t size, const char *from, const char *to,
                      size_t *out_size)
{
    const char *at = memmem(text, size, from, strlen(from));
    char *all = malloc(size + strlen(to) + 1);

    if (!at)
        fail_msg("there is no %s", from);
    const size_t before = (size_t)(at - text), after = size - before - strlen(from);
    memcpy(all, text, before);
    memcpy(all + before, to, strlen(to));
    memcpy(all + before + strlen(to), at + strlen(from), after);
    *out_size = before + strlen(to) + after;
    return all;
}

static void edit_json(const fixture *f, const char *name, const char *from,
                      const char *to)
{
    char path[3 * TEST_PATH];
    size_t size = 0, new_size;

    snprintf(path, sizeof path, "%s/%s", f->model, name);
    char *text = test_read(path, &size);
    assert_non_null(text);
    char *edited = replaced(text, size, from, to, &new_size);
    test_write(path, edited, new_size);
    free(edited);
    free(text);
}

/* As edit_json of the weights' header, whose length stands before it. */
static void edit_header(const fixture *f, const char *from, const char *to)
{
    char path[3 * TEST_PATH];
    uint64_t length = 0;
    size_t size = 0, new_length, data;

    snprintf(path, sizeof path, "%s/model.safetensors", f->model);
    char *file = test_read(path, &size);
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)(unsigned char)file[i] << (8 * i);
    char *header = replaced(file + 8, length, from, to, &new_length);
    data = size - 8 - length;
    char *all = malloc(8 + new_length + data);
    for (int i = 0; i < 8; i++)
        all[i] = (char)(new_length >> (8 * i));
    memcpy(all + 8, header, new_length);
    memcpy(all + 8 + new_length, file + 8 + length, data);
    test_write(path, all, 8 + new_length + data);
    free(all);
    free(header);
    free(file);
}

#define WEIGHTS "/model.safetensors"

static void test_tensors_that_do_not_fit_are_named(void **state)
{
    const fixture *f = *state;

    save_tiny(f);
    edit_header(f, "model.norm.weight", "model.nork.weight");
    expect_refused(f, RLHF_ERR_FORMAT, WEIGHTS, "model.nork.weight",
                   "tensor \"model.nork.weight\" is not part of the model");
    save_tiny(f);
    edit_header(f, "model.norm.weight", "rotary_emb.inv_freq"); /* passed over */
    expect_refused(f, RLHF_ERR_FORMAT, "", "model.norm.weight",
                   "tensor \"model.norm.weight\" is missing");
    save_tiny(f);
    edit_header(f, "model.norm.weight", "norm.weight"); /* without its prefix: the same */
    rlhf_model *model;
    assert_ok(rlhf_model_load(f->context, f->model, &model));
    rlhf_model_free(model);
    save_tiny(f);
    edit_header(f, "model.layers.1.input_layernorm.weight",
                "layers.0.input_layernorm.weight");
    assert_fails(rlhf_model_load(f->context, f->model, &model), RLHF_ERR_FORMAT,
                 "comes twice");
    save_tiny(f);
    edit_header(f, "[32, 16]", "[16, 32]");
    assert_fails(rlhf_model_load(f->context, f->model, &model), RLHF_ERR_FORMAT,
                 "has shape [16, 32] where config.json asks for [32, 16]");
    save_tiny(f);
    edit_header(f, "[16]", "[16, 1]");
    assert_fails(rlhf_model_load(f->context, f->model, &model), RLHF_ERR_FORMAT,
                 "has shape [16, 1] where config.json asks for [16]");
    save_tiny(f);
    edit_json(f, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 900");
    expect_refused(f, RLHF_ERR_FORMAT, "", "", "config.json describes at least");
    save_tiny(f);
    edit_json(f, "config.json", "\"vocab_size\": 23", "\"vocab_size\": 22");
    expect_refused(f, RLHF_ERR_FORMAT, WEIGHTS, "model.embed_tokens.weight",
                   "has shape [23, 16] where config.json asks for [22, 16]");
}

static void test_values_not_finite_are_named(void **state)
{
    static const struct {
        unsigned char bytes[4];
        const char *words;
    } values[] = {{{0, 0, 0xc0, 0x7f}, "nan"}, {{0, 0, 0x80, 0xff}, "-inf"}};
    const fixture *f = *state;
    char path[3 * TEST_PATH];
    rlhf_model *model;
    size_t size = 0;

    snprintf(path, sizeof path, "%s" WEIGHTS, f->model);
    for (int i = 0; i < 2; i++) {
        save_tiny(f);
        char *file = test_read(path, &size);
        memcpy(file + size - 4, values[i].bytes,
               4); /* the last value of the last tensor */
        test_write(path, file, size);
        free(file);
        assert_fails(rlhf_model_load(f->context, f->model, &model), RLHF_ERR_NUMERIC,
                     path);
        assert_non_null(strstr(rlhf_last_error_message(), values[i].words));
        assert_non_null(strstr(rlhf_last_error_message(), "tensor \"model."));
    }
}

static void test_tied_head_must_be_the_table(void **state)
{
    const fixture *f = *state;
    rlhf_model_config config = tiny_config(23, 8);

    config.tie_embeddings = 0;
    save_model(f, &config);
    edit_json(f, "config.json", "\"tie_word_embeddings\": false",
              "\"tie_word_embeddings\": true");
    expect_refused(
        f, RLHF_ERR_FORMAT, WEIGHTS, "lm_head.weight",
        "\"tie_word_embeddings\" is true, but tensor \"lm_head.weight\" differs");
}

static void test_folders_that_lack_a_file_are_refused(void **state)
{
    const fixture *f = *state;

    test_folder_remove(f->model);
    expect_refused(f, RLHF_ERR_NOT_FOUND, "/config.json", "", "No such file");
    save_tiny(f);
    assert_int_equal(unlink(test_join(f->model, "model.safetensors")), 0);
    expect_refused(f, RLHF_ERR_NOT_FOUND, "", "",
                   "neither model.safetensors nor model.safetensors.index.json");
    save_tiny(f);
    assert_int_equal(unlink(test_join(f->model, "config.json")), 0);
    expect_refused(f, RLHF_ERR_NOT_FOUND, "/config.json", "", "No such file");
    test_write(test_join(f->model, "config.json"), "{\n,", 3);
    expect_refused(f, RLHF_ERR_FORMAT, "/config.json", "",
                   "config.json:2:1: invalid JSON");
}

/* --- shards ----------------------------------------------------------------------- */

#define INDEX "/model.safetensors.index.json"

static void write_index(const fixture *f, const char *text)
{
    test_write(test_join(f->model, &INDEX[1]), text, strlen(text));
}

static void test_index_malformed_is_refused(void **state)
{
    const fixture *f = *state;
    const char *shard;
    rlhf_model *model;

    save_tiny(f);
    shard = test_join(f->model, "model-1.safetensors");
    assert_int_equal(rename(test_join(f->model, "model.safetensors"), shard), 0);
    write_index(f, "{\"weight_map\": {\"model.norm.weight\": \"model-1.safetensors\"}}");
    assert_ok(
        rlhf_model_load(f->context, f->model, &model)); /* all of the shard is read */
    rlhf_model_free(model);
    write_index(f, "{\"weight_map\"");
    expect_refused(f, RLHF_ERR_FORMAT, INDEX, "", "invalid JSON");
    write_index(f, "{}");
    expect_refused(f, RLHF_ERR_FORMAT, INDEX, "weight_map", "missing or not an object");
    write_index(f, "{\"weight_map\": [1]}");
    expect_refused(f, RLHF_ERR_FORMAT, INDEX, "weight_map", "missing or not an object");
    write_index(f, "{\"weight_map\": {\"x\": \"../model-1.safetensors\"}}");
    expect_refused(f, RLHF_ERR_FORMAT, "", "x", "no safetensors file of the folder");
    write_index(f, "{\"weight_map\": {\"x\": \"model-1.bin\"}}");
    expect_refused(f, RLHF_ERR_FORMAT, "", "x",
                   "tensor \"x\" is mapped to \"model-1.bin\"");
    write_index(f, "{\"weight_map\": {\"x\": 5}}");
    expect_refused(f, RLHF_ERR_FORMAT, "", "x", "tensor \"x\" is mapped to \"\"");
    write_index(f, "{\"weight_map\": {\"x\": \"model-1.safetensors\"}}");
    expect_refused(f, RLHF_ERR_FORMAT, "/model-1.safetensors", "x",
                   "tensor \"x\" is not there, as the index says");
    write_index(f, "{\"weight_map\": {\"x\": \"model-2.safetensors\"}}");
    expect_refused(f, RLHF_ERR_NOT_FOUND, "/model-2.safetensors", "", "No such file");
    write_index(f, "{\"weight_map\": {}}");
    expect_refused(f, RLHF_ERR_FORMAT, "", "", "the tensors hold 0");
}

/* An index asks for each of its names: 20000 looked up one by one took 18 s. */
static void test_index_of_many_names_is_looked_up_in_order(void **state)
{
    enum { NAMES = 20000 };
    const fixture *f = *state;
    const char *shard;
    char *header = malloc(NAMES * 64 + 16), *index = malloc(NAMES * 64 + 32);
    char *h = header + 8, *x = index;

    save_tiny(f);
    assert_int_equal(unlink(test_join(f->model, "model.safetensors")), 0);
    *h++ = '{';
    x += sprintf(x, "{\"weight_map\":{");
    for (int i = 0; i < NAMES; i++) {
        h += sprintf(h, "\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],", i);
        h += sprintf(h, "\"data_offsets\":[0,0]}%s", i < NAMES - 1 ? "," : "}");
        x += sprintf(x, "\"t%d\":\"a.safetensors\"%s", i, i < NAMES - 1 ? "," : "}}");
    }
    for (int i = 0; i < 8; i++)
        header[i] = (char)((uint64_t)(h - header - 8) >> (8 * i));
    shard = test_join(f->model, "a.safetensors");
    test_write(shard, header, (size_t)(h - header));
    write_index(f, index);
    expect_refused(f, RLHF_ERR_FORMAT, "", "", "the tensors hold 0");
    free(header);
    free(index);
}

/* --- rotary tables ---------------------------------------------------------------- */

/* They are of no tensor, so that a few bytes could ask for gigabytes of them. */
static void test_rotary_tables_wait_for_the_tensors(void **state)
{
    const fixture *f = *state;
    rlhf_memory_info memory = {.struct_size = sizeof memory};

    save_tiny(f);
    edit_json(f, "config.json", "\"max_position_embeddings\": 8",
              "\"max_position_embeddings\": 1048576"); /* 32 MiB of tables */
    edit_header(f, "model.norm.weight", "rotary_emb.inv_freq");
    expect_refused(f, RLHF_ERR_FORMAT, "", "model.norm.weight", "is missing");
    assert_ok(rlhf_context_memory(f->context, &memory));
    assert_true(memory.total_peak < 8 << 20);
}

static void test_rotary_tables_have_a_limit(void **state)
{
    const fixture *f = *state;
    rlhf_model_config config = tiny_config(23, 8);
    rlhf_model *model;

    config.num_heads = config.num_layers = 1;
    config.head_dim = 512;
    save_model(f, &config);
    edit_json(f, "config.json", "\"max_position_embeddings\": 8",
              "\"max_position_embeddings\": 1048576");
    expect_refused(f, RLHF_ERR_LIMIT, "/config.json", "context_length",
                   "context_length 1048576, head_dim 512 and 1 rope_theta take "
                   "2147483648 bytes of rotary tables");
    config.context_length = 1 << 20;
    assert_fails(rlhf_model_create(f->context, &config, 1, &model), RLHF_ERR_LIMIT,
                 "rotary tables; at most 1073741824");
}

/* --- configs of our own family ---------------------------------------------------- */

static void test_layers_malformed_are_refused(void **state)
{
    const fixture *f = *state;
    rlhf_model_config config = tiny_config(23, 8);

    config.activation = RLHF_ACTIVATION_GELU_TANH; /* no family has it with RMSNorm */
    save_model(f, &config);
    edit_json(f, "config.json", "\"rlhf_layers\": [", "\"rlhf_layers\": [1, ");
    expect_refused(f, RLHF_ERR_FORMAT, "/config.json", "rlhf_layers",
                   "\"rlhf_layers\" has 3 entries where \"num_layers\" is 2");
    save_model(f, &config);
    edit_json(f, "config.json", "\"rlhf_layers\": [", "\"rlhf_layers\": 5, \"kept\": [");
    expect_refused(f, RLHF_ERR_FORMAT, "/config.json", "rlhf_layers", "has 0 entries");
    save_model(f, &config);
    edit_json(f, "config.json", "\"attention\": ", "\"attentive\": ");
    expect_refused(f, RLHF_ERR_FORMAT, "/config.json", "attention",
                   "\"attention\" is missing");
    save_model(f, &config);
    edit_json(f, "config.json", "\"activation\": \"", "\"activation\": \"very_");
    expect_refused(f, RLHF_ERR_UNSUPPORTED, "/config.json", "activation", "\"very_");
}

/* Each field is within its bounds; together they make no network. */
static void test_fields_that_contradict_each_other_name_the_file(void **state)
{
    const fixture *f = *state;
    rlhf_model_config config = tiny_config(23, 8);

    config.activation = RLHF_ACTIVATION_GELU_TANH;
    save_model(f, &config);
    edit_json(f, "config.json", "\"full\"", "\"sliding\"");
    expect_refused(
        f, RLHF_ERR_FORMAT, "/config.json", "window",
        "/config.json: layers[0].window must be >= 1 with sliding attention, got 0");
}

static void test_empty_path_is_no_folder_of_the_root(void **state)
{
    const fixture *f = *state;
    rlhf_model *model = NULL;

    assert_fails(rlhf_model_load(f->context, "", &model), RLHF_ERR_INVALID_ARG,
                 "the path is empty");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tensors_that_do_not_fit_are_named),
        TEST(test_values_not_finite_are_named),
        TEST(test_tied_head_must_be_the_table),
        TEST(test_folders_that_lack_a_file_are_refused),
        TEST(test_index_malformed_is_refused),
        TEST(test_index_of_many_names_is_looked_up_in_order),
        TEST(test_rotary_tables_wait_for_the_tensors),
        TEST(test_rotary_tables_have_a_limit),
        TEST(test_layers_malformed_are_refused),
        TEST(test_fields_that_contradict_each_other_name_the_file),
        TEST(test_empty_path_is_no_folder_of_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
