/* Models whose weights stay in their files: the same bits as models that were read, less
 * memory, and files that stay as they are whatever is done to the model; folders that are
 * written anew, lost or broken. */
#include "api_support.h"
#include "test_files.h"

#include <math.h>
#include <stdbool.h>

enum kind { LLAMA, GPT2, REWARD, KINDS };

typedef struct fixture {
    char folder[TEST_PATH];
    char model[KINDS][2 * TEST_PATH];
} fixture;

static rlhf_context *make_context(int32_t map_weights, failing_allocator *memory)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;
    rlhf_allocator hooks;

    support_options(&options, 2);
    options.map_weights = map_weights;
    if (memory) {
        hooks = failing_hooks(memory);
        options.allocator = &hooks;
    }
    assert_ok(rlhf_context_create(&options, &context));
    return context;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    rlhf_context *context = make_context(0, NULL);
    rlhf_model_config gpt2 = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;
    rlhf_reward_model *reward;

    test_folder_make(f->folder);
    for (int kind = 0; kind < KINDS; kind++)
        snprintf(f->model[kind], sizeof f->model[kind], "%s/%d", f->folder, kind);
    model = tiny_model(context, VOCAB, LENGTH, 7);
    assert_ok(rlhf_model_save(model, f->model[LLAMA]));
    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_model_save(reward, f->model[REWARD]));
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    make_gpt2_like(&gpt2);
    assert_ok(rlhf_model_create(context, &gpt2, 8, &model));
    assert_ok(rlhf_model_save(model, f->model[GPT2]));
    rlhf_model_free(model);
    rlhf_context_free(context);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static rlhf_model *load(rlhf_context *context, const fixture *f, enum kind kind)
{
    rlhf_model *model;

    assert_ok(rlhf_model_load(context, f->model[kind], &model));
    return model;
}

static int64_t weights(rlhf_context *context)
{
    rlhf_memory_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_context_memory(context, &info));
    return info.now[RLHF_MEMORY_WEIGHTS];
}

/* The bytes of a folder's weights, to be held against what is there later. */
typedef struct file_bytes {
    const char *folder;
    char *bytes;
    size_t size;
} file_bytes;

static file_bytes remember(const char *folder)
{
    file_bytes file = {.folder = folder};

    file.bytes = test_read(test_join(folder, "model.safetensors"), &file.size);
    assert_non_null(file.bytes);
    return file;
}

static void assert_unchanged(file_bytes *file)
{
    file_bytes now = remember(file->folder);

    assert_int_equal(now.size, file->size);
    assert_memory_equal(now.bytes, file->bytes, now.size);
    free(now.bytes);
    free(file->bytes);
}

static void assert_same_logits(rlhf_model *a, rlhf_model *b)
{
    const int32_t tokens[7] = {3, 1, 4, 1, 5, 9, 2};
    const int64_t ends[3] = {0, 5, 7};
    float x[7 * VOCAB], y[7 * VOCAB];

    assert_ok(rlhf_model_logits(a, tokens, ends, 2, x));
    assert_ok(rlhf_model_logits(b, tokens, ends, 2, y));
    assert_memory_equal(x, y, sizeof x);
}

/* --- reading ------------------------------------------------------------------------ */

static void test_mapped_model_is_the_model_that_is_read(void **state)
{
    const fixture *f = *state;

    for (enum kind kind = LLAMA; kind <= GPT2; kind++) {
        rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
        rlhf_model *owned = load(owning, f, kind), *mapped = load(mapping, f, kind);
        assert_same_model(owned, mapped);
        assert_same_logits(owned, mapped);
        rlhf_model_free(owned);
        rlhf_model_free(mapped);
        rlhf_context_free(owning);
        rlhf_context_free(mapping);
    }
}

/* A folder that the library wrote holds a Llama's matrices as the network does: what is
 * left in memory is its tables of angles. Of a GPT-2 the linear weights are turned. */
static void test_mapped_weights_take_no_memory(void **state)
{
    const fixture *f = *state;
    const int64_t angles = 2 * 4 * LENGTH * (16 / 2 / 2); /* cos and sin */

    for (enum kind kind = LLAMA; kind <= GPT2; kind++) {
        rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
        rlhf_model *owned = load(owning, f, kind), *mapped = load(mapping, f, kind);
        assert_true(weights(owning) >= 4 * rlhf_model_num_parameters(owned));
        if (kind == LLAMA)
            assert_in_range(weights(mapping), angles, angles + 3 * 128);
        else
            assert_true(weights(mapping) < weights(owning) &&
                        weights(mapping) > weights(owning) / 2);
        rlhf_model_free(owned);
        rlhf_model_free(mapped);
        assert_int_equal(weights(mapping), 0);
        rlhf_context_free(owning);
        rlhf_context_free(mapping);
    }
}

static void test_mapped_reward_model_scores_alike(void **state)
{
    const fixture *f = *state;
    rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
    rlhf_reward_model *owned, *mapped;
    const int32_t tokens[5] = {3, 1, 4, 1, 5};
    const int64_t ends[3] = {0, 3, 5};
    float x[2], y[2];

    assert_ok(rlhf_reward_model_load(owning, f->model[REWARD], &owned));
    assert_ok(rlhf_reward_model_load(mapping, f->model[REWARD], &mapped));
    assert_same_reward(owned, mapped);
    assert_ok(rlhf_reward_model_score(owned, tokens, ends, 2, x));
    assert_ok(rlhf_reward_model_score(mapped, tokens, ends, 2, y));
    assert_memory_equal(x, y, sizeof x);
    assert_true(weights(mapping) < weights(owning) / 2);
    rlhf_reward_model_free(owned);
    rlhf_reward_model_free(mapped);
    rlhf_context_free(owning);
    rlhf_context_free(mapping);
}

/* --- writing ------------------------------------------------------------------------ */

static void train(rlhf_context *context, rlhf_model *model)
{
    rlhf_dataset *dataset = repeated_rows(context, 4, 20);
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    for (int i = 0; i < 2; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
}

static void test_training_a_mapped_model_leaves_its_file(void **state)
{
    const fixture *f = *state;

    for (enum kind kind = LLAMA; kind <= GPT2; kind++) {
        rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
        rlhf_model *owned = load(owning, f, kind), *mapped = load(mapping, f, kind);
        rlhf_model *untouched = load(mapping, f, kind);
        file_bytes file = remember(f->model[kind]);
        train(owning, owned);
        train(mapping, mapped);
        assert_same_model(owned, mapped);
        assert_unchanged(&file);
        rlhf_model_free(owned);
        owned = load(owning, f, kind);
        assert_same_model(owned, untouched);
        rlhf_model_free(owned);
        rlhf_model_free(mapped);
        rlhf_model_free(untouched);
        rlhf_context_free(owning);
        rlhf_context_free(mapping);
    }
}

static void test_parameter_of_a_mapped_model_is_written_to_a_copy(void **state)
{
    const fixture *f = *state;
    rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
    rlhf_model *owned = load(owning, f, LLAMA), *mapped = load(mapping, f, LLAMA);
    file_bytes file = remember(f->model[LLAMA]);
    float values[16];

    for (int i = 0; i < 16; i++)
        values[i] = (float)i;
    assert_ok(rlhf_model_parameter_write(owned, "model.norm.weight", values, 16));
    assert_ok(rlhf_model_parameter_write(mapped, "model.norm.weight", values, 16));
    assert_same_model(owned, mapped);
    assert_same_logits(owned, mapped);
    assert_true(weights(mapping) == weights(owning)); /* all of it is its own now */
    assert_unchanged(&file);
    rlhf_model_free(owned);
    rlhf_model_free(mapped);
    rlhf_context_free(owning);
    rlhf_context_free(mapping);
}

static void test_clone_of_a_mapped_model_outlives_it(void **state)
{
    const fixture *f = *state;
    rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
    rlhf_model *owned = load(owning, f, LLAMA), *mapped = load(mapping, f, LLAMA), *copy;

    assert_ok(rlhf_model_clone(mapped, &copy));
    rlhf_model_free(mapped);
    assert_same_model(owned, copy);
    rlhf_model_free(copy);
    rlhf_model_free(owned);
    rlhf_context_free(owning);
    rlhf_context_free(mapping);
}

/* --- folders ------------------------------------------------------------------------ */

/* Saving commits a new file; the model keeps the old one. */
static void test_mapped_model_outlives_its_folder(void **state)
{
    const fixture *f = *state;
    rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, NULL);
    rlhf_model *owned = load(owning, f, LLAMA), *mapped = load(mapping, f, LLAMA);
    file_bytes file = remember(f->model[LLAMA]);

    assert_ok(rlhf_model_save(mapped, f->model[LLAMA]));
    assert_unchanged(&file); /* the same bytes once more */
    test_folder_remove(f->model[LLAMA]);
    assert_same_model(owned, mapped);
    assert_ok(rlhf_model_save(mapped, f->model[LLAMA]));
    rlhf_model_free(mapped);
    mapped = load(mapping, f, LLAMA);
    assert_same_model(owned, mapped);
    rlhf_model_free(mapped);
    rlhf_model_free(owned);
    rlhf_context_free(owning);
    rlhf_context_free(mapping);
}

/* Reading such a file by its header would end the process. */
static void test_file_shorter_than_its_header_says_is_not_mapped(void **state)
{
    const fixture *f = *state;
    const char *path = test_join(f->model[LLAMA], "model.safetensors");
    rlhf_context *mapping = make_context(1, NULL);
    rlhf_model *model;
    size_t size = 0;

    free(test_read(path, &size));
    for (size_t cut = 4; cut < size; cut = 3 * cut + 5) {
        assert_int_equal(truncate(path, (off_t)(size - cut)), 0);
        assert_fails(rlhf_model_load(mapping, f->model[LLAMA], &model), RLHF_ERR_FORMAT,
                     path);
        assert_null(model);
    }
    assert_int_equal(truncate(path, 0), 0);
    assert_fails(rlhf_model_load(mapping, f->model[LLAMA], &model), RLHF_ERR_FORMAT,
                 "0 bytes are too few");
    rlhf_context_free(mapping);
}

static void test_mapped_value_that_is_not_finite_is_named(void **state)
{
    const fixture *f = *state;
    rlhf_context *mapping = make_context(1, NULL);
    file_bytes file = remember(f->model[LLAMA]);
    const float nan_value = NAN;
    rlhf_model *model;

    memcpy(file.bytes + file.size - 4, &nan_value, 4);
    test_write(test_join(f->model[LLAMA], "model.safetensors"), file.bytes, file.size);
    assert_fails(rlhf_model_load(mapping, f->model[LLAMA], &model), RLHF_ERR_NUMERIC,
                 "element 15 is nan");
    assert_int_equal(weights(mapping), 0);
    free(file.bytes);
    rlhf_context_free(mapping);
}

/* --- memory ------------------------------------------------------------------------- */

static void test_no_memory_for_a_mapped_model_is_told(void **state)
{
    const fixture *f = *state;
    failing_allocator memory = {0, -1, 0, 0};
    rlhf_context *mapping = make_context(1, &memory);
    const int64_t live = memory.live;

    for (enum kind kind = LLAMA; kind <= GPT2; kind++)
        for (int64_t failures = 0;; failures++) {
            rlhf_model *model;
            memory.count = 0;
            memory.fail_at = failures;
            const rlhf_status status = rlhf_model_load(mapping, f->model[kind], &model);
            memory.fail_at = -1;
            rlhf_model_free(model);
            assert_int_equal(memory.live, live);
            if (status == RLHF_OK)
                break;
            assert_int_equal(status, RLHF_ERR_NO_MEMORY);
        }
    rlhf_context_free(mapping);
}

/* The model stays mapped, and as good as it was. */
static void test_no_memory_to_own_mapped_weights_is_told(void **state)
{
    const fixture *f = *state;
    failing_allocator memory = {0, -1, 0, 0};
    rlhf_context *owning = make_context(0, NULL), *mapping = make_context(1, &memory);
    rlhf_model *owned = load(owning, f, LLAMA), *mapped = load(mapping, f, LLAMA);
    rlhf_dataset *dataset = repeated_rows(mapping, 4, 20);
    const int64_t before = weights(mapping);
    const float values[16] = {1};
    rlhf_lm_trainer *trainer = NULL;
    int64_t refused = 0;

    memory.count = 0;
    memory.fail_at = 0;
    assert_fails(rlhf_model_parameter_write(mapped, "model.norm.weight", values, 16),
                 RLHF_ERR_NO_MEMORY, "memory");
    assert_int_equal(weights(mapping), before);
    assert_same_model(owned, mapped);
    for (;; refused++) {
        memory.count = 0;
        memory.fail_at = refused;
        const rlhf_status status =
            rlhf_lm_trainer_create(mapped, dataset, NULL, &trainer);
        memory.fail_at = -1;
        assert_same_model(owned, mapped);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_ERR_NO_MEMORY);
    }
    assert_true(refused >= 4); /* weights, gradient and two moments among them */
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(mapped);
    rlhf_model_free(owned);
    rlhf_context_free(owning);
    rlhf_context_free(mapping);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_mapped_model_is_the_model_that_is_read),
        TEST(test_mapped_weights_take_no_memory),
        TEST(test_mapped_reward_model_scores_alike),
        TEST(test_training_a_mapped_model_leaves_its_file),
        TEST(test_parameter_of_a_mapped_model_is_written_to_a_copy),
        TEST(test_clone_of_a_mapped_model_outlives_it),
        TEST(test_mapped_model_outlives_its_folder),
        TEST(test_file_shorter_than_its_header_says_is_not_mapped),
        TEST(test_mapped_value_that_is_not_finite_is_named),
        TEST(test_no_memory_for_a_mapped_model_is_told),
        TEST(test_no_memory_to_own_mapped_weights_is_told),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
