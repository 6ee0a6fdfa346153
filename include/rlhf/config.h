/**
 * @file config.h
 * YAML to options. A section of the file fills an options struct by the names of its
 * fields; what nobody asked for is an error in the end, so that no misspelt key passes.
 *
 * Refusals of a file's contents are RLHF_ERR_FORMAT with file, line, column and field.
 *
 * @threads As common.h says.
 */
#ifndef RLHF_CONFIG_H
#define RLHF_CONFIG_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A YAML file that was read, and which of its keys were asked for. */
typedef struct rlhf_config rlhf_config;

/**
 * Reads a YAML file: one document of nested mappings of scalars, without lists, anchors,
 * aliases or tags, at most 1 MiB, 10000 keys, nested 32 deep. An empty file has no keys.
 *
 * @param context     Its allocator and limits.
 * @param path        The file.
 * @param out_config  The caller's.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_LIMIT; RLHF_ERR_FORMAT (not
 *         such a file, or a key twice); RLHF_ERR_INVALID_ARG (an empty path).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_config_load(rlhf_context *context,
                                                      const char *path,
                                                      rlhf_config **out_config);

/**
 * Frees a config. The strings that it handed out, those in options structs too, go with
 * it.
 *
 * @param config  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_config_free(rlhf_config *config);

/**
 * Fills the fields of an options struct that a section names; the others stay as they
 * are. Enums are written by name ("cosine"), flags as true, false, 1 or 0;
 * docs/options.md lists all fields. A mapping inside of the section is left for another
 * read.
 *
 * @param config       The file.
 * @param section      "ppo", "model", or "a.b"; one that is not there changes nothing.
 * @param struct_name  "rlhf_ppo_options" and the like; any options struct of the library.
 *                     In an rlhf_ppo_options section the key `preset`, wherever it
 *                     stands, is applied first, and replaces every field of `options`:
 *                     set what depends on the program afterwards.
 * @param options      That struct, initialised. Texts in it are the config's.
 * @return RLHF_OK; RLHF_ERR_FORMAT (an unknown key, a value of another type or out of
 *         range, with bound and value in the text); RLHF_ERR_NOT_FOUND (no such
 *         struct); RLHF_ERR_INVALID_ARG (an empty section, struct_size).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_read(rlhf_config *config, const char *section,
                                      const char *struct_name, void *options);

/**
 * A text at a path such as "paths.model".
 *
 * @param config     The file.
 * @param path       Keys, joined by dots.
 * @param fallback   Given back where the key is not there or has no value; may be NULL.
 * @param out_value  The config's, or `fallback`.
 * @return RLHF_OK; RLHF_ERR_FORMAT (a section stands there); RLHF_ERR_INVALID_ARG (an
 *         empty path).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_string(rlhf_config *config, const char *path,
                                        const char *fallback, const char **out_value);

/**
 * An integer at a path.
 *
 * @param config     The file.
 * @param path       Keys, joined by dots.
 * @param fallback   Where the key is not there; not checked against the range.
 * @param min        Least value allowed in the file.
 * @param max        Greatest value allowed in the file.
 * @param out_value  Written on success.
 * @return RLHF_OK; RLHF_ERR_FORMAT (not an integer, out of range); RLHF_ERR_INVALID_ARG
 *         (an empty path).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_int(rlhf_config *config, const char *path,
                                     int64_t fallback, int64_t min, int64_t max,
                                     int64_t *out_value);

/**
 * A number at a path; as rlhf_config_int.
 *
 * @param config     The file.
 * @param path       Keys, joined by dots.
 * @param fallback   Where the key is not there; not checked against the range.
 * @param min        Least value allowed in the file.
 * @param max        Greatest value allowed in the file.
 * @param out_value  Written on success.
 * @return As rlhf_config_int.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_double(rlhf_config *config, const char *path,
                                        double fallback, double min, double max,
                                        double *out_value);

/**
 * Ends the reading: every key of the file must have been asked for by now.
 *
 * @param config  The file.
 * @return RLHF_OK; RLHF_ERR_FORMAT naming the first key or section that nobody read.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_config_finish(const rlhf_config *config);

#ifdef __cplusplus
}
#endif

#endif
