/* Linear head with log-probability, entropy and their gradients, in chunks of rows. */
#include <assert.h>
#include <string.h>

#include "autograd/node.h"
#include "base/context.h"
#include "base/size.h"

/* Logits of a chunk: about CHUNK_FLOATS, but rows enough for the matmuls to be
 * efficient, and never over CHUNK_LIMIT unless the vocabulary is enormous. A function
 * of the vocabulary alone, so that the gradient's sums do not depend on anything else. */
#define CHUNK_FLOATS ((int64_t)1 << 20)
#define CHUNK_LIMIT  ((int64_t)1 << 24)
#define ROWS_MIN     64
#define ROWS_WANTED  256 /* a k-block of the weight gradient */
#define ROWS_MAX     2048

typedef struct head {
    rlhf__tape *tape;
    rlhf__params *params;
    int32_t weight;
    const rlhf__var *x;
    int64_t width, vocab;
    float inv_tau;
    rlhf__head_loss_fn loss; /* NULL: no gradient */
    void *loss_arg;
    float *dx;     /* x's gradient, NULL: not wanted */
    bool dx_fresh; /* not written yet */
    /* Of one chunk: */
    float *logits;                              /* [chunk][vocab] */
    float *entropy, *lse, *dlogprob, *dentropy; /* [chunk] */
} head;

static int64_t chunk_rows(int64_t vocab)
{
    int64_t rows = CHUNK_FLOATS / vocab / ROWS_WANTED * ROWS_WANTED;

    rows = rlhf__min_i64(rlhf__max_i64(rows, ROWS_WANTED), ROWS_MAX);
    while (rows > ROWS_MIN && rows * vocab > CHUNK_LIMIT)
        rows /= 2;
    return rows;
}

/* z = x W^T:  dW += dz^T x;  dx += dz W, for the chunk whose dz stands in `logits`. */
static rlhf_status chunk_backward(head *h, int64_t first, int64_t count)
{
    rlhf__tape *tape = h->tape;
    const rlhf__operand x_chunk = rlhf__floats(h->x->data + first * h->width, h->width);

    RLHF__TRY(rlhf__add_weight_grad(tape, h->weight, h->logits, h->vocab, x_chunk,
                                    h->width, count));
    if (!h->dx)
        return RLHF_OK;
    return rlhf__tape_matmul(tape, h->params, h->weight, false,
                             rlhf__floats(h->logits, h->vocab), count, NULL, !h->dx_fresh,
                             h->dx + first * h->width, h->width);
}

static rlhf_status run_chunk(head *h, int64_t first, int64_t count,
                             const int32_t *targets, const int32_t *masked,
                             float *logprob, float *entropy)
{
    rlhf__tape *tape = h->tape;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(rlhf__tape_matmul(tape, h->params, h->weight, true,
                                rlhf__floats(h->x->data + first * h->width, h->width),
                                count, NULL, false, h->logits, h->vocab));
    for (int64_t i = 0; masked && i < count; i++)
        if (masked[first + i] >= 0)
            h->logits[i * h->vocab + masked[first + i]] = RLHF__MASKED_LOGIT;
    if (!entropy && h->loss)
        entropy = h->entropy;
    rlhf__logprob(tape->context, h->logits, h->vocab, count, h->vocab, targets + first,
                  h->inv_tau, logprob, entropy, h->loss ? h->lse : NULL);
    if (!h->loss)
        return RLHF_OK;
    memset(h->dlogprob, 0, (size_t)count * sizeof *h->dlogprob);
    memset(h->dentropy, 0, (size_t)count * sizeof *h->dentropy);
    RLHF__TRY(
        h->loss(h->loss_arg, first, count, logprob, entropy, h->dlogprob, h->dentropy));
    rlhf__logprob_grad(tape->context, h->logits, h->vocab, count, h->vocab,
                       targets + first, h->inv_tau, h->lse, entropy, h->dlogprob,
                       h->dentropy);
    return chunk_backward(h, first, count);
}

static rlhf_status prepare(head *h, int64_t chunk)
{
    rlhf__arena *arena = h->tape->arena;

    RLHF__TRY(rlhf__arena_alloc(arena, chunk * h->vocab, sizeof *h->logits, &h->logits));
    if (!h->loss)
        return RLHF_OK;
    RLHF__TRY(rlhf__arena_alloc(arena, chunk, sizeof *h->entropy, &h->entropy));
    RLHF__TRY(rlhf__arena_alloc(arena, chunk, sizeof *h->lse, &h->lse));
    RLHF__TRY(rlhf__arena_alloc(arena, chunk, sizeof *h->dlogprob, &h->dlogprob));
    RLHF__TRY(rlhf__arena_alloc(arena, chunk, sizeof *h->dentropy, &h->dentropy));
    return RLHF_OK;
}

rlhf_status rlhf__op_linear_logprob(rlhf__tape *tape, rlhf__params *params,
                                    int32_t weight, rlhf__var *x, const int32_t *targets,
                                    const int32_t *masked, float inv_tau,
                                    float *out_logprob, float *out_entropy,
                                    rlhf__head_loss_fn loss, void *loss_arg)
{
    const int64_t vocab = params->slabs[weight].rows;
    head h = {.tape = tape,
              .params = params,
              .weight = weight,
              .x = x,
              .width = x->cols,
              .vocab = vocab,
              .inv_tau = inv_tau,
              .loss = tape->record ? loss : NULL,
              .loss_arg = loss_arg};
    const int64_t chunk = rlhf__min_i64(chunk_rows(vocab), x->rows);
    rlhf_status status = RLHF_OK;

    assert(!x->rounded);
    /* x's gradient outlives the chunks' memory, so it comes first. */
    if (h.loss && x->needs_grad)
        RLHF__TRY(rlhf__grad_open(tape, x, &h.dx, &h.dx_fresh));
    const rlhf__arena_mark mark = rlhf__arena_get_mark(tape->arena);
    status = prepare(&h, chunk);
    for (int64_t first = 0; first < x->rows && status == RLHF_OK; first += chunk)
        status =
            run_chunk(&h, first, rlhf__min_i64(chunk, x->rows - first), targets, masked,
                      out_logprob + first, out_entropy ? out_entropy + first : NULL);
    rlhf__arena_release(tape->arena, mark);
    return status;
}
