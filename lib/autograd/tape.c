/* The tape itself: values, nodes, gradients' memory, the backward walk. */
#include "autograd/tape.h"

#include <string.h>

#include "autograd/node.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"

/* Freed gradient memory, linked through its own first bytes: blocks are at least 64
 * bytes. */
typedef struct free_block {
    struct free_block *next;
    int64_t count; /* floats */
} free_block;

#define SMALLEST_BLOCK 16 /* floats */

rlhf_status rlhf__tape_create(rlhf_context *context, rlhf__tape **out_tape)
{
    rlhf__tape *tape = NULL;

    *out_tape = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *tape, RLHF_MEMORY_GENERAL, &tape));
    tape->context = context;
    rlhf_status status =
        rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &tape->arena);
    if (status != RLHF_OK) {
        rlhf__free(tape);
        return status;
    }
    *out_tape = tape;
    return RLHF_OK;
}

void rlhf__tape_free(rlhf__tape *tape)
{
    if (!tape)
        return;
    rlhf__arena_free(tape->arena);
    rlhf__free(tape);
}

void rlhf__tape_reset(rlhf__tape *tape, bool record, rlhf__grads *param_grads)
{
    rlhf__arena_reset(tape->arena);
    tape->record = record;
    tape->param_grads = param_grads;
    tape->last = NULL;
    tape->free_grads = NULL;
    tape->pass_rows = 0;
    tape->resets++;
}

rlhf_status rlhf__tape_backward(rlhf__tape *tape)
{
    while (tape->last) {
        rlhf__node *node = tape->last;
        rlhf__var *out = node->out;
        tape->last = node->previous;
        if (!out->grad)
            continue; /* nothing depends on it */
        RLHF__TRY(rlhf__check_cancel(tape->context));
        RLHF__TRY(node->backward(tape, node));
        if (out->grad && !node->in_place) {
            if (!out->grad_is_lent)
                rlhf__grad_give(tape, out->grad, out->rows * out->cols);
            out->grad = NULL;
        }
    }
    return RLHF_OK;
}

rlhf_status rlhf__var_wrap(rlhf__tape *tape, int64_t rows, int64_t cols, float *data,
                           bool needs_grad, rlhf__var **out)
{
    rlhf__var *var = NULL;

    *out = NULL;
    if (!data) {
        size_t count = 0;
        if (!rlhf__size_mul((size_t)rows, (size_t)cols, &count))
            return rlhf__fail_no_memory(SIZE_MAX);
        RLHF__TRY(rlhf__arena_alloc(tape->arena, (int64_t)count, sizeof *data, &data));
    }
    RLHF__TRY(rlhf__arena_zalloc(tape->arena, 1, sizeof *var, &var));
    *var =
        (rlhf__var){.rows = rows, .cols = cols, .data = data, .needs_grad = needs_grad};
    *out = var;
    return RLHF_OK;
}

rlhf_status rlhf__var_create(rlhf__tape *tape, int64_t rows, int64_t cols,
                             rlhf__var **out)
{
    return rlhf__var_wrap(tape, rows, cols, NULL, tape->record, out);
}

rlhf_status rlhf__node_push(rlhf__tape *tape, size_t size, rlhf__var *out,
                            rlhf_status (*backward)(rlhf__tape *tape, rlhf__node *node),
                            void *out_node)
{
    rlhf__node *node = NULL;

    RLHF__TRY(rlhf__arena_zalloc(tape->arena, 1, size, &node));
    node->previous = tape->last;
    node->backward = backward;
    node->out = out;
    tape->last = node;
    *(void **)out_node = node;
    return RLHF_OK;
}

/* --- gradients' memory -------------------------------------------------------------- */

rlhf_status rlhf__grad_take(rlhf__tape *tape, int64_t count, float **out_memory)
{
    free_block **link = (free_block **)&tape->free_grads;

    /* Sizes repeat from layer to layer, so the exact fit is nearly always there. */
    for (free_block *block = *link; block; link = &block->next, block = *link) {
        if (block->count == count) {
            *link = block->next;
            *out_memory = (float *)(void *)block;
            return RLHF_OK;
        }
    }
    return rlhf__arena_alloc(tape->arena, rlhf__max_i64(count, SMALLEST_BLOCK),
                             sizeof **out_memory, out_memory);
}

void rlhf__grad_give(rlhf__tape *tape, float *memory, int64_t count)
{
    free_block *block = (free_block *)(void *)memory;

    block->next = tape->free_grads;
    block->count = count;
    tape->free_grads = block;
}

rlhf_status rlhf__grad_open(rlhf__tape *tape, rlhf__var *var, float **out_grad,
                            bool *out_fresh)
{
    *out_fresh = !var->grad;
    if (!var->grad)
        RLHF__TRY(rlhf__grad_take(tape, var->rows * var->cols, &var->grad));
    *out_grad = var->grad;
    return RLHF_OK;
}

rlhf_status rlhf__var_grad(rlhf__tape *tape, rlhf__var *var, float **out_grad)
{
    bool fresh;

    RLHF__TRY(rlhf__grad_open(tape, var, out_grad, &fresh));
    if (fresh)
        memset(var->grad, 0, (size_t)(var->rows * var->cols) * sizeof *var->grad);
    return RLHF_OK;
}
