/* tokenizer.json's "normalizer", "pre_tokenizer" and "post_processor". Each list of
 * components becomes the few steps of parts.h that it comes to; what has none is refused.
 */
#include <string.h>

#include "text/parts.h"
#include "text/utf8.h"

/* UNSUPPORTED with the component's type. */
static rlhf_status refuse(const rlhf__json *component, const char *file,
                          const char *where)
{
    const char *type = rlhf__json_string(rlhf__json_get(component, "type"), NULL);

    if (!type)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, where, "%s has no type", where);
    return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, where,
                         "%s of type \"%.60s\" is not supported", where, type);
}

static bool has_type(const rlhf__json *component, const char *type)
{
    return strcmp(rlhf__json_string(rlhf__json_get(component, "type"), ""), type) == 0;
}

typedef rlhf_status (*component_fn)(rlhf__tokenizer *t, const rlhf__json *component,
                                    const char *file);

/* Calls fn for the component, or for each member of a Sequence; nothing for null. */
static rlhf_status each_component(rlhf__tokenizer *t, const rlhf__json *component,
                                  const char *members, const char *file,
                                  const char *where, component_fn fn)
{
    if (rlhf__json_is_null(component))
        return RLHF_OK;
    if (!has_type(component, "Sequence"))
        return fn(t, component, file);
    const rlhf__json *list = rlhf__json_get(component, members);
    if (!rlhf__json_is_array(list))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, where, "%s.%s is not an array",
                             where, members);
    if (rlhf__json_size(list) > RLHF__TOKENIZER_MAX_STAGES)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, where,
                             "%s has %lld members; at most %d are supported", where,
                             (long long)rlhf__json_size(list),
                             RLHF__TOKENIZER_MAX_STAGES);
    for (int64_t i = 0; i < rlhf__json_size(list); i++)
        RLHF__TRY(each_component(t, rlhf__json_at(list, i), members, file, where, fn));
    return RLHF_OK;
}

static rlhf_status copy_string(rlhf__tokenizer *t, const rlhf__json *string, char **out,
                               int64_t *out_size)
{
    *out_size = rlhf__json_string_size(string);
    return rlhf__strndup(t->context, rlhf__json_string(string, ""), (size_t)*out_size,
                         out);
}

/* --- normalizer --------------------------------------------------------------------- */

/* {"String": "x"} of a Replace or Split; NULL if it is something else or empty. */
static const rlhf__json *plain_pattern(const rlhf__json *component)
{
    const rlhf__json *text =
        rlhf__json_get(rlhf__json_get(component, "pattern"), "String");

    return rlhf__json_string_size(text) > 0 ? text : NULL;
}

static rlhf_status load_rewrite(rlhf__tokenizer *t, const rlhf__json *component,
                                const char *file)
{
    bool prepend = has_type(component, "Prepend");
    const rlhf__json *to = rlhf__json_get(component, prepend ? "prepend" : "content");
    const rlhf__json *from = plain_pattern(component);

    if (!prepend && !has_type(component, "Replace"))
        return refuse(component, file, "normalizer");
    if (t->num_rewrites == RLHF__TOKENIZER_MAX_STAGES)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "normalizer",
                             "normalizer has more than %d steps",
                             RLHF__TOKENIZER_MAX_STAGES);
    if (!rlhf__json_is_string(to))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "normalizer",
                             "normalizer %s lacks its text",
                             prepend ? "Prepend" : "Replace");
    if (!prepend && !from)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "normalizer",
                             "normalizer Replace: only a pattern of the kind String is "
                             "supported");
    rlhf__rewrite *rule = &t->rewrites[t->num_rewrites++];
    char *copy;
    RLHF__TRY(copy_string(t, to, &copy, &rule->to_size));
    rule->to = copy;
    if (prepend)
        return RLHF_OK;
    RLHF__TRY(copy_string(t, from, &copy, &rule->from_size));
    rule->from = copy;
    return RLHF_OK;
}

/* --- pre-tokenizer ------------------------------------------------------------------ */

static rlhf_status add_stage(rlhf__tokenizer *t, rlhf__stage_kind kind, const char *file,
                             rlhf__stage **out)
{
    if (t->num_stages == RLHF__TOKENIZER_MAX_STAGES)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "pre_tokenizer",
                             "pre_tokenizer has more than %d steps",
                             RLHF__TOKENIZER_MAX_STAGES);
    *out = &t->stages[t->num_stages++];
    **out = (rlhf__stage){.kind = kind};
    return RLHF_OK;
}

static rlhf_status add_split(rlhf__tokenizer *t, const char *pattern, int64_t size,
                             bool literal, const char *file, rlhf__stage **out)
{
    RLHF__TRY(add_stage(t, RLHF__STAGE_SPLIT, file, out));
    return rlhf__regex_compile(t->context, pattern, size, literal, file, &(*out)->regex);
}

static rlhf_status load_split(rlhf__tokenizer *t, const rlhf__json *component,
                              const char *file)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    const rlhf__json *plain = plain_pattern(component);
    const rlhf__json *regex =
        rlhf__json_get(rlhf__json_get(component, "pattern"), "Regex");
    const char *behavior = rlhf__json_string(rlhf__json_get(component, "behavior"), "");
    bool removed = strcmp(behavior, "Removed") == 0;
    bool invert = rlhf__json_bool(rlhf__json_get(component, "invert"), false);
    const rlhf__json *pattern = plain ? plain : regex;
    rlhf__stage *stage = NULL;

    RLHF__TRY(rlhf__json_only(component, known, file, "pre_tokenizer"));
    if (!rlhf__json_is_string(pattern))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "pre_tokenizer.pattern",
                             "pre_tokenizer Split has no pattern");
    if (!removed && strcmp(behavior, "Isolated") != 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "pre_tokenizer.behavior",
                             "pre_tokenizer Split: behavior \"%.60s\" is not supported",
                             behavior);
    RLHF__TRY(add_split(t, rlhf__json_string(pattern, ""),
                        rlhf__json_string_size(pattern), plain != NULL, file, &stage));
    stage->drop_matches = removed && !invert;
    stage->drop_others = removed && invert;
    return RLHF_OK;
}

static rlhf_status load_byte_level(rlhf__tokenizer *t, const rlhf__json *component,
                                   const char *file)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets",
                                        "use_regex", NULL};
    rlhf__stage *stage = NULL;

    RLHF__TRY(rlhf__json_only(component, known, file, "pre_tokenizer"));
    if (rlhf__json_bool(rlhf__json_get(component, "add_prefix_space"), true))
        RLHF__TRY(add_stage(t, RLHF__STAGE_PREFIX_SPACE, file, &stage));
    t->byte_level = true;
    if (!rlhf__json_bool(rlhf__json_get(component, "use_regex"), true))
        return RLHF_OK;
    return add_split(t, rlhf__gpt2_pattern, (int64_t)strlen(rlhf__gpt2_pattern), false,
                     file, &stage);
}

static rlhf_status load_metaspace(rlhf__tokenizer *t, const rlhf__json *component,
                                  const char *file)
{
    static const char *const known[] = {
        "type", "replacement", "add_prefix_space", "prepend_scheme", "split", NULL};
    const char *scheme =
        rlhf__json_string(rlhf__json_get(component, "prepend_scheme"), "always");
    const rlhf__json *mark = rlhf__json_get(component, "replacement");
    int64_t size = rlhf__json_string_size(mark);
    rlhf__stage *stage = NULL;

    RLHF__TRY(rlhf__json_only(component, known, file, "pre_tokenizer"));
    if (size == 0 || rlhf__utf8_char(rlhf__json_string(mark, ""), size) != size)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "pre_tokenizer.replacement",
                             "pre_tokenizer Metaspace: replacement is not one character");
    RLHF__TRY(add_stage(t, RLHF__STAGE_METASPACE, file, &stage));
    stage->prefix_always = strcmp(scheme, "always") == 0;
    stage->prefix_first = strcmp(scheme, "first") == 0;
    if (!stage->prefix_always && !stage->prefix_first && strcmp(scheme, "never") != 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "pre_tokenizer.prepend_scheme",
                             "pre_tokenizer Metaspace: prepend_scheme \"%.60s\"", scheme);
    stage->cut = rlhf__json_bool(rlhf__json_get(component, "split"), true);
    RLHF__TRY(copy_string(t, mark, &stage->replacement, &size));
    stage->replacement_size = (int32_t)size;
    return RLHF_OK;
}

static rlhf_status load_stage(rlhf__tokenizer *t, const rlhf__json *component,
                              const char *file)
{
    rlhf__stage *stage = NULL;

    if (t->byte_level)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "pre_tokenizer",
                             "pre_tokenizer: nothing is supported after ByteLevel");
    if (has_type(component, "ByteLevel"))
        return load_byte_level(t, component, file);
    if (has_type(component, "Split"))
        return load_split(t, component, file);
    if (has_type(component, "Metaspace"))
        return load_metaspace(t, component, file);
    if (!has_type(component, "Digits"))
        return refuse(component, file, "pre_tokenizer");
    bool each = rlhf__json_bool(rlhf__json_get(component, "individual_digits"), false);
    return add_split(t, each ? "\\p{N}" : "\\p{N}+", each ? 5 : 6, false, file, &stage);
}

/* --- post-processor ----------------------------------------------------------------- */

/* Ids that a template's special token stands for, appended to the list. */
static rlhf_status add_affix(rlhf__tokenizer *t, const rlhf__json *template,
                             const rlhf__json *token, bool before, const char *file)
{
    const char *name = rlhf__json_string(rlhf__json_get(token, "id"), "");
    const rlhf__json *special =
        rlhf__json_get(rlhf__json_get(template, "special_tokens"), name);
    const rlhf__json *ids = rlhf__json_get(special, "ids");
    int32_t *list = before ? t->prefix_ids : t->suffix_ids;
    int32_t *count = before ? &t->num_prefix : &t->num_suffix;

    if (!rlhf__json_is_array(ids))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "post_processor",
                             "post_processor: special_tokens has no ids for \"%.60s\"",
                             name);
    for (int64_t i = 0; i < rlhf__json_size(ids); i++) {
        int64_t id = rlhf__json_i64(rlhf__json_at(ids, i), -1);
        if (id < 0 || id >= t->vocab_size || t->tokens[id].name < 0)
            return rlhf__fail_at(
                RLHF_ERR_FORMAT, file, 0, 0, "post_processor",
                "post_processor: \"%.60s\" has an id outside the vocabulary", name);
        if (*count == RLHF__TOKENIZER_MAX_AFFIX)
            return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "post_processor",
                                 "post_processor adds more than %d tokens",
                                 RLHF__TOKENIZER_MAX_AFFIX);
        list[(*count)++] = (int32_t)id;
    }
    return RLHF_OK;
}

static rlhf_status load_post(rlhf__tokenizer *t, const rlhf__json *component,
                             const char *file)
{
    const rlhf__json *single = rlhf__json_get(component, "single");
    int texts = 0;

    if (has_type(component, "ByteLevel")) /* changes offsets only */
        return RLHF_OK;
    if (!has_type(component, "TemplateProcessing"))
        return refuse(component, file, "post_processor");
    for (int64_t i = 0; i < rlhf__json_size(single); i++) {
        const rlhf__json *part = rlhf__json_at(single, i);
        const rlhf__json *token = rlhf__json_get(part, "SpecialToken");
        if (token)
            RLHF__TRY(add_affix(t, component, token, texts == 0, file));
        else
            texts += rlhf__json_is_object(rlhf__json_get(part, "Sequence")) ? 1 : 2;
    }
    if (texts != 1)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "post_processor.single",
                             "post_processor.single does not hold the text exactly once");
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_load_pipeline(rlhf__tokenizer *t, const rlhf__json *root,
                                          const char *file)
{
    RLHF__TRY(each_component(t, rlhf__json_get(root, "normalizer"), "normalizers", file,
                             "normalizer", load_rewrite));
    return each_component(t, rlhf__json_get(root, "pre_tokenizer"), "pretokenizers", file,
                          "pre_tokenizer", load_stage);
}

rlhf_status rlhf__tokenizer_load_post(rlhf__tokenizer *t, const rlhf__json *root,
                                      const char *file)
{
    return each_component(t, rlhf__json_get(root, "post_processor"), "processors", file,
                          "post_processor", load_post);
}
