/* Writing safetensors files: the whole header first, since all sizes are known, then the
 * data as it comes. */
#include "ckpt/safetensors.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/size.h"

#define PIECE ((int64_t)8 << 20) /* bytes between two looks at cancellation */

struct rlhf__tensor_writer {
    rlhf_context *context;
    rlhf__stream *stream;
    int64_t remaining; /* bytes of data still to come */
    int64_t size;      /* bytes written, header included */
    bool hashing;
    rlhf__sha256 hash;
};

static rlhf_status spec_json(const rlhf__tensor_spec *spec, int64_t *offset,
                             rlhf__json **out)
{
    rlhf__json *object = rlhf__json_new_object();
    rlhf__json *shape = rlhf__json_new_array();
    rlhf__json *offsets = rlhf__json_new_array();
    const char *dtype = rlhf__dtype_name(spec->dtype);
    size_t bytes = (size_t)rlhf__dtype_size(spec->dtype);
    rlhf_status status = RLHF_OK;

    *out = NULL;
    if (!object || !shape || !offsets)
        status = rlhf__fail_no_memory(sizeof *spec);
    for (int32_t i = 0; i < spec->rank && status == RLHF_OK; i++) {
        if (spec->shape[i] < 0 || !rlhf__size_mul(bytes, (size_t)spec->shape[i], &bytes))
            status = rlhf__fail(RLHF_ERR_INTERNAL, "shape of tensor \"%s\"", spec->name);
        else
            status = rlhf__json_append(shape, rlhf__json_new_i64(spec->shape[i]));
    }
    if (status == RLHF_OK)
        status = rlhf__json_append(offsets, rlhf__json_new_i64(*offset));
    if (status == RLHF_OK)
        status = rlhf__json_append(offsets, rlhf__json_new_i64(*offset + (int64_t)bytes));
    if (status == RLHF_OK)
        status = rlhf__json_set(object, "dtype",
                                rlhf__json_new_string(dtype, (int64_t)strlen(dtype)));
    if (status == RLHF_OK) {
        status = rlhf__json_set(object, "shape", shape);
        shape = NULL;
    }
    if (status == RLHF_OK) {
        status = rlhf__json_set(object, "data_offsets", offsets);
        offsets = NULL;
    }
    rlhf__json_free(shape);
    rlhf__json_free(offsets);
    if (status != RLHF_OK) {
        rlhf__json_free(object);
        return status;
    }
    *offset += (int64_t)bytes;
    *out = object;
    return RLHF_OK;
}

/* Appends the header's JSON; *out_bytes is the size of the data that it describes. */
static rlhf_status build_header(const rlhf__tensor_spec *specs, int64_t num_specs,
                                rlhf__buffer *text, int64_t *out_bytes)
{
    rlhf__json *header = rlhf__json_new_object();
    rlhf__json *metadata = rlhf__json_new_object();
    rlhf_status status = RLHF_OK;
    int64_t offset = 0;

    if (!header || !metadata)
        status = rlhf__fail_no_memory(64);
    if (status == RLHF_OK)
        status = rlhf__json_set(metadata, "format", rlhf__json_new_string("pt", 2));
    if (status == RLHF_OK) {
        status = rlhf__json_set(header, "__metadata__", metadata);
        metadata = NULL;
    }
    for (int64_t i = 0; i < num_specs && status == RLHF_OK; i++) {
        rlhf__json *spec = NULL;
        if (rlhf__json_get(header, specs[i].name))
            status = rlhf__fail(RLHF_ERR_INTERNAL, "tensor \"%s\" twice", specs[i].name);
        if (status == RLHF_OK)
            status = spec_json(&specs[i], &offset, &spec);
        if (status == RLHF_OK)
            status = rlhf__json_set(header, specs[i].name, spec);
    }
    if (status == RLHF_OK)
        status = rlhf__json_dump(header, 0, text);
    while (status == RLHF_OK && text->size % 8 != 0)
        status = rlhf__buffer_append(text, " ", 1);
    rlhf__json_free(metadata);
    rlhf__json_free(header);
    *out_bytes = offset;
    return status;
}

static rlhf_status put(rlhf__tensor_writer *writer, const void *data, int64_t size)
{
    const char *bytes = data;

    while (size > 0) {
        int64_t now = rlhf__min_i64(size, PIECE);
        RLHF__TRY(rlhf__stream_write(writer->stream, bytes, now));
        if (writer->hashing)
            rlhf__sha256_update(&writer->hash, bytes, (size_t)now);
        RLHF__TRY(rlhf__check_cancel(writer->context));
        writer->size += now;
        bytes += now;
        size -= now;
    }
    return RLHF_OK;
}

rlhf_status rlhf__tensor_writer_create(rlhf__folder *folder, rlhf_context *context,
                                       const char *name, const rlhf__tensor_spec *specs,
                                       int64_t num_specs, bool hash,
                                       rlhf__tensor_writer **out_writer)
{
    rlhf__buffer text = {.context = context};
    rlhf__tensor_writer *writer = NULL;
    unsigned char prefix[8];
    int64_t bytes = 0;
    rlhf_status status;

    *out_writer = NULL;
    status = build_header(specs, num_specs, &text, &bytes);
    if (status != RLHF_OK)
        goto cleanup;
    status = rlhf__alloc(context, 1, sizeof *writer, RLHF_MEMORY_GENERAL, &writer);
    if (status != RLHF_OK)
        goto cleanup;
    writer->context = context;
    writer->hashing = hash;
    writer->remaining = bytes;
    rlhf__sha256_init(&writer->hash);
    status = rlhf__folder_open(folder, name, &writer->stream);
    if (status != RLHF_OK)
        goto cleanup;
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)text.size >> (8 * i));
    status = put(writer, prefix, 8);
    if (status == RLHF_OK)
        status = put(writer, text.data, text.size);
    if (status != RLHF_OK)
        goto cleanup;
    *out_writer = writer;
    writer = NULL;
cleanup:
    rlhf__tensor_writer_abort(writer);
    rlhf__buffer_free(&text);
    return status;
}

rlhf_status rlhf__tensor_writer_write(rlhf__tensor_writer *writer, const void *data,
                                      int64_t size)
{
    if (size > writer->remaining)
        return rlhf__fail(RLHF_ERR_INTERNAL,
                          "%" PRId64 " bytes of tensors where %" PRId64 " are left", size,
                          writer->remaining);
    writer->remaining -= size;
    return put(writer, data, size);
}

rlhf_status rlhf__tensor_writer_close(rlhf__tensor_writer *writer, char *out_sha256,
                                      int64_t *out_size)
{
    int64_t remaining = writer->remaining, size = writer->size;
    rlhf_status status;

    if (remaining != 0) {
        rlhf__tensor_writer_abort(writer);
        return rlhf__fail(RLHF_ERR_INTERNAL, "%" PRId64 " bytes of tensors are missing",
                          remaining);
    }
    status = rlhf__stream_close(writer->stream);
    if (status == RLHF_OK && out_sha256)
        rlhf__sha256_hex(&writer->hash, out_sha256);
    if (status == RLHF_OK && out_size)
        *out_size = size;
    rlhf__free(writer);
    return status;
}

void rlhf__tensor_writer_abort(rlhf__tensor_writer *writer)
{
    if (!writer)
        return;
    /* The folder is being given up: whether this file reached the disk no longer matters.
     */
    if (writer->stream)
        (void)rlhf__stream_close(writer->stream);
    rlhf__free(writer);
}
