/* Generators and samplers through the API: the distributions drawn from, ends, masks,
 * streams, cancelling, and answers that depend on nothing but prompt, id and seed. */
#include "tiny.h"

#include <math.h>

enum { VOCAB = 12, LENGTH = 32 };

static rlhf_generator_options make_options(int32_t new_tokens)
{
    rlhf_generator_options o;

    assert_ok(rlhf_generator_options_init(&o, sizeof o));
    o.max_new_tokens = new_tokens;
    o.use_stop_tokens = 0;
    o.seed = 4;
    return o;
}

static rlhf_sampler *make_sampler(double temperature, int32_t top_k, double top_p,
                                  double min_p)
{
    rlhf_sampler_options o;
    rlhf_sampler *sampler;

    assert_ok(rlhf_sampler_options_init(&o, sizeof o));
    o.temperature = temperature;
    o.top_k = top_k;
    o.top_p = top_p;
    o.min_p = min_p;
    assert_ok(rlhf_sampler_create(&o, &sampler));
    return sampler;
}

/* A model whose next-token distribution is far from uniform. */
static rlhf_model *sharp_model(rlhf_context *context)
{
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 2);
    float table[VOCAB * 16];

    assert_ok(
        rlhf_model_parameter_read(model, "model.embed_tokens.weight", table, VOCAB * 16));
    for (int i = 0; i < VOCAB * 16; i++)
        table[i] *= 20;
    assert_ok(rlhf_model_parameter_write(model, "model.embed_tokens.weight", table,
                                         VOCAB * 16));
    return model;
}

/* p[VOCAB] of the token after a prompt of one. */
static void next_probabilities(rlhf_model *model, int32_t token, double temperature,
                               double *p)
{
    const int64_t cu_seqlens[2] = {0, 1};
    float logits[VOCAB];
    double sum = 0;

    assert_ok(rlhf_model_logits(model, &token, cu_seqlens, 1, logits));
    for (int v = 0; v < VOCAB; v++)
        sum += p[v] = exp((double)logits[v] / temperature);
    for (int v = 0; v < VOCAB; v++)
        p[v] /= sum;
}

static void sort_down(double *p)
{
    for (int i = 0; i < VOCAB; i++)
        for (int j = i + 1; j < VOCAB; j++)
            if (p[j] > p[i]) {
                const double t = p[i];
                p[i] = p[j];
                p[j] = t;
            }
}

/* Keeps tokens of probability >= threshold. */
static void truncate_below(double *p, double threshold)
{
    double sum = 0;

    for (int v = 0; v < VOCAB; v++)
        sum += p[v] = p[v] >= threshold ? p[v] : 0;
    for (int v = 0; v < VOCAB; v++)
        p[v] /= sum;
}

/* Draws many first tokens; chi-square against p, 11 degrees of freedom at most: 40 is
 * p < 1e-4. */
static void check_distribution(rlhf_model *model, rlhf_sampler *sampler, const double *p,
                               const char *what)
{
    enum { DRAWS = 4000 };
    const rlhf_generator_options options = make_options(1);
    int32_t *tokens = malloc(DRAWS * sizeof *tokens);
    int64_t *cu_seqlens = malloc((DRAWS + 1) * sizeof *cu_seqlens);
    double counts[VOCAB] = {0}, chi = 0;
    rlhf_generator *generator;

    for (int i = 0; i <= DRAWS; i++) {
        cu_seqlens[i] = i;
        if (i < DRAWS)
            tokens[i] = 3;
    }
    assert_ok(rlhf_generator_create(model, sampler, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, DRAWS, NULL));
    assert_ok(rlhf_generator_run(generator));
    for (int i = 0; i < DRAWS; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        assert_ok(rlhf_generator_get(generator, i, &g));
        counts[g.tokens[1]] += 1;
    }
    for (int v = 0; v < VOCAB; v++) {
        if (p[v] == 0 && counts[v] > 0)
            fail_msg("%s: token %d has probability 0 and was drawn", what, v);
        if (p[v] > 0)
            chi += pow(counts[v] - DRAWS * p[v], 2) / (DRAWS * p[v]);
    }
    if (chi > 40)
        fail_msg("%s: chi-square is %.1f", what, chi);
    rlhf_generator_free(generator);
    free(tokens);
    free(cu_seqlens);
}

static void test_samplers_draw_from_their_distributions(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = sharp_model(context);
    double p[VOCAB], sorted[VOCAB], sum = 0;
    rlhf_sampler *sampler;
    int kept = 0;

    (void)state;
    next_probabilities(model, 3, 1, p);
    check_distribution(model, NULL, p, "softmax");
    sampler = make_sampler(0.6, 0, 1, 0);
    next_probabilities(model, 3, 0.6, p);
    check_distribution(model, sampler, p, "temperature 0.6");
    rlhf_sampler_free(sampler);

    next_probabilities(model, 3, 1, p);
    memcpy(sorted, p, sizeof p);
    sort_down(sorted);
    sampler = make_sampler(1, 3, 1, 0);
    truncate_below(p, sorted[2]);
    check_distribution(model, sampler, p, "top-k 3");
    rlhf_sampler_free(sampler);

    /* The smallest set of the likeliest tokens whose mass reaches top_p. */
    next_probabilities(model, 3, 1, p);
    while (sum < 0.7)
        sum += sorted[kept++];
    sampler = make_sampler(1, 0, 0.7, 0);
    truncate_below(p, sorted[kept - 1]);
    check_distribution(model, sampler, p, "top-p 0.7");
    rlhf_sampler_free(sampler);

    next_probabilities(model, 3, 1, p);
    sampler = make_sampler(1, 0, 1, 0.3);
    truncate_below(p, 0.3 * sorted[0]);
    check_distribution(model, sampler, p, "min-p 0.3");
    rlhf_sampler_free(sampler);

    next_probabilities(model, 3, 1, p);
    sampler = make_sampler(0, 0, 1, 0);
    truncate_below(p, sorted[0]);
    check_distribution(model, sampler, p, "greedy");
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* Two tokens that reach top_p of the four likeliest's mass, and not of all the mass: they
 * alone are drawn. */
static void test_top_p_is_of_the_mass_that_top_k_leaves(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = sharp_model(context);
    double p[VOCAB], sorted[VOCAB], mass;
    rlhf_sampler *sampler;

    (void)state;
    next_probabilities(model, 3, 1, p);
    memcpy(sorted, p, sizeof p);
    sort_down(sorted);
    mass = sorted[0] + sorted[1] + sorted[2] + sorted[3];
    const double top_p = (sorted[0] + sorted[1]) * (.5 / mass + .5);
    assert_true(top_p > sorted[0] / mass && top_p < (sorted[0] + sorted[1]) / mass);
    assert_true(top_p > 1.001 * (sorted[0] + sorted[1]));
    truncate_below(p, sorted[1]);
    sampler = make_sampler(1, 4, top_p, 0);
    check_distribution(model, sampler, p, "top-k 4, top-p of its mass");
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- what an answer depends on ------------------------------------------------------ */

static const int32_t tokens[9] = {0, 2, 3, 0, 7, 0, 5, 6, 8};
static const int64_t ends[4] = {0, 3, 5, 9};

static void run(rlhf_generator *generator, const int64_t *ids, int64_t first,
                int64_t count)
{
    int64_t cu_seqlens[4];

    for (int64_t i = 0; i <= count; i++)
        cu_seqlens[i] = ends[first + i] - ends[first];
    assert_ok(
        rlhf_generator_start(generator, tokens + ends[first], cu_seqlens, count, ids));
    assert_ok(rlhf_generator_run(generator));
}

static void test_answers_depend_on_prompt_id_and_seed_only(void **state)
{
    static const int64_t ids[3] = {5, 900, 7};
    int32_t answers[3][LENGTH];
    float logprobs[3][LENGTH];

    (void)state;
    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = support_context(NULL, threads);
        rlhf_model *model = sharp_model(context);
        const rlhf_generator_options options = make_options(12);
        rlhf_generator *generator;
        assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
        run(generator, ids, 0, 3);
        for (int i = 0; i < 3; i++) {
            rlhf_generation g = {.struct_size = sizeof g};
            assert_ok(rlhf_generator_get(generator, i, &g));
            assert_int_equal(g.finish, RLHF_FINISH_LENGTH);
            const size_t n = (size_t)(g.num_tokens - g.num_prompt);
            if (threads > 1) {
                assert_memory_equal(answers[i], g.tokens + g.num_prompt,
                                    n * sizeof(int32_t));
                assert_memory_equal(logprobs[i], g.logprobs, n * sizeof(float));
            }
            memcpy(answers[i], g.tokens + g.num_prompt, n * sizeof(int32_t));
            memcpy(logprobs[i], g.logprobs, n * sizeof(float));
            /* What was recorded is what the model gives for the whole sequence, bit
             * for bit. */
            const int64_t cu_seqlens[2] = {0, g.num_tokens};
            float whole[LENGTH];
            assert_ok(rlhf_model_logprobs(model, g.tokens, cu_seqlens, 1, 1.0, whole));
            assert_memory_equal(whole + g.num_prompt, g.logprobs, n * sizeof(float));
        }
        for (int i = 0; i < 3; i++) { /* each alone */
            rlhf_generation g = {.struct_size = sizeof g};
            run(generator, ids + i, i, 1);
            assert_ok(rlhf_generator_get(generator, 0, &g));
            assert_memory_equal(answers[i], g.tokens + g.num_prompt,
                                12 * sizeof(int32_t));
        }
        rlhf_generator_free(generator);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

/* Whatever the sampler's temperature and filters, what is recorded is of the softmax at
 * the generator's, and what the model gives for the whole sequence, bit for bit. */
static void test_logprobs_are_of_the_generators_temperature(void **state)
{
    static const struct {
        double sampler, generator;
        int32_t top_k;
    } cases[] = {{1, 1, 0},   {0.7, 0.7, 0}, {0.7, 1, 0}, {1, 0.7, 0},
                 {0, 0.7, 0}, {0.7, 0.7, 5}, {1, 0.7, 5}};
    enum { WIDE = 333 };

    (void)state;
    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = support_context(NULL, threads);
        rlhf_model *model = tiny_model(context, WIDE, LENGTH, 2);
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            rlhf_generator_options options = make_options(12);
            rlhf_sampler *sampler = make_sampler(cases[c].sampler, cases[c].top_k, 1, 0);
            rlhf_generator *generator;
            options.temperature = cases[c].generator;
            assert_ok(rlhf_generator_create(model, sampler, &options, &generator));
            run(generator, NULL, 0, 3);
            for (int i = 0; i < 3; i++) {
                rlhf_generation g = {.struct_size = sizeof g};
                float whole[LENGTH];
                assert_ok(rlhf_generator_get(generator, i, &g));
                const int64_t cu_seqlens[2] = {0, g.num_tokens};
                assert_ok(rlhf_model_logprobs(model, g.tokens, cu_seqlens, 1,
                                              options.temperature, whole));
                assert_memory_equal(whole + g.num_prompt, g.logprobs, 12 * sizeof *whole);
            }
            rlhf_generator_free(generator);
            rlhf_sampler_free(sampler);
        }
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

/* --- ends and masks ----------------------------------------------------------------- */

static void test_stop_tokens_minimum_and_context(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 2);
    static const int32_t all[VOCAB] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    rlhf_generator_options options = make_options(20);
    rlhf_generation g = {.struct_size = sizeof g};
    rlhf_generator *generator;

    (void)state;
    /* Every token but 11 stops: masked for five tokens, all are 11; then any ends it. */
    options.use_stop_tokens = 1;
    options.stop_tokens = all;
    options.num_stop_tokens = VOCAB - 1;
    options.min_new_tokens = 5;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    run(generator, NULL, 0, 3);
    for (int i = 0; i < 3; i++) {
        assert_ok(rlhf_generator_get(generator, i, &g));
        for (int64_t t = g.num_prompt; t < g.num_prompt + 5; t++) {
            assert_int_equal(g.tokens[t], 11);
            assert_true(g.logprobs[t - g.num_prompt] == 0.0f); /* the only one left */
        }
        if (g.finish == RLHF_FINISH_STOP)
            assert_int_not_equal(g.tokens[g.num_tokens - 1], 11);
        else
            assert_int_equal(g.finish, RLHF_FINISH_LENGTH);
    }
    rlhf_generator_free(generator);
    /* The context is full. */
    options = make_options(1000);
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    run(generator, NULL, 2, 1);
    assert_ok(rlhf_generator_get(generator, 0, &g));
    assert_int_equal(g.finish, RLHF_FINISH_CONTEXT);
    assert_int_equal(g.num_tokens, LENGTH);
    rlhf_generator_free(generator);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_wrong_prompts_and_options_are_refused(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 2);
    rlhf_generator_options options = make_options(4);
    const int32_t wrong[2] = {0, VOCAB}, stop = -7;
    const int64_t two[2] = {0, 2}, empty[2] = {0, 0}, down[3] = {0, 2, 1},
                  one[2] = {1, 2};
    int32_t full[LENGTH] = {0}, every[VOCAB];
    const int64_t whole[2] = {0, LENGTH};
    rlhf_generator *generator;

    (void)state;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_fails(rlhf_generator_start(generator, wrong, two, 1, NULL),
                 RLHF_ERR_INVALID_ARG, "tokens[1] must be in [0, 12), got 12");
    assert_field("tokens");
    assert_fails(rlhf_generator_start(generator, wrong, empty, 1, NULL),
                 RLHF_ERR_INVALID_ARG, "prompt 0 is empty");
    assert_fails(rlhf_generator_start(generator, wrong, down, 2, NULL),
                 RLHF_ERR_INVALID_ARG, "descend");
    assert_fails(rlhf_generator_start(generator, wrong, one, 1, NULL),
                 RLHF_ERR_INVALID_ARG, "cu_seqlens[0] must be 0");
    assert_field("cu_seqlens");
    assert_fails(rlhf_generator_start(generator, wrong, two, 0, NULL),
                 RLHF_ERR_INVALID_ARG, "num_seqs");
    assert_field("num_seqs");
    assert_fails(rlhf_generator_start(generator, full, whole, 1, NULL),
                 RLHF_ERR_INVALID_ARG, "leaves no room");
    assert_fails(rlhf_generator_get(generator, 0, &(rlhf_generation){.struct_size = 8}),
                 RLHF_ERR_INVALID_ARG, "index");
    assert_field("index");
    rlhf_generator_free(generator);
    options.max_new_tokens = 0;
    assert_fails(rlhf_generator_create(model, NULL, &options, &generator),
                 RLHF_ERR_INVALID_ARG, "max_new_tokens must be >= 1, got 0");
    options = make_options(4);
    options.min_new_tokens = 5;
    assert_fails(rlhf_generator_create(model, NULL, &options, &generator),
                 RLHF_ERR_INVALID_ARG, "min_new_tokens");
    assert_field("min_new_tokens");
    options = make_options(4);
    options.use_stop_tokens = 1;
    options.stop_tokens = &stop;
    options.num_stop_tokens = 1;
    assert_fails(rlhf_generator_create(model, NULL, &options, &generator),
                 RLHF_ERR_INVALID_ARG, "stop_tokens[0] must be in [0, 12), got -7");
    assert_field("stop_tokens");
    for (int32_t v = 0; v < VOCAB; v++)
        every[v] = v;
    options.stop_tokens = every;
    options.num_stop_tokens = VOCAB;
    options.min_new_tokens = 1;
    assert_fails(rlhf_generator_create(model, NULL, &options, &generator),
                 RLHF_ERR_INVALID_ARG, "stop_tokens are the whole vocabulary of 12");
    every[3] = 4; /* twice: 3 is left */
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    rlhf_generator_free(generator);
    every[3] = 3;
    options.min_new_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    rlhf_generator_free(generator);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- a sampler of the host's -------------------------------------------------------- */

typedef struct host {
    int begun, ended, destroyed, samples, fail_at;
    int32_t bad;
} host;

static rlhf_status host_begin(void *user_data, int64_t sequence_id, void **out_state)
{
    ((host *)user_data)->begun++;
    *out_state = malloc(sizeof(int64_t));
    **(int64_t **)out_state = sequence_id;
    return RLHF_OK;
}

static void host_end(void *user_data, void *sequence)
{
    ((host *)user_data)->ended++;
    free(sequence);
}

/* Token (id + position) mod VOCAB. */
static rlhf_status host_sample(void *user_data, void *sequence,
                               const rlhf_sample_info *info, const float *logits,
                               int64_t vocab_size, int32_t *out_token)
{
    host *h = user_data;

    assert_int_equal(vocab_size, VOCAB);
    assert_int_equal(*(int64_t *)sequence, info->sequence_id);
    assert_true(isfinite(logits[0]));
    for (int i = 0; i < 4; i++)
        assert_true(info->uniforms[i] >= 0 && info->uniforms[i] < 1);
    if (++h->samples == h->fail_at)
        return RLHF_ERR_IO;
    *out_token =
        h->bad ? h->bad : (int32_t)((info->sequence_id + info->position) % VOCAB);
    return RLHF_OK;
}

static void host_destroy(void *user_data)
{
    ((host *)user_data)->destroyed++;
}

static void test_host_samplers_have_state_and_may_fail(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 2);
    host h = {.fail_at = 7};
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops,
                                  .begin = host_begin,
                                  .end = host_end,
                                  .sample = host_sample,
                                  .destroy = host_destroy};
    const rlhf_generator_options options = make_options(6);
    rlhf_generation g = {.struct_size = sizeof g};
    rlhf_generator *generator;
    rlhf_sampler *sampler;
    int64_t left = 1;

    (void)state;
    assert_ok(rlhf_sampler_create_custom(&ops, &h, &sampler));
    assert_ok(rlhf_generator_create(model, sampler, &options, &generator));
    rlhf_sampler_free(sampler); /* the generator keeps it */
    assert_ok(rlhf_generator_start(generator, tokens, ends, 3, NULL));
    rlhf_status failed = RLHF_OK;
    while (left > 0 && failed == RLHF_OK)
        failed = rlhf_generator_step(generator, &left);
    assert_int_equal(failed, RLHF_ERR_CALLBACK);
    assert_ok(rlhf_generator_run(generator)); /* the position is asked for again */
    for (int i = 0; i < 3; i++) {
        assert_ok(rlhf_generator_get(generator, i, &g));
        assert_int_equal(g.num_tokens - g.num_prompt, 6);
        for (int64_t t = g.num_prompt; t < g.num_tokens; t++)
            assert_int_equal(g.tokens[t], (i + t) % VOCAB);
    }
    assert_int_equal(h.begun, 3);
    assert_int_equal(h.ended, 3);
    h.bad = VOCAB;
    assert_ok(rlhf_generator_start(generator, tokens, ends, 3, NULL));
    assert_fails(rlhf_generator_run(generator), RLHF_ERR_CALLBACK, "12");
    assert_int_equal(h.destroyed, 0);
    rlhf_generator_free(generator);
    assert_int_equal(h.destroyed, 1);
    assert_int_equal(h.begun, h.ended);
    assert_fails(rlhf_sampler_create_custom(
                     &(rlhf_sampler_ops){.struct_size = sizeof ops}, NULL, &sampler),
                 RLHF_ERR_INVALID_ARG, "sample");
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- text and cancelling ------------------------------------------------------------ */

typedef struct heard {
    char text[3][256];
    rlhf_context *cancel;
    int calls;
} heard;

static int32_t hear(void *user_data, int64_t sequence_id, const char *text, size_t size)
{
    heard *h = user_data;

    assert_int_equal(strlen(text), size);
    strcat(h->text[sequence_id], text);
    if (h->cancel && ++h->calls == 3)
        rlhf_context_cancel(h->cancel);
    return sequence_id == 1 && strlen(h->text[1]) >= 3;
}

/* Pieces end to end, zero bytes too. */
typedef struct pieces {
    char text[256];
    size_t size;
} pieces;

static int32_t gather(void *user_data, int64_t sequence_id, const char *text, size_t size)
{
    pieces *p = user_data;

    (void)sequence_id;
    assert_true(p->size + size <= sizeof p->text);
    memcpy(p->text + p->size, text, size);
    p->size += size;
    return 0;
}

/* A vocabulary padded beyond the tokenizer's: what has no text adds none. */
static void test_ids_that_the_tokenizer_lacks_have_no_text(void **state)
{
    enum { PADDED = 512 };
    const char *texts[1] = {"a"};
    const size_t sizes[1] = {1};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, PADDED, LENGTH, 2);
    rlhf_tokenizer_train_options train_options;
    rlhf_generator_options options = make_options(20);
    rlhf_tokenizer *tokenizer;
    rlhf_generator *generator;
    rlhf_generation g = {.struct_size = sizeof g};
    int32_t known[LENGTH];
    int64_t num_known = 0;
    char text[256];
    size_t size;
    pieces all = {.size = 0};

    (void)state;
    assert_ok(rlhf_tokenizer_train_options_init(&train_options, sizeof train_options));
    train_options.vocab_size = 257;
    assert_ok(rlhf_tokenizer_train(context, texts, sizes, 1, &train_options, &tokenizer));
    options.tokenizer = tokenizer;
    options.text = gather;
    options.text_user_data = &all;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, ends, 1, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_ok(rlhf_generator_get(generator, 0, &g));
    for (int64_t t = g.num_prompt; t < g.num_tokens; t++)
        if (g.tokens[t] < 257)
            known[num_known++] = g.tokens[t];
    assert_in_range(num_known, 1, g.num_tokens - g.num_prompt - 1);
    assert_ok(
        rlhf_tokenizer_decode(tokenizer, known, num_known, 1, text, sizeof text, &size));
    assert_int_equal(size, all.size);
    assert_memory_equal(text, all.text, size);
    assert_fails(rlhf_tokenizer_decode(tokenizer, g.tokens + g.num_prompt,
                                       g.num_tokens - g.num_prompt, 1, text, sizeof text,
                                       &size),
                 RLHF_ERR_INVALID_ARG, "is outside the vocabulary of 257");
    rlhf_generator_free(generator);
    rlhf_tokenizer_free(tokenizer);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_text_is_streamed_and_a_cancelled_run_goes_on(void **state)
{
    static const char corpus[] = "the cat sat on the mat";
    const char *texts[1] = {corpus};
    const size_t sizes[1] = {sizeof corpus - 1};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_tokenizer_train_options train_options;
    rlhf_generator_options options = make_options(10);
    rlhf_tokenizer *tokenizer;
    rlhf_generator *generator;
    heard h = {.cancel = context};
    int cancelled = 0;

    (void)state;
    assert_ok(rlhf_tokenizer_train_options_init(&train_options, sizeof train_options));
    train_options.vocab_size = 260;
    assert_ok(rlhf_tokenizer_train(context, texts, sizes, 1, &train_options, &tokenizer));
    rlhf_model *model =
        tiny_model(context, rlhf_tokenizer_vocab_size(tokenizer), LENGTH, 2);
    options.tokenizer = tokenizer;
    options.text = hear;
    options.text_user_data = &h;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, ends, 3, NULL));
    rlhf_status status;
    while ((status = rlhf_generator_run(generator)) == RLHF_ERR_CANCELLED)
        cancelled++;
    assert_ok(status);
    assert_int_equal(cancelled, 1);
    for (int i = 0; i < 3; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        char text[256];
        size_t size;
        assert_ok(rlhf_generator_get(generator, i, &g));
        assert_ok(rlhf_tokenizer_decode(tokenizer, g.tokens + g.num_prompt,
                                        g.num_tokens - g.num_prompt, 1, text, sizeof text,
                                        &size));
        assert_string_equal(text, h.text[i]);
        assert_int_equal(g.finish, i == 1 ? RLHF_FINISH_CALLBACK : RLHF_FINISH_LENGTH);
    }
    rlhf_generator_free(generator);
    rlhf_tokenizer_free(tokenizer);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samplers_draw_from_their_distributions),
        cmocka_unit_test(test_top_p_is_of_the_mass_that_top_k_leaves),
        cmocka_unit_test(test_answers_depend_on_prompt_id_and_seed_only),
        cmocka_unit_test(test_logprobs_are_of_the_generators_temperature),
        cmocka_unit_test(test_stop_tokens_minimum_and_context),
        cmocka_unit_test(test_wrong_prompts_and_options_are_refused),
        cmocka_unit_test(test_host_samplers_have_state_and_may_fail),
        cmocka_unit_test(test_ids_that_the_tokenizer_lacks_have_no_text),
        cmocka_unit_test(test_text_is_streamed_and_a_cancelled_run_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
