/* JSONL and plain text: what is kept of a file keeps to its rules. */
#include "fuzz.h"

enum { MAX_LENGTH = 16 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)fuzz_tokenizer();
    return 0;
}

static void check_ids(const int32_t *ids, int64_t count)
{
    FUZZ_REQUIRE(count >= 0 && count <= MAX_LENGTH, "%lld tokens", (long long)count);
    for (int64_t i = 0; i < count; i++)
        FUZZ_REQUIRE(ids[i] >= 0 && ids[i] < 264, "id %d", (int)ids[i]);
}

static void check_rows(rlhf_dataset *dataset)
{
    rlhf_dataset_info info = {.struct_size = sizeof info};

    FUZZ_OK(rlhf_dataset_get_info(dataset, &info));
    FUZZ_REQUIRE(info.num_rows >= 0, "%lld rows", (long long)info.num_rows);
    for (int64_t i = 0; i < info.num_rows; i++) {
        rlhf_example example = {.struct_size = sizeof example};
        FUZZ_OK(rlhf_dataset_next(dataset, &example));
        check_ids(example.tokens, example.num_tokens);
        check_ids(example.rejected, example.num_rejected);
        FUZZ_REQUIRE(example.prompt_length >= 0 &&
                         example.prompt_length <= example.num_tokens,
                     "a prompt of %lld of %lld", (long long)example.prompt_length,
                     (long long)example.num_tokens);
    }
}

static bool load(const char *name, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    FUZZ_OK(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.max_length = MAX_LENGTH;
    const bool taken = fuzz_check(rlhf_dataset_load(fuzz_context(), fuzz_tokenizer(),
                                                    fuzz_path(name), &options, &dataset));
    if (taken)
        check_rows(dataset);
    rlhf_dataset_free(dataset);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_write("rows.jsonl", data, size);
    fuzz_write("rows.txt", data, size);
    fuzz_taken = false;
    for (int32_t kind = RLHF_DATASET_TEXT; kind <= RLHF_DATASET_PROMPT; kind++)
        fuzz_taken |= load("rows.jsonl", kind);
    FUZZ_REQUIRE(load("rows.txt", RLHF_DATASET_TEXT), "any bytes are a plain text: %s",
                 rlhf_last_error_message());
    return 0;
}
