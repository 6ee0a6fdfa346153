/* Reading safetensors files. The header is distrusted: nothing of it is used before all
 * of it has been checked against itself and against the size of the file. */
#include "ckpt/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/size.h"
#include "ckpt/safetensors_internal.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and is read as it stands"
#endif

#define MAX_HEADER       100000000          /* as the reference implementation */
#define PIECE            ((int64_t)8 << 20) /* bytes between two looks at cancellation */
#define CONVERT_ELEMENTS ((int64_t)2048)

static const struct {
    const char *name;
    int64_t size;
} dtypes[RLHF__DTYPE_COUNT] = {
    [RLHF__DTYPE_F32] = {"F32", 4},   [RLHF__DTYPE_F16] = {"F16", 2},
    [RLHF__DTYPE_BF16] = {"BF16", 2}, [RLHF__DTYPE_F64] = {"F64", 8},
    [RLHF__DTYPE_I64] = {"I64", 8},   [RLHF__DTYPE_I32] = {"I32", 4},
    [RLHF__DTYPE_U8] = {"U8", 1},     [RLHF__DTYPE_BOOL] = {"BOOL", 1},
    [RLHF__DTYPE_I8] = {"I8", 1},     [RLHF__DTYPE_I16] = {"I16", 2},
    [RLHF__DTYPE_U16] = {"U16", 2},   [RLHF__DTYPE_U32] = {"U32", 4},
    [RLHF__DTYPE_U64] = {"U64", 8},
};

const char *rlhf__dtype_name(rlhf__dtype dtype)
{
    return dtypes[dtype].name;
}

int64_t rlhf__dtype_size(rlhf__dtype dtype)
{
    return dtypes[dtype].size;
}

void rlhf__tensor_shape_text(const int64_t *shape, int32_t rank, char out_text[128])
{
    size_t used = 0;

    out_text[used++] = '[';
    for (int32_t i = 0; i < rank && used < 100; i++)
        used += (size_t)snprintf(out_text + used, 128 - used,
                                 i ? ", %" PRId64 : "%" PRId64, shape[i]);
    snprintf(out_text + used, 128 - used, "]");
}

/* --- files -------------------------------------------------------------------------- */

bool rlhf__read_at(int fd, void *out, int64_t size, int64_t offset,
                   rlhf__read_fault *out_fault)
{
    char *bytes = out;

    while (size > 0) {
        const ssize_t got = pread(fd, bytes, (size_t)size, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            *out_fault = (rlhf__read_fault){got < 0 ? errno : 0, offset, size};
            return false;
        }
        bytes += got;
        offset += got;
        size -= got;
    }
    return true;
}

rlhf_status rlhf__fail_read(const char *path, const rlhf__read_fault *fault)
{
    if (fault->error != 0)
        return rlhf__fail_errno(fault->error, path, "cannot read %s", path);
    return rlhf__fail_at(RLHF_ERR_FORMAT, path, 0, 0, NULL,
                         "the file ends at byte %" PRId64 ", %" PRId64 " bytes too early",
                         fault->offset, fault->missing);
}

/* `size` bytes at `offset`, all of them. */
static rlhf_status read_exact(rlhf_context *context, int fd, const char *path, void *out,
                              int64_t size, int64_t offset)
{
    rlhf__read_fault fault;

    for (int64_t done = 0; done < size; done += PIECE) {
        const int64_t now = rlhf__min_i64(size - done, PIECE);
        if (!rlhf__read_at(fd, (char *)out + done, now, offset + done, &fault))
            return rlhf__fail_read(path, &fault);
        RLHF__TRY(rlhf__check_cancel(context));
    }
    return RLHF_OK;
}

rlhf_status rlhf__file_sha256(rlhf_context *context, const char *path, char out_hex[65],
                              int64_t *out_size)
{
    rlhf__sha256 hash;
    char *piece = NULL;
    int64_t size = 0;
    int fd = -1;
    rlhf_status status = rlhf__file_open(path, &fd, &size);

    if (status != RLHF_OK)
        return status;
    status = rlhf__alloc_raw(context, 1 << 20, 1, RLHF_MEMORY_GENERAL, &piece);
    if (status != RLHF_OK)
        goto cleanup;
    rlhf__sha256_init(&hash);
    for (int64_t at = 0; at < size; at += 1 << 20) {
        int64_t now = rlhf__min_i64(size - at, 1 << 20);
        status = read_exact(context, fd, path, piece, now, at);
        if (status != RLHF_OK)
            goto cleanup;
        rlhf__sha256_update(&hash, piece, (size_t)now);
    }
    rlhf__sha256_hex(&hash, out_hex);
    *out_size = size;
cleanup:
    rlhf__free(piece);
    close(fd);
    return status;
}

/* --- header ------------------------------------------------------------------------- */

static rlhf_status fail_tensor(const rlhf__tensor_file *file, rlhf_status status,
                               const char *name, const char *what)
{
    return rlhf__fail_at(status, file->path, 0, 0, name, "tensor \"%s\": %s", name, what);
}

static rlhf_status read_dtype(const rlhf__tensor_file *file, const char *name,
                              const rlhf__json *value, rlhf__dtype *out)
{
    const char *text = rlhf__json_string(value, NULL);

    if (!text)
        return fail_tensor(file, RLHF_ERR_FORMAT, name,
                           "dtype is missing or not a string");
    for (int i = 0; i < RLHF__DTYPE_COUNT; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *out = (rlhf__dtype)i;
            return RLHF_OK;
        }
    }
    return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file->path, 0, 0, name,
                         "tensor \"%s\": dtype %.32s is not supported", name, text);
}

static rlhf_status read_shape(const rlhf__tensor_file *file, const rlhf__json *value,
                              rlhf__tensor_entry *entry)
{
    const char *name = entry->name;
    size_t count = 1;

    if (!rlhf__json_is_array(value))
        return fail_tensor(file, RLHF_ERR_FORMAT, name,
                           "shape is missing or not an array");
    if (rlhf__json_size(value) > RLHF__TENSOR_MAX_RANK)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file->path, 0, 0, name,
                             "tensor \"%s\": %" PRId64
                             " dimensions, at most %d are supported",
                             name, rlhf__json_size(value), RLHF__TENSOR_MAX_RANK);
    entry->rank = (int32_t)rlhf__json_size(value);
    for (int32_t i = 0; i < entry->rank; i++) {
        const rlhf__json *item = rlhf__json_at(value, i);
        int64_t dim = rlhf__json_i64(item, -1);
        if (!rlhf__json_is_int(item) || dim < 0)
            return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, name,
                                 "tensor \"%s\": shape[%d] is not an integer >= 0", name,
                                 (int)i);
        entry->shape[i] = dim;
        if (!rlhf__size_mul(count, (size_t)dim, &count) || count > INT64_MAX / 8)
            return fail_tensor(file, RLHF_ERR_FORMAT, name,
                               "the product of the shape overflows");
    }
    entry->count = (int64_t)count;
    return RLHF_OK;
}

static rlhf_status read_offsets(const rlhf__tensor_file *file, const rlhf__json *value,
                                rlhf__tensor_entry *entry)
{
    const char *name = entry->name;
    const rlhf__json *begin = rlhf__json_at(value, 0), *end = rlhf__json_at(value, 1);
    int64_t bytes = entry->count * rlhf__dtype_size(entry->dtype);

    if (!rlhf__json_is_array(value) || rlhf__json_size(value) != 2 ||
        !rlhf__json_is_int(begin) || !rlhf__json_is_int(end))
        return fail_tensor(file, RLHF_ERR_FORMAT, name,
                           "data_offsets is missing or not two integers");
    entry->begin = rlhf__json_i64(begin, -1);
    entry->end = rlhf__json_i64(end, -1);
    if (entry->begin < 0 || entry->end < entry->begin)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, name,
                             "tensor \"%s\": data_offsets [%" PRId64 ", %" PRId64
                             "] are not ascending",
                             name, entry->begin, entry->end);
    if (entry->end > file->data_size)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, name,
                             "tensor \"%s\": data_offsets [%" PRId64 ", %" PRId64
                             "] reach over the %" PRId64 " bytes of data in the file",
                             name, entry->begin, entry->end, file->data_size);
    if (entry->end - entry->begin != bytes) {
        char shape[128];
        rlhf__tensor_shape_text(entry->shape, entry->rank, shape);
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, file->path, 0, 0, name,
            "tensor \"%s\": %s %s takes %" PRId64 " bytes, data_offsets give %" PRId64,
            name, dtypes[entry->dtype].name, shape, bytes, entry->end - entry->begin);
    }
    return RLHF_OK;
}

static rlhf_status check_metadata(void *arg, const char *key, rlhf__json *value)
{
    const rlhf__tensor_file *file = arg;

    if (!rlhf__json_is_string(value))
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, key,
                             "__metadata__: the value of \"%.64s\" is not a string", key);
    return RLHF_OK;
}

static rlhf_status read_member(void *arg, const char *key, rlhf__json *value)
{
    rlhf__tensor_file *file = arg;
    rlhf__tensor_entry entry;

    if (strcmp(key, "__metadata__") == 0) {
        if (!rlhf__json_is_object(value))
            return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, key,
                                 "__metadata__ is not an object");
        return rlhf__json_each(value, check_metadata, file);
    }
    memset(&entry, 0, sizeof entry);
    entry.name = key;
    if (!rlhf__json_is_object(value))
        return fail_tensor(file, RLHF_ERR_FORMAT, key,
                           "its description is not an object");
    RLHF__TRY(read_dtype(file, key, rlhf__json_get(value, "dtype"), &entry.dtype));
    RLHF__TRY(read_shape(file, rlhf__json_get(value, "shape"), &entry));
    RLHF__TRY(read_offsets(file, rlhf__json_get(value, "data_offsets"), &entry));
    RLHF__TRY(rlhf__grow(file->context, &file->entries, &file->capacity,
                         file->num_entries + 1, sizeof entry));
    file->entries[file->num_entries++] = entry;
    return RLHF_OK;
}

static int compare_names(const void *a, const void *b)
{
    const rlhf__tensor_entry *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int compare_with_name(const void *name, const void *entry)
{
    const rlhf__tensor_entry *const *y = entry;

    return strcmp(name, (*y)->name);
}

/* A file may have a hundred thousand names, and an index asks for each of them. */
static rlhf_status sort_names(rlhf__tensor_file *file)
{
    RLHF__TRY(rlhf__alloc(file->context, file->num_entries, sizeof *file->by_name,
                          RLHF_MEMORY_GENERAL, &file->by_name));
    for (int64_t i = 0; i < file->num_entries; i++)
        file->by_name[i] = &file->entries[i];
    if (file->num_entries > 1)
        qsort(file->by_name, (size_t)file->num_entries, sizeof *file->by_name,
              compare_names);
    return RLHF_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const rlhf__tensor_entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The data must be covered exactly: a byte that belongs to two tensors or to none is how
 * hostile or half-written files look. */
static rlhf_status check_cover(const rlhf__tensor_file *file)
{
    int64_t at = 0;

    for (int64_t i = 0; i < file->num_entries; i++) {
        const rlhf__tensor_entry *entry = &file->entries[i];
        if (entry->begin < at)
            return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, entry->name,
                                 "tensor \"%s\" begins at byte %" PRId64
                                 ", inside the one before, which ends at %" PRId64,
                                 entry->name, entry->begin, at);
        if (entry->begin > at)
            return rlhf__fail_at(
                RLHF_ERR_FORMAT, file->path, 0, 0, entry->name,
                "a hole of %" PRId64
                " bytes before tensor \"%s\", which begins at byte %" PRId64,
                entry->begin - at, entry->name, entry->begin);
        at = entry->end;
    }
    if (at != file->data_size)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, NULL,
                             "the tensors end at byte %" PRId64 " of %" PRId64
                             " bytes of data",
                             at, file->data_size);
    return RLHF_OK;
}

static rlhf_status read_header(rlhf__tensor_file *file, int64_t file_size)
{
    unsigned char prefix[8];
    uint64_t size = 0;
    char *text = NULL;
    rlhf_status status;

    if (file_size < 8)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, NULL,
                             "%" PRId64 " bytes are too few for a safetensors file",
                             file_size);
    RLHF__TRY(read_exact(file->context, file->fd, file->path, prefix, 8, 0));
    for (int i = 7; i >= 0; i--)
        size = size << 8 | prefix[i];
    if (size > MAX_HEADER)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, NULL,
                             "a header of %" PRIu64 " bytes is over the limit of %d",
                             size, MAX_HEADER);
    if ((int64_t)size > file_size - 8)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, NULL,
                             "a header of %" PRIu64
                             " bytes does not fit a file of %" PRId64,
                             size, file_size);
    file->data_start = 8 + (int64_t)size;
    file->data_size = file_size - file->data_start;
    RLHF__TRY(
        rlhf__alloc_raw(file->context, (int64_t)size + 1, 1, RLHF_MEMORY_GENERAL, &text));
    status = read_exact(file->context, file->fd, file->path, text, (int64_t)size, 8);
    if (status == RLHF_OK && (size == 0 || text[0] != '{'))
        status = rlhf__fail_at(RLHF_ERR_FORMAT, file->path, 0, 0, NULL,
                               "the header does not begin with '{'");
    if (status == RLHF_OK)
        status = rlhf__json_parse(file->context, text, (int64_t)size, file->path, 1,
                                  &file->header);
    rlhf__free(text);
    RLHF__TRY(status);
    RLHF__TRY(rlhf__json_each(file->header, read_member, file));
    if (file->num_entries > 1)
        qsort(file->entries, (size_t)file->num_entries, sizeof *file->entries,
              compare_entries);
    RLHF__TRY(check_cover(file));
    return sort_names(file);
}

/* --- entry points ------------------------------------------------------------------- */

rlhf_status rlhf__tensor_file_open(rlhf_context *context, const char *path,
                                   rlhf__tensor_file **out_file)
{
    rlhf__tensor_file *file = NULL;
    int64_t size = 0;
    rlhf_status status;

    *out_file = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *file, RLHF_MEMORY_GENERAL, &file));
    file->context = context;
    file->fd = -1;
    status = rlhf__strdup(context, path, &file->path);
    if (status == RLHF_OK)
        status = rlhf__file_open(path, &file->fd, &size);
    file->size = size;
    if (status == RLHF_OK)
        status = read_header(file, size);
    if (status != RLHF_OK) {
        rlhf__tensor_file_close(file);
        return status;
    }
    *out_file = file;
    return RLHF_OK;
}

void rlhf__tensor_file_close(rlhf__tensor_file *file)
{
    if (!file)
        return;
    rlhf__file_map_close(&file->map);
    if (file->fd >= 0)
        close(file->fd);
    rlhf__json_free(file->header);
    rlhf__free((void *)file->by_name);
    rlhf__free(file->entries);
    rlhf__free(file->path);
    rlhf__free(file);
}

rlhf_status rlhf__tensor_file_map(rlhf__tensor_file *file)
{
    return rlhf__file_map_open(file->fd, file->path, file->size, &file->map);
}

void *rlhf__tensor_file_mapped(const rlhf__tensor_file *file,
                               const rlhf__tensor_entry *entry)
{
    return (char *)file->map.bytes + file->data_start + entry->begin;
}

rlhf__file_map rlhf__tensor_file_take_map(rlhf__tensor_file *file)
{
    const rlhf__file_map map = file->map;

    file->map = (rlhf__file_map){0};
    return map;
}

const char *rlhf__tensor_file_path(const rlhf__tensor_file *file)
{
    return file->path;
}

int64_t rlhf__tensor_file_count(const rlhf__tensor_file *file)
{
    return file->num_entries;
}

const rlhf__tensor_entry *rlhf__tensor_file_at(const rlhf__tensor_file *file,
                                               int64_t index)
{
    return &file->entries[index];
}

const rlhf__tensor_entry *rlhf__tensor_file_find(const rlhf__tensor_file *file,
                                                 const char *name)
{
    const rlhf__tensor_entry *const *found = NULL;

    if (file->num_entries > 0)
        found = bsearch(name, file->by_name, (size_t)file->num_entries,
                        sizeof *file->by_name, compare_with_name);
    return found ? *found : NULL;
}

/* --- data --------------------------------------------------------------------------- */

static float bits_to_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16 to binary32: exact, subnormals and NaN payloads included. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31;
    uint32_t exponent = half >> 10 & 31;
    uint32_t fraction = half & 1023;

    if (exponent == 31)
        return bits_to_float(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
    float value = (float)fraction * 0x1p-24f;
    return sign ? -value : value;
}

void rlhf__tensor_to_f32(rlhf__dtype dtype, const unsigned char *bytes, int64_t count,
                         float *out)
{
    for (int64_t i = 0; i < count; i++) {
        if (dtype == RLHF__DTYPE_F64) {
            double value;
            memcpy(&value, bytes + 8 * i, sizeof value);
            out[i] = (float)value;
        } else {
            uint16_t value;
            memcpy(&value, bytes + 2 * i, sizeof value);
            out[i] = dtype == RLHF__DTYPE_F16 ? half_to_float(value)
                                              : bits_to_float((uint32_t)value << 16);
        }
    }
}

rlhf_status rlhf__tensor_check_float(const rlhf__tensor_file *file,
                                     const rlhf__tensor_entry *entry)
{
    if (entry->dtype == RLHF__DTYPE_F32 || entry->dtype == RLHF__DTYPE_F16 ||
        entry->dtype == RLHF__DTYPE_BF16 || entry->dtype == RLHF__DTYPE_F64)
        return RLHF_OK;
    return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file->path, 0, 0, entry->name,
                         "tensor \"%s\": dtype %s where a floating-point one is needed",
                         entry->name, dtypes[entry->dtype].name);
}

rlhf_status rlhf__tensor_file_read_f32(rlhf__tensor_file *file,
                                       const rlhf__tensor_entry *entry, int64_t first,
                                       int64_t count, float *out)
{
    unsigned char bytes[CONVERT_ELEMENTS * 8];
    int64_t size = rlhf__dtype_size(entry->dtype);
    int64_t at = file->data_start + entry->begin + first * size;

    RLHF__TRY(rlhf__tensor_check_float(file, entry));
    if (entry->dtype == RLHF__DTYPE_F32)
        return read_exact(file->context, file->fd, file->path, out, count * size, at);
    for (int64_t done = 0; done < count; done += CONVERT_ELEMENTS) {
        int64_t now = rlhf__min_i64(count - done, CONVERT_ELEMENTS);
        RLHF__TRY(read_exact(file->context, file->fd, file->path, bytes, now * size,
                             at + done * size));
        rlhf__tensor_to_f32(entry->dtype, bytes, now, out + done);
    }
    return RLHF_OK;
}

rlhf_status rlhf__tensor_file_read_bytes(rlhf__tensor_file *file,
                                         const rlhf__tensor_entry *entry, void *out)
{
    return read_exact(file->context, file->fd, file->path, out, entry->end - entry->begin,
                      file->data_start + entry->begin);
}
