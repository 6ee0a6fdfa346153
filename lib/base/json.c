/* The only user of jansson. A document is a json_t; rlhf__json is that type under our
 * name. */
#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json_check.h"

#define MAX_DEPTH 64

static json_t *of(const rlhf__json *json)
{
    return (json_t *)(uintptr_t)json;
}

static rlhf__json *as(json_t *json)
{
    return (rlhf__json *)json;
}

/* jansson recurses to 2048 levels; a pre-scan refuses more than MAX_DEPTH before it
 * does. And jansson overlooks a zero byte after a number or a word. */
static rlhf_status check_text(const char *text, int64_t size, const char *file,
                              int64_t first_line)
{
    int64_t depth = 0, line = first_line;
    bool in_string = false;

    for (int64_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\n')
            line++;
        if (c == '\0')
            return rlhf__fail_at(RLHF_ERR_FORMAT, file, line, 0, NULL,
                                 "invalid JSON: a zero byte");
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return rlhf__fail_at(RLHF_ERR_FORMAT, file, line, 0, NULL,
                                     "JSON is nested deeper than %d levels", MAX_DEPTH);
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return RLHF_OK;
}

static bool ran_out_of_memory(const json_error_t *error, const char *text, int64_t size)
{
    const enum json_error_code code = json_error_code(error);

    return code == json_error_out_of_memory ||
           ((code == json_error_unknown || code == json_error_invalid_syntax ||
             code == json_error_premature_end_of_input) &&
            rlhf__json_is_well_formed(text, size));
}

/* Whether a number's text is an integer of more than 64 bits. */
static bool is_too_big(const char *text, int64_t size)
{
    static const char most[] = "9223372036854775807";
    const int64_t digits = (int64_t)sizeof most - 1;

    if (size > 0 && text[0] == '-') {
        text++;
        size--;
    }
    for (int64_t i = 0; i < size; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return size > digits || (size == digits && memcmp(text, most, (size_t)digits) > 0);
}

/* The text with an exponent behind each integer of more than 64 bits, so that jansson
 * reads a real. `to` has room for three halves of it. */
static int64_t widen_integers(const char *text, int64_t size, char *to)
{
    int64_t used = 0;

    for (int64_t i = 0; i < size;) {
        int64_t end = i + 1;
        if (text[i] == '"') {
            while (end < size && text[end] != '"')
                end += text[end] == '\\' ? 2 : 1;
            end = end < size ? end + 1 : size;
        } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
            while (end < size && text[end] && strchr("0123456789+-.eE", text[end]))
                end++;
        }
        memcpy(to + used, text + i, (size_t)(end - i));
        used += end - i;
        if (is_too_big(text + i, end - i)) {
            memcpy(to + used, "e0", 2);
            used += 2;
        }
        i = end;
    }
    return used;
}

static json_t *load(const char *text, int64_t size, json_error_t *error)
{
    return json_loadb(text, (size_t)size,
                      JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, error);
}

rlhf_status rlhf__json_parse(rlhf_context *context, const char *text, int64_t size,
                             const char *file, int64_t first_line, rlhf__json **out)
{
    json_error_t error = {
        .text = ""}; /* jansson leaves its code unset where it has no words */

    *out = NULL;
    RLHF__TRY(check_text(text, size, file, first_line));
    json_t *json = load(text, size, &error);
    /* transformers writes "no limit" as 1000000000000000019884624838656. */
    if (!json && json_error_code(&error) == json_error_numeric_overflow) {
        char *wide = NULL;
        RLHF__TRY(
            rlhf__alloc_raw(context, size / 2 * 3 + 3, 1, RLHF_MEMORY_GENERAL, &wide));
        json = load(wide, widen_integers(text, size, wide), &error);
        rlhf__free(wide);
    }
    if (!json && ran_out_of_memory(&error, text, size))
        return rlhf__fail_no_memory((size_t)size);
    if (!json)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file,
                             error.line > 0 ? error.line - 1 + first_line : first_line,
                             error.column > 0 ? error.column : 0, NULL,
                             "invalid JSON: %s", error.text);
    *out = as(json);
    return RLHF_OK;
}

rlhf_status rlhf__json_load(rlhf_context *context, const char *path, int64_t limit,
                            rlhf__json **out)
{
    char *text = NULL;
    int64_t size = 0;

    *out = NULL;
    RLHF__TRY(rlhf__file_read(context, path, limit, &text, &size));
    rlhf_status status = rlhf__json_parse(context, text, size, path, 1, out);
    rlhf__free(text);
    return status;
}

void rlhf__json_free(rlhf__json *json)
{
    json_decref(of(json));
}

bool rlhf__json_is_object(const rlhf__json *json)
{
    return json_is_object(of(json));
}
bool rlhf__json_is_array(const rlhf__json *json)
{
    return json_is_array(of(json));
}
bool rlhf__json_is_string(const rlhf__json *json)
{
    return json_is_string(of(json));
}
bool rlhf__json_is_null(const rlhf__json *json)
{
    return !json || json_is_null(of(json));
}
bool rlhf__json_is_number(const rlhf__json *json)
{
    return json_is_number(of(json));
}
bool rlhf__json_is_bool(const rlhf__json *json)
{
    return json_is_boolean(of(json));
}
bool rlhf__json_is_int(const rlhf__json *json)
{
    return json_is_integer(of(json));
}

rlhf__json *rlhf__json_get(const rlhf__json *object, const char *key)
{
    return as(json_object_get(of(object), key));
}

rlhf__json *rlhf__json_at(const rlhf__json *array, int64_t index)
{
    return index < 0 ? NULL : as(json_array_get(of(array), (size_t)index));
}

int64_t rlhf__json_size(const rlhf__json *container)
{
    if (json_is_object(of(container)))
        return (int64_t)json_object_size(of(container));
    return (int64_t)json_array_size(of(container));
}

rlhf_status rlhf__json_each(const rlhf__json *object,
                            rlhf_status (*fn)(void *arg, const char *key,
                                              rlhf__json *value),
                            void *arg)
{
    void *at = json_object_iter(of(object));

    for (; at; at = json_object_iter_next(of(object), at))
        RLHF__TRY(fn(arg, json_object_iter_key(at), as(json_object_iter_value(at))));
    return RLHF_OK;
}

int64_t rlhf__json_i64(const rlhf__json *json, int64_t fallback)
{
    return json_is_integer(of(json)) ? json_integer_value(of(json)) : fallback;
}

double rlhf__json_f64(const rlhf__json *json, double fallback)
{
    return json_is_number(of(json)) ? json_number_value(of(json)) : fallback;
}

bool rlhf__json_bool(const rlhf__json *json, bool fallback)
{
    return json_is_boolean(of(json)) ? json_is_true(of(json)) : fallback;
}

const char *rlhf__json_string(const rlhf__json *json, const char *fallback)
{
    return json_is_string(of(json)) ? json_string_value(of(json)) : fallback;
}

int64_t rlhf__json_string_size(const rlhf__json *json)
{
    return (int64_t)json_string_length(of(json));
}

rlhf__json *rlhf__json_new_object(void)
{
    return as(json_object());
}
rlhf__json *rlhf__json_new_array(void)
{
    return as(json_array());
}
rlhf__json *rlhf__json_new_i64(int64_t value)
{
    return as(json_integer(value));
}
rlhf__json *rlhf__json_new_bool(bool value)
{
    return as(json_boolean(value));
}
rlhf__json *rlhf__json_new_null(void)
{
    return as(json_null());
}

rlhf__json *rlhf__json_new_string(const char *text, int64_t size)
{
    return as(json_stringn(text, (size_t)size));
}

rlhf__json *rlhf__json_new_f64(double value)
{
    return isfinite(value) ? as(json_real(value)) : NULL;
}

rlhf__json *rlhf__json_copy(const rlhf__json *json)
{
    return as(json_deep_copy(of(json)));
}

rlhf_status rlhf__json_set(rlhf__json *object, const char *key, rlhf__json *value)
{
    if (!value || json_object_set_new(of(object), key, of(value)))
        return rlhf__fail_no_memory(sizeof(void *));
    return RLHF_OK;
}

rlhf_status rlhf__json_append(rlhf__json *array, rlhf__json *value)
{
    if (!value || json_array_append_new(of(array), of(value)))
        return rlhf__fail_no_memory(sizeof(void *));
    return RLHF_OK;
}

/* jansson overlooks a callback that fails at an object's key: the status is kept here. */
typedef struct dump_sink {
    rlhf__buffer *out;
    rlhf_status status;
} dump_sink;

static int append_piece(const char *bytes, size_t size, void *arg)
{
    dump_sink *sink = arg;

    if (sink->status == RLHF_OK)
        sink->status = rlhf__buffer_append(sink->out, bytes, (int64_t)size);
    return sink->status == RLHF_OK ? 0 : -1;
}

rlhf_status rlhf__json_dump(const rlhf__json *json, int indent, rlhf__buffer *out)
{
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    dump_sink sink = {out, RLHF_OK};

    flags |= indent > 0 ? JSON_INDENT((size_t)indent) : 0;
    if (json_dump_callback(of(json), append_piece, &sink, flags) &&
        sink.status == RLHF_OK)
        return rlhf__fail_no_memory((size_t)out->size);
    return sink.status;
}
