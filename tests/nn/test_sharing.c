/* Sequences that begin alike, a prompt and its answers: what they share goes through the
 * network once. Hidden states are those of each by itself, bit for bit; the gradient is
 * the sum of theirs. */
#include "nn_support.h"

enum { SEQS = 9, MOST = 706 };

/* What a sequence begins with: the first `alike` tokens of sequence `of`; its first
 * wanted row; and how much of it is shared so. */
typedef struct sequence {
    int64_t length, of, alike, first_wanted, shared;
} sequence;

static const sequence sequences[SEQS] = {
    {100, -1, 0, 99, 0},   {130, 0, 70, 75, 70}, /* into the second block of 64 */
    {65, 0, 64, 64, 64},                         /* a whole block */
    {100, 0, 100, 99, 99},                       /* the same: up to its wanted row */
    {40, -1, 0, 3, 0},     {30, 4, 7, 29, 0},    /* a beginning too short to share */
    {31, 5, 8, 8, 8},      {50, 5, 30, 5, 0},    /* wanted too early */
    {160, 7, 50, 60, 50},                        /* all of the one before it */
};

static int32_t tokens[MOST];
static int64_t cu[SEQS + 1], rows[MOST], num_rows, first_row[SEQS + 1];

static void fill_batch(void)
{
    int64_t shared_rows = 0;

    for (int s = 0; s < SEQS; s++) {
        const sequence *q = &sequences[s];
        for (int64_t i = 0; i < q->length; i++)
            tokens[cu[s] + i] =
                i < q->alike ? tokens[cu[q->of] + i] : nn_token(cu[s] + i * (s + 2) + s);
        if (q->of >= 0 && q->alike < q->length)
            tokens[cu[s] + q->alike] =
                (tokens[cu[q->of] + q->alike % sequences[q->of].length] + 1) % NN_VOCAB;
        first_row[s] = num_rows;
        for (int64_t i = q->first_wanted; i < q->length; i += 3)
            rows[num_rows++] = cu[s] + i;
        cu[s + 1] = cu[s] + q->length;
        shared_rows += q->shared;
    }
    first_row[SEQS] = num_rows;
    assert_in_range(cu[SEQS], 1, MOST);
    assert_int_equal(shared_rows, 291);
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
    bool *is_written = calloc((size_t)m->params.num_slabs, sizeof *is_written);
    rlhf__grads sum = {&m->params, grads, is_written};
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
        for (int32_t s = 0; s < m->params.num_slabs; s++)
            if (!is_written[s]) /* the head, which the loss does not ask */
                memset(grads + m->params.slabs[s].offset, 0,
                       (size_t)(m->params.slabs[s].rows * m->params.slabs[s].cols) *
                           sizeof *grads);
    }
    rlhf__tape_free(tape);
    free(is_written);
}

static rlhf__batch whole(void)
{
    return (rlhf__batch){.tokens = tokens,
                         .cu_seqlens = cu,
                         .num_seqs = SEQS,
                         .rows = rows,
                         .num_rows = num_rows};
}

/* Each sequence by itself; with `grads`, the sum of their gradients in double. */
static void run_one_by_one(rlhf__transformer *m, double *grads, float *out)
{
    const int64_t count = m->params.count, d = m->config.hidden_size;
    float *own = grads ? fenced(count) : NULL;

    for (int s = 0; s < SEQS; s++) {
        const int64_t ends[2] = {0, cu[s + 1] - cu[s]};
        int64_t wanted[MOST], n = 0;
        for (int64_t i = first_row[s]; i < first_row[s + 1]; i++)
            wanted[n++] = rows[i] - cu[s];
        const rlhf__batch batch = {.tokens = tokens + cu[s],
                                   .cu_seqlens = ends,
                                   .num_seqs = 1,
                                   .rows = wanted,
                                   .num_rows = n};
        run(m, &batch, false, own, out + first_row[s] * d);
        for (int64_t i = 0; grads && i < count; i++)
            grads[i] += own[i];
    }
    free(own);
}

static void test_hidden_states_equal_one_by_one(void **state)
{
    const rlhf__batch batch = whole();

    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind += step()) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            const int64_t count = num_rows * m->config.hidden_size;
            float *alone = fenced(count), *together = fenced(count);
            float *grads = fenced(m->params.count);
            const size_t size = (size_t)count * sizeof(float);
            run_one_by_one(m, NULL, alone);
            const int64_t read = m->tokens_read;
            run(m, &batch, false, NULL, together);
            assert_memory_equal(together, alone, size);
            assert_int_equal(m->tokens_read - read, cu[SEQS] - 291);
            run(m, &batch, false, grads, together);
            assert_memory_equal(together, alone, size);
            assert_fence(together, count), assert_fence(grads, m->params.count);
            free(alone), free(together), free(grads);
            rlhf__transformer_free(m);
        }
    }
}

/* Of one parameter tensor at a time: how far off as a part of its size. In bf16 the sum
 * of what both sequences give is rounded, not both. */
static void check_gradient(const rlhf__transformer *m, const float *grads,
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
            fail_msg("tensor %d: off by %g of %g", (int)s, sqrt(off), sqrt(size));
    }
}

static void test_gradient_is_the_sum_of_each(void **state)
{
    const rlhf__batch batch = whole();

    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (int kind = 0; kind < NN_KINDS; kind += step()) {
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            const int64_t count = m->params.count;
            double *alone = calloc((size_t)count, sizeof *alone);
            float *grads = fenced(count), *again = fenced(count);
            float *hidden = fenced(num_rows * m->config.hidden_size);
            run_one_by_one(m, alone, hidden);
            run(m, &batch, false, grads, hidden);
            check_gradient(m, grads, alone);
            run(m, &batch, true, again, hidden); /* blocks computed a second time */
            assert_memory_equal(again, grads, (size_t)count * sizeof *grads);
            free(alone), free(grads), free(again), free(hidden);
            rlhf__transformer_free(m);
        }
    }
}

static void test_gradient_does_not_depend_on_threads(void **state)
{
    const rlhf__batch batch = whole();

    (void)state;
    for (int kind = 0; kind < NN_KINDS; kind += step()) {
        float *first = NULL;
        for (int32_t threads = 1; threads <= 3; threads++) {
            rlhf_context *context = context_of(RLHF_CPU_AUTO, threads);
            rlhf__transformer *m = nn_model(context, &nn_kinds[kind]);
            const int64_t count = m->params.count;
            float *grads = fenced(count);
            float *hidden = fenced(num_rows * m->config.hidden_size);
            run(m, &batch, false, grads, hidden);
            if (first) {
                assert_memory_equal(grads, first, (size_t)count * sizeof *grads);
                free(grads);
            } else {
                first = grads;
            }
            free(hidden);
            rlhf__transformer_free(m);
            rlhf_context_free(context);
        }
        free(first);
    }
}

/* A sequence that leads many hands on to another after RLHF__SHARED_BY of them. */
static void test_many_share_in_groups(void **state)
{
    enum { ANSWERS = 18, LENGTH = 12, PROMPT = 10 };
    int32_t answers[ANSWERS * LENGTH];
    int64_t ends[ANSWERS + 1] = {0}, last[ANSWERS];
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__transformer *m = nn_model(context, &nn_kinds[0]);
    float hidden[ANSWERS * 12];

    (void)state;
    for (int s = 0; s < ANSWERS; s++) {
        for (int i = 0; i < LENGTH; i++)
            answers[s * LENGTH + i] = i < PROMPT ? i : (s + i) % NN_VOCAB;
        ends[s + 1] = ends[s] + LENGTH;
        last[s] = ends[s + 1] - 1;
    }
    run(m,
        &(rlhf__batch){.tokens = answers,
                       .cu_seqlens = ends,
                       .num_seqs = ANSWERS,
                       .rows = last,
                       .num_rows = ANSWERS},
        false, NULL, hidden);
    assert_int_equal(m->tokens_read, ANSWERS * LENGTH - (ANSWERS - 2) * PROMPT);
    rlhf__transformer_free(m);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hidden_states_equal_one_by_one),
        cmocka_unit_test(test_gradient_is_the_sum_of_each),
        cmocka_unit_test(test_gradient_does_not_depend_on_threads),
        cmocka_unit_test(test_many_share_in_groups),
    };
    fill_batch();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
