/* Causal attention over ragged sequences, from a fused qkv matrix. */
#include <math.h>

#include "autograd/node.h"
#include "base/context.h"

typedef struct attention_node {
    rlhf__node node;
    rlhf__attention attention;
    rlhf__var *qkv;
    float *lse; /* [num_heads][tokens] */
} attention_node;

/* q, k and v as column ranges of `base`, laid out as qkv. */
static void split(const rlhf__attention *a, float *base, float **q, float **k, float **v)
{
    *q = base;
    *k = base + a->num_heads * a->head_dim;
    *v = *k + a->num_kv_heads * a->head_dim;
}

static rlhf_status attention_backward(rlhf__tape *tape, rlhf__node *node)
{
    const attention_node *n = (const attention_node *)node;
    const int64_t count = n->qkv->rows * n->qkv->cols, width = node->out->cols;
    float *dqkv = NULL, *target, *dq, *dk, *dv;
    bool fresh;

    RLHF__TRY(rlhf__grad_open(tape, n->qkv, &dqkv, &fresh));
    target = dqkv;
    if (!fresh) /* the kernel writes, the gradient adds */
        RLHF__TRY(rlhf__grad_take(tape, count, &target));
    split(&n->attention, target, &dq, &dk, &dv);
    RLHF__TRY(rlhf__attention_grad(tape->context, tape->arena, &n->attention,
                                   node->out->data, width, node->out->grad, width, n->lse,
                                   dq, dk, dv));
    if (!fresh) {
        rlhf__add_to(tape->context, target, count, dqkv);
        rlhf__grad_give(tape, target, count);
    }
    return RLHF_OK;
}

static rlhf__attention describe(const rlhf__op_attention_args *args, rlhf__var *qkv)
{
    rlhf__attention a = {.ldq = qkv->cols,
                         .ldk = qkv->cols,
                         .ldv = qkv->cols,
                         .num_seqs = args->num_seqs,
                         .cu_seqlens = args->cu_seqlens,
                         .from = args->from,
                         .shared = args->shared,
                         .num_heads = args->num_heads,
                         .num_kv_heads = args->num_kv_heads,
                         .head_dim = args->head_dim,
                         .window = args->window,
                         .scale = 1.0f / sqrtf((float)args->head_dim)};
    float *q, *k, *v;

    split(&a, qkv->data, &q, &k, &v);
    a.q = q;
    a.k = k;
    a.v = v;
    return a;
}

rlhf_status rlhf__op_attention(rlhf__tape *tape, const rlhf__op_attention_args *args,
                               rlhf__var *qkv, rlhf__var **out)
{
    const rlhf__attention a = describe(args, qkv);
    const int64_t width = a.num_heads * a.head_dim;
    const bool grad = tape->record && qkv->needs_grad;
    attention_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    /* k and v, the one place of it, so that they are the same in a cache. */
    rlhf__round_activations(tape->context, qkv->data + width, qkv->cols, qkv->rows,
                            qkv->cols - width);
    RLHF__TRY(rlhf__var_wrap(tape, qkv->rows, width, NULL, grad, out));
    if (args->caches)
        return rlhf__attention_cached(tape->context, tape->arena, &a, args->caches,
                                      args->past, args->capacity, (*out)->data, width);
    if (grad) {
        RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, attention_backward, &node));
        node->attention = a;
        node->qkv = qkv;
        RLHF__TRY(rlhf__arena_alloc(tape->arena, a.num_heads * qkv->rows,
                                    sizeof *node->lse, &node->lse));
    }
    return rlhf__attention_forward(tape->context, tape->arena, &a, (*out)->data, width,
                                   node ? node->lse : NULL);
}
