/**
 * @file config.h
 * YAML to options. A section of the file fills an options struct by the names of its
 * fields; what nobody asked for is an error in the end, so that no misspelt key passes.
 */
#ifndef RLHF_CONFIG_H
#define RLHF_CONFIG_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_config rlhf_config;

/**
 * Reads a YAML file of nested mappings (one document, no anchors, at most 1 MiB).
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT with file, line,
 *     column.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_config_load(rlhf_context *context,
                                                      const char *path,
                                                      rlhf_config **out_config);
/** NULL ok. Strings handed out die with it. @since 0.1 */
RLHF_API void rlhf_config_free(rlhf_config *config);
/**
 * Fills the fields of an options struct (already initialised) that the section names.
 * @param section      "ppo", "model", or "a.b"; a section that is not there changes
 *                     nothing.
 * @param struct_name  "rlhf_ppo_options" and the like; any options struct of the library.
 *                     In an rlhf_ppo_options section the key `preset` is applied first.
 * @return RLHF_OK; RLHF_ERR_FORMAT (an unknown key, a value of another type or out of
 *         range: file, line, column, field, bound and value in the text);
 *         RLHF_ERR_NOT_FOUND (no such struct). On failure `options` is untouched.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_read(rlhf_config *config, const char *section,
                                      const char *struct_name, void *options);
/** A string at a path such as "paths.model"; `fallback` (may be NULL) if it is not there.
 *  @since 0.1 */
RLHF_API rlhf_status rlhf_config_string(rlhf_config *config, const char *path,
                                        const char *fallback, const char **out_value);
/** An integer in [min, max]. @since 0.1 */
RLHF_API rlhf_status rlhf_config_int(rlhf_config *config, const char *path,
                                     int64_t fallback, int64_t min, int64_t max,
                                     int64_t *out_value);
/** A number in [min, max]. @since 0.1 */
RLHF_API rlhf_status rlhf_config_double(rlhf_config *config, const char *path,
                                        double fallback, double min, double max,
                                        double *out_value);
/** RLHF_ERR_FORMAT naming file, line and column of the first key that nobody read.
 * @since 0.1 */
RLHF_API rlhf_status rlhf_config_finish(const rlhf_config *config);

#ifdef __cplusplus
}
#endif

#endif
