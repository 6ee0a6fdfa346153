/* A trainer's saved state: one folder, committed as one.
 *   state.json         format and library version, kind, CPU level, dtype, checksum,
 *   scalars state.safetensors  arrays
 *
 * A reader has read and checked everything before it hands out a value, so that a
 * trainer can apply it knowing that nothing more can fail. Names are chosen by the
 * trainers; one name is either a scalar or an array. docs/formats.md has the format. */
#ifndef RLHF_CKPT_STATE_H
#define RLHF_CKPT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "base/error.h"
#include "tensor/params.h"

/* Bumped when a field changes its meaning; a reader takes this and all older ones. */
#define RLHF__STATE_FORMAT 1

typedef enum rlhf__state_type {
    RLHF__STATE_F32,
    RLHF__STATE_I32,
    RLHF__STATE_I64,
    RLHF__STATE_U8
} rlhf__state_type;

/* What values a reader takes. */
typedef enum rlhf__state_values {
    RLHF__STATE_ANY,
    RLHF__STATE_FINITE,
    RLHF__STATE_NOT_NEGATIVE /* and finite */
} rlhf__state_values;

/* --- writing ------------------------------------------------------------------------ */

typedef struct rlhf__state_writer rlhf__state_writer;

/* kind: "lm", "reward", "ppo"; copied. */
rlhf_status rlhf__state_writer_create(rlhf_context *context, const char *kind,
                                      rlhf__state_writer **out_writer);
void rlhf__state_writer_free(rlhf__state_writer *writer); /* NULL ok */
/* Names are copied; INTERNAL for a name used twice. */
rlhf_status rlhf__state_put_i64(rlhf__state_writer *writer, const char *name,
                                int64_t value);
rlhf_status rlhf__state_put_u64(rlhf__state_writer *writer, const char *name,
                                uint64_t value);
/* Any bits, NaN and infinities included. */
rlhf_status rlhf__state_put_f64(rlhf__state_writer *writer, const char *name,
                                double value);
/* Copied; at most 16 MiB; for what is bigger there are arrays. */
rlhf_status rlhf__state_put_bytes(rlhf__state_writer *writer, const char *name,
                                  const void *bytes, int64_t size);
/* `data` is borrowed until commit. A count of 0 is a valid array. */
rlhf_status rlhf__state_put_array(rlhf__state_writer *writer, const char *name,
                                  rlhf__state_type type, const void *data, int64_t count);
/* A flat array laid out as layout->values (weights, moments, gradients): one array a
 * named parameter, "PREFIX/NAME", so that the file does not hang on how slabs are laid
 * out. Borrowed until commit. */
rlhf_status rlhf__state_put_params(rlhf__state_writer *writer, const char *prefix,
                                   const rlhf__params *layout, const float *values);
/* Writes the folder; an old one at `path` is replaced as a whole, and left as it was on
 * failure. A folder that is there and is no saved state is refused (EXISTS). */
rlhf_status rlhf__state_writer_commit(rlhf__state_writer *writer, const char *path);

/* --- reading ------------------------------------------------------------------------ */

typedef struct rlhf__state_reader rlhf__state_reader;

/* Reads and checks all of it. UNSUPPORTED: a newer format, another dtype; INVALID_ARG:
 * another kind; FORMAT: malformed, cut short, or a checksum that differs. Logs a
 * warning where the state was saved on another CPU level or by another library
 * version, since bits may differ then. */
rlhf_status rlhf__state_reader_open(rlhf_context *context, const char *path,
                                    const char *kind, rlhf__state_reader **out_reader);
void rlhf__state_reader_free(rlhf__state_reader *reader); /* NULL ok */
/* Format version of the file, 1 to RLHF__STATE_FORMAT. */
int64_t rlhf__state_version(const rlhf__state_reader *reader);
bool rlhf__state_has(const rlhf__state_reader *reader, const char *name);
/* FORMAT naming the field where it is missing or of another type. */
rlhf_status rlhf__state_get_i64(const rlhf__state_reader *reader, const char *name,
                                int64_t *out_value);
/* As get_i64; a value outside [min, max] is FORMAT too. */
rlhf_status rlhf__state_get_range(const rlhf__state_reader *reader, const char *name,
                                  int64_t min, int64_t max, int64_t *out_value);
rlhf_status rlhf__state_get_u64(const rlhf__state_reader *reader, const char *name,
                                uint64_t *out_value);
rlhf_status rlhf__state_get_f64(const rlhf__state_reader *reader, const char *name,
                                double *out_value);
/* As get_f64; a value outside [min, max], or NaN, is FORMAT too. */
rlhf_status rlhf__state_get_real(const rlhf__state_reader *reader, const char *name,
                                 double min, double max, double *out_value);
/* Borrowed from the reader. */
rlhf_status rlhf__state_get_bytes(const rlhf__state_reader *reader, const char *name,
                                  const void **out_bytes, int64_t *out_size);
/* Number of elements of an array; FORMAT if missing or of another type. */
rlhf_status rlhf__state_array_count(const rlhf__state_reader *reader, const char *name,
                                    rlhf__state_type type, int64_t *out_count);
/* Borrowed from the reader, 64-byte aligned; FORMAT unless it has exactly `count`
 * elements. */
rlhf_status rlhf__state_get_array(const rlhf__state_reader *reader, const char *name,
                                  rlhf__state_type type, int64_t count,
                                  const void **out_data);
/* Fills `out`, laid out as layout->values; the counterpart of put_params. Every
 * parameter is checked (present, its shape right, and all of its values as `allowed` has
 * it) before the first value is copied; padding is untouched. `out` may be NULL: check
 * only. */
rlhf_status rlhf__state_get_params(const rlhf__state_reader *reader, const char *prefix,
                                   const rlhf__params *layout, rlhf__state_values allowed,
                                   float *out);

#endif
