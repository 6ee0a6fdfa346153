/* YAML to a tree, by libyaml's events. Only nested mappings of scalars pass: no
 * sequences, tags, anchors, aliases, or second documents, so that what a file means can
 * be seen at once. */
#include "config/config.h"

#include <inttypes.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/file.h"
#include "config/tree.h"

/* Duplicates are looked for among a mapping's keys one by one; this bounds that work. */
static const int64_t MAX_KEYS = 10000;

/* libyaml compares each %TAG directive with all before it, and gives none out before it
 * has read the last. No config may have one; a few are left for the parser to place. */
enum { MAX_TAG_DIRECTIVES = 16 };

typedef struct parse {
    rlhf__config *config;
    yaml_parser_t parser;
    yaml_event_t event; /* one at a time; `has_event` while it is to be deleted */
    bool has_event;
} parse;

static rlhf_status fail_mark(const parse *p, rlhf_status status, yaml_mark_t mark,
                             const char *words)
{
    return rlhf__fail_at(status, p->config->name, (int64_t)mark.line + 1,
                         (int64_t)mark.column + 1, NULL, "%s", words);
}

static rlhf_status fail_here(const parse *p, const char *words)
{
    return fail_mark(p, RLHF_ERR_FORMAT, p->event.start_mark, words);
}

static rlhf_status parser_failed(const parse *p)
{
    const yaml_parser_t *parser = &p->parser;
    const char *problem = parser->problem ? parser->problem : "malformed YAML";
    yaml_mark_t mark = parser->problem_mark;

    if (parser->error == YAML_MEMORY_ERROR)
        return rlhf__fail_no_memory(0);
    if (parser->error == YAML_READER_ERROR)
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, p->config->name, (int64_t)parser->mark.line + 1, 0, NULL,
            "not YAML text: %s at byte %zu", problem, parser->problem_offset);
    if (parser->context)
        return rlhf__fail_at(RLHF_ERR_FORMAT, p->config->name, (int64_t)mark.line + 1,
                             (int64_t)mark.column + 1, NULL, "%s %s", problem,
                             parser->context);
    return fail_mark(p, RLHF_ERR_FORMAT, mark, problem);
}

static void drop_event(parse *p)
{
    if (p->has_event)
        yaml_event_delete(&p->event);
    p->has_event = false;
}

/* What a document may not hold, with words for each. */
static rlhf_status check_event(const parse *p)
{
    const yaml_event_t *event = &p->event;

    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return fail_here(p, "aliases are not allowed");
    case YAML_SEQUENCE_START_EVENT:
        return fail_here(p, "lists are not allowed, only nested keys");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor)
            return fail_here(p, "anchors are not allowed");
        if (event->data.scalar.tag)
            return fail_here(p, "tags are not allowed");
        if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
            return fail_here(p, "a zero byte in a value");
        return RLHF_OK;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor)
            return fail_here(p, "anchors are not allowed");
        if (event->data.mapping_start.tag)
            return fail_here(p, "tags are not allowed");
        return RLHF_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (event->data.document_start.tag_directives.start !=
            event->data.document_start.tag_directives.end)
            return fail_here(p, "tags are not allowed");
        return RLHF_OK;
    default:
        return RLHF_OK;
    }
}

static rlhf_status next_event(parse *p)
{
    drop_event(p);
    if (!yaml_parser_parse(&p->parser, &p->event))
        return parser_failed(p);
    p->has_event = true;
    return check_event(p);
}

static rlhf_status add_child(parse *p, rlhf__config_node *parent, rlhf__config_node **out)
{
    const char *key = (const char *)p->event.data.scalar.value;
    const size_t size = p->event.data.scalar.length;
    const yaml_mark_t mark = p->event.start_mark;
    const rlhf__config_node *twin = rlhf__config_child(parent, key, size);
    rlhf__config_node *node = NULL;

    if (twin)
        return rlhf__fail_at(RLHF_ERR_FORMAT, p->config->name, (int64_t)mark.line + 1,
                             (int64_t)mark.column + 1, key,
                             "the key \"%s\" is on line %" PRId64 " already", key,
                             twin->key_line);
    if (++p->config->num_keys > MAX_KEYS)
        return rlhf__fail_at(RLHF_ERR_LIMIT, p->config->name, (int64_t)mark.line + 1, 0,
                             NULL, "more than %" PRId64 " keys", MAX_KEYS);
    RLHF__TRY(
        rlhf__alloc(p->config->context, 1, sizeof *node, RLHF_MEMORY_GENERAL, &node));
    node->parent = parent;
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    node->key_line = (int64_t)mark.line + 1;
    node->key_column = (int64_t)mark.column + 1;
    *out = node;
    return rlhf__strndup(p->config->context, key, size, &node->key);
}

/* The event is the start of the node's value. */
static rlhf_status parse_value(parse *p, rlhf__config_node *node, int depth)
{
    const yaml_event_t *event = &p->event;

    node->line = (int64_t)event->start_mark.line + 1;
    node->column = (int64_t)event->start_mark.column + 1;
    if (event->type == YAML_SCALAR_EVENT) {
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return rlhf__strndup(p->config->context, (const char *)event->data.scalar.value,
                             event->data.scalar.length, &node->value);
    }
    if (depth > RLHF__CONFIG_DEPTH_MAX)
        return fail_here(p, "keys are nested more than 32 deep");
    for (;;) {
        rlhf__config_node *child = NULL;
        RLHF__TRY(next_event(p));
        if (event->type == YAML_MAPPING_END_EVENT)
            return RLHF_OK;
        if (event->type != YAML_SCALAR_EVENT)
            return fail_here(p, "a key must be one word");
        RLHF__TRY(add_child(p, node, &child));
        RLHF__TRY(next_event(p));
        RLHF__TRY(parse_value(p, child, depth + 1));
    }
}

static rlhf_status parse_document(parse *p)
{
    rlhf__config_node *root = &p->config->root;

    RLHF__TRY(next_event(p)); /* stream start */
    RLHF__TRY(next_event(p));
    if (p->event.type == YAML_STREAM_END_EVENT)
        return RLHF_OK; /* an empty file */
    RLHF__TRY(next_event(p));
    RLHF__TRY(parse_value(p, root, 1));
    if (root->value && !rlhf__config_is_null(root))
        return rlhf__fail_at(RLHF_ERR_FORMAT, p->config->name, root->line, root->column,
                             NULL, "expected keys and values, got \"%.40s\"",
                             root->value);
    RLHF__TRY(next_event(p)); /* document end */
    RLHF__TRY(next_event(p));
    if (p->event.type != YAML_STREAM_END_EVENT)
        return fail_here(p, "only one document is allowed");
    return RLHF_OK;
}

static bool has_many(const char *text, int64_t size, const char *part, size_t part_size)
{
    const char *at = text, *end = text + size;

    for (int count = 0; count <= MAX_TAG_DIRECTIVES; count++) {
        at = memmem(at, (size_t)(end - at), part, part_size);
        if (!at)
            return false;
        at += part_size;
    }
    return true;
}

/* The text is UTF-8, or UTF-16 of either byte order. */
static rlhf_status check_directives(const char *text, int64_t size, const char *name)
{
    if (has_many(text, size, "%TAG", 4) || has_many(text, size, "%\0T\0A\0G", 7))
        return rlhf__fail_at(RLHF_ERR_FORMAT, name, 0, 0, NULL,
                             "tags are not allowed: more than %d %%TAG directives",
                             MAX_TAG_DIRECTIVES);
    return RLHF_OK;
}

rlhf_status rlhf__config_parse(rlhf_context *context, const char *text, int64_t size,
                               const char *name, rlhf__config **out)
{
    rlhf__config *config = NULL;
    parse p;
    rlhf_status status;

    *out = NULL;
    memset(&p, 0, sizeof p);
    if (size > RLHF__CONFIG_SIZE_MAX)
        return rlhf__fail_at(RLHF_ERR_LIMIT, name, 0, 0, NULL,
                             "%" PRId64 " bytes; a config has at most %d", size,
                             RLHF__CONFIG_SIZE_MAX);
    RLHF__TRY(check_directives(text, size, name));
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *config, RLHF_MEMORY_GENERAL, &config));
    config->context = context;
    p.config = config;
    status = rlhf__strdup(context, name, &config->name);
    if (status != RLHF_OK)
        goto cleanup;
    if (!yaml_parser_initialize(&p.parser)) {
        status = rlhf__fail_no_memory(sizeof p.parser);
        goto cleanup;
    }
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)text, (size_t)size);
    status = parse_document(&p);
    drop_event(&p);
    yaml_parser_delete(&p.parser);
    if (status != RLHF_OK)
        goto cleanup;
    *out = config;
    return RLHF_OK;
cleanup:
    rlhf__config_free(config);
    return status;
}

rlhf_status rlhf__config_load(rlhf_context *context, const char *path, rlhf__config **out)
{
    char *text = NULL;
    int64_t size = 0;
    rlhf_status status;

    *out = NULL;
    RLHF__TRY(rlhf__file_read(context, path, RLHF__CONFIG_SIZE_MAX, &text, &size));
    status = rlhf__config_parse(context, text, size, path, out);
    rlhf__free(text);
    return status;
}

static void free_children(rlhf__config_node *node)
{
    rlhf__config_node *next;

    for (rlhf__config_node *child = node->first; child; child = next) {
        next = child->next;
        free_children(child);
        rlhf__free(child->key);
        rlhf__free(child->value);
        rlhf__free(child);
    }
    node->first = NULL;
}

void rlhf__config_free(rlhf__config *config)
{
    if (!config)
        return;
    free_children(&config->root);
    rlhf__free(config->root.value);
    rlhf__free(config->name);
    rlhf__free(config);
}
