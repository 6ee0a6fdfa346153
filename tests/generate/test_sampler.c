/* The library's own sampler against a sort of the whole vocabulary. */
#include <math.h>

#include "support.h"

#include "base/arena.h"
#include "base/context.h"
#include "base/rng.h"
#include "generate/sampler.h"
#include "kernels/kernels.h"

enum { VOCAB = 3001, BLOCKS = (VOCAB + RLHF__WEIGHTS_BLOCK - 1) / RLHF__WEIGHTS_BLOCK };

typedef struct entry {
    float weight;
    int32_t token;
} entry;

static int likelier_first(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return x->token - y->token;
}

/* How many of `sorted` stay: of the top_k, the shortest run with top_p of their mass, of
 * that those with min_p of the largest. */
static int64_t count_kept(const rlhf_sampler_options *o, const entry *sorted,
                          int64_t count, double mass)
{
    int64_t limit = o->top_k > 0 && o->top_k < count ? o->top_k : count, kept = 0;
    double sum = 0;

    if (o->top_k > 0) {
        mass = 0;
        for (int64_t i = 0; i < limit; i++)
            mass += (double)sorted[i].weight;
    }
    while (kept < limit && (kept == 0 || o->top_p >= 1 || sum < o->top_p * mass)) {
        if ((double)sorted[kept].weight < o->min_p * (double)sorted[0].weight)
            break;
        sum += (double)sorted[kept++].weight;
    }
    return kept;
}

static int32_t reference(rlhf_context *context, const rlhf_sampler_options *o,
                         const float *logits, double u)
{
    static float weights[VOCAB];
    static entry sorted[VOCAB];
    double sums[BLOCKS], all = 0, total = 0, sum = 0;
    rlhf__softmax softmax;
    int64_t count = 0;

    assert_true(rlhf__softmax_weights(context, logits, VOCAB,
                                      rlhf__inv_tau(o->temperature), -1e30f, weights,
                                      sums, &softmax));
    for (int i = 0; i < BLOCKS; i++)
        all += sums[i];
    for (int32_t v = 0; v < VOCAB; v++)
        if (weights[v] > 0)
            sorted[count++] = (entry){weights[v], v};
    qsort(sorted, (size_t)count, sizeof *sorted, likelier_first);
    const int64_t kept = count_kept(o, sorted, count, all);
    for (int64_t i = 0; i < kept; i++)
        total += (double)sorted[i].weight;
    for (int64_t i = 0; i < kept; i++) {
        sum += (double)sorted[i].weight;
        if (sum > u * total)
            return sorted[i].token;
    }
    return sorted[kept - 1].token;
}

/* Logits from flat to a few that have it all, some equal, some masked. */
static void make_logits(int shape, float *out)
{
    static const double spread[] = {0, 0.05, 1, 4, 30, 200};

    for (int32_t v = 0; v < VOCAB; v++) {
        const double x = rlhf__rng_uniform(7, (uint64_t)shape, (uint64_t)v) - 0.5;
        out[v] = (float)(spread[shape] * (v % 3 ? x : rint(8 * x) / 8));
        if (v % 50 == 49)
            out[v] = -1e30f;
    }
}

static void test_filters_keep_what_a_sort_keeps(void **state)
{
    static const struct {
        int32_t top_k;
        double top_p, min_p, temperature;
    } filters[] = {{1, 1, 0, 1},       {50, 1, 0, 1},   {2900, 1, 0, 1},
                   {4000, 1, 0, 1},    {0, 0.9, 0, 1},  {0, 0.5, 0, 0.3},
                   {0, 1e-9, 0, 1},    {0, 1, 0.1, 1},  {0, 1, 1, 1},
                   {0, 0.95, 0.05, 2}, {50, 0.9, 0, 1}, {50, 0.9, 0.2, 1},
                   {50, 1, 0.2, 0.7}};
    rlhf_context *context = support_context(NULL, 2);
    rlhf__arena *arena = NULL;
    float logits[VOCAB];

    (void)state;
    assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
    for (size_t f = 0; f < sizeof filters / sizeof filters[0]; f++) {
        rlhf_sampler_options options;
        rlhf__sampler *sampler = NULL;
        assert_ok(rlhf_sampler_options_init(&options, sizeof options));
        options.top_k = filters[f].top_k;
        options.top_p = filters[f].top_p;
        options.min_p = filters[f].min_p;
        options.temperature = filters[f].temperature;
        assert_ok(rlhf__sampler_create(&options, &sampler));
        for (int shape = 0; shape < 6; shape++) {
            make_logits(shape, logits);
            for (int64_t i = 0; i < 20; i++) {
                const rlhf__draw draw = {.seed = 3, .sequence_id = i, .position = shape};
                int32_t token = -1;
                rlhf__softmax softmax;
                assert_ok(rlhf__sampler_pick(context, arena, sampler, NULL, &draw, logits,
                                             1, VOCAB, &token, &softmax));
                assert_int_equal(token, reference(context, &options, logits,
                                                  rlhf__draw_uniform(&draw, 0)));
            }
        }
        rlhf__sampler_free(sampler);
    }
    rlhf__arena_free(arena);
    rlhf_context_free(context);
}

/* The plain draw: ids in order until the weights reach u of all of them. */
static int32_t plain_reference(const float *logits, double temperature, double u)
{
    static double weights[VOCAB];
    double top = -INFINITY, total = 0, sum = 0;
    int32_t v = 0;

    for (int i = 0; i < VOCAB; i++)
        top = fmax(top, (double)logits[i]);
    for (int i = 0; i < VOCAB; i++)
        total += weights[i] = exp(((double)logits[i] - top) / temperature);
    while (v < VOCAB - 1 && (sum += weights[v]) <= u * total)
        v++;
    return v;
}

enum { SHAPES = 6 };

/* Picks of a row of each shape, and what was summed up on the way. */
static void pick_shapes(rlhf_context *context, const rlhf_sampler_options *options,
                        const float *logits, int32_t *tokens, rlhf__softmax *softmaxes)
{
    rlhf__sampler *sampler = NULL;
    rlhf__arena *arena = NULL;
    rlhf__draw draws[SHAPES];

    for (int i = 0; i < SHAPES; i++)
        draws[i] = (rlhf__draw){.seed = 5, .sequence_id = i, .position = 9};
    assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
    assert_ok(rlhf__sampler_create(options, &sampler));
    assert_ok(rlhf__sampler_pick(context, arena, sampler, NULL, draws, logits, SHAPES,
                                 VOCAB, tokens, softmaxes));
    for (int i = 0; i < SHAPES; i++) {
        const double u = rlhf__draw_uniform(&draws[i], 0);
        if (options->temperature > 0 && options->top_k == 0)
            assert_int_equal(
                tokens[i], plain_reference(logits + i * VOCAB, options->temperature, u));
    }
    rlhf__sampler_free(sampler);
    rlhf__arena_free(arena);
}

/* The sums that a draw leaves give the log-probability that the row's own pass gives, bit
 * for bit; of a greedy pick there are none. */
static void check_sums(rlhf_context *context, double temperature, const float *logits,
                       const int32_t *tokens, const rlhf__softmax *softmaxes)
{
    float logprobs[SHAPES], entropies[SHAPES], logprob, entropy, lse;

    rlhf__logprob(context, logits, VOCAB, SHAPES, VOCAB, tokens,
                  rlhf__inv_tau(temperature > 0 ? temperature : 1), logprobs, entropies,
                  NULL);
    for (int i = 0; i < SHAPES; i++) {
        if (temperature == 0) {
            assert_true(softmaxes[i].inv_tau == 0);
            continue;
        }
        assert_true(softmaxes[i].inv_tau == rlhf__inv_tau(temperature));
        rlhf__softmax_logprob(&softmaxes[i], logits[i * VOCAB + tokens[i]], &logprob,
                              &entropy, &lse);
        assert_memory_equal(&logprob, &logprobs[i], sizeof logprob);
        assert_memory_equal(&entropy, &entropies[i], sizeof entropy);
    }
}

static void test_draw_leaves_the_sums_of_a_log_probability(void **state)
{
    static const double temperatures[] = {1, 0.7, 0};
    static float logits[SHAPES * VOCAB];

    (void)state;
    for (int i = 0; i < SHAPES; i++)
        make_logits(i, logits + i * VOCAB);
    for (int t = 0; t < 6; t++) {
        rlhf_sampler_options options;
        int32_t first[SHAPES], tokens[SHAPES];
        rlhf__softmax softmaxes[SHAPES];
        assert_ok(rlhf_sampler_options_init(&options, sizeof options));
        options.temperature = temperatures[t / 2];
        options.top_k = t % 2 ? 40 : 0;
        for (int32_t threads = 1; threads <= 3; threads++) {
            rlhf_context *context = support_context(NULL, threads);
            pick_shapes(context, &options, logits, tokens, softmaxes);
            check_sums(context, options.temperature, logits, tokens, softmaxes);
            if (threads == 1)
                memcpy(first, tokens, sizeof first);
            assert_memory_equal(tokens, first, sizeof first);
            rlhf_context_free(context);
        }
    }
}

/* At any temperature, and in the last lane, too. */
static void test_logits_that_are_not_finite_are_refused(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    rlhf_context *context = support_context(NULL, 2);
    rlhf__arena *arena = NULL;
    float logits[VOCAB];

    (void)state;
    assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
    for (int i = 0; i < 12; i++) {
        const rlhf__draw draw = {.seed = 3, .sequence_id = 8, .position = 4};
        const int at = i < 6 ? VOCAB - 1 : 100;
        rlhf_sampler_options options;
        rlhf__sampler *sampler = NULL;
        rlhf__softmax softmax;
        int32_t token;
        assert_ok(rlhf_sampler_options_init(&options, sizeof options));
        options.temperature = i % 2;
        assert_ok(rlhf__sampler_create(&options, &sampler));
        make_logits(3, logits);
        logits[at] = bad[i / 2 % 3];
        assert_fails(rlhf__sampler_pick(context, arena, sampler, NULL, &draw, logits, 1,
                                        VOCAB, &token, &softmax),
                     RLHF_ERR_NUMERIC, "sequence 8 at position 4");
        rlhf__sampler_free(sampler);
    }
    rlhf__arena_free(arena);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_keep_what_a_sort_keeps),
        cmocka_unit_test(test_draw_leaves_the_sums_of_a_log_probability),
        cmocka_unit_test(test_logits_that_are_not_finite_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
