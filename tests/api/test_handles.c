/* Handles freed in any order, and the tokenizer's calls with buffers of every size. */
#include "api_support.h"

typedef enum kind {
    CONTEXT,
    MODEL,
    POLICY,
    REWARD,
    TOKENIZER,
    STREAM,
    DATASET,
    PAIRS,
    SAMPLER,
    GENERATOR,
    LM,
    REWARD_TRAINER,
    PPO,
    ROLLOUT,
    KINDS
} kind;

static void release(kind k, void *handle)
{
    switch (k) {
    case CONTEXT:
        rlhf_context_free(handle);
        return;
    case MODEL:
    case POLICY:
        rlhf_model_free(handle);
        return;
    case REWARD:
        rlhf_reward_model_free(handle);
        return;
    case TOKENIZER:
        rlhf_tokenizer_free(handle);
        return;
    case STREAM:
        rlhf_text_stream_free(handle);
        return;
    case DATASET:
    case PAIRS:
        rlhf_dataset_free(handle);
        return;
    case SAMPLER:
        rlhf_sampler_free(handle);
        return;
    case GENERATOR:
        rlhf_generator_free(handle);
        return;
    case LM:
        rlhf_lm_trainer_free(handle);
        return;
    case REWARD_TRAINER:
        rlhf_reward_trainer_free(handle);
        return;
    case PPO:
        rlhf_ppo_trainer_free(handle);
        return;
    case ROLLOUT:
        rlhf_rollout_free(handle);
        return;
    case KINDS:
        break;
    }
}

static rlhf_tokenizer *train_tokenizer(rlhf_context *context, const char *text)
{
    const size_t size = strlen(text);
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 260;
    assert_ok(rlhf_tokenizer_train(context, &text, &size, 1, &options, &tokenizer));
    return tokenizer;
}

/* Everything at work: a trainer between micro-batch and step, a generator half done, a
 * rollout in the middle of its update. */
static void make_all(failing_allocator *memory, void *all[KINDS])
{
    const int32_t prompt[2] = {2, 3};
    const int64_t cu_seqlens[2] = {0, 2};
    const float score = 1;
    rlhf_context *context = all[CONTEXT] = support_context(memory, 2);
    rlhf_generator_options generator;
    rlhf_dataset_options pairs;
    rlhf_ppo_options ppo;
    int64_t left;

    all[MODEL] = tiny_model(context, 260, LENGTH, 1);
    all[POLICY] = tiny_model(context, VOCAB, LENGTH, 2);
    all[TOKENIZER] = train_tokenizer(context, "text of a tokenizer");
    all[DATASET] = repeated_rows(context, 3, 6);
    assert_ok(rlhf_text_stream_create(all[TOKENIZER], 0, (void *)&all[STREAM]));
    assert_ok(rlhf_reward_model_create(all[MODEL], NULL, (void *)&all[REWARD]));
    assert_ok(rlhf_dataset_options_init(&pairs, sizeof pairs));
    pairs.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(context, &pairs, (void *)&all[PAIRS]));
    assert_ok(rlhf_sampler_create(NULL, (void *)&all[SAMPLER]));
    assert_ok(rlhf_generator_options_init(&generator, sizeof generator));
    generator.tokenizer = all[TOKENIZER];
    assert_ok(rlhf_generator_create(all[MODEL], all[SAMPLER], &generator,
                                    (void *)&all[GENERATOR]));
    assert_ok(rlhf_generator_start(all[GENERATOR], prompt, cu_seqlens, 1, NULL));
    assert_ok(rlhf_generator_step(all[GENERATOR], &left));
    assert_ok(rlhf_lm_trainer_create(all[MODEL], all[DATASET], NULL, (void *)&all[LM]));
    assert_ok(rlhf_lm_trainer_accumulate(all[LM], &left));
    assert_ok(rlhf_reward_trainer_create(all[REWARD], all[PAIRS], NULL,
                                         (void *)&all[REWARD_TRAINER]));
    assert_ok(rlhf_ppo_options_init(&ppo, sizeof ppo));
    ppo.max_new_tokens = 3;
    ppo.num_minibatches = 1;
    assert_ok(
        rlhf_ppo_trainer_create(all[POLICY], NULL, NULL, NULL, &ppo, (void *)&all[PPO]));
    assert_ok(
        rlhf_ppo_trainer_rollout(all[PPO], prompt, cu_seqlens, 1, (void *)&all[ROLLOUT]));
    assert_ok(rlhf_rollout_set_scores(all[ROLLOUT], &score, 1));
    assert_ok(rlhf_ppo_trainer_advantages(all[PPO], all[ROLLOUT]));
    assert_ok(rlhf_ppo_trainer_accumulate(all[PPO], all[ROLLOUT], &left));
}

static void test_handles_are_freed_in_any_order(void **state)
{
    (void)state;
    unsigned int seed = 7;

    for (int round = 0; round < 12; round++) {
        failing_allocator memory = {.fail_at = -1};
        void *all[KINDS] = {NULL};
        int order[KINDS];
        make_all(&memory, all);
        for (int i = 0; i < KINDS; i++)
            order[i] = round == 1 ? KINDS - 1 - i : i; /* as made, and the reverse */
        for (int i = KINDS - 1; round > 1 && i > 0; i--) {
            const int j = rand_r(&seed) % (i + 1), other = order[i];
            order[i] = order[j];
            order[j] = other;
        }
        for (int i = 0; i < KINDS; i++)
            release((kind)order[i], all[order[i]]);
        assert_int_equal(memory.live, 0);
    }
}

/* A trainer goes on when the host has given everything else back. */
static void test_trainer_keeps_what_it_needs(void **state)
{
    (void)state;
    failing_allocator memory = {.fail_at = -1};
    void *all[KINDS] = {NULL};
    rlhf_lm_stats stats = {.struct_size = sizeof stats};

    make_all(&memory, all);
    for (kind k = CONTEXT; k < KINDS; k++)
        if (k != LM && k != PPO && k != GENERATOR)
            release(k, all[k]);
    assert_ok(rlhf_lm_trainer_apply(all[LM], &stats));
    assert_int_equal(stats.step, 1);
    int32_t done;
    assert_ok(rlhf_ppo_trainer_apply(all[PPO], &done, NULL));
    assert_ok(rlhf_generator_run(all[GENERATOR]));
    rlhf_lm_trainer_free(all[LM]);
    rlhf_ppo_trainer_free(all[PPO]);
    rlhf_generator_free(all[GENERATOR]);
    assert_int_equal(memory.live, 0);
}

/* --- the tokenizer's buffers -------------------------------------------------------- */

static void test_encode_asks_fills_and_refuses(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_tokenizer *tokenizer = train_tokenizer(context, "aaaa bbbb");
    const char *text = "xyz<|endoftext|>";
    const size_t size = strlen(text);
    int32_t ids[32], special;
    int64_t count = -1, plain = -1;

    assert_ok(rlhf_tokenizer_encode(tokenizer, text, size, 0, NULL, 0, &plain));
    assert_ok(rlhf_tokenizer_encode(tokenizer, text, size, 1, NULL, 0, &count));
    assert_int_equal(count, 4); /* three bytes and the special token */
    assert_true(plain > count && plain <= (int64_t)size + 1);
    memset(ids, 0x55, sizeof ids);
    assert_fails(rlhf_tokenizer_encode(tokenizer, text, size, 1, ids, 3, &count),
                 RLHF_ERR_LIMIT, "the text has 4 ids, capacity is 3");
    assert_int_equal(count, 4);
    assert_fails(rlhf_tokenizer_encode(tokenizer, text, size, 1, ids, 0, &count),
                 RLHF_ERR_LIMIT, "the text has 4 ids, capacity is 0"); /* no question */
    assert_int_equal(ids[0], 0x55555555); /* nothing written */
    assert_ok(rlhf_tokenizer_encode(tokenizer, text, size, 1, ids, 4, &count));
    assert_int_equal(ids[4], 0x55555555);
    special = rlhf_tokenizer_token_id(tokenizer, "<|endoftext|>");
    assert_int_equal(ids[3], special);
    assert_int_equal(rlhf_tokenizer_eos_id(tokenizer), special);
    assert_int_equal(rlhf_tokenizer_bos_id(tokenizer), special);
    /* 256 bytes, the special token, and the only pairs seen twice: aa and bb. */
    assert_int_equal(rlhf_tokenizer_vocab_size(tokenizer), 259);
    assert_int_equal(rlhf_tokenizer_token_id(tokenizer, "no such token"), -1);
    assert_ok(rlhf_tokenizer_encode(tokenizer, "", 0, 0, ids, 4, &count));
    assert_int_equal(count, 0);
    assert_ok(rlhf_tokenizer_encode(tokenizer, NULL, 0, 0, ids, 4, &count));
    assert_ok(rlhf_tokenizer_encode(tokenizer, "", 0, 0, ids, 0, &count));
    assert_fails(rlhf_tokenizer_encode(tokenizer, "x", 1, 0, ids, -1, &count),
                 RLHF_ERR_INVALID_ARG, "capacity is -1");
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
}

static void test_decode_asks_fills_and_refuses(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_tokenizer *tokenizer = train_tokenizer(context, "aaaa bbbb");
    const char *text = "xyz<|endoftext|>";
    int32_t ids[8], bad = 259;
    int64_t count;
    size_t size = 0;
    char out[32];

    assert_ok(rlhf_tokenizer_encode(tokenizer, text, strlen(text), 1, ids, 8, &count));
    assert_ok(rlhf_tokenizer_decode(tokenizer, ids, count, 0, NULL, 0, &size));
    assert_int_equal(size, strlen(text));
    memset(out, 'U', sizeof out);
    assert_fails(rlhf_tokenizer_decode(tokenizer, ids, count, 0, out, size - 1, &size),
                 RLHF_ERR_LIMIT, "capacity");
    assert_fails(rlhf_tokenizer_decode(tokenizer, ids, count, 0, out, 0, &size),
                 RLHF_ERR_LIMIT, "capacity is 0"); /* no question */
    assert_int_equal(size, strlen(text));
    assert_int_equal(out[0], 'U');
    assert_ok(rlhf_tokenizer_decode(tokenizer, ids, count, 0, out, size, &size));
    assert_memory_equal(out, text, size); /* fits without the zero */
    assert_int_equal(out[size], 'U');
    assert_ok(rlhf_tokenizer_decode(tokenizer, ids, count, 0, out, size + 1, &size));
    assert_string_equal(out, text);
    assert_ok(rlhf_tokenizer_decode(tokenizer, ids, count, 1, out, sizeof out, &size));
    assert_string_equal(out, "xyz");
    assert_ok(rlhf_tokenizer_decode(tokenizer, NULL, 0, 0, out, sizeof out, &size));
    assert_string_equal(out, "");
    assert_ok(rlhf_tokenizer_decode(tokenizer, NULL, 0, 0, out, 0, &size));
    assert_fails(rlhf_tokenizer_decode(tokenizer, &bad, 1, 0, out, sizeof out, &size),
                 RLHF_ERR_INVALID_ARG, "259");
    bad = -1;
    assert_fails(rlhf_tokenizer_decode(tokenizer, &bad, 1, 0, out, sizeof out, &size),
                 RLHF_ERR_INVALID_ARG, "-1");
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handles_are_freed_in_any_order),
        cmocka_unit_test(test_trainer_keeps_what_it_needs),
        cmocka_unit_test(test_encode_asks_fills_and_refuses),
        cmocka_unit_test(test_decode_asks_fills_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
