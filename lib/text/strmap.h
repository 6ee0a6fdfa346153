/* A map from byte strings to integers that only grows; entries keep their order. */
#ifndef RLHF_TEXT_STRMAP_H
#define RLHF_TEXT_STRMAP_H

#include <stdint.h>

#include "base/alloc.h"

typedef struct rlhf__strmap_entry {
    int64_t key_at; /* in keys; followed by a zero */
    int64_t key_size;
    int64_t value;
} rlhf__strmap_entry;

/* Starts as {.context = …}. */
typedef struct rlhf__strmap {
    rlhf_context *context;
    char *keys;
    int64_t keys_size, keys_capacity;
    rlhf__strmap_entry *entries; /* [num_entries], in the order of adding */
    int64_t num_entries, entries_capacity;
    int32_t *slots; /* open addressing; entry + 1, 0: free; num_slots a power of two */
    int64_t num_slots;
} rlhf__strmap;

/* Index of the key's entry, or -1. */
int64_t rlhf__strmap_find(const rlhf__strmap *map, const char *key, int64_t size);
/* Adds a key that is not there yet. LIMIT above 2^30 entries. */
rlhf_status rlhf__strmap_add(rlhf__strmap *map, const char *key, int64_t size,
                             int64_t value);
static inline const char *rlhf__strmap_key(const rlhf__strmap *map, int64_t entry)
{
    return map->keys + map->entries[entry].key_at;
}
void rlhf__strmap_free(rlhf__strmap *map);

#endif
