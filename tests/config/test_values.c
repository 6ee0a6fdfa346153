/* Single values by their path, keys that nobody read, and every field of every options
 * struct. */
#include "support.h"
#include "test_files.h"

#include <math.h>
#include <stdbool.h>

#include "api/descs.h"
#include "base/number.h"
#include "base/versioned_struct.h"
#include "config/config.h"

static rlhf__config *parse(const char *text)
{
    rlhf__config *config;

    assert_ok(rlhf__config_parse(NULL, text, (int64_t)strlen(text), "f.yaml", &config));
    return config;
}

/* --- single values ------------------------------------------------------------------ */

static void test_values_are_read_by_their_path(void **state)
{
    rlhf__config *config =
        parse("paths: {model: a/b, quoted: \"null\", none: ~, empty: \"\"}\n"
              "n: -5\nx: 1e-3\nhalf: 0.5\n");
    const char *text;
    int64_t n;
    double x;

    (void)state;
    assert_ok(rlhf__config_string(config, "paths.model", NULL, &text));
    assert_string_equal(text, "a/b");
    assert_ok(rlhf__config_string(config, "paths.quoted", NULL, &text));
    assert_string_equal(text, "null");
    assert_ok(rlhf__config_string(config, "paths.none", "fallback", &text));
    assert_string_equal(text, "fallback");
    assert_ok(rlhf__config_string(config, "paths.empty", "fallback", &text));
    assert_string_equal(text, "");
    assert_ok(rlhf__config_string(config, "paths.absent", "fallback", &text));
    assert_string_equal(text, "fallback");
    assert_ok(rlhf__config_string(config, "n", NULL, &text));
    assert_string_equal(text, "-5");
    assert_ok(rlhf__config_int(config, "n", 1, -5, -5, &n));
    assert_int_equal(n, -5);
    assert_ok(rlhf__config_int(config, "absent.n", 77, 0, 1, &n)); /* no range for it */
    assert_int_equal(n, 77);
    assert_ok(rlhf__config_double(config, "x", 1, 0, 1, &x));
    assert_true(x == 1e-3);
    assert_ok(rlhf__config_double(config, "half", 1, 0.5, 0.5, &x));
    assert_ok(rlhf__config_double(config, "n", 1, -10, 0, &x));
    assert_true(x == -5);
    assert_ok(rlhf__config_double(config, "absent", 2.5, 0, 1, &x));
    assert_true(x == 2.5);
    assert_ok(rlhf__config_finish(config));
    rlhf__config_free(config);
}

static void expect_place(int64_t line, int64_t column, const char *field)
{
    rlhf_error_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.file, "f.yaml");
    assert_int_equal(info.line, line);
    assert_int_equal(info.column, column);
    assert_string_equal(info.field, field);
}

static void test_values_wrong_are_refused(void **state)
{
    rlhf__config *config = parse("n: 12\nx: 0.75\nword: many\nsection:\n  k: 1\n");
    const char *text = "kept";
    int64_t n = 42;
    double x = 42;

    (void)state;
    assert_fails(rlhf__config_int(config, "n", 0, -3, 11, &n), RLHF_ERR_FORMAT,
                 "n must be in [-3, 11], got 12");
    expect_place(1, 4, "n");
    assert_fails(rlhf__config_int(config, "x", 0, 0, 1, &n), RLHF_ERR_FORMAT,
                 "x must be an integer, got 0.75");
    expect_place(2, 4, "x");
    assert_fails(rlhf__config_double(config, "x", 0, 0, 0.5, &x), RLHF_ERR_FORMAT,
                 "x must be in [0, 0.5], got 0.75");
    expect_place(2, 4, "x");
    assert_fails(rlhf__config_double(config, "word", 0, 0, 1, &x), RLHF_ERR_FORMAT,
                 "word must be a number, got many");
    expect_place(3, 7, "word");
    assert_fails(rlhf__config_double(config, "section", 0, 0, 1, &x), RLHF_ERR_FORMAT,
                 "section must be a number, got a section");
    assert_fails(rlhf__config_string(config, "section", NULL, &text), RLHF_ERR_FORMAT,
                 "section must be a text, got a section");
    expect_place(5, 3, "section");
    assert_fails(rlhf__config_int(config, "word.k", 0, 0, 1, &n), RLHF_ERR_FORMAT,
                 "word must be a section, got many");
    expect_place(3, 7, "word");
    assert_fails(rlhf__config_int(config, "", 0, 0, 1, &n), RLHF_ERR_INVALID_ARG,
                 "empty path");
    assert_int_equal(n, 42);
    assert_true(x == 42);
    assert_string_equal(text, "kept");
    rlhf__config_free(config);
}

/* Every key that is not asked for is found, one after the other in the file's order. */
static void test_keys_unread_are_found(void **state)
{
    rlhf__config *config = parse("a: 1\nb:\n  c: 2\n  d:\n    e: 3\nf:\n");
    const char *text;
    int64_t n;

    (void)state;
    assert_fails(rlhf__config_finish(config), RLHF_ERR_FORMAT, "unknown key \"a\"");
    expect_place(1, 1, "a");
    assert_ok(rlhf__config_int(config, "a", 0, 0, 9, &n));
    assert_fails(rlhf__config_finish(config), RLHF_ERR_FORMAT, "unknown section \"b\"");
    expect_place(2, 1, "b");
    assert_ok(rlhf__config_int(config, "b.d.x", 0, 0, 9, &n)); /* asked about, so known */
    assert_fails(rlhf__config_finish(config), RLHF_ERR_FORMAT, "unknown key \"b.c\"");
    expect_place(3, 3, "c");
    assert_ok(rlhf__config_int(config, "b.c", 0, 0, 9, &n));
    assert_fails(rlhf__config_finish(config), RLHF_ERR_FORMAT, "unknown key \"b.d.e\"");
    expect_place(5, 5, "e");
    assert_ok(rlhf__config_int(config, "b.d.e", 0, 0, 9, &n));
    assert_fails(rlhf__config_finish(config), RLHF_ERR_FORMAT, "unknown key \"f\"");
    assert_ok(rlhf__config_string(config, "f", NULL, &text));
    assert_ok(rlhf__config_finish(config));
    rlhf__config_free(config);
}

/* --- every struct ------------------------------------------------------------------- */

enum { LARGEST = 1024 };

static bool is_hidden(const rlhf__field *field)
{
    return field->type == RLHF__FIELD_POINTER || strncmp(field->name, "reserved", 8) == 0;
}

static size_t width(const rlhf__field *field)
{
    const bool narrow = field->type == RLHF__FIELD_I32 ||
                        field->type == RLHF__FIELD_BOOL ||
                        field->type == RLHF__FIELD_ENUM;
    return narrow ? 4 : 8;
}

/* A value in range that is not the default, as text, and its bytes. */
static void good_value(const rlhf__field *field, char text[64], unsigned char bytes[8])
{
    const int32_t flag = field->default_value == 0;
    double value = field->default_value + 1;
    int32_t i32;
    int64_t i64;

    if (field->type != RLHF__FIELD_U64 &&
        (value > field->max || (field->max_exclusive && value == field->max)))
        value = (field->default_value + field->min) / 2; /* below the default */
    if (value < field->min) /* a default that has to be changed */
        value = field->min + 1;
    switch (field->type) {
    case RLHF__FIELD_BOOL:
        strcpy(text, flag ? "true" : "false");
        memcpy(bytes, &flag, sizeof flag);
        return;
    case RLHF__FIELD_ENUM: {
        const rlhf__enum_name *name = field->names;
        name += name->value == (int32_t)field->default_value;
        strcpy(text, name->name);
        memcpy(bytes, &name->value, sizeof name->value);
        return;
    }
    case RLHF__FIELD_I32:
        i32 = (int32_t)value;
        snprintf(text, 64, "%d", i32);
        memcpy(bytes, &i32, sizeof i32);
        return;
    case RLHF__FIELD_I64:
    case RLHF__FIELD_U64:
        i64 = (int64_t)value;
        snprintf(text, 64, "%lld", (long long)i64);
        memcpy(bytes, &i64, sizeof i64);
        return;
    case RLHF__FIELD_F64:
        rlhf__format_f64(value, text);
        memcpy(bytes, &value, sizeof value);
        return;
    default:
        strcpy(text, "some text");
    }
}

static void check_good(const rlhf__struct_desc *desc, const rlhf__field *field)
{
    char yaml[256], text[64];
    unsigned char options[LARGEST], expected[LARGEST], bytes[8];

    good_value(field, text, bytes);
    snprintf(yaml, sizeof yaml, "s:\n  %s: %s\n", field->name, text);
    rlhf__config *config = parse(yaml);
    assert_ok(rlhf__struct_init(desc, options, desc->size));
    memcpy(expected, options, desc->size);
    const rlhf_status status = rlhf__config_read(config, "s", desc, NULL, options);
    if (status != RLHF_OK)
        fail_msg("%s of %s: %s", yaml, desc->name, rlhf_last_error_message());
    if (field->type == RLHF__FIELD_STRING) {
        const char *value;
        memcpy(&value, options + field->offset, sizeof value);
        assert_string_equal(value, "some text");
        memcpy(bytes, &value, sizeof value);
    }
    if (memcmp(options + field->offset, expected + field->offset, width(field)) == 0)
        fail_msg("%s of %s changed nothing", yaml, desc->name);
    memcpy(expected + field->offset, bytes, width(field));
    if (memcmp(options, expected, desc->size) != 0)
        fail_msg("%s of %s: another value, or another field", yaml, desc->name);
    assert_ok(rlhf__config_finish(config));
    rlhf__config_free(config);
}

static void check_bad(const rlhf__struct_desc *desc, const rlhf__field *field,
                      const char *value, const char *words)
{
    rlhf_error_info info = {.struct_size = sizeof info};
    unsigned char options[LARGEST], before[LARGEST];
    char yaml[256];

    snprintf(yaml, sizeof yaml, "s:\n  %s: %s\n", field->name, value);
    rlhf__config *config = parse(yaml);
    assert_ok(rlhf__struct_init(desc, options, desc->size));
    memcpy(before, options, desc->size);
    const rlhf_status status = rlhf__config_read(config, "s", desc, NULL, options);
    assert_ok(rlhf_last_error_info(&info));
    if (status != RLHF_ERR_FORMAT || info.line != 2 ||
        info.column != 5 + (int64_t)strlen(field->name) ||
        strcmp(info.field, field->name) != 0 || !strstr(info.message, words))
        fail_msg("%s of %s: %s, field \"%s\", %d:%d: %s; expected \"%s\"", yaml,
                 desc->name, rlhf_status_name(status), info.field, (int)info.line,
                 (int)info.column, info.message, words);
    assert_memory_equal(options, before, desc->size);
    rlhf__config_free(config);
}

/* Just over each finite bound, the bound itself where it is out, and other types. */
static void check_bounds(const rlhf__struct_desc *desc, const rlhf__field *field)
{
    const bool real = field->type == RLHF__FIELD_F64;
    const double step = real ? 0.25 : 1;
    char value[64], bound[64], words[160];

    if (isfinite(field->min) && field->min > -9e15) {
        rlhf__format_f64(field->min_exclusive ? field->min : field->min - step, value);
        rlhf__format_f64(field->min, bound);
        snprintf(words, sizeof words, "s.%s must be %s %s, got %s", field->name,
                 field->min_exclusive ? ">" : ">=", bound, value);
        check_bad(desc, field, value, words);
    }
    if (isfinite(field->max) && field->max < 9e15) {
        rlhf__format_f64(field->max_exclusive ? field->max : field->max + step, value);
        snprintf(words, sizeof words, "s.%s must be %s %.0f, got", field->name,
                 field->max_exclusive ? "<" : "<=", field->max);
        check_bad(desc, field, value, words);
    }
    check_bad(desc, field, "many",
              real ? "must be a number, got many" : "an integer, got many");
}

static void check_field(const rlhf__struct_desc *desc, const rlhf__field *field)
{
    check_good(desc, field);
    if (field->type != RLHF__FIELD_STRING)
        check_bad(desc, field, "many", "got many");
    check_bad(desc, field, "{a: 1}", "got a section");
    switch (field->type) {
    case RLHF__FIELD_I32:
    case RLHF__FIELD_I64:
    case RLHF__FIELD_F64:
        check_bounds(desc, field);
        break;
    case RLHF__FIELD_U64:
        check_bad(desc, field, "-1", "an integer in [0, 18446744073709551615], got -1");
        break;
    case RLHF__FIELD_BOOL:
        check_bad(desc, field, "2", "must be true or false, got 2");
        break;
    case RLHF__FIELD_ENUM:
        for (const rlhf__enum_name *name = field->names; name->name; name++)
            check_bad(desc, field, "other", name->name); /* the choices are listed */
        break;
    default:
        break;
    }
}

static void test_fields_of_every_struct_are_read(void **state)
{
    int fields = 0;

    (void)state;
    for (int32_t i = 0; rlhf__desc_at(i); i++) {
        const rlhf__struct_desc *desc = rlhf__desc_at(i);
        assert_true(desc->size <= LARGEST);
        for (int32_t j = 0; j < desc->num_fields; j++)
            if (!is_hidden(&desc->fields[j])) {
                check_field(desc, &desc->fields[j]);
                fields++;
            }
    }
    assert_true(fields > 120);
}

/* No field of a struct is forgotten in its table, and none has another width: together
 * they fill the struct. */
static void test_fields_of_every_struct_fill_it(void **state)
{
    (void)state;
    for (int32_t i = 0; rlhf__desc_at(i); i++) {
        const rlhf__struct_desc *desc = rlhf__desc_at(i);
        unsigned char used[LARGEST] = {0};
        memset(used, 1, sizeof(size_t)); /* struct_size */
        for (int32_t j = 0; j < desc->num_fields; j++)
            for (size_t b = 0; b < width(&desc->fields[j]); b++)
                if (used[desc->fields[j].offset + b]++)
                    fail_msg("%s.%s overlaps another", desc->name, desc->fields[j].name);
        for (size_t b = 0; b < desc->size; b++)
            if (!used[b])
                fail_msg("byte %d of %s belongs to no field", (int)b, desc->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_read_by_their_path),
        cmocka_unit_test(test_values_wrong_are_refused),
        cmocka_unit_test(test_keys_unread_are_found),
        cmocka_unit_test(test_fields_of_every_struct_are_read),
        cmocka_unit_test(test_fields_of_every_struct_fill_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
