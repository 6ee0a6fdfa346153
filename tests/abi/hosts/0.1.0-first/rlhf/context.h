#ifndef RLHF_CONTEXT_H
#define RLHF_CONTEXT_H

#include <rlhf/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_context rlhf_context;

typedef enum rlhf_cpu_level {
    RLHF_CPU_AUTO = 0,
    RLHF_CPU_PORTABLE = 1,
    RLHF_CPU_AVX2 = 2,
    RLHF_CPU_AVX512 = 3
} rlhf_cpu_level;

typedef enum rlhf_memory_kind {
    RLHF_MEMORY_GENERAL = 0,
    RLHF_MEMORY_WEIGHTS = 1,
    RLHF_MEMORY_GRADIENTS = 2,
    RLHF_MEMORY_MOMENTS = 3,
    RLHF_MEMORY_ACTIVATIONS = 4,
    RLHF_MEMORY_KV_CACHE = 5,
    RLHF_MEMORY_PACKED = 6,
    RLHF_MEMORY_KIND_COUNT = 7
} rlhf_memory_kind;

typedef enum rlhf_log_level {
    RLHF_LOG_DEBUG = 0,
    RLHF_LOG_INFO = 1,
    RLHF_LOG_WARNING = 2,
    RLHF_LOG_OFF = 3
} rlhf_log_level;

typedef struct rlhf_allocator {
    size_t struct_size;

    void *(*alloc)(void *user_data, size_t size, size_t alignment, int32_t kind);

    void (*free)(void *user_data, void *ptr, size_t size, size_t alignment, int32_t kind);
    void *user_data;
} rlhf_allocator;

typedef void (*rlhf_log_fn)(void *user_data, int32_t level, const char *message);

typedef void (*rlhf_progress_fn)(void *user_data, const char *stage, int64_t done,
                                 int64_t total);

typedef struct rlhf_context_options {
    size_t struct_size;
    int32_t num_threads;
    int32_t cpu_level;
    int32_t log_level;
    int32_t reserved;
    const rlhf_allocator *allocator;
    rlhf_log_fn log;
    void *log_user_data;
    rlhf_progress_fn progress;
    void *progress_user_data;
} rlhf_context_options;

typedef struct rlhf_memory_info {
    size_t struct_size;
    int64_t now[7];
    int64_t peak[7];
    int64_t total_now;
    int64_t total_peak;
    int64_t allocations;
} rlhf_memory_info;

RLHF_API rlhf_status rlhf_context_options_init(rlhf_context_options *options,
                                               size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_context_create(const rlhf_context_options *options, rlhf_context **out_context);

RLHF_API void rlhf_context_free(rlhf_context *context);

RLHF_API void rlhf_context_cancel(rlhf_context *context);

RLHF_API int32_t rlhf_context_cpu_level(const rlhf_context *context);

RLHF_API int32_t rlhf_context_num_threads(const rlhf_context *context);

RLHF_API rlhf_status rlhf_context_memory(const rlhf_context *context,
                                         rlhf_memory_info *info);

#ifdef __cplusplus
}
#endif

#endif
