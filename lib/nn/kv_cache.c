/* Keys and values of one sequence, all layers in one block of memory. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "nn/transformer.h"

/* A size in bytes. */
static size_t bytes(const rlhf__transformer *model, int64_t elements)
{
    return (size_t)elements * rlhf__kv_element(model->context);
}

static size_t layer_bytes(const rlhf__transformer *model, int64_t capacity)
{
    return bytes(model, rlhf__kv_size(capacity, model->config.num_kv_heads,
                                      model->config.head_dim));
}

void *rlhf__kv_cache_layer(const rlhf__kv_cache *cache, const rlhf__transformer *model,
                           int64_t layer)
{
    return (char *)cache->data + (size_t)layer * layer_bytes(model, cache->capacity);
}

/* A head's keys and values of the first `length` tokens. The values come after all keys
 * that there is room for; keys stand in blocks, of which the last goes over whole. */
static void copy_heads(const rlhf__transformer *model, const rlhf__kv_cache *from,
                       rlhf__kv_cache *to, int64_t length)
{
    const int64_t key_width = model->config.head_dim;
    const int64_t width = rlhf__kv_size(1, 1, key_width); /* of a key and a value */
    const int64_t keys =
        rlhf__ceil_div(length, RLHF__ATTENTION_BLOCK) * RLHF__ATTENTION_BLOCK;
    const int64_t heads = (int64_t)model->config.num_layers * model->config.num_kv_heads;

    for (int64_t head = 0; head < heads; head++) {
        const char *from_head =
            (char *)from->data + bytes(model, head * from->capacity * width);
        char *to_head = (char *)to->data + bytes(model, head * to->capacity * width);
        memcpy(to_head, from_head, bytes(model, keys * key_width));
        memcpy(to_head + bytes(model, to->capacity * key_width),
               from_head + bytes(model, from->capacity * key_width),
               bytes(model, length * (width - key_width)));
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
    RLHF__TRY(rlhf__alloc(model->context, model->config.num_layers,
                          layer_bytes(model, rounded), RLHF_MEMORY_KV_CACHE,
                          &grown.data));
    if (cache->data)
        copy_heads(model, cache, &grown, cache->length);
    rlhf__free(cache->data);
    *cache = grown;
    return RLHF_OK;
}

void rlhf__kv_cache_copy(rlhf__kv_cache *to, const rlhf__kv_cache *from,
                         const rlhf__transformer *model, int64_t length)
{
    copy_heads(model, from, to, length);
    to->length = length;
}

void rlhf__kv_cache_free(rlhf__kv_cache *cache)
{
    rlhf__free(cache->data);
    cache->data = NULL;
    cache->length = cache->capacity = 0;
}
