/* Tokenizers against Hugging Face's: merges, ids and texts that make_tokenizers.py
 * wrote down; hostile bytes; streams; broken files. */
#include "support.h"

#include "base/hash.h"
#include "base/json.h"
#include "test_files.h"
#include "text/tokenizer.h"

static char folder[TEST_PATH];
static rlhf_context *context;

static int setup(void **state)
{
    (void)state;
    test_folder_make(folder);
    context = support_context(NULL, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rlhf_context_free(context);
    test_folder_remove(folder);
    return 0;
}

static rlhf__json *load_vectors(const char *name)
{
    const char *root = getenv("RLHF_SOURCE_DIR");
    char path[TEST_PATH];
    rlhf__json *json;

    snprintf(path, sizeof path, "%s/tests/golden/tokenizers/%s", root ? root : ".", name);
    assert_ok(rlhf__json_load(context, path, 16 << 20, &json));
    return json;
}

static const char *text_of(const rlhf__json *object, const char *key, size_t *out_size)
{
    const rlhf__json *value = rlhf__json_get(object, key);

    assert_true(rlhf__json_is_string(value));
    *out_size = (size_t)rlhf__json_string_size(value);
    return rlhf__json_string(value, "");
}

static void check_ids(const char *what, const rlhf__ids *ids, const rlhf__json *expected)
{
    if (ids->size != rlhf__json_size(expected))
        fail_msg("%s: %d ids, expected %d", what, (int)ids->size,
                 (int)rlhf__json_size(expected));
    for (int64_t i = 0; i < ids->size; i++)
        if (ids->data[i] != rlhf__json_i64(rlhf__json_at(expected, i), -2))
            fail_msg("%s: id %d is %d, expected %d", what, (int)i, ids->data[i],
                     (int)rlhf__json_i64(rlhf__json_at(expected, i), -2));
}

static void check_encode(const rlhf__tokenizer *t, const char *name, const rlhf__json *c,
                         int32_t flags)
{
    rlhf__ids ids = {.context = context};
    size_t size;
    const char *text = text_of(c, "text", &size);
    char what[256];

    snprintf(what, sizeof what, "%s: \"%.100s\"", name, text);
    assert_ok(rlhf__tokenizer_encode(t, text, size, flags, &ids));
    check_ids(what, &ids, rlhf__json_get(c, "ids"));
    rlhf__ids_free(&ids);
}

/* --- training ----------------------------------------------------------------------- */

static rlhf__tokenizer *train(const rlhf__json *row)
{
    const rlhf__json *texts = rlhf__json_get(row, "texts");
    const rlhf__json *special = rlhf__json_get(row, "special_tokens");
    const char *names[8];
    rlhf__tokenizer_train_settings settings = {
        .vocab_size = rlhf__json_i64(rlhf__json_get(row, "vocab_size"), 0),
        .min_frequency = rlhf__json_i64(rlhf__json_get(row, "min_frequency"), 0),
        .special_tokens = names,
        .num_special_tokens = rlhf__json_size(special)};
    rlhf__tokenizer_trainer *trainer;
    rlhf__tokenizer *t;

    for (int64_t i = 0; i < settings.num_special_tokens; i++)
        names[i] = rlhf__json_string(rlhf__json_at(special, i), "");
    assert_ok(rlhf__tokenizer_trainer_create(context, &settings, &trainer));
    for (int64_t i = 0; i < rlhf__json_size(texts); i++) {
        const rlhf__json *text = rlhf__json_at(texts, i);
        assert_ok(rlhf__tokenizer_trainer_add(trainer, rlhf__json_string(text, ""),
                                              (size_t)rlhf__json_string_size(text)));
    }
    assert_ok(rlhf__tokenizer_trainer_finish(trainer, &t));
    rlhf__tokenizer_trainer_free(trainer);
    return t;
}

static void save(const rlhf__tokenizer *t)
{
    rlhf__folder *out;

    assert_ok(rlhf__folder_begin(context, test_join(folder, "t"), true, &out));
    assert_ok(rlhf__tokenizer_save(t, out));
    assert_ok(rlhf__folder_commit(out));
}

static void test_training_learns_the_merges_of_hugging_face(void **state)
{
    rlhf__json *rows = load_vectors("train.json");

    (void)state;
    assert_true(rlhf__json_size(rows) >= 9);
    for (int64_t r = 0; r < rlhf__json_size(rows); r++) {
        const rlhf__json *row = rlhf__json_at(rows, r);
        const rlhf__json *vocab = rlhf__json_get(row, "vocab");
        const char *name = rlhf__json_string(rlhf__json_get(row, "name"), "");
        rlhf__tokenizer *t = train(row), *again;
        if (rlhf__tokenizer_vocab_size(t) != rlhf__json_size(vocab))
            fail_msg("%s: %d ids, expected %d", name, rlhf__tokenizer_vocab_size(t),
                     (int)rlhf__json_size(vocab));
        for (int64_t i = 0; i < rlhf__json_size(vocab); i++) {
            const rlhf__json *token = rlhf__json_at(vocab, i);
            const int32_t id = rlhf__tokenizer_find(
                t, rlhf__json_string(token, ""), (size_t)rlhf__json_string_size(token));
            if (id != i)
                fail_msg("%s: \"%s\" is %d, expected %d", name,
                         rlhf__json_string(token, ""), id, (int)i);
        }
        /* The same ids, of what was trained and of what was written and read again. */
        save(t);
        assert_ok(rlhf__tokenizer_load(context, test_join(folder, "t"), &again));
        const rlhf__json *cases = rlhf__json_get(row, "encode");
        for (int64_t i = 0; i < rlhf__json_size(cases); i++) {
            check_encode(t, name, rlhf__json_at(cases, i), RLHF__ENCODE_PARSE_SPECIAL);
            check_encode(again, name, rlhf__json_at(cases, i),
                         RLHF__ENCODE_PARSE_SPECIAL);
        }
        rlhf__tokenizer_unref(again);
        rlhf__tokenizer_unref(t);
    }
    rlhf__json_free(rows);
}

/* --- files of many kinds ------------------------------------------------------------ */

static rlhf__tokenizer *load_document(const rlhf__json *document)
{
    rlhf__buffer text = {.context = context};
    rlhf__tokenizer *t;

    assert_ok(rlhf__json_dump(document, 0, &text));
    test_write(test_join(folder, "tokenizer.json"), text.data, (size_t)text.size);
    rlhf__buffer_free(&text);
    assert_ok(rlhf__tokenizer_load(context, test_join(folder, "tokenizer.json"), &t));
    return t;
}

static void check_decode(const rlhf__tokenizer *t, const char *name,
                         const rlhf__json *ids, const rlhf__json *expected, int32_t flags)
{
    rlhf__buffer text = {.context = context};
    rlhf__ids own = {.context = context};

    for (int64_t i = 0; i < rlhf__json_size(ids); i++)
        assert_ok(
            rlhf__ids_append(&own, (int32_t)rlhf__json_i64(rlhf__json_at(ids, i), -1)));
    assert_ok(rlhf__tokenizer_decode(t, own.data, own.size, flags, &text));
    if (text.size != rlhf__json_string_size(expected) ||
        (text.size > 0 &&
         memcmp(text.data, rlhf__json_string(expected, ""), (size_t)text.size) != 0))
        fail_msg("%s: decodes to \"%s\", expected \"%s\"", name,
                 text.size ? text.data : "", rlhf__json_string(expected, ""));
    rlhf__buffer_free(&text);
    rlhf__ids_free(&own);
}

static void test_files_give_the_ids_of_hugging_face(void **state)
{
    rlhf__json *rows = load_vectors("pipelines.json");

    (void)state;
    assert_true(rlhf__json_size(rows) >= 15);
    for (int64_t r = 0; r < rlhf__json_size(rows); r++) {
        const rlhf__json *row = rlhf__json_at(rows, r),
                         *cases = rlhf__json_get(row, "cases");
        const char *name = rlhf__json_string(rlhf__json_get(row, "name"), "");
        rlhf__tokenizer *t = load_document(rlhf__json_get(row, "tokenizer"));
        for (int64_t i = 0; i < rlhf__json_size(cases); i++) {
            const rlhf__json *c = rlhf__json_at(cases, i);
            const int32_t flags =
                (rlhf__json_bool(rlhf__json_get(c, "parse_special"), false)
                     ? RLHF__ENCODE_PARSE_SPECIAL
                     : 0) |
                (rlhf__json_bool(rlhf__json_get(c, "template"), false)
                     ? RLHF__ENCODE_TEMPLATE
                     : 0);
            check_encode(t, name, c, flags);
            if (!rlhf__json_is_null(rlhf__json_get(c, "skipped")))
                check_decode(t, name, rlhf__json_get(c, "ids"),
                             rlhf__json_get(c, "skipped"), RLHF__DECODE_SKIP_SPECIAL);
        }
        rlhf__tokenizer_unref(t);
    }
    rlhf__json_free(rows);
}

/* --- hostile bytes and streams ------------------------------------------------------ */

static rlhf__tokenizer *small_tokenizer(void)
{
    rlhf__json *rows = load_vectors("train.json");
    rlhf__tokenizer *t = train(rlhf__json_at(rows, 0));

    rlhf__json_free(rows);
    return t;
}

static void test_any_bytes_come_back_as_they_were(void **state)
{
    rlhf__tokenizer *t = small_tokenizer();
    uint64_t random = 1;

    (void)state;
    for (int round = 0; round < 300; round++) {
        char text[64];
        const size_t size = (size_t)round % sizeof text;
        rlhf__ids ids = {.context = context};
        rlhf__buffer back = {.context = context};
        for (size_t i = 0; i < size; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[i] = (char)(random >> 56);
        }
        assert_ok(rlhf__tokenizer_encode(t, text, size, 0, &ids));
        assert_true(ids.size <= (int64_t)size + 1);
        assert_ok(rlhf__tokenizer_decode(t, ids.data, ids.size, 0, &back));
        assert_int_equal(back.size, size);
        if (size > 0)
            assert_memory_equal(back.data, text, size);
        rlhf__ids_free(&ids);
        rlhf__buffer_free(&back);
    }
    rlhf__tokenizer_unref(t);
}

static void test_streams_never_give_half_a_character(void **state)
{
    static const char text[] = "né 日本 🙂👍🏽 e\xcc\x81 the end";
    rlhf__tokenizer *t = small_tokenizer();
    rlhf__ids ids = {.context = context};
    rlhf__text_stream *stream;
    char all[256] = "";

    (void)state;
    assert_ok(rlhf__tokenizer_encode(t, text, sizeof text - 1, 0, &ids));
    assert_ok(rlhf__text_stream_create(context, t, 0, &stream));
    for (int64_t i = 0; i <= ids.size; i++) {
        const char *piece;
        size_t size;
        assert_ok(rlhf__text_stream_push(stream, i < ids.size ? ids.data[i] : -1, &piece,
                                         &size));
        assert_int_equal(strlen(piece), size);
        if (size > 0) /* begins and ends between characters */
            assert_true(((unsigned char)piece[0] & 0xc0) != 0x80);
        strcat(all, piece);
    }
    assert_string_equal(all, text);
    assert_fails(
        rlhf__text_stream_push(stream, 1 << 20, &(const char *){NULL}, &(size_t){0}),
        RLHF_ERR_INVALID_ARG, "1048576");
    rlhf__text_stream_free(stream);
    rlhf__ids_free(&ids);
    rlhf__tokenizer_unref(t);
}

/* --- the real model's file ---------------------------------------------------------- */

static void test_stories260k_gives_the_ids_of_hugging_face(void **state)
{
    const char *data = test_data_folder();
    char path[2 * TEST_PATH];
    rlhf__json *vectors;
    rlhf__tokenizer *t;

    (void)state;
    if (!data)
        skip();
    vectors = load_vectors("data.json");
    snprintf(path, sizeof path, "%s/models/stories260K/hf", data);
    assert_ok(rlhf__tokenizer_load(context, path, &t));
    const rlhf__json *cases =
        rlhf__json_get(rlhf__json_get(vectors, "stories260K"), "cases");
    for (int64_t i = 0; i < rlhf__json_size(cases); i++) {
        const rlhf__json *c = rlhf__json_at(cases, i);
        check_encode(t, "stories260K", c,
                     RLHF__ENCODE_PARSE_SPECIAL |
                         (rlhf__json_bool(rlhf__json_get(c, "template"), false)
                              ? RLHF__ENCODE_TEMPLATE
                              : 0));
        check_decode(t, "stories260K", rlhf__json_get(c, "ids"),
                     rlhf__json_get(c, "decoded"), RLHF__DECODE_SKIP_SPECIAL);
    }
    rlhf__tokenizer_unref(t);
    rlhf__json_free(vectors);
}

/* --- broken files ------------------------------------------------------------------- */

static void test_broken_files_are_refused_with_words(void **state)
{
    static const struct {
        const char *text;
        rlhf_status status;
        const char *words;
    } rows[] = {
        {"", RLHF_ERR_FORMAT, "tokenizer.json"},
        {"{", RLHF_ERR_FORMAT, "tokenizer.json:1"},
        {"[]", RLHF_ERR_FORMAT, "tokenizer.json"},
        {"{}", RLHF_ERR_FORMAT, "model"},
        {"{\"model\": 3}", RLHF_ERR_FORMAT, "model"},
        {"{\"model\": {\"type\": \"WordPiece\"}}", RLHF_ERR_UNSUPPORTED, "WordPiece"},
        {"{\"model\": {\"type\": \"BPE\"}}", RLHF_ERR_FORMAT, "vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}",
         RLHF_ERR_FORMAT, "vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 99999999}, \"merges\": []}}",
         RLHF_ERR_LIMIT, "99999999"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": "
         "[]}}",
         RLHF_ERR_FORMAT, "0"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}}",
         RLHF_ERR_FORMAT, "merges"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a q\"]}}",
         RLHF_ERR_FORMAT, "merges"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [3]}}",
         RLHF_ERR_FORMAT, "merges"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
         "\"pre_tokenizer\": {\"type\": \"Whitespace\"}}",
         RLHF_ERR_UNSUPPORTED, "Whitespace"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
         "\"normalizer\": {\"type\": \"NFKC\"}}",
         RLHF_ERR_UNSUPPORTED, "NFKC"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
         "\"decoder\": {\"type\": \"WordPiece\"}}",
         RLHF_ERR_UNSUPPORTED, "WordPiece"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
         "\"added_tokens\": [{\"id\": 0}]}",
         RLHF_ERR_FORMAT, "added_tokens"},
    };
    rlhf__tokenizer *t;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_write(test_join(folder, "tokenizer.json"), rows[i].text,
                   strlen(rows[i].text));
        const rlhf_status status =
            rlhf__tokenizer_load(context, test_join(folder, "tokenizer.json"), &t);
        if (status != rows[i].status || !strstr(rlhf_last_error_message(), rows[i].words))
            fail_msg("%s\ngave %s: %s", rows[i].text, rlhf_status_name(status),
                     rlhf_last_error_message());
    }
    assert_fails(rlhf__tokenizer_load(context, test_join(folder, "nowhere"), &t),
                 RLHF_ERR_NOT_FOUND, "nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_training_learns_the_merges_of_hugging_face,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_give_the_ids_of_hugging_face, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_any_bytes_come_back_as_they_were, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_streams_never_give_half_a_character, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stories260k_gives_the_ids_of_hugging_face,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_files_are_refused_with_words, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
