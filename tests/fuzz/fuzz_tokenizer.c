/* tokenizer.json: what is taken encodes, decodes, and is the same once written. */
#include "fuzz.h"

static const char text[] = "the cat\xc3\xa9 \xe2\x96\x81 ab<unk>\xff 12";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)fuzz_context();
    return 0;
}

static bool encode(const rlhf_tokenizer *tokenizer, int32_t *ids, int64_t *count)
{
    const bool taken = fuzz_check(
        rlhf_tokenizer_encode(tokenizer, text, sizeof text - 1, 1, ids, 64, count));

    for (int64_t i = 0; taken && i < *count; i++)
        FUZZ_REQUIRE(ids[i] >= 0 && ids[i] < rlhf_tokenizer_vocab_size(tokenizer),
                     "id %d of %d", (int)ids[i],
                     (int)rlhf_tokenizer_vocab_size(tokenizer));
    return taken;
}

static void decode(rlhf_tokenizer *tokenizer, const int32_t *ids, int64_t count)
{
    rlhf_text_stream *stream;
    char decoded[4096], joined[4096];
    const char *piece;
    size_t size = 0, piece_size, used = 0;

    if (!fuzz_check(rlhf_tokenizer_decode(tokenizer, ids, count, 0, decoded,
                                          sizeof decoded, &size)))
        return;
    FUZZ_OK(rlhf_text_stream_create(tokenizer, 0, &stream));
    for (int64_t i = 0; i <= count; i++) {
        FUZZ_OK(
            rlhf_text_stream_push(stream, i < count ? ids[i] : -1, &piece, &piece_size));
        FUZZ_REQUIRE(used + piece_size <= sizeof joined, "%zu bytes", used + piece_size);
        memcpy(joined + used, piece, piece_size);
        used += piece_size;
    }
    FUZZ_REQUIRE(used == size && memcmp(joined, decoded, size) == 0,
                 "the stream gave another text: %zu bytes, not %zu", used, size);
    rlhf_text_stream_free(stream);
}

static void check_round_trip(rlhf_tokenizer *tokenizer)
{
    rlhf_tokenizer *again;
    int32_t ids[64], ids_again[64];
    int64_t count = 0, count_again = 0;

    const bool taken = encode(tokenizer, ids, &count);
    if (taken)
        decode(tokenizer, ids, count);
    FUZZ_OK(rlhf_tokenizer_save(tokenizer, fuzz_path("again")));
    FUZZ_OK(rlhf_tokenizer_load(fuzz_context(), fuzz_path("again"), &again));
    FUZZ_REQUIRE(rlhf_tokenizer_vocab_size(again) == rlhf_tokenizer_vocab_size(tokenizer),
                 "another vocabulary");
    FUZZ_REQUIRE(encode(again, ids_again, &count_again) == taken, "refused, or not");
    if (taken)
        FUZZ_REQUIRE(count == count_again &&
                         memcmp(ids, ids_again, (size_t)count * sizeof *ids) == 0,
                     "another encoding");
    rlhf_tokenizer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_tokenizer *tokenizer;

    fuzz_write("tokenizer.json", data, size);
    fuzz_taken = fuzz_check(
        rlhf_tokenizer_load(fuzz_context(), fuzz_path("tokenizer.json"), &tokenizer));
    if (fuzz_taken)
        check_round_trip(tokenizer);
    rlhf_tokenizer_free(tokenizer);
    return 0;
}
