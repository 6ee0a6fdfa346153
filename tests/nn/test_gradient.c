/* Whole networks against the same network in double precision: hidden states, and the
 * gradient of every parameter tensor along a random direction against a central
 * difference. */
#include "grads.h"
#include "nn_support.h"
#include "reference.h"

enum { SEQS = 3, COUNT = 93 };
static const int64_t cu[SEQS + 1] = {0, 1, 21,
                                     COUNT}; /* the last is longer than a block */
static int32_t tokens[COUNT], positions[COUNT], targets[COUNT];
static float weight_logprob[COUNT], weight_entropy[COUNT]; /* of the loss */

static void fill_batch(void)
{
    for (int s = 0; s < SEQS; s++)
        for (int64_t i = cu[s]; i < cu[s + 1]; i++) {
            positions[i] = (int32_t)(i - cu[s]);
            tokens[i] = nn_token(i);
            targets[i] = nn_token(3 * i + 1);
            weight_logprob[i] = (float)rlhf__rng_uniform(1, 1, (uint64_t)i) + 0.5f;
            weight_entropy[i] = (float)rlhf__rng_uniform(1, 2, (uint64_t)i) - 0.5f;
        }
}

/* --- the network in double ---------------------------------------------------------- */

typedef struct ref_net {
    const rlhf__transformer *model;
    const double *values; /* laid out as the parameters */
} ref_net;

static const double *slab(const ref_net *n, int32_t index)
{
    return index < 0 ? NULL : n->values + n->model->params.slabs[index].offset;
}

static double *doubles(int64_t count)
{
    return calloc((size_t)count, sizeof(double));
}

static void ref_norm(const ref_net *n, int32_t kind, double eps, int32_t weight,
                     int32_t bias, const double *x, double *y)
{
    const int64_t d = n->model->config.hidden_size;

    eps = (float)eps; /* as the library takes it */
    if (kind == RLHF_NORM_RMSNORM)
        ref_rmsnorm(x, COUNT, d, slab(n, weight), eps, y);
    else
        ref_layernorm(x, COUNT, d, slab(n, weight), slab(n, bias), eps, y);
}

static void ref_attention_branch(const ref_net *n, int32_t layer, double *x)
{
    const rlhf_model_config *c = &n->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &n->model->blocks[layer];
    const int64_t d = c->hidden_size, width = (int64_t)c->num_heads * c->head_dim;
    const int64_t fused = width + 2 * (int64_t)c->num_kv_heads * c->head_dim;
    const ref_attention_shape shape = {
        c->num_heads, c->num_kv_heads, c->head_dim, l->window, SEQS, cu};
    double *h = doubles(COUNT * d), *qkv = doubles(COUNT * fused),
           *mixed = doubles(COUNT * width);

    ref_norm(n, l->norm, l->norm_eps, b->norm1_weight, b->norm1_bias, x, h);
    ref_linear(h, COUNT, d, slab(n, b->qkv_weight), fused, slab(n, b->qkv_bias), qkv);
    if (l->rotary)
        ref_rope(qkv, fused, COUNT, c->num_heads + c->num_kv_heads, c->head_dim,
                 positions, l->rope_theta);
    ref_attention(&shape, qkv, mixed);
    ref_linear(mixed, COUNT, width, slab(n, b->out_weight), d, slab(n, b->out_bias), h);
    for (int64_t i = 0; i < COUNT * d; i++)
        x[i] += h[i];
    free(h), free(qkv), free(mixed);
}

static void ref_mlp_branch(const ref_net *n, int32_t layer, double *x)
{
    const rlhf_model_config *c = &n->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &n->model->blocks[layer];
    const int64_t d = c->hidden_size, mlp = c->intermediate_size;
    const bool gated = c->activation == RLHF_ACTIVATION_SWIGLU;
    double *h = doubles(COUNT * d), *up = doubles(COUNT * 2 * mlp),
           *act = doubles(COUNT * mlp);

    ref_norm(n, l->norm, l->norm_eps, b->norm2_weight, b->norm2_bias, x, h);
    ref_linear(h, COUNT, d, slab(n, b->up_weight), gated ? 2 * mlp : mlp,
               slab(n, b->up_bias), up);
    if (gated)
        ref_swiglu(up, COUNT, mlp, act);
    for (int64_t i = 0; !gated && i < COUNT * mlp; i++)
        act[i] = c->activation == RLHF_ACTIVATION_GELU_ERF ? ref_gelu_erf(up[i])
                                                           : ref_gelu_tanh(up[i]);
    ref_linear(act, COUNT, mlp, slab(n, b->down_weight), d, slab(n, b->down_bias), h);
    for (int64_t i = 0; i < COUNT * d; i++)
        x[i] += h[i];
    free(h), free(up), free(act);
}

static void ref_hidden(const ref_net *n, double *hidden)
{
    const rlhf_model_config *c = &n->model->config;
    const int64_t d = c->hidden_size;
    const double *table = slab(n, n->model->token_table);
    const double *where = slab(n, n->model->position_table);
    double *x = doubles(COUNT * d);

    for (int64_t i = 0; i < COUNT; i++)
        for (int64_t k = 0; k < d; k++)
            x[i * d + k] =
                table[tokens[i] * d + k] + (where ? where[positions[i] * d + k] : 0.0);
    for (int32_t layer = 0; layer < c->num_layers; layer++) {
        ref_attention_branch(n, layer, x);
        ref_mlp_branch(n, layer, x);
    }
    ref_norm(n, c->norm, c->norm_eps, n->model->final_norm_weight,
             n->model->final_norm_bias, x, hidden);
    free(x);
}

/* sum a log p(target) + b H; with a scalar head sum a score. */
static double ref_loss(const ref_net *n)
{
    const rlhf__transformer *m = n->model;
    const int64_t d = m->config.hidden_size, vocab = NN_VOCAB;
    double *hidden = doubles(COUNT * d), *out = doubles(COUNT * vocab), loss = 0, entropy;

    ref_hidden(n, hidden);
    if (m->score_weight >= 0)
        ref_linear(hidden, COUNT, d, slab(n, m->score_weight), 1, slab(n, m->score_bias),
                   out);
    else
        ref_linear(hidden, COUNT, d, slab(n, m->head_weight), vocab, NULL, out);
    for (int64_t i = 0; i < COUNT; i++) {
        if (m->score_weight >= 0) {
            loss += weight_logprob[i] * out[i];
            continue;
        }
        loss += weight_logprob[i] *
                ref_logprob(out + i * vocab, vocab, targets[i], 0.8, &entropy);
        loss += weight_entropy[i] * entropy;
    }
    free(hidden), free(out);
    return loss;
}

static double central_difference(const rlhf__transformer *model, const float *direction)
{
    const double step = 1e-5;
    double *values = doubles(model->params.count), loss[2];
    const ref_net net = {model, values};

    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < model->params.count; i++)
            values[i] = model->params.values[i] + (side ? -step : step) * direction[i];
        loss[side] = ref_loss(&net);
    }
    free(values);
    return (loss[0] - loss[1]) / (2 * step);
}

/* --- the library -------------------------------------------------------------------- */

static rlhf_status loss_slopes(void *arg, int64_t first, int64_t count,
                               const float *logprob, const float *entropy,
                               float *dlogprob, float *dentropy)
{
    const int64_t *rows = arg;

    (void)logprob, (void)entropy;
    for (int64_t i = 0; i < count; i++) {
        dlogprob[i] = weight_logprob[rows[first + i]];
        dentropy[i] = weight_entropy[rows[first + i]];
    }
    return RLHF_OK;
}

/* The loss' gradient by the hidden states of some rows, which are held against the
 * reference; fenced. */
static float *rows_gradient(rlhf__transformer *m, int64_t *rows, int64_t count,
                            const double *hidden_ref)
{
    const rlhf__batch batch = {.tokens = tokens,
                               .cu_seqlens = cu,
                               .num_seqs = SEQS,
                               .rows = rows,
                               .num_rows = count};
    const int64_t d = m->config.hidden_size;
    int32_t asked[COUNT];
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL, *scores = NULL;
    float *grads = fenced(m->params.count), logprob[COUNT], *dscores = NULL;
    rlhf__grads sum = grads_over(&m->params, grads, true);

    memset(grads, 0, (size_t)m->params.count * sizeof *grads);
    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, true, &sum);
    assert_ok(rlhf__transformer_forward(m, tape, &batch, &hidden));
    assert_int_equal(hidden->rows, count);
    for (int64_t i = 0; i < count; i++) {
        asked[i] = targets[rows[i]];
        assert_all_near(hidden->data + i * d, hidden_ref + rows[i] * d, d, 5e-5);
    }
    if (m->score_weight >= 0) {
        assert_ok(rlhf__transformer_head(m, tape, hidden, &scores));
        assert_ok(rlhf__var_grad(tape, scores, &dscores));
        for (int64_t i = 0; i < count; i++)
            dscores[i] += weight_logprob[rows[i]];
    } else {
        assert_ok(rlhf__op_linear_logprob(tape, &m->params, m->head_weight, hidden, asked,
                                          NULL, 1.25f, logprob, NULL, loss_slopes, rows));
    }
    assert_ok(rlhf__tape_backward(tape));
    rlhf__tape_free(tape);
    grads_free(&sum);
    assert_fence(grads, m->params.count);
    return grads;
}

static float *whole_gradient(rlhf__transformer *m, const double *hidden_ref)
{
    int64_t rows[COUNT];

    for (int64_t i = 0; i < COUNT; i++)
        rows[i] = i;
    return rows_gradient(m, rows, COUNT, hidden_ref);
}

/* The hidden states of the reference with the model's own values. */
static double *hidden_of(const rlhf__transformer *m)
{
    double *values = doubles(m->params.count);
    double *hidden = doubles(COUNT * m->config.hidden_size);

    for (int64_t i = 0; i < m->params.count; i++)
        values[i] = m->params.values[i];
    ref_hidden(&(ref_net){m, values}, hidden);
    free(values);
    return hidden;
}

/* One direction a parameter tensor. The reference is double, so the tolerance is for
 * fp32's rounding (6e-8 an operation) through three layers: 2e-5 of the gradient's own
 * size, over four times what is seen. A wrong rule is wrong by its whole size. */
static void check_slabs(const char *name, const rlhf__transformer *m, const float *grads)
{
    float *direction = fenced(m->params.count);

    for (int32_t s = 0; s < m->params.num_slabs; s++) {
        const rlhf__slab *slab_s = &m->params.slabs[s];
        double along = 0, square = 0;
        memset(direction, 0, (size_t)m->params.count * sizeof *direction);
        for (int64_t i = slab_s->offset; i < slab_s->offset + slab_s->rows * slab_s->cols;
             i++) {
            direction[i] = (float)(2 * rlhf__rng_uniform(3, 3, (uint64_t)i) - 1);
            along += (double)grads[i] * direction[i];
            square += pow((double)grads[i] * direction[i], 2);
        }
        const double slope = central_difference(m, direction);
        assert_true(square > 1e-6); /* the loss hangs on every tensor */
        if (!(fabs(along - slope) <= 2e-5 * (1 + sqrt(square))))
            fail_msg("%s, tensor %d: gradient %g, slope %g", name, (int)s, along, slope);
    }
    assert_fence(direction, m->params.count);
    free(direction);
}

static void test_networks_equal_double_reference(void **state)
{
    (void)state;
    for (int kind = 0; kind < NN_KINDS; kind++) {
        rlhf_context *any = context_of(RLHF_CPU_AUTO, 2);
        rlhf__transformer *model = nn_model(any, &nn_kinds[kind]);
        double *hidden = hidden_of(model);
        float *grads = whole_gradient(model, hidden);
        check_slabs(nn_kinds[kind].name, model, grads);
        FOR_LEVELS(context, 2)
        {
            rlhf__transformer *other = nn_model(context, &nn_kinds[kind]);
            float *others = whole_gradient(other, hidden);
            for (int64_t i = 0; i < model->params.count; i++)
                assert_near(others[i], grads[i], 2e-4);
            free(others);
            rlhf__transformer_free(other);
        }
        free(hidden), free(grads);
        rlhf__transformer_free(model);
        rlhf_context_free(any);
    }
}

/* A loss of a few rows, of which alone the last layer's end is computed. */
static void test_wanted_rows_equal_double_reference(void **state)
{
    int64_t wanted[] = {0, 3, 20, 21, 50, 51, 92};
    const int64_t num = sizeof wanted / sizeof wanted[0];

    (void)state;
    memset(weight_logprob, 0, sizeof weight_logprob);
    memset(weight_entropy, 0, sizeof weight_entropy);
    for (int64_t i = 0; i < num; i++) {
        weight_logprob[wanted[i]] = (float)(i + 1);
        weight_entropy[wanted[i]] = (float)(3 - i);
    }
    for (int kind = 0; kind < NN_KINDS; kind++) {
        rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
        rlhf__transformer *model = nn_model(context, &nn_kinds[kind]);
        double *hidden = hidden_of(model);
        float *grads = rows_gradient(model, wanted, num, hidden);
        check_slabs(nn_kinds[kind].name, model, grads);
        free(hidden), free(grads);
        rlhf__transformer_free(model);
        rlhf_context_free(context);
    }
    fill_batch();
}

/* A tied table takes the embedding's and the head's gradient: the sum of what the two
 * take in the untied network of the same weights. */
static void test_tied_table_takes_both_gradients(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    nn_kind untied_kind = nn_kinds[0];
    untied_kind.tied = 0;
    rlhf__transformer *tied = nn_model(context, &nn_kinds[0]);
    rlhf__transformer *untied = nn_model(context, &untied_kind);
    const int64_t trunk = tied->params.count,
                  table = (int64_t)NN_VOCAB * untied_kind.hidden;

    float *write = rlhf__params_begin_write(&untied->params);
    memcpy(write, tied->params.values, (size_t)trunk * sizeof *write);
    memcpy(rlhf__slab_values(&untied->params, untied->head_weight), tied->params.values,
           (size_t)table * sizeof *write);
    rlhf__params_end_write(&untied->params);
    double *hidden = hidden_of(tied);
    float *both = whole_gradient(tied, hidden), *apart = whole_gradient(untied, hidden);
    const float *head = apart + untied->params.slabs[untied->head_weight].offset;
    for (int64_t i = 0; i < table; i++)
        assert_near(both[i], (double)apart[i] + head[i], 1e-5);
    for (int64_t i = table; i < trunk; i++) /* all else does not know of the tie */
        assert_near(both[i], apart[i], 1e-6);
    free(both), free(apart), free(hidden);
    rlhf__transformer_free(tied);
    rlhf__transformer_free(untied);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks_equal_double_reference),
        cmocka_unit_test(test_wanted_rows_equal_double_reference),
        cmocka_unit_test(test_tied_table_takes_both_gradients),
    };
    fill_batch();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
