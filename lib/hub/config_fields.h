/* Checked access to the fields of a config.json: every error names file, field and value.
 */
#ifndef RLHF_HUB_CONFIG_FIELDS_H
#define RLHF_HUB_CONFIG_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

typedef struct rlhf__fields {
    const rlhf__json *object;
    const char *path; /* of the file, for messages */
} rlhf__fields;

/* A word of a file and the enum value that it stands for; tables end with a NULL word. */
typedef struct rlhf__word {
    const char *word;
    int32_t value;
} rlhf__word;

#define RLHF__FIELD_REQUIRED INT64_MIN /* as a fallback: the field must be there */

/* Absent or null gives the fallback. */
rlhf_status rlhf__field_i32(const rlhf__fields *fields, const char *key, int64_t fallback,
                            int64_t min, int64_t max, int32_t *out);
rlhf_status rlhf__field_positive(const rlhf__fields *fields, const char *key,
                                 double fallback, double *out);
rlhf_status rlhf__field_f64(const rlhf__fields *fields, const char *key, double fallback,
                            double *out);
rlhf_status rlhf__field_bool(const rlhf__fields *fields, const char *key, bool fallback,
                             int32_t *out);
/* One of the table's words; UNSUPPORTED for another. A NULL fallback: required. */
rlhf_status rlhf__field_word(const rlhf__fields *fields, const char *key,
                             const char *fallback, const rlhf__word *words, int32_t *out);
/* Value of a word, or -1. */
int32_t rlhf__word_value(const rlhf__word *words, const char *word);
/* The first word of a value; NULL if none has it. */
const char *rlhf__word_name(const rlhf__word *words, int32_t value);
/* UNSUPPORTED naming the field with its value as JSON. */
rlhf_status rlhf__field_unsupported(const rlhf__fields *fields, const char *key,
                                    const char *why);

/* Setters of a document that is being built. */
rlhf_status rlhf__set_string(rlhf__json *object, const char *key, const char *text);
rlhf_status rlhf__set_i64(rlhf__json *object, const char *key, int64_t value);
rlhf_status rlhf__set_f64(rlhf__json *object, const char *key, double value);
rlhf_status rlhf__set_bool(rlhf__json *object, const char *key, bool value);

#endif
