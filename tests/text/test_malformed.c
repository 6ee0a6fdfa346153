/* tokenizer.json and tokenizer_config.json that are malformed, or say what the library
 * cannot do: the status, the file, the field, and words with the value. */

#include "support.h"
#include "test_files.h"

typedef struct fixture {
    char folder[TEST_PATH];
    rlhf_context *context;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    f->context = support_context(NULL, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

typedef struct bad_file {
    const char *text;
    rlhf_status status;
    const char *field, *words;
} bad_file;

static void check_refusal(const fixture *f, const char *file, const bad_file *bad)
{
    rlhf_tokenizer *tokenizer = (rlhf_tokenizer *)(uintptr_t)f;
    rlhf_error_info info = {.struct_size = sizeof info};
    const rlhf_status status = rlhf_tokenizer_load(f->context, f->folder, &tokenizer);

    assert_ok(rlhf_last_error_info(&info));
    if (status != bad->status || strcmp(info.field, bad->field) != 0 ||
        !strstr(info.message, bad->words))
        fail_msg("%.200s\ngave %s, field \"%s\": %s", bad->text, rlhf_status_name(status),
                 info.field, info.message);
    assert_string_equal(info.file, test_join(f->folder, file));
    assert_non_null(strstr(info.message, file));
    assert_null(tokenizer);
}

#define VOCAB "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}"
#define MODEL "\"model\": {\"type\": \"BPE\", " VOCAB ", \"merges\": [\"a b\"]}"

static void check_table(const fixture *f, const bad_file *rows, size_t count,
                        const char *before, const char *after)
{
    for (size_t i = 0; i < count; i++) {
        char text[2048];
        snprintf(text, sizeof text, "%s%s%s", before, rows[i].text, after);
        test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
        check_refusal(f, "tokenizer.json", &rows[i]);
    }
}
#define CHECK_TABLE(rows, before, after)                                                 \
    check_table(*state, rows, sizeof(rows) / sizeof((rows)[0]), before, after)

static void test_models_malformed_are_refused(void **state)
{
    static const bad_file rows[] = {
        {VOCAB ", \"merges\": {}", RLHF_ERR_FORMAT, "model.merges",
         "model.merges is not an array of pairs"},
        {VOCAB ", \"merges\": [\"a b\", \"b a\"]", RLHF_ERR_FORMAT, "model.merges",
         "model.merges[1]: \"ba\" is not in the vocabulary"},
        {VOCAB ", \"merges\": [[\"a\", \"c\"]]", RLHF_ERR_FORMAT, "model.merges",
         "model.merges[0]: \"c\" is not in the vocabulary"},
        {VOCAB ", \"merges\": [[\"a\"]]", RLHF_ERR_FORMAT, "model.merges",
         "model.merges[0] is not a pair of tokens"},
        {VOCAB ", \"merges\": [\"a b c\"]", RLHF_ERR_FORMAT, "model.merges",
         "model.merges[0] is not a pair of tokens"},
        {"\"vocab\": {\"a\": 1.0}, \"merges\": []", RLHF_ERR_FORMAT, "model.vocab",
         "model.vocab: the id of \"a\" is not an integer >= 0"},
        {"\"vocab\": {\"a\": 0, \"q\": 4194304}, \"merges\": []", RLHF_ERR_LIMIT,
         "model.vocab",
         "model.vocab: id 4194304 of \"q\"; ids below 4194304 are supported"},
        {VOCAB ", \"merges\": [], \"dropout\": 0.1", RLHF_ERR_UNSUPPORTED,
         "model.dropout", "model.dropout is not 0"},
        {VOCAB ", \"merges\": [], \"continuing_subword_prefix\": \"##\"",
         RLHF_ERR_UNSUPPORTED, "continuing_subword_prefix",
         "model.continuing_subword_prefix is not supported"},
        {VOCAB ", \"merges\": [], \"end_of_word_suffix\": \"</w>\"", RLHF_ERR_UNSUPPORTED,
         "end_of_word_suffix", "model.end_of_word_suffix is not supported"},
        {VOCAB ", \"merges\": [], \"unk_token\": \"<unk>\"", RLHF_ERR_FORMAT,
         "model.unk_token", "model.unk_token is not in the vocabulary"},
        {VOCAB ", \"merges\": [], \"novelty\": 1", RLHF_ERR_UNSUPPORTED, "model",
         "model has a field \"novelty\" that this library does not know"},
    };

    CHECK_TABLE(rows, "{\"model\": {\"type\": \"BPE\", ", "}}");
}

static void test_added_tokens_malformed_are_refused(void **state)
{
    static const bad_file rows[] = {
        {"{}", RLHF_ERR_FORMAT, "added_tokens", "added_tokens is not an array"},
        {"[5]", RLHF_ERR_FORMAT, "added_tokens", "added_tokens[0] has no content"},
        {"[{\"id\": 3, \"content\": \"\"}]", RLHF_ERR_FORMAT, "added_tokens",
         "added_tokens[0] has no content"},
        {"[{\"content\": \"<s>\"}]", RLHF_ERR_FORMAT, "added_tokens",
         "added_tokens: the id of \"<s>\" is not an integer >= 0"},
        {"[{\"id\": 4194304, \"content\": \"<s>\"}]", RLHF_ERR_LIMIT, "added_tokens",
         "added_tokens: id 4194304 of \"<s>\""},
        {"[{\"id\": 0, \"content\": \"<s>\"}]", RLHF_ERR_FORMAT, "added_tokens",
         "added_tokens: \"<s>\" with id 0 contradicts the vocabulary"},
        {"[{\"id\": 3, \"content\": \"a\"}]", RLHF_ERR_FORMAT, "added_tokens",
         "added_tokens: \"a\" with id 3 contradicts the vocabulary"},
        {"[{\"id\": 3, \"content\": \"x\"}, {\"id\": 3, \"content\": \"x\"}]",
         RLHF_ERR_FORMAT, "added_tokens", "added_tokens has \"x\" twice"},
        {"[{\"id\": 3, \"content\": \"x\", \"single_word\": true}]", RLHF_ERR_UNSUPPORTED,
         "added_tokens", "added_tokens[0]: single_word is not supported"},
        {"[{\"id\": 3, \"content\": \"x\", \"colour\": \"red\"}]", RLHF_ERR_UNSUPPORTED,
         "added_tokens", "added_tokens has a field \"colour\""},
    };

    CHECK_TABLE(rows, "{" MODEL ", \"added_tokens\": ", "}");
}

#define SPLIT(pattern, behavior)                                                         \
    "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": " pattern                     \
    ", \"behavior\": \"" behavior "\"}"
#define SIXTEEN(x)                                                                       \
    x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x       \
      ", " x ", " x ", " x ", " x
#define PREPEND "{\"type\": \"Prepend\", \"prepend\": \"a\"}"
#define DIGITS  "{\"type\": \"Digits\"}"

static void test_pipelines_malformed_are_refused(void **state)
{
    static const bad_file rows[] = {
        {"\"normalizer\": {}", RLHF_ERR_FORMAT, "normalizer", "normalizer has no type"},
        {"\"normalizer\": {\"type\": \"Sequence\"}", RLHF_ERR_FORMAT, "normalizer",
         "normalizer.normalizers is not an array"},
        {"\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [" SIXTEEN(
             PREPEND) ", 1]}",
         RLHF_ERR_LIMIT, "normalizer", "normalizer has 17 members; at most 16"},
        {"\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [" PREPEND
         ", {\"type\": \"Sequence\", \"normalizers\": [" SIXTEEN(PREPEND) "]}]}",
         RLHF_ERR_LIMIT, "normalizer", "normalizer has more than 16 steps"},
        {"\"normalizer\": {\"type\": \"Prepend\"}", RLHF_ERR_FORMAT, "normalizer",
         "normalizer Prepend lacks its text"},
        {"\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"x\"}}",
         RLHF_ERR_FORMAT, "normalizer", "normalizer Replace lacks its text"},
        {"\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x\"}, "
         "\"content\": \"\"}",
         RLHF_ERR_UNSUPPORTED, "normalizer", "only a pattern of the kind String"},
        {"\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": 5}",
         RLHF_ERR_FORMAT, "pre_tokenizer", "pre_tokenizer.pretokenizers is not an array"},
        {"\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" DIGITS
         ", {\"type\": \"Sequence\", \"pretokenizers\": [" SIXTEEN(DIGITS) "]}]}",
         RLHF_ERR_LIMIT, "pre_tokenizer", "pre_tokenizer has more than 16 steps"},
        {"\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\"}",
         RLHF_ERR_FORMAT, "pre_tokenizer.pattern", "pre_tokenizer Split has no pattern"},
        {SPLIT("{\"Regex\": \"a\"}", "MergedWithNext"), RLHF_ERR_UNSUPPORTED,
         "pre_tokenizer.behavior", "behavior \"MergedWithNext\" is not supported"},
        {SPLIT("{\"Regex\": \"(a\"}", "Isolated"), RLHF_ERR_FORMAT, "pattern",
         "pattern, at byte 2: missing closing parenthesis"},
        {SPLIT("{\"Regex\": \"\\\\C\"}", "Isolated"), RLHF_ERR_FORMAT, "pattern",
         "pattern, at byte 2: "},
        {"\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"novelty\": 1}",
         RLHF_ERR_UNSUPPORTED, "pre_tokenizer", "pre_tokenizer has a field \"novelty\""},
        {"\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"__\"}",
         RLHF_ERR_FORMAT, "pre_tokenizer.replacement",
         "replacement is not one character"},
        {"\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", "
         "\"prepend_scheme\": \"often\"}",
         RLHF_ERR_FORMAT, "pre_tokenizer.prepend_scheme", "prepend_scheme \"often\""},
        {"\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
         "\"ByteLevel\"}, " DIGITS "]}",
         RLHF_ERR_UNSUPPORTED, "pre_tokenizer", "nothing is supported after ByteLevel"},
        {"\"post_processor\": {\"type\": \"BertProcessing\"}", RLHF_ERR_UNSUPPORTED,
         "post_processor", "post_processor of type \"BertProcessing\" is not supported"},
        {"\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": []}",
         RLHF_ERR_FORMAT, "post_processor.single", "does not hold the text exactly once"},
        {"\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
         "[{\"SpecialToken\": {\"id\": \"<s>\"}}]}",
         RLHF_ERR_FORMAT, "post_processor", "special_tokens has no ids for \"<s>\""},
        {"\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
         "[{\"SpecialToken\": {\"id\": \"<s>\"}}], "
         "\"special_tokens\": {\"<s>\": {\"ids\": [3]}}}",
         RLHF_ERR_FORMAT, "post_processor", "\"<s>\" has an id outside the vocabulary"},
    };

    CHECK_TABLE(rows, "{" MODEL ", ", "}");
}

#define STRIP(fields)                                                                    \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, "                     \
    "{\"type\": \"Strip\"" fields "}]}"

static void test_decoders_malformed_are_refused(void **state)
{
    static const bad_file rows[] = {
        {"{\"type\": \"Sequence\", \"decoders\": []}", RLHF_ERR_UNSUPPORTED, "decoder",
         "decoder of type \"Sequence\" is not supported"},
        {"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, "
         "{\"type\": \"Replace\"}]}",
         RLHF_ERR_UNSUPPORTED, "decoder",
         "decoder of type \"Replace\" is not supported, or not "},
        {"{\"type\": \"Metaspace\"}", RLHF_ERR_UNSUPPORTED, "decoder",
         "type \"Metaspace\""},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x\"}, \"content\": \"\"}",
         RLHF_ERR_UNSUPPORTED, "decoder", "only a pattern of the kind String"},
        {STRIP(""), RLHF_ERR_FORMAT, "decoder",
         "needs one character of content and a start"},
        {STRIP(", \"content\": \" \", \"start\": -1"), RLHF_ERR_FORMAT, "decoder",
         "and a start"},
        {STRIP(", \"content\": \"ab\", \"start\": 1"), RLHF_ERR_FORMAT, "decoder",
         "one character"},
        {STRIP(", \"content\": \" \", \"start\": 1, \"stop\": 1"), RLHF_ERR_UNSUPPORTED,
         "decoder.stop", "a stop other than 0"},
    };

    CHECK_TABLE(rows, "{" MODEL ", \"decoder\": ", "}");
}

static void test_sizes_over_a_limit_are_refused(void **state)
{
    static const bad_file token = {"4097 bytes", RLHF_ERR_LIMIT, "added_tokens",
                                   "added_tokens[0] has 4097 bytes; at most 4096"};
    static const bad_file pattern = {"65537 bytes", RLHF_ERR_LIMIT, "pattern",
                                     "pattern of 65537 bytes; at most 65536"};
    static const bad_file affix = {"65 ids", RLHF_ERR_LIMIT, "post_processor",
                                   "post_processor adds more than 64 tokens"};
    static const bad_file name = {"2^20 + 1 bytes", RLHF_ERR_LIMIT, "decoder",
                                  "token 3 decodes to 1048577 bytes; at most 1048576"};
    const fixture *f = *state;
    char *text = malloc(1 << 21), many[70000];

    memset(many, 'x', sizeof many);
    sprintf(text,
            "{" MODEL ", \"added_tokens\": [{\"id\": 3, \"content\": \"%.4097s\"}]}",
            many);
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    check_refusal(f, "tokenizer.json", &token);
    sprintf(text,
            "{" MODEL
            ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": "
            "\"%.65537s\"}, \"behavior\": \"Isolated\"}}",
            many);
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    check_refusal(f, "tokenizer.json", &pattern);
    many[0] = 0;
    for (int i = 0; i < 65; i++)
        strcat(many, i ? ", 0" : "0");
    sprintf(text,
            "{" MODEL
            ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
            "[{\"SpecialToken\": {\"id\": \"s\"}}], "
            "\"special_tokens\": {\"s\": {\"ids\": [%s]}}}}",
            many);
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    check_refusal(f, "tokenizer.json", &affix);
    sprintf(text,
            "{\"model\": {\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"%0*d\": 3}, "
            "\"merges\": []}}",
            (1 << 20) + 1, 0);
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    check_refusal(f, "tokenizer.json", &name);
    free(text);
}

static void test_config_beside_it_malformed_is_refused(void **state)
{
    static const bad_file rows[] = {
        {"{", RLHF_ERR_FORMAT, "", "invalid JSON"},
        {"[]", RLHF_ERR_FORMAT, "", "not a JSON object"},
        {"{\"bos_token\": 5}", RLHF_ERR_FORMAT, "bos_token", "bos_token is not the name"},
        {"{\"eos_token\": {\"content\": null}}", RLHF_ERR_FORMAT, "eos_token",
         "eos_token is not the name"},
        {"{\"unk_token\": []}", RLHF_ERR_FORMAT, "unk_token",
         "unk_token is not the name"},
    };
    const fixture *f = *state;

    test_write(test_join(f->folder, "tokenizer.json"), "{" MODEL "}",
               strlen("{" MODEL "}"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_write(test_join(f->folder, "tokenizer_config.json"), rows[i].text,
                   strlen(rows[i].text));
        check_refusal(f, "tokenizer_config.json", &rows[i]);
    }
}

static rlhf_tokenizer *load_text(const fixture *f, const char *text)
{
    rlhf_tokenizer *tokenizer;

    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    assert_ok(rlhf_tokenizer_load(f->context, f->folder, &tokenizer));
    return tokenizer;
}

/* Patterns that compile and then cannot be run to their end on a text. */
static void test_patterns_that_run_away_are_stopped(void **state)
{
    static const struct {
        const char *pattern;
        rlhf_status status;
        const char *words;
    } rows[] = {{"(x+x+)+[yz]", RLHF_ERR_LIMIT, "takes too many steps"},
                {"(?=x\\\\K)", RLHF_ERR_FORMAT, "pattern"}};
    const fixture *f = *state;
    char text[1024], many[64];

    memset(many, 'x', sizeof many);
    for (int i = 0; i < 2; i++) {
        rlhf_tokenizer *tokenizer = NULL;
        int64_t count = 77;
        int32_t ids[65];
        snprintf(text, sizeof text,
                 "{" MODEL ", " SPLIT("{\"Regex\": \"%s\"}", "Isolated") "}",
                 rows[i].pattern);
        test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
        rlhf_status status = rlhf_tokenizer_load(f->context, f->folder, &tokenizer);
        if (status == RLHF_OK)
            status =
                rlhf_tokenizer_encode(tokenizer, many, sizeof many, 0, ids, 65, &count);
        if (status != rows[i].status || !strstr(rlhf_last_error_message(), rows[i].words))
            fail_msg("%s gave %s: %s", rows[i].pattern, rlhf_status_name(status),
                     rlhf_last_error_message());
        assert_int_equal(count, 77);
        rlhf_tokenizer_free(tokenizer);
    }
}

/* No search takes long, all of them together would: the steps are a text's. */
static void test_steps_of_a_pattern_are_counted_over_a_text(void **state)
{
    rlhf_tokenizer *tokenizer = load_text(
        *state, "{" MODEL ", " SPLIT("{\"Regex\": \"(?s).*?x|a\"}", "Isolated") "}");
    const size_t size = 20000;
    char *text = malloc(size);
    int64_t count = 77;

    memset(text, 'a', size);
    assert_fails(rlhf_tokenizer_encode(tokenizer, text, size, 0, NULL, 0, &count),
                 RLHF_ERR_LIMIT, "takes too many steps on this text");
    assert_int_equal(count, 77);
    /* One long search, and those after it that take more than a few steps, are fine. */
    assert_ok(rlhf_tokenizer_encode(tokenizer, text, 1000, 0, NULL, 0, &count));
    assert_int_equal(count, 1000);
    memset(text + size - 1000, 'x', 1000);
    assert_ok(rlhf_tokenizer_encode(tokenizer, text, size, 0, NULL, 0, &count));
    assert_int_equal(count, size - 1000);
    rlhf_tokenizer_free(tokenizer);
    free(text);
}

/* An added token that its own normalizer empties can never be found in a text, not at a
 * zero byte either, where its text would end at once. */
static void test_added_token_normalized_away_is_harmless(void **state)
{
    static const char text[] =
        "{" MODEL
        ", \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"x\"}, "
        "\"content\": \"\"}, \"added_tokens\": [{\"id\": 3, \"content\": \"xx\", "
        "\"normalized\": true}]}";
    rlhf_tokenizer *tokenizer = load_text(*state, text);
    int32_t ids[8];
    int64_t count;

    assert_ok(rlhf_tokenizer_encode(tokenizer, "axxb", 4, 1, ids, 8, &count));
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], 2); /* "ab" */
    assert_ok(rlhf_tokenizer_encode(tokenizer, "a\0b", 3, 1, ids, 8, &count));
    assert_int_equal(count, 1); /* the vocabulary lacks the zero: it is dropped */
    assert_int_equal(ids[0], 2);
    assert_int_equal(rlhf_tokenizer_token_id(tokenizer, "xx"), 3);
    rlhf_tokenizer_free(tokenizer);
}

/* One "a" becomes 40, 1600, then 64000. */
#define A10 "aaaaaaaaaa"
#define GROW                                                                             \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"" A10 A10  \
        A10 A10 "\"}"
#define NORMALIZER(steps)                                                                \
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [" steps "]}"

#define ADDED                                                                            \
    ", \"added_tokens\": [{\"id\": 3, \"content\": \"aa\", \"normalized\": true}]"

static void test_steps_that_multiply_a_text_are_stopped(void **state)
{
    static const bad_file rows[] = {
        {NORMALIZER(GROW ", " GROW ", " GROW) ADDED, RLHF_ERR_LIMIT, "normalizer",
         "normalizer: step 2 makes more than 288 bytes of a text of 2"},
        {"\"decoder\": {\"type\": \"Sequence\", \"decoders\": [" GROW ", " GROW
         ", {\"type\": \"Fuse\"}]}",
         RLHF_ERR_LIMIT, "decoder",
         "decoder: step 2 makes more than 272 bytes of a text of 1"},
    };
    const fixture *f = *state;
    rlhf_tokenizer *tokenizer;
    int32_t ids[40];
    int64_t count = 77;

    CHECK_TABLE(rows, "{" MODEL ", ", "}");
    tokenizer = load_text(f, "{" MODEL ", " NORMALIZER(GROW ", " GROW) "}");
    assert_fails(rlhf_tokenizer_encode(tokenizer, "a", 1, 0, ids, 40, &count),
                 RLHF_ERR_LIMIT,
                 "normalizer: step 2 makes more than 272 bytes of a text of 1");
    assert_int_equal(count, 77);
    rlhf_tokenizer_free(tokenizer);
    tokenizer = load_text(f, "{" MODEL ", " NORMALIZER(GROW) "}");
    assert_ok(rlhf_tokenizer_encode(tokenizer, "a", 1, 0, ids, 40, &count));
    assert_int_equal(count, 40);
    rlhf_tokenizer_free(tokenizer);
}

static void *adding_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)kind;
    *(int64_t *)user_data += (int64_t)size;
    return aligned_alloc(alignment, size);
}

static void adding_free(void *user_data, void *ptr, size_t size, size_t alignment,
                        int32_t kind)
{
    (void)user_data, (void)size, (void)alignment, (void)kind;
    free(ptr);
}

/* Added tokens with ever greater ids: room for them all is made once. */
static void test_added_tokens_cost_no_vocabulary_each(void **state)
{
    const fixture *f = *state;
    char *text = malloc(1 << 16),
         *at = text + sprintf(text, "{" MODEL ", \"added_tokens\": [");
    int64_t bytes = 0;
    rlhf_allocator allocator = {sizeof allocator, adding_alloc, adding_free, &bytes};
    rlhf_context_options options;
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;

    for (int i = 0; i < 500; i++)
        at += sprintf(at, "%s{\"id\": %d, \"content\": \"<x%d>\", \"special\": true}",
                      i ? ", " : "", 10000 + i, i);
    sprintf(at, "]}");
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    support_options(&options, 1);
    options.allocator = &allocator;
    assert_ok(rlhf_context_create(&options, &context));
    assert_ok(rlhf_tokenizer_load(context, f->folder, &tokenizer));
    assert_int_equal(rlhf_tokenizer_vocab_size(tokenizer), 10500);
    assert_int_equal(rlhf_tokenizer_token_id(tokenizer, "<x499>"), 10499);
    assert_true(bytes < 16 << 20);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    free(text);
}

/* Added tokens that begin with each other. */
static void test_added_tokens_longest_wins(void **state)
{
    static const struct {
        const char *text;
        int64_t count;
        int32_t ids[4];
    } rows[] = {
        {"<x", 1, {3}},       {"<x>", 1, {4}},
        {"<x>y", 1, {5}},     {"<x>yz", 1, {6}},
        {"<", 0, {0}},        {"<w", 0, {0}},
        {"<y", 0, {0}},       {"a<x>yyb", 3, {0, 5, 1}},
        {"<x<x>", 2, {3, 4}}, {"<x>yq<x>y", 2, {5, 5}},
        {"<x>\xff", 1, {4}},  {"<xx>", 1, {3}},
    };
    rlhf_tokenizer *tokenizer = load_text(
        *state,
        "{" MODEL ", \"added_tokens\": [{\"id\": 6, \"content\": \"<x>yz\"}, "
        "{\"id\": 4, \"content\": \"<x>\"}, {\"id\": 3, \"content\": \"<x\"}, "
        "{\"id\": 5, \"content\": \"<x>y\"}, {\"id\": 7, \"content\": \"<x>yya\"}]}");

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t ids[8];
        int64_t count = 0;
        assert_ok(rlhf_tokenizer_encode(tokenizer, rows[i].text, strlen(rows[i].text), 0,
                                        ids, 8, &count));
        if (count != rows[i].count ||
            memcmp(ids, rows[i].ids, (size_t)count * sizeof ids[0]) != 0)
            fail_msg("\"%s\" gives %d ids, the first %d", rows[i].text, (int)count,
                     count ? ids[0] : -1);
    }
    rlhf_tokenizer_free(tokenizer);
}

/* Long calls look for a cancellation; a small file's is a short one, which never does. */
static void test_load_of_a_large_file_is_cancelled(void **state)
{
    const fixture *f = *state;
    char *text = malloc(1 << 18), *at = text + sprintf(text, "{\"model\": {\"vocab\": {");
    rlhf_tokenizer *tokenizer;

    for (int i = 0; i < 5000; i++)
        at += sprintf(at, "%s\"<x%d>\": %d", i ? ", " : "", i, i);
    sprintf(at, "}, \"merges\": []}}");
    test_write(test_join(f->folder, "tokenizer.json"), text, strlen(text));
    rlhf_context_cancel(f->context);
    assert_fails(rlhf_tokenizer_load(f->context, f->folder, &tokenizer),
                 RLHF_ERR_CANCELLED, "cancelled");
    assert_null(tokenizer);
    assert_ok(rlhf_tokenizer_load(f->context, f->folder, &tokenizer));
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_cancel(f->context);
    tokenizer = load_text(f, "{" MODEL "}");
    rlhf_tokenizer_free(tokenizer);
    free(text);
}

/* Each place of the text begins as a long added token does, and none goes on so: 0.1 s,
 * where a search for each byte took 20. */
static void test_added_tokens_nearly_met_are_passed_over(void **state)
{
    const size_t size = 300000;
    char *file = malloc(1 << 14), *text = malloc(size), many[4096];
    int64_t count;

    memset(many, 'a', 4095);
    memset(text, 'a', size);
    many[4095] = 0;
    sprintf(file, "{" MODEL ", \"added_tokens\": [{\"id\": 3, \"content\": \"%sb\"}]}",
            many);
    rlhf_tokenizer *tokenizer = load_text(*state, file);
    assert_ok(rlhf_tokenizer_encode(tokenizer, text, size, 0, NULL, 0, &count));
    assert_int_equal(count, size);
    rlhf_tokenizer_free(tokenizer);
    free(text);
    free(file);
}

static void test_training_settings_wrong_are_refused(void **state)
{
    static const char *const twice[] = {"<s>", "<s>"}, *const empty[] = {""},
                             *const invalid[] = {"\xff"}, *const one[] = {"<s>"};
    static const struct {
        int32_t vocab_size, min_frequency;
        const char *const *special;
        int32_t num_special;
        const char *bos, *field, *words;
    } rows[] = {
        {256, 2, one, 1, NULL, "vocab_size", "vocab_size must be in [257, 4194304]"},
        {300, 0, one, 1, NULL, "min_frequency", "min_frequency must be >= 1, got 0"},
        {300, 2, twice, 2, NULL, "", "special token \"<s>\" is given twice"},
        {300, 2, empty, 1, NULL, "", "special_tokens[0] is not 1 to 4096 bytes of UTF-8"},
        {300, 2, invalid, 1, NULL, "", "special_tokens[0] is not"},
        {300, 2, one, 1, "</s>", "", "\"</s>\" is not a special token"},
    };
    const fixture *f = *state;
    const char *texts[] = {"ab"};
    const size_t sizes[] = {2};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rlhf_tokenizer_train_options options;
        rlhf_tokenizer *tokenizer;
        rlhf_error_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
        options.vocab_size = rows[i].vocab_size;
        options.min_frequency = rows[i].min_frequency;
        options.special_tokens = rows[i].special;
        options.num_special_tokens = rows[i].num_special;
        options.bos_token = rows[i].bos;
        assert_fails(
            rlhf_tokenizer_train(f->context, texts, sizes, 1, &options, &tokenizer),
            RLHF_ERR_INVALID_ARG, rows[i].words);
        assert_null(tokenizer);
        assert_ok(rlhf_last_error_info(&info));
        assert_string_equal(info.field, rows[i].field);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_models_malformed_are_refused),
        TEST(test_added_tokens_malformed_are_refused),
        TEST(test_pipelines_malformed_are_refused),
        TEST(test_decoders_malformed_are_refused),
        TEST(test_sizes_over_a_limit_are_refused),
        TEST(test_config_beside_it_malformed_is_refused),
        TEST(test_patterns_that_run_away_are_stopped),
        TEST(test_steps_of_a_pattern_are_counted_over_a_text),
        TEST(test_added_token_normalized_away_is_harmless),
        TEST(test_steps_that_multiply_a_text_are_stopped),
        TEST(test_added_tokens_cost_no_vocabulary_each),
        TEST(test_added_tokens_longest_wins),
        TEST(test_load_of_a_large_file_is_cancelled),
        TEST(test_added_tokens_nearly_met_are_passed_over),
        TEST(test_training_settings_wrong_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
