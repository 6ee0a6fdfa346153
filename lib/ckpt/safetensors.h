/* safetensors files (https://github.com/huggingface/safetensors, "Format"): eight bytes
 * of little-endian header size, a JSON header, then the tensors' bytes end to end.
 *
 * Reading checks the whole header before a byte of data is used, and reads each tensor
 * straight into its target. A file is mapped only where that is asked for: one cut short
 * under a mapping kills the process. Every error names the file, the tensor and the
 * offending value. */
#ifndef RLHF_CKPT_SAFETENSORS_H
#define RLHF_CKPT_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "base/error.h"
#include "base/file.h"

#define RLHF__TENSOR_MAX_RANK 8

typedef enum rlhf__dtype {
    RLHF__DTYPE_F32,
    RLHF__DTYPE_F16,
    RLHF__DTYPE_BF16,
    RLHF__DTYPE_F64,
    RLHF__DTYPE_I64,
    RLHF__DTYPE_I32,
    RLHF__DTYPE_U8,
    RLHF__DTYPE_BOOL,
    RLHF__DTYPE_I8,
    RLHF__DTYPE_I16,
    RLHF__DTYPE_U16,
    RLHF__DTYPE_U32,
    RLHF__DTYPE_U64,
    RLHF__DTYPE_COUNT
} rlhf__dtype;

const char *rlhf__dtype_name(rlhf__dtype dtype); /* "F32" */
int64_t rlhf__dtype_size(rlhf__dtype dtype);     /* bytes of an element */

/* --- reading ------------------------------------------------------------------------ */

typedef struct rlhf__tensor_entry {
    const char *name;
    rlhf__dtype dtype;
    int32_t rank;
    int64_t shape[RLHF__TENSOR_MAX_RANK];
    int64_t count;      /* product of the shape; 1 for a scalar */
    int64_t begin, end; /* bytes from the start of the data */
} rlhf__tensor_entry;

typedef struct rlhf__tensor_file rlhf__tensor_file;

/* Opens the file and checks its header: FORMAT for anything the format forbids (header
 * over 100 MB or over the file, JSON, shape and bytes that disagree, offsets
 * overlapping, with holes, or not ending where the file ends), UNSUPPORTED for a dtype
 * not listed above. */
rlhf_status rlhf__tensor_file_open(rlhf_context *context, const char *path,
                                   rlhf__tensor_file **out_file);
void rlhf__tensor_file_close(rlhf__tensor_file *file); /* NULL ok */
const char *rlhf__tensor_file_path(const rlhf__tensor_file *file);
int64_t rlhf__tensor_file_count(const rlhf__tensor_file *file);
/* In the order of the data; valid until the file is closed. */
const rlhf__tensor_entry *rlhf__tensor_file_at(const rlhf__tensor_file *file,
                                               int64_t index);
/* NULL if there is no such tensor. */
const rlhf__tensor_entry *rlhf__tensor_file_find(const rlhf__tensor_file *file,
                                                 const char *name);
/* Elements [first, first + count) as fp32. F32 is copied bit for bit, F16 and BF16 widen
 * exactly, F64 is rounded to nearest; UNSUPPORTED for other dtypes. */
rlhf_status rlhf__tensor_file_read_f32(rlhf__tensor_file *file,
                                       const rlhf__tensor_entry *entry, int64_t first,
                                       int64_t count, float *out);

/* Maps the file, whose header was found to fit its size. */
rlhf_status rlhf__tensor_file_map(rlhf__tensor_file *file);
/* The tensor's bytes in the mapped file. */
void *rlhf__tensor_file_mapped(const rlhf__tensor_file *file,
                               const rlhf__tensor_entry *entry);
/* Hands the map over; the file has none afterwards. */
rlhf__file_map rlhf__tensor_file_take_map(rlhf__tensor_file *file);

/* A tensor, and where its elements go. */
typedef struct rlhf__tensor_load {
    rlhf__tensor_file *file;
    const rlhf__tensor_entry *entry;
    float *values; /* [rows][cols] */
    int64_t rows, cols;
    bool transposed; /* the tensor is [cols][rows] */
    bool is_there;   /* values are the tensor in a mapped file: only looked at */
} rlhf__tensor_load;
/* All elements of all of them as fp32, as read_f32 gives them, by all threads of the
 * context; NUMERIC for one that is not finite. Of several faults the first in the order
 * of `loads` is told. On failure the values are undefined. Progress is "load". */
rlhf_status rlhf__tensors_load(rlhf_context *context, const rlhf__tensor_load *loads,
                               int64_t count);
/* The tensor's bytes as they stand. */
rlhf_status rlhf__tensor_file_read_bytes(rlhf__tensor_file *file,
                                         const rlhf__tensor_entry *entry, void *out);
/* SHA-256 and size of a whole file. */
rlhf_status rlhf__file_sha256(rlhf_context *context, const char *path, char out_hex[65],
                              int64_t *out_size);
/* "[768, 2304]" for messages. */
void rlhf__tensor_shape_text(const int64_t *shape, int32_t rank, char out_text[128]);

/* --- writing ------------------------------------------------------------------------ */

typedef struct rlhf__tensor_spec {
    const char *name; /* borrowed until _create returns */
    rlhf__dtype dtype;
    int32_t rank;
    int64_t shape[RLHF__TENSOR_MAX_RANK];
} rlhf__tensor_spec;

typedef struct rlhf__tensor_writer rlhf__tensor_writer;

/* Starts `name` in the folder with the header of all tensors: they stand in the order
 * given, the header is padded with spaces to a multiple of 8, its metadata is
 * {"format": "pt"}. `hash`: take the SHA-256 of what is written. */
rlhf_status rlhf__tensor_writer_create(rlhf__folder *folder, rlhf_context *context,
                                       const char *name, const rlhf__tensor_spec *specs,
                                       int64_t num_specs, bool hash,
                                       rlhf__tensor_writer **out_writer);
/* The next bytes; tensors may be written in pieces. */
rlhf_status rlhf__tensor_writer_write(rlhf__tensor_writer *writer, const void *data,
                                      int64_t size);
/* Syncs and frees in any case; INTERNAL if more or fewer bytes came than the header says.
 * out_sha256 (65 bytes, needs `hash`) and out_size, of the whole file, may be NULL. */
rlhf_status rlhf__tensor_writer_close(rlhf__tensor_writer *writer, char *out_sha256,
                                      int64_t *out_size);
void rlhf__tensor_writer_abort(rlhf__tensor_writer *writer); /* NULL ok */

#endif
