/* Every op's value against a double-precision reference, and its gradients against
 * central differences of that reference: one row an op and shape. The loss is sum dy * y.
 * Buffers that the op writes and the test owns stand between guard words. */
#include "grads.h"
#include "kernels/kernels_support.h"
#include "reference.h"

#include "autograd/tape.h"

#define MAX_SLABS 2
#define SAMPLES                                                                          \
    48 /* single elements tried; all of them together by a random direction
          \ */
#define VOCAB     11
#define POSITIONS 19
#define EPS       1e-3f

typedef struct op_row op_row;
struct op_row {
    const char *name;
    rlhf_status (*run)(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                       rlhf__var *x, rlhf__var **y);
    void (*reference)(const op_row *row, const double *x,
                      const double *const w[MAX_SLABS], double *y);
    int64_t rows, in;            /* of x; in 0: the op has no such input */
    int64_t out_rows, out;       /* of y */
    int64_t slabs[MAX_SLABS][2]; /* rows, cols; 0: none */
    double tolerance;
    int64_t heads, kv_heads, window; /* attention; rotary turns heads + kv_heads */
    bool in_place;                   /* y is x */
};

/* Lengths 1, 0, 3, 63, 64, 65 and 130: on both sides of the attention's block of 64. */
static const int64_t ragged[] = {0, 1, 1, 4, 67, 131, 196, 326};
static const int64_t single[] = {0, 1};
static const int64_t short_ones[] = {0, 5, 8, 25};
static int32_t tokens[512], positions[512];
static int64_t picked[512];

static void fill_indices(void)
{
    for (int i = 0; i < 512; i++) {
        tokens[i] = (i * 7 + i / 5) % VOCAB; /* repeats: gradients meet in a row */
        positions[i] = (i * 3) % POSITIONS;
        picked[i] = (i * 5) % 7;
    }
}

static int slab_of(const op_row *row, int index)
{
    return row->slabs[index][0] ? index : -1;
}

/* --- the ops ------------------------------------------------------------------------ */

static rlhf_status run_embedding(const op_row *row, rlhf__tape *tape,
                                 rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    (void)x;
    return rlhf__op_embedding(tape, params, 0, slab_of(row, 1), tokens, positions,
                              row->out_rows, y);
}

static void ref_embedding(const op_row *row, const double *x, const double *const w[],
                          double *y)
{
    (void)x;
    for (int64_t r = 0; r < row->out_rows; r++)
        for (int64_t c = 0; c < row->out; c++)
            y[r * row->out + c] = w[0][tokens[r] * row->out + c] +
                                  (w[1] ? w[1][positions[r] * row->out + c] : 0.0);
}

static rlhf_status run_linear(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                              rlhf__var *x, rlhf__var **y)
{
    return rlhf__op_linear(tape, params, 0, slab_of(row, 1), x, y);
}

static void linear(const op_row *row, const double *x, const double *const w[], double *y)
{
    ref_linear(x, row->rows, row->in, w[0], row->out, w[1], y);
}

static rlhf_status run_layernorm(const op_row *row, rlhf__tape *tape,
                                 rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    const rlhf__op_norm_args args = {params, false, 0, slab_of(row, 1), EPS, false};

    return rlhf__op_norm(tape, &args, x, y);
}

static void layernorm(const op_row *row, const double *x, const double *const w[],
                      double *y)
{
    ref_layernorm(x, row->rows, row->in, w[0], w[1], EPS, y);
}

static rlhf_status run_rmsnorm(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                               rlhf__var *x, rlhf__var **y)
{
    const rlhf__op_norm_args args = {params, true, 0, -1, EPS, false};

    (void)row;
    return rlhf__op_norm(tape, &args, x, y);
}

static void rmsnorm(const op_row *row, const double *x, const double *const w[],
                    double *y)
{
    ref_rmsnorm(x, row->rows, row->in, w[0], EPS, y);
}

static rlhf_status run_gelu_tanh(const op_row *row, rlhf__tape *tape,
                                 rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    (void)row, (void)params;
    return rlhf__op_activation(tape, RLHF__GELU_TANH, false, x, y);
}

static void gelu_tanh(const op_row *row, const double *x, const double *const w[],
                      double *y)
{
    (void)w;
    for (int64_t i = 0; i < row->rows * row->in; i++)
        y[i] = ref_gelu_tanh(x[i]);
}

static rlhf_status run_gelu_erf(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                                rlhf__var *x, rlhf__var **y)
{
    (void)row, (void)params;
    return rlhf__op_activation(tape, RLHF__GELU_ERF, false, x, y);
}

static void gelu_erf(const op_row *row, const double *x, const double *const w[],
                     double *y)
{
    (void)w;
    for (int64_t i = 0; i < row->rows * row->in; i++)
        y[i] = ref_gelu_erf(x[i]);
}

static rlhf_status run_swiglu(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                              rlhf__var *x, rlhf__var **y)
{
    (void)row, (void)params;
    return rlhf__op_activation(tape, RLHF__SWIGLU, false, x, y);
}

static void swiglu(const op_row *row, const double *x, const double *const w[], double *y)
{
    (void)w;
    ref_swiglu(x, row->rows, row->out, y);
}

/* Heads of 6; columns beyond the turned heads stay as they are. */
static rlhf_status run_rope(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                            rlhf__var *x, rlhf__var **y)
{
    static float cos_table[POSITIONS * 3], sin_table[POSITIONS * 3];

    (void)params;
    *y = x;
    rlhf__rope_table(0, POSITIONS, 6, 100.0, cos_table, sin_table);
    return rlhf__op_rope(tape, x, row->heads + row->kv_heads, 6, positions, cos_table,
                         sin_table);
}

static void rope(const op_row *row, const double *x, const double *const w[], double *y)
{
    (void)w;
    memcpy(y, x, (size_t)(row->rows * row->in) * sizeof *y);
    ref_rope(y, row->in, row->rows, row->heads + row->kv_heads, 6, positions, 100.0);
}

static const int64_t *sequences(int64_t count, int64_t *out_num)
{
    *out_num = count == 1 ? 1 : count == 25 ? 3 : 7;
    return count == 1 ? single : count == 25 ? short_ones : ragged;
}

static rlhf_status run_attention(const op_row *row, rlhf__tape *tape,
                                 rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    rlhf__op_attention_args args = {.num_heads = row->heads,
                                    .num_kv_heads = row->kv_heads,
                                    .head_dim = row->out / row->heads,
                                    .window = row->window};

    (void)params;
    args.cu_seqlens = sequences(row->rows, &args.num_seqs);
    return rlhf__op_attention(tape, &args, x, y);
}

static void attention(const op_row *row, const double *x, const double *const w[],
                      double *y)
{
    ref_attention_shape shape = {
        row->heads, row->kv_heads, row->out / row->heads, row->window, 0, NULL};

    (void)w;
    shape.cu = sequences(row->rows, &shape.num_seqs);
    ref_attention(&shape, x, y);
}

/* x + x W^T: both ways back meet in x's gradient. */
static rlhf_status run_residual(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                                rlhf__var *x, rlhf__var **y)
{
    rlhf__var *branch = NULL;

    (void)row;
    RLHF__TRY(rlhf__op_linear(tape, params, 0, -1, x, &branch));
    return rlhf__op_add(tape, x, branch, y);
}

static void residual(const op_row *row, const double *x, const double *const w[],
                     double *y)
{
    ref_linear(x, row->rows, row->in, w[0], row->out, NULL, y);
    for (int64_t i = 0; i < row->rows * row->in; i++)
        y[i] += x[i];
}

/* As a block has them: s = x + x W^T and its norm at once, y = s + norm(s) W^T. */
static rlhf_status run_add_norm(bool rms, rlhf__tape *tape, rlhf__params *params,
                                rlhf__var *x, rlhf__var **y)
{
    const rlhf__op_norm_args args = {params, rms, 1, -1, EPS, false};
    rlhf__var *branch = NULL, *sum = NULL, *h = NULL;

    RLHF__TRY(rlhf__op_linear(tape, params, 0, -1, x, &branch));
    RLHF__TRY(rlhf__op_add_norm(tape, &args, x, branch, &sum, &h));
    RLHF__TRY(rlhf__op_linear(tape, params, 0, -1, h, &branch));
    return rlhf__op_add(tape, sum, branch, y);
}

static rlhf_status run_add_layernorm(const op_row *row, rlhf__tape *tape,
                                     rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    (void)row;
    return run_add_norm(false, tape, params, x, y);
}

static rlhf_status run_add_rmsnorm(const op_row *row, rlhf__tape *tape,
                                   rlhf__params *params, rlhf__var *x, rlhf__var **y)
{
    (void)row;
    return run_add_norm(true, tape, params, x, y);
}

static void add_norm(const op_row *row, bool rms, const double *x,
                     const double *const w[], double *y)
{
    const int64_t count = row->rows * row->in;
    double *sum = calloc((size_t)(2 * count), sizeof *sum), *h = sum + count;

    residual(row, x, w, sum);
    if (rms)
        ref_rmsnorm(sum, row->rows, row->in, w[1], EPS, h);
    else
        ref_layernorm(sum, row->rows, row->in, w[1], NULL, EPS, h);
    ref_linear(h, row->rows, row->in, w[0], row->out, NULL, y);
    for (int64_t i = 0; i < count; i++)
        y[i] += sum[i];
    free(sum);
}

static void add_layernorm(const op_row *row, const double *x, const double *const w[],
                          double *y)
{
    add_norm(row, false, x, w, y);
}

static void add_rmsnorm(const op_row *row, const double *x, const double *const w[],
                        double *y)
{
    add_norm(row, true, x, w, y);
}

static rlhf_status run_gather(const op_row *row, rlhf__tape *tape, rlhf__params *params,
                              rlhf__var *x, rlhf__var **y)
{
    (void)params;
    return rlhf__op_gather_rows(tape, x, picked, row->out_rows, y);
}

static void gather(const op_row *row, const double *x, const double *const w[], double *y)
{
    (void)w;
    for (int64_t i = 0; i < row->out_rows; i++)
        memcpy(y + i * row->out, x + picked[i] * row->in, (size_t)row->in * sizeof *y);
}

/* --- the table ---------------------------------------------------------------------- */

/* Tolerances are of |error| / (1 + |value|). The reference is double, so they bound the
 * rounding of fp32 alone (unit 6e-8) with inputs in [-1, 1): */
#define EXACT  1e-6 /* a few roundings an element */
#define SUMS   2e-5 /* sums of up to 326 terms, each rounded */
#define DIVIDE 2e-4 /* norms: sums divided by a deviation that may be small */
/* Step of the central difference in double: its error, step^2 times a third derivative,
 * and 1e-16 * loss / step, are both below 1e-8. */
#define STEP 1e-5

#define NO_HEADS 0, 0, 0, false

/* clang-format off */
static const op_row table[] = {
    {"embedding", run_embedding, ref_embedding, 0, 0, 1, 1, {{VOCAB, 1}}, EXACT,
     NO_HEADS},
    {"embedding", run_embedding, ref_embedding, 0, 0, 67, 5, {{VOCAB, 5}}, SUMS,
     NO_HEADS},
    {"embedding with positions", run_embedding, ref_embedding, 0, 0, 67, 17, {{VOCAB,
     17}, {POSITIONS, 17}}, SUMS, NO_HEADS},
    {"linear", run_linear, linear, 1, 1, 1, 1, {{1, 1}}, EXACT, NO_HEADS},
    {"linear", run_linear, linear, 3, 5, 3, 17, {{17, 5}}, SUMS, NO_HEADS},
    {"linear", run_linear, linear, 67, 17, 67, 3, {{3, 17}}, SUMS, NO_HEADS},
    {"linear, over a block of 256", run_linear, linear, 5, 300, 5, 67, {{67, 300}}, SUMS,
     NO_HEADS},
    {"linear, gradient over a block of 256", run_linear, linear, 300, 3, 300, 5, {{5,
     3}}, SUMS, NO_HEADS},
    {"linear with bias", run_linear, linear, 1, 3, 1, 5, {{5, 3}, {5, 1}}, EXACT,
     NO_HEADS},
    {"linear with bias", run_linear, linear, 17, 67, 17, 5, {{5, 67}, {5, 1}}, SUMS,
     NO_HEADS},
    {"layernorm", run_layernorm, layernorm, 3, 1, 3, 1, {{1, 1}, {1, 1}}, DIVIDE,
     NO_HEADS},
    {"layernorm", run_layernorm, layernorm, 5, 17, 5, 17, {{1, 17}, {1, 17}}, DIVIDE,
     NO_HEADS},
    {"layernorm", run_layernorm, layernorm, 67, 67, 67, 67, {{1, 67}, {1, 67}}, DIVIDE,
     NO_HEADS},
    {"layernorm without bias", run_layernorm, layernorm, 17, 5, 17, 5, {{1, 5}}, DIVIDE,
     NO_HEADS},
    {"rmsnorm", run_rmsnorm, rmsnorm, 3, 1, 3, 1, {{1, 1}}, DIVIDE, NO_HEADS},
    {"rmsnorm", run_rmsnorm, rmsnorm, 17, 5, 17, 5, {{1, 5}}, DIVIDE, NO_HEADS},
    {"rmsnorm", run_rmsnorm, rmsnorm, 5, 67, 5, 67, {{1, 67}}, DIVIDE, NO_HEADS},
    {"gelu tanh", run_gelu_tanh, gelu_tanh, 1, 1, 1, 1, {{0}}, EXACT, NO_HEADS},
    {"gelu tanh", run_gelu_tanh, gelu_tanh, 17, 67, 17, 67, {{0}}, EXACT, NO_HEADS},
    {"gelu erf", run_gelu_erf, gelu_erf, 3, 5, 3, 5, {{0}}, EXACT, NO_HEADS},
    {"gelu erf", run_gelu_erf, gelu_erf, 17, 67, 17, 67, {{0}}, EXACT, NO_HEADS},
    {"swiglu", run_swiglu, swiglu, 1, 2, 1, 1, {{0}}, EXACT, NO_HEADS},
    {"swiglu", run_swiglu, swiglu, 5, 134, 5, 67, {{0}}, EXACT, NO_HEADS},
    {"rotary", run_rope, rope, 1, 6, 1, 6, {{0}}, EXACT, 1, 0, 0, true},
    {"rotary, queries and keys", run_rope, rope, 67, 30, 67, 30, {{0}}, EXACT, 3, 1, 0,
     true},
    {"attention", run_attention, attention, 1, 3, 1, 1, {{0}}, EXACT, 1, 1, 0, false},
    {"attention", run_attention, attention, 25, 45, 25, 15, {{0}}, SUMS, 3, 3, 0, false},
    {"attention, ragged", run_attention, attention, 326, 36, 326, 12, {{0}}, SUMS, 2, 2,
     0, false},
    {"attention, grouped", run_attention, attention, 25, 40, 25, 20, {{0}}, SUMS, 4, 2,
     0, false},
    {"attention, grouped, ragged", run_attention, attention, 326, 25, 326, 15, {{0}},
     SUMS, 3, 1, 0, false},
    {"attention, window of 1", run_attention, attention, 25, 9, 25, 3, {{0}}, SUMS, 1, 1,
     1, false},
    {"attention, window of 5", run_attention, attention, 326, 20, 326, 10, {{0}}, SUMS,
     2, 1, 5, false},
    {"attention, window of 64", run_attention, attention, 326, 9, 326, 3, {{0}}, SUMS, 1,
     1, 64, false},
    {"attention, window of 67", run_attention, attention, 326, 9, 326, 3, {{0}}, SUMS, 1,
     1, 67, false},
    {"residual", run_residual, residual, 1, 1, 1, 1, {{1, 1}}, EXACT, NO_HEADS},
    {"residual", run_residual, residual, 17, 67, 17, 67, {{67, 67}}, SUMS, NO_HEADS},
    {"residual and layernorm", run_add_layernorm, add_layernorm, 17, 67, 17, 67, {{67,
     67}, {1, 67}}, DIVIDE, NO_HEADS},
    {"residual and rmsnorm", run_add_rmsnorm, add_rmsnorm, 17, 67, 17, 67, {{67, 67}, {1,
     67}}, DIVIDE, NO_HEADS},
    {"gather", run_gather, gather, 7, 1, 3, 1, {{0}}, EXACT, NO_HEADS},
    {"gather, rows repeated", run_gather, gather, 7, 67, 17, 67, {{0}}, EXACT, NO_HEADS},
};
/* clang-format on */

/* --- what is expected --------------------------------------------------------------- */

/* All inputs of a row as one vector: x, then the slabs. */
typedef struct expectation {
    const op_row *row;
    int64_t count; /* of inputs */
    float *inputs, *dy;
    double *y;
    int64_t num_samples, samples[SAMPLES];
    double slopes[SAMPLES];
    float *direction;
    double slope; /* along `direction` */
} expectation;

static int64_t x_count(const op_row *row)
{
    return row->rows * row->in;
}

static double reference_loss(const expectation *e, const double *inputs, double *y)
{
    const op_row *row = e->row;
    const double *w[MAX_SLABS] = {NULL, NULL}, *at = inputs + x_count(row);
    double loss = 0;

    for (int i = 0; i < MAX_SLABS; at += row->slabs[i][0] * row->slabs[i][1], i++)
        w[i] = row->slabs[i][0] ? at : NULL;
    row->reference(row, inputs, w, y);
    for (int64_t i = 0; i < row->out_rows * row->out; i++)
        loss += e->dy[i] * y[i];
    return loss;
}

/* The loss' slope along `direction`, or along one input where it is NULL. */
static double central_difference(const expectation *e, const float *direction,
                                 int64_t index)
{
    double *point = calloc((size_t)e->count, sizeof *point);
    double *y = calloc((size_t)(e->row->out_rows * e->row->out), sizeof *y), loss[2];

    for (int side = 0; side < 2; side++) {
        const double h = side ? -STEP : STEP;
        for (int64_t i = 0; i < e->count; i++)
            point[i] = e->inputs[i] + h * (direction ? direction[i] : i == index);
        loss[side] = reference_loss(e, point, y);
    }
    free(point), free(y);
    return (loss[0] - loss[1]) / (2 * STEP);
}

static void expect(const op_row *row, expectation *e)
{
    double *point;

    *e = (expectation){.row = row, .count = x_count(row)};
    for (int i = 0; i < MAX_SLABS; i++)
        e->count += row->slabs[i][0] * row->slabs[i][1];
    e->inputs = random_floats(e->count, 1);
    e->dy = random_floats(row->out_rows * row->out, 2);
    e->direction = random_floats(e->count, 3);
    e->y = calloc((size_t)(row->out_rows * row->out), sizeof *e->y);
    point = calloc((size_t)e->count, sizeof *point);
    for (int64_t i = 0; i < e->count; i++)
        point[i] = e->inputs[i];
    reference_loss(e, point, e->y);
    free(point);
    e->num_samples = e->count < SAMPLES ? e->count : SAMPLES;
    for (int64_t i = 0; i < e->num_samples; i++) {
        e->samples[i] = i * e->count / e->num_samples;
        e->slopes[i] = central_difference(e, NULL, e->samples[i]);
    }
    e->slope = central_difference(e, e->direction, 0);
}

static void expectation_free(expectation *e)
{
    free(e->inputs), free(e->dy), free(e->direction), free(e->y);
}

/* --- what the library gives --------------------------------------------------------- */

static void make_params(rlhf_context *context, const expectation *e, rlhf__params *params)
{
    const float *from = e->inputs + x_count(e->row);

    assert_int_equal(rlhf__params_init(params, context), RLHF_OK);
    for (int i = 0; i < MAX_SLABS && e->row->slabs[i][0]; i++) {
        int32_t slab = -1;
        assert_int_equal(rlhf__params_add_slab(params, e->row->slabs[i][0],
                                               e->row->slabs[i][1], true, &slab),
                         RLHF_OK);
    }
    if (params->num_slabs == 0)
        return;
    assert_int_equal(rlhf__params_allocate(params), RLHF_OK);
    rlhf__params_begin_write(params);
    for (int i = 0; i < params->num_slabs; i++) {
        const int64_t count = params->slabs[i].rows * params->slabs[i].cols;
        memcpy(rlhf__slab_values(params, i), from, (size_t)count * sizeof *from);
        from += count;
    }
    rlhf__params_end_write(params);
}

/* Gradient and start of the inputs, end to end as in `inputs`; what lies between two
 * slabs must not have been touched. */
static void collect(const rlhf__params *params, const float *grads, const float *starts,
                    float *out)
{
    for (int i = 0; i < params->num_slabs; i++) {
        const rlhf__slab *slab = &params->slabs[i];
        const int64_t count = slab->rows * slab->cols;
        const int64_t end =
            i + 1 < params->num_slabs ? params->slabs[i + 1].offset : params->count;
        for (int64_t j = 0; j < count; j++)
            *out++ = grads[slab->offset + j] - starts[slab->offset + j];
        for (int64_t j = slab->offset + count; j < end; j++)
            assert_true(grads[j] == starts[j]);
    }
}

/* Forward and backward; the inputs' gradient without what was there before. `add`:
 * gradients begin from other contributions. `frozen`: no parameter takes a gradient. */
static float *run_row(rlhf_context *context, const expectation *e, bool add, bool frozen)
{
    const op_row *row = e->row;
    const int64_t n = x_count(row);
    rlhf__params params = {0};
    rlhf__tape *tape = NULL;
    rlhf__var x = {
        .rows = row->rows, .cols = row->in, .data = fenced(n), .needs_grad = true};
    rlhf__var *y = NULL;
    float *result = calloc((size_t)e->count, sizeof *result), *dy = NULL;
    float *x_start = random_floats(n, 7), *x_grad = fenced(n);

    make_params(context, e, &params);
    float *start = random_floats(params.count, 8), *grads = fenced(params.count);
    if (!add) {
        memset(start, 0, (size_t)params.count * sizeof *start);
        memset(x_start, 0, (size_t)n * sizeof *x_start);
    }
    memcpy(grads, start, (size_t)params.count * sizeof *start);
    rlhf__grads sum = grads_over(&params, grads, add);

    if (!add && !frozen) /* stale, but for the padding */
        for (int64_t i = 0; i < params.count; i++)
            grads[i] = NAN;
    if (!add && !frozen)
        rlhf__grads_clear(&sum);
    memcpy(x_grad, x_start, (size_t)n * sizeof *x_grad);
    memcpy(x.data, e->inputs, (size_t)n * sizeof *x.data);
    if (add)
        x.grad = x_grad;

    assert_int_equal(rlhf__tape_create(context, &tape), RLHF_OK);
    rlhf__tape_reset(tape, true, frozen ? NULL : &sum);
    assert_int_equal(row->run(row, tape, &params, &x, &y), RLHF_OK);
    assert_int_equal(y->rows, row->out_rows);
    assert_int_equal(y->cols, row->out);
    assert_all_near(y->data, e->y, row->out_rows * row->out, row->tolerance);
    if (y->needs_grad) {
        assert_int_equal(rlhf__var_grad(tape, y, &dy), RLHF_OK);
        for (int64_t i = 0; i < row->out_rows * row->out; i++)
            dy[i] += e->dy[i];
    }
    assert_int_equal(rlhf__tape_backward(tape), RLHF_OK);
    for (int64_t i = 0; i < n; i++)
        result[i] = x.grad[i] - x_start[i];
    if (!frozen)
        grads_settle(&sum);
    collect(&params, grads, start, result + n);
    assert_fence(x.data, n), assert_fence(x_grad, n), assert_fence(grads, params.count);
    if (!row->in_place)
        assert_memory_equal(x.data, e->inputs, (size_t)n * sizeof *x.data);
    grads_free(&sum);
    rlhf__tape_free(tape);
    rlhf__params_free(&params);
    free(x.data), free(x_start), free(x_grad), free(start), free(grads);
    return result;
}

static void check_gradient(const expectation *e, const float *gradient)
{
    double along = 0, square = 0;

    for (int64_t i = 0; i < e->num_samples; i++)
        if (!(fabs(gradient[e->samples[i]] - e->slopes[i]) <=
              e->row->tolerance * (1 + fabs(e->slopes[i]))))
            fail_msg("%s, input %lld: gradient %g, slope %g", e->row->name,
                     (long long)e->samples[i], gradient[e->samples[i]], e->slopes[i]);
    for (int64_t i = 0; i < e->count; i++) {
        const double part = (double)gradient[i] * e->direction[i];
        along += part;
        square += part * part;
    }
    if (!(fabs(along - e->slope) <= e->row->tolerance * (1 + sqrt(square))))
        fail_msg("%s, along a direction: gradient %g, slope %g", e->row->name, along,
                 e->slope);
}

/* --- the tests ---------------------------------------------------------------------- */

#define NUM_ROWS (sizeof table / sizeof table[0])

static void test_ops_gradients_equal_finite_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_ROWS; i++) {
        expectation e;
        expect(&table[i], &e);
        FOR_LEVELS(context, 2)
        {
            float *fresh = run_row(context, &e, false, false);
            check_gradient(&e, fresh);
            free(fresh);
            /* An op in place has no gradient but its output's: nothing to add to. */
            float *added = run_row(context, &e, !table[i].in_place, false);
            check_gradient(&e, added);
            free(added);
        }
        expectation_free(&e);
    }
}

/* With frozen parameters the inputs' gradient has the same bits and the parameters' is
 * not touched. */
static void test_ops_pass_gradients_through_frozen_parameters(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);

    for (size_t i = 0; i < NUM_ROWS; i++) {
        expectation e;
        expect(&table[i], &e);
        float *trained = run_row(context, &e, false, false);
        float *frozen = run_row(context, &e, false, true);
        assert_memory_equal(trained, frozen, (size_t)x_count(&table[i]) * sizeof *frozen);
        for (int64_t j = x_count(&table[i]); j < e.count; j++)
            assert_true(frozen[j] == 0.0f);
        free(trained), free(frozen);
        expectation_free(&e);
    }
    rlhf_context_free(context);
}

/* Values and gradients have the same bits with 1, 2 and 3 threads. */
static void test_ops_gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_ROWS; i++) {
        float *first = NULL;
        expectation e;
        expect(&table[i], &e);
        for (int32_t threads = 1; threads <= 3; threads++) {
            rlhf_context *context = context_of(RLHF_CPU_AUTO, threads);
            float *gradient = run_row(context, &e, true, false);
            rlhf_context_free(context);
            if (!first) {
                first = gradient;
                continue;
            }
            assert_memory_equal(gradient, first, (size_t)e.count * sizeof *first);
            free(gradient);
        }
        free(first);
        expectation_free(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops_gradients_equal_finite_differences),
        cmocka_unit_test(test_ops_pass_gradients_through_frozen_parameters),
        cmocka_unit_test(test_ops_gradients_do_not_depend_on_threads),
    };
    fill_indices();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
