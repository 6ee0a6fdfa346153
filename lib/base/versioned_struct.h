/* Size-versioned public structs: one pair of helpers for options, outputs and vtables,
 * and one descriptor table a struct that drives defaults, range checks, YAML, the
 * bindings and the reference page. */
#ifndef RLHF_BASE_VERSIONED_STRUCT_H
#define RLHF_BASE_VERSIONED_STRUCT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef enum rlhf__field_type {
    RLHF__FIELD_I32,
    RLHF__FIELD_I64,
    RLHF__FIELD_U64,
    RLHF__FIELD_F64,
    RLHF__FIELD_BOOL,   /* int32_t, 0 or 1 */
    RLHF__FIELD_ENUM,   /* int32_t, one of `names` (value = names[i].value) */
    RLHF__FIELD_STRING, /* const char *, borrowed; default NULL */
    RLHF__FIELD_POINTER /* not settable from YAML; default NULL */
} rlhf__field_type;

typedef struct rlhf__enum_name {
    const char *name;
    int32_t value;
} rlhf__enum_name;

typedef struct rlhf__field {
    const char *name;
    rlhf__field_type type;
    size_t offset;
    double default_value;
    double min, max; /* inclusive unless marked; ignored for BOOL/STRING/POINTER */
    bool min_exclusive, max_exclusive;
    bool as_float; /* F64: computed with as a float, which must be in the range too */
    const rlhf__enum_name *names; /* ENUM: ends with a NULL name */
    const char *help;             /* one line, units and meaning */
} rlhf__field;

typedef struct rlhf__struct_desc {
    const char *name; /* "rlhf_ppo_options" */
    size_t size;      /* of today's struct */
    size_t min_size;  /* of the first version that was ever released */
    const rlhf__field *fields;
    int32_t num_fields;
} rlhf__struct_desc;

/* rlhf_X_options_init: writes struct_size and the defaults of the fields that fit.
 * INVALID_ARG for NULL or a struct_size below min_size. A struct_size above today's
 * zeroes the tail. */
rlhf_status rlhf__struct_init(const rlhf__struct_desc *desc, void *options,
                              size_t struct_size);
/* Copies the caller's struct (NULL: defaults) into `out` (desc->size bytes): missing
 * tail gets defaults; unknown nonzero tail bytes -> UNSUPPORTED; every field is
 * range-checked and the error names struct field, bound and value. */
rlhf_status rlhf__struct_read(const rlhf__struct_desc *desc, const void *options,
                              void *out);
/* Range check of one field of a whole struct; the text "kl_coef must be >= 0, got -1". */
rlhf_status rlhf__field_check(const rlhf__field *field, const void *options);
const rlhf__field *rlhf__struct_find(const rlhf__struct_desc *desc, const char *name);

/* For structs without a table (vtables, allocator): copies min(theirs, size) bytes,
 * zero tail, UNSUPPORTED if unknown bytes are not zero, INVALID_ARG if smaller than
 * min_size. */
rlhf_status rlhf__struct_copy_in(const void *theirs, size_t min_size, size_t size,
                                 void *out, const char *name);
/* INVALID_ARG unless `theirs` is an output struct whose struct_size was set: before a
 * call does what cannot be undone. */
rlhf_status rlhf__struct_check_out(const void *theirs, const char *name);
/* Output structs: writes min(theirs' struct_size, size) bytes of `ours`, keeps
 * struct_size; INVALID_ARG if out is NULL or its struct_size < sizeof(size_t). Zeroes
 * a longer tail. */
rlhf_status rlhf__struct_copy_out(const void *ours, size_t size, void *theirs,
                                  const char *name);

#endif
