/* The linear head with log-probability, entropy and gradients in chunks: against double
 * precision and central differences; that it sees the chunks that it promises; that only
 * the rows asked for go through it. */
#include "grads.h"
#include "kernels/kernels_support.h"
#include "reference.h"

#include "autograd/tape.h"

typedef struct head_row {
    int64_t rows, width, vocab;
    double tau;
    bool masked;
    int64_t chunks;
    int64_t
        samples; /* single elements tried; all of them together by a random direction */
    double tolerance;
} head_row;

/* Tolerances are of |error| / (1 + |value|) and bound the rounding of fp32 (unit 6e-8):
 * of sums over `vocab` terms in the log-probability, over `rows` terms in a weight's
 * gradient. */
#define FEW  5e-6
#define MANY 5e-5
#define STEP 1e-5 /* of the central difference in double: its own error is below 1e-7 */

static const head_row table[] = {
    {1, 1, 2, 1.0, false, 1, 3, FEW},       {3, 5, 17, 1.0, false, 1, 40, FEW},
    {5, 3, 67, 0.7, false, 1, 40, FEW},     {17, 67, 5, 1.5, false, 1, 40, MANY},
    {67, 17, 33, 0.7, true, 1, 40, MANY},   {2051, 3, 5, 1.0, false, 2, 40, MANY},
    {2048, 1, 3, 0.7, true, 1, 40, MANY},   {4099, 5, 3, 1.3, true, 3, 30, MANY},
    {259, 3, 2053, 0.9, false, 2, 2, MANY},
};
#define NUM_ROWS (sizeof table / sizeof table[0])

/* The loss is sum a lp + lp^2 / 4 + b H; the square makes the slope hang on the value. */
typedef struct problem {
    const head_row *row;
    float *x, *w, *a, *b;
    int32_t *targets, *masked; /* masked NULL: none */
    int64_t seen, chunks;      /* by the loss function */
    float *logprob, *entropy;  /* as the loss function got them */
} problem;

static void problem_make(const head_row *row, problem *p)
{
    *p = (problem){.row = row};
    p->x = random_floats(row->rows * row->width, 1);
    p->w = random_floats(row->vocab * row->width, 2);
    p->a = random_floats(row->rows, 3);
    p->b = random_floats(row->rows, 4);
    p->logprob = fenced(row->rows), p->entropy = fenced(row->rows);
    p->targets = calloc((size_t)row->rows, sizeof *p->targets);
    if (row->masked)
        p->masked = calloc((size_t)row->rows, sizeof *p->masked);
    for (int64_t i = 0; i < row->rows; i++) {
        p->targets[i] = (int32_t)(i * 7 % row->vocab);
        if (row->masked) /* every third row has none */
            p->masked[i] = i % 3 ? (int32_t)((p->targets[i] + 1) % row->vocab) : -1;
    }
}

static void problem_free(problem *p)
{
    free(p->x), free(p->w), free(p->a), free(p->b), free(p->logprob), free(p->entropy);
    free(p->targets), free(p->masked);
}

/* --- the reference ------------------------------------------------------------------ */

static double reference_row(const problem *p, const double *x, const double *w, int64_t i,
                            double *logits, double *out_entropy)
{
    const head_row *row = p->row;

    ref_linear(x + i * row->width, 1, row->width, w, row->vocab, NULL, logits);
    if (p->masked && p->masked[i] >= 0)
        logits[p->masked[i]] = -1e30;
    return ref_logprob(logits, row->vocab, p->targets[i], row->tau, out_entropy);
}

static double reference_loss(const problem *p, const double *x, const double *w)
{
    double *logits = calloc((size_t)p->row->vocab, sizeof *logits), loss = 0;

    for (int64_t i = 0; i < p->row->rows; i++) {
        double entropy, logprob = reference_row(p, x, w, i, logits, &entropy);
        loss += p->a[i] * logprob + 0.25 * logprob * logprob + p->b[i] * entropy;
    }
    free(logits);
    return loss;
}

/* x, then w. The slope along `direction`, or along one of them where it is NULL. */
static double central_difference(const problem *p, const float *direction, int64_t index)
{
    const int64_t x_count = p->row->rows * p->row->width;
    const int64_t count = x_count + p->row->vocab * p->row->width;
    double *point = calloc((size_t)count, sizeof *point), loss[2];

    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++)
            point[i] = (i < x_count ? p->x[i] : p->w[i - x_count]) +
                       (side ? -STEP : STEP) * (direction ? direction[i] : i == index);
        loss[side] = reference_loss(p, point, point + x_count);
    }
    free(point);
    return (loss[0] - loss[1]) / (2 * STEP);
}

static void check_values(const problem *p, const float *logprob, const float *entropy)
{
    const head_row *row = p->row;
    double *x = calloc((size_t)(row->rows * row->width), sizeof *x);
    double *w = calloc((size_t)(row->vocab * row->width), sizeof *w);
    double *logits = calloc((size_t)row->vocab, sizeof *logits), h;

    for (int64_t i = 0; i < row->rows * row->width; i++)
        x[i] = p->x[i];
    for (int64_t i = 0; i < row->vocab * row->width; i++)
        w[i] = p->w[i];
    for (int64_t i = 0; i < row->rows; i++) {
        assert_near(logprob[i], reference_row(p, x, w, i, logits, &h), row->tolerance);
        if (entropy)
            assert_near(entropy[i], h, row->tolerance);
    }
    free(x), free(w), free(logits);
}

/* --- the library -------------------------------------------------------------------- */

/* Chunks come in order and whole; what the loss is to write begins at zero. */
static rlhf_status loss_of_chunk(void *arg, int64_t first, int64_t count,
                                 const float *logprob, const float *entropy,
                                 float *dlogprob, float *dentropy)
{
    problem *p = arg;

    assert_int_equal(first, p->seen);
    p->seen += count;
    p->chunks++;
    for (int64_t i = 0; i < count; i++) {
        assert_true(dlogprob[i] == 0.0f && dentropy[i] == 0.0f);
        p->logprob[first + i] = logprob[i];
        p->entropy[first + i] = entropy[i];
        dlogprob[i] = p->a[first + i] + 0.5f * logprob[i];
        dentropy[i] = p->b[first + i];
    }
    return RLHF_OK;
}

static void make_weight(rlhf_context *context, const problem *p, rlhf__params *params)
{
    int32_t slab = -1;

    assert_int_equal(rlhf__params_init(params, context), RLHF_OK);
    assert_int_equal(
        rlhf__params_add_slab(params, p->row->vocab, p->row->width, true, &slab),
        RLHF_OK);
    assert_int_equal(rlhf__params_allocate(params), RLHF_OK);
    memcpy(rlhf__params_begin_write(params), p->w,
           (size_t)(p->row->vocab * p->row->width) * sizeof *p->w);
    rlhf__params_end_write(params);
}

typedef struct head_run {
    bool record, want_x, want_w, want_entropy, add;
} head_run;

/* Runs the op; `out` gets the gradients of x and w, what was there before taken off. */
static void run_head(rlhf_context *context, problem *p, head_run how, float *out)
{
    const head_row *row = p->row;
    const int64_t nx = row->rows * row->width, nw = row->vocab * row->width;
    rlhf__params params;
    rlhf__tape *tape = NULL;
    float *start = random_floats(nx, 5), *start_w = random_floats(nw, 6);
    float *dx = fenced(nx), *dw = fenced(nw);
    float *logprob = fenced(row->rows), *entropy = fenced(row->rows);
    rlhf__var x = {.rows = row->rows,
                   .cols = row->width,
                   .data = p->x,
                   .grad = how.add ? dx : NULL,
                   .needs_grad = how.want_x};

    memset(start, 0, how.add ? 0 : (size_t)nx * sizeof *start);
    memcpy(dx, start, (size_t)nx * sizeof *dx);
    memset(start_w, 0, how.add ? 0 : (size_t)nw * sizeof *start_w);
    for (int64_t i = 0; i < nw; i++) /* stale unless it is added to */
        dw[i] = how.add || !how.want_w ? start_w[i] : NAN;
    p->seen = p->chunks = 0;
    make_weight(context, p, &params);
    rlhf__grads sum = grads_over(&params, dw, how.add);
    assert_int_equal(rlhf__tape_create(context, &tape), RLHF_OK);
    rlhf__tape_reset(tape, how.record, how.want_w ? &sum : NULL);
    assert_int_equal(rlhf__op_linear_logprob(tape, &params, 0, &x, p->targets, p->masked,
                                             (float)(1.0 / row->tau), logprob,
                                             how.want_entropy ? entropy : NULL,
                                             loss_of_chunk, p),
                     RLHF_OK);
    check_values(p, logprob, how.want_entropy ? entropy : NULL);
    assert_int_equal(p->seen, how.record ? row->rows : 0);
    if (how.record)
        assert_memory_equal(p->logprob, logprob, (size_t)row->rows * sizeof *logprob);
    for (int64_t i = 0; i < nx; i++)
        out[i] = x.grad ? x.grad[i] - start[i] : 0.0f;
    if (how.want_w)
        grads_settle(&sum);
    for (int64_t i = 0; i < nw; i++)
        out[nx + i] = dw[i] - start_w[i];
    assert_fence(dx, nx), assert_fence(dw, nw);
    assert_fence(logprob, row->rows),
        assert_fence(entropy, how.want_entropy ? row->rows : 0);
    grads_free(&sum);
    rlhf__tape_free(tape);
    rlhf__params_free(&params);
    free(start), free(start_w), free(dx), free(dw), free(logprob), free(entropy);
}

static void check_gradient(const problem *p, const float *gradient, const double *slopes,
                           const float *direction, double slope)
{
    const int64_t count = (p->row->rows + p->row->vocab) * p->row->width;
    double along = 0, square = 0;

    for (int64_t i = 0; i < p->row->samples; i++)
        assert_near(gradient[i * count / p->row->samples], slopes[i], p->row->tolerance);
    for (int64_t i = 0; i < count; i++) {
        const double part = (double)gradient[i] * direction[i];
        along += part;
        square += part * part;
    }
    if (!(fabs(along - slope) <= p->row->tolerance * (1 + sqrt(square))))
        fail_msg("along a direction: gradient %g, slope %g", along, slope);
}

static void test_head_gradients_equal_finite_differences(void **state)
{
    (void)state;
    for (size_t r = 0; r < NUM_ROWS; r++) {
        const head_row *row = &table[r];
        const int64_t count = (row->rows + row->vocab) * row->width;
        float *direction = random_floats(count, 9), *gradient = fenced(count);
        double slopes[64];
        problem p;
        problem_make(row, &p);
        for (int64_t i = 0; i < row->samples; i++)
            slopes[i] = central_difference(&p, NULL, i * count / row->samples);
        const double slope = central_difference(&p, direction, 0);
        FOR_LEVELS(context, 2)
        {
            run_head(context, &p, (head_run){true, true, true, true, false}, gradient);
            assert_int_equal(p.chunks, row->chunks);
            check_gradient(&p, gradient, slopes, direction, slope);
            run_head(context, &p, (head_run){true, true, true, false, true}, gradient);
            check_gradient(&p, gradient, slopes, direction, slope);
        }
        problem_free(&p);
        free(direction), free(gradient);
    }
}

/* Only what wants a gradient gets one; without a tape the loss is not called at all. */
static void test_head_gives_the_gradients_wanted(void **state)
{
    (void)state;
    const head_row *row = &table[4];
    const int64_t nx = row->rows * row->width, count = nx + row->vocab * row->width;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    float *both = fenced(count), *part = fenced(count);
    problem p;

    problem_make(row, &p);
    run_head(context, &p, (head_run){true, true, true, true, false}, both);
    run_head(context, &p, (head_run){true, true, false, true, false}, part);
    assert_memory_equal(part, both, (size_t)nx * sizeof *both);
    for (int64_t i = nx; i < count; i++)
        assert_true(part[i] == 0.0f);
    run_head(context, &p, (head_run){true, false, true, true, false}, part);
    assert_memory_equal(part + nx, both + nx, (size_t)(count - nx) * sizeof *both);
    for (int64_t i = 0; i < nx; i++)
        assert_true(part[i] == 0.0f);
    run_head(context, &p, (head_run){false, true, true, true, false}, part);
    for (int64_t i = 0; i < count; i++)
        assert_true(part[i] == 0.0f);
    problem_free(&p);
    free(both), free(part);
    rlhf_context_free(context);
}

/* The rows not asked for hold NaN: one of them in a product would spoil all of W's
 * gradient. */
static void test_head_sees_only_the_rows_asked_for(void **state)
{
    (void)state;
    enum { ROWS = 9, ASKED = 3 };
    static const int64_t asked[ASKED] = {1, 4, 8};
    static const head_row row = {ASKED, 5, 7, 1.0, false, 1, 0, FEW};
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    float *data = random_floats(ROWS * row.width, 11),
          *dw = fenced(row.vocab * row.width);
    float logprob[ASKED];
    rlhf__var x = {.rows = ROWS, .cols = row.width, .data = data, .needs_grad = true};
    rlhf__var *picked = NULL;
    rlhf__params params;
    rlhf__tape *tape = NULL;
    problem p;

    for (int64_t i = 0; i < ROWS * row.width; i++)
        if (i / row.width != 1 && i / row.width != 4 && i / row.width != 8)
            data[i] = NAN;
    problem_make(&row, &p);
    make_weight(context, &p, &params);
    rlhf__grads sum = grads_over(&params, dw, false);
    assert_int_equal(rlhf__tape_create(context, &tape), RLHF_OK);
    rlhf__tape_reset(tape, true, &sum);
    assert_int_equal(rlhf__op_gather_rows(tape, &x, asked, ASKED, &picked), RLHF_OK);
    assert_int_equal(rlhf__op_linear_logprob(tape, &params, 0, picked, p.targets, NULL,
                                             1.0f, logprob, NULL, loss_of_chunk, &p),
                     RLHF_OK);
    assert_int_equal(rlhf__tape_backward(tape), RLHF_OK);
    assert_int_equal(p.seen, ASKED);
    for (int64_t i = 0; i < row.vocab * row.width; i++)
        assert_true(isfinite(dw[i]));
    for (int64_t i = 0; i < ROWS * row.width; i++) {
        const bool was_asked = !isnan(data[i]);
        assert_true(was_asked ? x.grad[i] != 0.0f : x.grad[i] == 0.0f);
    }
    grads_free(&sum);
    rlhf__tape_free(tape);
    rlhf__params_free(&params);
    problem_free(&p);
    free(data), free(dw);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_gradients_equal_finite_differences),
        cmocka_unit_test(test_head_gives_the_gradients_wanted),
        cmocka_unit_test(test_head_sees_only_the_rows_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
