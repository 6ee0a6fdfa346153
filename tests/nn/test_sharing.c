/* Sequences that begin alike, a prompt and its answers: what they share goes through the
 * network once. Hidden states are those of each by itself, bit for bit; the gradient is
 * the sum of theirs. */
#include "grads.h"
#include "nn_support.h"

enum { MOST_SEQS = 9, MOST = 706 };

/* What a sequence begins with: the first `alike` tokens of sequence `of`; its first
 * wanted row (its length: none); and how much of it is shared so. */
typedef struct sequence {
    int64_t length, of, alike, first_wanted, shared;
} sequence;

static const sequence lengths[] = {
    {100, -1, 0, 99, 0},   {130, 0, 70, 75, 70}, /* into the second block of 64 */
    {65, 0, 64, 64, 64},                         /* a whole block */
    {100, 0, 100, 99, 99},                       /* the same: up to its wanted row */
    {40, -1, 0, 3, 0},     {30, 4, 7, 29, 0},    /* a beginning too short to share */
    {31, 5, 8, 8, 8},      {50, 5, 30, 5, 0},    /* wanted too early */
    {160, 7, 50, 60, 50},                        /* all of the one before it */
};

/* Pairs whose prompts open alike: each pair's first leads. */
static const sequence template[] = {
    {40, -1, 0, 30, 0},  {40, 0, 30, 30, 30}, {40, 0, 10, 30, 0},
    {40, 2, 30, 30, 30}, {40, 2, 10, 30, 0},  {40, 4, 30, 30, 30},
};

/* Pairs that open with most of their prompts: what is lost if the second pair's first
 * leads is more than what is won. */
static const sequence opening[] = {
    {40, -1, 0, 35, 0},
    {40, 0, 30, 35, 30},
    {40, 0, 20, 35, 20},
    {40, 2, 30, 35, 20},
};

/* Not side by side. */
static const sequence turns[] = {
    {30, -1, 0, 20, 0},
    {33, -1, 0, 25, 0},
    {36, 0, 20, 21, 20},
    {39, 1, 20, 25, 20},
};

/* Without tokens, and without a wanted row. */
static const sequence empty[] = {
    {20, -1, 0, 15, 0},
    {0, -1, 0, 0, 0},
    {20, 0, 20, 20, 20},
    {25, 0, 12, 18, 12},
};

static const struct {
    const sequence *list;
    int64_t count;
} lists[] = {{lengths, 9}, {template, 6}, {opening, 4}, {turns, 4}, {empty, 4}};
#define LISTS (int)(sizeof lists / sizeof lists[0])

typedef struct sample {
    rlhf__batch batch; /* its arrays are those below */
    int32_t tokens[MOST];
    int64_t cu[MOST_SEQS + 1], rows[MOST], first_row[MOST_SEQS + 1], shared;
} sample;

static void make_sample(int list, sample *out)
{
    const sequence *q = lists[list].list;
    int64_t num_rows = 0, *cu = out->cu;

    memset(out, 0, sizeof *out);
    for (int64_t s = 0; s < lists[list].count; s++) {
        int32_t *own = out->tokens + cu[s];
        const int32_t *other = q[s].of < 0 ? NULL : out->tokens + cu[q[s].of];
        assert_in_range(cu[s] + q[s].length, 0, MOST);
        for (int64_t i = 0; i < q[s].length; i++)
            own[i] = i < q[s].alike ? other[i] : nn_token(cu[s] + i * (s + 2) + s);
        if (other && q[s].alike < q[s].length && q[s].alike < q[q[s].of].length)
            own[q[s].alike] = (other[q[s].alike] + 1) % NN_VOCAB;
        out->first_row[s] = num_rows;
        for (int64_t i = q[s].first_wanted; i < q[s].length; i += 3)
            out->rows[num_rows++] = cu[s] + i;
        cu[s + 1] = cu[s] + q[s].length;
        out->first_row[s + 1] = num_rows;
        out->shared += q[s].shared;
    }
    out->batch = (rlhf__batch){.tokens = out->tokens,
                               .cu_seqlens = cu,
                               .num_seqs = lists[list].count,
                               .rows = out->rows,
                               .num_rows = num_rows};
}

/* Not all networks in bf16, which takes the portable level twenty times as long. */
static int step(void)
{
    return test_dtype() == RLHF_DTYPE_BF16 ? 4 : 1;
}

/* A forward and, with `grads`, a backward pass of the loss sum w hidden; hidden states of
 * the rows into `out`. */
static void run(rlhf__transformer *m, const rlhf__batch *batch, bool checkpoint,
                float *grads, float *out)
{
    const int64_t d = m->config.hidden_size;
    rlhf__grads sum = grads_over(&m->params, grads, false);
    rlhf__tape *tape = NULL;
    rlhf__var *hidden = NULL;
    float *slopes = NULL;

    assert_ok(rlhf__batch_check(m, batch));
    assert_ok(rlhf__tape_create(m->context, &tape));
    rlhf__tape_reset(tape, grads != NULL, grads ? &sum : NULL);
    tape->checkpoint = checkpoint;
    assert_ok(rlhf__transformer_forward(m, tape, batch, &hidden));
    assert_int_equal(hidden->rows, batch->num_rows);
    memcpy(out, hidden->data, (size_t)(batch->num_rows * d) * sizeof *out);
    if (grads) {
        assert_ok(rlhf__var_grad(tape, hidden, &slopes));
        for (int64_t i = 0; i < batch->num_rows; i++) {
            const int32_t token = batch->tokens[batch->rows[i]];
            for (int64_t k = 0; k < d; k++)
                slopes[i * d + k] += (float)((token + 3 * k) % 7) - 2.5f;
        }
        assert_ok(rlhf__tape_backward(tape));
        grads_settle(&sum);
    }
    rlhf__tape_free(tape);
    grads_free(&sum);
}

/* Each sequence by itself; with `grads`, the sum of their gradients in double. */
static void run_one_by_one(rlhf__transformer *m, const sample *all, double *grads,
                           float *out)
{
    const int64_t count = m->params.count, d = m->config.hidden_size;
    float *own = grads ? fenced(count) : NULL;

    for (int64_t s = 0; s < all->batch.num_seqs; s++) {
        const int64_t ends[2] = {0, all->cu[s + 1] - all->cu[s]};
        int64_t wanted[MOST], n = 0;
        for (int64_t i = all->first_row[s]; i < all->first_row[s + 1]; i++)
            wanted[n++] = all->rows[i] - all->cu[s];
        const rlhf__batch batch = {.tokens = all->tokens + all->cu[s],
                                   .cu_seqlens = ends,
                                   .num_seqs = 1,
                                   .rows = wanted,
                                   .num_rows = n};
        if (n == 0)
            continue;
        run(m, &batch, false, own, out + all->first_row[s] * d);
        for (int64_t i = 0; grads && i < count; i++)
            grads[i] += own[i];
    }
    free(own);
}

/* Of one parameter tensor at a time: how far off as a part of its size. In bf16 the sum
 * of what sequences give is rounded, not each of them. */
static void check_gradient(const rlhf__transformer *m, int list, const float *grads,
                           const double *alone)
{
    const double tolerance = test_dtype() == RLHF_DTYPE_BF16 ? 2e-2 : 2e-6;

    for (int32_t s = 0; s < m->params.num_slabs; s++) {
        const rlhf__slab *slab = &m->params.slabs[s];
        double off = 0, size = 0;
        for (int64_t i = slab->offset; i < slab->offset + slab->rows * slab->cols; i++) {
            off += pow(grads[i] - alone[i], 2);
            size += pow(alone[i], 2);
        }
        if (!(sqrt(off) <= tolerance * sqrt(size)))
            fail_msg("list %d, tensor %d: off by %g of %g", list, (int)s, sqrt(off),
                     sqrt(size));
    }
}

/* Hidden states, the tokens that are read for them, gradients, and both with blocks
 * computed a second time. */
static void check_sample(rlhf__transformer *m, int list)
{
    sample all;
    make_sample(list, &all);
    const int64_t count = all.batch.num_rows * m->config.hidden_size;
    const int64_t params = m->params.count;
    float *alone = fenced(count), *together = fenced(count);
    float *grads = fenced(params), *again = fenced(params);
    double *sum = calloc((size_t)params, sizeof *sum);

    run_one_by_one(m, &all, sum, alone);
    const int64_t read = m->tokens_read;
    run(m, &all.batch, false, NULL, together);
    assert_int_equal(m->tokens_read - read, all.cu[all.batch.num_seqs] - all.shared);
    assert_memory_equal(together, alone, (size_t)count * sizeof *alone);
    run(m, &all.batch, false, grads, together);
    assert_memory_equal(together, alone, (size_t)count * sizeof *alone);
    check_gradient(m, list, grads, sum);
    run(m, &all.batch, true, again, together);
    assert_memory_equal(together, alone, (size_t)count * sizeof *alone);
    assert_memory_equal(again, grads, (size_t)params * sizeof *grads);
    assert_fence(together, count), assert_fence(grads, params);
    free(alone), free(together), free(grads), free(again), free(sum);
}

static void test_sequences_equal_one_by_one(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind += step()) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            for (int list = 0; list < LISTS; list++)
                check_sample(m, list);
            rlhf__transformer_free(m);
        }
    }
}

static float *gradient_of(int kind, int list, int32_t threads, int64_t *out_count)
{
    rlhf_context *context = context_of(RLHF_CPU_AUTO, threads);
    rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
    float *grads = fenced(m->params.count), *hidden;
    sample all;

    make_sample(list, &all);
    hidden = fenced(all.batch.num_rows * m->config.hidden_size);
    run(m, &all.batch, false, grads, hidden);
    *out_count = m->params.count;
    free(hidden);
    rlhf__transformer_free(m);
    rlhf_context_free(context);
    return grads;
}

static void test_gradient_does_not_depend_on_threads(void **state)
{
    int64_t count;

    (void)state;
    for (int kind = 0; kind < NN_KINDS; kind += step())
        for (int list = 0; list < LISTS; list++) {
            float *first = gradient_of(kind, list, 1, &count);
            for (int32_t threads = 2; threads <= 3; threads++) {
                float *grads = gradient_of(kind, list, threads, &count);
                assert_memory_equal(grads, first, (size_t)count * sizeof *grads);
                free(grads);
            }
            free(first);
        }
}

/* A pass over 64 tokens and more keeps no packed copies, also where fewer are left. */
static void test_what_is_left_packs_no_copies(void **state)
{
    enum { LENGTH = 40, ALIKE = 30 };
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__transformer *m = nn_model(context, &nn_kinds[0]);
    rlhf_memory_info info = {.struct_size = sizeof info};
    const int64_t ends[] = {0, LENGTH, 2 * LENGTH};
    const int64_t wanted[] = {LENGTH - 1, 2 * LENGTH - 1};
    float *grads = fenced(m->params.count), hidden[2 * 12];
    int32_t tokens[2 * LENGTH];

    (void)state;
    for (int i = 0; i < 2 * LENGTH; i++)
        tokens[i] = nn_token(i < LENGTH + ALIKE ? i % LENGTH : i);
    run(m,
        &(rlhf__batch){.tokens = tokens,
                       .cu_seqlens = ends,
                       .num_seqs = 2,
                       .rows = wanted,
                       .num_rows = 2},
        false, grads, hidden);
    assert_int_equal(m->tokens_read, 2 * LENGTH - ALIKE);
    assert_ok(rlhf_context_memory(context, &info));
    assert_int_equal(info.peak[RLHF_MEMORY_PACKED], 0);
    free(grads);
    rlhf__transformer_free(m);
    rlhf_context_free(context);
}

/* A leader is looked for among the RLHF__SHARED_WITHIN sequences before. */
static void test_far_sequences_do_not_share(void **state)
{
    enum { ANSWERS = 66, LENGTH = 12, PROMPT = 10, WIDTH = 12 };
    int32_t tokens[ANSWERS * LENGTH];
    int64_t ends[ANSWERS + 1] = {0}, wanted[ANSWERS];
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__transformer *m = nn_model(context, &nn_kinds[0]);
    float together[ANSWERS * WIDTH], alone[WIDTH];

    (void)state;
    for (int s = 0; s < ANSWERS; s++) {
        for (int i = 0; i < LENGTH; i++)
            tokens[s * LENGTH + i] = i < PROMPT ? i : (s + i) % NN_VOCAB;
        ends[s + 1] = ends[s] + LENGTH;
        wanted[s] = ends[s] + PROMPT;
    }
    run(m,
        &(rlhf__batch){.tokens = tokens,
                       .cu_seqlens = ends,
                       .num_seqs = ANSWERS,
                       .rows = wanted,
                       .num_rows = ANSWERS},
        false, NULL, together);
    assert_int_equal(m->tokens_read, ANSWERS * LENGTH - (ANSWERS - 2) * PROMPT);
    for (int s = 0; s < ANSWERS; s++) {
        run(m,
            &(rlhf__batch){.tokens = tokens + s * LENGTH,
                           .cu_seqlens = ends,
                           .num_seqs = 1,
                           .rows = wanted,
                           .num_rows = 1},
            false, NULL, alone);
        assert_memory_equal(alone, together + s * WIDTH, sizeof alone);
    }
    rlhf__transformer_free(m);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences_equal_one_by_one),
        cmocka_unit_test(test_gradient_does_not_depend_on_threads),
        cmocka_unit_test(test_what_is_left_packs_no_copies),
        cmocka_unit_test(test_far_sequences_do_not_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
