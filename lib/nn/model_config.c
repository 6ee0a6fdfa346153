/* The model config's fields, their ranges, and what depends on what. */
#include "nn/model_config.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"

static const rlhf__enum_name position_names[] = {
    {"learned", RLHF_POSITION_LEARNED}, {"rotary", RLHF_POSITION_ROTARY}, {NULL, 0}};
static const rlhf__enum_name norm_names[] = {
    {"layernorm", RLHF_NORM_LAYERNORM}, {"rmsnorm", RLHF_NORM_RMSNORM}, {NULL, 0}};
static const rlhf__enum_name activation_names[] = {
    {"gelu_tanh", RLHF_ACTIVATION_GELU_TANH},
    {"gelu_erf", RLHF_ACTIVATION_GELU_ERF},
    {"swiglu", RLHF_ACTIVATION_SWIGLU},
    {NULL, 0}};
static const rlhf__enum_name attention_names[] = {
    {"full", RLHF_ATTENTION_FULL}, {"sliding", RLHF_ATTENTION_SLIDING}, {NULL, 0}};

#define FIELD(member) #member, .offset = offsetof(rlhf_model_config, member)
#define I32(low, high, value)                                                            \
    .type = RLHF__FIELD_I32, .min = (low), .max = (high), .default_value = (value)
#define ENUM(table, value)                                                               \
    .type = RLHF__FIELD_ENUM, .names = (table), .default_value = (value)
#define FLAG(value) .type = RLHF__FIELD_BOOL, .default_value = (value)
#define POSITIVE(value)                                                                  \
    .type = RLHF__FIELD_F64, .as_float = true, .min = 0, .min_exclusive = true,          \
    .max = HUGE_VAL, .max_exclusive = true, .default_value = (value)
static const rlhf__field config_fields[] = {
    {FIELD(vocab_size), I32(2, 1 << 24, 0), .help = "tokens of the vocabulary"},
    {FIELD(context_length), I32(1, 1 << 20, 256), .help = "most tokens in a sequence"},
    {FIELD(hidden_size), I32(1, 65536, 128), .help = "width of the residual stream"},
    {FIELD(intermediate_size), I32(0, 1 << 20, 0),
     .help = "width of the MLP; 0: 4 * hidden_size"},
    {FIELD(num_layers), I32(1, 1024, 4), .help = "blocks"},
    {FIELD(num_heads), I32(1, 1024, 4), .help = "query heads"},
    {FIELD(num_kv_heads), I32(0, 1024, 0),
     .help = "key and value heads, a divisor of num_heads; 0: num_heads"},
    {FIELD(head_dim), I32(0, 1024, 0),
     .help = "width of a head, even with rotary; 0: hidden_size / num_heads"},
    {FIELD(position), ENUM(position_names, RLHF_POSITION_LEARNED),
     .help = "how positions enter"},
    {FIELD(norm), ENUM(norm_names, RLHF_NORM_LAYERNORM),
     .help = "the final norm, and the layers' default"},
    {FIELD(activation), ENUM(activation_names, RLHF_ACTIVATION_GELU_TANH),
     .help = "of the MLP"},
    {FIELD(attention_bias), FLAG(1), .help = "biases on q, k, v and output projections"},
    {FIELD(mlp_bias), FLAG(1), .help = "biases in the MLP"},
    {FIELD(tie_embeddings), FLAG(1), .help = "the head is the token table"},
    {FIELD(bos_token_id), I32(-1, 1 << 24, -1), .help = "token id; -1: none"},
    {FIELD(eos_token_id), I32(-1, 1 << 24, -1), .help = "token id; -1: none"},
    {FIELD(pad_token_id), I32(-1, 1 << 24, -1),
     .help = "token id kept for others' tools; -1: none"},
    {FIELD(num_layer_configs), I32(0, 1024, 0),
     .help = "0: all layers alike; else num_layers"},
    {FIELD(norm_eps), POSITIVE(1e-5), .help = "added to the variance in norms"},
    {FIELD(rope_theta), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .default_value = 10000.0,
     .help = "base of the rotary angles"},
    {FIELD(initializer_range), POSITIVE(0.02),
     .help = "standard deviation of fresh weights"},
    {FIELD(layers), .type = RLHF__FIELD_POINTER,
     .help = "each layer described by itself"},
};
#undef FIELD

const rlhf__struct_desc rlhf__model_config_desc = {
    "rlhf_model_config", sizeof(rlhf_model_config), sizeof(rlhf_model_config),
    config_fields, sizeof config_fields / sizeof config_fields[0]};

#define FIELD(member) #member, .offset = offsetof(rlhf_layer_config, member)
static const rlhf__field layer_fields[] = {
    {FIELD(attention), ENUM(attention_names, RLHF_ATTENTION_FULL),
     .help = "what is seen"},
    {FIELD(window), I32(0, 1 << 20, 0),
     .help = "tokens seen with sliding attention; else 0"},
    {FIELD(rotary), FLAG(0), .help = "rotary positions on queries and keys"},
    {FIELD(norm), ENUM(norm_names, RLHF_NORM_LAYERNORM),
     .help = "both norms of the block"},
    {FIELD(rope_theta), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .default_value = 10000.0,
     .help = "base of the rotary angles"},
    {FIELD(norm_eps), POSITIVE(1e-5), .help = "added to the variance in norms"},
};
#undef FIELD

const rlhf__struct_desc rlhf__layer_config_desc = {
    "rlhf_layer_config", sizeof(rlhf_layer_config), sizeof(rlhf_layer_config),
    layer_fields, sizeof layer_fields / sizeof layer_fields[0]};

/* --- resolving ---------------------------------------------------------------------- */

#define FAIL(field, ...) rlhf__fail_arg(field, __VA_ARGS__)

static rlhf_status check_token_id(const char *field, int32_t id, int32_t vocab_size)
{
    if (id >= vocab_size)
        return FAIL(field, "%s must be < vocab_size %" PRId32 ", got %" PRId32, field,
                    vocab_size, id);
    return RLHF_OK;
}

static rlhf_status resolve_heads(rlhf_model_config *c)
{
    if (c->num_kv_heads == 0)
        c->num_kv_heads = c->num_heads;
    if (c->num_kv_heads > c->num_heads || c->num_heads % c->num_kv_heads != 0)
        return FAIL("num_kv_heads",
                    "num_kv_heads must divide num_heads %" PRId32 ", got %" PRId32,
                    c->num_heads, c->num_kv_heads);
    if (c->head_dim == 0) {
        if (c->hidden_size % c->num_heads != 0)
            return FAIL("head_dim",
                        "head_dim must be given where num_heads %" PRId32
                        " does not divide hidden_size %" PRId32,
                        c->num_heads, c->hidden_size);
        c->head_dim = c->hidden_size / c->num_heads;
    }
    if (c->head_dim > 1024)
        return FAIL("head_dim", "head_dim must be <= 1024, got %" PRId32, c->head_dim);
    return RLHF_OK;
}

static rlhf_status check_layer(const rlhf_model_config *c, const rlhf_layer_config *layer,
                               int32_t index)
{
    if (layer->attention == RLHF_ATTENTION_SLIDING && layer->window < 1)
        return FAIL("window",
                    "layers[%" PRId32 "].window must be >= 1 with sliding "
                    "attention, got %" PRId32,
                    index, layer->window);
    if (layer->attention == RLHF_ATTENTION_FULL && layer->window != 0)
        return FAIL("window",
                    "layers[%" PRId32 "].window must be 0 with full attention, "
                    "got %" PRId32,
                    index, layer->window);
    if (layer->rotary && !(layer->rope_theta > 0.0))
        return FAIL("rope_theta",
                    "layers[%" PRId32 "].rope_theta must be > 0 with rotary, "
                    "got %g",
                    index, layer->rope_theta);
    if (layer->rotary && c->head_dim % 2 != 0)
        return FAIL("head_dim", "head_dim must be even with rotary, got %" PRId32,
                    c->head_dim);
    return RLHF_OK;
}

/* The caller's i-th layer: the array's stride is its elements' struct_size. */
static rlhf_status read_layer(const rlhf_model_config *given, int32_t i,
                              rlhf_layer_config *out)
{
    const size_t stride = given->layers[0].struct_size;
    const char *at = (const char *)given->layers + (size_t)i * stride;
    size_t own;

    memcpy(&own, at, sizeof own);
    if (own != stride)
        return FAIL("layers",
                    "layers[%" PRId32 "].struct_size must be that of layers[0], "
                    "%zu, got %zu",
                    i, stride, own);
    return rlhf__struct_read(&rlhf__layer_config_desc, at, out);
}

static rlhf_status resolve_layers(const rlhf_model_config *given, rlhf_model_config *c,
                                  rlhf_layer_config *layers)
{
    for (int32_t i = 0; i < c->num_layers; i++) {
        layers[i] = (rlhf_layer_config){.struct_size = sizeof layers[i],
                                        .rotary = c->position == RLHF_POSITION_ROTARY,
                                        .norm = c->norm,
                                        .rope_theta = c->rope_theta,
                                        .norm_eps = c->norm_eps};
        if (given->num_layer_configs > 0)
            RLHF__TRY(read_layer(given, i, &layers[i]));
        RLHF__TRY(check_layer(c, &layers[i], i));
    }
    c->num_layer_configs = c->num_layers;
    c->layers = layers;
    return RLHF_OK;
}

static rlhf_status resolve_fields(rlhf_model_config *c)
{
    RLHF__TRY(resolve_heads(c));
    if (c->intermediate_size == 0)
        c->intermediate_size = 4 * c->hidden_size;
    if (c->intermediate_size > 1 << 20)
        return FAIL("intermediate_size",
                    "intermediate_size must be <= 1048576, got %" PRId32,
                    c->intermediate_size);
    if (c->position == RLHF_POSITION_ROTARY && !(c->rope_theta > 0.0))
        return FAIL("rope_theta", "rope_theta must be > 0 with rotary positions, got %g",
                    c->rope_theta);
    RLHF__TRY(check_token_id("bos_token_id", c->bos_token_id, c->vocab_size));
    RLHF__TRY(check_token_id("eos_token_id", c->eos_token_id, c->vocab_size));
    RLHF__TRY(check_token_id("pad_token_id", c->pad_token_id, c->vocab_size));
    if (c->num_layer_configs != 0 && c->num_layer_configs != c->num_layers)
        return FAIL("num_layer_configs",
                    "num_layer_configs must be 0 or num_layers %" PRId32 ", got %" PRId32,
                    c->num_layers, c->num_layer_configs);
    if (c->num_layer_configs != 0 && !c->layers)
        return FAIL("layers", "layers is NULL, num_layer_configs is %" PRId32,
                    c->num_layer_configs);
    return RLHF_OK;
}

rlhf_status rlhf__model_config_resolve(rlhf_context *context,
                                       const rlhf_model_config *config,
                                       rlhf_model_config *out,
                                       rlhf_layer_config **out_layers)
{
    rlhf_model_config given;
    rlhf_layer_config *layers = NULL;
    rlhf_status status;

    *out_layers = NULL;
    RLHF__TRY(rlhf__struct_read(&rlhf__model_config_desc, config, &given));
    *out = given;
    RLHF__TRY(resolve_fields(out));
    RLHF__TRY(rlhf__alloc(context, out->num_layers, sizeof *layers, RLHF_MEMORY_GENERAL,
                          &layers));
    status = resolve_layers(&given, out, layers);
    if (status != RLHF_OK) {
        rlhf__free(layers);
        return status;
    }
    *out_layers = layers;
    return RLHF_OK;
}
