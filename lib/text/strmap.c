/* Open addressing with linear probing at a load of at most one half. */
#include "text/strmap.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FIRST_SLOTS 1024
#define MAX_ENTRIES ((int64_t)1 << 30)

uint64_t rlhf__hash_seed(void)
{
    uint64_t seed = 0;
    struct timespec now = {0};

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return seed;
    /* A sandbox that forbids it, or a machine that has just started: the clock and where
     * the stack lies are better than nothing. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = (uint64_t)(uintptr_t)&seed ^ (uint64_t)now.tv_nsec << 32;
    return rlhf__hash_mix(seed, UINT64_C(0xD6E8FEB86659FD93));
}

/* Eight bytes at a time. */
static uint64_t hash_bytes(uint64_t seed, const char *key, int64_t size)
{
    uint64_t hash = seed ^ (uint64_t)size, word = 0;

    for (; size > 8; key += 8, size -= 8) {
        memcpy(&word, key, 8);
        hash = rlhf__hash_mix(hash ^ word, UINT64_C(0xD6E8FEB86659FD93));
    }
    word = 0;
    memcpy(&word, key, (size_t)size);
    return rlhf__hash_mix(hash ^ word, UINT64_C(0xA0761D6478BD642F));
}

/* Slot that holds the key, or the free one where it would go. */
static int64_t probe(const rlhf__strmap *map, const char *key, int64_t size)
{
    int64_t mask = map->num_slots - 1;
    int64_t slot = (int64_t)(hash_bytes(map->seed, key, size) & (uint64_t)mask);

    for (; map->slots[slot] != 0; slot = (slot + 1) & mask) {
        const rlhf__strmap_entry *entry = &map->entries[map->slots[slot] - 1];
        if (entry->key_size == size &&
            memcmp(map->keys + entry->key_at, key, (size_t)size) == 0)
            break;
    }
    return slot;
}

int64_t rlhf__strmap_find(const rlhf__strmap *map, const char *key, int64_t size)
{
    if (map->num_slots == 0)
        return -1;
    return (int64_t)map->slots[probe(map, key, size)] - 1;
}

static rlhf_status grow_slots(rlhf__strmap *map)
{
    int64_t num_slots = map->num_slots > 0 ? 2 * map->num_slots : FIRST_SLOTS;
    int32_t *slots;

    RLHF__TRY(
        rlhf__alloc(map->context, num_slots, sizeof *slots, RLHF_MEMORY_GENERAL, &slots));
    if (!map->slots)
        map->seed = rlhf__hash_seed();
    rlhf__free(map->slots);
    map->slots = slots;
    map->num_slots = num_slots;
    for (int64_t i = 0; i < map->num_entries; i++) {
        const char *key = rlhf__strmap_key(map, i);
        slots[probe(map, key, map->entries[i].key_size)] = (int32_t)(i + 1);
    }
    return RLHF_OK;
}

rlhf_status rlhf__strmap_add(rlhf__strmap *map, const char *key, int64_t size,
                             int64_t value)
{
    if (map->num_entries >= MAX_ENTRIES)
        return rlhf__fail(RLHF_ERR_LIMIT, "more than 2^30 distinct strings");
    if (2 * (map->num_entries + 1) > map->num_slots)
        RLHF__TRY(grow_slots(map));
    RLHF__TRY(rlhf__grow(map->context, &map->entries, &map->entries_capacity,
                         map->num_entries + 1, sizeof *map->entries));
    RLHF__TRY(rlhf__grow(map->context, &map->keys, &map->keys_capacity,
                         map->keys_size + size + 1, 1));
    int64_t slot = probe(map, key, size);
    rlhf__strmap_entry *entry = &map->entries[map->num_entries];
    *entry = (rlhf__strmap_entry){map->keys_size, size, value};
    memcpy(map->keys + map->keys_size, key, (size_t)size);
    map->keys[map->keys_size + size] = '\0';
    map->keys_size += size + 1;
    map->slots[slot] = (int32_t)++map->num_entries;
    return RLHF_OK;
}

void rlhf__strmap_free(rlhf__strmap *map)
{
    rlhf__free(map->keys);
    rlhf__free(map->entries);
    rlhf__free(map->slots);
    *map = (rlhf__strmap){.context = map->context};
}
