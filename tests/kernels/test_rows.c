/* Norms, activations, softmax, rotary, embedding and the optimizer's update against
 * double precision, at every level, and with 1, 2 and 3 threads bit for bit. */
#include "kernels_support.h"

#include "kernels/table.h"

#define ROWS 37

static rlhf__arena *make_arena(rlhf_context *context)
{
    rlhf__arena *arena = NULL;

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    return arena;
}

static const int64_t widths[] = {1, 2, 3, 4, 5, 6, 7, 16, 33, 100, 257};
#define FOR_WIDTHS(w) for (int64_t i_ = 0, w; i_ < 11 && ((w = widths[i_]), 1); i_++)

/* Loss = sum dy * y; its gradient by central differences in double. */
typedef double (*row_loss)(const double *x, int64_t width, const float *weight,
                           const float *bias, const float *dy);

static double layernorm_loss(const double *x, int64_t w, const float *weight,
                             const float *bias, const float *dy)
{
    double mean = 0, var = 0, sum = 0;

    for (int64_t c = 0; c < w; c++)
        mean += x[c] / (double)w;
    for (int64_t c = 0; c < w; c++)
        var += (x[c] - mean) * (x[c] - mean) / (double)w;
    for (int64_t c = 0; c < w; c++)
        sum += dy[c] * ((x[c] - mean) / sqrt(var + 1e-3f) * weight[c] + bias[c]);
    return sum;
}

static double rmsnorm_loss(const double *x, int64_t w, const float *weight,
                           const float *bias, const float *dy)
{
    double square = 0, sum = 0;

    (void)bias;
    for (int64_t c = 0; c < w; c++)
        square += x[c] * x[c] / (double)w;
    for (int64_t c = 0; c < w; c++)
        sum += dy[c] * x[c] / sqrt(square + 1e-3f) * weight[c];
    return sum;
}

static void check_row_gradient(row_loss loss, const float *x, int64_t w,
                               const float *weight, const float *bias, const float *dy,
                               const float *dx, const float *start)
{
    double point[512];

    for (int64_t c = 0; c < w; c++)
        point[c] = x[c];
    for (int64_t c = 0; c < w; c += 1 + w / 7) {
        double h = 1e-5;
        point[c] = x[c] + h;
        double up = loss(point, w, weight, bias, dy);
        point[c] = x[c] - h;
        double down = loss(point, w, weight, bias, dy);
        point[c] = x[c];
        assert_near(dx[c] - start[c], (up - down) / (2 * h), 2e-4);
    }
}

static void check_norm(rlhf_context *context, bool rms, int64_t w)
{
    float *x = random_floats(ROWS * w, 1), *weight = random_floats(w, 2);
    float *bias = random_floats(w, 3), *dy = random_floats(ROWS * w, 4);
    float *start = random_floats(ROWS * w, 5), *y = fenced(ROWS * w),
          *dx = fenced(ROWS * w);
    float *dweight = fenced(w), *dbias = fenced(w), mean[ROWS], rstd[ROWS];
    rlhf__arena *arena = make_arena(context);

    memcpy(dx, start, (size_t)(ROWS * w) * sizeof *dx);
    memset(dweight, 0, (size_t)w * sizeof *dweight);
    memset(dbias, 0, (size_t)w * sizeof *dbias);
    if (rms) {
        assert_int_equal(rlhf__rmsnorm(context, NULL, x, NULL, ROWS, w, weight, 1e-3f,
                                       rlhf__to_floats(y), rstd),
                         RLHF_OK);
        assert_int_equal(
            rlhf__rmsnorm_grad(context, arena, dy, x, weight, rstd, ROWS, w, dx, dweight),
            RLHF_OK);
    } else {
        assert_int_equal(rlhf__layernorm(context, NULL, x, NULL, ROWS, w, weight, bias,
                                         1e-3f, rlhf__to_floats(y), mean, rstd),
                         RLHF_OK);
        assert_int_equal(rlhf__layernorm_grad(context, arena, dy, x, weight, mean, rstd,
                                              ROWS, w, dx, dweight, dbias),
                         RLHF_OK);
    }
    row_loss loss = rms ? rmsnorm_loss : layernorm_loss;
    double *db = calloc((size_t)w, sizeof *db), *dw = calloc((size_t)w, sizeof *dw);
    for (int64_t r = 0; r < ROWS; r++) {
        double point[512], sum = 0;
        for (int64_t c = 0; c < w; c++) {
            point[c] = x[r * w + c];
            sum += (double)dy[r * w + c] * y[r * w + c];
            db[c] += dy[r * w + c];
            dw[c] += dy[r * w + c] * (y[r * w + c] - (rms ? 0.0 : bias[c])) / weight[c];
        }
        assert_near(sum, loss(point, w, weight, bias, dy + r * w), 1e-5);
        check_row_gradient(loss, x + r * w, w, weight, bias, dy + r * w, dx + r * w,
                           start + r * w);
    }
    assert_all_near(dweight, dw, w, 2e-4);
    if (!rms)
        assert_all_near(dbias, db, w, 1e-5);
    assert_fence(y, ROWS * w), assert_fence(dx, ROWS * w);
    assert_fence(dweight, w), assert_fence(dbias, w);
    rlhf__arena_free(arena);
    free(x), free(weight), free(bias), free(dy), free(start), free(y), free(dx);
    free(dweight), free(dbias), free(db), free(dw);
}

/* The sum and its norm in one pass are to the bit those of two. */
static void check_norm_of_sum(rlhf_context *context, bool rms, int64_t w)
{
    float *branch = random_floats(ROWS * w, 1), *weight = random_floats(w, 2);
    float *x[2], *y[2], mean[2][ROWS], rstd[2][ROWS];

    for (int i = 0; i < 2; i++) {
        const float *rest = i == 0 ? branch : NULL;
        x[i] = random_floats(ROWS * w, 3);
        y[i] = fenced(ROWS * w);
        if (i == 1)
            rlhf__add_to(context, branch, ROWS * w, x[i]);
        if (rms)
            assert_int_equal(rlhf__rmsnorm(context, NULL, x[i], rest, ROWS, w, weight,
                                           1e-3f, rlhf__to_floats(y[i]), rstd[i]),
                             RLHF_OK);
        else
            assert_int_equal(rlhf__layernorm(context, NULL, x[i], rest, ROWS, w, weight,
                                             NULL, 1e-3f, rlhf__to_floats(y[i]), mean[i],
                                             rstd[i]),
                             RLHF_OK);
        assert_fence(y[i], ROWS * w);
    }
    assert_memory_equal(x[0], x[1], (size_t)(ROWS * w) * sizeof *x[0]);
    assert_memory_equal(y[0], y[1], (size_t)(ROWS * w) * sizeof *y[0]);
    assert_memory_equal(rstd[0], rstd[1], sizeof rstd[0]);
    if (!rms)
        assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    free(branch), free(weight), free(x[0]), free(x[1]), free(y[0]), free(y[1]);
}

static void test_norms_equal_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        FOR_WIDTHS(w)
        {
            check_norm(context, false, w);
            check_norm(context, true, w);
            check_norm_of_sum(context, false, w);
            check_norm_of_sum(context, true, w);
        }
    }
}

static double activation(int kind, double g, double u)
{
    if (kind == RLHF__SWIGLU)
        return g / (1 + exp(-g)) * u;
    if (kind == RLHF__GELU_ERF)
        return 0.5 * g * (1 + erf(g / sqrt(2)));
    return 0.5 * g * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
}

static void check_activation(rlhf_context *context, int kind, int64_t w)
{
    int64_t in = kind == RLHF__SWIGLU ? 2 * w : w;
    float *x = random_floats(ROWS * in, 1), *dy = random_floats(ROWS * w, 2);
    float *y = fenced(ROWS * w), *dx = fenced(ROWS * in);

    for (int64_t i = 0; i < ROWS * in; i++)
        x[i] *= 12.0f;
    x[0] = 0.0f;
    assert_int_equal(rlhf__activation_forward(context, NULL, (rlhf__activation)kind, x,
                                              ROWS, w, rlhf__to_floats(y)),
                     RLHF_OK);
    rlhf__activation_grad(context, (rlhf__activation)kind, dy, x, ROWS, w, dx);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < w; c++) {
            double g = x[r * in + c], u = kind == RLHF__SWIGLU ? x[r * in + w + c] : 0;
            double h = 1e-5, d = dy[r * w + c];
            assert_near(y[r * w + c], activation(kind, g, u), 1e-6);
            assert_near(dx[r * in + c],
                        d * (activation(kind, g + h, u) - activation(kind, g - h, u)) /
                            (2 * h),
                        1e-5);
            if (kind == RLHF__SWIGLU)
                assert_near(dx[r * in + w + c], d * activation(kind, g, 1), 1e-6);
        }
    assert_fence(y, ROWS * w), assert_fence(dx, ROWS * in);
    free(x), free(dy), free(y), free(dx);
}

static void test_activations_equal_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = RLHF__GELU_TANH; kind <= RLHF__SWIGLU; kind++)
            FOR_WIDTHS(w)
        check_activation(context, kind, w);
    }
}

/* Spec, section 8: zero logits over 50257 tokens; z = [2, 1, 0] at two temperatures. */
static void test_logprob_has_the_exact_values(void **state)
{
    (void)state;
    static float zeros[50257];
    float z[3] = {2, 1, 0}, logprob, entropy;
    int32_t target = 0;

    FOR_LEVELS(context, 1)
    {
        rlhf__logprob(context, zeros, 50257, 1, 50257, &target, 1.0f, &logprob, &entropy,
                      NULL);
        assert_near(logprob, -10.824905, 1e-6);
        assert_near(entropy, 10.824905, 1e-6);
        rlhf__logprob(context, z, 3, 1, 3, &target, 1.0f, &logprob, NULL, NULL);
        assert_near(logprob, -0.407606, 1e-6);
        rlhf__logprob(context, z, 3, 1, 3, &target, 1 / 0.7f, &logprob, NULL, NULL);
        assert_near(logprob, -0.260118, 2e-6);
    }
}

static double logprob_loss(const double *z, int64_t w, int32_t target, double tau,
                           double a, double b)
{
    double top = -1e300, sum = 0, mean = 0;

    for (int64_t j = 0; j < w; j++)
        top = z[j] / tau > top ? z[j] / tau : top;
    for (int64_t j = 0; j < w; j++)
        sum += exp(z[j] / tau - top);
    for (int64_t j = 0; j < w; j++)
        mean += exp(z[j] / tau - top) / sum * z[j] / tau;
    double lse = top + log(sum);
    return a * (z[target] / tau - lse) + b * (lse - mean);
}

static void test_logprob_gradient_equals_finite_differences(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        FOR_WIDTHS(w)
        {
            float *z = random_floats(ROWS * w, 1), *dz = fenced(ROWS * w);
            float logprob[ROWS], entropy[ROWS], lse[ROWS], a[ROWS], b[ROWS];
            int32_t targets[ROWS];
            double point[512];
            for (int64_t r = 0; r < ROWS; r++) {
                targets[r] = (int32_t)(r % w);
                a[r] = 0.5f + (float)r;
                b[r] = 1.0f - (float)r / 8;
            }
            for (int64_t i = 0; i < ROWS * w; i++)
                z[i] *= 5.0f;
            memcpy(dz, z, (size_t)(ROWS * w) * sizeof *z);
            rlhf__logprob(context, z, w, ROWS, w, targets, 1.25f, logprob, entropy, lse);
            rlhf__logprob_grad(context, dz, w, ROWS, w, targets, 1.25f, lse, entropy, a,
                               b);
            for (int64_t r = 0; r < ROWS; r++) {
                for (int64_t j = 0; j < w; j++)
                    point[j] = z[r * w + j];
                assert_near(logprob[r], logprob_loss(point, w, targets[r], 0.8, 1, 0),
                            1e-5);
                assert_near(entropy[r], logprob_loss(point, w, targets[r], 0.8, 0, 1),
                            1e-5);
                for (int64_t j = 0; j < w; j += 1 + w / 5) {
                    point[j] = z[r * w + j] + 1e-5;
                    double up = logprob_loss(point, w, targets[r], 0.8, a[r], b[r]);
                    point[j] = z[r * w + j] - 1e-5;
                    double down = logprob_loss(point, w, targets[r], 0.8, a[r], b[r]);
                    point[j] = z[r * w + j];
                    assert_near(dz[r * w + j], (up - down) / 2e-5, 2e-4);
                }
            }
            assert_fence(dz, ROWS * w);
            free(z), free(dz);
        }
    }
}

static void test_softmax_and_argmax(void **state)
{
    (void)state;
    float z[5] = {1.0f, 3.0f, -INFINITY, 3.0f, 2.0f}, p[5];

    FOR_LEVELS(context, 1)
    {
        double sums[1];
        rlhf__softmax softmax;
        assert_false(
            rlhf__softmax_weights(context, z, 5, 2.0f, -INFINITY, p, sums, &softmax));
        assert_near(p[0], exp(-4), 1e-6);
        assert_true(p[1] == 1.0f);
        assert_true(p[2] == 0.0f);
        assert_near(sums[0], exp(-4) + 2 + exp(-2), 1e-6);
        assert_true(p[1] == p[3]);
        assert_int_equal(rlhf__argmax_row(context, z, 5), -1);
        for (int64_t n = 1; n <= 200; n++) {
            static float row[200];
            row[n - 1] = 1.0f;
            assert_int_equal(rlhf__argmax_row(context, row, 200), n - 1);
            assert_int_equal(rlhf__argmax_row(context, row, n), n - 1);
            row[n - 1] = 0.0f;
        }
        assert_near(rlhf__expf(context, -1.5f), exp(-1.5), 1e-6);
        assert_true(rlhf__expf(context, 0.0f) == 1.0f);
        assert_true(rlhf__expf(context, -200.0f) == 0.0f);
        assert_true(isinf(rlhf__expf(context, 100.0f)));
    }
}

/* Blocks of 64 and a rest, at every level and row length; what is at or below the floor
 * weighs nothing. */
static void test_softmax_weights_are_summed_by_blocks(void **state)
{
    float z[200], p[200];
    double sums[4];

    (void)state;
    FOR_LEVELS(context, 1)
    {
        for (int64_t n = 1; n <= 200; n += 13) {
            double top = -INFINITY;
            for (int64_t v = 0; v < n; v++) {
                z[v] = (float)((v * 37 % 101) / 17.0);
                top = fmax(top, z[v]);
            }
            rlhf__softmax softmax;
            assert_true(
                rlhf__softmax_weights(context, z, n, 0.5f, 1.0f, p, sums, &softmax));
            for (int64_t b = 0; b * 64 < n; b++) {
                double sum = 0;
                for (int64_t v = 64 * b; v < n && v < 64 * b + 64; v++) {
                    double want = z[v] > 1.0f ? exp((z[v] - top) * 0.5) : 0.0;
                    assert_near(p[v], want, 1e-6);
                    sum += p[v];
                }
                assert_near(sums[b], sum, 1e-12);
            }
        }
    }
}

/* Lanes are added by halves. */
static double add_lanes(double *x, int64_t lanes)
{
    for (int64_t width = lanes / 2; width > 0; width /= 2)
        for (int64_t j = 0; j < width; j++)
            x[j] += x[j + width];
    return x[0];
}

static float add_float_lanes(float *x, int64_t lanes)
{
    for (int64_t width = lanes / 2; width > 0; width /= 2)
        for (int64_t j = 0; j < width; j++)
            x[j] += x[j + width];
    return x[0];
}

/* rlhf__softmax_weights step by step, an element at a time. */
static void weights_by_element(rlhf_context *context, const float *z, int64_t count,
                               float lowest, float *weights, double *sums,
                               rlhf__softmax *s)
{
    const int64_t lanes = rlhf__table(context)->lanes;
    float sum[16] = {0}, weighted[16] = {0};

    s->top = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        s->top = z[i] > s->top ? z[i] : s->top;
    for (int64_t i = 0; i < count; i++) {
        const float d = (z[i] - s->top) * s->inv_tau, e = rlhf__expf(context, d);
        const float factor = d > -200.0f ? d : -200.0f;
        float *w = &weighted[i % lanes];
        sum[i % lanes] += e;
        *w = lanes == 4 ? e * factor + *w : fmaf(e, factor, *w);
        weights[i] = z[i] > lowest ? e : 0.0f;
    }
    s->sum = add_float_lanes(sum, lanes);
    s->weighted = add_float_lanes(weighted, lanes);
    for (int64_t b = 0; b * RLHF__WEIGHTS_BLOCK < count; b++) {
        double block[16] = {0};
        for (int64_t i = 0; i < RLHF__WEIGHTS_BLOCK; i++)
            if (b * RLHF__WEIGHTS_BLOCK + i < count)
                block[i % lanes] += (double)weights[b * RLHF__WEIGHTS_BLOCK + i];
        sums[b] = add_lanes(block, lanes);
    }
}

/* Some are masked, some are in equal pairs, and one is `odd`, unless that is 0. */
static void make_logits(int64_t count, float spread, float odd, float *out)
{
    float *x = random_floats(count, 11);

    for (int64_t i = 0; i < count; i++)
        out[i] = i % 7 == 5 ? -1e30f : spread * x[i % 5 == 4 ? i - 1 : i];
    if (odd != 0.0f)
        out[count * 2 / 3] = odd;
    free(x);
}

/* To the bit: what the draw uses, and what a log-probability needs. */
static void check_softmax_bits(rlhf_context *context, const float *z, int64_t count,
                               float inv_tau, bool finite)
{
    enum { MOST = 1000, BLOCKS = MOST / RLHF__WEIGHTS_BLOCK + 1 };
    static float weights[MOST + 1], want_weights[MOST];
    double sums[BLOCKS], want_sums[BLOCKS];
    rlhf__softmax softmax, want = {.inv_tau = inv_tau};
    const int32_t target = (int32_t)(count / 3);
    float scores[3], want_scores[3];

    weights[count] = GUARD;
    assert_true(rlhf__softmax_weights(context, z, count, inv_tau, -1e30f, weights, sums,
                                      &softmax) == finite);
    rlhf__softmax_logprob(&softmax, z[target], &scores[0], &scores[1], &scores[2]);
    rlhf__logprob(context, z, count, 1, count, &target, inv_tau, &want_scores[0],
                  &want_scores[1], &want_scores[2]);
    assert_true(weights[count] == GUARD);
    for (int i = 0; i < 3; i++)
        if (isnan(want_scores[i]))
            assert_true(isnan(scores[i]));
        else
            assert_memory_equal(&scores[i], &want_scores[i], sizeof scores[i]);
    if (softmax.sum != softmax.sum) {
        assert_false(finite);
        return;
    }
    weights_by_element(context, z, count, -1e30f, want_weights, want_sums, &want);
    assert_memory_equal(&softmax, &want, sizeof want);
    assert_memory_equal(weights, want_weights, (size_t)count * sizeof *weights);
    assert_memory_equal(
        sums, want_sums,
        (size_t)((count + RLHF__WEIGHTS_BLOCK - 1) / RLHF__WEIGHTS_BLOCK) * sizeof *sums);
}

static void test_softmax_of_a_draw_has_the_bits_of_its_steps(void **state)
{
    static const double taus[] = {1.0, 0.7, 1e-300, 1e300};
    static const float odd[] = {0.0f, -INFINITY, INFINITY, NAN};
    float z[1000];

    (void)state;
    FOR_LEVELS(context, 1)
    {
        for (int t = 0; t < 4; t++)
            for (int o = 0; o < 4; o++) {
                for (int64_t n = 1; n <= 1000; n += n < 70 ? 1 : 93) {
                    make_logits(n, t == 1 ? 100.0f : 4.0f, odd[o], z);
                    check_softmax_bits(context, z, n, rlhf__inv_tau(taus[t]), o == 0);
                }
            }
    }
}

/* At any temperature above 0 the largest logit wins, and no step overflows on the way. */
static void test_softmax_holds_at_tiny_temperatures(void **state)
{
    static const double taus[] = {1e-3, 1e-6, 1e-12, 1e-300};
    const float z[3] = {100.0f, 99.5f, -90.0f};
    const int32_t targets[2] = {0, 1};
    float p[3], logprob[2], rows[6];
    double sums[1];

    (void)state;
    memcpy(rows, z, sizeof z);
    memcpy(rows + 3, z, sizeof z);
    FOR_LEVELS(context, 1)
    {
        for (int i = 0; i < 4; i++) {
            const float inv_tau = rlhf__inv_tau(taus[i]);
            rlhf__softmax softmax;
            assert_true(rlhf__softmax_weights(context, z, 3, inv_tau, -INFINITY, p, sums,
                                              &softmax));
            assert_true(p[0] == 1.0f && p[1] == 0.0f && p[2] == 0.0f);
            rlhf__logprob(context, rows, 3, 2, 3, targets, inv_tau, logprob, NULL, NULL);
            assert_true(logprob[0] == 0.0f);
            assert_near(logprob[1] * taus[i], taus[i] < 1e-30 ? 0.0 : -0.5, 1e-6);
        }
    }
}

/* The other end: all alike, but what is masked. */
static void test_softmax_holds_at_huge_temperatures(void **state)
{
    static const double taus[] = {1e25, 1e60, 1e300};
    const float z[3] = {100.0f, -1e30f, -90.0f};
    const int32_t target = 0;
    float logprob, entropy, p[3];
    double sums[1];

    (void)state;
    FOR_LEVELS(context, 1)
    {
        for (int i = 0; i < 3; i++) {
            const float inv_tau = rlhf__inv_tau(taus[i]);
            rlhf__softmax softmax;
            assert_true(
                rlhf__softmax_weights(context, z, 3, inv_tau, -1e30f, p, sums, &softmax));
            assert_true(p[0] == 1.0f && p[1] == 0.0f && p[2] == 1.0f);
            rlhf__logprob(context, z, 3, 1, 3, &target, inv_tau, &logprob, &entropy,
                          NULL);
            assert_near(logprob, -log(2.0), 1e-6);
            assert_near(entropy, log(2.0), 1e-6);
        }
    }
}

static void test_rope_turns_and_turns_back(void **state)
{
    (void)state;
    enum { HEADS = 3, DIM = 10, LD = 37 };

    FOR_LEVELS(context, 2)
    {
        float *x = random_floats(ROWS * LD, 1), cosines[64 * DIM / 2],
              sines[64 * DIM / 2];
        float *y = random_floats(ROWS * LD, 1);
        int32_t positions[ROWS];
        rlhf__rope_table(0, 64, DIM, 10000.0, cosines, sines);
        for (int r = 0; r < ROWS; r++)
            positions[r] = (r * 7) % 64;
        rlhf__rope(context, y, LD, ROWS, HEADS, DIM, positions, cosines, sines, false);
        for (int r = 0; r < ROWS; r++)
            for (int h = 0; h < HEADS; h++)
                for (int i = 0; i < DIM / 2; i++) {
                    double a = positions[r] * pow(10000.0, -2.0 * i / DIM);
                    const float *from = x + r * LD + h * DIM + i;
                    assert_near(y[r * LD + h * DIM + i],
                                from[0] * cos(a) - from[DIM / 2] * sin(a), 1e-5);
                }
        rlhf__rope(context, y, LD, ROWS, HEADS, DIM, positions, cosines, sines, true);
        for (int i = 0; i < ROWS * LD; i++)
            assert_near(y[i], x[i], 1e-6);
        free(x), free(y);
    }
}

static void test_embedding_gathers_and_scatters(void **state)
{
    (void)state;
    enum { VOCAB = 11, WIDTH = 70 };

    FOR_LEVELS(context, 2)
    {
        float *table = random_floats(VOCAB * WIDTH, 1),
              *where = random_floats(ROWS * WIDTH, 2);
        float *y = fenced(ROWS * WIDTH), *dtable = fenced(VOCAB * WIDTH);
        float *dwhere = fenced(ROWS * WIDTH);
        double *expected = calloc(VOCAB * WIDTH, sizeof *expected);
        int32_t tokens[ROWS], positions[ROWS];
        for (int r = 0; r < ROWS; r++) {
            tokens[r] = (r * 5) % VOCAB;
            positions[r] = r;
        }
        rlhf__embed(context, tokens, positions, ROWS, WIDTH, table, where, y);
        memset(dtable, 0, sizeof(float) * VOCAB * WIDTH);
        memset(dwhere, 0, sizeof(float) * ROWS * WIDTH);
        rlhf__embed_grad(context, tokens, positions, ROWS, WIDTH, y, dtable, dwhere);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < WIDTH; c++) {
                assert_true(y[r * WIDTH + c] ==
                            table[tokens[r] * WIDTH + c] + where[r * WIDTH + c]);
                assert_true(dwhere[r * WIDTH + c] == y[r * WIDTH + c]);
                expected[tokens[r] * WIDTH + c] += y[r * WIDTH + c];
            }
        assert_all_near(dtable, expected, VOCAB * WIDTH, 1e-5);
        assert_fence(y, ROWS * WIDTH), assert_fence(dtable, VOCAB * WIDTH);
        free(table), free(where), free(y), free(dtable), free(dwhere), free(expected);
    }
}

static void test_adamw_equals_double_reference(void **state)
{
    (void)state;
    enum { COUNT = 100003 };
    rlhf__adamw_args args = {0.9f, 0.95f, 1e-2f, 1.5f, 1e-6f, 1e-3f, 0.5f};

    FOR_LEVELS(context, 3)
    {
        float *g = random_floats(COUNT, 1), *p = random_floats(COUNT, 2);
        float *m = random_floats(COUNT, 3), *v = random_floats(COUNT, 4);
        float *p0 = random_floats(COUNT, 2), *m0 = random_floats(COUNT, 3);
        for (int i = 0; i < COUNT; i++)
            v[i] = fabsf(v[i]);
        float *v0 = aligned_floats(COUNT);
        memcpy(v0, v, sizeof(float) * COUNT);
        rlhf__adamw_update(context, &args, COUNT, g, p, m, v);
        for (int i = 0; i < COUNT; i++) {
            double gi = 0.5 * g[i], mi = 0.9f * m0[i] + (1 - 0.9f) * gi;
            double vi = 0.95f * v0[i] + (1 - 0.95f) * gi * gi;
            double pi = p0[i] - 1e-3f * p0[i];
            assert_near(m[i], mi, 1e-6);
            assert_near(v[i], vi, 1e-6);
            assert_near(p[i], pi - 1e-2f * mi / (sqrt(vi) * 1.5 + 1e-6f), 2e-6);
        }
        double sum = 0;
        for (int i = 0; i < COUNT; i++)
            sum += (double)g[i] * g[i];
        assert_near(rlhf__sum_squares(context, g, COUNT), sum, 1e-12);
        assert_true(rlhf__all_finite(context, g, COUNT));
        g[COUNT - 1] = NAN;
        assert_false(rlhf__all_finite(context, g, COUNT));
        g[COUNT - 1] = INFINITY;
        assert_false(rlhf__all_finite(context, g, COUNT));
        free(g), free(p), free(m), free(v), free(p0), free(m0), free(v0);
    }
}

/* Everything above in one buffer, for a thread count. */
static float *all_results(rlhf_context *context, int64_t *out_count)
{
    enum { W = 1000 };
    int64_t n = ROWS * W;
    float *x = random_floats(n, 1), *w = random_floats(W, 2), *dy = random_floats(n, 3);
    float *out = calloc((size_t)(8 * n), sizeof *out), mean[ROWS], rstd[ROWS], *at = out;
    rlhf__arena *arena = make_arena(context);
    int32_t targets[ROWS] = {0};

    assert_int_equal(rlhf__layernorm(context, NULL, x, NULL, ROWS, W, w, w, 1e-5f,
                                     rlhf__to_floats(at), mean, rstd),
                     RLHF_OK);
    assert_int_equal(rlhf__layernorm_grad(context, arena, dy, x, w, mean, rstd, ROWS, W,
                                          at + n, at + 2 * n, at + 2 * n + W),
                     RLHF_OK);
    at += 3 * n;
    assert_int_equal(rlhf__rmsnorm(context, NULL, x, NULL, ROWS, W, w, 1e-5f,
                                   rlhf__to_floats(at), rstd),
                     RLHF_OK);
    assert_int_equal(
        rlhf__rmsnorm_grad(context, arena, dy, x, w, rstd, ROWS, W, at + n, at + 2 * n),
        RLHF_OK);
    at += 3 * n;
    assert_int_equal(rlhf__activation_forward(context, NULL, RLHF__GELU_TANH, x, ROWS, W,
                                              rlhf__to_floats(at)),
                     RLHF_OK);
    at += n;
    rlhf__logprob(context, x, W, ROWS, W, targets, 1.0f, at, at + ROWS, at + 2 * ROWS);
    double squares = rlhf__sum_squares(context, x, n);
    memcpy(at + 3 * ROWS, &squares, sizeof squares);
    rlhf__arena_free(arena);
    free(x), free(w), free(dy);
    *out_count = 8 * n;
    return out;
}

/* Anywhere in vectors and tails; the largest and the least numbers are finite. */
static void test_value_that_is_not_finite_is_seen(void **state)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const float good[] = {3.4028234e38f, -3.4028234e38f, 1e-45f, -0.0f};

    (void)state;
    FOR_LEVELS(context, 1)
    {
        float x[70] = {0};
        for (int64_t count = 0; count <= 70; count++)
            for (int64_t i = 0; i < count; i++) {
                x[i] = good[i % 4];
                assert_true(rlhf__all_finite(context, x, count));
                assert_true(rlhf__argmax_row(context, x, count) >= 0);
                x[i] = bad[i % 4];
                assert_false(rlhf__all_finite(context, x, count));
                assert_int_equal(rlhf__argmax_row(context, x, count), -1);
                assert_true(rlhf__all_finite(context, x, i));
                x[i] = 0.0f;
            }
    }
}

/* A part of a matrix becomes a part of another, whose rest stays. */
static void test_matrix_turns(void **state)
{
    (void)state;
    FOR_LEVELS(context, 1)
    {
        for (int64_t rows = 1; rows <= 37; rows += 3)
            for (int64_t cols = 1; cols <= 35; cols += 2) {
                const int64_t ld = cols + 3, ldo = rows + 5;
                float *src = random_floats(rows * ld, 7), *out = fenced(cols * ldo);
                rlhf__turn(context, src, ld, rows, cols, out, ldo);
                for (int64_t c = 0; c < cols; c++)
                    for (int64_t r = 0; r < ldo; r++)
                        assert_true(out[c * ldo + r] ==
                                    (r < rows ? src[r * ld + c] : GUARD));
                assert_fence(out, cols * ldo);
                free(src);
                free(out);
            }
    }
}

/* The same where whole cache lines are written, which some levels do past the caches. */
static void test_matrix_turns_in_whole_lines(void **state)
{
    const int64_t ldo = 48, cols = 21;
    float *out = NULL;

    (void)state;
    assert_int_equal(posix_memalign((void **)&out, 64, (size_t)(cols * ldo) * 4), 0);
    FOR_LEVELS(context, 1)
    {
        for (int64_t rows = 1; rows <= ldo; rows++) {
            float *src = random_floats(rows * cols, 8);
            for (int64_t i = 0; i < cols * ldo; i++)
                out[i] = GUARD;
            rlhf__turn(context, src, cols, rows, cols, out, ldo);
            for (int64_t c = 0; c < cols; c++)
                for (int64_t r = 0; r < ldo; r++)
                    assert_true(out[c * ldo + r] ==
                                (r < rows ? src[r * cols + c] : GUARD));
            free(src);
        }
    }
    free(out);
}

static void test_row_kernels_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int32_t level = RLHF_CPU_PORTABLE; level <= RLHF_CPU_AMX; level++) {
        float *first = NULL;
        for (int32_t threads = 1; threads <= 3; threads++) {
            rlhf_context *context = context_of(level, threads);
            int64_t count = 0;
            if (!context)
                continue;
            float *results = all_results(context, &count);
            if (first)
                assert_memory_equal(results, first, (size_t)count * sizeof *first);
            if (first)
                free(results);
            else
                first = results;
            rlhf_context_free(context);
        }
        free(first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms_equal_double_reference),
        cmocka_unit_test(test_activations_equal_double_reference),
        cmocka_unit_test(test_logprob_has_the_exact_values),
        cmocka_unit_test(test_logprob_gradient_equals_finite_differences),
        cmocka_unit_test(test_softmax_and_argmax),
        cmocka_unit_test(test_softmax_weights_are_summed_by_blocks),
        cmocka_unit_test(test_softmax_of_a_draw_has_the_bits_of_its_steps),
        cmocka_unit_test(test_softmax_holds_at_tiny_temperatures),
        cmocka_unit_test(test_softmax_holds_at_huge_temperatures),
        cmocka_unit_test(test_rope_turns_and_turns_back),
        cmocka_unit_test(test_embedding_gathers_and_scatters),
        cmocka_unit_test(test_adamw_equals_double_reference),
        cmocka_unit_test(test_value_that_is_not_finite_is_seen),
        cmocka_unit_test(test_matrix_turns),
        cmocka_unit_test(test_matrix_turns_in_whole_lines),
        cmocka_unit_test(test_row_kernels_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
