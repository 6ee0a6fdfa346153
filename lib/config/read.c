/* From the tree to options and single values. Every refusal names file, line, column and
 * key. */
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number.h"
#include "base/size.h"
#include "config/tree.h"

rlhf__config_node *rlhf__config_child(rlhf__config_node *node, const char *key,
                                      size_t size)
{
    for (rlhf__config_node *child = node->first; child; child = child->next)
        if (child->key && strlen(child->key) == size &&
            memcmp(child->key, key, size) == 0)
            return child;
    return NULL;
}

bool rlhf__config_is_null(const rlhf__config_node *node)
{
    return node->value && !node->quoted &&
           (strcmp(node->value, "") == 0 || strcmp(node->value, "~") == 0 ||
            strcmp(node->value, "null") == 0);
}

static rlhf_status fail_value(const rlhf__config *config, const rlhf__config_node *node,
                              const char *path, const char *must, const char *shown)
{
    return rlhf__fail_at(RLHF_ERR_FORMAT, config->name, node->line, node->column,
                         node->key, "%s must be %s, got %s", path, must, shown);
}

/* Wants `must`, got something of another type. */
static rlhf_status wrong_type(const rlhf__config *config, const rlhf__config_node *node,
                              const char *path, const char *must)
{
    char shown[64];

    if (!node->value)
        snprintf(shown, sizeof shown, "a section");
    else if (rlhf__config_is_null(node))
        snprintf(shown, sizeof shown, "nothing");
    else
        snprintf(shown, sizeof shown, node->quoted ? "\"%.50s\"" : "%.50s", node->value);
    return fail_value(config, node, path, must, shown);
}

/* The node at a path of keys and dots; NULL if some part is not there. The sections on
 * the way are marked as read, the node itself is not. */
static rlhf_status find(rlhf__config *config, const char *path, rlhf__config_node **out)
{
    rlhf__config_node *node = &config->root;

    *out = NULL;
    if (!*path)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "an empty path into the config");
    for (const char *part = path;;) {
        const size_t size = strcspn(part, ".");
        rlhf__config_node *child = rlhf__config_child(node, part, size);
        if (!child)
            return RLHF_OK;
        if (!part[size]) {
            *out = child;
            return RLHF_OK;
        }
        if (child->value && !rlhf__config_is_null(child))
            return wrong_type(config, child, child->key, "a section");
        child->was_read = true;
        node = child;
        part += size + 1;
    }
}

static bool is_hidden(const rlhf__field *field)
{
    return field->type == RLHF__FIELD_POINTER || strncmp(field->name, "reserved", 8) == 0;
}

/* Levenshtein distance of two names, cut off at 40 characters. */
static size_t name_distance(const char *a, const char *b)
{
    size_t row[41];
    const size_t m = strnlen(a, 40), n = strnlen(b, 40);

    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[n];
}

static rlhf_status unknown_key(const rlhf__config *config, const rlhf__config_node *node,
                               const char *section, const rlhf__struct_desc *desc)
{
    char known[360] = "", hint[96] = "";
    size_t used = 0, nearest = 3;

    for (int32_t i = 0; i < desc->num_fields; i++) {
        const rlhf__field *field = &desc->fields[i];
        if (is_hidden(field))
            continue;
        const size_t distance = name_distance(node->key, field->name);
        if (distance < nearest) {
            nearest = distance;
            snprintf(hint, sizeof hint, " did you mean \"%.64s\"?", field->name);
        }
        if (used + strlen(field->name) + 8 > sizeof known) {
            snprintf(known + used, sizeof known - used, ", ...");
            used = sizeof known;
        } else if (used < sizeof known) {
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                     used ? ", " : "", field->name);
        }
    }
    return rlhf__fail_at(RLHF_ERR_FORMAT, config->name, node->key_line, node->key_column,
                         node->key,
                         "unknown key \"%.64s\" in section \"%s\";%s known: %s",
                         node->key, section, hint, known);
}

static rlhf_status parse_int(const rlhf__config *config, const rlhf__config_node *node,
                             const char *path, int64_t *out)
{
    if (!node->value || node->quoted || !rlhf__parse_i64(node->value, out))
        return wrong_type(config, node, path, "an integer");
    return RLHF_OK;
}

static rlhf_status parse_double(const rlhf__config *config, const rlhf__config_node *node,
                                const char *path, double *out)
{
    if (!node->value || node->quoted || !rlhf__parse_f64(node->value, out))
        return wrong_type(config, node, path, "a number");
    return RLHF_OK;
}

static rlhf_status read_enum(const rlhf__config *config, const rlhf__config_node *node,
                             const char *path, const rlhf__field *field, int32_t *out)
{
    char names[256] = "one of";
    size_t used = strlen(names);

    for (const rlhf__enum_name *e = field->names; e->name; e++) {
        if (node->value && strcmp(node->value, e->name) == 0) {
            *out = e->value;
            return RLHF_OK;
        }
        if (used + strlen(e->name) + 4 < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s",
                                     e == field->names ? " " : ", ", e->name);
    }
    return wrong_type(config, node, path, names);
}

static rlhf_status read_bool(const rlhf__config *config, const rlhf__config_node *node,
                             const char *path, int32_t *out)
{
    const char *value = node->quoted ? NULL : node->value;

    if (value && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0))
        *out = 1;
    else if (value && (strcmp(value, "false") == 0 || strcmp(value, "0") == 0))
        *out = 0;
    else
        return wrong_type(config, node, path, "true or false");
    return RLHF_OK;
}

static rlhf_status read_i32(const rlhf__config *config, const rlhf__config_node *node,
                            const char *path, const rlhf__field *field, int32_t *out)
{
    char bound[64];
    int64_t value;

    RLHF__TRY(parse_int(config, node, path, &value));
    if (value < INT32_MIN || value > INT32_MAX) {
        snprintf(bound, sizeof bound, value < 0 ? ">= %.0f" : "<= %.0f",
                 value < 0 ? field->min : field->max);
        return fail_value(config, node, path, bound, node->value);
    }
    *out = (int32_t)value;
    return RLHF_OK;
}

/* Writes the node's value into the field of `options`; the range is checked afterwards.
 */
static rlhf_status read_field(const rlhf__config *config, const rlhf__config_node *node,
                              const char *path, const rlhf__field *field, char *options)
{
    void *to = options + field->offset;
    const char *text = NULL;

    switch (field->type) {
    case RLHF__FIELD_I32:
        return read_i32(config, node, path, field, to);
    case RLHF__FIELD_I64:
        return parse_int(config, node, path, to);
    case RLHF__FIELD_U64:
        if (!node->value || node->quoted || !rlhf__parse_u64(node->value, to))
            return wrong_type(config, node, path,
                              "an integer in [0, 18446744073709551615]");
        return RLHF_OK;
    case RLHF__FIELD_F64:
        return parse_double(config, node, path, to);
    case RLHF__FIELD_BOOL:
        return read_bool(config, node, path, to);
    case RLHF__FIELD_ENUM:
        return read_enum(config, node, path, field, to);
    case RLHF__FIELD_STRING:
        if (!node->value)
            return wrong_type(config, node, path, "a text");
        text = rlhf__config_is_null(node) ? NULL : node->value;
        memcpy(to, &text, sizeof text);
        return RLHF_OK;
    case RLHF__FIELD_POINTER:
        break;
    }
    return rlhf__fail(RLHF_ERR_INTERNAL, "%s cannot be set from YAML", field->name);
}

/* The words of the failure just written, with the node's place before them. */
static rlhf_status place_failure(const rlhf__config *config,
                                 const rlhf__config_node *node, const char *section)
{
    char words[512];

    snprintf(words, sizeof words, "%s", rlhf_last_error_message());
    return rlhf__fail_at(RLHF_ERR_FORMAT, config->name, node->line, node->column,
                         node->key, "%s%s%s", section, *section ? "." : "", words);
}

static rlhf_status apply_preset(const rlhf__config *config, rlhf__config_node *node,
                                const char *section, rlhf__config_preset_fn preset,
                                void *options)
{
    node->was_read = true;
    if (!node->value || rlhf__config_is_null(node)) {
        char path[128];
        snprintf(path, sizeof path, "%.100s.preset", section);
        return wrong_type(config, node, path, "the name of a preset");
    }
    if (preset(node->value, options) != RLHF_OK)
        return place_failure(config, node, "");
    return RLHF_OK;
}

static rlhf_status read_key(const rlhf__config *config, rlhf__config_node *node,
                            const char *section, const rlhf__struct_desc *desc,
                            void *options)
{
    const rlhf__field *field = rlhf__struct_find(desc, node->key);
    char path[256];

    if (!field || is_hidden(field)) {
        /* A section inside is for another read; a key that was asked for by its path
         * before is known, too. */
        if (node->was_read || !node->value)
            return RLHF_OK;
        return unknown_key(config, node, section, desc);
    }
    node->was_read = true;
    snprintf(path, sizeof path, "%.150s.%.100s", section, node->key);
    RLHF__TRY(read_field(config, node, path, field, options));
    if (rlhf__field_check(field, options) != RLHF_OK)
        return place_failure(config, node, section);
    return RLHF_OK;
}

static rlhf_status read_section(rlhf__config *config, rlhf__config_node *node,
                                const char *section, const rlhf__struct_desc *desc,
                                rlhf__config_preset_fn preset, void *options)
{
    rlhf__config_node *named = preset ? rlhf__config_child(node, "preset", 6) : NULL;

    if (named)
        RLHF__TRY(apply_preset(config, named, section, preset, options));
    for (rlhf__config_node *child = node->first; child; child = child->next)
        if (child != named)
            RLHF__TRY(read_key(config, child, section, desc, options));
    return RLHF_OK;
}

rlhf_status rlhf__config_read(rlhf__config *config, const char *section,
                              const rlhf__struct_desc *desc,
                              rlhf__config_preset_fn preset, void *options)
{
    rlhf__config_node *node;
    void *own = NULL;
    rlhf_status status;

    RLHF__TRY(find(config, section, &node));
    if (!node)
        return RLHF_OK;
    if (node->value && !rlhf__config_is_null(node))
        return wrong_type(config, node, section, "a section");
    node->was_read = true;
    RLHF__TRY(rlhf__alloc(config->context, 1, desc->size, RLHF_MEMORY_GENERAL, &own));
    memcpy(own, options, desc->size);
    status = read_section(config, node, section, desc, preset, own);
    if (status == RLHF_OK)
        memcpy(options, own, desc->size);
    rlhf__free(own);
    return status;
}

rlhf_status rlhf__config_string(rlhf__config *config, const char *path,
                                const char *fallback, const char **out_value)
{
    rlhf__config_node *node;

    RLHF__TRY(find(config, path, &node));
    if (node && !node->value)
        return wrong_type(config, node, path, "a text");
    if (node)
        node->was_read = true;
    *out_value = node && !rlhf__config_is_null(node) ? node->value : fallback;
    return RLHF_OK;
}

rlhf_status rlhf__config_int(rlhf__config *config, const char *path, int64_t fallback,
                             int64_t min, int64_t max, int64_t *out_value)
{
    rlhf__config_node *node;
    int64_t value = fallback;
    char range[80];

    RLHF__TRY(find(config, path, &node));
    if (node) {
        node->was_read = true;
        RLHF__TRY(parse_int(config, node, path, &value));
        if (value < min || value > max) {
            snprintf(range, sizeof range, "in [%" PRId64 ", %" PRId64 "]", min, max);
            return fail_value(config, node, path, range, node->value);
        }
    }
    *out_value = value;
    return RLHF_OK;
}

rlhf_status rlhf__config_double(rlhf__config *config, const char *path, double fallback,
                                double min, double max, double *out_value)
{
    char low[32], high[32], range[80];
    rlhf__config_node *node;
    double value = fallback;

    RLHF__TRY(find(config, path, &node));
    if (node) {
        node->was_read = true;
        RLHF__TRY(parse_double(config, node, path, &value));
        if (!(value >= min && value <= max)) {
            rlhf__format_f64(min, low);
            rlhf__format_f64(max, high);
            snprintf(range, sizeof range, "in [%s, %s]", low, high);
            return fail_value(config, node, path, range, node->value);
        }
    }
    *out_value = value;
    return RLHF_OK;
}

/* "a.b.c" of a node. */
static void node_path(const rlhf__config_node *node, char *out, size_t capacity)
{
    if (node->parent && node->parent->key) {
        node_path(node->parent, out, capacity);
        snprintf(out + strlen(out), capacity - strlen(out), ".");
    }
    snprintf(out + strlen(out), capacity - strlen(out), "%.100s", node->key);
}

static rlhf_status check_read(const rlhf__config *config, const rlhf__config_node *node)
{
    char path[400] = "";

    for (const rlhf__config_node *child = node->first; child; child = child->next) {
        if (child->was_read) {
            RLHF__TRY(check_read(config, child));
            continue;
        }
        node_path(child, path, sizeof path);
        return rlhf__fail_at(RLHF_ERR_FORMAT, config->name, child->key_line,
                             child->key_column, child->key, "unknown %s \"%s\"",
                             child->value ? "key" : "section", path);
    }
    return RLHF_OK;
}

rlhf_status rlhf__config_finish(const rlhf__config *config)
{
    return check_read(config, &config->root);
}
