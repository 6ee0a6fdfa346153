/* Parameter names: GPT-2's and Llama's. */
#include "nn/names.h"

#include <inttypes.h>
#include <stdio.h>

bool rlhf__uses_gpt2_names(const rlhf_model_config *config)
{
    if (config->position != RLHF_POSITION_LEARNED ||
        config->norm != RLHF_NORM_LAYERNORM ||
        config->activation == RLHF_ACTIVATION_SWIGLU ||
        config->num_kv_heads != config->num_heads)
        return false;
    for (int32_t i = 0; i < config->num_layers; i++)
        if (config->layers[i].norm != RLHF_NORM_LAYERNORM || config->layers[i].rotary)
            return false;
    return true;
}

/* Names rows [first_row, first_row + rows) of a slab (rows 0: all); no slab, no name. */
static rlhf_status name_rows(rlhf__transformer *model, int32_t slab, int64_t first_row,
                             int64_t rows, int32_t layer, const char *name)
{
    const char *prefix =
        rlhf__uses_gpt2_names(&model->config) ? "transformer.h." : "model.layers.";
    char full[96];

    if (slab < 0)
        return RLHF_OK;
    if (layer >= 0)
        snprintf(full, sizeof full, "%s%" PRId32 ".%s", prefix, layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    return rlhf__params_add_name(&model->params, full, slab, first_row,
                                 rows ? rows : model->params.slabs[slab].rows);
}

static rlhf_status name_slab(rlhf__transformer *model, int32_t slab, int32_t layer,
                             const char *name)
{
    return name_rows(model, slab, 0, 0, layer, name);
}

static rlhf_status name_gpt2_block(rlhf__transformer *model, int32_t layer)
{
    const rlhf__block_slabs *b = &model->blocks[layer];
    const struct {
        int32_t slab;
        const char *name;
    } table[] = {
        {b->norm1_weight, "ln_1.weight"},      {b->norm1_bias, "ln_1.bias"},
        {b->qkv_weight, "attn.c_attn.weight"}, {b->qkv_bias, "attn.c_attn.bias"},
        {b->out_weight, "attn.c_proj.weight"}, {b->out_bias, "attn.c_proj.bias"},
        {b->norm2_weight, "ln_2.weight"},      {b->norm2_bias, "ln_2.bias"},
        {b->up_weight, "mlp.c_fc.weight"},     {b->up_bias, "mlp.c_fc.bias"},
        {b->down_weight, "mlp.c_proj.weight"}, {b->down_bias, "mlp.c_proj.bias"},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        RLHF__TRY(name_slab(model, table[i].slab, layer, table[i].name));
    return RLHF_OK;
}

/* q, k and v are row ranges of one slab (weights), or ranges of one column (biases). */
static rlhf_status name_qkv(rlhf__transformer *model, int32_t slab, int32_t layer,
                            const char *const names[3])
{
    const int64_t q = (int64_t)model->config.num_heads * model->config.head_dim;
    const int64_t kv = (int64_t)model->config.num_kv_heads * model->config.head_dim;

    RLHF__TRY(name_rows(model, slab, 0, q, layer, names[0]));
    RLHF__TRY(name_rows(model, slab, q, kv, layer, names[1]));
    return name_rows(model, slab, q + kv, kv, layer, names[2]);
}

static rlhf_status name_up(rlhf__transformer *model, int32_t slab, int32_t layer,
                           const char *gate, const char *up)
{
    const int64_t width = model->config.intermediate_size;

    if (model->config.activation != RLHF_ACTIVATION_SWIGLU)
        return name_slab(model, slab, layer, up);
    RLHF__TRY(name_rows(model, slab, 0, width, layer, gate));
    return name_rows(model, slab, width, width, layer, up);
}

static rlhf_status name_llama_block(rlhf__transformer *model, int32_t layer)
{
    static const char *const qkv_weights[] = {
        "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"};
    static const char *const qkv_biases[] = {
        "self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"};
    const rlhf__block_slabs *b = &model->blocks[layer];

    RLHF__TRY(name_slab(model, b->norm1_weight, layer, "input_layernorm.weight"));
    RLHF__TRY(name_slab(model, b->norm1_bias, layer, "input_layernorm.bias"));
    RLHF__TRY(name_qkv(model, b->qkv_weight, layer, qkv_weights));
    RLHF__TRY(name_qkv(model, b->qkv_bias, layer, qkv_biases));
    RLHF__TRY(name_slab(model, b->out_weight, layer, "self_attn.o_proj.weight"));
    RLHF__TRY(name_slab(model, b->out_bias, layer, "self_attn.o_proj.bias"));
    RLHF__TRY(
        name_slab(model, b->norm2_weight, layer, "post_attention_layernorm.weight"));
    RLHF__TRY(name_slab(model, b->norm2_bias, layer, "post_attention_layernorm.bias"));
    RLHF__TRY(name_up(model, b->up_weight, layer, "mlp.gate_proj.weight",
                      "mlp.up_proj.weight"));
    RLHF__TRY(
        name_up(model, b->up_bias, layer, "mlp.gate_proj.bias", "mlp.up_proj.bias"));
    RLHF__TRY(name_slab(model, b->down_weight, layer, "mlp.down_proj.weight"));
    return name_slab(model, b->down_bias, layer, "mlp.down_proj.bias");
}

rlhf_status rlhf__add_names(rlhf__transformer *model)
{
    const bool gpt2 = rlhf__uses_gpt2_names(&model->config);

    RLHF__TRY(name_slab(model, model->token_table, -1,
                        gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight"));
    RLHF__TRY(
        name_slab(model, model->position_table, -1,
                  gpt2 ? "transformer.wpe.weight" : "model.embed_positions.weight"));
    for (int32_t layer = 0; layer < model->config.num_layers; layer++)
        RLHF__TRY(gpt2 ? name_gpt2_block(model, layer) : name_llama_block(model, layer));
    RLHF__TRY(name_slab(model, model->final_norm_weight, -1,
                        gpt2 ? "transformer.ln_f.weight" : "model.norm.weight"));
    RLHF__TRY(name_slab(model, model->final_norm_bias, -1,
                        gpt2 ? "transformer.ln_f.bias" : "model.norm.bias"));
    if (model->head_weight != model->token_table)
        RLHF__TRY(name_slab(model, model->head_weight, -1, "lm_head.weight"));
    RLHF__TRY(name_slab(model, model->score_weight, -1, "score.weight"));
    return name_slab(model, model->score_bias, -1, "score.bias");
}

void rlhf__named_shape(const rlhf__params *params, const rlhf__named *named,
                       int64_t *out_rows, int64_t *out_cols)
{
    const rlhf__slab *slab = &params->slabs[named->slab];
    const bool vector = !slab->decay;

    *out_rows = vector ? 1 : named->rows;
    *out_cols = vector ? named->rows * slab->cols : slab->cols;
}
