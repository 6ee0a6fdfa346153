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
    uint64_t seed; /* of the hash: where in `slots` an entry lies, and nothing else */
} rlhf__strmap;

/* A number that nobody outside can foretell: whoever writes a file or a text could else
 * choose keys that all want one slot, and each look-up would walk past all of them. No
 * result may hang on it. */
uint64_t rlhf__hash_seed(void);
/* Multiply and fold (after wyhash's mixing step). */
static inline uint64_t rlhf__hash_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
/* Of a pair of ids, as a key left << 32 | right. */
static inline uint64_t rlhf__hash_pair(uint64_t key, uint64_t seed)
{
    return rlhf__hash_mix(key ^ seed, UINT64_C(0x9E3779B97F4A7C15));
}

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
