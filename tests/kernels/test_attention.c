/* Attention against double precision, forward and backward, and decode against
 * training bit for bit, on ragged batches with grouped heads, odd head sizes and
 * windows. */
#include "kernels_support.h"

typedef struct setting {
    int64_t heads, kv_heads, head_dim, window;
} setting;

static const setting settings[] = {{1, 1, 1, 0}, {4, 2, 8, 0},   {2, 1, 20, 0},
                                   {6, 6, 5, 7}, {3, 1, 33, 64}, {2, 2, 64, 100}};
#define NUM_SETTINGS (sizeof settings / sizeof settings[0])

static const int64_t cu_seqlens[] = {0, 1, 4, 68, 68 + 65, 133 + 150};
#define NUM_SEQS 5
#define TOTAL    283

static rlhf__attention make(const setting *s, const float *qkv)
{
    int64_t ld = (s->heads + 2 * s->kv_heads) * s->head_dim;

    return (rlhf__attention){.q = qkv,
                             .k = qkv + s->heads * s->head_dim,
                             .v = qkv + (s->heads + s->kv_heads) * s->head_dim,
                             .ldq = ld,
                             .ldk = ld,
                             .ldv = ld,
                             .num_seqs = NUM_SEQS,
                             .cu_seqlens = cu_seqlens,
                             .num_heads = s->heads,
                             .num_kv_heads = s->kv_heads,
                             .head_dim = s->head_dim,
                             .window = s->window,
                             .scale = 0.4f};
}

/* out, and with dout the gradients of q, k, v (laid out as qkv). */
static void reference(const setting *s, const float *qkv, const float *dout, double *out,
                      double *dqkv)
{
    int64_t d = s->head_dim, ld = (s->heads + 2 * s->kv_heads) * d, width = s->heads * d;
    double p[160];

    memset(out, 0, (size_t)(TOTAL * width) * sizeof *out);
    memset(dqkv, 0, (size_t)(TOTAL * ld) * sizeof *dqkv);
    for (int64_t n = 0; n < NUM_SEQS; n++)
        for (int64_t i = cu_seqlens[n]; i < cu_seqlens[n + 1]; i++)
            for (int64_t h = 0; h < s->heads; h++) {
                int64_t at = cu_seqlens[n], kh = s->heads + h / (s->heads / s->kv_heads);
                int64_t first =
                    s->window && i - at + 1 > s->window ? i + 1 - s->window : at;
                double top = -1e300, sum = 0, dot = 0;
                for (int64_t j = first; j <= i; j++) {
                    p[j - first] = 0;
                    for (int64_t c = 0; c < d; c++)
                        p[j - first] += 0.4f * (double)qkv[i * ld + h * d + c] *
                                        qkv[j * ld + kh * d + c];
                    top = p[j - first] > top ? p[j - first] : top;
                }
                for (int64_t j = first; j <= i; j++)
                    sum += p[j - first] = exp(p[j - first] - top);
                for (int64_t j = first; j <= i; j++)
                    for (int64_t c = 0; c < d; c++)
                        out[i * width + h * d + c] +=
                            p[j - first] / sum * qkv[j * ld + (kh + s->kv_heads) * d + c];
                for (int64_t c = 0; c < d; c++)
                    dot += out[i * width + h * d + c] * dout[i * width + h * d + c];
                for (int64_t j = first; j <= i; j++) {
                    double w = p[j - first] / sum, dp = 0;
                    for (int64_t c = 0; c < d; c++) {
                        double g = dout[i * width + h * d + c];
                        dp += g * qkv[j * ld + (kh + s->kv_heads) * d + c];
                        dqkv[j * ld + (kh + s->kv_heads) * d + c] += w * g;
                    }
                    double ds = w * (dp - dot) * 0.4f;
                    for (int64_t c = 0; c < d; c++) {
                        dqkv[i * ld + h * d + c] += ds * qkv[j * ld + kh * d + c];
                        dqkv[j * ld + kh * d + c] += ds * qkv[i * ld + h * d + c];
                    }
                }
            }
}

typedef struct result {
    float *out, *dqkv, *lse;
} result;

static result run_from(rlhf_context *context, const setting *s, const float *qkv,
                       const float *dout, const int64_t *from)
{
    int64_t width = s->heads * s->head_dim, ld = width + 2 * s->kv_heads * s->head_dim;
    result r = {fenced(TOTAL * width), fenced(TOTAL * ld), fenced(s->heads * TOTAL)};
    rlhf__attention a = make(s, qkv);
    rlhf__arena *arena = NULL;

    a.from = from;
    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    assert_int_equal(rlhf__attention_forward(context, arena, &a, r.out, width, r.lse),
                     RLHF_OK);
    assert_int_equal(rlhf__attention_grad(context, arena, &a, r.out, width, dout, width,
                                          r.lse, r.dqkv, r.dqkv + width,
                                          r.dqkv + width + s->kv_heads * s->head_dim),
                     RLHF_OK);
    assert_fence(r.out, TOTAL * width);
    assert_fence(r.dqkv, TOTAL * ld);
    assert_fence(r.lse, s->heads * TOTAL);
    rlhf__arena_free(arena);
    return r;
}

static result run(rlhf_context *context, const setting *s, const float *qkv,
                  const float *dout)
{
    return run_from(context, s, qkv, dout, NULL);
}

static void free_result(result r)
{
    free(r.out), free(r.dqkv), free(r.lse);
}

static void test_attention_equals_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SETTINGS; i++) {
            const setting *s = &settings[i];
            int64_t width = s->heads * s->head_dim,
                    ld = width + 2 * s->kv_heads * s->head_dim;
            float *qkv = random_floats(TOTAL * ld, 1),
                  *dout = random_floats(TOTAL * width, 2);
            double *out = malloc((size_t)(TOTAL * width) * sizeof *out);
            double *dqkv = malloc((size_t)(TOTAL * ld) * sizeof *dqkv);
            reference(s, qkv, dout, out, dqkv);
            result r = run(context, s, qkv, dout);
            assert_all_near(r.out, out, TOTAL * width, 1e-5);
            assert_all_near(r.dqkv, dqkv, TOTAL * ld, 2e-5);
            free_result(r);
            free(qkv), free(dout), free(out), free(dqkv);
        }
    }
}

/* Rows before `from` are neither written nor read, and the others are what they are in
 * the whole; gradients are those of the whole whose other rows get none. */
static void check_from(rlhf_context *context, const setting *s, const int64_t *from)
{
    int64_t width = s->heads * s->head_dim, ld = width + 2 * s->kv_heads * s->head_dim;
    float *qkv = random_floats(TOTAL * ld, 1), *dout = random_floats(TOTAL * width, 2);
    float *none = random_floats(TOTAL * width, 2);

    for (int64_t n = 0; n < NUM_SEQS; n++)
        for (int64_t i = cu_seqlens[n] * width; i < (cu_seqlens[n] + from[n]) * width;
             i++) {
            none[i] = 0.0f;
            dout[i] = NAN;
        }
    result whole = run(context, s, qkv, none),
           some = run_from(context, s, qkv, dout, from);
    for (int64_t n = 0; n < NUM_SEQS; n++) {
        int64_t begin = cu_seqlens[n] * width, end = cu_seqlens[n + 1] * width;
        for (int64_t i = begin; i < end; i++)
            assert_true(some.out[i] ==
                        (i < begin + from[n] * width ? GUARD : whole.out[i]));
    }
    for (int64_t i = 0; i < TOTAL * ld; i++) /* what is left out are terms of 0 */
        assert_true(some.dqkv[i] == whole.dqkv[i]);
    free_result(whole), free_result(some);
    free(qkv), free(dout), free(none);
}

static void test_attention_of_wanted_rows_equals_whole(void **state)
{
    static const int64_t froms[][NUM_SEQS] = {
        {0, 2, 63, 64, 149}, {1, 3, 64, 65, 150}, {0, 1, 5, 30, 77}, {0, 0, 13, 64, 128}};

    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SETTINGS; i++)
            for (size_t f = 0; f < sizeof froms / sizeof froms[0]; f++)
                check_from(context, &settings[i], froms[f]);
    }
}

/* The batch less the rows that sequences share with their leaders; rows of `whole`, of
 * `width` floats each, that are left. */
static void copy_own(const rlhf__shared *shared, const float *whole, int64_t width,
                     float *out)
{
    for (int64_t n = 0; n < NUM_SEQS; n++)
        for (int64_t i = cu_seqlens[n] + shared[n].length; i < cu_seqlens[n + 1]; i++) {
            memcpy(out, whole + i * width, (size_t)width * sizeof *out);
            out += width;
        }
}

/* Makes the shared rows of a whole batch the leaders', and their gradients none. */
static void make_alike(const rlhf__shared *shared, float *qkv, int64_t ld, float *dout,
                       int64_t width)
{
    for (int64_t n = 0; n < NUM_SEQS; n++) {
        const size_t rows = (size_t)shared[n].length;
        memcpy(qkv + cu_seqlens[n] * ld, qkv + cu_seqlens[shared[n].leader] * ld,
               rows * (size_t)ld * sizeof *qkv);
        memset(dout + cu_seqlens[n] * width, 0, rows * (size_t)width * sizeof *dout);
    }
}

/* Outputs and gradients of what is left are those of the whole batch; keys and values of
 * a leader get what all of them gave, in their order. */
static void check_shared(rlhf_context *context, const setting *s,
                         const rlhf__shared *shared)
{
    const int64_t width = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const int64_t ld = width + 2 * kv;
    float *qkv = random_floats(TOTAL * ld, 1), *dout = random_floats(TOTAL * width, 2);
    float *own_qkv = fenced(TOTAL * ld), *own_dout = fenced(TOTAL * width);
    float *expected = fenced(TOTAL * ld), *expected_out = fenced(TOTAL * width);
    int64_t cu[NUM_SEQS + 1] = {0}, total;
    result own = {fenced(TOTAL * width), fenced(TOTAL * ld), fenced(s->heads * TOTAL)};
    rlhf__arena *arena = NULL;

    make_alike(shared, qkv, ld, dout, width);
    result whole = run(context, s, qkv, dout);
    copy_own(shared, whole.out, width, expected_out);
    for (int64_t n = 0; n < NUM_SEQS; n++) {
        const float *from = whole.dqkv + cu_seqlens[n] * ld;
        float *to = whole.dqkv + cu_seqlens[shared[n].leader] * ld;
        for (int64_t i = 0; i < shared[n].length * ld; i++)
            to[i] += i % ld < width ? 0.0f : from[i];
        cu[n + 1] = cu[n] + cu_seqlens[n + 1] - cu_seqlens[n] - shared[n].length;
    }
    copy_own(shared, whole.dqkv, ld, expected);
    copy_own(shared, qkv, ld, own_qkv), copy_own(shared, dout, width, own_dout);
    total = cu[NUM_SEQS];
    rlhf__attention a = make(s, own_qkv);
    a.cu_seqlens = cu;
    a.shared = shared;
    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    assert_int_equal(rlhf__attention_forward(context, arena, &a, own.out, width, own.lse),
                     RLHF_OK);
    assert_int_equal(rlhf__attention_grad(context, arena, &a, own.out, width, own_dout,
                                          width, own.lse, own.dqkv, own.dqkv + width,
                                          own.dqkv + width + kv),
                     RLHF_OK);
    assert_memory_equal(own.out, expected_out, (size_t)(total * width) * sizeof(float));
    for (int64_t i = 0; i < total * ld; i++) /* but for the sign of 0 */
        assert_true(own.dqkv[i] == expected[i]);
    for (int64_t i = total * ld; i < TOTAL * ld; i++)
        assert_true(own.dqkv[i] == GUARD);
    rlhf__arena_free(arena);
    free_result(whole), free_result(own);
    free(qkv), free(dout), free(own_qkv), free(own_dout);
    free(expected), free(expected_out);
}

/* Leaders side by side and not, ends within a block, at one and past it, and a sequence
 * that has nothing else. */
static void test_attention_of_shared_rows_equals_whole(void **state)
{
    static const rlhf__shared cases[][NUM_SEQS] = {
        {{0}, {0, 1}, {0, 2}, {40, 2}, {64, 2}},
        {{0}, {1, 0}, {0, 2}, {64, 2}, {3, 2}},
        {{0}, {0, 1}, {3, 1}, {0, 3}, {65, 3}},
        {{0}, {0, 1}, {0, 2}, {1, 0}, {63, 2}},
    };

    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SETTINGS; i++)
            for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
                check_shared(context, &settings[i], cases[c]);
    }
}

static void test_attention_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int32_t level = RLHF_CPU_PORTABLE; level <= RLHF_CPU_AMX; level++)
        for (size_t i = 0; i < NUM_SETTINGS; i++) {
            const setting *s = &settings[i];
            int64_t width = s->heads * s->head_dim,
                    ld = width + 2 * s->kv_heads * s->head_dim;
            float *qkv = random_floats(TOTAL * ld, 1),
                  *dout = random_floats(TOTAL * width, 2);
            result first = {NULL, NULL, NULL};
            for (int32_t threads = 1; threads <= 3; threads++) {
                rlhf_context *context = context_of(level, threads);
                if (!context)
                    continue;
                result r = run(context, s, qkv, dout);
                if (first.out) {
                    assert_memory_equal(r.out, first.out, (size_t)(TOTAL * width) * 4);
                    assert_memory_equal(r.dqkv, first.dqkv, (size_t)(TOTAL * ld) * 4);
                    free_result(r);
                } else {
                    first = r;
                }
                rlhf_context_free(context);
            }
            free_result(first);
            free(qkv), free(dout);
        }
}

/* Tokens fed to a cache `step` at a time give the bits of the whole sequence at once; in
 * bf16 from a cache of half the size. */
static void check_cached(rlhf_context *context, const setting *s, const float *qkv,
                         const float *whole, int64_t sequence, int64_t step)
{
    int64_t width = s->heads * s->head_dim, ld = width + 2 * s->kv_heads * s->head_dim;
    int64_t at = cu_seqlens[sequence], length = cu_seqlens[sequence + 1] - at,
            capacity = 192;
    size_t size = (size_t)rlhf__kv_size(capacity, s->kv_heads, s->head_dim);
    void *cache = calloc(size, rlhf__kv_element(context));
    float *out = fenced(width * step);
    rlhf__arena *arena = NULL;

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    for (int64_t past = 0; past < length; past += step) {
        int64_t count = length - past < step ? length - past : step;
        int64_t cu[2] = {0, count};
        rlhf__attention a = make(s, qkv + (at + past) * ld);
        a.num_seqs = 1;
        a.cu_seqlens = cu;
        assert_int_equal(rlhf__attention_cached(context, arena, &a, &cache, &past,
                                                capacity, out, width),
                         RLHF_OK);
        assert_memory_equal(out, whole + (at + past) * width,
                            (size_t)(count * width) * 4);
        assert_fence(out, width * step);
    }
    rlhf__arena_free(arena);
    free(cache), free(out);
}

static void test_attention_cached_equals_whole_sequence(void **state)
{
    (void)state;
    static const int64_t steps[] = {1, 3, 64, 100, 150};

    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++)
        FOR_LEVELS_OF(context, 2, dtype)
        {
            for (size_t i = 0; i < NUM_SETTINGS; i++) {
                const setting *s = &settings[i];
                int64_t width = s->heads * s->head_dim,
                        ld = width + 2 * s->kv_heads * s->head_dim;
                float *qkv = random_floats(TOTAL * ld, 1),
                      *dout = random_floats(TOTAL * width, 2);
                rlhf__round_activations(context, qkv + width, ld, TOTAL, ld - width);
                result r = run(context, s, qkv, dout);
                for (int64_t sequence = 0; sequence < NUM_SEQS; sequence++)
                    for (size_t j = 0; j < sizeof steps / sizeof steps[0]; j++)
                        check_cached(context, s, qkv, r.out, sequence, steps[j]);
                free_result(r);
                free(qkv), free(dout);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_equals_double_reference),
        cmocka_unit_test(test_attention_of_wanted_rows_equals_whole),
        cmocka_unit_test(test_attention_of_shared_rows_equals_whole),
        cmocka_unit_test(test_attention_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_attention_cached_equals_whole_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
