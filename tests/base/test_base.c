/* Errors, memory, random numbers, threads, versioned structs, numbers, hashes, JSON. */
#include "support.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/context.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/number.h"
#include "base/rng.h"
#include "base/size.h"
#include "base/versioned_struct.h"

static void test_error_text_is_one_line_with_its_parts(void **state)
{
    (void)state;
    rlhf_error_info info = {.struct_size = sizeof info};

    assert_int_equal(rlhf__fail_at(RLHF_ERR_FORMAT, "a\nb.yaml", 3, 7, "lr", "got %d", 5),
                     RLHF_ERR_FORMAT);
    assert_string_equal(rlhf_last_error_message(), "a b.yaml:3:7: got 5");
    assert_ok(rlhf_last_error_info(&info));
    assert_int_equal(info.status, RLHF_ERR_FORMAT);
    assert_int_equal(info.line, 3);
    assert_int_equal(info.column, 7);
    assert_string_equal(info.field, "lr");
    assert_string_equal(info.file, "a b.yaml");
    assert_int_equal(rlhf__fail_errno(2, "x", "cannot open %s", "x"), RLHF_ERR_NOT_FOUND);
    assert_string_equal(rlhf_last_error_message(),
                        "cannot open x: No such file or directory");
    assert_ok(rlhf_last_error_info(&info));
    assert_int_equal(info.system_errno, 2);
    assert_int_equal(info.line, 0);
}

static void test_error_text_is_cut_at_a_character(void **state)
{
    (void)state;
    char longest[4096];

    for (size_t i = 0; i + 2 < sizeof longest; i += 2)
        memcpy(longest + i, "\xc3\xa9", 3);
    rlhf__fail(RLHF_ERR_IO, "x%s", longest);
    const char *text = rlhf_last_error_message();
    size_t size = strlen(text);
    assert_true(size > 900 && size < 1024);
    assert_true((unsigned char)text[size - 1] == 0xa9 ||
                (unsigned char)text[size - 1] < 0x80);
    /* whole characters only: after the x, pairs of bytes */
    assert_int_equal((size - 1) % 2, 0);
}

static void *fail_in_thread(void *arg)
{
    rlhf__fail(RLHF_ERR_LIMIT, "of the other thread");
    return arg;
}

static void test_error_belongs_to_its_thread(void **state)
{
    (void)state;
    pthread_t thread;

    rlhf__fail(RLHF_ERR_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(rlhf_last_error_message(), "mine");
    assert_string_equal(rlhf_status_name(RLHF_ERR_EXISTS), "RLHF_ERR_EXISTS");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INTERNAL), "RLHF_ERR_INTERNAL");
    assert_string_equal(rlhf_status_name(-99), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_status_name(1), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_version(), "0.1.0");
}

static void test_sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out = 7;
    float *block = (float *)&out;

    assert_false(rlhf__size_mul(SIZE_MAX / 2, 3, &out));
    assert_false(rlhf__size_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(rlhf__size_mul(6, 7, &out));
    assert_int_equal(out, 42);
    assert_fails(rlhf__alloc(NULL, INT64_MAX, 8, RLHF_MEMORY_GENERAL, &block),
                 RLHF_ERR_NO_MEMORY, "out of memory");
    assert_null(block);
    assert_int_equal(rlhf__alloc(NULL, -1, 8, RLHF_MEMORY_GENERAL, &block),
                     RLHF_ERR_NO_MEMORY);
}

static void test_memory_is_counted_by_kind_and_given_back(void **state)
{
    (void)state;
    failing_allocator own = {0, -1, 0, 0};
    rlhf_context *context = support_context(&own, 1);
    rlhf_memory_info before = {.struct_size = sizeof before}, now = before;
    float *block = NULL;

    assert_ok(rlhf_context_memory(context, &before));
    assert_ok(rlhf__alloc(context, 1000, sizeof *block, RLHF_MEMORY_WEIGHTS, &block));
    assert_int_equal((uintptr_t)block % 64, 0);
    assert_true(block[999] == 0.0f);
    assert_ok(rlhf_context_memory(context, &now));
    assert_in_range(now.now[RLHF_MEMORY_WEIGHTS], 4000, 4300);
    assert_int_equal(now.allocations, before.allocations + 1);
    rlhf__free(block);
    assert_ok(rlhf_context_memory(context, &now));
    assert_int_equal(now.now[RLHF_MEMORY_WEIGHTS], 0);
    assert_in_range(now.peak[RLHF_MEMORY_WEIGHTS], 4000, 4300);
    assert_int_equal(now.total_now, before.total_now);
    rlhf_context_free(context);
    assert_int_equal(own.live, 0);
}

static void test_context_creation_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 100; n++) {
        failing_allocator own = {0, n, 0, 1};
        rlhf_allocator hooks = failing_hooks(&own);
        rlhf_context_options options;
        rlhf_context *context = (rlhf_context *)&own;
        assert_ok(rlhf_context_options_init(&options, sizeof options));
        options.allocator = &hooks;
        options.num_threads = 2;
        rlhf_status status = rlhf_context_create(&options, &context);
        if (status == RLHF_OK) {
            assert_true(n > 1);
            rlhf_context_free(context);
            assert_int_equal(own.live, 0);
            return;
        }
        assert_int_equal(status, RLHF_ERR_NO_MEMORY);
        assert_null(context);
        assert_int_equal(own.live, 0);
    }
    fail_msg("a context needs more than 100 allocations");
}

static void test_arena_settles_on_one_block(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_memory_info first = {.struct_size = sizeof first}, later = first;
    rlhf__arena *arena = NULL;

    assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
    for (int step = 0; step < 5; step++) {
        if (step == 2)
            assert_ok(rlhf_context_memory(context, &first));
        for (int i = 1; i < 200; i++) {
            char *block = NULL;
            assert_ok(rlhf__arena_alloc(arena, i * 997, 1, &block));
            assert_int_equal((uintptr_t)block % 64, 0);
            memset(block, i, (size_t)i * 997);
        }
        rlhf__arena_reset(arena);
    }
    assert_ok(rlhf_context_memory(context, &later));
    assert_int_equal(later.allocations, first.allocations);
    rlhf__arena_mark mark = rlhf__arena_get_mark(arena);
    int *a = NULL, *b = NULL;
    assert_ok(rlhf__arena_zalloc(arena, 3, sizeof *a, &a));
    assert_int_equal(a[2], 0);
    rlhf__arena_release(arena, mark);
    assert_ok(rlhf__arena_alloc(arena, 3, sizeof *b, &b));
    assert_ptr_equal(a, b);
    rlhf__arena_free(arena);
    rlhf_context_free(context);
}

/* Known answers of Random123's philox4x32-10. */
static void test_philox_has_the_published_answers(void **state)
{
    (void)state;
    static const uint32_t vectors[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
         0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
         0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    uint32_t out[4];

    for (int i = 0; i < 3; i++) {
        rlhf__philox(vectors[i], vectors[i] + 4, out);
        assert_memory_equal(out, vectors[i] + 6, sizeof out);
    }
}

static void test_random_numbers_have_their_distributions(void **state)
{
    (void)state;
    enum { N = 100000 };
    double sum = 0, squares = 0, normal = 0, normal_squares = 0;
    int64_t order[1000], seen[1000] = {0}, counts[7] = {0};

    for (uint64_t i = 0; i < N; i++) {
        double u = rlhf__rng_uniform(1, 2, i), z = rlhf__rng_normal(1, 3, i);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        sum += u;
        squares += u * u;
        normal += z;
        normal_squares += z * z;
        counts[rlhf__rng_below(1, 4, i, 7)]++;
    }
    /* six standard errors */
    assert_true(fabs(sum / N - 0.5) < 6 * 0.2887 / sqrt(N));
    assert_true(fabs(squares / N - 1.0 / 3) < 6 * 0.298 / sqrt(N));
    assert_true(fabs(normal / N) < 6 / sqrt(N));
    assert_true(fabs(normal_squares / N - 1) < 6 * sqrt(2.0 / N));
    for (int i = 0; i < 7; i++)
        assert_true(fabs((double)counts[i] - N / 7.0) < 6 * sqrt(N / 7.0));
    rlhf__rng_permutation(9, 1, order, 1000);
    int64_t moved = 0;
    for (int64_t i = 0; i < 1000; i++) {
        seen[order[i]]++;
        moved += order[i] != i;
    }
    for (int64_t i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 950);
    assert_true(rlhf__rng_uniform(1, 2, 3) != rlhf__rng_uniform(1, 2, 4));
    assert_true(rlhf__rng_uniform(1, 2, 3) != rlhf__rng_uniform(1, 3, 3));
    assert_true(rlhf__rng_uniform(1, 2, 3) != rlhf__rng_uniform(2, 2, 3));
}

typedef struct tile_record {
    _Atomic int32_t hits[500];
    _Atomic int32_t largest_thread;
} tile_record;

static void record_tile(void *arg, int64_t tile, int32_t thread)
{
    tile_record *record = arg;

    atomic_fetch_add(&record->hits[tile], 1);
    if (thread > atomic_load(&record->largest_thread))
        atomic_store(&record->largest_thread, thread);
}

static void test_pool_does_each_tile_once(void **state)
{
    (void)state;
    for (int32_t threads = 1; threads <= 4; threads++) {
        rlhf_context *context = support_context_of(threads);
        assert_int_equal(rlhf_context_num_threads(context), threads);
        for (int64_t tiles = 0; tiles <= 500; tiles += 1 + tiles / 3) {
            tile_record record = {{0}, 0};
            rlhf__pool_run(context->pool, tiles, record_tile, &record);
            for (int64_t i = 0; i < 500; i++)
                assert_int_equal(atomic_load(&record.hits[i]), i < tiles);
            assert_true(atomic_load(&record.largest_thread) < threads);
        }
        usleep(2000); /* the workers sleep; the next run must wake them */
        tile_record record = {{0}, 0};
        rlhf__pool_run(context->pool, 100, record_tile, &record);
        assert_int_equal(atomic_load(&record.hits[99]), 1);
        rlhf_context_free(context);
    }
}

/* Far more threads than CPUs: many a job is over before some of them have come. */
static void test_pool_goes_on_without_workers_that_are_late(void **state)
{
    rlhf_context *context = support_context_of(40);

    (void)state;
    for (int64_t run = 0; run < 2000; run++) {
        const int64_t tiles = 1 + run % 90;
        tile_record record = {{0}, 0};
        rlhf__pool_run(context->pool, tiles, record_tile, &record);
        for (int64_t i = 0; i < 100; i++)
            assert_int_equal(atomic_load(&record.hits[i]), i < tiles);
    }
    rlhf_context_free(context);
}

static void test_quota_is_rounded_up_to_whole_cpus(void **state)
{
    (void)state;
    assert_int_equal(rlhf__quota_cpus("200000 100000\n"), 2);
    assert_int_equal(rlhf__quota_cpus("150000 100000\n"), 2);
    assert_int_equal(rlhf__quota_cpus("5000 100000"), 1);
    assert_int_equal(rlhf__quota_cpus("max 100000\n"), 256);
    assert_int_equal(rlhf__quota_cpus("900000000 100000\n"), 256);
    assert_int_equal(rlhf__quota_cpus("200000"), 256);
    assert_int_equal(rlhf__quota_cpus("9223372036854775807 9223372036854775807"), 1);
    assert_int_equal(rlhf__quota_cpus("-1 100000"), 256);
    assert_int_equal(rlhf__quota_cpus(""), 256);
}

static void call_again(void *user_data, int32_t level, const char *message)
{
    rlhf__entry entry;

    (void)level;
    (void)message;
    assert_fails(rlhf__context_enter(*(rlhf_context **)user_data, &entry), RLHF_ERR_BUSY,
                 "callback");
}

static void test_context_refuses_callbacks_and_children(void **state)
{
    (void)state;
    rlhf_context *context = NULL;
    rlhf_context_options options;
    rlhf__entry entry;
    int child_status = -1;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.log = call_again;
    options.log_user_data = &context;
    options.num_threads = 2;
    assert_ok(rlhf_context_create(&options, &context));
    assert_ok(rlhf__context_enter(context, &entry));
    rlhf__log(context, RLHF_LOG_WARNING, "hello %d", 1);
    assert_int_equal(rlhf__context_leave(context, &entry, RLHF_ERR_IO), RLHF_ERR_IO);
    pid_t child = fork();
    if (child == 0) {
        rlhf_status status = rlhf__context_enter(context, &entry);
        rlhf_context_free(context);
        _exit(status == RLHF_ERR_STATE ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &child_status, 0), child);
    assert_int_equal(child_status, 0);
    rlhf_context_cancel(context);
    assert_fails(rlhf__check_cancel(context), RLHF_ERR_CANCELLED, "cancelled");
    assert_ok(rlhf__check_cancel(context));
    rlhf_context_free(context);
    rlhf_context_free(NULL);
    rlhf_context_cancel(NULL);
}

static void test_context_options_are_checked(void **state)
{
    (void)state;
    rlhf_context_options options;
    rlhf_context *context = NULL;
    struct {
        rlhf_context_options known;
        int64_t more;
    } newer;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = -3;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "num_threads must be >= 0, got -3");
    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.cpu_level = 77;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "cpu_level");
    memset(&newer, 0, sizeof newer);
    assert_ok(rlhf_context_options_init(&newer.known, sizeof newer));
    assert_int_equal(newer.known.struct_size, sizeof newer);
    assert_ok(rlhf_context_create(&newer.known, &context));
    rlhf_context_free(context);
    newer.more = 1;
    assert_fails(rlhf_context_create(&newer.known, &context), RLHF_ERR_UNSUPPORTED,
                 "newer");
    assert_null(context);
    options.struct_size = 0;
    assert_fails(rlhf_context_create(&options, &context), RLHF_ERR_INVALID_ARG,
                 "struct_size");
    assert_fails(rlhf_context_options_init(NULL, 8), RLHF_ERR_INVALID_ARG, "NULL");
}

/* A first version with `rate` only, and today's with `steps` appended. */
typedef struct sample_options {
    size_t struct_size;
    double rate;
    int32_t steps;
    int32_t flag;
    double single;
} sample_options;

static const rlhf__field sample_fields[] = {{.name = "rate",
                                             .type = RLHF__FIELD_F64,
                                             .offset = offsetof(sample_options, rate),
                                             .default_value = 0.5,
                                             .min = 0,
                                             .max = 1,
                                             .min_exclusive = true,
                                             .help = "a rate"},
                                            {.name = "steps",
                                             .type = RLHF__FIELD_I32,
                                             .offset = offsetof(sample_options, steps),
                                             .default_value = 7,
                                             .min = 1,
                                             .max = 9,
                                             .help = "steps"},
                                            {.name = "flag",
                                             .type = RLHF__FIELD_BOOL,
                                             .offset = offsetof(sample_options, flag),
                                             .default_value = 1,
                                             .help = "a flag"},
                                            {.name = "single",
                                             .type = RLHF__FIELD_F64,
                                             .offset = offsetof(sample_options, single),
                                             .default_value = 0.5,
                                             .min = 0,
                                             .max = 1,
                                             .min_exclusive = true,
                                             .max_exclusive = true,
                                             .as_float = true,
                                             .help = "computed with as a float"}};
static const rlhf__struct_desc sample_desc = {"sample_options", sizeof(sample_options),
                                              offsetof(sample_options, steps),
                                              sample_fields, 4};

static void test_versioned_structs_travel_in_time(void **state)
{
    (void)state;
    sample_options today, old;

    memset(&old, 0xee, sizeof old);
    assert_ok(rlhf__struct_init(&sample_desc, &old, offsetof(sample_options, steps)));
    assert_int_equal((unsigned)old.steps, 0xeeeeeeee); /* an old host's memory beyond */
    old.rate = 0.25;
    assert_ok(rlhf__struct_read(&sample_desc, &old, &today));
    assert_true(today.rate == 0.25 && today.steps == 7 && today.flag == 1);
    assert_int_equal(today.struct_size, sizeof today);
    assert_ok(rlhf__struct_read(&sample_desc, NULL, &today));
    assert_true(today.rate == 0.5);
    today.rate = 0;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "rate must be > 0, got 0");
    today.rate = NAN;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "finite");
    today.rate = 1;
    today.steps = 10;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "steps must be <= 9, got 10");
    today.steps = 1;
    today.flag = 2;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "flag must be 0 or 1, got 2");
    today.flag = 1;
    today.single = 1e-60;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "single must be > 0 as a float, got 1e-60");
    today.single = 1 - 1e-9;
    assert_fails(rlhf__struct_read(&sample_desc, &today, &old), RLHF_ERR_INVALID_ARG,
                 "single must be < 1 as a float, got 0.999999999");
    today.single = 1e-40; /* denormal as a float, yet there */
    assert_ok(rlhf__struct_read(&sample_desc, &today, &old));
    assert_non_null(rlhf__struct_find(&sample_desc, "steps"));
    assert_null(rlhf__struct_find(&sample_desc, "step"));
}

static void test_output_structs_fit_older_and_newer_hosts(void **state)
{
    (void)state;
    sample_options ours = {sizeof ours, 0.5, 3, 1, 0.5};
    struct {
        sample_options known;
        int64_t more;
    } newer = {.known.struct_size = sizeof newer, .more = 5};
    sample_options old = {.struct_size = offsetof(sample_options, steps), .steps = 99};

    assert_ok(rlhf__struct_copy_out(&ours, sizeof ours, &newer, "sample"));
    assert_int_equal(newer.known.struct_size, sizeof newer);
    assert_int_equal(newer.known.steps, 3);
    assert_int_equal(newer.more, 0);
    assert_ok(rlhf__struct_copy_out(&ours, sizeof ours, &old, "sample"));
    assert_true(old.rate == 0.5);
    assert_int_equal(old.steps, 99);
    old.struct_size = 0;
    assert_fails(rlhf__struct_copy_out(&ours, sizeof ours, &old, "sample"),
                 RLHF_ERR_INVALID_ARG, "struct_size");
}

static void test_numbers_are_the_same_in_every_locale(void **state)
{
    (void)state;
    static const double values[] = {0,      0.1,     -1.5,        1e300,
                                    5e-324, 1.0 / 3, 123456789.0, 3e-5};
    char text[32], *before = setlocale(LC_ALL, NULL);
    int64_t i64;
    uint64_t u64;
    double f64;

    char saved[128];
    snprintf(saved, sizeof saved, "%s", before);
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        print_message("de_DE.UTF-8 is not installed: tried in the current locale only\n");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        rlhf__format_f64(values[i], text);
        assert_null(strchr(text, ','));
        assert_true(rlhf__parse_f64(text, &f64));
        assert_true(f64 == values[i]);
    }
    rlhf__format_f64(0.1, text);
    assert_string_equal(text, "0.1");
    assert_true(rlhf__parse_f64("1.5e3", &f64) && f64 == 1500);
    setlocale(LC_ALL, saved);
    static const char *const bad[] = {"",    " 1",    "1 ",  "0x10", "inf",
                                      "nan", "1e999", "1,5", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(rlhf__parse_f64(bad[i], &f64));
        assert_false(rlhf__parse_i64(bad[i], &i64));
        assert_false(rlhf__parse_u64(bad[i], &u64));
    }
    assert_true(rlhf__parse_i64("-9223372036854775808", &i64) && i64 == INT64_MIN);
    assert_false(rlhf__parse_i64("9223372036854775808", &i64));
    assert_true(rlhf__parse_u64("18446744073709551615", &u64) && u64 == UINT64_MAX);
    assert_false(rlhf__parse_u64("-1", &u64));
}

/* FIPS 180-4's examples. */
static void test_sha256_has_the_published_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } vectors[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    char hex[65];

    for (int i = 0; i < 3; i++) {
        for (size_t step = 1; step < 60; step += 29) {
            rlhf__sha256 hash;
            size_t size = strlen(vectors[i].text);
            rlhf__sha256_init(&hash);
            for (size_t at = 0; at < size; at += step)
                rlhf__sha256_update(&hash, vectors[i].text + at,
                                    size - at < step ? size - at : step);
            rlhf__sha256_hex(&hash, hex);
            assert_string_equal(hex, vectors[i].hex);
        }
    }
}

static rlhf_status parse(const char *text, rlhf__json **out)
{
    return rlhf__json_parse(NULL, text, (int64_t)strlen(text), "f.json", 5, out);
}

static void test_json_errors_name_file_and_line(void **state)
{
    (void)state;
    rlhf__json *json = NULL;
    char deep[200];

    assert_fails(parse("{\"a\": 1,\n oops}", &json), RLHF_ERR_FORMAT, "f.json:6:");
    assert_fails(parse("{\"a\": 1, \"a\": 2}", &json), RLHF_ERR_FORMAT, "duplicate");
    assert_fails(parse("[1] 2", &json), RLHF_ERR_FORMAT, "f.json:5");
    assert_fails(parse("\"\xff\"", &json), RLHF_ERR_FORMAT, "decode");
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    assert_fails(parse(deep, &json), RLHF_ERR_FORMAT, "deeper than 64");
    assert_null(json);
}

/* tokenizer_config.json has such a number where transformers knows of no limit. */
static void test_json_integers_beyond_64_bits_are_reals(void **state)
{
    static const char text[] =
        "{\"model_max_length\": 1000000000000000019884624838656, \"n\": 3,\n"
        " \"most\": 9223372036854775807, \"next\": 9223372036854775808, \"x\": "
        "[-12345678901234567890, 1.00000000000000000000000000, 1e0000000000000000000002],"
        " \"t\\\"ext\": \"10000000000000000000000\\\\\"}";
    rlhf__json *json = NULL;

    (void)state;
    assert_ok(rlhf__json_parse(NULL, text, (int64_t)strlen(text), "f.json", 1, &json));
    assert_true(rlhf__json_f64(rlhf__json_get(json, "model_max_length"), 0) ==
                1000000000000000019884624838656.0);
    assert_int_equal(rlhf__json_i64(rlhf__json_get(json, "n"), 0), 3);
    assert_true(rlhf__json_i64(rlhf__json_get(json, "most"), 0) == INT64_MAX);
    assert_true(rlhf__json_f64(rlhf__json_get(json, "next"), 0) == 9223372036854775808.0);
    const rlhf__json *list = rlhf__json_get(json, "x");
    assert_true(rlhf__json_f64(rlhf__json_at(list, 0), 0) == -12345678901234567890.0);
    assert_true(rlhf__json_f64(rlhf__json_at(list, 1), 0) == 1.0);
    assert_true(rlhf__json_f64(rlhf__json_at(list, 2), 0) == 100.0);
    assert_string_equal(rlhf__json_string(rlhf__json_get(json, "t\"ext"), ""),
                        "10000000000000000000000\\");
    rlhf__json_free(json);
    assert_fails(rlhf__json_parse(NULL, "[1e999]", 7, "f.json", 1, &json),
                 RLHF_ERR_FORMAT, "overflow");
}

static void test_json_round_trips(void **state)
{
    (void)state;
    rlhf__json *json = NULL, *object = rlhf__json_new_object();
    rlhf__buffer text = {NULL, NULL, 0, 0};

    assert_ok(rlhf__json_set(object, "x", rlhf__json_new_f64(0.1)));
    assert_ok(rlhf__json_set(object, "n", rlhf__json_new_i64(INT64_MAX)));
    assert_ok(rlhf__json_set(object, "s", rlhf__json_new_string("a\0b", 3)));
    assert_ok(rlhf__json_set(object, "list", rlhf__json_new_array()));
    assert_ok(
        rlhf__json_append(rlhf__json_get(object, "list"), rlhf__json_new_bool(true)));
    assert_int_equal(rlhf__json_set(object, "bad", rlhf__json_new_f64(NAN)),
                     RLHF_ERR_NO_MEMORY);
    assert_ok(rlhf__json_dump(object, 0, &text));
    assert_ok(parse(text.data, &json));
    assert_true(rlhf__json_f64(rlhf__json_get(json, "x"), 0) == 0.1);
    assert_true(rlhf__json_i64(rlhf__json_get(json, "n"), 0) == INT64_MAX);
    assert_int_equal(rlhf__json_string_size(rlhf__json_get(json, "s")), 3);
    assert_true(rlhf__json_bool(rlhf__json_at(rlhf__json_get(json, "list"), 0), false));
    assert_null(rlhf__json_at(rlhf__json_get(json, "list"), 1));
    assert_int_equal(rlhf__json_i64(rlhf__json_get(json, "absent"), -4), -4);
    rlhf__json_free(json);
    rlhf__json_free(object);
    rlhf__json_free(NULL);
    rlhf__buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_text_is_one_line_with_its_parts),
        cmocka_unit_test(test_error_text_is_cut_at_a_character),
        cmocka_unit_test(test_error_belongs_to_its_thread),
        cmocka_unit_test(test_sizes_do_not_wrap),
        cmocka_unit_test(test_memory_is_counted_by_kind_and_given_back),
        cmocka_unit_test(test_context_creation_survives_every_failed_allocation),
        cmocka_unit_test(test_arena_settles_on_one_block),
        cmocka_unit_test(test_philox_has_the_published_answers),
        cmocka_unit_test(test_random_numbers_have_their_distributions),
        cmocka_unit_test(test_pool_does_each_tile_once),
        cmocka_unit_test(test_pool_goes_on_without_workers_that_are_late),
        cmocka_unit_test(test_quota_is_rounded_up_to_whole_cpus),
        cmocka_unit_test(test_context_refuses_callbacks_and_children),
        cmocka_unit_test(test_context_options_are_checked),
        cmocka_unit_test(test_versioned_structs_travel_in_time),
        cmocka_unit_test(test_output_structs_fit_older_and_newer_hosts),
        cmocka_unit_test(test_numbers_are_the_same_in_every_locale),
        cmocka_unit_test(test_sha256_has_the_published_answers),
        cmocka_unit_test(test_json_errors_name_file_and_line),
        cmocka_unit_test(test_json_integers_beyond_64_bits_are_reals),
        cmocka_unit_test(test_json_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
