#ifndef RLHF_CONFIG_H
#define RLHF_CONFIG_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_config rlhf_config;

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_config_load(rlhf_context *context,
                                                      const char *path,
                                                      rlhf_config **out_config);

RLHF_API void rlhf_config_free(rlhf_config *config);

RLHF_API rlhf_status rlhf_config_read(rlhf_config *config, const char *section,
                                      const char *struct_name, void *options);

RLHF_API rlhf_status rlhf_config_string(rlhf_config *config, const char *path,
                                        const char *fallback, const char **out_value);

RLHF_API rlhf_status rlhf_config_int(rlhf_config *config, const char *path,
                                     int64_t fallback, int64_t min, int64_t max,
                                     int64_t *out_value);

RLHF_API rlhf_status rlhf_config_double(rlhf_config *config, const char *path,
                                        double fallback, double min, double max,
                                        double *out_value);

RLHF_API rlhf_status rlhf_config_finish(const rlhf_config *config);

#ifdef __cplusplus
}
#endif

#endif
