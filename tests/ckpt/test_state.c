/* Saved state: every bit comes back, and nothing that is not whole is taken. */
#include "test_files.h"

#include <float.h>
#include <math.h>

#include "base/context.h"
#include "ckpt/state.h"

typedef struct fixture {
    rlhf_context *context;
    char folder[TEST_PATH];
    char path[TEST_PATH + 8];
    char log[4096];
} fixture;

static void keep_log(void *user_data, int32_t level, const char *message)
{
    fixture *f = user_data;

    if (level == RLHF_LOG_WARNING)
        strncat(f->log, message, sizeof f->log - strlen(f->log) - 1);
}

static void make_context(fixture *f, int32_t level)
{
    rlhf_context_options options;

    assert_int_equal(rlhf_context_options_init(&options, sizeof options), RLHF_OK);
    options.cpu_level = level;
    options.num_threads = 1;
    options.log = keep_log;
    options.log_user_data = f;
    assert_int_equal(rlhf_context_create(&options, &f->context), RLHF_OK);
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    make_context(f, RLHF_CPU_PORTABLE);
    test_folder_make(f->folder);
    snprintf(f->path, sizeof f->path, "%s/state", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    test_folder_remove(f->folder);
    rlhf_context_free(f->context);
    free(f);
    return 0;
}

static const float floats[5] = {1.5f, -0.0f, NAN, -INFINITY, 0x1p-149f};
static const int64_t longs[2] = {INT64_MIN, INT64_MAX};
static const int32_t ints[3] = {-1, 0, INT32_MAX};
static const uint8_t octets[4] = {0, 1, 254, 255};

static rlhf_status save(const fixture *f, int64_t step)
{
    rlhf__state_writer *writer = NULL;
    rlhf_status status;

    assert_int_equal(rlhf__state_writer_create(f->context, "ppo", &writer), RLHF_OK);
    assert_int_equal(rlhf__state_put_i64(writer, "step", step), RLHF_OK);
    assert_int_equal(rlhf__state_put_i64(writer, "least", INT64_MIN), RLHF_OK);
    assert_int_equal(rlhf__state_put_u64(writer, "seed", UINT64_MAX), RLHF_OK);
    assert_int_equal(rlhf__state_put_f64(writer, "beta", 0.1), RLHF_OK);
    assert_int_equal(rlhf__state_put_f64(writer, "minus_zero", -0.0), RLHF_OK);
    assert_int_equal(rlhf__state_put_f64(writer, "infinity", INFINITY), RLHF_OK);
    assert_int_equal(rlhf__state_put_f64(writer, "negative", -0.5), RLHF_OK);
    assert_int_equal(rlhf__state_put_bytes(writer, "position", "a\0\xff", 3), RLHF_OK);
    assert_int_equal(rlhf__state_put_bytes(writer, "nothing", NULL, 0), RLHF_OK);
    assert_int_equal(rlhf__state_put_array(writer, "floats", RLHF__STATE_F32, floats, 5),
                     RLHF_OK);
    assert_int_equal(rlhf__state_put_array(writer, "octets", RLHF__STATE_U8, octets, 4),
                     RLHF_OK);
    assert_int_equal(rlhf__state_put_array(writer, "longs", RLHF__STATE_I64, longs, 2),
                     RLHF_OK);
    assert_int_equal(rlhf__state_put_array(writer, "ints", RLHF__STATE_I32, ints, 3),
                     RLHF_OK);
    assert_int_equal(rlhf__state_put_array(writer, "none", RLHF__STATE_F32, NULL, 0),
                     RLHF_OK);
    assert_int_equal(rlhf__state_put_i64(writer, "step", 0), RLHF_ERR_INTERNAL);
    assert_int_equal(rlhf__state_put_array(writer, "beta", RLHF__STATE_U8, octets, 1),
                     RLHF_ERR_INTERNAL);
    status = rlhf__state_writer_commit(writer, f->path);
    rlhf__state_writer_free(writer);
    return status;
}

static void expect_refusal(const fixture *f, const char *kind, rlhf_status status,
                           const char *words)
{
    rlhf__state_reader *reader = NULL;
    rlhf_status got = rlhf__state_reader_open(f->context, f->path, kind, &reader);

    assert_null(reader);
    if (got != status || !strstr(rlhf_last_error_message(), words))
        fail_msg("expected %s with \"%s\", got %s: %s", rlhf_status_name(status), words,
                 rlhf_status_name(got), rlhf_last_error_message());
}

static void test_state_round_trips_bits(void **state)
{
    fixture *f = *state;
    rlhf__state_reader *reader = NULL;
    const void *bytes = NULL;
    int64_t i = 0, size = -1;
    uint64_t u = 0;
    double d = 0;

    assert_int_equal(save(f, 7), RLHF_OK);
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "ppo", &reader),
                     RLHF_OK);
    assert_string_equal(f->log, "");
    assert_int_equal(rlhf__state_version(reader), RLHF__STATE_FORMAT);
    assert_int_equal(rlhf__state_get_i64(reader, "step", &i), RLHF_OK);
    assert_int_equal(i, 7);
    assert_int_equal(rlhf__state_get_i64(reader, "least", &i), RLHF_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(rlhf__state_get_u64(reader, "seed", &u), RLHF_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(rlhf__state_get_f64(reader, "beta", &d), RLHF_OK);
    assert_true(d == 0.1);
    assert_int_equal(rlhf__state_get_f64(reader, "minus_zero", &d), RLHF_OK);
    assert_true(d == 0 && signbit(d));
    assert_int_equal(rlhf__state_get_f64(reader, "infinity", &d), RLHF_OK);
    assert_true(isinf(d));
    assert_int_equal(rlhf__state_get_bytes(reader, "position", &bytes, &size), RLHF_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0\xff", 3);
    assert_int_equal(rlhf__state_get_bytes(reader, "nothing", &bytes, &size), RLHF_OK);
    assert_int_equal(size, 0);
    assert_int_equal(rlhf__state_get_array(reader, "floats", RLHF__STATE_F32, 5, &bytes),
                     RLHF_OK);
    assert_memory_equal(bytes, floats, sizeof floats);
    assert_int_equal((uintptr_t)bytes % 64, 0);
    assert_int_equal(rlhf__state_get_array(reader, "longs", RLHF__STATE_I64, 2, &bytes),
                     RLHF_OK);
    assert_memory_equal(bytes, longs, sizeof longs);
    assert_int_equal(rlhf__state_get_array(reader, "ints", RLHF__STATE_I32, 3, &bytes),
                     RLHF_OK);
    assert_memory_equal(bytes, ints, sizeof ints);
    assert_int_equal(rlhf__state_get_array(reader, "octets", RLHF__STATE_U8, 4, &bytes),
                     RLHF_OK);
    assert_memory_equal(bytes, octets, sizeof octets);
    assert_int_equal(rlhf__state_array_count(reader, "none", RLHF__STATE_F32, &size),
                     RLHF_OK);
    assert_int_equal(size, 0);
    assert_true(rlhf__state_has(reader, "beta") && rlhf__state_has(reader, "none"));
    assert_false(rlhf__state_has(reader, "gamma"));
    rlhf__state_reader_free(reader);
}

static void test_state_getters_name_the_field(void **state)
{
    fixture *f = *state;
    rlhf__state_reader *reader = NULL;
    const void *data = NULL;
    int64_t i = 42;
    double d = 42;

    assert_int_equal(save(f, 7), RLHF_OK);
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "ppo", &reader),
                     RLHF_OK);
    assert_int_equal(rlhf__state_get_i64(reader, "gamma", &i), RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "\"gamma\" is missing"));
    assert_int_equal(rlhf__state_get_f64(reader, "step", &d), RLHF_ERR_FORMAT);
    assert_non_null(
        strstr(rlhf_last_error_message(), "\"step\" is \"i64:7\" where \"f64:\""));
    assert_int_equal(rlhf__state_get_range(reader, "step", 0, 6, &i), RLHF_ERR_FORMAT);
    assert_non_null(
        strstr(rlhf_last_error_message(), "\"step\" must be in [0, 6], got 7"));
    assert_int_equal(rlhf__state_get_real(reader, "infinity", 0, DBL_MAX, &d),
                     RLHF_ERR_FORMAT);
    assert_int_equal(rlhf__state_get_real(reader, "negative", 0, 2, &d), RLHF_ERR_FORMAT);
    assert_non_null(
        strstr(rlhf_last_error_message(), "\"negative\" must be in [0, 2], got -0.5"));
    assert_int_equal(rlhf__state_get_array(reader, "gamma", RLHF__STATE_F32, 5, &data),
                     RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "array \"gamma\" is missing"));
    assert_int_equal(rlhf__state_get_array(reader, "floats", RLHF__STATE_I32, 5, &data),
                     RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "is F32 where I32 is needed"));
    assert_int_equal(rlhf__state_get_array(reader, "floats", RLHF__STATE_F32, 4, &data),
                     RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "5 elements where 4 are needed"));
    assert_true(i == 42 && d == 42 && !data);
    assert_int_equal(rlhf__state_get_real(reader, "beta", 0, 1, &d), RLHF_OK);
    assert_true(d == 0.1);
    rlhf__state_reader_free(reader);
}

/* Replaces the first occurrence of `from` in a file of the state by `to` (same length or
 * not). */
static void edit(const fixture *f, const char *name, const char *from, const char *to)
{
    const char *path = test_join(f->path, name);
    size_t size = 0;
    char *text = test_read(path, &size);
    char *at = strstr(text, from);
    FILE *file = fopen(path, "wb");

    assert_non_null(at);
    fwrite(text, 1, (size_t)(at - text), file);
    fwrite(to, 1, strlen(to), file);
    fwrite(at + strlen(from), 1, size - (size_t)(at - text) - strlen(from), file);
    fclose(file);
    free(text);
}

static void test_state_newer_is_refused(void **state)
{
    fixture *f = *state;

    assert_int_equal(save(f, 7), RLHF_OK);
    edit(f, "state.json", "\"format\": 1", "\"format\": 2");
    expect_refusal(f, "ppo", RLHF_ERR_UNSUPPORTED,
                   "format 2, this library reads up to 1");
    edit(f, "state.json", "\"format\": 2", "\"format\": 0");
    expect_refusal(f, "ppo", RLHF_ERR_FORMAT, "\"format\" is missing or not a version");
}

static void test_state_of_another_kind_is_refused(void **state)
{
    fixture *f = *state;

    assert_int_equal(save(f, 7), RLHF_OK);
    expect_refusal(f, "lm", RLHF_ERR_INVALID_ARG, "kind \"ppo\" where \"lm\" is needed");
    edit(f, "state.json", "float32", "float64");
    expect_refusal(f, "ppo", RLHF_ERR_UNSUPPORTED, "dtype \"float64\"");
}

static void test_state_changed_is_refused(void **state)
{
    fixture *f = *state;
    const char *tensors;
    size_t size = 0;
    char *bytes;

    assert_int_equal(save(f, 7), RLHF_OK);
    edit(f, "state.json", "i64:7", "i64:8");
    expect_refusal(f, "ppo", RLHF_ERR_FORMAT, "the checksum of the values is");
    assert_int_equal(save(f, 7), RLHF_OK);
    tensors = test_join(f->path, "state.safetensors");
    bytes = test_read(tensors, &size);
    bytes[size - 1] ^= 1;
    test_write(tensors, bytes, size);
    expect_refusal(f, "ppo", RLHF_ERR_FORMAT, "state.safetensors: the checksum is");
    bytes[size - 1] ^= 1;
    test_write(tensors, bytes, size - 1);
    expect_refusal(f, "ppo", RLHF_ERR_FORMAT, "cut short or mixed with another save");
    unlink(tensors);
    expect_refusal(f, "ppo", RLHF_ERR_NOT_FOUND, "state.safetensors");
    free(bytes);
}

static void test_state_json_cut_short_is_refused(void **state)
{
    fixture *f = *state;
    const char *path;
    size_t size = 0;
    char *bytes;

    assert_int_equal(save(f, 7), RLHF_OK);
    path = test_join(f->path, "state.json");
    bytes = test_read(path, &size);
    for (size_t cut = 0; cut < size - 2; cut += 1 + cut / 50) {
        test_write(path, bytes, cut);
        expect_refusal(f, "ppo", RLHF_ERR_FORMAT, "state.json");
    }
    unlink(path);
    expect_refusal(f, "ppo", RLHF_ERR_NOT_FOUND, "state.json");
    free(bytes);
}

static void test_state_resumed_elsewhere_warns(void **state)
{
    fixture *f = *state;
    rlhf__state_reader *reader = NULL;

    assert_int_equal(save(f, 7), RLHF_OK);
    edit(f, "state.json", "\"portable\"", "\"avx512\"");
    edit(f, "state.json", rlhf_version(), "9.8.7");
    edit(f, "state.json", "float32", "bfloat16");
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "ppo", &reader),
                     RLHF_OK);
    assert_non_null(
        strstr(f->log, "saved on CPU level avx512, resumed on portable: bits may"));
    assert_non_null(strstr(f->log, "saved by version 9.8.7"));
    assert_non_null(strstr(f->log, "saved with dtype bfloat16, resumed with float32"));
    rlhf__state_reader_free(reader);
}

static void test_state_save_on_full_disk_keeps_the_old(void **state)
{
    fixture *f = *state;
    rlhf__state_reader *reader = NULL;
    rlhf_status status;
    int64_t step = 0;

    assert_int_equal(save(f, 7), RLHF_OK);
    test_limit_file_size(64);
    status = save(f, 8);
    test_limit_file_size(-1);
    assert_int_equal(status, RLHF_ERR_IO);
    assert_non_null(strstr(rlhf_last_error_message(), "state.safetensors"));
    assert_int_equal(test_count_entries(f->folder), 1); /* no leftovers beside it */
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "ppo", &reader),
                     RLHF_OK);
    assert_int_equal(rlhf__state_get_i64(reader, "step", &step), RLHF_OK);
    assert_int_equal(step, 7);
    rlhf__state_reader_free(reader);
}

static void test_state_cancelled_save_keeps_the_old(void **state)
{
    fixture *f = *state;
    rlhf__state_reader *reader = NULL;
    int64_t step = 0;

    assert_int_equal(save(f, 7), RLHF_OK);
    rlhf_context_cancel(f->context);
    assert_int_equal(save(f, 8), RLHF_ERR_CANCELLED);
    assert_int_equal(test_count_entries(f->folder), 1);
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "ppo", &reader),
                     RLHF_OK);
    assert_int_equal(rlhf__state_get_i64(reader, "step", &step), RLHF_OK);
    assert_int_equal(step, 7);
    rlhf__state_reader_free(reader);
}

static void test_state_does_not_replace_other_folders(void **state)
{
    fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0777), 0);
    test_write(test_join(f->path, "thesis.txt"), "x", 1);
    assert_int_equal(save(f, 7), RLHF_ERR_EXISTS);
    assert_non_null(strstr(rlhf_last_error_message(), "holds other files"));
    assert_true(test_exists(test_join(f->path, "thesis.txt")));
    unlink(test_join(f->path, "thesis.txt"));
    assert_int_equal(save(f, 7), RLHF_OK); /* an empty one may be taken */
    test_folder_remove(f->path);
    test_write(f->path, "x", 1);
    assert_int_equal(save(f, 7), RLHF_ERR_EXISTS);
}

/* --- parameters --------------------------------------------------------------------- */

static void make_params(fixture *f, rlhf__params *params, int64_t rows)
{
    int32_t fused = -1, vector = -1;

    assert_int_equal(rlhf__params_init(params, f->context), RLHF_OK);
    assert_int_equal(rlhf__params_add_slab(params, rows, 3, true, &fused), RLHF_OK);
    assert_int_equal(rlhf__params_add_slab(params, 1, 5, false, &vector), RLHF_OK);
    assert_int_equal(rlhf__params_add_name(params, "q", fused, 0, 1), RLHF_OK);
    assert_int_equal(rlhf__params_add_name(params, "k", fused, 1, rows - 1), RLHF_OK);
    assert_int_equal(rlhf__params_add_name(params, "norm", vector, 0, 1), RLHF_OK);
    assert_int_equal(rlhf__params_allocate(params), RLHF_OK);
}

static void test_state_params_round_trip(void **state)
{
    fixture *f = *state;
    rlhf__params params, other;
    rlhf__state_writer *writer = NULL;
    rlhf__state_reader *reader = NULL;
    float *values, *got;

    make_params(f, &params, 4);
    make_params(f, &other, 5);
    values = rlhf__params_begin_write(&params);
    for (int64_t i = 0; i < 12; i++)
        rlhf__slab_values(&params, 0)[i] = (float)i;
    for (int64_t i = 0; i < 5; i++)
        rlhf__slab_values(&params, 1)[i] = (float)(100 + i);
    rlhf__params_end_write(&params);
    assert_int_equal(rlhf__state_writer_create(f->context, "lm", &writer), RLHF_OK);
    assert_int_equal(rlhf__state_put_params(writer, "weights", &params, values), RLHF_OK);
    assert_int_equal(rlhf__state_writer_commit(writer, f->path), RLHF_OK);
    rlhf__state_writer_free(writer);

    got = calloc((size_t)params.count, sizeof *got);
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "lm", &reader),
                     RLHF_OK);
    assert_true(rlhf__state_has(reader, "weights/k"));
    assert_int_equal(
        rlhf__state_get_params(reader, "weights", &params, RLHF__STATE_FINITE, got),
        RLHF_OK);
    assert_memory_equal(got, values, (size_t)params.count * sizeof *got);
    assert_int_equal(
        rlhf__state_get_params(reader, "weights", &params, RLHF__STATE_FINITE, NULL),
        RLHF_OK);
    assert_int_equal(
        rlhf__state_get_params(reader, "weights", &other, RLHF__STATE_FINITE, NULL),
        RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(),
                           "\"weights/k\" has shape [3, 3] where [4, 3] is needed"));
    assert_int_equal(
        rlhf__state_get_params(reader, "moments", &params, RLHF__STATE_FINITE, got),
        RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "\"moments/q\" is missing"));
    rlhf__state_reader_free(reader);
    rlhf__params_free(&params);
    rlhf__params_free(&other);
    free(got);
}

static void test_state_params_not_finite_change_nothing(void **state)
{
    fixture *f = *state;
    rlhf__params params;
    rlhf__state_writer *writer = NULL;
    rlhf__state_reader *reader = NULL;
    float *got;

    make_params(f, &params, 4);
    rlhf__params_begin_write(&params);
    rlhf__slab_values(&params, 1)[3] = NAN; /* the last parameter: others were fine */
    rlhf__params_end_write(&params);
    assert_int_equal(rlhf__state_writer_create(f->context, "lm", &writer), RLHF_OK);
    assert_int_equal(rlhf__state_put_params(writer, "w", &params, params.values),
                     RLHF_OK);
    assert_int_equal(rlhf__state_writer_commit(writer, f->path), RLHF_OK);
    rlhf__state_writer_free(writer);
    got = calloc((size_t)params.count, sizeof *got);
    got[0] = 42;
    assert_int_equal(rlhf__state_reader_open(f->context, f->path, "lm", &reader),
                     RLHF_OK);
    assert_int_equal(
        rlhf__state_get_params(reader, "w", &params, RLHF__STATE_FINITE, got),
        RLHF_ERR_FORMAT);
    assert_non_null(strstr(rlhf_last_error_message(), "\"w/norm\": element 3 is"));
    assert_true(got[0] == 42);
    assert_int_equal(rlhf__state_get_params(reader, "w", &params, RLHF__STATE_ANY, got),
                     RLHF_OK);
    assert_true(got[0] == 0);
    rlhf__state_reader_free(reader);
    rlhf__params_free(&params);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_state_round_trips_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_getters_name_the_field, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_newer_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_of_another_kind_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_changed_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_json_cut_short_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_resumed_elsewhere_warns, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_save_on_full_disk_keeps_the_old, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_cancelled_save_keeps_the_old, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_does_not_replace_other_folders, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_params_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_params_not_finite_change_nothing,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
