/* The public context: options in, level resolved, memory figures out. */
#include "api/descs.h"
#include "api/handle.h"

#include "base/versioned_struct.h"
#include "kernels/kernels.h"

static const rlhf__enum_name cpu_level_names[] = {{"auto", RLHF_CPU_AUTO},
                                                  {"portable", RLHF_CPU_PORTABLE},
                                                  {"avx2", RLHF_CPU_AVX2},
                                                  {"avx512", RLHF_CPU_AVX512},
                                                  {"avx512_bf16", RLHF_CPU_AVX512_BF16},
                                                  {"amx", RLHF_CPU_AMX},
                                                  {NULL, 0}};
static const rlhf__enum_name log_level_names[] = {{"debug", RLHF_LOG_DEBUG},
                                                  {"info", RLHF_LOG_INFO},
                                                  {"warning", RLHF_LOG_WARNING},
                                                  {"off", RLHF_LOG_OFF},
                                                  {NULL, 0}};

static const rlhf__enum_name dtype_names[] = {
    {"fp32", RLHF_DTYPE_FP32}, {"bf16", RLHF_DTYPE_BF16}, {NULL, 0}};

#define FIELD(member) #member, .offset = offsetof(rlhf_context_options, member)
static const rlhf__field context_fields[] = {
    {FIELD(num_threads), .type = RLHF__FIELD_I32, .min = 0, .max = RLHF__MAX_THREADS,
     .help = "threads that work in a call; 0: as many as the process may use"},
    {FIELD(cpu_level), .type = RLHF__FIELD_ENUM, .names = cpu_level_names,
     .help = "kernel level"},
    {FIELD(log_level), .type = RLHF__FIELD_ENUM, .default_value = RLHF_LOG_INFO,
     .names = log_level_names, .help = "lowest level that is logged"},
    {FIELD(dtype), .type = RLHF__FIELD_ENUM, .names = dtype_names,
     .help = "what matrix products round their operands to"},
    {FIELD(allocator), .type = RLHF__FIELD_POINTER, .help = "allocator hooks"},
    {FIELD(log), .type = RLHF__FIELD_POINTER, .help = "log callback"},
    {FIELD(log_user_data), .type = RLHF__FIELD_POINTER, .help = "its first argument"},
    {FIELD(progress), .type = RLHF__FIELD_POINTER, .help = "progress callback"},
    {FIELD(progress_user_data), .type = RLHF__FIELD_POINTER,
     .help = "its first argument"},
    {FIELD(map_weights), .type = RLHF__FIELD_BOOL,
     .help = "1: weights stay in their files, mapped, until they are written"},
    {FIELD(reserved), .type = RLHF__FIELD_I32, .help = "0"},
};
#undef FIELD

const rlhf__struct_desc rlhf__context_options_desc = {
    "rlhf_context_options", sizeof(rlhf_context_options),
    offsetof(rlhf_context_options, map_weights), context_fields,
    sizeof context_fields / sizeof context_fields[0]};

rlhf_status rlhf_context_options_init(rlhf_context_options *options, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__context_options_desc, options, struct_size);
}

rlhf_status rlhf_context_create(const rlhf_context_options *options,
                                rlhf_context **out_context)
{
    rlhf_context_options own;
    int32_t level = 0;

    RLHF__REQUIRE(out_context);
    *out_context = NULL;
    RLHF__TRY(rlhf__struct_read(&rlhf__context_options_desc, options, &own));
    RLHF__TRY(rlhf__kernels_resolve_level(own.cpu_level, own.dtype, &level));
    RLHF__TRY(rlhf__context_create(&own, level, out_context));
    (*out_context)->kernels = rlhf__kernels_for_level(level);
    (*out_context)->blis = rlhf__kernels_use_blis(level);
    (*out_context)->bf16 = rlhf__kernels_for_dtype(level, own.dtype);
    return RLHF_OK;
}

void rlhf_context_free(rlhf_context *context)
{
    rlhf__context_unref(context);
}

void rlhf_context_cancel(rlhf_context *context)
{
    if (context)
        atomic_store(&context->cancel_requested, 1);
}

int32_t rlhf_context_cpu_level(const rlhf_context *context)
{
    return context ? context->cpu_level : 0;
}

int32_t rlhf_context_dtype(const rlhf_context *context)
{
    return context ? context->dtype : 0;
}

int32_t rlhf_context_num_threads(const rlhf_context *context)
{
    return context ? rlhf__pool_num_threads(context->pool) : 0;
}

rlhf_status rlhf_context_memory(const rlhf_context *context, rlhf_memory_info *info)
{
    rlhf_memory_info own = {sizeof own, {0}, {0}, 0, 0, 0};

    RLHF__REQUIRE(context);
    RLHF__REQUIRE(info);
    for (int kind = 0; kind < RLHF_MEMORY_KIND_COUNT; kind++) {
        own.now[kind] = atomic_load(&context->bytes_now[kind]);
        own.peak[kind] = atomic_load(&context->bytes_peak[kind]);
    }
    own.total_now = atomic_load(&context->total_now);
    own.total_peak = atomic_load(&context->total_peak);
    own.allocations = atomic_load(&context->allocations);
    return rlhf__struct_copy_out(&own, sizeof own, info, "rlhf_memory_info");
}
