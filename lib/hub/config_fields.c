/* Checked access to the fields of a config.json. */
#include "hub/config_fields.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static rlhf_status fail_missing(const rlhf__fields *fields, const char *key)
{
    return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, key, "\"%s\" is missing",
                         key);
}

static rlhf_status fail_type(const rlhf__fields *fields, const char *key,
                             const char *type)
{
    return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, key, "\"%s\" is not %s",
                         key, type);
}

rlhf_status rlhf__field_i32(const rlhf__fields *fields, const char *key, int64_t fallback,
                            int64_t min, int64_t max, int32_t *out)
{
    const rlhf__json *json = rlhf__json_get(fields->object, key);
    int64_t value = fallback;

    if (rlhf__json_is_null(json)) {
        if (fallback == RLHF__FIELD_REQUIRED)
            return fail_missing(fields, key);
    } else if (!rlhf__json_is_int(json)) {
        return fail_type(fields, key, "an integer");
    } else {
        value = rlhf__json_i64(json, 0);
        if (value < min || value > max)
            return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, key,
                                 "\"%s\" must be in [%" PRId64 ", %" PRId64
                                 "], got %" PRId64,
                                 key, min, max, value);
    }
    *out = (int32_t)value;
    return RLHF_OK;
}

rlhf_status rlhf__field_f64(const rlhf__fields *fields, const char *key, double fallback,
                            double *out)
{
    const rlhf__json *json = rlhf__json_get(fields->object, key);

    if (!rlhf__json_is_null(json) && !rlhf__json_is_number(json))
        return fail_type(fields, key, "a number");
    *out = rlhf__json_f64(json, fallback);
    return RLHF_OK;
}

rlhf_status rlhf__field_positive(const rlhf__fields *fields, const char *key,
                                 double fallback, double *out)
{
    double value = 0;

    RLHF__TRY(rlhf__field_f64(fields, key, fallback, &value));
    if (!(value > 0) || !isfinite(value))
        return rlhf__fail_at(RLHF_ERR_FORMAT, fields->path, 0, 0, key,
                             "\"%s\" must be > 0, got %g", key, value);
    *out = value;
    return RLHF_OK;
}

rlhf_status rlhf__field_bool(const rlhf__fields *fields, const char *key, bool fallback,
                             int32_t *out)
{
    const rlhf__json *json = rlhf__json_get(fields->object, key);

    if (!rlhf__json_is_null(json) && !rlhf__json_is_bool(json))
        return fail_type(fields, key, "true or false");
    *out = rlhf__json_bool(json, fallback);
    return RLHF_OK;
}

rlhf_status rlhf__field_word(const rlhf__fields *fields, const char *key,
                             const char *fallback, const rlhf__word *words, int32_t *out)
{
    const rlhf__json *json = rlhf__json_get(fields->object, key);
    const char *word = fallback;

    if (rlhf__json_is_null(json)) {
        if (!fallback)
            return fail_missing(fields, key);
    } else if (!rlhf__json_is_string(json)) {
        return fail_type(fields, key, "a string");
    } else {
        word = rlhf__json_string(json, "");
    }
    if (rlhf__word_value(words, word) < 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, fields->path, 0, 0, key,
                             "\"%s\": \"%.64s\" is not supported", key, word);
    *out = rlhf__word_value(words, word);
    return RLHF_OK;
}

int32_t rlhf__word_value(const rlhf__word *words, const char *word)
{
    for (; words->word; words++) {
        if (strcmp(words->word, word) == 0)
            return words->value;
    }
    return -1;
}

const char *rlhf__word_name(const rlhf__word *words, int32_t value)
{
    for (; words->word; words++) {
        if (words->value == value)
            return words->word;
    }
    return NULL;
}

rlhf_status rlhf__field_unsupported(const rlhf__fields *fields, const char *key,
                                    const char *why)
{
    rlhf__buffer text = {0};
    rlhf_status status = rlhf__json_dump(rlhf__json_get(fields->object, key), 0, &text);

    if (status == RLHF_OK)
        status =
            rlhf__fail_at(RLHF_ERR_UNSUPPORTED, fields->path, 0, 0, key,
                          "\"%s\": %.120s is not supported: %s", key, text.data, why);
    rlhf__buffer_free(&text);
    return status;
}

rlhf_status rlhf__set_string(rlhf__json *object, const char *key, const char *text)
{
    return rlhf__json_set(object, key,
                          rlhf__json_new_string(text, (int64_t)strlen(text)));
}

rlhf_status rlhf__set_i64(rlhf__json *object, const char *key, int64_t value)
{
    return rlhf__json_set(object, key, rlhf__json_new_i64(value));
}

rlhf_status rlhf__set_f64(rlhf__json *object, const char *key, double value)
{
    return rlhf__json_set(object, key, rlhf__json_new_f64(value));
}

rlhf_status rlhf__set_bool(rlhf__json *object, const char *key, bool value)
{
    return rlhf__json_set(object, key, rlhf__json_new_bool(value));
}
