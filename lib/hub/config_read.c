/* config.json to rlhf_model_config. The rule: a field that changes what the network
 * computes is either understood or refused by name; a field that does not is passed over
 * and kept. */
#include "hub/config_json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "hub/config_fields.h"
#include "hub/config_words.h"

#include <rlhf/reward.h>

#define MAX_VOCAB   ((int64_t)1 << 24)
#define MAX_CONTEXT ((int64_t)1 << 20)
#define MAX_HIDDEN  65536
#define MAX_COUNT   1024 /* of layers, heads, and a head's width */

const rlhf__word rlhf__hub_positions[] = {
    {"learned", RLHF_POSITION_LEARNED}, {"rotary", RLHF_POSITION_ROTARY}, {NULL, 0}};
const rlhf__word rlhf__hub_norms[] = {
    {"layernorm", RLHF_NORM_LAYERNORM}, {"rmsnorm", RLHF_NORM_RMSNORM}, {NULL, 0}};
const rlhf__word rlhf__hub_activations[] = {{"gelu_tanh", RLHF_ACTIVATION_GELU_TANH},
                                            {"gelu_erf", RLHF_ACTIVATION_GELU_ERF},
                                            {"swiglu", RLHF_ACTIVATION_SWIGLU},
                                            {NULL, 0}};
const rlhf__word rlhf__hub_attentions[] = {
    {"full", RLHF_ATTENTION_FULL}, {"sliding", RLHF_ATTENTION_SLIDING}, {NULL, 0}};
const rlhf__word rlhf__hub_append_eos[] = {{"never", RLHF_APPEND_EOS_NEVER},
                                           {"if_missing", RLHF_APPEND_EOS_IF_MISSING},
                                           {NULL, 0}};
const rlhf__word rlhf__hub_gelus[] = {{"gelu_new", RLHF_ACTIVATION_GELU_TANH},
                                      {"gelu_pytorch_tanh", RLHF_ACTIVATION_GELU_TANH},
                                      {"gelu", RLHF_ACTIVATION_GELU_ERF},
                                      {NULL, 0}};
const rlhf__word rlhf__hub_silus[] = {
    {"silu", RLHF_ACTIVATION_SWIGLU}, {"swish", RLHF_ACTIVATION_SWIGLU}, {NULL, 0}};

const rlhf__hub_names rlhf__hub_family_names[3] = {
    [RLHF__HUB_GPT2] = {"gpt2", "GPT2LMHeadModel", "GPT2ForSequenceClassification"},
    [RLHF__HUB_LLAMA] = {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification"},
    [RLHF__HUB_OWN] = {"rlhf", "RlhfForCausalLM", "RlhfForSequenceClassification"},
};

void rlhf__hub_config_clear(rlhf__hub_config *config)
{
    rlhf__free(config->layers);
    memset(config, 0, sizeof *config);
}

/* --- which model -------------------------------------------------------------------- */

static rlhf_status check_model_type(const rlhf__fields *fields, rlhf__hub_family family)
{
    const char *expected = rlhf__hub_family_names[family].model_type;
    const char *got =
        rlhf__json_string(rlhf__json_get(fields->object, "model_type"), expected);

    if (strcmp(got, expected) != 0)
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, fields->path, 0, 0, "model_type",
            "\"model_type\": \"%.64s\" disagrees with \"architectures\", "
            "which asks for \"%s\"",
            got, expected);
    return RLHF_OK;
}

/* By "architectures", or by "model_type" where that is absent. */
static rlhf_status read_family(const rlhf__fields *fields, bool reward,
                               rlhf__hub_family *out)
{
    const rlhf__json *list = rlhf__json_get(fields->object, "architectures");
    const char *name = rlhf__json_string(rlhf__json_at(list, 0), NULL);
    const char *type =
        rlhf__json_string(rlhf__json_get(fields->object, "model_type"), NULL);

    for (int family = RLHF__HUB_GPT2; family <= RLHF__HUB_OWN; family++) {
        const rlhf__hub_names *names = &rlhf__hub_family_names[family];
        bool causal = name && strcmp(name, names->causal) == 0;
        bool classification = name && strcmp(name, names->classification) == 0;
        if (causal || classification) {
            if (classification != reward)
                return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, "architectures",
                                     "\"architectures\": %s where %s is needed", name,
                                     reward ? names->classification : names->causal);
            *out = (rlhf__hub_family)family;
            return check_model_type(fields, *out);
        }
        if (!name && type && strcmp(type, names->model_type) == 0) {
            *out = (rlhf__hub_family)family;
            return RLHF_OK;
        }
    }
    if (!name && !type)
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, fields->path, 0, 0, "architectures",
            "neither \"architectures\" nor \"model_type\" says what it is");
    return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, fields->path, 0, 0,
                         name ? "architectures" : "model_type",
                         "\"%s\": \"%.64s\" is not supported",
                         name ? "architectures" : "model_type", name ? name : type);
}

/* --- what cannot be expressed ------------------------------------------------------- */

typedef enum neutral { NEUTRAL_NULL, NEUTRAL_FALSE, NEUTRAL_TRUE, NEUTRAL_ONE } neutral;

static const struct {
    const char *key;
    neutral neutral;
    const char *why;
} refusals[] = {
    {"quantization_config", NEUTRAL_NULL, "quantised weights cannot be read"},
    {"scale_attn_weights", NEUTRAL_TRUE, "attention is always scaled"},
    {"scale_attn_by_inverse_layer_idx", NEUTRAL_FALSE,
     "attention is scaled alike everywhere"},
    {"add_cross_attention", NEUTRAL_FALSE, "there is no encoder"},
    {"sliding_window", NEUTRAL_NULL, "transformers' class attends to everything"},
    {"attention_window", NEUTRAL_NULL, "transformers' class attends to everything"},
    {"attn_logit_softcapping", NEUTRAL_NULL, "logits are not capped"},
    {"final_logit_softcapping", NEUTRAL_NULL, "logits are not capped"},
    {"partial_rotary_factor", NEUTRAL_ONE, "all of a head rotates"},
};

static bool is_neutral(const rlhf__json *value, neutral kind)
{
    if (rlhf__json_is_null(value))
        return true;
    switch (kind) {
    case NEUTRAL_FALSE:
        return rlhf__json_is_bool(value) && !rlhf__json_bool(value, true);
    case NEUTRAL_TRUE:
        return rlhf__json_is_bool(value) && rlhf__json_bool(value, false);
    case NEUTRAL_ONE:
        return rlhf__json_f64(value, 0) == 1.0;
    default:
        return false;
    }
}

static rlhf_status check_refusals(const rlhf__fields *fields)
{
    const rlhf__json *types = rlhf__json_get(fields->object, "layer_types");

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const rlhf__json *value = rlhf__json_get(fields->object, refusals[i].key);
        if (!is_neutral(value, refusals[i].neutral))
            return rlhf__field_unsupported(fields, refusals[i].key, refusals[i].why);
    }
    for (int64_t i = 0; i < rlhf__json_size(types); i++) {
        if (strcmp(rlhf__json_string(rlhf__json_at(types, i), ""), "full_attention") != 0)
            return rlhf__field_unsupported(fields, "layer_types",
                                           "only full_attention is read");
    }
    return RLHF_OK;
}

typedef struct dropout_scan {
    rlhf_context *context;
    const char *path;
} dropout_scan;

static rlhf_status log_dropout(void *arg, const char *key, rlhf__json *value)
{
    const dropout_scan *scan = arg;
    size_t length = strlen(key);
    bool dropout = (length >= 6 && strcmp(key + length - 6, "_pdrop") == 0) ||
                   (length >= 7 && strcmp(key + length - 7, "dropout") == 0);

    if (dropout && rlhf__json_f64(value, 0) != 0)
        rlhf__log(scan->context, RLHF_LOG_INFO,
                  "%s: \"%s\" %g is kept in the file but not used: there is no dropout",
                  scan->path, key, rlhf__json_f64(value, 0));
    return RLHF_OK;
}

/* --- parts that families share ------------------------------------------------------ */

/* Absent means the class's default in transformers, where that is in the vocabulary. Of a
 * list (several ends of text) the first counts; the list is kept on save. */
static rlhf_status read_token(rlhf_context *context, const rlhf__fields *fields,
                              const char *key, int32_t fallback, int32_t vocab_size,
                              int32_t *out)
{
    const rlhf__json *value = rlhf__json_get(fields->object, key);

    *out = -1;
    if (!value) {
        *out = fallback < vocab_size ? fallback : -1;
        return RLHF_OK;
    }
    if (rlhf__json_is_array(value) && rlhf__json_is_int(rlhf__json_at(value, 0))) {
        rlhf__log(context, RLHF_LOG_WARNING, "%s: the first of \"%s\" is used",
                  fields->path, key);
        value = rlhf__json_at(value, 0);
    }
    if (rlhf__json_is_null(value))
        return RLHF_OK;
    int64_t id = rlhf__json_i64(value, -2);
    if (!rlhf__json_is_int(value) || id < -1 || id >= vocab_size)
        return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, key,
                             "\"%s\" must be null or an id in [-1, %d), got %" PRId64,
                             key, (int)vocab_size, id);
    *out = (int32_t)id;
    return RLHF_OK;
}

static rlhf_status read_tokens(rlhf_context *context, const rlhf__fields *fields,
                               int32_t bos, int32_t eos, rlhf_model_config *model)
{
    int32_t vocab_size = model->vocab_size;

    RLHF__TRY(read_token(context, fields, "bos_token_id", bos, vocab_size,
                         &model->bos_token_id));
    RLHF__TRY(read_token(context, fields, "eos_token_id", eos, vocab_size,
                         &model->eos_token_id));
    return read_token(context, fields, "pad_token_id", -1, vocab_size,
                      &model->pad_token_id);
}

static rlhf_status check_divides(const rlhf__fields *fields, const char *whole_key,
                                 int32_t whole, const char *part_key, int32_t part)
{
    if (whole % part != 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, whole_key,
                             "\"%s\" %d is not a multiple of \"%s\" %d", whole_key,
                             (int)whole, part_key, (int)part);
    return RLHF_OK;
}

/* --- GPT-2 -------------------------------------------------------------------------- */

static rlhf_status read_gpt2(rlhf_context *context, const rlhf__fields *fields,
                             rlhf_model_config *model)
{
    RLHF__TRY(rlhf__field_i32(fields, "vocab_size", RLHF__FIELD_REQUIRED, 2, MAX_VOCAB,
                              &model->vocab_size));
    RLHF__TRY(rlhf__field_i32(fields, "n_positions", RLHF__FIELD_REQUIRED, 1, MAX_CONTEXT,
                              &model->context_length));
    RLHF__TRY(rlhf__field_i32(fields, "n_embd", RLHF__FIELD_REQUIRED, 1, MAX_HIDDEN,
                              &model->hidden_size));
    RLHF__TRY(rlhf__field_i32(fields, "n_layer", RLHF__FIELD_REQUIRED, 1, MAX_COUNT,
                              &model->num_layers));
    RLHF__TRY(rlhf__field_i32(fields, "n_head", RLHF__FIELD_REQUIRED, 1, MAX_COUNT,
                              &model->num_heads));
    RLHF__TRY(rlhf__field_i32(fields, "n_inner", 4 * (int64_t)model->hidden_size, 1,
                              MAX_CONTEXT, &model->intermediate_size));
    RLHF__TRY(
        check_divides(fields, "n_embd", model->hidden_size, "n_head", model->num_heads));
    model->num_kv_heads = model->num_heads;
    model->head_dim = model->hidden_size / model->num_heads;
    model->position = RLHF_POSITION_LEARNED;
    model->rope_theta = 10000.0; /* unused; the default */
    model->norm = RLHF_NORM_LAYERNORM;
    model->attention_bias = 1;
    model->mlp_bias = 1;
    RLHF__TRY(rlhf__field_word(fields, "activation_function", "gelu_new", rlhf__hub_gelus,
                               &model->activation));
    RLHF__TRY(rlhf__field_positive(fields, "layer_norm_epsilon", 1e-5, &model->norm_eps));
    RLHF__TRY(
        rlhf__field_bool(fields, "tie_word_embeddings", true, &model->tie_embeddings));
    return read_tokens(context, fields, 50256, 50256, model);
}

/* --- Llama -------------------------------------------------------------------------- */

/* Version 5 of transformers writes rope_parameters, older ones rope_theta and
 * rope_scaling. */
static rlhf_status read_rope(const rlhf__fields *fields, double *out_theta)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};

    RLHF__TRY(rlhf__field_positive(fields, "rope_theta", 10000.0, out_theta));
    for (int i = 0; i < 2; i++) {
        const rlhf__json *rope = rlhf__json_get(fields->object, keys[i]);
        rlhf__fields inner = {rope, fields->path};
        const char *type;
        if (rlhf__json_is_null(rope))
            continue;
        type = rlhf__json_string(rlhf__json_get(rope, "rope_type"), NULL);
        if (!type)
            type = rlhf__json_string(rlhf__json_get(rope, "type"), NULL);
        if (!type || strcmp(type, "default") != 0)
            return rlhf__field_unsupported(fields, keys[i],
                                           "only rope_type \"default\" is read");
        if (!is_neutral(rlhf__json_get(rope, "partial_rotary_factor"), NEUTRAL_ONE))
            return rlhf__field_unsupported(fields, keys[i], "all of a head rotates");
        RLHF__TRY(rlhf__field_positive(&inner, "rope_theta", *out_theta, out_theta));
    }
    return RLHF_OK;
}

static rlhf_status read_llama_sizes(const rlhf__fields *fields, rlhf_model_config *model)
{
    RLHF__TRY(rlhf__field_i32(fields, "vocab_size", RLHF__FIELD_REQUIRED, 2, MAX_VOCAB,
                              &model->vocab_size));
    RLHF__TRY(rlhf__field_i32(fields, "max_position_embeddings", RLHF__FIELD_REQUIRED, 1,
                              MAX_CONTEXT, &model->context_length));
    RLHF__TRY(rlhf__field_i32(fields, "hidden_size", RLHF__FIELD_REQUIRED, 1, MAX_HIDDEN,
                              &model->hidden_size));
    RLHF__TRY(rlhf__field_i32(fields, "intermediate_size", RLHF__FIELD_REQUIRED, 1,
                              MAX_CONTEXT, &model->intermediate_size));
    RLHF__TRY(rlhf__field_i32(fields, "num_hidden_layers", RLHF__FIELD_REQUIRED, 1,
                              MAX_COUNT, &model->num_layers));
    RLHF__TRY(rlhf__field_i32(fields, "num_attention_heads", RLHF__FIELD_REQUIRED, 1,
                              MAX_COUNT, &model->num_heads));
    RLHF__TRY(rlhf__field_i32(fields, "num_key_value_heads", model->num_heads, 1,
                              MAX_COUNT, &model->num_kv_heads));
    RLHF__TRY(check_divides(fields, "num_attention_heads", model->num_heads,
                            "num_key_value_heads", model->num_kv_heads));
    if (rlhf__json_is_null(rlhf__json_get(fields->object, "head_dim")))
        RLHF__TRY(check_divides(fields, "hidden_size", model->hidden_size,
                                "num_attention_heads", model->num_heads));
    RLHF__TRY(rlhf__field_i32(fields, "head_dim", model->hidden_size / model->num_heads,
                              1, MAX_COUNT, &model->head_dim));
    if (model->head_dim % 2 != 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, "head_dim",
                             "\"head_dim\" must be even to rotate pairs, got %d",
                             (int)model->head_dim);
    return RLHF_OK;
}

static rlhf_status read_llama(rlhf_context *context, const rlhf__fields *fields,
                              rlhf_model_config *model)
{
    RLHF__TRY(read_llama_sizes(fields, model));
    model->position = RLHF_POSITION_ROTARY;
    model->norm = RLHF_NORM_RMSNORM;
    RLHF__TRY(rlhf__field_word(fields, "hidden_act", "silu", rlhf__hub_silus,
                               &model->activation));
    RLHF__TRY(rlhf__field_bool(fields, "attention_bias", false, &model->attention_bias));
    RLHF__TRY(rlhf__field_bool(fields, "mlp_bias", false, &model->mlp_bias));
    RLHF__TRY(rlhf__field_positive(fields, "rms_norm_eps", 1e-6, &model->norm_eps));
    RLHF__TRY(
        rlhf__field_bool(fields, "tie_word_embeddings", false, &model->tie_embeddings));
    RLHF__TRY(read_rope(fields, &model->rope_theta));
    return read_tokens(context, fields, 1, 2, model);
}

/* --- our own ------------------------------------------------------------------------ */

static rlhf_status read_layers(rlhf_context *context, const rlhf__fields *fields,
                               rlhf__hub_config *out)
{
    const rlhf__json *list = rlhf__json_get(fields->object, "rlhf_layers");
    rlhf_model_config *model = &out->model;

    if (rlhf__json_is_null(list))
        return RLHF_OK;
    if (!rlhf__json_is_array(list) || rlhf__json_size(list) != model->num_layers)
        return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, "rlhf_layers",
                             "\"rlhf_layers\" has %" PRId64
                             " entries where \"num_layers\" is "
                             "%d",
                             rlhf__json_size(list), (int)model->num_layers);
    RLHF__TRY(rlhf__alloc(context, model->num_layers, sizeof *out->layers,
                          RLHF_MEMORY_GENERAL, &out->layers));
    for (int32_t i = 0; i < model->num_layers; i++) {
        rlhf__fields inner = {rlhf__json_at(list, i), fields->path};
        rlhf_layer_config *layer = &out->layers[i];
        layer->struct_size = sizeof *layer;
        RLHF__TRY(rlhf__field_word(&inner, "attention", NULL, rlhf__hub_attentions,
                                   &layer->attention));
        RLHF__TRY(rlhf__field_i32(&inner, "window", 0, 0, MAX_CONTEXT, &layer->window));
        RLHF__TRY(rlhf__field_bool(&inner, "rotary", false, &layer->rotary));
        RLHF__TRY(rlhf__field_word(&inner, "norm", NULL, rlhf__hub_norms, &layer->norm));
        RLHF__TRY(rlhf__field_f64(&inner, "rope_theta", 0, &layer->rope_theta));
        RLHF__TRY(rlhf__field_positive(&inner, "norm_eps", -1, &layer->norm_eps));
    }
    model->layers = out->layers;
    model->num_layer_configs = model->num_layers;
    return RLHF_OK;
}

static rlhf_status read_own(rlhf_context *context, const rlhf__fields *fields,
                            rlhf__hub_config *out)
{
    rlhf_model_config *model = &out->model;
    const struct {
        const char *key;
        int64_t min, max;
        int32_t *to;
    } sizes[] = {
        {"vocab_size", 2, MAX_VOCAB, &model->vocab_size},
        {"context_length", 1, MAX_CONTEXT, &model->context_length},
        {"hidden_size", 1, MAX_HIDDEN, &model->hidden_size},
        {"intermediate_size", 1, MAX_CONTEXT, &model->intermediate_size},
        {"num_layers", 1, MAX_COUNT, &model->num_layers},
        {"num_heads", 1, MAX_COUNT, &model->num_heads},
        {"num_kv_heads", 1, MAX_COUNT, &model->num_kv_heads},
        {"head_dim", 1, MAX_COUNT, &model->head_dim},
    };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        RLHF__TRY(rlhf__field_i32(fields, sizes[i].key, RLHF__FIELD_REQUIRED,
                                  sizes[i].min, sizes[i].max, sizes[i].to));
    RLHF__TRY(check_divides(fields, "num_heads", model->num_heads, "num_kv_heads",
                            model->num_kv_heads));
    RLHF__TRY(rlhf__field_word(fields, "position", NULL, rlhf__hub_positions,
                               &model->position));
    RLHF__TRY(rlhf__field_word(fields, "norm", NULL, rlhf__hub_norms, &model->norm));
    RLHF__TRY(rlhf__field_word(fields, "activation", NULL, rlhf__hub_activations,
                               &model->activation));
    RLHF__TRY(rlhf__field_bool(fields, "attention_bias", false, &model->attention_bias));
    RLHF__TRY(rlhf__field_bool(fields, "mlp_bias", false, &model->mlp_bias));
    RLHF__TRY(
        rlhf__field_bool(fields, "tie_word_embeddings", false, &model->tie_embeddings));
    RLHF__TRY(rlhf__field_positive(fields, "norm_eps", -1, &model->norm_eps));
    RLHF__TRY(rlhf__field_positive(fields, "rope_theta", 10000.0, &model->rope_theta));
    RLHF__TRY(read_tokens(context, fields, -1, -1, model));
    return read_layers(context, fields, out);
}

/* --- reward ------------------------------------------------------------------------- */

/* transformers keeps the number of labels as the size of id2label, 2 where nothing is
 * said. */
static rlhf_status read_score(rlhf_context *context, const rlhf__fields *fields,
                              rlhf__hub_config *out)
{
    const rlhf__json *labels = rlhf__json_get(fields->object, "id2label");
    int64_t num_labels =
        rlhf__json_is_object(labels)
            ? rlhf__json_size(labels)
            : rlhf__json_i64(rlhf__json_get(fields->object, "num_labels"), 2);

    if (num_labels != 1)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, fields->path, 0, 0, "num_labels",
                             "\"num_labels\" is %" PRId64 ", a reward model has 1",
                             num_labels);
    out->score.scale = 1.0;
    RLHF__TRY(rlhf__field_f64(fields, "rlhf_score_offset", 0.0, &out->score.offset));
    RLHF__TRY(rlhf__field_word(fields, "rlhf_append_eos", "if_missing",
                               rlhf__hub_append_eos, &out->score.append_eos));
    return read_token(context, fields, "rlhf_append_eos_id", out->model.eos_token_id,
                      out->model.vocab_size, &out->score.eos_token_id);
}

rlhf_status rlhf__hub_config_read(rlhf_context *context, const rlhf__json *document,
                                  const char *path, bool reward, rlhf__hub_config *out)
{
    rlhf__fields fields = {document, path};
    dropout_scan scan = {context, path};
    rlhf_status status;

    memset(out, 0, sizeof *out);
    if (!rlhf__json_is_object(document))
        return rlhf__fail_at(RLHF_ERR_FORMAT, path, 0, 0, NULL,
                             "the file is not a JSON object");
    out->model.struct_size = sizeof out->model;
    RLHF__TRY(read_family(&fields, reward, &out->family));
    RLHF__TRY(check_refusals(&fields));
    RLHF__TRY(rlhf__field_positive(&fields, "initializer_range", 0.02,
                                   &out->model.initializer_range));
    if (out->family == RLHF__HUB_GPT2)
        status = read_gpt2(context, &fields, &out->model);
    else if (out->family == RLHF__HUB_LLAMA)
        status = read_llama(context, &fields, &out->model);
    else
        status = read_own(context, &fields, out);
    if (status == RLHF_OK && reward)
        status = read_score(context, &fields, out);
    if (status == RLHF_OK)
        status = rlhf__json_each(document, log_dropout, &scan);
    if (status != RLHF_OK)
        rlhf__hub_config_clear(out);
    return status;
}
