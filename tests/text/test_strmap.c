/* Keys and pairs chosen so that without a seed all would want the same few slots: the
 * tables' hashes have one. What counts is the longest row of taken slots, which is what a
 * look-up may have to walk past. */
#include "support.h"

#include "test_files.h"
#include "text/parts.h"

#define KEYS     4000
#define PAIRS    2000
#define LETTERS  200
#define MAX_FILE (1 << 18)

/* Where the tables would put them, of `slots`, had the hashes no seed. */
static uint64_t key_slot(const char key[8], uint64_t slots)
{
    __extension__ typedef unsigned __int128 wide;
    uint64_t word;

    memcpy(&word, key, 8);
    wide product =
        (wide)(UINT64_C(0x9E3779B97F4A7C15) ^ 8 ^ word) * UINT64_C(0xA0761D6478BD642F);
    return ((uint64_t)product ^ (uint64_t)(product >> 64)) & (slots - 1);
}

static uint64_t pair_slot(uint64_t left, uint64_t right, uint64_t slots)
{
    return ((left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15)) >> 20 & (slots - 1);
}

static void test_strmap_spreads_chosen_keys(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf__strmap map = {.context = context};
    int64_t row = 0, longest = 0;

    (void)state;
    for (unsigned i = 0; map.num_entries < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%08x", i);
        if (key_slot(key, 8192) < 512)
            assert_ok(rlhf__strmap_add(&map, key, 8, i));
    }
    assert_int_equal(map.num_slots, 8192);
    for (int64_t i = 0; i < map.num_slots; i++) {
        row = map.slots[i] != 0 ? row + 1 : 0;
        longest = row > longest ? row : longest;
    }
    assert_true(longest < KEYS / 4);
    for (int64_t i = 0; i < map.num_entries; i++)
        assert_int_equal(rlhf__strmap_find(&map, rlhf__strmap_key(&map, i), 8), i);
    rlhf__strmap_free(&map);
    rlhf_context_free(context);
}

/* Letters of three bytes from U+4E00 on with ids from 0, then what pairs of them make. */
static void write_file(const char *path)
{
    char *vocab = malloc(MAX_FILE), *merges = malloc(MAX_FILE), *file = malloc(MAX_FILE);
    char *v = vocab, *m = merges;
    int found = 0;

    for (int i = 0; i < LETTERS; i++)
        v += sprintf(v, "%s\"\\u%04x\": %d", i ? ", " : "", 0x4E00 + i, i);
    for (int i = 0; i < LETTERS * LETTERS && found < PAIRS; i++) {
        const int left = i / LETTERS, right = i % LETTERS;
        if (pair_slot((uint64_t)left, (uint64_t)right, 4096) >= 256)
            continue;
        v += sprintf(v, ", \"\\u%04x\\u%04x\": %d", 0x4E00 + left, 0x4E00 + right,
                     LETTERS + found);
        m += sprintf(m, "%s\"\\u%04x \\u%04x\"", found ? ", " : "", 0x4E00 + left,
                     0x4E00 + right);
        found++;
    }
    assert_int_equal(found, PAIRS);
    const int size =
        snprintf(file, MAX_FILE, "{\"model\": {\"vocab\": {%s}, \"merges\": [%s]}}",
                 vocab, merges);
    assert_true(size < MAX_FILE);
    test_write(path, file, (size_t)size);
    free(vocab);
    free(merges);
    free(file);
}

static void test_merges_spread_chosen_pairs(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    char folder[TEST_PATH];
    rlhf__tokenizer *t;
    int64_t row = 0, longest = 0;

    (void)state;
    test_folder_make(folder);
    write_file(test_join(folder, "tokenizer.json"));
    assert_ok(rlhf__tokenizer_load(context, folder, &t));
    assert_int_equal(t->num_merge_slots, 4096);
    for (int64_t i = 0; i < t->num_merge_slots; i++) {
        row = t->merges[i].key != RLHF__MERGE_FREE ? row + 1 : 0;
        longest = row > longest ? row : longest;
    }
    assert_true(longest < PAIRS / 4);
    rlhf__tokenizer_unref(t);
    test_folder_remove(folder);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strmap_spreads_chosen_keys),
        cmocka_unit_test(test_merges_spread_chosen_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
