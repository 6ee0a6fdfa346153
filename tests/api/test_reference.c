/* The reference pages against the tables that the code runs on: docs/options.md is what
 * --print prints, and the table of presets in docs/ppo.md has the presets' values. Where
 * one fails after a change of options:
 *
 *     build/tests/test-reference --print >docs/options.md
 */
#include "support.h"

#include <math.h>
#include <stdbool.h>

#include "api/descs.h"
#include "base/number.h"
#include "train/ppo_options.h"

typedef struct text {
    char *data;
    size_t size, capacity;
} text;

static void add(text *out, const char *words)
{
    const size_t size = strlen(words);

    if (out->size + size + 1 > out->capacity) {
        out->capacity = 2 * (out->size + size + 1);
        out->data = realloc(out->data, out->capacity);
        assert_non_null(out->data);
    }
    memcpy(out->data + out->size, words, size + 1);
    out->size += size;
}

/* --- values ----------------------------------------------------------------------- */

static void number(double value, char out[64])
{
    if (isinf(value))
        snprintf(out, 64, value > 0 ? "inf" : "-inf");
    else
        rlhf__format_f64(value, out);
}

/* A field's value in a struct, as YAML has it. */
static void value_of(const rlhf__field *field, const void *options, char out[64])
{
    const char *at = (const char *)options + field->offset;
    int32_t i32;
    int64_t i64;
    uint64_t u64;
    double f64;
    const void *pointer;

    switch (field->type) {
    case RLHF__FIELD_BOOL:
    case RLHF__FIELD_I32:
        memcpy(&i32, at, sizeof i32);
        snprintf(out, 64, "%d", i32);
        return;
    case RLHF__FIELD_ENUM:
        memcpy(&i32, at, sizeof i32);
        for (const rlhf__enum_name *n = field->names; n->name; n++)
            if (n->value == i32)
                snprintf(out, 64, "%s", n->name);
        return;
    case RLHF__FIELD_I64:
        memcpy(&i64, at, sizeof i64);
        snprintf(out, 64, "%lld", (long long)i64);
        return;
    case RLHF__FIELD_U64:
        memcpy(&u64, at, sizeof u64);
        snprintf(out, 64, "%llu", (unsigned long long)u64);
        return;
    case RLHF__FIELD_F64:
        memcpy(&f64, at, sizeof f64);
        number(f64, out);
        return;
    default:
        memcpy(&pointer, at, sizeof pointer);
        if (pointer && field->type == RLHF__FIELD_STRING)
            snprintf(out, 64, "%s", (const char *)pointer);
        else
            snprintf(out, 64, pointer ? "set" : "none");
    }
}

static void range_of(const rlhf__field *field, char out[256])
{
    char low[64], high[64];
    size_t used = 0;

    switch (field->type) {
    case RLHF__FIELD_BOOL:
        snprintf(out, 256, "0, 1");
        return;
    case RLHF__FIELD_ENUM:
        for (const rlhf__enum_name *n = field->names; n->name; n++)
            used += (size_t)snprintf(out + used, 256 - used, "%s%s", used ? ", " : "",
                                     n->name);
        return;
    case RLHF__FIELD_U64:
        snprintf(out, 256, "64 bits");
        return;
    case RLHF__FIELD_STRING:
        snprintf(out, 256, "a text");
        return;
    case RLHF__FIELD_POINTER:
        snprintf(out, 256, "in C only");
        return;
    default:
        number(field->min, low);
        number(field->max, high);
        snprintf(out, 256, "%s%s, %s%s", field->min_exclusive ? "(" : "[", low, high,
                 field->max_exclusive ? ")" : "]");
    }
}

/* --- docs/options.md -------------------------------------------------------------- */

/* A bar within a cell is escaped. */
static void add_cell(text *out, const char *words)
{
    for (const char *c = words; *c; c++) {
        const char letter[3] = {*c == '|' ? '\\' : *c, *c == '|' ? '|' : '\0', '\0'};
        add(out, letter);
    }
    add(out, " | ");
}

static void print_field(const rlhf__field *field, const void *defaults, text *out)
{
    char value[64] = "", range[256] = "", name[96];

    if (strcmp(field->name, "reserved") == 0)
        return;
    value_of(field, defaults, value);
    range_of(field, range);
    snprintf(name, sizeof name, "| `%s` | ", field->name);
    add(out, name);
    add_cell(out, value);
    add_cell(out, range);
    add_cell(out, field->help);
    out->data[--out->size] = '\0'; /* the last blank */
    add(out, "\n");
}

static const char *const presets[] = {"default", "openai-2019", "instructgpt", "trl",
                                      "openrlhf"};
enum { NUM_PRESETS = sizeof presets / sizeof presets[0] };

static void all_presets(rlhf_ppo_options values[NUM_PRESETS])
{
    for (int p = 0; p < NUM_PRESETS; p++)
        assert_ok(rlhf_ppo_options_preset(&values[p], sizeof values[p], presets[p]));
}

/* The options that a preset has otherwise than the library's defaults. */
static void print_presets(const rlhf__struct_desc *desc, text *out)
{
    rlhf_ppo_options values[NUM_PRESETS];
    char cells[NUM_PRESETS][64], line[512];

    all_presets(values);
    add(out, "\nPresets (`rlhf_ppo_options_preset`; in YAML the key `preset`), where one "
             "differs from the default. Their\nsources: [ppo.md](ppo.md#presets).\n\n"
             "| field |");
    for (int p = 0; p < NUM_PRESETS; p++) {
        snprintf(line, sizeof line, " %s |", presets[p]);
        add(out, line);
    }
    add(out, "\n|---|---|---|---|---|---|\n");
    for (int32_t f = 0; f < desc->num_fields; f++) {
        bool differs = false;
        for (int p = 0; p < NUM_PRESETS; p++) {
            value_of(&desc->fields[f], &values[p], cells[p]);
            differs = differs || strcmp(cells[p], cells[0]) != 0;
        }
        if (!differs)
            continue;
        snprintf(line, sizeof line, "| `%s` | %s | %s | %s | %s | %s |\n",
                 desc->fields[f].name, cells[0], cells[1], cells[2], cells[3], cells[4]);
        add(out, line);
    }
}

static text options_page(void)
{
    text out = {0};
    char line[256];

    add(&out,
        "# Options\n\n"
        "Every field of every options struct: its name in C and in YAML, default, range "
        "and meaning.\nPrinted from the tables that the library itself checks values "
        "against; a test compares. Flags\nmay be written true and false in YAML.\n");
    for (int32_t i = 0; rlhf__desc_at(i); i++) {
        const rlhf__struct_desc *desc = rlhf__desc_at(i);
        void *defaults = calloc(1, desc->size);
        assert_int_equal(rlhf__struct_init(desc, defaults, desc->size), RLHF_OK);
        if (desc ==
            &rlhf__tokenizer_train_options_desc) /* its texts are not in the table */
            assert_ok(rlhf_tokenizer_train_options_init(defaults, desc->size));
        snprintf(
            line, sizeof line,
            "\n## `%s`\n\n| field | default | range | meaning |\n|---|---|---|---|\n",
            desc->name);
        add(&out, line);
        for (int32_t f = 0; f < desc->num_fields; f++)
            print_field(&desc->fields[f], defaults, &out);
        if (desc == &rlhf__ppo_options_desc)
            print_presets(desc, &out);
        free(defaults);
    }
    return out;
}

static text read_page(const char *name)
{
    const char *root = getenv("RLHF_SOURCE_DIR");
    char path[4096], chunk[4096];
    text out = {0};
    size_t got;

    assert_non_null(root);
    snprintf(path, sizeof path, "%s/docs/%s", root, name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot open %s", path);
    while ((got = fread(chunk, 1, sizeof chunk - 1, file)) > 0) {
        chunk[got] = '\0';
        add(&out, chunk);
    }
    fclose(file);
    return out;
}

static void test_options_page_is_current(void **state)
{
    text expected = options_page(), page = read_page("options.md");

    (void)state;
    assert_string_equal(page.data, expected.data);
    free(expected.data);
    free(page.data);
}

/* --- the presets of docs/ppo.md --------------------------------------------------- */

/* Cell `index` (0: after the field's name) of a table row, without blanks and daggers. */
static void cell(const char *row, int index, char out[64])
{
    size_t used = 0;

    for (index += 2; index > 0 && row; index--)
        row = strchr(row, '|') ? strchr(row, '|') + 1 : NULL;
    assert_non_null(row);
    for (; *row && *row != '|' && *row != '\n' && used < 63; row++) {
        if (strncmp(row, "†", strlen("†")) == 0)
            row += strlen("†") - 1;
        else if (*row != ' ')
            out[used++] = *row;
    }
    out[used] = '\0';
}

static void test_presets_table_is_current(void **state)
{
    const rlhf__struct_desc *desc = rlhf__desc_find("rlhf_ppo_options");
    text page = read_page("ppo.md");
    const char *table = strstr(page.data, "\n## Presets\n");
    rlhf_ppo_options values[NUM_PRESETS];

    (void)state;
    assert_non_null(table);
    all_presets(values);
    for (int32_t f = 0; f < desc->num_fields; f++) {
        char start[96], written[64], expected[64];
        if (strcmp(desc->fields[f].name, "reserved") == 0)
            continue;
        snprintf(start, sizeof start, "\n| `%s` |", desc->fields[f].name);
        const char *row = strstr(table, start);
        if (!row)
            fail_msg("docs/ppo.md has no row for %s", desc->fields[f].name);
        for (int p = 0; p < NUM_PRESETS; p++) {
            cell(row + 1, p, written);
            value_of(&desc->fields[f], &values[p], expected);
            if (strcmp(written, expected) != 0)
                fail_msg("docs/ppo.md: %s of %s is %s, written as %s",
                         desc->fields[f].name, presets[p], expected, written);
        }
    }
    free(page.data);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_page_is_current),
        cmocka_unit_test(test_presets_table_is_current),
    };

    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        text page = options_page();
        fputs(page.data, stdout);
        free(page.data);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
