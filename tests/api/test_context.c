/* The context as a host meets it: its options, memory hooks, log and progress. */
#include "api_support.h"

#include <pthread.h>

#include "test_files.h"

enum { MAX_BLOCKS = 4096 };

/* --- memory ------------------------------------------------------------------------- */

typedef struct block {
    void *ptr;
    size_t size, alignment;
    int32_t kind;
} block;

/* Every block that is out, so that free can be held against alloc. */
typedef struct recorder {
    block blocks[MAX_BLOCKS];
    int64_t count, allocations, large, bytes[RLHF_MEMORY_KIND_COUNT];
    pthread_t caller;
    int faults; /* calls that broke the contract */
} recorder;

static void *recorder_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    recorder *r = user_data;
    const int power = alignment != 0 && (alignment & (alignment - 1)) == 0;

    if (size == 0 || !power || kind < 0 || kind >= RLHF_MEMORY_KIND_COUNT ||
        r->count == MAX_BLOCKS || !pthread_equal(r->caller, pthread_self())) {
        r->faults++;
        return NULL;
    }
    void *ptr = NULL;
    if (posix_memalign(&ptr, alignment < sizeof(void *) ? sizeof(void *) : alignment,
                       size))
        return NULL;
    memset(ptr, 0xa5, size); /* nobody may count on zeros */
    r->blocks[r->count++] = (block){ptr, size, alignment, kind};
    r->allocations++;
    r->large += kind != RLHF_MEMORY_GENERAL || size >= 4096;
    r->bytes[kind] += (int64_t)size;
    return ptr;
}

static void recorder_free(void *user_data, void *ptr, size_t size, size_t alignment,
                          int32_t kind)
{
    recorder *r = user_data;

    for (int64_t i = 0; i < r->count; i++) {
        const block b = r->blocks[i];
        if (b.ptr != ptr)
            continue;
        r->faults += b.size != size || b.alignment != alignment || b.kind != kind ||
                     !pthread_equal(r->caller, pthread_self());
        r->blocks[i] = r->blocks[--r->count];
        r->bytes[kind] -= (int64_t)size;
        free(ptr);
        return;
    }
    r->faults++;
}

static rlhf_context *recorded_context(recorder *r)
{
    rlhf_allocator hooks = {sizeof hooks, recorder_alloc, recorder_free, r};
    rlhf_context_options options;
    rlhf_context *context;

    memset(r, 0, sizeof *r);
    r->caller = pthread_self();
    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 2;
    options.allocator = &hooks;
    assert_ok(rlhf_context_create(&options, &context));
    memset(&hooks, 0, sizeof hooks); /* it was copied */
    return context;
}

static void assert_figures_match(rlhf_context *context, const recorder *r)
{
    rlhf_memory_info info = {.struct_size = sizeof info};
    int64_t total = 0;

    assert_ok(rlhf_context_memory(context, &info));
    for (int kind = 0; kind < RLHF_MEMORY_KIND_COUNT; kind++) {
        if (kind !=
            RLHF_MEMORY_GENERAL) /* the context itself is not in its own figures */
            assert_int_equal(info.now[kind], r->bytes[kind]);
        assert_true(info.now[kind] <= info.peak[kind]);
        total += info.now[kind];
    }
    assert_true(info.now[RLHF_MEMORY_GENERAL] <= r->bytes[RLHF_MEMORY_GENERAL]);
    assert_true(r->bytes[RLHF_MEMORY_GENERAL] - info.now[RLHF_MEMORY_GENERAL] < 4096);
    assert_int_equal(info.total_now, total);
    assert_true(info.total_peak >= total);
    assert_in_range(r->allocations - info.allocations, 0, 1);
}

static void test_allocator_hooks_get_matching_calls(void **state)
{
    (void)state;
    static recorder r;
    rlhf_context *context = recorded_context(&r);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = repeated_rows(context, 4, 10);
    const int32_t prompt[3] = {2, 3, 4};
    const int64_t cu_seqlens[2] = {0, 3};
    rlhf_generator *generator;
    rlhf_lm_trainer *trainer;

    const int64_t values = rlhf_model_num_parameters(model) * (int64_t)sizeof(float);
    assert_true(r.bytes[RLHF_MEMORY_WEIGHTS] >= values);
    assert_true(r.bytes[RLHF_MEMORY_WEIGHTS] < 2 * values);
    assert_int_equal(r.bytes[RLHF_MEMORY_KV_CACHE], 0);
    assert_ok(rlhf_generator_create(model, NULL, NULL, &generator));
    assert_ok(rlhf_generator_start(generator, prompt, cu_seqlens, 1, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_true(r.bytes[RLHF_MEMORY_KV_CACHE] > 0);
    assert_true(r.bytes[RLHF_MEMORY_PACKED] > 0);
    assert_figures_match(context, &r);
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_true(r.bytes[RLHF_MEMORY_GRADIENTS] >= values);
    assert_true(r.bytes[RLHF_MEMORY_MOMENTS] >= 2 * values);
    assert_true(r.bytes[RLHF_MEMORY_ACTIVATIONS] > 0);
    assert_figures_match(context, &r);
    rlhf_context_free(context); /* first: the others keep what they need */
    rlhf_generator_free(generator);
    rlhf_model_free(model);
    rlhf_dataset_free(dataset);
    rlhf_lm_trainer_free(trainer);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.count, 0);
}

/* Arenas, weights, gradients and packs stay; the list of a step's rows is small and new.
 */
static void test_steps_repeated_take_no_new_arena(void **state)
{
    (void)state;
    static recorder r;
    rlhf_context *context = recorded_context(&r);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = repeated_rows(context, 4, 10);
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    const int64_t before = r.large;
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_int_equal(r.large, before);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
    assert_int_equal(r.count, 0);
}

static void test_context_refuses_bad_options(void **state)
{
    (void)state;
    rlhf_allocator hooks = {sizeof hooks, NULL, recorder_free, NULL};
    rlhf_context_options options;
    rlhf_context *context;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.allocator = &hooks;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "rlhf_allocator.alloc is NULL");
    hooks.alloc = recorder_alloc;
    hooks.free = NULL;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "rlhf_allocator.free is NULL");
    options.allocator = NULL;
    options.num_threads = 257;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "num_threads must be <= 256, got 257");
    options.num_threads = 3;
    options.cpu_level = 99;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "cpu_level has no value 99");
    options.cpu_level = RLHF_CPU_PORTABLE;
    options.dtype = 2;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "dtype has no value 2");
    assert_null(context);
    options.dtype = RLHF_DTYPE_BF16;
    assert_ok(rlhf_context_create(&options, &context));
    assert_int_equal(rlhf_context_num_threads(context), 3);
    assert_int_equal(rlhf_context_cpu_level(context), RLHF_CPU_PORTABLE);
    assert_int_equal(rlhf_context_dtype(context), RLHF_DTYPE_BF16);
    rlhf_context_free(context);
    options.num_threads = 0;
    options.dtype = RLHF_DTYPE_FP32;
    options.cpu_level = RLHF_CPU_AUTO;
    assert_ok(rlhf_context_create(&options, &context));
    assert_true(rlhf_context_num_threads(context) >= 1);
    assert_true(rlhf_context_cpu_level(context) > RLHF_CPU_AUTO);
    assert_int_equal(rlhf_context_dtype(context), RLHF_DTYPE_FP32);
    rlhf_context_free(context);
}

/* --- callbacks ---------------------------------------------------------------------- */

typedef struct listener {
    rlhf_context *context;
    rlhf_model *model;
    int32_t lowest;   /* log level seen */
    int lines, calls; /* of log, of progress */
    char words[1024]; /* the last line of log */
    char stage[32];
    int64_t done, total;
    int faults;
    int cancel_after;     /* progress calls; 0: never */
    rlhf_status re_entry; /* what a call on the context gave from within */
} listener;

static void on_log(void *user_data, int32_t level, const char *message)
{
    listener *l = user_data;

    if (l->lines++ == 0 || level < l->lowest)
        l->lowest = level;
    l->faults += strchr(message, '\n') != NULL || !*message;
    snprintf(l->words, sizeof l->words, "%s", message);
}

static void on_progress(void *user_data, const char *stage, int64_t done, int64_t total)
{
    listener *l = user_data;

    if (strcmp(l->stage, stage) == 0 && total == l->total)
        l->faults += done < l->done;
    l->faults += done < 0 || (total > 0 && done > total);
    snprintf(l->stage, sizeof l->stage, "%s", stage);
    l->done = done;
    l->total = total;
    l->calls++;
    if (l->model) {
        rlhf_model *copy;
        l->re_entry = rlhf_model_clone(l->model, &copy);
        l->faults += copy != NULL;
    }
    if (l->cancel_after && l->calls >= l->cancel_after)
        rlhf_context_cancel(l->context);
}

static rlhf_context *listened_context(listener *l, int32_t log_level, int32_t cpu_level)
{
    rlhf_context_options options;

    memset(l, 0, sizeof *l);
    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 1;
    options.cpu_level = cpu_level;
    options.log_level = log_level;
    options.log = on_log;
    options.log_user_data = l;
    options.progress = on_progress;
    options.progress_user_data = l;
    assert_ok(rlhf_context_create(&options, &l->context));
    return l->context;
}

/* Reading a model that was trained with dropout says so at INFO. */
static int log_lines_of_dropout(int32_t level, listener *l)
{
    rlhf_context *context = listened_context(l, level, RLHF_CPU_AUTO);
    char folder[TEST_PATH];
    rlhf_model_config config;
    rlhf_model *model;

    test_folder_make(folder);
    assert_ok(rlhf_model_config_init(&config, sizeof config));
    config.vocab_size = VOCAB;
    config.hidden_size = 8;
    config.num_layers = 1;
    config.num_heads = 2;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    assert_ok(rlhf_model_save(model, folder));
    rlhf_model_free(model);
    const char *path = test_join(folder, "config.json");
    char *text = test_read(path, NULL),
         *found = text ? strstr(text, "\"resid_pdrop\": 0") : NULL;
    assert_non_null(found);
    found[strlen("\"resid_pdrop\": ")] = '1';
    test_write(path, text, strlen(text));
    free(text);
    l->lines = 0;
    assert_ok(rlhf_model_load(context, folder, &model));
    rlhf_model_free(model);
    rlhf_context_free(context);
    test_folder_remove(folder);
    return l->lines;
}

static void test_log_passes_lines_of_the_level_asked_for(void **state)
{
    (void)state;
    listener l;

    assert_true(log_lines_of_dropout(RLHF_LOG_INFO, &l) >= 1);
    assert_non_null(strstr(l.words, "resid_pdrop"));
    assert_int_equal(l.lowest, RLHF_LOG_INFO);
    assert_int_equal(l.faults, 0);
    assert_int_equal(log_lines_of_dropout(RLHF_LOG_WARNING, &l), 0);
    assert_int_equal(log_lines_of_dropout(RLHF_LOG_OFF, &l), 0);
}

static void test_progress_counts_up_to_the_end(void **state)
{
    (void)state;
    listener l;
    rlhf_context *context = listened_context(&l, RLHF_LOG_OFF, RLHF_CPU_AUTO);
    const char *text = "the cat sat on the mat, the dog on the log";
    const size_t size = strlen(text);
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 262;
    assert_ok(rlhf_tokenizer_train(context, &text, &size, 1, &options, &tokenizer));
    assert_true(l.calls > 0);
    assert_string_equal(l.stage, "tokenizer");
    assert_int_equal(l.done, l.total);
    assert_int_equal(l.faults, 0);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
}

/* A host that polls in its progress callback need not wait for the end of a micro-batch.
 */
static void test_progress_comes_within_a_micro_batch(void **state)
{
    (void)state;
    listener l;
    rlhf_context *context = listened_context(&l, RLHF_LOG_OFF, RLHF_CPU_PORTABLE);
    long_step s = make_long_step(context);
    int64_t remaining = -1;

    l.calls = 0;
    l.cancel_after =
        3; /* a single micro-batch has one call before it, and one after it */
    assert_fails(rlhf_lm_trainer_accumulate(s.trainer, &remaining), RLHF_ERR_CANCELLED,
                 "cancelled by rlhf_context_cancel");
    assert_string_equal(l.stage, "train");
    assert_int_equal(l.calls, 3);
    assert_int_equal(l.done, 0);
    assert_int_equal(l.faults, 0);
    l.cancel_after = 0;
    assert_ok(rlhf_lm_trainer_accumulate(s.trainer, &remaining)); /* it goes on */
    assert_int_equal(remaining, 0);
    free_long_step(&s);
    rlhf_context_free(context);
}

static void test_callback_that_calls_back_is_busy(void **state)
{
    (void)state;
    listener l;
    rlhf_context *context = listened_context(&l, RLHF_LOG_OFF, RLHF_CPU_AUTO);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = repeated_rows(context, 2, 6);
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    l.model = model;
    l.calls = 0;
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_true(l.calls > 0);
    assert_int_equal(l.re_entry, RLHF_ERR_BUSY);
    assert_int_equal(l.faults, 0);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocator_hooks_get_matching_calls),
        cmocka_unit_test(test_steps_repeated_take_no_new_arena),
        cmocka_unit_test(test_context_refuses_bad_options),
        cmocka_unit_test(test_log_passes_lines_of_the_level_asked_for),
        cmocka_unit_test(test_progress_counts_up_to_the_end),
        cmocka_unit_test(test_progress_comes_within_a_micro_batch),
        cmocka_unit_test(test_callback_that_calls_back_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
