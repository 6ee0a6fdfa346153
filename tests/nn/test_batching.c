/* A sequence's numbers do not depend on its batch, on the cache or on the number of
 * threads: compared by memcmp, for every kind of network, at every CPU level. */
#include "nn_support.h"

enum { SEQS = 6, TOTAL = 303 };
/* Lengths 1, 64, 3, 65, 130 and 40, which straddle the attention's block of 64. */
static const int64_t cu[SEQS + 1] = {0, 1, 65, 68, 133, 263, TOTAL};
static int32_t tokens[TOTAL], targets[TOTAL];

/* What a network says of a batch. */
typedef struct outputs {
    float *hidden, *head, *logprob, *entropy; /* head: logits or scores */
} outputs;

static outputs outputs_make(const rlhf__transformer *m, int64_t count)
{
    return (outputs){fenced(count * m->config.hidden_size), fenced(count * NN_VOCAB),
                     fenced(count), fenced(count)};
}

static void outputs_free(outputs *o)
{
    free(o->hidden), free(o->head), free(o->logprob), free(o->entropy);
}

static int64_t head_width(const rlhf__transformer *m)
{
    return m->score_weight >= 0 ? 1 : NN_VOCAB;
}

/* Forward over `batch`, its first token being the `first` of all; written to its rows of
 * o. */
static void run(rlhf__transformer *m, bool record, const rlhf__batch *batch,
                int64_t first, outputs *o)
{
    const int64_t count = batch->cu_seqlens[batch->num_seqs], d = m->config.hidden_size;
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL, *head = NULL;

    assert_ok(rlhf__batch_check(m, batch));
    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, record, NULL);
    assert_ok(rlhf__transformer_forward(m, tape, batch, &hidden));
    assert_int_equal(hidden->rows, count);
    memcpy(o->hidden + first * d, hidden->data, (size_t)(count * d) * sizeof(float));
    assert_ok(rlhf__transformer_head(m, tape, hidden, &head));
    assert_int_equal(head->cols, head_width(m));
    memcpy(o->head + first * head->cols, head->data,
           (size_t)(count * head->cols) * sizeof(float));
    if (m->head_weight >= 0)
        assert_ok(rlhf__op_linear_logprob(
            tape, &m->params, m->head_weight, hidden, targets + first, NULL, 1.25f,
            o->logprob + first, o->entropy + first, NULL, NULL));
    rlhf__tape_free(tape);
}

static void assert_same(const rlhf__transformer *m, const outputs *a, const outputs *b)
{
    const int64_t d = m->config.hidden_size;

    assert_memory_equal(a->hidden, b->hidden, (size_t)(TOTAL * d) * sizeof(float));
    assert_memory_equal(a->head, b->head,
                        (size_t)(TOTAL * head_width(m)) * sizeof(float));
    if (m->head_weight >= 0) {
        assert_memory_equal(a->logprob, b->logprob, TOTAL * sizeof(float));
        assert_memory_equal(a->entropy, b->entropy, TOTAL * sizeof(float));
    }
    assert_fence(a->hidden, TOTAL * d), assert_fence(b->hidden, TOTAL * d);
    for (int64_t i = 0; i < TOTAL * d; i++)
        assert_true(isfinite(a->hidden[i]));
}

static outputs run_whole(rlhf__transformer *m, bool record)
{
    outputs o = outputs_make(m, TOTAL);

    run(m, record, &(rlhf__batch){.tokens = tokens, .cu_seqlens = cu, .num_seqs = SEQS},
        0, &o);
    return o;
}

/* --- batches ------------------------------------------------------------------------ */

static void run_one_by_one(rlhf__transformer *m, outputs *o)
{
    for (int s = 0; s < SEQS; s++) {
        const int64_t own[2] = {0, cu[s + 1] - cu[s]};
        run(m, false,
            &(rlhf__batch){.tokens = tokens + cu[s], .cu_seqlens = own, .num_seqs = 1},
            cu[s], o);
    }
}

static void test_batch_equals_one_by_one(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind++) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            outputs whole = run_whole(m, false), recorded = run_whole(m, true);
            outputs alone = outputs_make(m, TOTAL);
            run_one_by_one(m, &alone);
            assert_same(m, &whole, &alone);
            assert_same(m, &whole, &recorded);
            outputs_free(&whole), outputs_free(&recorded), outputs_free(&alone);
            rlhf__transformer_free(m);
        }
    }
}

static void test_batch_does_not_depend_on_threads(void **state)
{
    (void)state;
    for (int32_t level = RLHF_CPU_PORTABLE; level <= RLHF_CPU_AMX; level++)
        for (int kind = 0; kind < NN_KINDS; kind++) {
            outputs first = {0};
            for (int32_t threads = 1; threads <= 3; threads++) {
                rlhf_context *context = context_of(level, threads);
                if (!context)
                    continue;
                rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
                outputs o = run_whole(m, true);
                if (threads == 1) {
                    first = o;
                } else {
                    assert_same(m, &first, &o);
                    outputs_free(&o);
                }
                rlhf__transformer_free(m);
                rlhf_context_free(context);
            }
            outputs_free(&first);
        }
}

/* --- wanted rows -------------------------------------------------------------------- */

/* Hidden states of some rows, asked for by themselves, are those of the whole batch. */
static void assert_rows_same(rlhf__transformer *m, bool record, const int64_t *rows,
                             int64_t count, const outputs *whole)
{
    const rlhf__batch batch = {.tokens = tokens,
                               .cu_seqlens = cu,
                               .num_seqs = SEQS,
                               .rows = rows,
                               .num_rows = count};
    const int64_t d = m->config.hidden_size;
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL;

    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, record, NULL);
    assert_ok(rlhf__transformer_forward(m, tape, &batch, &hidden));
    assert_int_equal(hidden->rows, count);
    for (int64_t i = 0; i < count; i++)
        assert_memory_equal(hidden->data + i * d, whole->hidden + rows[i] * d,
                            (size_t)d * sizeof(float));
    rlhf__tape_free(tape);
}

static void test_wanted_rows_equal_whole_forward(void **state)
{
    int64_t last[SEQS], third[TOTAL], all[TOTAL], thirds = 0;

    (void)state;
    for (int s = 0; s < SEQS; s++)
        last[s] = cu[s + 1] - 1;
    for (int64_t i = 0; i < TOTAL; i++) {
        all[i] = i;
        if (i % 3 == 1)
            third[thirds++] = i;
    }
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind++) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            outputs whole = run_whole(m, false);
            for (int record = 0; record < 2; record++) {
                assert_rows_same(m, record, last, SEQS, &whole);
                assert_rows_same(m, record, third, thirds, &whole);
                assert_rows_same(m, record, all, TOTAL, &whole);
                assert_rows_same(m, record, all, 0, &whole);
            }
            outputs_free(&whole);
            rlhf__transformer_free(m);
        }
    }
}

/* --- cache -------------------------------------------------------------------------- */

/* One call for the sequences that are in it; their rows go to their places in o. */
static void run_round(rlhf__transformer *m, const rlhf__batch *batch, const int64_t *from,
                      outputs *o)
{
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL, *head = NULL;

    assert_ok(rlhf__batch_check(m, batch));
    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, false, NULL);
    assert_ok(rlhf__transformer_forward(m, tape, batch, &hidden));
    assert_ok(rlhf__transformer_head(m, tape, hidden, &head));
    for (int64_t i = 0; i < batch->num_seqs; i++) {
        const int64_t first = batch->cu_seqlens[i],
                      rows = batch->cu_seqlens[i + 1] - first;
        memcpy(o->hidden + from[i] * hidden->cols, hidden->data + first * hidden->cols,
               (size_t)(rows * hidden->cols) * sizeof(float));
        memcpy(o->head + from[i] * head->cols, head->data + first * head->cols,
               (size_t)(rows * head->cols) * sizeof(float));
    }
    rlhf__tape_free(tape);
}

/* All sequences together, in rounds of `stride` tokens each; each leaves as it ends.
 * Caches begin at one block and grow, so that what they hold moves. */
static void run_cached(rlhf__transformer *m, int64_t stride, outputs *o)
{
    rlhf__kv_cache caches[SEQS] = {{0}};

    for (int64_t at = 0; at < 130; at += stride) {
        rlhf__kv_cache *active[SEQS];
        int32_t round_tokens[TOTAL];
        int64_t round_cu[SEQS + 1] = {0}, num = 0, from[SEQS];
        for (int s = 0; s < SEQS; s++) {
            const int64_t length = cu[s + 1] - cu[s];
            const int64_t count = length - at < stride ? length - at : stride;
            if (count <= 0)
                continue;
            memcpy(round_tokens + round_cu[num], tokens + cu[s] + at,
                   (size_t)count * sizeof *tokens);
            from[num] = cu[s] + at;
            active[num] = &caches[s];
            round_cu[num + 1] = round_cu[num] + count;
            num++;
        }
        for (int64_t i = 0; i < num; i++) /* one capacity for all */
            assert_ok(rlhf__kv_cache_reserve(active[i], m, at + stride));
        run_round(m,
                  &(rlhf__batch){.tokens = round_tokens,
                                 .cu_seqlens = round_cu,
                                 .num_seqs = num,
                                 .caches = active},
                  from, o);
        for (int64_t i = 0; i < num; i++)
            assert_int_equal(active[i]->length, at + round_cu[i + 1] - round_cu[i]);
    }
    for (int s = 0; s < SEQS; s++)
        rlhf__kv_cache_free(&caches[s]);
}

static void test_cache_equals_whole_forward(void **state)
{
    static const int64_t strides[] = {1, 3, 64, 67, 130};
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind++) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            outputs whole = run_whole(m, false);
            for (int i = 0; i < 5; i++) {
                outputs cached = outputs_make(m, TOTAL);
                run_cached(m, strides[i], &cached);
                const size_t floats = TOTAL * sizeof(float);
                assert_memory_equal(cached.hidden, whole.hidden,
                                    floats * (size_t)m->config.hidden_size);
                assert_memory_equal(cached.head, whole.head,
                                    floats * (size_t)head_width(m));
                outputs_free(&cached);
            }
            outputs_free(&whole);
            rlhf__transformer_free(m);
        }
    }
}

/* --- what a network may not see ----------------------------------------------------- */

/* A later token, or another sequence, changes nothing before it; an own one does. */
static void test_later_tokens_change_nothing(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);

    for (int kind = 0; kind < NN_KINDS; kind++) {
        rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
        const int64_t d = m->config.hidden_size, at = cu[4] + 70;
        outputs before = run_whole(m, false);
        const int32_t old = tokens[at];
        tokens[at] = (old + 1) % NN_VOCAB;
        outputs after = run_whole(m, false);
        tokens[at] = old;
        assert_memory_equal(before.hidden, after.hidden,
                            (size_t)(at * d) * sizeof(float));
        assert_memory_not_equal(before.hidden + at * d, after.hidden + at * d,
                                (size_t)d * sizeof(float));
        assert_memory_equal(before.hidden + cu[5] * d, after.hidden + cu[5] * d,
                            (size_t)((TOTAL - cu[5]) * d) * sizeof(float));
        outputs_free(&before), outputs_free(&after);
        rlhf__transformer_free(m);
    }
    rlhf_context_free(context);
}

static void test_batch_check_names_what_is_wrong(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    rlhf__transformer *m = nn_model(context, &nn_kinds[0]);
    int32_t many[NN_CONTEXT + 1] = {0};
    const int64_t over[] = {0, NN_CONTEXT + 1}, back[] = {0, 3, 2}, two[] = {0, 2};
    rlhf__kv_cache cache = {.length = NN_CONTEXT - 1};
    rlhf__kv_cache *caches[] = {&cache};

    assert_fails(
        rlhf__batch_check(
            m, &(rlhf__batch){.tokens = many, .cu_seqlens = over, .num_seqs = 1}),
        RLHF_ERR_INVALID_ARG, "sequence 0 has 161 tokens, more than context_length 160");
    assert_fails(rlhf__batch_check(m, &(rlhf__batch){.tokens = many,
                                                     .cu_seqlens = two,
                                                     .num_seqs = 1,
                                                     .caches = caches}),
                 RLHF_ERR_INVALID_ARG, "161 tokens");
    assert_fails(
        rlhf__batch_check(
            m, &(rlhf__batch){.tokens = many, .cu_seqlens = back, .num_seqs = 2}),
        RLHF_ERR_INVALID_ARG, "cu_seqlens must ascend, sequence 1 has length -1");
    many[1] = NN_VOCAB;
    assert_fails(rlhf__batch_check(
                     m, &(rlhf__batch){.tokens = many, .cu_seqlens = two, .num_seqs = 1}),
                 RLHF_ERR_INVALID_ARG, "tokens[1] must be in [0, 23), got 23");
    many[1] = -1;
    assert_fails(rlhf__batch_check(
                     m, &(rlhf__batch){.tokens = many, .cu_seqlens = two, .num_seqs = 1}),
                 RLHF_ERR_INVALID_ARG, "got -1");
    rlhf__transformer_free(m);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_equals_one_by_one),
        cmocka_unit_test(test_batch_does_not_depend_on_threads),
        cmocka_unit_test(test_wanted_rows_equal_whole_forward),
        cmocka_unit_test(test_cache_equals_whole_forward),
        cmocka_unit_test(test_later_tokens_change_nothing),
        cmocka_unit_test(test_batch_check_names_what_is_wrong),
    };
    for (int i = 0; i < TOTAL; i++) {
        tokens[i] = nn_token(i);
        targets[i] = nn_token(5 * i + 2);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
