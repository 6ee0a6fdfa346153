/* rlhf_model_config to config.json, such that transformers 4 and 5 read it: 5 has
 * rope_parameters and dtype where 4 has rope_theta and torch_dtype, so both are written.
 */
#include "hub/config_json.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "hub/config_fields.h"
#include "hub/config_words.h"

#include <rlhf/reward.h>

/* --- origin ------------------------------------------------------------------------- */

void rlhf__hub_origin_free(rlhf__hub_origin *origin)
{
    if (!origin)
        return;
    rlhf_context *context = origin->context;
    rlhf__json_free(origin->document);
    rlhf__free(origin);
    rlhf__context_unref(context);
}

rlhf_status rlhf__hub_origin_clone(const rlhf__hub_origin *origin,
                                   rlhf__hub_origin **out_origin)
{
    rlhf__hub_origin *copy = NULL;

    *out_origin = NULL;
    if (!origin)
        return RLHF_OK;
    RLHF__TRY(rlhf__alloc(origin->context, 1, sizeof *copy, RLHF_MEMORY_GENERAL, &copy));
    copy->context = rlhf__context_ref(origin->context);
    copy->document = rlhf__json_copy(origin->document);
    if (!copy->document) {
        rlhf__hub_origin_free(copy);
        return rlhf__fail_no_memory(sizeof *copy);
    }
    *out_origin = copy;
    return RLHF_OK;
}

/* --- family ------------------------------------------------------------------------- */

static bool layers_are_plain(const rlhf_model_config *config)
{
    bool rotary = config->position == RLHF_POSITION_ROTARY;

    for (int32_t i = 0; i < config->num_layer_configs; i++) {
        const rlhf_layer_config *layer = &config->layers[i];
        if (layer->attention != RLHF_ATTENTION_FULL || layer->norm != config->norm ||
            layer->norm_eps != config->norm_eps || (layer->rotary != 0) != rotary ||
            (rotary && layer->rope_theta != config->rope_theta))
            return false;
    }
    return true;
}

rlhf__hub_family rlhf__hub_family_of(const rlhf_model_config *config)
{
    if (!layers_are_plain(config))
        return RLHF__HUB_OWN;
    if (config->position == RLHF_POSITION_LEARNED &&
        config->norm == RLHF_NORM_LAYERNORM &&
        config->activation != RLHF_ACTIVATION_SWIGLU && config->attention_bias &&
        config->mlp_bias && config->num_kv_heads == config->num_heads &&
        (int64_t)config->num_heads * config->head_dim == config->hidden_size)
        return RLHF__HUB_GPT2;
    if (config->position == RLHF_POSITION_ROTARY && config->norm == RLHF_NORM_RMSNORM &&
        config->activation == RLHF_ACTIVATION_SWIGLU)
        return RLHF__HUB_LLAMA;
    return RLHF__HUB_OWN;
}

/* --- fields ------------------------------------------------------------------------- */

/* null for none; a list that the origin had stays if the model still has its first. */
static rlhf_status set_token(rlhf__json *object, const char *key, int32_t id)
{
    const rlhf__json *old = rlhf__json_get(object, key);

    if (id >= 0 && rlhf__json_is_array(old) &&
        rlhf__json_i64(rlhf__json_at(old, 0), -1) == id)
        return RLHF_OK;
    return rlhf__json_set(object, key,
                          id < 0 ? rlhf__json_new_null() : rlhf__json_new_i64(id));
}

/* Keeps the origin's word for the same value ("gelu_pytorch_tanh" is "gelu_new"). */
static rlhf_status set_word(rlhf__json *object, const char *key, const rlhf__word *words,
                            int32_t value)
{
    const char *old = rlhf__json_string(rlhf__json_get(object, key), NULL);
    const char *word = rlhf__word_name(words, value);

    if (old && rlhf__word_value(words, old) == value)
        return RLHF_OK;
    if (!word)
        return rlhf__fail(RLHF_ERR_INTERNAL, "config.json has no word for \"%s\" %d", key,
                          (int)value);
    return rlhf__set_string(object, key, word);
}

typedef struct int_field {
    const char *key;
    int32_t value;
} int_field;

static rlhf_status set_ints(rlhf__json *object, const int_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        RLHF__TRY(rlhf__set_i64(object, fields[i].key, fields[i].value));
    return RLHF_OK;
}

static rlhf_status set_gpt2(rlhf__json *object, const rlhf_model_config *config)
{
    const int_field ints[] = {
        {"n_positions", config->context_length},
        {"n_embd", config->hidden_size},
        {"n_layer", config->num_layers},
        {"n_head", config->num_heads},
    };

    RLHF__TRY(set_ints(object, ints, sizeof ints / sizeof ints[0]));
    if (config->intermediate_size == 4 * (int64_t)config->hidden_size)
        RLHF__TRY(rlhf__json_set(object, "n_inner", rlhf__json_new_null()));
    else
        RLHF__TRY(rlhf__set_i64(object, "n_inner", config->intermediate_size));
    RLHF__TRY(
        set_word(object, "activation_function", rlhf__hub_gelus, config->activation));
    /* transformers' defaults for these are 0.1; a model made here was trained without. */
    for (int i = 0; i < 3; i++) {
        static const char *const keys[] = {"attn_pdrop", "embd_pdrop", "resid_pdrop"};
        if (!rlhf__json_get(object, keys[i]))
            RLHF__TRY(rlhf__set_f64(object, keys[i], 0.0));
    }
    return rlhf__set_f64(object, "layer_norm_epsilon", config->norm_eps);
}

static rlhf_status set_rope(rlhf__json *object, double theta)
{
    rlhf__json *rope = rlhf__json_new_object();
    rlhf_status status = rope ? RLHF_OK : rlhf__fail_no_memory(64);

    if (status == RLHF_OK)
        status = rlhf__set_f64(rope, "rope_theta", theta);
    if (status == RLHF_OK)
        status = rlhf__set_string(rope, "rope_type", "default");
    if (status != RLHF_OK) {
        rlhf__json_free(rope);
        return status;
    }
    RLHF__TRY(rlhf__json_set(object, "rope_parameters", rope));
    return rlhf__set_f64(object, "rope_theta", theta);
}

static rlhf_status set_llama(rlhf__json *object, const rlhf_model_config *config)
{
    const int_field ints[] = {
        {"max_position_embeddings", config->context_length},
        {"hidden_size", config->hidden_size},
        {"intermediate_size", config->intermediate_size},
        {"num_hidden_layers", config->num_layers},
        {"num_attention_heads", config->num_heads},
        {"num_key_value_heads", config->num_kv_heads},
        {"head_dim", config->head_dim},
    };

    RLHF__TRY(set_ints(object, ints, sizeof ints / sizeof ints[0]));
    RLHF__TRY(set_word(object, "hidden_act", rlhf__hub_silus, config->activation));
    RLHF__TRY(rlhf__set_bool(object, "attention_bias", config->attention_bias != 0));
    RLHF__TRY(rlhf__set_bool(object, "mlp_bias", config->mlp_bias != 0));
    RLHF__TRY(rlhf__set_f64(object, "rms_norm_eps", config->norm_eps));
    return set_rope(object, config->rope_theta);
}

static rlhf_status layer_json(const rlhf_layer_config *layer, rlhf__json *object)
{
    RLHF__TRY(set_word(object, "attention", rlhf__hub_attentions, layer->attention));
    RLHF__TRY(rlhf__set_i64(object, "window", layer->window));
    RLHF__TRY(rlhf__set_bool(object, "rotary", layer->rotary != 0));
    RLHF__TRY(set_word(object, "norm", rlhf__hub_norms, layer->norm));
    RLHF__TRY(rlhf__set_f64(object, "rope_theta", layer->rope_theta));
    return rlhf__set_f64(object, "norm_eps", layer->norm_eps);
}

static rlhf_status set_layers(rlhf__json *object, const rlhf_model_config *config)
{
    rlhf__json *list = rlhf__json_new_array();
    rlhf_status status = list ? RLHF_OK : rlhf__fail_no_memory(64);

    for (int32_t i = 0; i < config->num_layer_configs && status == RLHF_OK; i++) {
        rlhf__json *layer = rlhf__json_new_object();
        status = layer ? layer_json(&config->layers[i], layer) : rlhf__fail_no_memory(64);
        if (status == RLHF_OK)
            status = rlhf__json_append(list, layer);
        else
            rlhf__json_free(layer);
    }
    if (status != RLHF_OK) {
        rlhf__json_free(list);
        return status;
    }
    return rlhf__json_set(object, "rlhf_layers", list);
}

static rlhf_status set_own(rlhf__json *object, const rlhf_model_config *config)
{
    const int_field ints[] = {
        {"context_length", config->context_length},
        {"hidden_size", config->hidden_size},
        {"intermediate_size", config->intermediate_size},
        {"num_layers", config->num_layers},
        {"num_heads", config->num_heads},
        {"num_kv_heads", config->num_kv_heads},
        {"head_dim", config->head_dim},
    };

    RLHF__TRY(set_ints(object, ints, sizeof ints / sizeof ints[0]));
    RLHF__TRY(set_word(object, "position", rlhf__hub_positions, config->position));
    RLHF__TRY(set_word(object, "norm", rlhf__hub_norms, config->norm));
    RLHF__TRY(set_word(object, "activation", rlhf__hub_activations, config->activation));
    RLHF__TRY(rlhf__set_bool(object, "attention_bias", config->attention_bias != 0));
    RLHF__TRY(rlhf__set_bool(object, "mlp_bias", config->mlp_bias != 0));
    RLHF__TRY(rlhf__set_f64(object, "norm_eps", config->norm_eps));
    if (config->rope_theta > 0)
        RLHF__TRY(rlhf__set_f64(object, "rope_theta", config->rope_theta));
    return set_layers(object, config);
}

/* --- reward ------------------------------------------------------------------------- */

/* One label, as transformers says it: {"0": "LABEL_0"} and back. */
static rlhf_status set_labels(rlhf__json *object)
{
    rlhf__json *names = rlhf__json_new_object(), *ids = rlhf__json_new_object();
    rlhf_status status = names && ids ? RLHF_OK : rlhf__fail_no_memory(64);

    if (status == RLHF_OK)
        status = rlhf__set_string(names, "0", "LABEL_0");
    if (status == RLHF_OK)
        status = rlhf__set_i64(ids, "LABEL_0", 0);
    if (status == RLHF_OK) {
        status = rlhf__json_set(object, "id2label", names);
        names = NULL;
    }
    if (status == RLHF_OK) {
        status = rlhf__json_set(object, "label2id", ids);
        ids = NULL;
    }
    rlhf__json_free(names);
    rlhf__json_free(ids);
    if (status == RLHF_OK && rlhf__json_get(object, "num_labels"))
        status = rlhf__set_i64(object, "num_labels", 1);
    return status;
}

/* transformers reads the score at the last token that is not the pad token, so a pad that
 * is also the end of text would hide that end: then, as where there is none, pad is null,
 * and transformers reads the last token of single sequences and refuses batches. */
static rlhf_status set_score(rlhf_context *context, rlhf__json *object,
                             const rlhf_model_config *config,
                             const rlhf__hub_score *score)
{
    if (config->pad_token_id >= 0 && config->pad_token_id == score->eos_token_id) {
        rlhf__log(context, RLHF_LOG_WARNING,
                  "pad_token_id %d is the end of text too: written as null, since other "
                  "tools would read the score before it",
                  (int)config->pad_token_id);
        RLHF__TRY(set_token(object, "pad_token_id", -1));
    }
    RLHF__TRY(set_labels(object));
    RLHF__TRY(rlhf__set_f64(object, "rlhf_score_offset", score->offset));
    RLHF__TRY(
        set_word(object, "rlhf_append_eos", rlhf__hub_append_eos, score->append_eos));
    return set_token(object, "rlhf_append_eos_id", score->eos_token_id);
}

/* --- the document ------------------------------------------------------------------- */

static rlhf_status set_identity(rlhf__json *object, const char *architecture,
                                const char *model_type)
{
    rlhf__json *list = rlhf__json_new_array();
    rlhf_status status = list ? RLHF_OK : rlhf__fail_no_memory(64);

    if (status == RLHF_OK)
        status = rlhf__json_append(
            list, rlhf__json_new_string(architecture, (int64_t)strlen(architecture)));
    if (status != RLHF_OK) {
        rlhf__json_free(list);
        return status;
    }
    RLHF__TRY(rlhf__json_set(object, "architectures", list));
    RLHF__TRY(rlhf__set_string(object, "model_type", model_type));
    RLHF__TRY(rlhf__set_string(object, "dtype", "float32"));
    return rlhf__set_string(object, "torch_dtype", "float32");
}

static rlhf_status fill(rlhf_context *context, rlhf__json *object,
                        const rlhf_model_config *config, const rlhf__hub_score *score)
{
    rlhf__hub_family family = rlhf__hub_family_of(config);
    const rlhf__hub_names *names = &rlhf__hub_family_names[family];

    RLHF__TRY(set_identity(object, score ? names->classification : names->causal,
                           names->model_type));
    RLHF__TRY(rlhf__set_i64(object, "vocab_size", config->vocab_size));
    RLHF__TRY(set_token(object, "bos_token_id", config->bos_token_id));
    RLHF__TRY(set_token(object, "eos_token_id", config->eos_token_id));
    RLHF__TRY(set_token(object, "pad_token_id", config->pad_token_id));
    RLHF__TRY(rlhf__set_bool(object, "tie_word_embeddings", config->tie_embeddings != 0));
    RLHF__TRY(rlhf__set_f64(object, "initializer_range", config->initializer_range));
    if (family == RLHF__HUB_GPT2)
        RLHF__TRY(set_gpt2(object, config));
    else if (family == RLHF__HUB_LLAMA)
        RLHF__TRY(set_llama(object, config));
    else
        RLHF__TRY(set_own(object, config));
    return score ? set_score(context, object, config, score) : RLHF_OK;
}

rlhf_status rlhf__hub_config_write(rlhf_context *context, const rlhf_model_config *config,
                                   const rlhf__hub_score *score,
                                   const rlhf__hub_origin *origin,
                                   rlhf__json **out_document)
{
    const char *type = rlhf__hub_family_names[rlhf__hub_family_of(config)].model_type;
    rlhf__json *object = NULL;
    rlhf_status status;

    *out_document = NULL;
    /* Another family's fields would only mislead. */
    if (origin &&
        strcmp(rlhf__json_string(rlhf__json_get(origin->document, "model_type"), type),
               type) == 0)
        object = rlhf__json_copy(origin->document);
    else
        object = rlhf__json_new_object();
    if (!object)
        return rlhf__fail_no_memory(64);
    status = fill(context, object, config, score);
    if (status != RLHF_OK) {
        rlhf__json_free(object);
        return status;
    }
    *out_document = object;
    return RLHF_OK;
}
