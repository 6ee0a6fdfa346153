/* For tests of datasets: a tokenizer whose ids can be worked out by hand, files of lines,
 * rows as lists of numbers. */
#ifndef TESTS_DATA_SUPPORT_H
#define TESTS_DATA_SUPPORT_H

#include "support.h"
#include "test_files.h"

/* Byte-level, no splitting before the merges: "cab" is c, ab. BOS is 0, EOS is 1. */
#define DATA_BOS      0
#define DATA_EOS      1
#define DATA_VOCAB    18
#define DATA_NEWLINE  16
#define DATA_BLOCK_ID 17 /* "<|endoftext|>" of the second tokenizer only */
static const char data_vocab[] =
    "{\"<s>\": 0, \"</s>\": 1, \"a\": 2, \"b\": 3, \"c\": 4, \"d\": 5, \"e\": 6, \"f\": "
    "7,"
    " \"g\": 8, \"h\": 9, \"\xc4\xa0\": 10, \"ab\": 11, \"cd\": 12, \"\xc3\x83\": 13,"
    " \"\xc2\xa9\": 14, \"\xc2\xa8\": 15, \"\xc4\x8a\": 16, \"<|endoftext|>\": 17}";

static inline void data_write_tokenizer(const char *folder, int separator)
{
    static const char special[] =
        "{\"id\": %d, \"content\": \"%s\", \"special\": true, \"single_word\": false, "
        "\"lstrip\": false, \"rstrip\": false, \"normalized\": false}";
    char added[1024], text[4096];
    int used = snprintf(added, sizeof added, special, 0, "<s>");

    used += snprintf(added + used, sizeof added - (size_t)used, ", ");
    used += snprintf(added + used, sizeof added - (size_t)used, special, 1, "</s>");
    if (separator) {
        used += snprintf(added + used, sizeof added - (size_t)used, ", ");
        snprintf(added + used, sizeof added - (size_t)used, special, DATA_BLOCK_ID,
                 "<|endoftext|>");
    }
    const int vocab_size = separator
                               ? (int)sizeof data_vocab - 1
                               : (int)(strstr(data_vocab, ", \"<|end") - data_vocab);
    snprintf(
        text, sizeof text,
        "{\"version\": \"1.0\", \"added_tokens\": [%s], \"pre_tokenizer\": {\"type\": "
        "\"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}, "
        "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", "
        "\"vocab\": %.*s%s, \"merges\": [\"a b\", \"c d\"]}}",
        added, vocab_size, data_vocab, separator ? "" : "}");
    test_write(test_join(folder, "tokenizer.json"), text, strlen(text));
}

typedef struct data_fixture {
    char folder[TEST_PATH];
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
} data_fixture;

static inline int data_setup(void **state)
{
    data_fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    f->context = support_context(NULL, 1);
    data_write_tokenizer(f->folder, 0);
    assert_ok(rlhf_tokenizer_load(f->context, f->folder, &f->tokenizer));
    *state = f;
    return 0;
}

static inline int data_teardown(void **state)
{
    data_fixture *f = *state;

    rlhf_tokenizer_free(f->tokenizer);
    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

/* In the order of the file. */
static inline rlhf_dataset_options data_options(int32_t kind, int32_t max_length)
{
    rlhf_dataset_options options;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.max_length = max_length;
    options.shuffle = 0;
    options.num_epochs = 1;
    return options;
}

/* Writes the file and reads it as a dataset. */
static inline rlhf_status data_load(const data_fixture *f, const char *name,
                                    const char *text, size_t size,
                                    const rlhf_dataset_options *options,
                                    rlhf_dataset **out)
{
    test_write(test_join(f->folder, name), text, size);
    return rlhf_dataset_load(f->context, f->tokenizer, test_join(f->folder, name),
                             options, out);
}

static inline rlhf_dataset_info data_info(const rlhf_dataset *dataset)
{
    rlhf_dataset_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_dataset_get_info(dataset, &info));
    return info;
}

static inline rlhf_example data_row(rlhf_dataset *dataset, int64_t index)
{
    rlhf_example row = {.struct_size = sizeof row};

    assert_ok(rlhf_dataset_row(dataset, index, &row));
    return row;
}

/* "0 12 6 1" as ids; returns how many. */
static inline int64_t data_ids(const char *text, int32_t *out, int64_t capacity)
{
    int64_t count = 0;
    char *end;

    for (const char *at = text; *at; at = end + (*end == ' ')) {
        assert_true(count < capacity);
        out[count++] = (int32_t)strtol(at, &end, 10);
        assert_true(end > at);
    }
    return count;
}

static inline void data_check_ids(const char *what, const int32_t *ids, int64_t count,
                                  const char *expected)
{
    char got[512] = "";
    int32_t wanted[128];
    size_t used = 0;

    for (int64_t i = 0; i < count && used + 16 < sizeof got; i++)
        used += (size_t)snprintf(got + used, sizeof got - used, i ? " %d" : "%d", ids[i]);
    if (count != data_ids(expected, wanted, 128) ||
        (count > 0 && memcmp(ids, wanted, (size_t)count * sizeof *ids) != 0))
        fail_msg("%s: ids %s, expected %s", what, got, expected);
}

#endif
