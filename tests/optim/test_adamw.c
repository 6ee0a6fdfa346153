/* AdamW in both forms of epsilon over several steps against double precision, decay on
 * matrices alone, clipping by the global norm. */
#include "grads.h"
#include "kernels/kernels_support.h"
#include "support.h"

#include "optim/adamw.h"

/* Two matrices with norms and biases between them; sizes that leave padding. */
static const struct {
    int64_t rows, cols;
    bool decay;
} slabs[] = {{5, 7, true}, {1, 17, false}, {3, 1, false}, {67, 3, true}, {1, 1, false}};
enum { NUM_SLABS = 5, STEPS = 6 };

static void make_params(rlhf_context *context, rlhf__params *params)
{
    assert_ok(rlhf__params_init(params, context));
    for (int i = 0; i < NUM_SLABS; i++) {
        int32_t slab;
        assert_ok(rlhf__params_add_slab(params, slabs[i].rows, slabs[i].cols,
                                        slabs[i].decay, &slab));
    }
    assert_ok(rlhf__params_allocate(params));
    float *values = rlhf__params_begin_write(params);
    for (int i = 0; i < NUM_SLABS; i++)
        for (int64_t j = 0; j < slabs[i].rows * slabs[i].cols; j++)
            values[params->slabs[i].offset + j] =
                (float)(rlhf__rng_uniform(42, (uint64_t)i, (uint64_t)j) - 0.5);
    rlhf__params_end_write(params);
}

/* A step's gradient: sizes from 1e-6, where epsilon counts, to 1. Zero in the padding. */
static void make_gradient(const rlhf__params *params, int step, float *grads)
{
    memset(grads, 0, (size_t)params->count * sizeof *grads);
    for (int i = 0; i < NUM_SLABS; i++)
        for (int64_t j = 0; j < slabs[i].rows * slabs[i].cols; j++) {
            const double u =
                rlhf__rng_uniform(43, (uint64_t)(step * NUM_SLABS + i), (uint64_t)j);
            grads[params->slabs[i].offset + j] =
                (float)((u - 0.5) * pow(10.0, -(double)(j % 7)));
        }
}

/* A step by a gradient that is written everywhere. */
static rlhf_status whole_step(rlhf__adamw *adamw, rlhf__params *params, float *grads,
                              double learning_rate, double scale, double max_norm,
                              double *out_norm)
{
    rlhf__grads whole = grads_over(params, grads, true);
    rlhf_status status =
        adamw_step(adamw, params, &whole, learning_rate, scale, max_norm, out_norm);

    grads_free(&whole);
    return status;
}

static bool decays(const rlhf__params *params, int64_t at)
{
    int32_t slab = params->num_slabs - 1;

    while (params->slabs[slab].offset > at)
        slab--;
    return slabs[slab].decay;
}

/* The update as Loshchilov and Hutter 2019 (torch) and TensorFlow 1 write it. */
typedef struct reference {
    double m, v, p;
} reference;

static void reference_step(reference *r, const rlhf__adamw_settings *s, int k, double lr,
                           double g, bool decay)
{
    const double bias1 = 1 - pow(s->beta1, k), bias2 = 1 - pow(s->beta2, k);

    r->m = s->beta1 * r->m + (1 - s->beta1) * g;
    r->v = s->beta2 * r->v + (1 - s->beta2) * g * g;
    if (decay)
        r->p -= lr * s->weight_decay * r->p;
    if (s->form == RLHF_ADAM_TF)
        r->p -= lr * sqrt(bias2) / bias1 * r->m / (sqrt(r->v) + s->epsilon);
    else
        r->p -= lr * (r->m / bias1) / (sqrt(r->v / bias2) + s->epsilon);
}

static const rlhf__adamw_settings settings[] = {
    {0.9, 0.95, 1e-8, 0.0, RLHF_ADAM_TORCH}, {0.9, 0.999, 1e-5, 0.1, RLHF_ADAM_TORCH},
    {0.9, 0.999, 1e-5, 0.1, RLHF_ADAM_TF},   {0.5, 0.9, 1e-3, 0.0, RLHF_ADAM_TF},
    {0.0, 0.9, 1e-3, 0.01, RLHF_ADAM_TORCH}, {0.9, 0.95, 1e-3, 1.0, RLHF_ADAM_TF},
};

static void check_run(rlhf_context *context, const rlhf__adamw_settings *s, double scale)
{
    rlhf__params params;
    rlhf__adamw adamw;

    make_params(context, &params);
    assert_ok(rlhf__adamw_init(&adamw, &params, s));
    float *grads = fenced(params.count);
    reference *r = calloc((size_t)params.count, sizeof *r);
    for (int64_t i = 0; i < params.count; i++)
        r[i].p = params.values[i];
    for (int k = 1; k <= STEPS; k++) {
        const double lr = 0.02 / k;
        double norm, square = 0;
        make_gradient(&params, k, grads);
        for (int64_t i = 0; i < params.count; i++) {
            square += scale * scale * (double)grads[i] * grads[i];
            reference_step(&r[i], s, k, lr, scale * grads[i], decays(&params, i));
        }
        assert_ok(whole_step(&adamw, &params, grads, lr, scale, 0.0, &norm));
        assert_near(norm, sqrt(square), 1e-7);
        assert_int_equal(adamw.step, k);
        /* fp32 betas and moments: a few roundings a step; an update is at most about
           lr. */
        for (int64_t i = 0; i < params.count; i++) {
            assert_near(params.values[i], r[i].p, 1e-6);
            assert_true(fabs(adamw.m[i] - r[i].m) <= 1e-6 * fabs(r[i].m) + 1e-8);
            assert_true(fabs(adamw.v[i] - r[i].v) <= 1e-4 * r[i].v + 1e-14);
        }
    }
    assert_fence(grads, params.count);
    free(grads), free(r);
    rlhf__adamw_free(&adamw);
    rlhf__params_free(&params);
}

static void test_adamw_equals_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
            check_run(context, &settings[i], 1.0);
            check_run(context, &settings[i], 0.25);
        }
    }
}

/* The two forms are told apart where epsilon is large beside the root of v. */
static void test_adamw_forms_differ(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    double first[2];

    for (int form = 0; form < 2; form++) {
        const rlhf__adamw_settings s = {0.9, 0.999, 1e-3, 0.0,
                                        form ? RLHF_ADAM_TF : RLHF_ADAM_TORCH};
        rlhf__params params;
        rlhf__adamw adamw;
        double norm;
        make_params(context, &params);
        const float before = params.values[0];
        float *grads = fenced(params.count);
        memset(grads, 0, (size_t)params.count * sizeof *grads);
        grads[0] = 1e-3f;
        assert_ok(rlhf__adamw_init(&adamw, &params, &s));
        assert_ok(whole_step(&adamw, &params, grads, 0.1, 1.0, 0.0, &norm));
        first[form] = before - params.values[0];
        free(grads);
        rlhf__adamw_free(&adamw);
        rlhf__params_free(&params);
    }
    /* g = eps = 1e-3, k = 1: lr g / (g + eps), and lr g / (g + eps / sqrt(1 - beta2)). */
    assert_near(first[0], 0.1 * 0.5, 1e-5);
    assert_near(first[1], 0.1 / (1 + 1 / sqrt(0.001)), 1e-5);
    rlhf_context_free(context);
}

/* Without gradient: p (1 - lr wd) on matrices, norms and biases as they were. */
static void test_adamw_decay_is_decoupled_and_on_matrices(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    const rlhf__adamw_settings s = {0.9, 0.95, 1e-8, 0.5, RLHF_ADAM_TORCH};
    rlhf__params params, before;
    rlhf__adamw adamw;
    double norm;

    make_params(context, &params), make_params(context, &before);
    float *grads = calloc((size_t)params.count, sizeof *grads);
    assert_ok(rlhf__adamw_init(&adamw, &params, &s));
    assert_ok(whole_step(&adamw, &params, grads, 0.1, 1.0, 1.0, &norm));
    assert_true(norm == 0.0);
    for (int64_t i = 0; i < params.count; i++) {
        if (decays(&params, i))
            assert_near(params.values[i], before.values[i] * 0.95, 1e-7);
        else
            assert_true(params.values[i] == before.values[i]);
        assert_true(adamw.m[i] == 0.0f &&
                    adamw.v[i] == 0.0f); /* not through the moments */
    }
    free(grads);
    rlhf__adamw_free(&adamw);
    rlhf__params_free(&params), rlhf__params_free(&before);
    rlhf_context_free(context);
}

/* --- clipping ----------------------------------------------------------------------- */

static void test_clip_factor_at_its_corners(void **state)
{
    (void)state;
    assert_true(rlhf__clip_factor(5.0, 0.0) == 1.0); /* off */
    assert_true(rlhf__clip_factor(0.0, 1.0) == 1.0);
    assert_true(rlhf__clip_factor(0.999, 1.0) == 1.0);
    assert_near(rlhf__clip_factor(1.0, 1.0), 1.0 / (1.0 + 1e-6), 1e-15);
    assert_near(rlhf__clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6), 1e-15);
}

/* Over the limit the step is that of the gradient scaled to it, and the norm told is the
 * one before; under it the bits are those without a limit. */
static void test_clipping_is_by_the_global_norm(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    /* Epsilon is large, so that the size of the gradient shows in the step. */
    const rlhf__adamw_settings s = {0.9, 0.95, 1.0, 0.0, RLHF_ADAM_TORCH};
    const double limits[] = {0.0, 1e9, 0.5}; /* off, under, over */
    rlhf__params params[4];
    double norms[4], scale = 1.0;

    for (int run = 0; run < 4; run++) {
        rlhf__adamw adamw;
        make_params(context, &params[run]);
        float *grads = fenced(params[run].count);
        make_gradient(&params[run], 1, grads);
        assert_ok(rlhf__adamw_init(&adamw, &params[run], &s));
        if (run == 3) /* by hand */
            scale = 0.5 / (norms[0] + 1e-6);
        assert_ok(whole_step(&adamw, &params[run], grads, 0.1, scale,
                             run < 3 ? limits[run] : 0.0, &norms[run]));
        free(grads);
        rlhf__adamw_free(&adamw);
    }
    const size_t size = (size_t)params[0].count * sizeof(float);
    assert_true(norms[0] > 1.0);
    assert_true(norms[1] == norms[0] && norms[2] == norms[0]);
    assert_near(norms[3], 0.5, 1e-5);
    assert_memory_equal(params[1].values, params[0].values, size);
    assert_memory_not_equal(params[2].values, params[0].values, size);
    assert_memory_equal(params[2].values, params[3].values, size);
    for (int run = 0; run < 4; run++)
        rlhf__params_free(&params[run]);
    rlhf_context_free(context);
}

static void test_step_refuses_a_gradient_that_is_not_finite(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    const float bad[] = {NAN, INFINITY, -INFINITY};

    for (int i = 0; i < 3; i++) {
        rlhf__params params, before;
        rlhf__adamw adamw;
        double norm = 7.0;
        make_params(context, &params), make_params(context, &before);
        float *grads = fenced(params.count);
        make_gradient(&params, 1, grads);
        grads[params.slabs[3].offset + 5] = bad[i];
        assert_ok(rlhf__adamw_init(&adamw, &params, &settings[1]));
        assert_fails(whole_step(&adamw, &params, grads, 0.1, 1.0, 1.0, &norm),
                     RLHF_ERR_NUMERIC, "the gradient is not finite: element");
        assert_true(norm == 7.0);
        assert_int_equal(adamw.step, 0);
        assert_memory_equal(params.values, before.values,
                            (size_t)params.count * sizeof(float));
        rlhf__adamw_settle(&adamw, &params);
        for (int64_t j = 0; j < params.count; j++)
            assert_true(adamw.m[j] == 0.0f && adamw.v[j] == 0.0f);
        free(grads);
        rlhf__adamw_free(&adamw);
        rlhf__params_free(&params), rlhf__params_free(&before);
    }
    rlhf_context_free(context);
}

static void test_adamw_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { ROWS = 300, COLS = 517 }; /* several tiles */
    float *first = NULL;

    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = context_of(RLHF_CPU_AUTO, threads);
        float *grads = random_floats(ROWS * COLS + 16, 1);
        rlhf__params params;
        rlhf__adamw adamw;
        double norm;
        int32_t slab;
        assert_ok(rlhf__params_init(&params, context));
        assert_ok(rlhf__params_add_slab(&params, ROWS, COLS, true, &slab));
        assert_ok(rlhf__params_allocate(&params));
        assert_ok(rlhf__adamw_init(&adamw, &params, &settings[1]));
        for (int k = 0; k < 3; k++)
            assert_ok(whole_step(&adamw, &params, grads, 0.1, 0.3, 1.0, &norm));
        const size_t size = (size_t)(ROWS * COLS) * sizeof *first;
        if (!first) {
            first = malloc(size);
            memcpy(first, params.values, size);
        }
        assert_memory_equal(first, params.values, size);
        free(grads);
        rlhf__adamw_free(&adamw);
        rlhf__params_free(&params);
        rlhf_context_free(context);
    }
    free(first);
}

/* --- rows --------------------------------------------------------------------------- */

/* A network's parameters and optimizer twice: by whole gradients, and by rows. */
typedef struct twin {
    rlhf__params params;
    rlhf__adamw adamw;
    rlhf__grads grads;
} twin;

/* What is stale is NaN: who reads it is found out. */
static void make_stale(const rlhf__params *params, float *values)
{
    for (int64_t i = 0; i < params->count; i++)
        values[i] = NAN;
    rlhf__params_clear_padding(params, values);
}

static void twin_make(rlhf_context *context, const rlhf__adamw_settings *s, twin *t)
{
    make_params(context, &t->params);
    assert_ok(rlhf__adamw_init(&t->adamw, &t->params, s));
    assert_ok(rlhf__grads_init(&t->grads, &t->params));
    make_stale(&t->params, t->adamw.m);
    make_stale(&t->params, t->adamw.v);
}

static void twin_free(twin *t)
{
    rlhf__grads_free(&t->grads);
    rlhf__adamw_free(&t->adamw);
    rlhf__params_free(&t->params);
}

/* Step k reads some rows of slab 3, none of slab 2 before the third step, and none of
 * slab 0 but the first at every step. Slabs 1 and 4 have gradients throughout. */
static bool is_read(int slab, int64_t row, int k)
{
    static const int periods[NUM_SLABS] = {5, 1, 1, 7, 1};

    return row % periods[slab] == (slab == 3 ? k % 3 : 0) && (slab != 2 || k >= 3);
}

static void twin_step(twin *t, int k, bool by_rows, double *out_norm)
{
    float *from = calloc((size_t)t->params.count, sizeof *from);

    make_gradient(&t->params, k, from);
    rlhf__grads_clear(&t->grads);
    make_stale(&t->params, t->grads.values);
    for (int i = 0; i < NUM_SLABS; i++)
        for (int64_t r = 0; r < slabs[i].rows; r++) {
            const int64_t at = t->params.slabs[i].offset + r * slabs[i].cols;
            if (!by_rows || i == 1 || i == 4)
                (void)rlhf__grads_slab(&t->grads, i);
            for (int64_t j = 0; is_read(i, r, k) && j < slabs[i].cols; j++)
                rlhf__grads_row(&t->grads, i, r)[j] += from[at + j];
        }
    assert_ok(adamw_step(&t->adamw, &t->params, &t->grads, 0.02, 0.5, 0.0, out_norm));
    free(from);
}

static void assert_twins(twin *a, twin *b)
{
    rlhf__adamw_settle(&a->adamw, &a->params);
    rlhf__adamw_settle(&b->adamw, &b->params);
    for (int64_t i = 0; i < a->params.count; i++) {
        assert_true(a->params.values[i] == b->params.values[i]);
        assert_true(a->adamw.m[i] == b->adamw.m[i] && a->adamw.v[i] == b->adamw.v[i]);
    }
}

/* Rows that were never read are left alone, and the bits are those of whole updates; what
 * m, v and gradients hold there does not matter. */
static void test_adamw_by_rows_equals_whole_updates(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
            twin whole, rows;
            double norms[2];
            twin_make(context, &settings[s], &whole);
            twin_make(context, &settings[s], &rows);
            for (int k = 1; k <= STEPS; k++) {
                twin_step(&whole, k, false, &norms[0]);
                twin_step(&rows, k, true, &norms[1]);
                assert_near(norms[1], norms[0], 1e-12);
                assert_false(rows.grads.is_whole[3]);
                if (k == 1) /* settled after the first step, read again after others */
                    assert_twins(&whole, &rows);
                if (k == 3) {
                    assert_twins(&whole, &rows);
                    rlhf__adamw_find_moments(&rows.adamw, &rows.params);
                }
            }
            assert_twins(&whole, &rows);
            const rlhf__slab *first = &rows.params.slabs[0];
            for (int64_t r = 0; r < first->rows; r++)
                assert_int_equal(rows.adamw.row_has_moments[first->first_row + r],
                                 r == 0);
            twin_free(&whole);
            twin_free(&rows);
        }
    }
}

/* The norm, and what is said of an element that is not finite, are of written rows. */
static void test_norm_by_rows_names_the_element(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__params params;
    rlhf__grads grads;
    double norm = 7.0;

    make_params(context, &params);
    assert_ok(rlhf__grads_init(&grads, &params));
    make_stale(&params, grads.values);
    rlhf__grads_row(&grads, 3, 40)[1] = 3.0f;
    rlhf__grads_row(&grads, 3, 66)[2] = 4.0f;
    assert_ok(rlhf__grad_norm(&grads, 1.0, "the gradient", &norm));
    assert_true(norm == 5.0);
    rlhf__grads_row(&grads, 3, 66)[0] = INFINITY;
    char words[64];
    (void)snprintf(words, sizeof words, "the gradient is not finite: element %d is inf",
                   (int)params.slabs[3].offset + 66 * 3);
    assert_fails(rlhf__grad_norm(&grads, 1.0, "the gradient", &norm), RLHF_ERR_NUMERIC,
                 words);
    assert_true(norm == 5.0);
    rlhf__grads_free(&grads);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw_equals_double_reference),
        cmocka_unit_test(test_adamw_forms_differ),
        cmocka_unit_test(test_adamw_decay_is_decoupled_and_on_matrices),
        cmocka_unit_test(test_clip_factor_at_its_corners),
        cmocka_unit_test(test_clipping_is_by_the_global_norm),
        cmocka_unit_test(test_step_refuses_a_gradient_that_is_not_finite),
        cmocka_unit_test(test_adamw_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_adamw_by_rows_equals_whole_updates),
        cmocka_unit_test(test_norm_by_rows_names_the_element),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
