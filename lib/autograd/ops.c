/* Ops on rows: embedding, linear, norms, activations, rotary, residual, gather. Each
 * backward rule stands under its forward op. */
#include <assert.h>
#include <string.h>

#include "autograd/node.h"
#include "base/context.h"
#include "base/size.h"

/* Whether an op on x with parameters leaves a node: something below it wants a
 * gradient. */
static bool wants_grad(const rlhf__tape *tape, const rlhf__var *x)
{
    return tape->record && (tape->param_grads || (x && x->needs_grad));
}

/* --- embedding ---------------------------------------------------------------------- */

typedef struct embedding_node {
    rlhf__node node;
    rlhf__params *params;
    int32_t table, position_table;
    const int32_t *tokens, *positions;
} embedding_node;

/* y[i] = table[tokens[i]] + position_table[positions[i]] */
static rlhf_status embedding_backward(rlhf__tape *tape, rlhf__node *node)
{
    const embedding_node *n = (const embedding_node *)node;
    const int64_t rows = node->out->rows;

    rlhf__embed_grad(tape->context, n->tokens, n->positions, rows, node->out->cols,
                     node->out->grad, rlhf__rows_grad(tape, n->table, n->tokens, rows),
                     rlhf__rows_grad(tape, n->position_table, n->positions, rows));
    return RLHF_OK;
}

rlhf_status rlhf__op_embedding(rlhf__tape *tape, rlhf__params *params, int32_t table,
                               int32_t position_table, const int32_t *tokens,
                               const int32_t *positions, int64_t count, rlhf__var **out)
{
    const int64_t width = params->slabs[table].cols;
    const bool grad = wants_grad(tape, NULL);
    const void *panels = NULL;
    embedding_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(rlhf__var_wrap(tape, count, width, NULL, grad, out));
    const float *where =
        position_table >= 0 ? rlhf__slab_values(params, position_table) : NULL;
    if (params->slabs[table].is_packed) {
        RLHF__TRY(rlhf__params_forward_panels(params, table, &panels));
        rlhf__embed_panels(tape->context, tokens, positions, count, width, panels, where,
                           (*out)->data);
    } else {
        rlhf__embed(tape->context, tokens, positions, count, width,
                    rlhf__slab_values(params, table), where, (*out)->data);
    }
    if (!grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, embedding_backward, &node));
    node->params = params;
    node->table = table;
    node->position_table = position_table;
    node->tokens = tokens;
    node->positions = positions;
    return RLHF_OK;
}

/* --- linear ------------------------------------------------------------------------- */

static rlhf__operand operand_of(const rlhf__tape *tape, const rlhf__var *x)
{
    if (!x->rounded)
        return rlhf__floats(x->data, x->cols);
    return (rlhf__operand){x->data, rlhf__rounded_ld(tape->context, x->cols), true};
}

static rlhf__result result_of(const rlhf__var *out)
{
    return (rlhf__result){out->data, out->rounded};
}

/* Whether a value is kept rounded: linear ops alone read it, and products round. */
static bool is_rounded(const rlhf__tape *tape, bool for_linear)
{
    return for_linear && rlhf__products_round(tape->context);
}

/* A value of floats, or rounded; in room for `least` floats a row. */
static rlhf_status open_value(rlhf__tape *tape, int64_t rows, int64_t cols, int64_t least,
                              bool for_linear, bool grad, rlhf__var **out)
{
    const bool rounded = is_rounded(tape, for_linear);
    const int64_t width = rounded ? rlhf__rounded_ld(tape->context, cols) / 2 : cols;

    RLHF__TRY(rlhf__var_wrap(tape, rows, rlhf__max_i64(width, least), NULL, grad, out));
    (*out)->cols = cols;
    (*out)->rounded = rounded;
    return RLHF_OK;
}

typedef struct linear_node {
    rlhf__node node;
    rlhf__params *params;
    int32_t weight, bias;
    rlhf__var *x;
} linear_node;

rlhf_status rlhf__tape_matmul(rlhf__tape *tape, rlhf__params *params, int32_t weight,
                              bool forward, rlhf__operand x, int64_t m, const float *bias,
                              bool accumulate, float *y, int64_t ldy)
{
    const bool keep = rlhf__matmul_wants_panels(rlhf__max_i64(m, tape->pass_rows));

    return rlhf__params_matmul(params, weight, forward, keep, tape->arena, x, m, bias,
                               accumulate, y, ldy);
}

rlhf_status rlhf__add_weight_grad(rlhf__tape *tape, int32_t weight, const float *dy,
                                  int64_t width_out, rlhf__operand x, int64_t width_in,
                                  int64_t rows)
{
    bool fresh;
    float *dw;

    if (!tape->param_grads)
        return RLHF_OK;
    dw = rlhf__grads_open(tape->param_grads, weight, &fresh);
    return rlhf__matmul_weight_grad(tape->context, tape->arena, dy, width_out, x, rows,
                                    width_out, width_in, !fresh, dw, width_in);
}

/* y = x W^T + b:  dW += dy^T x;  db += sum of dy's rows;  dx += dy W */
static rlhf_status linear_backward(rlhf__tape *tape, rlhf__node *node)
{
    const linear_node *n = (const linear_node *)node;
    rlhf__var *x = n->x;
    const int64_t m = x->rows, width_in = x->cols, width_out = node->out->cols;
    const float *dy = node->out->grad;
    float *db = rlhf__slab_grad(tape, n->bias);

    RLHF__TRY(rlhf__add_weight_grad(tape, n->weight, dy, width_out, operand_of(tape, x),
                                    width_in, m));
    if (db)
        RLHF__TRY(rlhf__column_sums(tape->context, tape->arena, dy, width_out, m,
                                    width_out, db));
    if (x->needs_grad) {
        float *dx = NULL;
        bool fresh;
        RLHF__TRY(rlhf__grad_open(tape, x, &dx, &fresh));
        RLHF__TRY(rlhf__tape_matmul(tape, n->params, n->weight, false,
                                    rlhf__floats(dy, width_out), m, NULL, !fresh, dx,
                                    width_in));
    }
    return RLHF_OK;
}

rlhf_status rlhf__op_linear(rlhf__tape *tape, rlhf__params *params, int32_t weight,
                            int32_t bias, rlhf__var *x, rlhf__var **out)
{
    const int64_t width_out = params->slabs[weight].rows;
    const bool grad = wants_grad(tape, x);
    linear_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(rlhf__var_wrap(tape, x->rows, width_out, NULL, grad, out));
    RLHF__TRY(rlhf__tape_matmul(tape, params, weight, true, operand_of(tape, x), x->rows,
                                bias >= 0 ? rlhf__slab_values(params, bias) : NULL, false,
                                (*out)->data, width_out));
    if (!grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, linear_backward, &node));
    node->params = params;
    node->weight = weight;
    node->bias = bias;
    node->x = x;
    return RLHF_OK;
}

/* --- norms -------------------------------------------------------------------------- */

typedef struct norm_node {
    rlhf__node node;
    rlhf__params *params;
    int32_t weight, bias;
    rlhf__var *x;
    float *mean, *rstd; /* [rows]; mean NULL: RMSNorm */
} norm_node;

static rlhf_status norm_backward(rlhf__tape *tape, rlhf__node *node)
{
    const norm_node *n = (const norm_node *)node;
    rlhf__var *x = n->x;
    const float *weight = rlhf__slab_values(n->params, n->weight);
    float *dweight = rlhf__slab_grad(tape, n->weight);
    float *dbias = rlhf__slab_grad(tape, n->bias);
    float *dx = NULL;

    /* The kernels form dx whether wanted or not; for a leaf without gradient it is
     * scratch. */
    RLHF__TRY(rlhf__var_grad(tape, x, &dx));
    if (n->mean)
        return rlhf__layernorm_grad(tape->context, tape->arena, node->out->grad, x->data,
                                    weight, n->mean, n->rstd, x->rows, x->cols, dx,
                                    dweight, dbias);
    return rlhf__rmsnorm_grad(tape->context, tape->arena, node->out->grad, x->data,
                              weight, n->rstd, x->rows, x->cols, dx, dweight);
}

static rlhf_status push_norm(rlhf__tape *tape, const rlhf__op_norm_args *args,
                             rlhf__var *x, rlhf__var *out, norm_node **out_node)
{
    norm_node *node = NULL;

    RLHF__TRY(rlhf__node_push(tape, sizeof *node, out, norm_backward, &node));
    node->params = args->params;
    node->weight = args->weight;
    node->bias = args->bias;
    node->x = x;
    if (!args->rms)
        RLHF__TRY(
            rlhf__arena_alloc(tape->arena, x->rows, sizeof *node->mean, &node->mean));
    RLHF__TRY(rlhf__arena_alloc(tape->arena, x->rows, sizeof *node->rstd, &node->rstd));
    *out_node = node;
    return RLHF_OK;
}

/* y = norm(x + branch), the sum in x's place; node NULL: nothing is recorded. */
static rlhf_status run_norm(const rlhf__tape *tape, const rlhf__op_norm_args *args,
                            rlhf__var *x, const float *branch, const norm_node *node,
                            const rlhf__var *out)
{
    const float *weight = rlhf__slab_values(args->params, args->weight);
    const rlhf__result y = result_of(out);
    float *rstd = node ? node->rstd : NULL;

    if (args->rms)
        return rlhf__rmsnorm(tape->context, tape->arena, x->data, branch, x->rows,
                             x->cols, weight, args->eps, y, rstd);
    return rlhf__layernorm(
        tape->context, tape->arena, x->data, branch, x->rows, x->cols, weight,
        args->bias >= 0 ? rlhf__slab_values(args->params, args->bias) : NULL, args->eps,
        y, node ? node->mean : NULL, rstd);
}

static rlhf_status open_norm(rlhf__tape *tape, const rlhf__op_norm_args *args,
                             rlhf__var *x, norm_node **out_node, rlhf__var **out)
{
    const bool grad = wants_grad(tape, x);

    /* Where nothing is recorded the next norm, of floats maybe, takes the place. */
    RLHF__TRY(open_value(tape, x->rows, x->cols, tape->record ? 0 : x->cols,
                         args->for_linear, grad, out));
    return grad ? push_norm(tape, args, x, *out, out_node) : RLHF_OK;
}

rlhf_status rlhf__op_norm(rlhf__tape *tape, const rlhf__op_norm_args *args, rlhf__var *x,
                          rlhf__var **out)
{
    norm_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(open_norm(tape, args, x, &node, out));
    return run_norm(tape, args, x, NULL, node, *out);
}

/* --- activations -------------------------------------------------------------------- */

typedef struct activation_node {
    rlhf__node node;
    rlhf__activation kind;
    rlhf__var *x;
} activation_node;

static rlhf_status activation_backward(rlhf__tape *tape, rlhf__node *node)
{
    const activation_node *n = (const activation_node *)node;
    const rlhf__var *out = node->out;
    const int64_t count = n->x->rows * n->x->cols;
    float *dx = NULL, *target;
    bool fresh;

    RLHF__TRY(rlhf__grad_open(tape, n->x, &dx, &fresh));
    target = dx;
    if (!fresh) /* the kernel writes, the gradient adds */
        RLHF__TRY(rlhf__grad_take(tape, count, &target));
    rlhf__activation_grad(tape->context, n->kind, out->grad, n->x->data, out->rows,
                          out->cols, target);
    if (!fresh) {
        rlhf__add_to(tape->context, target, count, dx);
        rlhf__grad_give(tape, target, count);
    }
    return RLHF_OK;
}

rlhf_status rlhf__op_activation(rlhf__tape *tape, rlhf__activation kind, bool for_linear,
                                rlhf__var *x, rlhf__var **out)
{
    const int64_t width = kind == RLHF__SWIGLU ? x->cols / 2 : x->cols;
    const bool grad = tape->record && x->needs_grad;
    activation_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    assert(!x->rounded);
    RLHF__TRY(open_value(tape, x->rows, width, 0, for_linear, grad, out));
    RLHF__TRY(rlhf__activation_forward(tape->context, tape->arena, kind, x->data, x->rows,
                                       width, result_of(*out)));
    if (!grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, activation_backward, &node));
    node->kind = kind;
    node->x = x;
    return RLHF_OK;
}

/* --- rotary ------------------------------------------------------------------------- */

typedef struct rope_node {
    rlhf__node node;
    int64_t heads, head_dim;
    const int32_t *positions;
    const float *cos_table, *sin_table;
} rope_node;

/* A rotation: its gradient is turned back by the same angle. */
static rlhf_status rope_backward(rlhf__tape *tape, rlhf__node *node)
{
    const rope_node *n = (const rope_node *)node;

    rlhf__rope(tape->context, node->out->grad, node->out->cols, node->out->rows, n->heads,
               n->head_dim, n->positions, n->cos_table, n->sin_table, true);
    return RLHF_OK;
}

rlhf_status rlhf__op_rope(rlhf__tape *tape, rlhf__var *qkv, int64_t num_rotated_heads,
                          int64_t head_dim, const int32_t *positions,
                          const float *cos_table, const float *sin_table)
{
    rope_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    rlhf__rope(tape->context, qkv->data, qkv->cols, qkv->rows, num_rotated_heads,
               head_dim, positions, cos_table, sin_table, false);
    if (!tape->record || !qkv->needs_grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, qkv, rope_backward, &node));
    node->node.in_place = true;
    node->heads = num_rotated_heads;
    node->head_dim = head_dim;
    node->positions = positions;
    node->cos_table = cos_table;
    node->sin_table = sin_table;
    return RLHF_OK;
}

/* --- residual ----------------------------------------------------------------------- */

typedef struct add_node {
    rlhf__node node;
    rlhf__var *a, *b;
} add_node;

/* dst's gradient += dy */
static rlhf_status pass_on(rlhf__tape *tape, rlhf__var *dst, const float *dy)
{
    const int64_t count = dst->rows * dst->cols;
    float *grad = NULL;
    bool fresh;

    RLHF__TRY(rlhf__grad_open(tape, dst, &grad, &fresh));
    if (fresh)
        memcpy(grad, dy, (size_t)count * sizeof *grad);
    else
        rlhf__add_to(tape->context, dy, count, grad);
    return RLHF_OK;
}

/* Whether b's gradient may stand in the memory of a's: the next rule to run is that of
 * b's linear, which only reads it, and adds to a value other than a. */
static bool may_lend(const rlhf__tape *tape, const add_node *n)
{
    const rlhf__node *next = tape->last;

    return n->a != n->b && n->a->needs_grad && !n->a->grad && n->b->needs_grad &&
           !n->b->grad && next && next->out == n->b &&
           next->backward == linear_backward && ((const linear_node *)next)->x != n->a;
}

/* y = a + b:  da += dy;  db += dy */
static rlhf_status add_backward(rlhf__tape *tape, rlhf__node *node)
{
    const add_node *n = (const add_node *)node;
    rlhf__var *out = node->out;

    if (may_lend(tape, n)) {
        n->a->grad = n->b->grad = out->grad;
        n->b->grad_is_lent = true;
        out->grad = NULL;
        return RLHF_OK;
    }
    if (n->a->needs_grad)
        RLHF__TRY(pass_on(tape, n->a, out->grad));
    if (!n->b->needs_grad)
        return RLHF_OK;
    if (n->b->grad)
        return pass_on(tape, n->b, out->grad);
    n->b->grad = out->grad; /* its memory moves on */
    out->grad = NULL;
    return RLHF_OK;
}

/* The sum's value, not yet formed: it takes the place of one side, and the other is to be
 * added. */
static rlhf_status open_add(rlhf__tape *tape, rlhf__var *a, rlhf__var *b,
                            const rlhf__var **out_other, rlhf__var **out)
{
    const bool grad = tape->record && (a->needs_grad || b->needs_grad);
    const rlhf__var *into = tape->record ? b : a;
    add_node *node = NULL;

    assert(!a->rounded && !b->rounded);
    *out_other = tape->record ? a : b;
    RLHF__TRY(rlhf__var_wrap(tape, a->rows, a->cols, into->data, grad, out));
    if (!grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, add_backward, &node));
    node->a = a;
    node->b = b;
    return RLHF_OK;
}

rlhf_status rlhf__op_add(rlhf__tape *tape, rlhf__var *a, rlhf__var *b, rlhf__var **out)
{
    const rlhf__var *other = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(open_add(tape, a, b, &other, out));
    rlhf__add_to(tape->context, other->data, a->rows * a->cols, (*out)->data);
    return RLHF_OK;
}

rlhf_status rlhf__op_add_norm(rlhf__tape *tape, const rlhf__op_norm_args *args,
                              rlhf__var *a, rlhf__var *b, rlhf__var **out_sum,
                              rlhf__var **out)
{
    const rlhf__var *other = NULL;
    norm_node *node = NULL;

    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(open_add(tape, a, b, &other, out_sum));
    if (tape->record)
        RLHF__TRY(open_norm(tape, args, *out_sum, &node, out));
    (*out)->rows = a->rows;
    (*out)->rounded = is_rounded(tape, args->for_linear);
    return run_norm(tape, args, *out_sum, other->data, node, *out);
}

/* --- gather ------------------------------------------------------------------------- */

typedef struct gather_node {
    rlhf__node node;
    rlhf__var *x;
    const int64_t *rows;
} gather_node;

/* y[i] = x[rows[i]]:  dx[rows[i]] += dy[i] */
static rlhf_status gather_backward(rlhf__tape *tape, rlhf__node *node)
{
    const gather_node *n = (const gather_node *)node;
    const int64_t cols = node->out->cols;
    float *dx = NULL;

    RLHF__TRY(rlhf__var_grad(tape, n->x, &dx));
    for (int64_t i = 0; i < node->out->rows; i++) {
        const float *dy_i = node->out->grad + i * cols;
        float *dx_i = dx + n->rows[i] * cols;
        for (int64_t c = 0; c < cols; c++)
            dx_i[c] += dy_i[c];
    }
    return RLHF_OK;
}

rlhf_status rlhf__op_gather_rows(rlhf__tape *tape, rlhf__var *x, const int64_t *rows,
                                 int64_t count, rlhf__var **out)
{
    const bool grad = tape->record && x->needs_grad;
    gather_node *node = NULL;

    assert(!x->rounded);
    RLHF__TRY(rlhf__check_cancel(tape->context));
    RLHF__TRY(rlhf__var_wrap(tape, count, x->cols, NULL, grad, out));
    for (int64_t i = 0; i < count; i++)
        memcpy((*out)->data + i * x->cols, x->data + rows[i] * x->cols,
               (size_t)x->cols * sizeof *x->data);
    if (!grad)
        return RLHF_OK;
    RLHF__TRY(rlhf__node_push(tape, sizeof *node, *out, gather_backward, &node));
    node->x = x;
    node->rows = rows;
    return RLHF_OK;
}

rlhf_status rlhf__op_keep_rows(rlhf__tape *tape, rlhf__var *x, const int64_t *rows,
                               int64_t count, rlhf__var **out)
{
    const size_t size = (size_t)x->cols * sizeof *x->data;

    assert(!x->rounded);
    if (tape->record)
        return rlhf__op_gather_rows(tape, x, rows, count, out);
    RLHF__TRY(rlhf__check_cancel(tape->context));
    for (int64_t i = 0; i < count; i++)
        memmove(x->data + i * x->cols, x->data + rows[i] * x->cols, size);
    x->rows = count;
    *out = x;
    return RLHF_OK;
}
