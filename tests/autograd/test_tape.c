/* The tape itself: memory of a repeated step, gradients that add up, nothing kept without
 * recording, cancelling. */
#include "grads.h"
#include "kernels/kernels_support.h"
#include "support.h"

#include "autograd/tape.h"
#include "base/context.h"

enum { VOCAB = 17, WIDTH = 20, INNER = 67, COUNT = 130 };
enum { EMBED, NORM, QKV, UP, DOWN, NUM_SLABS };

typedef struct net {
    rlhf_context *context;
    rlhf__params params;
    rlhf__tape *tape;
    rlhf__grads grads;
    int32_t tokens[COUNT];
    float logprob[COUNT];
} net;

static void net_make(net *n, failing_allocator *own)
{
    static const int64_t slabs[NUM_SLABS][2] = {{VOCAB, WIDTH},
                                                {1, WIDTH},
                                                {3 * WIDTH, WIDTH},
                                                {2 * INNER, WIDTH},
                                                {WIDTH, INNER}};

    memset(n, 0, sizeof *n);
    n->context = support_context(own, 2);
    assert_ok(rlhf__params_init(&n->params, n->context));
    for (int i = 0; i < NUM_SLABS; i++) {
        int32_t slab;
        assert_ok(rlhf__params_add_slab(&n->params, slabs[i][0], slabs[i][1], i != NORM,
                                        &slab));
    }
    assert_ok(rlhf__params_allocate(&n->params));
    float *values = rlhf__params_begin_write(&n->params);
    for (int64_t i = 0; i < n->params.count; i++)
        values[i] = (float)(rlhf__rng_uniform(42, 1, (uint64_t)i) - 0.5);
    rlhf__params_end_write(&n->params);
    assert_ok(rlhf__grads_init(&n->grads, &n->params));
    for (int i = 0; i < COUNT; i++)
        n->tokens[i] = (i * 5 + 3) % VOCAB;
    assert_ok(rlhf__tape_create(n->context, &n->tape));
}

static void net_free(net *n)
{
    rlhf__tape_free(n->tape);
    rlhf__grads_free(&n->grads);
    rlhf__params_free(&n->params);
    rlhf_context_free(n->context);
}

static rlhf_status minus_one(void *arg, int64_t first, int64_t count,
                             const float *logprob, const float *entropy, float *dlogprob,
                             float *dentropy)
{
    (void)arg, (void)first, (void)logprob, (void)entropy, (void)dentropy;
    for (int64_t i = 0; i < count; i++)
        dlogprob[i] = -1.0f;
    return RLHF_OK;
}

/* A block of attention and MLP with its head, forward. */
static rlhf_status forward(net *n)
{
    static const int64_t cu[] = {0, 3, 70, COUNT};
    const rlhf__op_attention_args attention = {.num_heads = 2,
                                               .num_kv_heads = 2,
                                               .head_dim = 10,
                                               .num_seqs = 3,
                                               .cu_seqlens = cu};
    rlhf__tape *t = n->tape;
    rlhf__params *p = &n->params;
    const rlhf__op_norm_args norm = {p, true, NORM, -1, 1e-5f, true};
    rlhf__var *x, *h, *up, *down;

    RLHF__TRY(rlhf__op_embedding(t, p, EMBED, -1, n->tokens, n->tokens, COUNT, &x));
    RLHF__TRY(rlhf__op_norm(t, &norm, x, &h));
    RLHF__TRY(rlhf__op_linear(t, p, QKV, -1, h, &h));
    RLHF__TRY(rlhf__op_attention(t, &attention, h, &h));
    RLHF__TRY(rlhf__op_linear(t, p, UP, -1, h, &up));
    RLHF__TRY(rlhf__op_activation(t, RLHF__SWIGLU, true, up, &up));
    RLHF__TRY(rlhf__op_linear(t, p, DOWN, -1, up, &down));
    RLHF__TRY(rlhf__op_add(t, x, down, &x));
    return rlhf__op_linear_logprob(t, p, EMBED, x, n->tokens, NULL, 1.0f, n->logprob,
                                   NULL, minus_one, NULL);
}

static rlhf_status step(net *n)
{
    rlhf__tape_reset(n->tape, true, &n->grads);
    RLHF__TRY(forward(n));
    return rlhf__tape_backward(n->tape);
}

static void test_tape_repeats_a_step_without_allocating(void **state)
{
    (void)state;
    failing_allocator own = {.fail_at = -1};
    net n;

    net_make(&n, &own);
    assert_ok(step(&n));
    rlhf__tape_reset(n.tape, true, &n.grads); /* several blocks become one */
    const int64_t before = own.count, live = own.live;
    for (int i = 0; i < 3; i++) {
        assert_ok(step(&n));
        assert_int_equal(own.count, before);
        assert_int_equal(own.live, live);
    }
    net_free(&n);
    assert_int_equal(own.live, 0);
}

/* A second pass without zeroing in between adds the same again. */
static void test_tape_gradients_accumulate(void **state)
{
    (void)state;
    net n;
    double size = 0;

    net_make(&n, NULL);
    assert_ok(step(&n));
    float *once = malloc((size_t)n.params.count * sizeof *once);
    memcpy(once, n.grads.values, (size_t)n.params.count * sizeof *once);
    assert_ok(step(&n));
    for (int64_t i = 0; i < n.params.count; i++) {
        assert_near(n.grads.values[i], 2.0 * once[i], 1e-6);
        size += fabs(once[i]);
    }
    assert_true(size > 1.0);
    free(once);
    net_free(&n);
}

/* A gradient's memory serves the next: however deep the network, backward needs that of a
 * few values, not of all. */
static void test_tape_backward_reuses_gradients(void **state)
{
    (void)state;
    enum { DEPTH = 24 };
    net n;
    size_t before = 0, after = 0;

    net_make(&n, NULL);
    for (int pass = 0; pass < 2; pass++) { /* in the second the arena is one block */
        rlhf__var *x = NULL, *y = NULL;
        float *dx = NULL;
        rlhf__tape_reset(n.tape, true, &n.grads);
        assert_ok(rlhf__var_create(n.tape, COUNT, WIDTH, &x));
        memset(x->data, 0, sizeof(float) * COUNT * WIDTH);
        for (int i = 0; i < DEPTH; i++) {
            assert_ok(rlhf__op_linear(n.tape, &n.params, UP, -1, x, &y));
            assert_ok(rlhf__op_activation(n.tape, RLHF__SWIGLU, false, y, &y));
            assert_ok(rlhf__op_linear(n.tape, &n.params, DOWN, -1, y, &y));
            assert_ok(rlhf__op_add(n.tape, x, y, &x));
        }
        before = rlhf__arena_get_mark(n.tape->arena).used;
        assert_ok(rlhf__var_grad(n.tape, x, &dx));
        dx[0] = 1.0f;
        assert_ok(rlhf__tape_backward(n.tape));
        after = rlhf__arena_get_mark(n.tape->arena).used;
    }
    /* Two of the width of the stream, one of each of the MLP's values. */
    assert_true(after > before);
    assert_true(after - before <=
                sizeof(float) * COUNT * (2 * WIDTH + 3 * INNER) + 4 * 64);
    net_free(&n);
}

/* The same values to the last bit, no node, no gradient. */
static void test_tape_keeps_nothing_without_recording(void **state)
{
    (void)state;
    float recorded[COUNT];
    net n;

    net_make(&n, NULL);
    assert_ok(step(&n));
    memcpy(recorded, n.logprob, sizeof recorded);
    rlhf__grads_clear(&n.grads);
    memset(n.logprob, 0, sizeof n.logprob);
    rlhf__tape_reset(n.tape, false, &n.grads);
    assert_ok(forward(&n));
    assert_null(n.tape->last);
    assert_memory_equal(n.logprob, recorded, sizeof recorded);
    grads_settle(&n.grads);
    for (int64_t i = 0; i < n.params.count; i++)
        assert_true(n.grads.values[i] == 0.0f);
    net_free(&n);
}

/* A table that embeds and nothing else has a gradient in the rows that were read. */
static void test_embedding_writes_only_rows_that_were_read(void **state)
{
    (void)state;
    enum { FEW = 4 };
    rlhf__var *x = NULL;
    float *slopes = NULL;
    net n;

    net_make(&n, NULL);
    rlhf__tape_reset(n.tape, true, &n.grads);
    assert_ok(
        rlhf__op_embedding(n.tape, &n.params, EMBED, -1, n.tokens, n.tokens, FEW, &x));
    assert_ok(rlhf__var_grad(n.tape, x, &slopes));
    for (int i = 0; i < FEW * WIDTH; i++)
        slopes[i] = (float)(i + 1);
    assert_ok(rlhf__tape_backward(n.tape));
    for (int row = 0; row < VOCAB; row++) {
        int at = -1;
        for (int i = 0; i < FEW; i++)
            at = n.tokens[i] == row ? i : at;
        assert_int_equal(rlhf__grads_has(&n.grads, EMBED, row), at >= 0);
        for (int j = 0; at >= 0 && j < WIDTH; j++)
            assert_true(n.grads.values[row * WIDTH + j] == (float)(at * WIDTH + j + 1));
    }
    net_free(&n);
}

/* Both walks stop; the next step is as ever. */
static void test_tape_is_cancelled_in_both_directions(void **state)
{
    (void)state;
    net n;

    net_make(&n, NULL);
    assert_ok(step(&n));
    float *whole = malloc((size_t)n.params.count * sizeof *whole);
    memcpy(whole, n.grads.values, (size_t)n.params.count * sizeof *whole);
    rlhf__tape_reset(n.tape, true, &n.grads);
    rlhf_context_cancel(n.context);
    assert_int_equal(forward(&n), RLHF_ERR_CANCELLED);
    rlhf__tape_reset(n.tape, true, &n.grads);
    assert_ok(forward(&n));
    rlhf_context_cancel(n.context);
    assert_int_equal(rlhf__tape_backward(n.tape), RLHF_ERR_CANCELLED);
    rlhf__grads_clear(&n.grads);
    assert_ok(step(&n));
    assert_memory_equal(n.grads.values, whole, (size_t)n.params.count * sizeof *whole);
    free(whole);
    net_free(&n);
}

/* Every allocation of the first step may fail: a status, and the next try succeeds. */
static void test_tape_survives_every_failed_allocation(void **state)
{
    (void)state;
    int64_t failures = 0;

    for (int64_t at = 0;; at++) {
        failing_allocator own = {.fail_at = -1};
        net n;
        net_make(&n, &own);
        own.fail_at = own.count + at;
        rlhf_status status = step(&n);
        own.fail_at = -1;
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_ERR_NO_MEMORY);
            failures++;
            assert_ok(step(&n));
        }
        net_free(&n);
        assert_int_equal(own.live, 0);
        if (status == RLHF_OK)
            break;
    }
    assert_true(failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tape_repeats_a_step_without_allocating),
        cmocka_unit_test(test_tape_gradients_accumulate),
        cmocka_unit_test(test_tape_backward_reuses_gradients),
        cmocka_unit_test(test_tape_keeps_nothing_without_recording),
        cmocka_unit_test(test_embedding_writes_only_rows_that_were_read),
        cmocka_unit_test(test_tape_is_cancelled_in_both_directions),
        cmocka_unit_test(test_tape_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
