/* Reading a trainer's state: everything is checked and in memory before a value is given
 * out, so that applying it cannot fail half-way. */
#include "ckpt/state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/json.h"
#include "base/number.h"
#include "ckpt/state_format.h"

#define MAX_JSON ((int64_t)256 << 20)

struct rlhf__state_reader {
    rlhf_context *context;
    char *json_path, *tensors_path;
    rlhf__json *document;
    const rlhf__json *values;
    int64_t version;
    rlhf__tensor_file *file;
    void **data;  /* [count of the file], each a block of its own */
    void **bytes; /* decoded byte strings, freed with the reader */
    int64_t num_bytes, capacity;
};

/* --- opening ------------------------------------------------------------------------ */

static rlhf_status fail_json(const rlhf__state_reader *reader, rlhf_status status,
                             const char *field, const char *what)
{
    return rlhf__fail_at(status, reader->json_path, 0, 0, field, "\"%s\" %s", field,
                         what);
}

static rlhf_status get_string(const rlhf__state_reader *reader, const char *field,
                              const char **out)
{
    *out = rlhf__json_string(rlhf__json_get(reader->document, field), NULL);
    if (!*out)
        return fail_json(reader, RLHF_ERR_FORMAT, field, "is missing or not a string");
    return RLHF_OK;
}

static rlhf_status check_version(rlhf__state_reader *reader)
{
    const rlhf__json *format = rlhf__json_get(reader->document, "format");
    int64_t version = rlhf__json_i64(format, 0);

    if (!rlhf__json_is_int(format) || version < 1)
        return fail_json(reader, RLHF_ERR_FORMAT, "format",
                         "is missing or not a version number");
    if (version > RLHF__STATE_FORMAT)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, reader->json_path, 0, 0, "format",
                             "saved state of format %" PRId64
                             ", this library reads up to %d",
                             version, RLHF__STATE_FORMAT);
    reader->version = version;
    return RLHF_OK;
}

static rlhf_status check_identity(const rlhf__state_reader *reader, const char *kind)
{
    const char *text = NULL;

    RLHF__TRY(get_string(reader, "kind", &text));
    if (strcmp(text, kind) != 0)
        return rlhf__fail_at(RLHF_ERR_INVALID_ARG, reader->json_path, 0, 0, "kind",
                             "saved state of kind \"%.32s\" where \"%s\" is needed", text,
                             kind);
    RLHF__TRY(get_string(reader, "dtype", &text));
    if (strcmp(text, rlhf__state_compute_name(RLHF_DTYPE_FP32)) != 0 &&
        strcmp(text, rlhf__state_compute_name(RLHF_DTYPE_BF16)) != 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, reader->json_path, 0, 0, "dtype",
                             "saved state of dtype \"%.32s\", this library has float32 "
                             "and bfloat16",
                             text);
    return RLHF_OK;
}

/* The same seed gives the same bytes for one build, CPU level and compute dtype only. */
static rlhf_status warn_elsewhere(const rlhf__state_reader *reader)
{
    const char *here = rlhf__state_level_name(reader->context->cpu_level);
    const char *dtype_here = rlhf__state_compute_name(reader->context->dtype);
    const char *level = NULL, *version = NULL, *dtype = NULL;

    RLHF__TRY(get_string(reader, "cpu_level", &level));
    RLHF__TRY(get_string(reader, "library_version", &version));
    RLHF__TRY(get_string(reader, "dtype", &dtype));
    if (strcmp(dtype, dtype_here) != 0)
        rlhf__log(reader->context, RLHF_LOG_WARNING,
                  "%s: saved with dtype %.32s, resumed with %s: results will differ from "
                  "an uninterrupted run's",
                  reader->json_path, dtype, dtype_here);
    if (strcmp(level, here) != 0)
        rlhf__log(reader->context, RLHF_LOG_WARNING,
                  "%s: saved on CPU level %.32s, resumed on %s: bits may differ from an "
                  "uninterrupted run",
                  reader->json_path, level, here);
    if (strcmp(version, rlhf_version()) != 0)
        rlhf__log(reader->context, RLHF_LOG_WARNING,
                  "%s: saved by version %.32s, resumed by %s: bits may differ from an "
                  "uninterrupted run",
                  reader->json_path, version, rlhf_version());
    return RLHF_OK;
}

typedef struct value_hash {
    const rlhf__state_reader *reader;
    rlhf__sha256 hash;
} value_hash;

static rlhf_status hash_member(void *arg, const char *key, rlhf__json *value)
{
    value_hash *state = arg;
    const char *text = rlhf__json_string(value, NULL);

    if (!text)
        return fail_json(state->reader, RLHF_ERR_FORMAT, key, "is not a string");
    rlhf__state_hash_value(&state->hash, key, text);
    return RLHF_OK;
}

static rlhf_status check_values(rlhf__state_reader *reader)
{
    value_hash state = {.reader = reader};
    const char *expected = NULL;
    char got[65];

    reader->values = rlhf__json_get(reader->document, "values");
    if (!rlhf__json_is_object(reader->values))
        return fail_json(reader, RLHF_ERR_FORMAT, "values",
                         "is missing or not an object");
    rlhf__sha256_init(&state.hash);
    RLHF__TRY(rlhf__json_each(reader->values, hash_member, &state));
    rlhf__sha256_hex(&state.hash, got);
    RLHF__TRY(get_string(reader, "values_sha256", &expected));
    if (strcmp(expected, got) != 0)
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, reader->json_path, 0, 0, "values_sha256",
            "the checksum of the values is %s, not %.64s as the file says", got,
            expected);
    return RLHF_OK;
}

static rlhf_status check_tensors(const rlhf__state_reader *reader)
{
    const rlhf__json *size = rlhf__json_get(reader->document, "tensors_size");
    const char *expected = NULL;
    char got[65];
    int64_t got_size = 0;

    if (!rlhf__json_is_int(size))
        return fail_json(reader, RLHF_ERR_FORMAT, "tensors_size",
                         "is missing or not an integer");
    RLHF__TRY(get_string(reader, "tensors_sha256", &expected));
    RLHF__TRY(rlhf__file_sha256(reader->context, reader->tensors_path, got, &got_size));
    if (got_size != rlhf__json_i64(size, 0))
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, "tensors_size",
                             "%" PRId64 " bytes where %s says %" PRId64
                             ": cut short or mixed "
                             "with another save",
                             got_size, RLHF__STATE_JSON, rlhf__json_i64(size, 0));
    if (strcmp(expected, got) != 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0,
                             "tensors_sha256", "the checksum is %s, not %.64s as %s says",
                             got, expected, RLHF__STATE_JSON);
    return RLHF_OK;
}

static rlhf_status load_tensors(rlhf__state_reader *reader)
{
    int64_t count;

    RLHF__TRY(
        rlhf__tensor_file_open(reader->context, reader->tensors_path, &reader->file));
    count = rlhf__tensor_file_count(reader->file);
    RLHF__TRY(rlhf__alloc(reader->context, count, sizeof *reader->data,
                          RLHF_MEMORY_GENERAL, &reader->data));
    for (int64_t i = 0; i < count; i++) {
        const rlhf__tensor_entry *entry = rlhf__tensor_file_at(reader->file, i);
        RLHF__TRY(rlhf__progress(reader->context, "resume", i, count));
        RLHF__TRY(rlhf__alloc_raw(reader->context, entry->end - entry->begin, 1,
                                  RLHF_MEMORY_GENERAL, &reader->data[i]));
        RLHF__TRY(rlhf__tensor_file_read_bytes(reader->file, entry, reader->data[i]));
    }
    rlhf__progress_end(reader->context, "resume", count);
    return RLHF_OK;
}

static rlhf_status load_all(rlhf__state_reader *reader, const char *path,
                            const char *kind)
{
    rlhf_context *context = reader->context;

    RLHF__TRY(rlhf__path_join(context, path, RLHF__STATE_JSON, &reader->json_path));
    RLHF__TRY(rlhf__path_join(context, path, RLHF__STATE_TENSORS, &reader->tensors_path));
    RLHF__TRY(rlhf__json_load(context, reader->json_path, MAX_JSON, &reader->document));
    if (!rlhf__json_is_object(reader->document))
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->json_path, 0, 0, NULL,
                             "the file is not a JSON object");
    RLHF__TRY(check_version(reader));
    RLHF__TRY(check_identity(reader, kind));
    RLHF__TRY(check_values(reader));
    RLHF__TRY(check_tensors(reader));
    RLHF__TRY(load_tensors(reader));
    return warn_elsewhere(reader);
}

rlhf_status rlhf__state_reader_open(rlhf_context *context, const char *path,
                                    const char *kind, rlhf__state_reader **out_reader)
{
    rlhf__state_reader *reader = NULL;
    rlhf_status status;

    *out_reader = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *reader, RLHF_MEMORY_GENERAL, &reader));
    reader->context = context;
    status = load_all(reader, path, kind);
    if (status != RLHF_OK) {
        rlhf__state_reader_free(reader);
        return status;
    }
    *out_reader = reader;
    return RLHF_OK;
}

void rlhf__state_reader_free(rlhf__state_reader *reader)
{
    if (!reader)
        return;
    for (int64_t i = 0; reader->data && i < rlhf__tensor_file_count(reader->file); i++)
        rlhf__free(reader->data[i]);
    for (int64_t i = 0; i < reader->num_bytes; i++)
        rlhf__free(reader->bytes[i]);
    rlhf__free(reader->data);
    rlhf__free(reader->bytes);
    rlhf__tensor_file_close(reader->file);
    rlhf__json_free(reader->document);
    rlhf__free(reader->json_path);
    rlhf__free(reader->tensors_path);
    rlhf__free(reader);
}

/* --- values ------------------------------------------------------------------------- */

int64_t rlhf__state_version(const rlhf__state_reader *reader)
{
    return reader->version;
}

bool rlhf__state_has(const rlhf__state_reader *reader, const char *name)
{
    return rlhf__json_get(reader->values, name) ||
           rlhf__tensor_file_find(reader->file, name);
}

/* The text after "TAG:". */
static rlhf_status get_tagged(const rlhf__state_reader *reader, const char *name,
                              const char *tag, const char **out)
{
    const char *text = rlhf__json_string(rlhf__json_get(reader->values, name), NULL);

    if (!text)
        return fail_json(reader, RLHF_ERR_FORMAT, name,
                         "is missing from the saved state");
    if (strncmp(text, tag, 4) != 0)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->json_path, 0, 0, name,
                             "\"%s\" is \"%.40s\" where \"%s\" is needed", name, text,
                             tag);
    *out = text + 4;
    return RLHF_OK;
}

static rlhf_status fail_value(const rlhf__state_reader *reader, const char *name,
                              const char *text)
{
    return rlhf__fail_at(RLHF_ERR_FORMAT, reader->json_path, 0, 0, name,
                         "\"%s\": \"%.40s\" is not a value of its type", name, text);
}

rlhf_status rlhf__state_get_i64(const rlhf__state_reader *reader, const char *name,
                                int64_t *out_value)
{
    const char *text = NULL;

    RLHF__TRY(get_tagged(reader, name, "i64:", &text));
    if (!rlhf__parse_i64(text, out_value))
        return fail_value(reader, name, text);
    return RLHF_OK;
}

rlhf_status rlhf__state_get_range(const rlhf__state_reader *reader, const char *name,
                                  int64_t min, int64_t max, int64_t *out_value)
{
    int64_t value = 0;

    RLHF__TRY(rlhf__state_get_i64(reader, name, &value));
    if (value < min || value > max)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->json_path, 0, 0, name,
                             "\"%s\" must be in [%" PRId64 ", %" PRId64 "], got %" PRId64,
                             name, min, max, value);
    *out_value = value;
    return RLHF_OK;
}

rlhf_status rlhf__state_get_u64(const rlhf__state_reader *reader, const char *name,
                                uint64_t *out_value)
{
    const char *text = NULL;

    RLHF__TRY(get_tagged(reader, name, "u64:", &text));
    if (!rlhf__parse_u64(text, out_value))
        return fail_value(reader, name, text);
    return RLHF_OK;
}

/* -1 for what is not a lower-case hexadecimal digit. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

rlhf_status rlhf__state_get_f64(const rlhf__state_reader *reader, const char *name,
                                double *out_value)
{
    const char *text = NULL;
    uint64_t bits = 0;

    RLHF__TRY(get_tagged(reader, name, "f64:", &text));
    if (strlen(text) != 16)
        return fail_value(reader, name, text);
    for (int i = 0; i < 16; i++) {
        if (hex_digit(text[i]) < 0)
            return fail_value(reader, name, text);
        bits = bits << 4 | (uint64_t)hex_digit(text[i]);
    }
    memcpy(out_value, &bits, sizeof bits);
    return RLHF_OK;
}

rlhf_status rlhf__state_get_real(const rlhf__state_reader *reader, const char *name,
                                 double min, double max, double *out_value)
{
    double value = 0.0;

    RLHF__TRY(rlhf__state_get_f64(reader, name, &value));
    if (!(value >= min && value <= max))
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->json_path, 0, 0, name,
                             "\"%s\" must be in [%g, %g], got %g", name, min, max, value);
    *out_value = value;
    return RLHF_OK;
}

rlhf_status rlhf__state_get_bytes(const rlhf__state_reader *const_reader,
                                  const char *name, const void **out_bytes,
                                  int64_t *out_size)
{
    /* Decoded strings are a cache: what the reader says does not change. */
    rlhf__state_reader *reader = (rlhf__state_reader *)const_reader;
    const char *text = NULL;
    unsigned char *bytes = NULL;
    size_t size;

    RLHF__TRY(get_tagged(reader, name, "hex:", &text));
    size = strlen(text) / 2;
    if (strlen(text) % 2 != 0)
        return fail_value(reader, name, text);
    RLHF__TRY(rlhf__grow(reader->context, &reader->bytes, &reader->capacity,
                         reader->num_bytes + 1, sizeof *reader->bytes));
    RLHF__TRY(
        rlhf__alloc_raw(reader->context, (int64_t)size, 1, RLHF_MEMORY_GENERAL, &bytes));
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            rlhf__free(bytes);
            return fail_value(reader, name, text);
        }
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    reader->bytes[reader->num_bytes++] = bytes;
    *out_bytes = bytes;
    *out_size = (int64_t)size;
    return RLHF_OK;
}

/* --- arrays ------------------------------------------------------------------------- */

static rlhf_status find_array(const rlhf__state_reader *reader, const char *name,
                              rlhf__dtype dtype, const rlhf__tensor_entry **out_entry,
                              const void **out_data)
{
    const rlhf__tensor_entry *entry = rlhf__tensor_file_find(reader->file, name);

    if (!entry)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, name,
                             "array \"%s\" is missing from the saved state", name);
    if (entry->dtype != dtype)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, name,
                             "array \"%s\" is %s where %s is needed", name,
                             rlhf__dtype_name(entry->dtype), rlhf__dtype_name(dtype));
    *out_entry = entry;
    *out_data = reader->data[entry - rlhf__tensor_file_at(reader->file, 0)];
    return RLHF_OK;
}

rlhf_status rlhf__state_array_count(const rlhf__state_reader *reader, const char *name,
                                    rlhf__state_type type, int64_t *out_count)
{
    const rlhf__tensor_entry *entry = NULL;
    const void *data = NULL;

    RLHF__TRY(find_array(reader, name, rlhf__state_dtype(type), &entry, &data));
    *out_count = entry->count;
    return RLHF_OK;
}

rlhf_status rlhf__state_get_array(const rlhf__state_reader *reader, const char *name,
                                  rlhf__state_type type, int64_t count,
                                  const void **out_data)
{
    const rlhf__tensor_entry *entry = NULL;
    const void *data = NULL;

    RLHF__TRY(find_array(reader, name, rlhf__state_dtype(type), &entry, &data));
    if (entry->count != count)
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, name,
                             "array \"%s\" has %" PRId64 " elements where %" PRId64
                             " are needed",
                             name, entry->count, count);
    *out_data = data;
    return RLHF_OK;
}

static rlhf_status check_floats(const rlhf__state_reader *reader, const char *name,
                                rlhf__state_values allowed, const float *values,
                                int64_t count)
{
    for (int64_t i = 0; allowed != RLHF__STATE_ANY && i < count; i++) {
        if (!isfinite(values[i]) ||
            (allowed == RLHF__STATE_NOT_NEGATIVE && values[i] < 0))
            return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, name,
                                 "array \"%s\": element %" PRId64 " is %f", name, i,
                                 (double)values[i]);
    }
    return RLHF_OK;
}

static rlhf_status find_param(const rlhf__state_reader *reader, const char *prefix,
                              const rlhf__params *layout, const rlhf__named *named,
                              rlhf__state_values allowed, const float **out_values)
{
    const rlhf__tensor_entry *entry = NULL;
    const void *data = NULL;
    int64_t cols = layout->slabs[named->slab].cols;
    char name[160], shape[128];

    RLHF__TRY(rlhf__state_param_name(prefix, named->name, name));
    RLHF__TRY(find_array(reader, name, RLHF__DTYPE_F32, &entry, &data));
    if (entry->rank != 2 || entry->shape[0] != named->rows || entry->shape[1] != cols) {
        rlhf__tensor_shape_text(entry->shape, entry->rank, shape);
        return rlhf__fail_at(RLHF_ERR_FORMAT, reader->tensors_path, 0, 0, name,
                             "array \"%s\" has shape %s where [%" PRId64 ", %" PRId64
                             "] is needed: the state is of another model",
                             name, shape, named->rows, cols);
    }
    RLHF__TRY(check_floats(reader, name, allowed, data, entry->count));
    *out_values = data;
    return RLHF_OK;
}

rlhf_status rlhf__state_get_params(const rlhf__state_reader *reader, const char *prefix,
                                   const rlhf__params *layout, rlhf__state_values allowed,
                                   float *out)
{
    const float *values = NULL;

    for (int32_t i = 0; i < layout->num_named; i++)
        RLHF__TRY(
            find_param(reader, prefix, layout, &layout->named[i], allowed, &values));
    for (int32_t i = 0; out && i < layout->num_named; i++) {
        const rlhf__named *named = &layout->named[i];
        const rlhf__slab *slab = &layout->slabs[named->slab];
        RLHF__TRY(find_param(reader, prefix, layout, named, RLHF__STATE_ANY, &values));
        memcpy(out + slab->offset + named->first_row * slab->cols, values,
               (size_t)(named->rows * slab->cols) * sizeof *out);
    }
    return RLHF_OK;
}
