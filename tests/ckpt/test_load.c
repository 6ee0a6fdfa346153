/* Whole tensors by all threads: every dtype, either way round, more and fewer rows than a
 * piece takes, whatever the number of threads; reads that come short, fail or end too
 * early, values that are not finite, and cancelling in the middle. */
#include "support.h"
#include "test_files.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "base/context.h"
#include "ckpt/safetensors.h"

/* --- pread of this program ---------------------------------------------------------- */

static atomic_llong fail_from = -1;       /* reads that reach beyond this byte fail */
static atomic_llong most_bytes = -1;      /* that a read brings */
static atomic_int interruptions;          /* yet to come */
static atomic_llong total_bytes;          /* brought so far */
static _Atomic(rlhf_context *) to_cancel; /* by the next read; NULL: none */

/* Stands before the C library's. */
__attribute__((visibility("default"))) ssize_t pread(int fd, void *out, size_t size,
                                                     off_t offset)
{
    const long long failing = atomic_load(&fail_from), most = atomic_load(&most_bytes);

    if (atomic_load(&interruptions) > 0 && atomic_fetch_sub(&interruptions, 1) > 0) {
        errno = EINTR;
        return -1;
    }
    if (failing >= 0 && (long long)offset + (long long)size > failing) {
        errno = EIO;
        return -1;
    }
    if (most >= 0 && (long long)size > most)
        size = (size_t)most;
    rlhf_context_cancel(atomic_exchange(&to_cancel, NULL));
    atomic_fetch_add(&total_bytes, (long long)size);
    return syscall(SYS_pread64, fd, out, size, offset);
}

/* --- files -------------------------------------------------------------------------- */

typedef struct fixture {
    char folder[TEST_PATH];
    int64_t last_done, last_total; /* of progress */
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    atomic_store(&fail_from, -1);
    atomic_store(&most_bytes, -1);
    atomic_store(&interruptions, 0);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static void on_progress(void *user_data, const char *stage, int64_t done, int64_t total)
{
    fixture *f = user_data;

    assert_string_equal(stage, "load");
    f->last_done = done;
    f->last_total = total;
}

static rlhf_context *make_context(fixture *f, int32_t threads)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    support_options(&options, threads);
    options.num_threads = threads;
    options.progress = on_progress;
    options.progress_user_data = f;
    assert_ok(rlhf_context_create(&options, &context));
    return context;
}

/* Multiples of 1/8 in [-16, 16): exact in every dtype. */
static float value_at(int64_t i)
{
    return (float)(i * 37 % 256 - 128) / 8.0f;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Of a normal half-precision number or 0. */
static uint16_t half_of(float value)
{
    const uint32_t bits = bits_of(value);

    if (value == 0.0f)
        return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16 & 0x8000u) | ((bits >> 23 & 255u) - 112u) << 10 |
                      (bits >> 13 & 1023u));
}

static void put_value(unsigned char *at, rlhf__dtype dtype, float value)
{
    const double wide = (double)value;
    const uint16_t half = half_of(value), brain = (uint16_t)(bits_of(value) >> 16);

    if (dtype == RLHF__DTYPE_F32)
        memcpy(at, &value, 4);
    else if (dtype == RLHF__DTYPE_F64)
        memcpy(at, &wide, 8);
    else
        memcpy(at, dtype == RLHF__DTYPE_F16 ? &half : &brain, 2);
}

/* Two tensors: "a", a few numbers, and "t" of rows x cols, whose values are `at`. */
static const char *write_file(const fixture *f, rlhf__dtype dtype, int64_t rows,
                              int64_t cols, float (*at)(int64_t i))
{
    const char *path = test_join(f->folder, "t.safetensors");
    const int64_t count = rows * cols, size = rlhf__dtype_size(dtype);
    const char *name = rlhf__dtype_name(dtype);
    char header[256];
    const int length =
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]},"
                 "\"t\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}}",
                 name, (int)(3 * size), name, (int)rows, (int)cols, (int)(3 * size),
                 (int)((3 + count) * size));
    unsigned char *bytes = malloc((size_t)(8 + length + (3 + count) * size));

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, (size_t)length);
    unsigned char *data = bytes + 8 + length;
    for (int64_t i = 0; i < 3; i++)
        put_value(data + i * size, dtype, (float)i);
    for (int64_t i = 0; i < count; i++)
        put_value(data + (3 + i) * size, dtype, at(i));
    test_write(path, bytes, (size_t)(8 + length + (3 + count) * size));
    free(bytes);
    return path;
}

/* An open file, and memory for both tensors with guards behind them. */
typedef struct opened {
    rlhf_context *context;
    rlhf__tensor_file *file;
    rlhf__tensor_load loads[2];
    float a[4], *t;
} opened;

#define GUARD 12345.5f

static opened *open_file(rlhf_context *context, const char *path, bool transposed)
{
    opened *o = calloc(1, sizeof *o);

    o->context = context;
    assert_ok(rlhf__tensor_file_open(context, path, &o->file));
    const rlhf__tensor_entry *t = rlhf__tensor_file_at(o->file, 1);
    o->t = malloc((size_t)(t->count + 1) * sizeof *o->t);
    memset(o->t, 0xff, (size_t)t->count * sizeof *o->t);
    o->t[t->count] = o->a[3] = GUARD;
    o->loads[0] = (rlhf__tensor_load){.file = o->file,
                                      .entry = rlhf__tensor_file_at(o->file, 0),
                                      .values = o->a,
                                      .rows = 1,
                                      .cols = 3};
    o->loads[1] = (rlhf__tensor_load){.file = o->file,
                                      .entry = t,
                                      .values = o->t,
                                      .rows = t->shape[transposed],
                                      .cols = t->shape[!transposed],
                                      .transposed = transposed};
    return o;
}

static rlhf_status load(opened *o)
{
    return rlhf__tensors_load(o->context, o->loads, 2);
}

static void close_file(opened *o)
{
    rlhf__tensor_file_close(o->file);
    free(o->t);
    free(o);
}

static void check_values(const opened *o)
{
    const rlhf__tensor_load *l = &o->loads[1];

    for (int64_t i = 0; i < 3; i++)
        assert_true(o->a[i] == (float)i);
    for (int64_t r = 0; r < l->rows; r++)
        for (int64_t c = 0; c < l->cols; c++) {
            const float got = o->t[r * l->cols + c];
            const float expected =
                value_at(l->transposed ? c * l->rows + r : r * l->cols + c);
            if (got != expected)
                fail_msg("%s, %dx%d, turned %d: [%d][%d] is %g, expected %g",
                         rlhf__dtype_name(l->entry->dtype), (int)l->rows, (int)l->cols,
                         l->transposed, (int)r, (int)c, (double)got, (double)expected);
        }
    assert_true(o->a[3] == GUARD && o->t[l->entry->count] == GUARD);
}

/* --- what loads --------------------------------------------------------------------- */

static void check_shape(fixture *f, rlhf_context *context, rlhf__dtype dtype,
                        int64_t rows, int64_t cols)
{
    const char *path = write_file(f, dtype, rows, cols, value_at);

    for (int transposed = 0; transposed < 2; transposed++) {
        opened *o = open_file(context, path, transposed != 0);
        assert_ok(load(o));
        check_values(o);
        assert_true(f->last_done == f->last_total && f->last_total >= 2);
        close_file(o);
    }
}

static void test_tensors_load_whole_either_way_round(void **state)
{
    static const rlhf__dtype all[] = {RLHF__DTYPE_F32, RLHF__DTYPE_F16, RLHF__DTYPE_BF16,
                                      RLHF__DTYPE_F64};
    fixture *f = *state;

    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = make_context(f, threads);
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            check_shape(f, context, all[i], 1, 1);
            check_shape(f, context, all[i], 17, 33);
        }
        /* Several pieces; the least piece is more than one; all of rows of two. */
        check_shape(f, context, RLHF__DTYPE_F32, 300, 700);
        check_shape(f, context, RLHF__DTYPE_BF16, 35, 9001);
        check_shape(f, context, RLHF__DTYPE_F64, 70001, 2);
        rlhf_context_free(context);
    }
}

static void test_short_and_interrupted_reads_are_made_up_for(void **state)
{
    fixture *f = *state;
    rlhf_context *context = make_context(f, 2);
    const char *path = write_file(f, RLHF__DTYPE_F32, 300, 700, value_at);
    opened *o = open_file(context, path, true);

    atomic_store(&most_bytes, 1001);
    atomic_store(&interruptions, 50);
    assert_ok(load(o));
    check_values(o);
    close_file(o);
    rlhf_context_free(context);
}

/* --- what does not ------------------------------------------------------------------ */

static float two_bad(int64_t i)
{
    if (i == 200007)
        return -INFINITY;
    return i == 650000 ? NAN : value_at(i);
}

static void test_first_value_that_is_not_finite_is_named(void **state)
{
    fixture *f = *state;
    const char *path = write_file(f, RLHF__DTYPE_F32, 1000, 700, two_bad);

    for (int32_t threads = 1; threads <= 3; threads++)
        for (int transposed = 0; transposed < 2; transposed++) {
            rlhf_context *context = make_context(f, threads);
            opened *o = open_file(context, path, transposed != 0);
            assert_fails(load(o), RLHF_ERR_NUMERIC,
                         "tensor \"t\": element 200007 is -inf");
            close_file(o);
            rlhf_context_free(context);
        }
}

static void test_file_cut_short_meanwhile_is_an_error(void **state)
{
    fixture *f = *state;
    rlhf_context *context = make_context(f, 2);

    for (int transposed = 0; transposed < 2; transposed++) {
        const char *path = write_file(f, RLHF__DTYPE_F32, 300, 700, value_at);
        opened *o = open_file(context, path, transposed != 0);
        assert_int_equal(truncate(path, 500000), 0);
        assert_fails(load(o), RLHF_ERR_FORMAT, "the file ends at byte 500000");
        close_file(o);
    }
    rlhf_context_free(context);
}

static void test_failing_read_is_told_with_its_cause(void **state)
{
    fixture *f = *state;
    const char *path = write_file(f, RLHF__DTYPE_F32, 300, 700, value_at);

    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_error_info info = {.struct_size = sizeof info};
        rlhf_context *context = make_context(f, threads);
        opened *o = open_file(context, path, false);
        atomic_store(&fail_from, 500000);
        assert_fails(load(o), RLHF_ERR_IO, "cannot read");
        assert_ok(rlhf_last_error_info(&info));
        assert_int_equal(info.system_errno, EIO);
        assert_string_equal(info.file, path);
        atomic_store(&fail_from, -1);
        assert_ok(load(o)); /* nothing sticks */
        check_values(o);
        close_file(o);
        rlhf_context_free(context);
    }
}

/* More pieces than two threads take between two looks. */
static void test_load_is_cancelled_in_the_middle(void **state)
{
    fixture *f = *state;
    rlhf_context *context = make_context(f, 2);
    const char *path = write_file(f, RLHF__DTYPE_BF16, 5000, 1000, value_at);
    opened *o = open_file(context, path, true);

    atomic_store(&total_bytes, 0);
    atomic_store(&to_cancel, context);
    assert_fails(load(o), RLHF_ERR_CANCELLED, "cancelled");
    assert_true(atomic_load(&total_bytes) < 9000000); /* of ten million */
    assert_ok(load(o));
    check_values(o);
    close_file(o);
    rlhf_context_free(context);
}

static void test_no_memory_is_told_and_nothing_stays(void **state)
{
    fixture *f = *state;
    failing_allocator memory = {0, -1, 0, 0};
    const char *path = write_file(f, RLHF__DTYPE_BF16, 40, 30, value_at);
    rlhf_context *context = support_context(&memory, 2);
    opened *o = open_file(context, path, true);
    const int64_t live = memory.live;
    int64_t failures = 0;

    for (;; failures++) {
        memory.count = 0;
        memory.fail_at = failures;
        const rlhf_status status = load(o);
        assert_int_equal(memory.live, live);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_ERR_NO_MEMORY);
    }
    memory.fail_at = -1;
    assert_true(failures >= 1);
    check_values(o);
    close_file(o);
    rlhf_context_free(context);
}

static void test_integers_are_no_weights(void **state)
{
    fixture *f = *state;
    rlhf_context *context = make_context(f, 1);
    opened *o = open_file(context, write_file(f, RLHF__DTYPE_I16, 3, 5, value_at), false);

    assert_fails(load(o), RLHF_ERR_UNSUPPORTED, "dtype I16 where a floating-point");
    close_file(o);
    rlhf_context_free(context);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tensors_load_whole_either_way_round),
        TEST(test_short_and_interrupted_reads_are_made_up_for),
        TEST(test_first_value_that_is_not_finite_is_named),
        TEST(test_file_cut_short_meanwhile_is_an_error),
        TEST(test_failing_read_is_told_with_its_cause),
        TEST(test_load_is_cancelled_in_the_middle),
        TEST(test_no_memory_is_told_and_nothing_stays),
        TEST(test_integers_are_no_weights),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
