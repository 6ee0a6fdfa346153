/* JSON through jansson, wrapped so that one .c knows it: limits, positions in errors,
 * hostile text refused. Values are borrowed from the document they were got from. */
#ifndef RLHF_BASE_JSON_H
#define RLHF_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"

typedef struct rlhf__json rlhf__json;

/* Parses one value that fills `text`. FORMAT names file, line, column and jansson's
 * words; nesting is limited to 64, duplicate keys are refused. An integer of more than 64
 * bits is read as a real. first_line: line number of the text within the file (JSONL), 1
 * for a whole file. Strings may hold \u0000. */
rlhf_status rlhf__json_parse(rlhf_context *context, const char *text, int64_t size,
                             const char *file, int64_t first_line, rlhf__json **out);
/* Reads and parses a file of at most `limit` bytes. */
rlhf_status rlhf__json_load(rlhf_context *context, const char *path, int64_t limit,
                            rlhf__json **out);
void rlhf__json_free(rlhf__json *json); /* documents and built values; NULL ok */

bool rlhf__json_is_object(const rlhf__json *json);
bool rlhf__json_is_array(const rlhf__json *json);
bool rlhf__json_is_string(const rlhf__json *json);
bool rlhf__json_is_null(const rlhf__json *json); /* also true for a NULL pointer */
bool rlhf__json_is_number(const rlhf__json *json);
bool rlhf__json_is_bool(const rlhf__json *json);
bool rlhf__json_is_int(const rlhf__json *json);
/* Member or element; NULL if absent or of another type of container. */
rlhf__json *rlhf__json_get(const rlhf__json *object, const char *key);
rlhf__json *rlhf__json_at(const rlhf__json *array, int64_t index);
int64_t rlhf__json_size(const rlhf__json *container); /* 0 for others */
/* Calls fn for every member, in the file's order; stops at the first failure. */
rlhf_status rlhf__json_each(const rlhf__json *object,
                            rlhf_status (*fn)(void *arg, const char *key,
                                              rlhf__json *value),
                            void *arg);
/* The value, or the fallback if json is NULL or of another type. */
int64_t rlhf__json_i64(const rlhf__json *json, int64_t fallback);
double rlhf__json_f64(const rlhf__json *json, double fallback); /* integers too */
bool rlhf__json_bool(const rlhf__json *json, bool fallback);
const char *rlhf__json_string(const rlhf__json *json, const char *fallback);
int64_t rlhf__json_string_size(const rlhf__json *json); /* bytes, zeros inside counted */

/* Building. Setters take over `value`, also on failure; a NULL value is NO_MEMORY. */
rlhf__json *rlhf__json_new_object(void);
rlhf__json *rlhf__json_new_array(void);
rlhf__json *rlhf__json_new_string(const char *text, int64_t size); /* NULL if not UTF-8 */
rlhf__json *rlhf__json_new_i64(int64_t value);
rlhf__json *rlhf__json_new_f64(double value); /* NULL if not finite */
rlhf__json *rlhf__json_new_bool(bool value);
rlhf__json *rlhf__json_new_null(void);
rlhf__json *rlhf__json_copy(const rlhf__json *json); /* deep */
rlhf_status rlhf__json_set(rlhf__json *object, const char *key, rlhf__json *value);
rlhf_status rlhf__json_append(rlhf__json *array, rlhf__json *value);
/* Text of the value appended to `out`: indent spaces a level, 0 for one line. Numbers
 * keep all digits and the C locale. */
rlhf_status rlhf__json_dump(const rlhf__json *json, int indent, rlhf__buffer *out);

#endif
