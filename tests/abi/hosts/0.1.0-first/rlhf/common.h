#ifndef RLHF_COMMON_H
#define RLHF_COMMON_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) || !defined(__GNUC__)
#define RLHF_API
#define RLHF_MUST_CHECK
#else
#define RLHF_API        __attribute__((visibility("default")))
#define RLHF_MUST_CHECK __attribute__((warn_unused_result))
#endif

#define RLHF_VERSION_MAJOR 0
#define RLHF_VERSION_MINOR 1
#define RLHF_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rlhf_status {
    RLHF_OK = 0,
    RLHF_ERR_INVALID_ARG = -1,
    RLHF_ERR_NO_MEMORY = -2,
    RLHF_ERR_UNSUPPORTED = -3,
    RLHF_ERR_IO = -4,
    RLHF_ERR_FORMAT = -5,
    RLHF_ERR_NUMERIC = -6,
    RLHF_ERR_CALLBACK = -7,
    RLHF_ERR_CANCELLED = -8,
    RLHF_ERR_STATE = -9,
    RLHF_ERR_BUSY = -10,
    RLHF_ERR_LIMIT = -11,
    RLHF_ERR_NOT_FOUND = -12,
    RLHF_ERR_EXISTS = -13,
    RLHF_ERR_INTERNAL = -14
} rlhf_status;

typedef struct rlhf_error_info {
    size_t struct_size;
    int32_t status;
    int32_t system_errno;
    int64_t line;
    int64_t column;
    const char *file;
    const char *field;
    const char *message;
} rlhf_error_info;

RLHF_API const char *rlhf_last_error_message(void);

RLHF_API rlhf_status rlhf_last_error_info(rlhf_error_info *info);

RLHF_API const char *rlhf_status_name(int32_t status);

RLHF_API const char *rlhf_version(void);

#ifdef __cplusplus
}
#endif

#endif
