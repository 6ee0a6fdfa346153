/* Valid and invalid UTF-8 of published test files: repaired as they say, and through a
 * byte-level tokenizer and back as they are. */
#include "support.h"
#include "test_files.h"

#include "base/alloc.h"
#include "text/utf8.h"

/* The bytes of `name` in the data's utf8 folder; the caller's. */
static char *read_data(const char *data, const char *name, size_t *out_size)
{
    char path[2 * TEST_PATH];
    char *bytes;

    snprintf(path, sizeof path, "%s/utf8/%s", data, name);
    bytes = test_read(path, out_size);
    assert_non_null(bytes);
    return bytes;
}

/* "C2 A9", "c2a9" or "nothing" as bytes, up to a colon or the line's end; returns what
 * comes after. */
static const char *take_hex(const char *at, char *out, size_t *out_size)
{
    const char *end = at + strcspn(at, ":\n");
    unsigned byte;

    *out_size = 0;
    if (strncmp(at, "nothing", 7) == 0)
        at = end;
    for (at += strspn(at, " "); at < end; at += 2 + strspn(at + 2, " ")) {
        assert_true(*out_size < 256);
        assert_int_equal(sscanf(at, "%2x", &byte), 1);
        out[(*out_size)++] = (char)byte;
    }
    return end + (*end == ':');
}

static void check_repair(const char *line, const char *bytes, size_t size,
                         const char *expected, size_t expected_size)
{
    rlhf__buffer out = {NULL, NULL, 0, 0};

    assert_ok(rlhf__utf8_repair(bytes, (int64_t)size, &out));
    if (out.size != (int64_t)expected_size ||
        (size > 0 && memcmp(out.data, expected, expected_size) != 0))
        fail_msg("%.*s was repaired to %d bytes", (int)strcspn(line, "\n"), line,
                 (int)out.size);
    assert_int_equal(rlhf__utf8_valid(out.data, out.size), out.size);
    assert_int_equal(rlhf__utf8_valid(bytes, (int64_t)size) == (int64_t)size,
                     size == expected_size && memcmp(bytes, expected, size) == 0);
    rlhf__buffer_free(&out);
}

/* Lines "num:valid hex:BYTES" and "num:invalid hex:BYTES:SKIPPED:REPLACED". */
static void test_utf8_is_repaired_as_published(void **state)
{
    const char *data = test_data_folder();
    char bytes[256], expected[256];
    int valid = 0, invalid = 0;
    size_t size, wanted;

    (void)state;
    if (!data)
        skip();
    char *text = read_data(data, "utf8tests.txt", &size);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *kind = strchr(line, ':');
        if (*line == '#' || *line == '\n' || !*line || !kind)
            continue;
        if (strncmp(kind, ":valid hex:", 11) == 0) {
            take_hex(kind + 11, bytes, &wanted);
            check_repair(line, bytes, wanted, bytes, wanted);
            valid++;
        } else if (strncmp(kind, ":invalid hex:", 13) == 0) {
            size_t in, skipped;
            const char *next = take_hex(kind + 13, bytes, &in);
            next = take_hex(next, expected, &skipped);
            take_hex(next, expected, &wanted);
            check_repair(line, bytes, in, expected, wanted);
            invalid++;
        }
    }
    assert_true(valid > 15 && invalid > 50);
    free(text);
}

static void round_trip(rlhf_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t *ids = malloc((size + 1) * sizeof *ids);
    char *back = malloc(size + 1);
    int64_t count;
    size_t back_size;

    assert_ok(
        rlhf_tokenizer_encode(tokenizer, text, size, 0, ids, (int64_t)size + 1, &count));
    assert_ok(
        rlhf_tokenizer_decode(tokenizer, ids, count, 0, back, size + 1, &back_size));
    assert_int_equal(back_size, size);
    assert_memory_equal(back, text, size);
    free(back);
    free(ids);
}

static void test_utf8_of_any_kind_comes_back(void **state)
{
    static const char *const names[] = {"utf8tests.bin", "UTF-8-test.txt",
                                        "utf8.replace.ref.txt"};
    const char *data = test_data_folder();
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
    rlhf_tokenizer_train_options options;
    const char *texts[3];
    size_t sizes[3];

    (void)state;
    if (!data)
        skip();
    context = support_context(NULL, 1);
    for (int i = 0; i < 3; i++)
        texts[i] = read_data(data, names[i], &sizes[i]);
    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 600; /* merges that cross invalid bytes, too */
    assert_ok(rlhf_tokenizer_train(context, texts, sizes, 3, &options, &tokenizer));
    for (int i = 0; i < 3; i++) {
        round_trip(tokenizer, texts[i], sizes[i]);
        for (size_t cut = 0; cut < sizes[i]; cut += 101) /* and from within */
            round_trip(tokenizer, texts[i] + cut,
                       sizes[i] - cut < 300 ? sizes[i] - cut : 300);
        free((void *)(uintptr_t)texts[i]);
    }
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_is_repaired_as_published),
        cmocka_unit_test(test_utf8_of_any_kind_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
