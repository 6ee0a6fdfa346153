/* The network as parameters: layout, life, initialisation. forward.c runs it. */
#include "nn/transformer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "nn/model_config.h"
#include "nn/names.h"

/* Most bytes of rotary tables: a head of 128 over 2^20 positions, for two thetas. */
#define ROPE_MAX     ((int64_t)1 << 30)
#define ROPE_AT_ONCE 1024 /* positions between two looks at cancellation */

/* --- layout ------------------------------------------------------------------------- */

/* A norm's weight, and its bias where it is a LayerNorm. */
static rlhf_status add_norm(rlhf__transformer *model, int32_t norm, int32_t *out_weight,
                            int32_t *out_bias)
{
    const int64_t width = model->config.hidden_size;

    RLHF__TRY(rlhf__params_add_slab(&model->params, 1, width, false, out_weight));
    if (norm == RLHF_NORM_LAYERNORM)
        RLHF__TRY(rlhf__params_add_slab(&model->params, 1, width, false, out_bias));
    return RLHF_OK;
}

/* A weight [out][in] and, if asked for, its bias: a column, so that q, k and v of a
 * fused one are ranges of its rows. */
static rlhf_status add_linear(rlhf__transformer *model, int64_t width_out,
                              int64_t width_in, bool bias, int32_t *out_weight,
                              int32_t *out_bias)
{
    RLHF__TRY(
        rlhf__params_add_slab(&model->params, width_out, width_in, true, out_weight));
    if (bias)
        RLHF__TRY(rlhf__params_add_slab(&model->params, width_out, 1, false, out_bias));
    return RLHF_OK;
}

static rlhf_status add_block(rlhf__transformer *model, int32_t layer)
{
    const rlhf_model_config *c = &model->config;
    const int64_t d = c->hidden_size, mlp = c->intermediate_size;
    const int64_t q = (int64_t)c->num_heads * c->head_dim;
    const int64_t kv = (int64_t)c->num_kv_heads * c->head_dim;
    const int64_t up = c->activation == RLHF_ACTIVATION_SWIGLU ? 2 * mlp : mlp;
    rlhf__block_slabs *b = &model->blocks[layer];

    memset(b, -1, sizeof *b); /* every index: none */
    RLHF__TRY(add_norm(model, c->layers[layer].norm, &b->norm1_weight, &b->norm1_bias));
    RLHF__TRY(add_linear(model, q + 2 * kv, d, c->attention_bias, &b->qkv_weight,
                         &b->qkv_bias));
    RLHF__TRY(add_linear(model, d, q, c->attention_bias, &b->out_weight, &b->out_bias));
    RLHF__TRY(add_norm(model, c->layers[layer].norm, &b->norm2_weight, &b->norm2_bias));
    RLHF__TRY(add_linear(model, up, d, c->mlp_bias, &b->up_weight, &b->up_bias));
    return add_linear(model, d, mlp, c->mlp_bias, &b->down_weight, &b->down_bias);
}

/* All slabs, the heads' last, so that the trunk is the same whatever the head. */
static rlhf_status add_slabs(rlhf__transformer *model, rlhf__head head)
{
    const rlhf_model_config *c = &model->config;
    rlhf__params *params = &model->params;
    const int64_t d = c->hidden_size;

    model->position_table = model->final_norm_bias = -1;
    model->head_weight = model->score_weight = model->score_bias = -1;
    RLHF__TRY(rlhf__params_add_slab(params, c->vocab_size, d, true, &model->token_table));
    if (c->position == RLHF_POSITION_LEARNED) {
        RLHF__TRY(rlhf__params_add_slab(params, c->context_length, d, true,
                                        &model->position_table));
        params->slabs[model->position_table].exact = true; /* added as it is */
    }
    for (int32_t layer = 0; layer < c->num_layers; layer++)
        RLHF__TRY(add_block(model, layer));
    RLHF__TRY(
        add_norm(model, c->norm, &model->final_norm_weight, &model->final_norm_bias));
    if (head == RLHF__HEAD_SCORE) {
        RLHF__TRY(
            add_linear(model, 1, d, true, &model->score_weight, &model->score_bias));
        params->slabs[model->score_weight].exact = true; /* one row: panels are larger */
        return RLHF_OK;
    }
    model->head_weight = model->token_table;
    if (!c->tie_embeddings)
        RLHF__TRY(
            rlhf__params_add_slab(params, c->vocab_size, d, true, &model->head_weight));
    return RLHF_OK;
}

/* --- rotary tables ------------------------------------------------------------------ */

/* Index of the first rotary layer with this layer's theta: layers alike share a table. */
static int32_t theta_owner(const rlhf__transformer *model, int32_t layer)
{
    int32_t i = 0;

    while (!model->layers[i].rotary ||
           model->layers[i].rope_theta != model->layers[layer].rope_theta)
        i++;
    return i;
}

static int64_t count_thetas(const rlhf__transformer *model)
{
    int64_t count = 0;

    for (int32_t i = 0; i < model->config.num_layers; i++)
        count += model->layers[i].rotary && theta_owner(model, i) == i;
    return count;
}

/* Of one table: cosines, or sines. */
static int64_t rope_values(const rlhf_model_config *c)
{
    return (int64_t)c->context_length * (c->head_dim / 2);
}

/* The tables are of no parameter: a small file could ask for any size of them. */
static rlhf_status check_rope_size(const rlhf__transformer *model)
{
    const rlhf_model_config *c = &model->config;
    const int64_t num_tables = count_thetas(model);
    const int64_t bytes = 2 * (int64_t)sizeof(float) * rope_values(c);

    if (num_tables > 0 && bytes > ROPE_MAX / num_tables)
        return rlhf__fail_field(rlhf__fail(RLHF_ERR_LIMIT,
                                           "context_length %" PRId32 ", head_dim %" PRId32
                                           " and %" PRId64 " rope_theta take %" PRId64
                                           " bytes of rotary tables; at most %" PRId64,
                                           c->context_length, c->head_dim, num_tables,
                                           num_tables * bytes, ROPE_MAX),
                                "context_length");
    return RLHF_OK;
}

static rlhf_status allocate_rope(rlhf__transformer *model, int64_t num_tables)
{
    const rlhf_model_config *c = &model->config;
    const int64_t count = num_tables * rope_values(c);

    RLHF__TRY(rlhf__alloc(model->context, c->num_layers, sizeof *model->layer_cos,
                          RLHF_MEMORY_GENERAL, &model->layer_cos));
    RLHF__TRY(rlhf__alloc(model->context, c->num_layers, sizeof *model->layer_sin,
                          RLHF_MEMORY_GENERAL, &model->layer_sin));
    RLHF__TRY(rlhf__alloc_raw(model->context, count, sizeof *model->rope_cos,
                              RLHF_MEMORY_WEIGHTS, &model->rope_cos));
    return rlhf__alloc_raw(model->context, count, sizeof *model->rope_sin,
                           RLHF_MEMORY_WEIGHTS, &model->rope_sin);
}

/* A table, a part at a time, so that a load of a long one can be cancelled. */
static rlhf_status fill_rope(const rlhf__transformer *model, double theta, bool cancels,
                             float *cos_table, float *sin_table)
{
    const rlhf_model_config *c = &model->config;
    const int64_t half = c->head_dim / 2;

    for (int64_t first = 0; first < c->context_length; first += ROPE_AT_ONCE) {
        if (cancels)
            RLHF__TRY(rlhf__check_cancel(model->context));
        rlhf__rope_table(first, rlhf__min_i64(ROPE_AT_ONCE, c->context_length - first),
                         c->head_dim, theta, cos_table + first * half,
                         sin_table + first * half);
    }
    return RLHF_OK;
}

rlhf_status rlhf__transformer_make_rotary(rlhf__transformer *model, bool cancels)
{
    const rlhf_model_config *c = &model->config;
    const int64_t table = rope_values(c), num_tables = count_thetas(model);
    int64_t next = 0;

    if (num_tables == 0)
        return RLHF_OK;
    RLHF__TRY(allocate_rope(model, num_tables));
    for (int32_t i = 0; i < c->num_layers; i++) {
        if (!model->layers[i].rotary)
            continue;
        const int32_t owner = theta_owner(model, i);
        if (owner == i) {
            RLHF__TRY(fill_rope(model, model->layers[i].rope_theta, cancels,
                                model->rope_cos + next * table,
                                model->rope_sin + next * table));
            model->layer_cos[i] = model->rope_cos + next * table;
            model->layer_sin[i] = model->rope_sin + next * table;
            next++;
        } else {
            model->layer_cos[i] = model->layer_cos[owner];
            model->layer_sin[i] = model->layer_sin[owner];
        }
    }
    return RLHF_OK;
}

/* --- life --------------------------------------------------------------------------- */

static rlhf_status build(rlhf__transformer *model, const rlhf_model_config *config,
                         rlhf__head head, bool bare)
{
    RLHF__TRY(rlhf__params_init(&model->params, model->context));
    RLHF__TRY(rlhf__model_config_resolve(model->context, config, &model->config,
                                         &model->layers));
    RLHF__TRY(check_rope_size(model));
    RLHF__TRY(rlhf__alloc(model->context, model->config.num_layers, sizeof *model->blocks,
                          RLHF_MEMORY_GENERAL, &model->blocks));
    RLHF__TRY(add_slabs(model, head));
    RLHF__TRY(rlhf__add_names(model));
    if (bare)
        return RLHF_OK;
    RLHF__TRY(rlhf__params_allocate(&model->params));
    return rlhf__transformer_make_rotary(model, false);
}

static rlhf_status create(rlhf_context *context, const rlhf_model_config *config,
                          rlhf__head head, bool bare, rlhf__transformer **out)
{
    rlhf__transformer *model = NULL;
    rlhf_status status;

    *out = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *model, RLHF_MEMORY_GENERAL, &model));
    model->context = context;
    status = build(model, config, head, bare);
    if (status != RLHF_OK) {
        rlhf__transformer_free(model);
        return status;
    }
    *out = model;
    return RLHF_OK;
}

rlhf_status rlhf__transformer_create(rlhf_context *context,
                                     const rlhf_model_config *config, rlhf__head head,
                                     rlhf__transformer **out)
{
    return create(context, config, head, false, out);
}

rlhf_status rlhf__transformer_create_bare(rlhf_context *context,
                                          const rlhf_model_config *config,
                                          rlhf__head head, rlhf__transformer **out)
{
    return create(context, config, head, true, out);
}

void rlhf__transformer_free(rlhf__transformer *model)
{
    if (!model)
        return;
    rlhf__params_free(&model->params);
    rlhf__free(model->layers);
    rlhf__free(model->blocks);
    rlhf__free(model->rope_cos);
    rlhf__free(model->rope_sin);
    rlhf__free((void *)model->layer_cos);
    rlhf__free((void *)model->layer_sin);
    rlhf__free(model);
}

/* Slabs before the heads' own: the trunk, laid out alike in every model of a config. */
static int32_t trunk_slabs(const rlhf__transformer *model)
{
    return 1 + (model->final_norm_bias >= 0 ? model->final_norm_bias
                                            : model->final_norm_weight);
}

/* A model with another's first `num_slabs` slabs, the rest zeros. */
static rlhf_status copy_slabs(const rlhf__transformer *model, rlhf__head head,
                              int32_t num_slabs, rlhf__transformer **out)
{
    RLHF__TRY(rlhf__transformer_create(model->context, &model->config, head, out));
    rlhf__params_begin_write(&(*out)->params);
    rlhf__params_copy(&model->params, 0, num_slabs, &(*out)->params);
    rlhf__params_end_write(&(*out)->params);
    return RLHF_OK;
}

rlhf_status rlhf__transformer_clone(const rlhf__transformer *model,
                                    rlhf__transformer **out)
{
    const rlhf__head head = model->score_weight >= 0 ? RLHF__HEAD_SCORE : RLHF__HEAD_LM;

    return copy_slabs(model, head, model->params.num_slabs, out);
}

/* --- initialisation ----------------------------------------------------------------- */

#define TILE 4096 /* numbers a tile */

typedef struct normal_fill {
    float *values;
    int64_t count;
    uint64_t seed, stream;
    double std;
} normal_fill;

static void normal_tile(void *arg, int64_t tile, int32_t thread)
{
    const normal_fill *f = arg;
    const int64_t end = rlhf__min_i64((tile + 1) * TILE, f->count);

    (void)thread;
    for (int64_t i = tile * TILE; i < end; i++)
        f->values[i] =
            (float)(f->std * rlhf__rng_normal(f->seed, f->stream, (uint64_t)i));
}

/* A slab ~ N(0, std), its stream its own index. */
static void fill_normal(rlhf__transformer *model, int32_t slab, enum rlhf__rng_use use,
                        uint64_t seed, double std)
{
    const rlhf__slab *s = &model->params.slabs[slab];
    normal_fill fill = {s->values, s->rows * s->cols, seed,
                        rlhf__rng_stream(use, (uint64_t)slab), std};

    rlhf__pool_run(model->context->pool, rlhf__ceil_div(fill.count, TILE), normal_tile,
                   &fill);
}

static void fill_ones(rlhf__transformer *model, int32_t slab)
{
    float *values = rlhf__slab_values(&model->params, slab);

    for (int64_t i = 0; i < model->params.slabs[slab].cols; i++)
        values[i] = 1.0f;
}

/* N(0, 1 / sqrt(d + 1)), bias 0. */
static void init_score(rlhf__transformer *model, uint64_t seed)
{
    fill_normal(model, model->score_weight, RLHF__RNG_HEAD, seed,
                1.0 / sqrt((double)model->config.hidden_size + 1.0));
}

void rlhf__transformer_init(rlhf__transformer *model, uint64_t seed)
{
    const rlhf_model_config *c = &model->config;
    const double range = c->initializer_range;
    const double residual = range / sqrt(2.0 * (double)c->num_layers);
    float *values = rlhf__params_begin_write(&model->params);

    memset(values, 0, (size_t)model->params.count * sizeof *values);
    for (int32_t slab = 0; slab < model->params.num_slabs; slab++)
        if (model->params.slabs[slab].decay && slab != model->score_weight)
            fill_normal(model, slab, RLHF__RNG_INIT, seed, range);
    for (int32_t layer = 0; layer < c->num_layers; layer++) {
        const rlhf__block_slabs *b = &model->blocks[layer];
        fill_ones(model, b->norm1_weight);
        fill_ones(model, b->norm2_weight);
        fill_normal(model, b->out_weight, RLHF__RNG_INIT, seed, residual);
        fill_normal(model, b->down_weight, RLHF__RNG_INIT, seed, residual);
    }
    fill_ones(model, model->final_norm_weight);
    if (model->score_weight >= 0)
        init_score(model, seed);
    rlhf__params_end_write(&model->params);
}

rlhf_status rlhf__transformer_to_scalar(const rlhf__transformer *model, uint64_t seed,
                                        bool zero_head, rlhf__transformer **out)
{
    RLHF__TRY(copy_slabs(model, RLHF__HEAD_SCORE, trunk_slabs(model), out));
    rlhf__params_begin_write(&(*out)->params);
    if (!zero_head)
        init_score(*out, seed);
    rlhf__params_end_write(&(*out)->params);
    return RLHF_OK;
}

void rlhf__transformer_fingerprint(const rlhf__transformer *model, char out_hex[65])
{
    const rlhf_model_config *c = &model->config;
    const int32_t whole[] = {c->num_layers, c->num_heads,   c->num_kv_heads,
                             c->head_dim,   c->position,    c->norm,
                             c->activation, c->eos_token_id};
    rlhf__sha256 hash;

    rlhf__sha256_init(&hash);
    rlhf__sha256_update(&hash, whole, sizeof whole);
    rlhf__sha256_update(&hash, &c->norm_eps, sizeof c->norm_eps);
    for (int32_t i = 0; i < c->num_layers; i++) {
        const rlhf_layer_config *l = &model->layers[i];
        const int32_t kinds[] = {l->attention, l->window, l->rotary, l->norm};
        const double figures[] = {l->rotary ? l->rope_theta : 0.0, l->norm_eps};
        rlhf__sha256_update(&hash, kinds, sizeof kinds);
        rlhf__sha256_update(&hash, figures, sizeof figures);
    }
    rlhf__sha256_hex(&hash, out_hex);
}
