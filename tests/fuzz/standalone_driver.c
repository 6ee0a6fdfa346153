/* Runs a fuzz target without a fuzzer: every file of a corpus, then seeded mutations of
 * them. A file named ok-… must be taken, one named bad-… refused.
 *
 *     fuzz-NAME CORPUS MUTATIONS */
#include "fuzz.h"

#include <dirent.h>

enum { MAX_FILES = 64, MAX_SIZE = 1 << 16 };

typedef struct input {
    char name[256];
    uint8_t *data;
    size_t size;
} input;

static input inputs[MAX_FILES];
static int num_inputs;

static uint64_t random_below(uint64_t bound)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15); /* xorshift64* */

    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * UINT64_C(0x2545f4914f6cdd1d) >> 11) % bound;
}

static void read_corpus(const char *path)
{
    struct dirent **entries;
    const int count = scandir(path, &entries, NULL, alphasort);

    FUZZ_REQUIRE(count >= 0, "%s", path);
    for (int i = 0; i < count; i++) {
        input *in = &inputs[num_inputs];
        char file_path[1024];
        if (entries[i]->d_name[0] != '.') {
            FUZZ_REQUIRE(num_inputs < MAX_FILES, "%s", path);
            snprintf(in->name, sizeof in->name, "%s", entries[i]->d_name);
            snprintf(file_path, sizeof file_path, "%s/%s", path, in->name);
            FILE *file = fopen(file_path, "rb");
            in->data = malloc(MAX_SIZE);
            FUZZ_REQUIRE(file && in->data, "%s", file_path);
            in->size = fread(in->data, 1, MAX_SIZE, file);
            fclose(file);
            num_inputs++;
        }
        free(entries[i]);
    }
    free(entries);
    FUZZ_REQUIRE(num_inputs > 0, "%s is empty", path);
}

/* Replaces `cut` bytes at `at` by `size` others, as far as they fit. */
static size_t splice(uint8_t *data, size_t used, size_t at, size_t cut, const void *bytes,
                     size_t size)
{
    uint8_t copy[MAX_SIZE];

    if (used - cut + size > MAX_SIZE)
        return used;
    memcpy(copy, bytes, size);
    memmove(data + at + size, data + at + cut, used - at - cut);
    memcpy(data + at, copy, size);
    return used - cut + size;
}

static size_t mutate(uint8_t *data, size_t size)
{
    static const char *const words[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        ":",
                                        ",",
                                        "null",
                                        "-1",
                                        "0",
                                        "1",
                                        "1e999",
                                        "0.5",
                                        "true",
                                        "\\u0000",
                                        "\\ud800",
                                        "\xff\xfe",
                                        "\n",
                                        "\t",
                                        "#",
                                        "- ",
                                        "&a ",
                                        "*a",
                                        "!!str",
                                        "9223372036854775807",
                                        "18446744073709551616"};
    const input *other = &inputs[random_below((uint64_t)num_inputs)];
    const size_t at = size ? random_below(size) : 0;
    const size_t run = size > at ? random_below(size - at < 32 ? size - at : 32) : 0;
    const char *word = words[random_below(sizeof words / sizeof *words)];
    uint8_t byte = (uint8_t)random_below(256);

    switch (random_below(8)) {
    case 0:
        if (size)
            data[at] ^= (uint8_t)(1u << random_below(8));
        return size;
    case 1:
        return splice(data, size, at, size > at, &byte, 1);
    case 2: /* remove */
        return splice(data, size, at, run, "", 0);
    case 3: /* repeat */
        return splice(data, size, at, 0, data + at, run);
    case 4:
        return splice(data, size, at, 0, word, strlen(word));
    case 5:
        return splice(data, size, at, run, word, strlen(word));
    case 6: /* cut short, seldom */
        return random_below(4) ? size : at;
    default: {
        const size_t from = other->size ? random_below(other->size) : 0;
        const size_t left = other->size - from;
        return splice(data, size, at, run, other->data + from, left < 64 ? left : 64);
    }
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[MAX_SIZE];

    FUZZ_REQUIRE(argc == 3, "usage: %s CORPUS MUTATIONS", argv[0]);
    const long mutations = strtol(argv[2], NULL, 10);
    read_corpus(argv[1]);
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 0; i < num_inputs; i++) {
        LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
        if (strncmp(inputs[i].name, "ok-", 3) == 0)
            FUZZ_REQUIRE(fuzz_taken, "%s: %s", inputs[i].name, rlhf_last_error_message());
        if (strncmp(inputs[i].name, "bad-", 4) == 0)
            FUZZ_REQUIRE(!fuzz_taken, "%s was taken", inputs[i].name);
    }
    for (long i = 0; i < mutations; i++) {
        const input *in = &inputs[random_below((uint64_t)num_inputs)];
        size_t size = in->size;
        memcpy(data, in->data, size);
        for (uint64_t steps = 1 + random_below(4); steps > 0; steps--)
            size = mutate(data, size);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d files, %ld mutations\n", num_inputs, mutations);
    return 0;
}
