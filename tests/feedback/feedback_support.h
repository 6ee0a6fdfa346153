/* For tests of the feedback store: a store in a folder of its own, pairs of which one
 * answer is "better". */
#ifndef TESTS_FEEDBACK_SUPPORT_H
#define TESTS_FEEDBACK_SUPPORT_H

#include "support.h"
#include "test_files.h"

enum { BETTER_ID = 5, WORSE_ID = 6 };

typedef struct feedback_fixture {
    char folder[TEST_PATH];
    char path[2 * TEST_PATH]; /* of the store */
    rlhf_context *context;
    rlhf_tokenizer *tokenizer; /* of bytes */
} feedback_fixture;

static inline int feedback_setup(void **state)
{
    static const char *const texts[] = {"ab"};
    static const size_t sizes[] = {2};
    rlhf_tokenizer_train_options options;
    feedback_fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    snprintf(f->path, sizeof f->path, "%s/choices.db", f->folder);
    f->context = support_context(NULL, 1);
    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 257;
    assert_ok(rlhf_tokenizer_train(f->context, texts, sizes, 1, &options, &f->tokenizer));
    *state = f;
    return 0;
}

static inline int feedback_teardown(void **state)
{
    feedback_fixture *f = *state;

    rlhf_tokenizer_free(f->tokenizer);
    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static inline rlhf_feedback *feedback_open(const feedback_fixture *f, uint64_t seed)
{
    rlhf_feedback *store;

    assert_ok(rlhf_feedback_open(f->context, f->path, seed, &store));
    return store;
}

/* Pair i; in every other one the better answer is the second. Valid until ten pairs
 * later. */
static inline rlhf_comparison feedback_pair(int64_t i)
{
    static const int32_t better[] = {BETTER_ID, 4}, worse[] = {WORSE_ID};
    static int32_t prompts[10][2];
    static char texts[10][32];
    const int at = (int)(i % 10), second = (int)(i / 2 % 2);
    rlhf_comparison pair = {.struct_size = sizeof pair, .num_prompt = 2};

    prompts[at][0] = 10 + at;
    prompts[at][1] = 3;
    snprintf(texts[at], sizeof texts[at], "prompt %lld", (long long)i);
    pair.prompt_ids = prompts[at];
    pair.prompt_text = texts[at];
    pair.answer_ids[second] = better;
    pair.num_answer[second] = 2;
    pair.answer_text[second] = "better";
    pair.answer_ids[1 - second] = worse;
    pair.num_answer[1 - second] = 1;
    pair.answer_text[1 - second] = "worse";
    return pair;
}

static inline void feedback_add_pairs(rlhf_feedback *store, int64_t count)
{
    for (int64_t i = 0; i < count; i += 10) {
        rlhf_comparison pairs[10];
        int64_t n = 0, skipped;
        for (; n < 10 && i + n < count; n++)
            pairs[n] = feedback_pair(i + n);
        assert_ok(rlhf_feedback_add_many(store, pairs, n, &skipped));
        assert_int_equal(skipped, 0);
    }
}

#define FEEDBACK_TEST(name)                                                              \
    cmocka_unit_test_setup_teardown(name, feedback_setup, feedback_teardown)

#endif
