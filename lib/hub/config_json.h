/* config.json of a Hugging Face folder, to and from rlhf_model_config. */
#ifndef RLHF_HUB_CONFIG_JSON_H
#define RLHF_HUB_CONFIG_JSON_H

#include <stdint.h>

#include <rlhf/model.h>

#include "base/error.h"
#include "base/json.h"

/* Which naming of parameters and fields a config follows. */
typedef enum rlhf__hub_family {
    RLHF__HUB_GPT2,
    RLHF__HUB_LLAMA,
    RLHF__HUB_OWN /* what neither can express: model_type "rlhf", read by this library
                     only */
} rlhf__hub_family;

/* Fields of the folder that a model was loaded from: written back on save unless the
 * model has a field of its own for them. */
typedef struct rlhf__hub_origin {
    rlhf_context *context; /* a reference of its own */
    rlhf__json *document;
} rlhf__hub_origin;
void rlhf__hub_origin_free(rlhf__hub_origin *origin); /* NULL ok */
/* NULL gives NULL. */
rlhf_status rlhf__hub_origin_clone(const rlhf__hub_origin *origin,
                                   rlhf__hub_origin **out_origin);

/* What a reward model has beside its network: score = scale * head + offset. */
typedef struct rlhf__hub_score {
    double scale, offset;
    int32_t append_eos; /* an rlhf_append_eos */
    int32_t eos_token_id;
} rlhf__hub_score;

/* A config as read. */
typedef struct rlhf__hub_config {
    rlhf__hub_family family;
    rlhf_model_config model; /* layers points to `layers` or is NULL */
    rlhf_layer_config *layers;
    rlhf__hub_score score; /* of a reward model; scale 1 */
} rlhf__hub_config;
void rlhf__hub_config_clear(rlhf__hub_config *config);

/* Reads a parsed config.json; `path` is for messages only. `reward` asks for a
 * ...ForSequenceClassification with one label, else for a language model. FORMAT: a field
 * missing, of another type, or out of range; UNSUPPORTED: a field whose value the network
 * cannot express. Both name field and value. Dropout is logged: there is none. */
rlhf_status rlhf__hub_config_read(rlhf_context *context, const rlhf__json *document,
                                  const char *path, bool reward, rlhf__hub_config *out);

/* The family that expresses a canonical config (every field set, every layer listed)
 * exactly. */
rlhf__hub_family rlhf__hub_family_of(const rlhf_model_config *config);

/* A new config.json document for a canonical config; `score` is NULL for a language
 * model, `origin` may be NULL. */
rlhf_status rlhf__hub_config_write(rlhf_context *context, const rlhf_model_config *config,
                                   const rlhf__hub_score *score,
                                   const rlhf__hub_origin *origin,
                                   rlhf__json **out_document);

#endif
