#include "fuzz.h"

#include <ftw.h>

bool fuzz_taken;

static char folder[256];
static bool limit_met;
static int64_t held;

static int remove_entry(const char *path, const struct stat *info, int type,
                        struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    (void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    if (!*folder) {
        /* Saving syncs to the disk, thousands of times here: memory will do. */
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(folder, sizeof folder, "%s/rlhf-fuzz-XXXXXX", base);
        FUZZ_REQUIRE(mkdtemp(folder), "%s", folder);
        atexit(remove_folder);
    }
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void fuzz_write(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(fuzz_path(name), "wb");

    FUZZ_REQUIRE(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "%s",
                 name);
}

static void *take(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)user_data;
    (void)kind;
    if ((int64_t)size > FUZZ_MEMORY_MAX - held) {
        limit_met = true;
        return NULL;
    }
    held += (int64_t)size;
    return aligned_alloc(alignment, size);
}

static void give(void *user_data, void *ptr, size_t size, size_t alignment, int32_t kind)
{
    (void)user_data;
    (void)alignment;
    (void)kind;
    held -= (int64_t)size;
    free(ptr);
}

rlhf_context *fuzz_context(void)
{
    static rlhf_context *context;
    const rlhf_allocator allocator = {sizeof allocator, take, give, NULL};
    rlhf_context_options options;

    if (context)
        return context;
    FUZZ_OK(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 1;
    options.allocator = &allocator;
    FUZZ_OK(rlhf_context_create(&options, &context));
    return context;
}

bool fuzz_check(rlhf_status status)
{
    const char *words = rlhf_last_error_message();

    if (status == RLHF_OK)
        return true;
    FUZZ_REQUIRE(status < 0 && status > RLHF_ERR_INTERNAL, "%d (%s)", (int)status, words);
    FUZZ_REQUIRE(status != RLHF_ERR_NO_MEMORY || limit_met, "%s", words);
    limit_met = false;
    FUZZ_REQUIRE(*words, "status %d has no words", (int)status);
    for (const char *c = words; *c; c++)
        FUZZ_REQUIRE((unsigned char)*c >= 0x20, "a control character in \"%s\"", words);
    return false;
}

rlhf_tokenizer *fuzz_tokenizer(void)
{
    static const char text[] = "the cat sat on the mat, and the dog on the log";
    static rlhf_tokenizer *tokenizer;
    const char *texts[1] = {text};
    const size_t sizes[1] = {sizeof text - 1};
    rlhf_tokenizer_train_options options;

    if (tokenizer)
        return tokenizer;
    FUZZ_OK(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 264;
    FUZZ_OK(rlhf_tokenizer_train(fuzz_context(), texts, sizes, 1, &options, &tokenizer));
    return tokenizer;
}
