/* Of a token table that is not the head, too, rows that no batch has read take no memory
 * in gradient and moments. */
#include "train_support.h"

#include <malloc.h>
#include <sys/mman.h>

#include "nn/transformer.h"
#include "train/learner.h"

enum { WIDE_VOCAB = 160000, WIDE = 64, READ = 3 }; /* 41 MB a table */

static const rlhf__learner_settings settings = {
    .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .adam_form = RLHF_ADAM_TORCH};

/* Pages of the table's part of an array that are in memory. */
static int64_t count_pages(const rlhf__transformer *net, const float *array)
{
    const rlhf__slab *table = &net->params.slabs[net->token_table];
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = (uintptr_t)(array + table->offset);
    const uintptr_t skip = (page - from % page) % page;
    const size_t pages =
        ((size_t)(table->rows * table->cols) * sizeof *array - skip) / page;
    unsigned char *there = malloc(pages);
    int64_t count = 0;

    assert_int_equal(
        mincore((char *)(uintptr_t)(array + table->offset) + skip, pages * page, there),
        0);
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    free(there);
    return count;
}

static int64_t count_all(const rlhf__learner *l)
{
    return count_pages(l->net, l->grads.values) + count_pages(l->net, l->adamw.m) +
           count_pages(l->net, l->adamw.v);
}

static void one_step(rlhf__learner *l, rlhf__tape *tape, const int32_t tokens[READ])
{
    const int64_t cu[] = {0, READ};
    const rlhf__batch batch = {.tokens = tokens, .cu_seqlens = cu, .num_seqs = 1};
    rlhf__var *hidden = NULL, *scores = NULL;
    float *slopes = NULL;
    double norm = 0.0;

    rlhf__learner_zero_grads(l);
    rlhf__tape_reset(tape, true, &l->grads);
    assert_ok(rlhf__transformer_forward(l->net, tape, &batch, &hidden));
    assert_ok(rlhf__transformer_head(l->net, tape, hidden, &scores));
    assert_ok(rlhf__var_grad(tape, scores, &slopes));
    for (int i = 0; i < READ; i++)
        slopes[i] += (float)(i + 1);
    assert_ok(rlhf__tape_backward(tape));
    assert_ok(rlhf__learner_norm(l, 1.0, "the gradient", &norm));
    assert_true(norm > 0.0);
    rlhf__learner_apply(l, 1e-3, 1.0, norm);
}

static void test_rows_that_were_not_read_take_no_memory(void **state)
{
    (void)state;
    static const int32_t first[READ] = {50000, 90000, 50000};
    static const int32_t second[READ] = {50000, 40000, 159999};
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model_config c = tiny_config(WIDE_VOCAB, 8);
    rlhf__transformer *net = NULL;
    rlhf__tape *tape = NULL;
    rlhf__learner l;

    c.hidden_size = WIDE;
    c.num_layers = 1;
    assert_ok(rlhf__transformer_create(context, &c, RLHF__HEAD_SCORE, &net));
    rlhf__transformer_init(net, 1);
    assert_ok(rlhf__learner_init(&l, net, &settings));
    assert_ok(rlhf__tape_create(context, &tape));
    const int64_t begin = count_all(&l); /* the first huge page of each array, at most */
    assert_in_range(begin, 0, 3 * 512);
    one_step(&l, tape, first);
    assert_in_range(count_all(&l) - begin, 3 * 2, 3 * 2 * 2); /* a row is 256 bytes */
    one_step(&l, tape, second);
    assert_in_range(count_all(&l) - begin, 3 * 4, 3 * 4 * 2);
    rlhf__tape_free(tape);
    rlhf__learner_free(&l);
    rlhf__transformer_free(net);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_that_were_not_read_take_no_memory),
    };

#ifdef M_PERTURB
    mallopt(M_PERTURB, 0); /* else it writes what it hands out */
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
