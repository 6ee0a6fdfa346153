/* A trainer's saved state: a folder that is refused changes nothing, one that is taken
 * can be saved and taken again.
 *
 * An input is a byte, the size of state.json (4 bytes, little-endian), state.json, then
 * state.safetensors. With bit 0 of the byte set the checksums are made right, so that
 * what lies behind them is reached. FUZZ_STATE_SEED=FILE writes an input of today's
 * format. */
#include "fuzz.h"

#include "base/hash.h"
#include "base/json.h"
#include "ckpt/state_format.h"

enum { VOCAB = 4, MAX_PARAMETERS = 4096 };

static rlhf_model *model;
static rlhf_dataset *dataset;
static rlhf_lm_trainer *trainer;

static void make_trainer(void)
{
    rlhf_model_config config;
    rlhf_dataset_options rows;
    rlhf_lm_options options;
    const int32_t tokens[3] = {1, 2, 3};
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = 3};

    FUZZ_OK(rlhf_model_config_init(&config, sizeof config));
    config.vocab_size = VOCAB;
    config.context_length = 4;
    config.hidden_size = config.intermediate_size = 2;
    config.num_layers = config.num_heads = 1;
    FUZZ_OK(rlhf_model_create(fuzz_context(), &config, 1, &model));
    FUZZ_OK(rlhf_dataset_options_init(&rows, sizeof rows));
    FUZZ_OK(rlhf_dataset_create(fuzz_context(), &rows, &dataset));
    FUZZ_OK(rlhf_dataset_append(dataset, &row));
    FUZZ_OK(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 1;
    FUZZ_OK(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    FUZZ_OK(rlhf_lm_trainer_step(trainer, NULL));
}

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(1 << 16);

    FUZZ_REQUIRE(file && bytes, "%s", path);
    *size = fread(bytes, 1, 1 << 16, file);
    fclose(file);
    return bytes;
}

static void write_seed(const char *path)
{
    size_t sizes[2];

    FUZZ_OK(rlhf_lm_trainer_save(trainer, fuzz_path("seed")));
    uint8_t *json = read_file(fuzz_path("seed/state.json"), &sizes[0]);
    uint8_t *tensors = read_file(fuzz_path("seed/state.safetensors"), &sizes[1]);
    const uint8_t head[5] = {1, (uint8_t)sizes[0], (uint8_t)(sizes[0] >> 8), 0, 0};
    FILE *file = fopen(path, "wb");
    FUZZ_REQUIRE(file && fwrite(head, 1, 5, file) == 5, "%s", path);
    FUZZ_REQUIRE(fwrite(json, 1, sizes[0], file) == sizes[0], "%s", path);
    FUZZ_REQUIRE(fwrite(tensors, 1, sizes[1], file) == sizes[1], "%s", path);
    FUZZ_REQUIRE(fclose(file) == 0, "%s", path);
    free(json);
    free(tensors);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    make_trainer();
    if (getenv("FUZZ_STATE_SEED"))
        write_seed(getenv("FUZZ_STATE_SEED"));
    FUZZ_OK(rlhf_lm_trainer_save(trainer, fuzz_path("state")));
    return 0;
}

static rlhf_status hash_value(void *arg, const char *key, rlhf__json *value)
{
    rlhf__state_hash_value(arg, key, rlhf__json_string(value, ""));
    return RLHF_OK;
}

static void set_hash(rlhf__json *document, const char *key, const rlhf__sha256 *hash)
{
    rlhf__sha256 copy = *hash;
    char hex[65];

    rlhf__sha256_hex(&copy, hex);
    FUZZ_OK(rlhf__json_set(document, key, rlhf__json_new_string(hex, 64)));
}

/* state.json with checksums that are right for it and the tensors; false: not JSON. */
static bool repair(const uint8_t *json, size_t json_size, const uint8_t *tensors,
                   size_t tensors_size, rlhf__buffer *out)
{
    rlhf__json *document = NULL;
    rlhf__sha256 hash;

    if (rlhf__json_parse(fuzz_context(), (const char *)json, (int64_t)json_size, "json",
                         1, &document) != RLHF_OK)
        return false;
    const bool object = rlhf__json_is_object(document);
    if (object) {
        rlhf__sha256_init(&hash);
        rlhf__sha256_update(&hash, tensors, tensors_size);
        set_hash(document, "tensors_sha256", &hash);
        FUZZ_OK(rlhf__json_set(document, "tensors_size",
                               rlhf__json_new_i64((int64_t)tensors_size)));
        rlhf__sha256_init(&hash);
        FUZZ_OK(rlhf__json_each(rlhf__json_get(document, "values"), hash_value, &hash));
        set_hash(document, "values_sha256", &hash);
        FUZZ_OK(rlhf__json_dump(document, 0, out));
    }
    rlhf__json_free(document);
    return object;
}

static size_t read_model(float *values)
{
    int64_t at = 0;

    for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        FUZZ_OK(rlhf_model_parameter_info(model, i, &info));
        FUZZ_REQUIRE(at + info.rows * info.cols <= MAX_PARAMETERS, "a big model");
        FUZZ_OK(rlhf_model_parameter_read(model, info.name, values + at,
                                          info.rows * info.cols));
        at += info.rows * info.cols;
    }
    return (size_t)at * sizeof *values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float before[MAX_PARAMETERS], after[MAX_PARAMETERS];
    rlhf__buffer text = {.context = fuzz_context()};

    fuzz_taken = false;
    if (size < 5)
        return 0;
    size_t json_size = (size_t)data[1] | (size_t)data[2] << 8;
    json_size = json_size < size - 5 ? json_size : size - 5;
    const uint8_t *json = data + 5, *tensors = json + json_size;
    const size_t tensors_size = size - 5 - json_size;
    const int64_t steps = rlhf_lm_trainer_num_steps(trainer);
    const size_t bytes = read_model(before);
    if ((data[0] & 1) && repair(json, json_size, tensors, tensors_size, &text))
        fuzz_write("state/state.json", text.data, (size_t)text.size);
    else
        fuzz_write("state/state.json", json, json_size);
    fuzz_write("state/state.safetensors", tensors, tensors_size);
    rlhf__buffer_free(&text);
    fuzz_taken = fuzz_check(rlhf_lm_trainer_resume(trainer, fuzz_path("state")));
    FUZZ_REQUIRE(read_model(after) == bytes, "another model");
    if (!fuzz_taken) {
        FUZZ_REQUIRE(memcmp(before, after, bytes) == 0,
                     "a refused state changed weights");
        FUZZ_REQUIRE(rlhf_lm_trainer_num_steps(trainer) == steps, "and the step");
        return 0;
    }
    FUZZ_OK(rlhf_lm_trainer_save(trainer, fuzz_path("taken")));
    FUZZ_OK(rlhf_lm_trainer_resume(trainer, fuzz_path("taken")));
    FUZZ_REQUIRE(read_model(before) == bytes && memcmp(before, after, bytes) == 0,
                 "saved and taken again: other weights");
    return 0;
}
