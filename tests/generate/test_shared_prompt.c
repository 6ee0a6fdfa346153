/* A prompt that several answers share is read once, and their tokens and
 * log-probabilities are those of the answers made one by one, bit for bit. */
#include "tiny.h"

#include <stdbool.h>

#include "generate/generator.h"
#include "nn/transformer.h"

enum { VOCAB = 17, LENGTH = 160, NEW = 9, STOP = 3, MOST = 12, MOST_TOKENS = 1024 };

static rlhf__transformer *make_net(rlhf_context *context, bool llama)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf__transformer *net;

    c.num_heads = 4;
    c.num_kv_heads = 2;
    if (!llama) {
        make_gpt2_like(&c);
        c.num_kv_heads = 4;
    }
    c.initializer_range = 0.3; /* so that every token read matters */
    assert_ok(rlhf__transformer_create(context, &c, RLHF__HEAD_LM, &net));
    rlhf__transformer_init(net, 5);
    return net;
}

static rlhf__sampler *make_sampler(void)
{
    rlhf_sampler_options options;
    rlhf__sampler *sampler;

    assert_ok(rlhf_sampler_options_init(&options, sizeof options));
    assert_ok(rlhf__sampler_create(&options, &sampler));
    return sampler;
}

static rlhf__generator *make_generator(rlhf__transformer *net, rlhf__sampler *sampler,
                                       int64_t max_active, const int32_t *stop)
{
    const rlhf__generator_settings settings = {.max_new_tokens = NEW,
                                               .stop_tokens = stop,
                                               .num_stop_tokens = stop ? 1 : 0,
                                               .ends_at_stop = true,
                                               .max_active = max_active,
                                               .seed = 7,
                                               .temperature = 1.0};
    rlhf__generator *generator;

    assert_ok(rlhf__generator_create(net, sampler, &settings, NULL, &generator));
    return generator;
}

/* Prompts by their lengths; those of one length are one prompt. */
typedef struct prompts {
    int32_t tokens[MOST_TOKENS];
    int64_t cu[MOST + 1];
    int64_t ids[MOST];
    int64_t count;
} prompts;

static prompts make_prompts(const int64_t *lengths, int64_t count)
{
    prompts p = {.count = count};

    for (int64_t i = 0; i < count; i++) {
        p.cu[i + 1] = p.cu[i] + lengths[i];
        assert_true(p.cu[i + 1] <= MOST_TOKENS);
        for (int64_t t = 0; t < lengths[i]; t++)
            p.tokens[p.cu[i] + t] = (int32_t)((t * t + lengths[i]) % VOCAB);
        p.ids[i] = 100 + i;
    }
    return p;
}

static void run(rlhf__generator *g)
{
    for (int64_t left = 1; left > 0;)
        assert_ok(rlhf__generator_step(g, &left));
}

/* Each answer of g is the one that its prompt gets alone. */
static void assert_as_alone(const rlhf__generator *g, const prompts *p,
                            rlhf__transformer *net, rlhf__sampler *sampler,
                            const int32_t *stop)
{
    rlhf__generator *alone = make_generator(net, sampler, 0, stop);

    for (int64_t i = 0; i < p->count; i++) {
        const int64_t cu[2] = {0, p->cu[i + 1] - p->cu[i]};
        const rlhf__answer *a = &g->answers[i];
        assert_ok(rlhf__generator_start(alone, p->tokens + p->cu[i], cu, 1, &p->ids[i]));
        run(alone);
        const rlhf__answer *b = &alone->answers[0];
        assert_int_equal(a->num_tokens, b->num_tokens);
        assert_memory_equal(a->tokens, b->tokens,
                            (size_t)a->num_tokens * sizeof *a->tokens);
        assert_memory_equal(a->logprobs, b->logprobs,
                            (size_t)(a->num_tokens - a->num_prompt) *
                                sizeof *a->logprobs);
        assert_true(a->entropy == b->entropy);
    }
    rlhf__generator_free(alone);
}

/* --- the tests ---------------------------------------------------------------------- */

/* Lengths about the cache's block of 64; a length that comes again is one prompt. */
static void check_batch(bool llama, int32_t threads)
{
    static const int64_t lengths[] = {5, 64, 5, 1, 65, 64, 1, 70, 5, 64, 65, 63};
    enum { COUNT = sizeof lengths / sizeof lengths[0] };
    const int64_t distinct = 5 + 64 + 1 + 65 + 70 + 63;
    const prompts p = make_prompts(lengths, COUNT);
    rlhf_context *context = support_context(NULL, threads);
    rlhf__transformer *net = make_net(context, llama);
    rlhf__sampler *sampler = make_sampler();
    rlhf__generator *g = make_generator(net, sampler, 0, NULL);
    int64_t left;

    assert_ok(rlhf__generator_start(g, p.tokens, p.cu, COUNT, p.ids));
    assert_ok(rlhf__generator_step(g, &left));
    assert_int_equal(net->tokens_read, distinct);
    run(g);
    assert_int_equal(net->tokens_read, distinct + COUNT * (NEW - 1));
    /* Answers to one prompt differ: the ids key them. */
    assert_true(memcmp(g->answers[0].tokens, g->answers[2].tokens,
                       (5 + NEW) * sizeof(int32_t)) != 0);
    assert_as_alone(g, &p, net, sampler, NULL);
    rlhf__generator_free(g);
    rlhf__sampler_free(sampler);
    rlhf__transformer_free(net);
    rlhf_context_free(context);
}

static void test_shared_prompt_is_read_once(void **state)
{
    (void)state;
    check_batch(true, 1);
    check_batch(false, 2);
}

/* Tokens that the answers take with `active` at once: whoever begins beside another that
 * has read the prompt reads its last token alone. */
static int64_t expected_reads(const rlhf__generator *g, int64_t active)
{
    const int64_t prompt = g->answers[0].num_prompt;
    int64_t drawn[MOST] = {0}, reads = 0, next = 0, going = 0;

    for (int64_t done = 0; done < g->num_answers;) {
        const int64_t before = going, first_new = next;
        for (; going < active && next < g->num_answers; next++)
            going++;
        if (next > first_new)
            reads += before > 0 ? next - first_new : prompt;
        for (int64_t i = 0; i < next; i++) {
            const int64_t all = g->answers[i].num_tokens - prompt;
            if (drawn[i] == all)
                continue;
            reads += i < first_new; /* its newest token */
            if (++drawn[i] == all)
                done++, going--;
        }
    }
    return reads;
}

static void test_shared_prompt_is_taken_over_by_later_answers(void **state)
{
    static const int64_t lengths[] = {70, 70, 70, 70, 70, 70, 70, 70};
    enum { COUNT = sizeof lengths / sizeof lengths[0] };
    const prompts p = make_prompts(lengths, COUNT);
    const int32_t stop = STOP;
    rlhf_context *context = support_context(NULL, 1);
    rlhf__transformer *net = make_net(context, true);
    rlhf__sampler *sampler = make_sampler();
    bool ends_early = false;

    (void)state;
    for (int64_t active = 1; active <= 4; active++) {
        rlhf__generator *g = make_generator(net, sampler, active, &stop);
        const int64_t before = net->tokens_read;
        assert_ok(rlhf__generator_start(g, p.tokens, p.cu, COUNT, p.ids));
        run(g);
        assert_int_equal(net->tokens_read - before, expected_reads(g, active));
        for (int64_t i = 0; i < COUNT; i++)
            ends_early |= g->answers[i].finish == RLHF_FINISH_STOP;
        assert_as_alone(g, &p, net, sampler, &stop);
        rlhf__generator_free(g);
    }
    assert_true(ends_early); /* else none began beside another */
    rlhf__sampler_free(sampler);
    rlhf__transformer_free(net);
    rlhf_context_free(context);
}

/* Weights written over amid the answers: all is read again, equal beginnings once. */
static void test_shared_prompt_follows_the_weights(void **state)
{
    static const int64_t lengths[] = {20, 20, 20};
    const prompts p = make_prompts(lengths, 3);
    rlhf_context *context = support_context(NULL, 1);
    rlhf__transformer *net = make_net(context, false);
    rlhf__sampler *sampler = make_sampler();
    rlhf__generator *g = make_generator(net, sampler, 0, NULL);
    int64_t left;

    (void)state;
    assert_ok(rlhf__generator_start(g, p.tokens, p.cu, 3, p.ids));
    rlhf__params_begin_write(&net->params);
    rlhf__transformer_init(net, 9);
    rlhf__params_end_write(&net->params);
    run(g);
    assert_as_alone(g, &p, net, sampler, NULL);
    assert_ok(rlhf__generator_start(g, p.tokens, p.cu, 3, p.ids));
    assert_ok(rlhf__generator_step(g, &left));
    const int64_t before = net->tokens_read;
    int64_t distinct = 0;
    for (int64_t i = 0; i < 3; i++) {
        bool seen = false;
        for (int64_t j = 0; j < i; j++)
            seen |= g->answers[i].tokens[20] == g->answers[j].tokens[20];
        distinct += !seen;
    }
    rlhf__params_begin_write(&net->params);
    rlhf__params_end_write(&net->params);
    assert_ok(rlhf__generator_step(g, &left));
    assert_int_equal(net->tokens_read - before, distinct * 21);
    rlhf__generator_free(g);
    rlhf__sampler_free(sampler);
    rlhf__transformer_free(net);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_prompt_is_read_once),
        cmocka_unit_test(test_shared_prompt_is_taken_over_by_later_answers),
        cmocka_unit_test(test_shared_prompt_follows_the_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
