/* Writing a trainer's state. Scalars are kept as tagged text ("f64:3ff0000000000000") so
 * that every bit survives and the type is checked on reading; arrays are borrowed until
 * commit. */
#include "ckpt/state.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/json.h"
#include "ckpt/state_format.h"

typedef struct array {
    rlhf__tensor_spec spec; /* its name is owned */
    const void *data;
    int64_t bytes;
} array;

struct rlhf__state_writer {
    rlhf_context *context;
    char *kind;
    rlhf__json *values;
    rlhf__sha256 hash;
    array *arrays;
    int64_t num_arrays, capacity;
};

rlhf__dtype rlhf__state_dtype(rlhf__state_type type)
{
    switch (type) {
    case RLHF__STATE_F32:
        return RLHF__DTYPE_F32;
    case RLHF__STATE_I32:
        return RLHF__DTYPE_I32;
    case RLHF__STATE_I64:
        return RLHF__DTYPE_I64;
    default:
        return RLHF__DTYPE_U8;
    }
}

const char *rlhf__state_compute_name(int32_t dtype)
{
    return dtype == RLHF_DTYPE_BF16 ? "bfloat16" : "float32";
}

const char *rlhf__state_level_name(int32_t level)
{
    switch (level) {
    case RLHF_CPU_PORTABLE:
        return "portable";
    case RLHF_CPU_AVX2:
        return "avx2";
    case RLHF_CPU_AVX512:
        return "avx512";
    case RLHF_CPU_AVX512_BF16:
        return "avx512_bf16";
    case RLHF_CPU_AMX:
        return "amx";
    default:
        return "unknown";
    }
}

void rlhf__state_hash_value(rlhf__sha256 *hash, const char *name, const char *text)
{
    rlhf__sha256_update(hash, name, strlen(name) + 1);
    rlhf__sha256_update(hash, text, strlen(text) + 1);
}

rlhf_status rlhf__state_param_name(const char *prefix, const char *name, char out[160])
{
    int length = snprintf(out, 160, "%s/%s", prefix, name);

    if (length < 0 || length >= 160)
        return rlhf__fail(RLHF_ERR_INTERNAL, "parameter name %s/%s is too long", prefix,
                          name);
    return RLHF_OK;
}

rlhf_status rlhf__state_writer_create(rlhf_context *context, const char *kind,
                                      rlhf__state_writer **out_writer)
{
    rlhf__state_writer *writer = NULL;
    rlhf_status status;

    *out_writer = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *writer, RLHF_MEMORY_GENERAL, &writer));
    writer->context = context;
    rlhf__sha256_init(&writer->hash);
    status = rlhf__strdup(context, kind, &writer->kind);
    writer->values = rlhf__json_new_object();
    if (status == RLHF_OK && !writer->values)
        status = rlhf__fail_no_memory(64);
    if (status != RLHF_OK) {
        rlhf__state_writer_free(writer);
        return status;
    }
    *out_writer = writer;
    return RLHF_OK;
}

void rlhf__state_writer_free(rlhf__state_writer *writer)
{
    if (!writer)
        return;
    for (int64_t i = 0; i < writer->num_arrays; i++)
        rlhf__free((char *)writer->arrays[i].spec.name);
    rlhf__free(writer->arrays);
    rlhf__json_free(writer->values);
    rlhf__free(writer->kind);
    rlhf__free(writer);
}

/* --- values ------------------------------------------------------------------------- */

static bool name_taken(const rlhf__state_writer *writer, const char *name)
{
    if (rlhf__json_get(writer->values, name))
        return true;
    for (int64_t i = 0; i < writer->num_arrays; i++) {
        if (strcmp(writer->arrays[i].spec.name, name) == 0)
            return true;
    }
    return false;
}

static rlhf_status put_text(rlhf__state_writer *writer, const char *name,
                            const char *text)
{
    if (name_taken(writer, name))
        return rlhf__fail(RLHF_ERR_INTERNAL, "saved state has \"%s\" twice", name);
    RLHF__TRY(rlhf__json_set(writer->values, name,
                             rlhf__json_new_string(text, (int64_t)strlen(text))));
    rlhf__state_hash_value(&writer->hash, name, text);
    return RLHF_OK;
}

rlhf_status rlhf__state_put_i64(rlhf__state_writer *writer, const char *name,
                                int64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "i64:%" PRId64, value);
    return put_text(writer, name, text);
}

rlhf_status rlhf__state_put_u64(rlhf__state_writer *writer, const char *name,
                                uint64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "u64:%" PRIu64, value);
    return put_text(writer, name, text);
}

rlhf_status rlhf__state_put_f64(rlhf__state_writer *writer, const char *name,
                                double value)
{
    char text[32];
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    snprintf(text, sizeof text, "f64:%016" PRIx64, bits);
    return put_text(writer, name, text);
}

rlhf_status rlhf__state_put_bytes(rlhf__state_writer *writer, const char *name,
                                  const void *bytes, int64_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    char *text = NULL;
    rlhf_status status;

    if (size > RLHF__STATE_MAX_BYTES)
        return rlhf__fail(RLHF_ERR_LIMIT,
                          "\"%s\": %" PRId64 " bytes are over the limit of %d", name,
                          size, (int)RLHF__STATE_MAX_BYTES);
    RLHF__TRY(
        rlhf__alloc_raw(writer->context, 2 * size + 8, 1, RLHF_MEMORY_GENERAL, &text));
    memcpy(text, "hex:", 4);
    for (int64_t i = 0; i < size; i++) {
        text[4 + 2 * i] = digits[from[i] >> 4];
        text[5 + 2 * i] = digits[from[i] & 15];
    }
    text[4 + 2 * size] = 0;
    status = put_text(writer, name, text);
    rlhf__free(text);
    return status;
}

/* --- arrays ------------------------------------------------------------------------- */

static rlhf_status put_tensor(rlhf__state_writer *writer, const rlhf__tensor_spec *spec,
                              const void *data, int64_t count)
{
    char *name = NULL;
    array *item;

    if (name_taken(writer, spec->name))
        return rlhf__fail(RLHF_ERR_INTERNAL, "saved state has \"%s\" twice", spec->name);
    RLHF__TRY(rlhf__grow(writer->context, &writer->arrays, &writer->capacity,
                         writer->num_arrays + 1, sizeof *writer->arrays));
    RLHF__TRY(rlhf__strdup(writer->context, spec->name, &name));
    item = &writer->arrays[writer->num_arrays++];
    item->spec = *spec;
    item->spec.name = name;
    item->data = data;
    item->bytes = count * rlhf__dtype_size(spec->dtype);
    return RLHF_OK;
}

rlhf_status rlhf__state_put_array(rlhf__state_writer *writer, const char *name,
                                  rlhf__state_type type, const void *data, int64_t count)
{
    rlhf__tensor_spec spec = {
        .name = name, .dtype = rlhf__state_dtype(type), .rank = 1, .shape = {count}};

    return put_tensor(writer, &spec, data, count);
}

rlhf_status rlhf__state_put_params(rlhf__state_writer *writer, const char *prefix,
                                   const rlhf__params *layout, const float *values)
{
    char name[160];

    for (int32_t i = 0; i < layout->num_named; i++) {
        const rlhf__named *named = &layout->named[i];
        const rlhf__slab *slab = &layout->slabs[named->slab];
        rlhf__tensor_spec spec = {.name = name,
                                  .dtype = RLHF__DTYPE_F32,
                                  .rank = 2,
                                  .shape = {named->rows, slab->cols}};
        RLHF__TRY(rlhf__state_param_name(prefix, named->name, name));
        RLHF__TRY(put_tensor(writer, &spec,
                             values + slab->offset + named->first_row * slab->cols,
                             named->rows * slab->cols));
    }
    return RLHF_OK;
}

/* --- commit ------------------------------------------------------------------------- */

/* A folder that is replaced loses what is in it: only one of ours, or an empty one. */
static rlhf_status check_replaceable(rlhf_context *context, const char *path)
{
    char *inside = NULL;
    bool ours, empty = true;
    DIR *dir;

    RLHF__TRY(rlhf__path_join(context, path, RLHF__STATE_JSON, &inside));
    ours = rlhf__path_exists(inside);
    rlhf__free(inside);
    if (ours || !rlhf__path_exists(path))
        return RLHF_OK;
    dir = opendir(path);
    if (!dir && errno == ENOTDIR)
        return rlhf__fail_at(RLHF_ERR_EXISTS, path, 0, 0, NULL,
                             "is there already and is not a folder of saved state");
    if (!dir)
        return rlhf__fail_errno(errno, path, "cannot list %s", path);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            empty = false;
    }
    closedir(dir);
    if (!empty)
        return rlhf__fail_at(RLHF_ERR_EXISTS, path, 0, 0, NULL,
                             "the folder holds other files and no saved state");
    return RLHF_OK;
}

static rlhf_status write_arrays(rlhf__state_writer *writer, rlhf__folder *folder,
                                char out_sha256[65], int64_t *out_size)
{
    rlhf__tensor_writer *file = NULL;
    rlhf__tensor_spec *specs = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__alloc(writer->context, writer->num_arrays, sizeof *specs,
                          RLHF_MEMORY_GENERAL, &specs));
    for (int64_t i = 0; i < writer->num_arrays; i++)
        specs[i] = writer->arrays[i].spec;
    status = rlhf__tensor_writer_create(folder, writer->context, RLHF__STATE_TENSORS,
                                        specs, writer->num_arrays, true, &file);
    rlhf__free(specs);
    RLHF__TRY(status);
    for (int64_t i = 0; i < writer->num_arrays && status == RLHF_OK; i++) {
        status = rlhf__progress(writer->context, "save", i, writer->num_arrays);
        if (status == RLHF_OK)
            status = rlhf__tensor_writer_write(file, writer->arrays[i].data,
                                               writer->arrays[i].bytes);
    }
    if (status != RLHF_OK) {
        rlhf__tensor_writer_abort(file);
        return status;
    }
    rlhf__progress_end(writer->context, "save", writer->num_arrays);
    return rlhf__tensor_writer_close(file, out_sha256, out_size);
}

static rlhf_status set_string(rlhf__json *object, const char *key, const char *text)
{
    return rlhf__json_set(object, key,
                          rlhf__json_new_string(text, (int64_t)strlen(text)));
}

static rlhf_status fill_document(rlhf__state_writer *writer, rlhf__json *document,
                                 const char *sha256, int64_t size)
{
    rlhf__sha256 hash = writer->hash;
    char values_sha256[65];

    rlhf__sha256_hex(&hash, values_sha256);
    RLHF__TRY(rlhf__json_set(document, "format", rlhf__json_new_i64(RLHF__STATE_FORMAT)));
    RLHF__TRY(set_string(document, "library_version", rlhf_version()));
    RLHF__TRY(set_string(document, "kind", writer->kind));
    RLHF__TRY(set_string(document, "cpu_level",
                         rlhf__state_level_name(writer->context->cpu_level)));
    RLHF__TRY(
        set_string(document, "dtype", rlhf__state_compute_name(writer->context->dtype)));
    RLHF__TRY(set_string(document, "tensors_sha256", sha256));
    RLHF__TRY(rlhf__json_set(document, "tensors_size", rlhf__json_new_i64(size)));
    RLHF__TRY(set_string(document, "values_sha256", values_sha256));
    return rlhf__json_set(document, "values", rlhf__json_copy(writer->values));
}

static rlhf_status write_document(rlhf__state_writer *writer, rlhf__folder *folder,
                                  const char *sha256, int64_t size)
{
    rlhf__buffer text = {.context = writer->context};
    rlhf__json *document = rlhf__json_new_object();
    rlhf_status status = document ? fill_document(writer, document, sha256, size)
                                  : rlhf__fail_no_memory(64);

    if (status == RLHF_OK)
        status = rlhf__json_dump(document, 1, &text);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&text, "\n", 1);
    if (status == RLHF_OK)
        status = rlhf__folder_write(folder, RLHF__STATE_JSON, text.data, text.size);
    rlhf__json_free(document);
    rlhf__buffer_free(&text);
    return status;
}

rlhf_status rlhf__state_writer_commit(rlhf__state_writer *writer, const char *path)
{
    rlhf__folder *folder = NULL;
    char sha256[65];
    int64_t size = 0;
    rlhf_status status;

    RLHF__TRY(check_replaceable(writer->context, path));
    RLHF__TRY(rlhf__folder_begin(writer->context, path, false, &folder));
    status = write_arrays(writer, folder, sha256, &size);
    if (status == RLHF_OK)
        status = write_document(writer, folder, sha256, size);
    if (status != RLHF_OK) {
        rlhf__folder_abort(folder);
        return status;
    }
    return rlhf__folder_commit(folder);
}
