/* Keys and values of one sequence, all layers in one block of memory. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "nn/transformer.h"

static int64_t layer_size(const rlhf__transformer *model, int64_t capacity)
{
    return rlhf__kv_size(capacity, model->config.num_kv_heads, model->config.head_dim);
}

float *rlhf__kv_cache_layer(const rlhf__kv_cache *cache, const rlhf__transformer *model,
                            int64_t layer)
{
    return cache->data + layer * layer_size(model, cache->capacity);
}

/* A head's keys, then its values: both grow at their ends, so each is copied to its
 * new place. */
static void move_layer(const rlhf__transformer *model, const float *from,
                       int64_t from_capacity, float *to, int64_t to_capacity)
{
    const int64_t key_width = model->config.head_dim;
    const int64_t width = rlhf__kv_size(1, 1, key_width); /* of a key and a value */

    for (int32_t head = 0; head < model->config.num_kv_heads; head++) {
        const float *from_head = from + head * from_capacity * width;
        float *to_head = to + head * to_capacity * width;
        memcpy(to_head, from_head, (size_t)(from_capacity * key_width) * sizeof *to);
        memcpy(to_head + to_capacity * key_width, from_head + from_capacity * key_width,
               (size_t)(from_capacity * (width - key_width)) * sizeof *to);
    }
}

rlhf_status rlhf__kv_cache_reserve(rlhf__kv_cache *cache, const rlhf__transformer *model,
                                   int64_t capacity)
{
    const int64_t rounded =
        rlhf__ceil_div(capacity, RLHF__ATTENTION_BLOCK) * RLHF__ATTENTION_BLOCK;
    rlhf__kv_cache grown = {model->context, NULL, cache->length, rounded};

    if (rounded <= cache->capacity)
        return RLHF_OK;
    RLHF__TRY(rlhf__alloc(model->context,
                          model->config.num_layers * layer_size(model, rounded),
                          sizeof *grown.data, RLHF_MEMORY_KV_CACHE, &grown.data));
    for (int32_t layer = 0; cache->data && layer < model->config.num_layers; layer++)
        move_layer(model, rlhf__kv_cache_layer(cache, model, layer), cache->capacity,
                   rlhf__kv_cache_layer(&grown, model, layer), rounded);
    rlhf__free(cache->data);
    *cache = grown;
    return RLHF_OK;
}

void rlhf__kv_cache_copy(rlhf__kv_cache *to, const rlhf__kv_cache *from,
                         const rlhf__transformer *model, int64_t length)
{
    const int64_t key_width = model->config.head_dim;
    const int64_t width = rlhf__kv_size(1, 1, key_width); /* of a key and a value */
    /* Keys stand in blocks: the last one goes over whole. */
    const int64_t keys =
        rlhf__ceil_div(length, RLHF__ATTENTION_BLOCK) * RLHF__ATTENTION_BLOCK;
    const int64_t heads = (int64_t)model->config.num_layers * model->config.num_kv_heads;

    for (int64_t head = 0; head < heads; head++) {
        const float *from_head = from->data + head * from->capacity * width;
        float *to_head = to->data + head * to->capacity * width;
        memcpy(to_head, from_head, (size_t)(keys * key_width) * sizeof *to_head);
        memcpy(to_head + to->capacity * key_width, from_head + from->capacity * key_width,
               (size_t)(length * (width - key_width)) * sizeof *to_head);
    }
    to->length = length;
}

void rlhf__kv_cache_free(rlhf__kv_cache *cache)
{
    rlhf__free(cache->data);
    cache->data = NULL;
    cache->length = cache->capacity = 0;
}
