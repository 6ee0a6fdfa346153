/* Fresh weights have the distribution of GPT-2's published initialisation (Radford et al.
 * 2019): N(0, range), residual projections N(0, range / sqrt(2 L)), norms 1, biases 0; a
 * scalar head N(0, 1 / sqrt(d + 1)), its bias 0 (Stiennon et al. 2020). */
#include "kernels/kernels_support.h"
#include "support.h"

#include "nn/transformer.h"

enum { HIDDEN = 64, LAYERS = 5, VOCAB = 701 };
#define RANGE 0.03

static rlhf__transformer *make_model(rlhf_context *context, int llama, rlhf__head head)
{
    rlhf__transformer *model = NULL;
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = VOCAB, c.context_length = 100, c.hidden_size = HIDDEN;
    c.num_layers = LAYERS, c.num_heads = 4, c.initializer_range = RANGE;
    c.tie_embeddings = !llama;
    if (llama) {
        c.position = RLHF_POSITION_ROTARY, c.norm = RLHF_NORM_RMSNORM;
        c.activation = RLHF_ACTIVATION_SWIGLU, c.num_kv_heads = 2;
        c.attention_bias = c.mlp_bias = 0;
    }
    assert_ok(rlhf__transformer_create(context, &c, head, &model));
    return model;
}

/* n numbers look like N(0, std): mean, deviation and share within one deviation, each
 * within five of its own standard errors. */
static void check_normal(const float *x, int64_t n, double std)
{
    double sum = 0, square = 0, within = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
        within += fabs(x[i]) < std;
    }
    const double root = sqrt((double)n);
    if (fabs(sum / (double)n) > 5 * std / root)
        fail_msg("mean %g of %lld numbers", sum / (double)n, (long long)n);
    if (fabs(sqrt(square / (double)n) - std) > 5 * std / (1.4142 * root))
        fail_msg("deviation %g, not %g", sqrt(square / (double)n), std);
    if (fabs(within / (double)n - 0.6827) > 5 * 0.4654 / root)
        fail_msg("%g of the numbers are within one deviation", within / (double)n);
}

static void check_constant(const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        assert_true(x[i] == value);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* By its name, which is Hugging Face's. */
static void check_named(const rlhf__params *params, const rlhf__named *named)
{
    const rlhf__slab *slab = &params->slabs[named->slab];
    const float *x = params->values + slab->offset + named->first_row * slab->cols;
    const int64_t n = named->rows * slab->cols;
    const char *name = named->name;
    const bool residual =
        ends_with(name, "attn.c_proj.weight") || ends_with(name, "mlp.c_proj.weight") ||
        ends_with(name, "o_proj.weight") || ends_with(name, "down_proj.weight");

    if (ends_with(name, ".bias"))
        check_constant(x, n, 0.0f);
    else if (strstr(name, "ln_") || strstr(name, "norm"))
        check_constant(x, n, 1.0f);
    else if (ends_with(name, "score.weight"))
        check_normal(x, n, 1.0 / sqrt(HIDDEN + 1.0));
    else
        check_normal(x, n, residual ? RANGE / sqrt(2.0 * LAYERS) : RANGE);
}

static void test_init_has_the_published_distribution(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);

    for (int llama = 0; llama < 2; llama++)
        for (int head = RLHF__HEAD_LM; head <= RLHF__HEAD_SCORE; head++) {
            rlhf__transformer *m = make_model(context, llama, (rlhf__head)head);
            int64_t named = 0;
            rlhf__transformer_init(m, 7);
            for (int32_t i = 0; i < m->params.num_named; i++) {
                const rlhf__named *at = &m->params.named[i];
                check_named(&m->params, at);
                named += at->rows * m->params.slabs[at->slab].cols;
            }
            assert_int_equal(named, rlhf__params_num(&m->params)); /* none left out */
            rlhf__transformer_free(m);
        }
    rlhf_context_free(context);
}

/* Residual projections number two a layer, and no tensor repeats another's numbers. */
static void test_init_tensors_are_independent(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    rlhf__transformer *m = make_model(context, 0, RLHF__HEAD_LM);

    rlhf__transformer_init(m, 7);
    for (int32_t a = 0; a < m->params.num_slabs; a++)
        for (int32_t b = 0; b < a; b++) {
            const rlhf__slab *s = &m->params.slabs[a], *t = &m->params.slabs[b];
            const float *x = m->params.values + s->offset,
                        *y = m->params.values + t->offset;
            int64_t n = s->rows * s->cols;
            double dot = 0, xx = 0, yy = 0;
            if (!s->decay || !t->decay)
                continue;
            n = t->rows * t->cols < n ? t->rows * t->cols : n;
            for (int64_t i = 0; i < n; i++) {
                dot += (double)x[i] * y[i];
                xx += (double)x[i] * x[i];
                yy += (double)y[i] * y[i];
            }
            assert_true(fabs(dot / sqrt(xx * yy)) < 5 / sqrt((double)n));
        }
    rlhf__transformer_free(m);
    rlhf_context_free(context);
}

static void test_init_depends_on_the_seed_alone(void **state)
{
    (void)state;
    rlhf_context *one = context_of(RLHF_CPU_PORTABLE, 1),
                 *three = context_of(RLHF_CPU_AUTO, 3);
    rlhf__transformer *a = make_model(one, 0, RLHF__HEAD_LM);
    rlhf__transformer *b = make_model(three, 0, RLHF__HEAD_LM);
    const size_t size = (size_t)a->params.count * sizeof(float);

    rlhf__transformer_init(a, 7);
    rlhf__transformer_init(b, 8);
    assert_memory_not_equal(a->params.values, b->params.values, size);
    rlhf__transformer_init(b, 7);
    assert_memory_equal(a->params.values, b->params.values, size);
    rlhf__transformer_free(a), rlhf__transformer_free(b);
    rlhf_context_free(one), rlhf_context_free(three);
}

/* The trunk's bits are kept; the head is fresh, or zeros where asked for. */
static void test_scalar_model_keeps_the_trunk(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);

    for (int llama = 0; llama < 2; llama++) {
        rlhf__transformer *m = make_model(context, llama, RLHF__HEAD_LM), *scalar, *zero;
        rlhf__transformer_init(m, 7);
        assert_ok(rlhf__transformer_to_scalar(m, 9, false, &scalar));
        assert_ok(rlhf__transformer_to_scalar(m, 9, true, &zero));
        const int64_t trunk = scalar->params.slabs[scalar->score_weight].offset;
        assert_memory_equal(scalar->params.values, m->params.values,
                            (size_t)trunk * sizeof(float));
        check_normal(rlhf__slab_values(&scalar->params, scalar->score_weight), HIDDEN,
                     1.0 / sqrt(HIDDEN + 1.0));
        check_constant(rlhf__slab_values(&scalar->params, scalar->score_bias), 1, 0.0f);
        check_constant(rlhf__slab_values(&zero->params, zero->score_weight), HIDDEN,
                       0.0f);
        assert_int_equal(scalar->head_weight, -1);
        rlhf__transformer_free(m), rlhf__transformer_free(scalar),
            rlhf__transformer_free(zero);
    }
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_has_the_published_distribution),
        cmocka_unit_test(test_init_tensors_are_independent),
        cmocka_unit_test(test_init_depends_on_the_seed_alone),
        cmocka_unit_test(test_scalar_model_keeps_the_trunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
