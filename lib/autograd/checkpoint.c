/* Gradient checkpointing (Chen et al. 2016): a part of a network keeps its input alone
 * and is computed again, recorded this time, when the backward pass comes to it. The same
 * ops in the same order give the same bits. */
#include <string.h>

#include "autograd/node.h"

typedef struct checkpoint_node {
    rlhf__node node;
    rlhf__part_fn part;
    const void *arg;
    rlhf__var *x;
} checkpoint_node;

/* The part recorded from x on, and walked back: leaves the gradient of `x`. */
static rlhf_status walk_part(rlhf__tape *tape, const checkpoint_node *n, rlhf__var *x)
{
    rlhf__var *out = NULL;

    RLHF__TRY(n->part(n->arg, tape, x, &out));
    out->grad = n->node.out->grad;
    return rlhf__tape_backward(tape);
}

/* A tape within the tape: what it takes of the arena, gradients' memory too, is given
 * back when the input's gradient is out. */
static rlhf_status checkpoint_backward(rlhf__tape *tape, rlhf__node *node)
{
    const checkpoint_node *n = (const checkpoint_node *)node;
    const int64_t count = n->x->rows * n->x->cols;
    rlhf__node *older = tape->last;
    rlhf__var *x = NULL;
    float *dx = NULL;
    bool fresh = false;

    if (n->x->needs_grad)
        RLHF__TRY(rlhf__grad_open(tape, n->x, &dx, &fresh));
    void *free_grads = tape->free_grads;
    const rlhf__arena_mark mark = rlhf__arena_get_mark(tape->arena);
    tape->last = NULL;
    tape->free_grads = NULL;
    RLHF__TRY(
        rlhf__var_wrap(tape, n->x->rows, n->x->cols, n->x->data, n->x->needs_grad, &x));
    RLHF__TRY(walk_part(tape, n, x));
    if (dx && fresh) /* every part passes a gradient on: its input is in a residual */
        memcpy(dx, x->grad, (size_t)count * sizeof *dx);
    else if (dx)
        rlhf__add_to(tape->context, x->grad, count, dx);
    tape->last = older;
    tape->free_grads = free_grads;
    rlhf__arena_release(tape->arena, mark);
    return RLHF_OK;
}

rlhf_status rlhf__op_checkpoint(rlhf__tape *tape, rlhf__part_fn part, const void *arg,
                                rlhf__var *x, rlhf__var **out)
{
    checkpoint_node *node = NULL;
    rlhf__var *y = NULL;

    RLHF__TRY(rlhf__var_wrap(tape, x->rows, x->cols, NULL, false, &y));
    memcpy(y->data, x->data, (size_t)(x->rows * x->cols) * sizeof *y->data);
    tape->record = false;
    const rlhf_status status = part(arg, tape, y, out);
    tape->record = true;
    RLHF__TRY(status);
    (*out)->needs_grad = x->needs_grad || tape->param_grads;
    if (!(*out)->needs_grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, checkpoint_backward, &node));
    node->part = part;
    node->arg = arg;
    node->x = x;
    return RLHF_OK;
}
