/* The network's forward pass, on a tape. */
#include <inttypes.h>

#include "autograd/tape.h"
#include "base/size.h"
#include "nn/share.h"

/* What every layer needs, made once a pass, in the tape's arena. */
typedef struct pass {
    rlhf__transformer *model;
    rlhf__tape *tape;
    rlhf__batch batch;        /* less what its sequences share */
    const int32_t *positions; /* [tokens] */
    const int64_t *wanted;    /* [num_seqs] of each, where wanted rows begin; NULL: all */
    const rlhf__shared *shared; /* [num_seqs] tokens before, of another; NULL: none */
    const int64_t *past;        /* [num_seqs], tokens in the caches; NULL without */
    void **caches;              /* [num_seqs], one layer's; NULL without */
    int64_t capacity;
} pass;

static int64_t past_length(const rlhf__batch *batch, int64_t seq)
{
    return batch->caches ? batch->caches[seq]->length : 0;
}

rlhf_status rlhf__batch_check(const rlhf__transformer *model, const rlhf__batch *batch)
{
    const int32_t vocab = model->config.vocab_size,
                  context = model->config.context_length;

    for (int64_t s = 0; s < batch->num_seqs; s++) {
        const int64_t length = batch->cu_seqlens[s + 1] - batch->cu_seqlens[s];
        const int64_t total = past_length(batch, s) + length;
        if (length < 0)
            return rlhf__fail_arg("cu_seqlens",
                                  "cu_seqlens must ascend, sequence %" PRId64
                                  " has length %" PRId64,
                                  s, length);
        if (total > context)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "sequence %" PRId64 " has %" PRId64
                              " tokens, more than context_length %" PRId32,
                              s, total, context);
    }
    for (int64_t i = 0; i < batch->cu_seqlens[batch->num_seqs]; i++)
        if (batch->tokens[i] < 0 || batch->tokens[i] >= vocab)
            return rlhf__fail_arg(
                "tokens", "tokens[%" PRId64 "] must be in [0, %" PRId32 "), got %" PRId32,
                i, vocab, batch->tokens[i]);
    return RLHF_OK;
}

rlhf_status rlhf__ids_check(const rlhf__transformer *model, const char *what,
                            int64_t index, const int32_t *tokens, int64_t count)
{
    const int32_t vocab = model->config.vocab_size;

    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab)
            return rlhf__fail_arg("tokens",
                                  "%s %" PRId64 ": tokens[%" PRId64
                                  "] must be in [0, %" PRId32 "), got %" PRId32,
                                  what, index, i, vocab, tokens[i]);
    return RLHF_OK;
}

rlhf_status rlhf__sequence_check(const rlhf__transformer *model, int64_t index,
                                 const int32_t *tokens, int64_t count)
{
    const int32_t context = model->config.context_length;

    if (count > context)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "sequence %" PRId64 " has %" PRId64
                          " tokens, more than context_length %" PRId32,
                          index, count, context);
    return rlhf__ids_check(model, "sequence", index, tokens, count);
}

static rlhf_status begin(rlhf__transformer *model, rlhf__tape *tape,
                         const rlhf__batch *batch, pass *out)
{
    rlhf__arena *arena = tape->arena;
    int32_t *positions = NULL;
    int64_t *past = NULL;

    *out = (pass){.model = model, .tape = tape, .batch = *batch};
    /* What a prompt packs the answer's tokens read. Counted before sharing: a pass keeps
     * no packed copies because little is left of it. */
    tape->pass_rows = batch->caches ? 0 : batch->cu_seqlens[batch->num_seqs];
    RLHF__TRY(rlhf__batch_share(arena, &out->batch, &out->wanted, &out->shared));
    batch = &out->batch;
    model->tokens_read += batch->cu_seqlens[batch->num_seqs];
    RLHF__TRY(rlhf__arena_alloc(arena, batch->cu_seqlens[batch->num_seqs],
                                sizeof *positions, &positions));
    for (int64_t s = 0; s < batch->num_seqs; s++) {
        const int64_t first = batch->cu_seqlens[s];
        const int64_t before =
            out->shared ? out->shared[s].length : past_length(batch, s);
        for (int64_t i = first; i < batch->cu_seqlens[s + 1]; i++)
            positions[i] = (int32_t)(before + i - first);
    }
    out->positions = positions;
    if (!batch->caches || batch->num_seqs == 0)
        return RLHF_OK;
    RLHF__TRY(rlhf__arena_alloc(arena, batch->num_seqs, sizeof *past, &past));
    RLHF__TRY(
        rlhf__arena_alloc(arena, batch->num_seqs, sizeof *out->caches, &out->caches));
    for (int64_t s = 0; s < batch->num_seqs; s++)
        past[s] = batch->caches[s]->length;
    out->past = past;
    out->capacity = batch->caches[0]->capacity;
    return RLHF_OK;
}

/* The residual stream between two branches. */
typedef struct stream {
    rlhf__var *x; /* in the last layer, of the wanted rows */
    rlhf__var *h; /* its norm, which the next branch reads; NULL: not formed yet */
} stream;

/* To the last layer rows that are not wanted are keys and values alone. */
static bool is_narrow(const pass *p, int32_t layer)
{
    return p->wanted && layer + 1 == p->model->config.num_layers;
}

static rlhf_status keep_wanted(const pass *p, int32_t layer, rlhf__var **x)
{
    if (!is_narrow(p, layer))
        return RLHF_OK;
    return rlhf__op_keep_rows(p->tape, *x, p->batch.rows, p->batch.num_rows, x);
}

static rlhf__op_norm_args norm_of(const pass *p, int32_t kind, double eps, int32_t weight,
                                  int32_t bias)
{
    return (rlhf__op_norm_args){.params = &p->model->params,
                                .rms = kind == RLHF_NORM_RMSNORM,
                                .weight = weight,
                                .bias = bias,
                                .eps = (float)eps,
                                .for_linear = true};
}

/* Before a layer's attention; after the last layer, before the head. */
static rlhf__op_norm_args first_norm(const pass *p, int32_t layer)
{
    const rlhf_model_config *c = &p->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &p->model->blocks[layer];

    if (layer == c->num_layers) {
        rlhf__op_norm_args last =
            norm_of(p, c->norm, c->norm_eps, p->model->final_norm_weight,
                    p->model->final_norm_bias);
        last.for_linear = false; /* its rows are picked, too */
        return last;
    }
    return norm_of(p, l->norm, l->norm_eps, b->norm1_weight, b->norm1_bias);
}

/* Before its MLP. */
static rlhf__op_norm_args second_norm(const pass *p, int32_t layer)
{
    const rlhf_layer_config *l = &p->model->config.layers[layer];
    const rlhf__block_slabs *b = &p->model->blocks[layer];

    return norm_of(p, l->norm, l->norm_eps, b->norm2_weight, b->norm2_bias);
}

/* y = W_out attention(rope(W_qkv h)) */
static rlhf_status attention(const pass *p, int32_t layer, rlhf__var *h, rlhf__var **out)
{
    const rlhf_model_config *c = &p->model->config;
    const rlhf_layer_config *l = &c->layers[layer];
    const rlhf__block_slabs *b = &p->model->blocks[layer];
    rlhf__params *params = &p->model->params;
    const rlhf__op_attention_args args = {.num_heads = c->num_heads,
                                          .num_kv_heads = c->num_kv_heads,
                                          .head_dim = c->head_dim,
                                          .window = l->window,
                                          .num_seqs = p->batch.num_seqs,
                                          .cu_seqlens = p->batch.cu_seqlens,
                                          .from = is_narrow(p, layer) ? p->wanted : NULL,
                                          .shared = p->shared,
                                          .caches = p->caches,
                                          .past = p->past,
                                          .capacity = p->capacity};
    rlhf__var *qkv = NULL, *mixed = NULL;

    for (int64_t s = 0; p->caches && s < p->batch.num_seqs; s++)
        p->caches[s] = rlhf__kv_cache_layer(p->batch.caches[s], p->model, layer);
    RLHF__TRY(rlhf__op_linear(p->tape, params, b->qkv_weight, b->qkv_bias, h, &qkv));
    if (l->rotary)
        RLHF__TRY(rlhf__op_rope(p->tape, qkv, c->num_heads + c->num_kv_heads, c->head_dim,
                                p->positions, p->model->layer_cos[layer],
                                p->model->layer_sin[layer]));
    RLHF__TRY(rlhf__op_attention(p->tape, &args, qkv, &mixed));
    RLHF__TRY(keep_wanted(p, layer, &mixed));
    return rlhf__op_linear(p->tape, params, b->out_weight, b->out_bias, mixed, out);
}

static rlhf__activation activation_kind(int32_t activation)
{
    switch (activation) {
    case RLHF_ACTIVATION_GELU_ERF:
        return RLHF__GELU_ERF;
    case RLHF_ACTIVATION_SWIGLU:
        return RLHF__SWIGLU;
    default:
        return RLHF__GELU_TANH;
    }
}

/* y = W_down act(W_up h) */
static rlhf_status mlp(const pass *p, int32_t layer, rlhf__var *h, rlhf__var **out)
{
    const rlhf__block_slabs *b = &p->model->blocks[layer];
    rlhf__params *params = &p->model->params;
    rlhf__var *up = NULL, *active = NULL;

    RLHF__TRY(rlhf__op_linear(p->tape, params, b->up_weight, b->up_bias, h, &up));
    RLHF__TRY(rlhf__op_activation(p->tape, activation_kind(p->model->config.activation),
                                  true, up, &active));
    return rlhf__op_linear(p->tape, params, b->down_weight, b->down_bias, active, out);
}

typedef rlhf_status (*branch_fn)(const pass *p, int32_t layer, rlhf__var *h,
                                 rlhf__var **out);

/* x += branch(h), and `next` of the sum, in one pass; NULL: that comes later. Where
 * nothing is recorded the sum is formed in x's own memory, the norm in h's, and all else
 * that the branch took is given back at once. */
static rlhf_status residual(const pass *p, int32_t layer, branch_fn branch,
                            const rlhf__op_norm_args *next, stream *s)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(p->tape->arena);
    rlhf__var *branched = NULL, *sum = NULL, *h = s->h;
    rlhf_status status = branch(p, layer, h, &branched);

    if (status == RLHF_OK && next)
        status = rlhf__op_add_norm(p->tape, next, s->x, branched, &sum, &h);
    else if (status == RLHF_OK)
        status = rlhf__op_add(p->tape, s->x, branched, &sum);
    if (!p->tape->record)
        rlhf__arena_release(p->tape->arena, mark);
    else if (status == RLHF_OK)
        *s = (stream){sum, h};
    if (!next)
        s->h = NULL;
    return status;
}

/* One layer; `next` is the norm after it, NULL: to come later. */
static rlhf_status run_block(const pass *p, int32_t layer, const rlhf__op_norm_args *next,
                             stream *s)
{
    const rlhf__op_norm_args first = first_norm(p, layer), second = second_norm(p, layer);

    if (!s->h)
        RLHF__TRY(rlhf__op_norm(p->tape, &first, s->x, &s->h));
    RLHF__TRY(keep_wanted(p, layer, &s->x));
    RLHF__TRY(residual(p, layer, attention, &second, s));
    return residual(p, layer, mlp, next, s);
}

/* A block as a part by itself: it outlives the call that records it. */
typedef struct block_part {
    pass pass;
    int32_t layer;
} block_part;

static rlhf_status run_part(const void *arg, rlhf__tape *tape, rlhf__var *x,
                            rlhf__var **out)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(tape->arena);
    const block_part *b = arg;
    stream s = {x, NULL};

    RLHF__TRY(run_block(&b->pass, b->layer, NULL, &s));
    if (!tape->record)
        rlhf__arena_release(tape->arena, mark);
    *out = s.x;
    return RLHF_OK;
}

static rlhf_status checkpoint_block(const pass *p, int32_t layer, rlhf__var **x)
{
    block_part *b = NULL;

    RLHF__TRY(rlhf__arena_alloc(p->tape->arena, 1, sizeof *b, &b));
    *b = (block_part){*p, layer};
    return rlhf__op_checkpoint(p->tape, run_part, b, *x, x);
}

rlhf_status rlhf__transformer_forward(rlhf__transformer *model, rlhf__tape *tape,
                                      const rlhf__batch *batch, rlhf__var **out_hidden)
{
    const rlhf_model_config *c = &model->config;
    stream s = {NULL, NULL};
    pass p;

    RLHF__TRY(begin(model, tape, batch, &p));
    RLHF__TRY(rlhf__op_embedding(tape, &model->params, model->token_table,
                                 model->position_table, p.batch.tokens, p.positions,
                                 p.batch.cu_seqlens[p.batch.num_seqs], &s.x));
    for (int32_t layer = 0; layer < c->num_layers; layer++) {
        const rlhf__op_norm_args next = first_norm(&p, layer + 1);
        RLHF__TRY(tape->record && tape->checkpoint ? checkpoint_block(&p, layer, &s.x)
                                                   : run_block(&p, layer, &next, &s));
    }
    if (!s.h) {
        const rlhf__op_norm_args last = first_norm(&p, c->num_layers);
        RLHF__TRY(rlhf__op_norm(tape, &last, s.x, &s.h));
    }
    *out_hidden = s.h;
    for (int64_t i = 0; batch->caches && i < batch->num_seqs; i++)
        batch->caches[i]->length += batch->cu_seqlens[i + 1] - batch->cu_seqlens[i];
    return RLHF_OK;
}

rlhf_status rlhf__transformer_head(rlhf__transformer *model, rlhf__tape *tape,
                                   rlhf__var *hidden, rlhf__var **out)
{
    if (model->score_weight >= 0)
        return rlhf__op_linear(tape, &model->params, model->score_weight,
                               model->score_bias, hidden, out);
    return rlhf__op_linear(tape, &model->params, model->head_weight, -1, hidden, out);
}
