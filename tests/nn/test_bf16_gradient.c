/* Gradients of whole networks in bf16 against the same networks in double precision that
 * round to bf16 where docs/kernels.md says so: both operands of every product, forward
 * and backward, keys and values, the token's row of the embedding, and nothing else.
 *
 * Rounding is not continuous: where fp32 and double fall on two sides of a boundary, an
 * operand differs by a whole unit of bf16 and all behind it a little. So networks are
 * small, and drawn many times: in most draws nothing lies that near to a boundary, and
 * fp32's own rounding is all that is left; one rounding too few or too many shows in
 * every draw. */
#include "grads.h"
#include "nn_support.h"
#include "reference_grad.h"

enum { SEQS = 3, COUNT = 9, DRAWS = 15 };
static const int64_t cu[SEQS + 1] = {0, 1, 4, COUNT};
static int32_t tokens[COUNT], positions[COUNT], backwards[COUNT], targets[COUNT];
static float slope_logprob[COUNT], slope_entropy[COUNT]; /* of the loss */

static void fill_batch(void)
{
    for (int s = 0; s < SEQS; s++)
        for (int64_t i = cu[s]; i < cu[s + 1]; i++) {
            positions[i] = (int32_t)(i - cu[s]);
            backwards[i] = -positions[i];
            tokens[i] = nn_token(i);
            targets[i] = nn_token(3 * i + 1);
            slope_logprob[i] = (float)rlhf__rng_uniform(1, 1, (uint64_t)i) + 0.5f;
            slope_entropy[i] = (float)rlhf__rng_uniform(1, 2, (uint64_t)i) - 0.5f;
        }
}

/* --- the network in double ---------------------------------------------------------- */

typedef struct ref_layer { /* what the backward pass reads */
    double *x, *h, *qkv, *mixed, *x_mid, *h_mid, *up, *act;
} ref_layer;

typedef struct ref_net {
    const rlhf__transformer *model;
    const double *values; /* laid out as the parameters */
    double *grads;        /* likewise */
    bool rounds;
    ref_layer layers[NN_LAYERS];
} ref_net;

static double *doubles(int64_t count)
{
    return calloc((size_t)count, sizeof(double));
}

/* To 8 bits, ties to even. */
static double bf16(double x)
{
    int exponent;
    const double size = frexp(x, &exponent);

    return ldexp(rint(ldexp(size, 8)), exponent - 8);
}

static double *rounded(const ref_net *n, const double *x, int64_t count)
{
    double *y = doubles(count);

    for (int64_t i = 0; i < count; i++)
        y[i] = n->rounds ? bf16(x[i]) : x[i];
    return y;
}

static const double *slab(const ref_net *n, int32_t index)
{
    return index < 0 ? NULL : n->values + n->model->params.slabs[index].offset;
}

static double *slab_grad(const ref_net *n, int32_t index)
{
    return index < 0 ? NULL : n->grads + n->model->params.slabs[index].offset;
}

static double *linear(const ref_net *n, const double *x, int32_t weight, int32_t bias)
{
    const rlhf__slab *s = &n->model->params.slabs[weight];
    double *x_r = rounded(n, x, COUNT * s->cols);
    double *w_r = rounded(n, slab(n, weight), s->rows * s->cols);
    double *y = doubles(COUNT * s->rows);

    ref_linear(x_r, COUNT, s->cols, w_r, s->rows, slab(n, bias), y);
    free(x_r), free(w_r);
    return y;
}

/* The gradient of x; dy is used up. */
static double *linear_grad(const ref_net *n, double *dy, const double *x, int32_t weight,
                           int32_t bias)
{
    const rlhf__slab *s = &n->model->params.slabs[weight];
    double *x_r = rounded(n, x, COUNT * s->cols), *dx = doubles(COUNT * s->cols);
    double *w_r = rounded(n, slab(n, weight), s->rows * s->cols);
    double *dy_r = rounded(n, dy, COUNT * s->rows);

    for (int64_t i = 0; bias >= 0 && i < COUNT * s->rows; i++)
        slab_grad(n, bias)[i % s->rows] += dy[i];
    ref_linear_grad(dy_r, x_r, COUNT, s->cols, w_r, s->rows, dx, slab_grad(n, weight));
    free(x_r), free(w_r), free(dy_r), free(dy);
    return dx;
}

static double *norm(const ref_net *n, int32_t kind, double eps, int32_t weight,
                    int32_t bias, const double *x)
{
    const int64_t d = n->model->config.hidden_size;
    double *y = doubles(COUNT * d);

    if (kind == RLHF_NORM_RMSNORM)
        ref_rmsnorm(x, COUNT, d, slab(n, weight), (float)eps, y);
    else
        ref_layernorm(x, COUNT, d, slab(n, weight), slab(n, bias), (float)eps, y);
    return y;
}

/* dx += ...; dy is used up. */
static void norm_grad(const ref_net *n, int32_t kind, double eps, int32_t weight,
                      int32_t bias, double *dy, const double *x, double *dx)
{
    ref_norm_grad(dy, x, COUNT, n->model->config.hidden_size, slab(n, weight), (float)eps,
                  kind == RLHF_NORM_LAYERNORM, dx, slab_grad(n, weight),
                  slab_grad(n, bias));
    free(dy);
}

static ref_attention_shape shape_of(const ref_net *n, int32_t layer)
{
    const rlhf_model_config *c = &n->model->config;

    return (ref_attention_shape){
        c->num_heads, c->num_kv_heads, c->head_dim, c->layers[layer].window, SEQS, cu};
}

static void turn(const ref_net *n, int32_t layer, const int32_t *where, double *qkv)
{
    const rlhf_model_config *c = &n->model->config;
    const int64_t turned = c->num_heads + c->num_kv_heads;

    if (c->layers[layer].rotary)
        ref_rope(qkv, (turned + c->num_kv_heads) * c->head_dim, COUNT, turned,
                 c->head_dim, where, c->layers[layer].rope_theta);
}

/* a + b, and b is used up. */
static double *plus(const double *a, double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        b[i] += a[i];
    return b;
}

static double activation(const ref_net *n, double x, bool slope)
{
    if (n->model->config.activation == RLHF_ACTIVATION_GELU_ERF)
        return slope ? ref_gelu_erf_slope(x) : ref_gelu_erf(x);
    return slope ? ref_gelu_tanh_slope(x) : ref_gelu_tanh(x);
}

static double *layer_forward(ref_net *n, int32_t layer, double *x)
{
    const rlhf_model_config *c = &n->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &n->model->blocks[layer];
    const int64_t q = (int64_t)c->num_heads * c->head_dim;
    const int64_t fused = q + 2 * (int64_t)c->num_kv_heads * c->head_dim;
    const int64_t mlp = c->intermediate_size;
    const ref_attention_shape shape = shape_of(n, layer);
    ref_layer *r = &n->layers[layer];

    r->x = x;
    r->h = norm(n, l->norm, l->norm_eps, b->norm1_weight, b->norm1_bias, x);
    r->qkv = linear(n, r->h, b->qkv_weight, b->qkv_bias);
    turn(n, layer, positions, r->qkv);
    for (int64_t i = 0; n->rounds && i < COUNT * fused; i++)
        if (i % fused >= q) /* k and v */
            r->qkv[i] = bf16(r->qkv[i]);
    r->mixed = doubles(COUNT * q);
    ref_attention(&shape, r->qkv, r->mixed);
    r->x_mid =
        plus(x, linear(n, r->mixed, b->out_weight, b->out_bias), COUNT * c->hidden_size);
    r->h_mid = norm(n, l->norm, l->norm_eps, b->norm2_weight, b->norm2_bias, r->x_mid);
    r->up = linear(n, r->h_mid, b->up_weight, b->up_bias);
    r->act = doubles(COUNT * mlp);
    if (c->activation == RLHF_ACTIVATION_SWIGLU)
        ref_swiglu(r->up, COUNT, mlp, r->act);
    for (int64_t i = 0; c->activation != RLHF_ACTIVATION_SWIGLU && i < COUNT * mlp; i++)
        r->act[i] = activation(n, r->up[i], false);
    return plus(r->x_mid, linear(n, r->act, b->down_weight, b->down_bias),
                COUNT * c->hidden_size);
}

/* dx, the gradient of the layer's output, becomes that of its input. */
static void layer_backward(ref_net *n, int32_t layer, double *dx)
{
    const rlhf_model_config *c = &n->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &n->model->blocks[layer];
    const int64_t d = c->hidden_size, mlp = c->intermediate_size;
    const bool gated = c->activation == RLHF_ACTIVATION_SWIGLU;
    const ref_attention_shape shape = shape_of(n, layer);
    ref_layer *r = &n->layers[layer];
    double *dup = doubles(COUNT * mlp * 2), *dy = doubles(COUNT * d);
    double *dqkv = doubles(COUNT * (shape.heads + 2 * shape.kv_heads) * shape.dim);

    dy = linear_grad(n, plus(dx, dy, COUNT * d), r->act, b->down_weight, b->down_bias);
    if (gated)
        ref_swiglu_grad(dy, r->up, COUNT, mlp, dup);
    for (int64_t i = 0; !gated && i < COUNT * mlp; i++)
        dup[i] = dy[i] * activation(n, r->up[i], true);
    free(dy);
    dy = linear_grad(n, dup, r->h_mid, b->up_weight, b->up_bias);
    norm_grad(n, l->norm, l->norm_eps, b->norm2_weight, b->norm2_bias, dy, r->x_mid, dx);
    dy = plus(dx, doubles(COUNT * d), COUNT * d);
    dy = linear_grad(n, dy, r->mixed, b->out_weight, b->out_bias);
    ref_attention_grad(&shape, r->qkv, dy, dqkv);
    free(dy);
    turn(n, layer, backwards, dqkv);
    dy = linear_grad(n, dqkv, r->h, b->qkv_weight, b->qkv_bias);
    norm_grad(n, l->norm, l->norm_eps, b->norm1_weight, b->norm1_bias, dy, r->x, dx);
    free(r->x), free(r->h), free(r->qkv), free(r->mixed);
    free(r->x_mid), free(r->h_mid), free(r->up), free(r->act);
}

/* The loss' gradient by the head's output: sum a log p(target) + b H, or sum a score. */
static double *loss_grad(const ref_net *n, const double *out)
{
    const bool scores = n->model->score_weight >= 0;
    double *dout = doubles(COUNT * (scores ? 1 : NN_VOCAB));

    for (int64_t i = 0; i < COUNT; i++)
        if (scores)
            dout[i] = slope_logprob[i];
        else
            ref_logprob_grad(out + i * NN_VOCAB, NN_VOCAB, targets[i], 0.8,
                             slope_logprob[i], slope_entropy[i], dout + i * NN_VOCAB);
    return dout;
}

static double *embedded(const ref_net *n)
{
    const int64_t d = n->model->config.hidden_size;
    const double *where = slab(n, n->model->position_table);
    double *table = rounded(n, slab(n, n->model->token_table), NN_VOCAB * d);
    double *x = doubles(COUNT * d);

    for (int64_t i = 0; i < COUNT * d; i++)
        x[i] = table[tokens[i / d] * d + i % d] +
               (where ? where[positions[i / d] * d + i % d] : 0.0);
    free(table);
    return x;
}

static void ref_gradient(ref_net *n)
{
    const rlhf__transformer *m = n->model;
    const rlhf_model_config *c = &m->config;
    const int64_t d = c->hidden_size;
    const int32_t head = m->score_weight >= 0 ? m->score_weight : m->head_weight;
    double *x = embedded(n), *dx = doubles(COUNT * d);

    for (int32_t layer = 0; layer < c->num_layers; layer++)
        x = layer_forward(n, layer, x);
    double *hidden =
        norm(n, c->norm, c->norm_eps, m->final_norm_weight, m->final_norm_bias, x);
    double *out = linear(n, hidden, head, m->score_bias);
    double *dhidden = linear_grad(n, loss_grad(n, out), hidden, head, m->score_bias);
    norm_grad(n, c->norm, c->norm_eps, m->final_norm_weight, m->final_norm_bias, dhidden,
              x, dx);
    for (int32_t layer = c->num_layers - 1; layer >= 0; layer--)
        layer_backward(n, layer, dx);
    for (int64_t i = 0; i < COUNT * d; i++) {
        slab_grad(n, m->token_table)[tokens[i / d] * d + i % d] += dx[i];
        if (m->position_table >= 0)
            slab_grad(n, m->position_table)[positions[i / d] * d + i % d] += dx[i];
    }
    free(x), free(dx), free(hidden), free(out);
}

/* --- the library -------------------------------------------------------------------- */

static rlhf_status loss_slopes(void *arg, int64_t first, int64_t count,
                               const float *logprob, const float *entropy,
                               float *dlogprob, float *dentropy)
{
    (void)arg, (void)logprob, (void)entropy;
    memcpy(dlogprob, slope_logprob + first, (size_t)count * sizeof *dlogprob);
    memcpy(dentropy, slope_entropy + first, (size_t)count * sizeof *dentropy);
    return RLHF_OK;
}

static float *library_gradient(rlhf__transformer *m)
{
    const rlhf__batch batch = {.tokens = tokens, .cu_seqlens = cu, .num_seqs = SEQS};
    float *grads = fenced(m->params.count), logprob[COUNT], *dscores = NULL;
    rlhf__grads sum = grads_over(&m->params, grads, false);
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL, *scores = NULL;

    rlhf__grads_clear(&sum);
    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, true, &sum);
    assert_ok(rlhf__transformer_forward(m, tape, &batch, &hidden));
    if (m->score_weight >= 0) {
        assert_ok(rlhf__transformer_head(m, tape, hidden, &scores));
        assert_ok(rlhf__var_grad(tape, scores, &dscores));
        memcpy(dscores, slope_logprob, sizeof slope_logprob);
    } else {
        assert_ok(rlhf__op_linear_logprob(tape, &m->params, m->head_weight, hidden,
                                          targets, NULL, 1.25f, logprob, NULL,
                                          loss_slopes, NULL));
    }
    assert_ok(rlhf__tape_backward(tape));
    grads_settle(&sum);
    rlhf__tape_free(tape);
    grads_free(&sum);
    assert_fence(grads, m->params.count);
    return grads;
}

/* The largest distance of a tensor's gradient to the reference's, by the latter's
 * length. */
static double distance(const rlhf__transformer *m, const float *grads, const double *ref)
{
    double largest = 0;

    for (int32_t s = 0; s < m->params.num_slabs; s++) {
        const rlhf__slab *slab_s = &m->params.slabs[s];
        double off = 0, square = 0;
        for (int64_t i = slab_s->offset; i < slab_s->offset + slab_s->rows * slab_s->cols;
             i++) {
            off += pow((double)grads[i] - ref[i], 2);
            square += ref[i] * ref[i];
        }
        assert_true(square > 1e-6); /* the loss hangs on every tensor */
        largest = fmax(largest, sqrt(off / square));
    }
    return largest;
}

static double draw_distance(rlhf_context *context, const nn_kind *kind, uint64_t draw,
                            bool rounds)
{
    rlhf__transformer *model = nn_model(context, kind);
    const int64_t count = model->params.count;
    double *values = doubles(count), *ref = doubles(count);
    ref_net net = {.model = model, .values = values, .grads = ref, .rounds = rounds};

    nn_randomise(model, draw);
    for (int64_t i = 0; i < count; i++)
        values[i] = model->params.values[i];
    ref_gradient(&net);
    float *grads = library_gradient(model);
    const double result = distance(model, grads, ref);
    free(values), free(ref), free(grads);
    rlhf__transformer_free(model);
    return result;
}

/* fp32 itself is off by less than NEAR; a unit of bf16 is 2^-8. */
#define NEAR 1e-5

static void test_double_reference_has_the_gradient(void **state)
{
    (void)state;
    rlhf_context *context = context_of_dtype(RLHF_CPU_AUTO, 1, RLHF_DTYPE_FP32);

    for (int kind = 0; kind < NN_KINDS; kind++) {
        const double off = draw_distance(context, &nn_kinds[kind], 1, false);
        if (!(off < NEAR))
            fail_msg("%s: off by %g", nn_kinds[kind].name, off);
    }
    rlhf_context_free(context);
}

static void test_bf16_gradients_round_where_they_should(void **state)
{
    (void)state;
    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        for (int kind = 0; kind < NN_KINDS; kind++) {
            double least = INFINITY, most = 0;
            int near = 0;
            for (uint64_t draw = 1; draw <= DRAWS; draw++) {
                const double off = draw_distance(context, &nn_kinds[kind], draw, true);
                near += off < NEAR;
                least = fmin(least, off);
                most = fmax(most, off);
            }
            if (near <= DRAWS / 2 || most > 0.1)
                fail_msg("%s: of %d draws %d are near, off by %g to %g",
                         nn_kinds[kind].name, (int)DRAWS, near, least, most);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_reference_has_the_gradient),
        cmocka_unit_test(test_bf16_gradients_round_where_they_should),
    };
    fill_batch();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
