/* A YAML file as a tree of nodes that know their place, and options read from it. */
#ifndef RLHF_CONFIG_CONFIG_H
#define RLHF_CONFIG_CONFIG_H

#include <stdbool.h>

#include <rlhf/context.h>

#include "base/versioned_struct.h"

#define RLHF__CONFIG_SIZE_MAX  (1024 * 1024)
#define RLHF__CONFIG_DEPTH_MAX 32

typedef struct rlhf__config rlhf__config;

rlhf_status rlhf__config_load(rlhf_context *context, const char *path,
                              rlhf__config **out);
/* As load, from memory; `name` stands for the file in messages. */
rlhf_status rlhf__config_parse(rlhf_context *context, const char *text, int64_t size,
                               const char *name, rlhf__config **out);
void rlhf__config_free(rlhf__config *config); /* NULL ok */

/* Applies a preset by its name to a whole options struct; the message of a failure is
 * prefixed with the place of the name. */
typedef rlhf_status (*rlhf__config_preset_fn)(const char *name, void *options);
/* Fills `options` (desc->size bytes, set up) with what the section names; untouched on
 * failure. `preset` NULL: the section knows no such key. `struct_size` of options is left
 * alone. */
rlhf_status rlhf__config_read(rlhf__config *config, const char *section,
                              const rlhf__struct_desc *desc,
                              rlhf__config_preset_fn preset, void *options);
rlhf_status rlhf__config_string(rlhf__config *config, const char *path,
                                const char *fallback, const char **out_value);
rlhf_status rlhf__config_int(rlhf__config *config, const char *path, int64_t fallback,
                             int64_t min, int64_t max, int64_t *out_value);
rlhf_status rlhf__config_double(rlhf__config *config, const char *path, double fallback,
                                double min, double max, double *out_value);
rlhf_status rlhf__config_finish(const rlhf__config *config);

#endif
