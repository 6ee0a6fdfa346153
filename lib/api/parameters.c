/* Named parameters of a network. */
#include "api/parameters.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/versioned_struct.h"
#include "nn/names.h"

rlhf_status rlhf__parameter_info(const rlhf__transformer *net, int64_t index,
                                 rlhf_parameter_info *out_info)
{
    const rlhf__params *params = &net->params;

    if (index < 0 || index >= params->num_named)
        return rlhf__fail_arg("index", "index must be in [0, %" PRId32 "), got %" PRId64,
                              params->num_named, index);
    const rlhf__named *named = &params->named[index];
    rlhf_parameter_info own = {.struct_size = sizeof own,
                               .name = named->name,
                               .decay = params->slabs[named->slab].decay};
    rlhf__named_shape(params, named, &own.rows, &own.cols);
    return rlhf__struct_copy_out(&own, sizeof own, out_info, "rlhf_parameter_info");
}

/* The parameter, after checking name and count. */
static rlhf_status find(const rlhf__params *params, const char *name, int64_t count,
                        const rlhf__named **out_named)
{
    const rlhf__named *named = rlhf__params_find(params, name);
    int64_t rows = 0, cols = 0;

    if (!named)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "no parameter is named \"%.96s\"", name);
    rlhf__named_shape(params, named, &rows, &cols);
    if (count != rows * cols)
        return rlhf__fail_arg("count",
                              "count must be %" PRId64 " for \"%s\", got %" PRId64,
                              rows * cols, named->name, count);
    *out_named = named;
    return RLHF_OK;
}

rlhf_status rlhf__parameter_read(const rlhf__transformer *net, const char *name,
                                 float *out_values, int64_t count)
{
    const rlhf__named *named = NULL;

    RLHF__TRY(find(&net->params, name, count, &named));
    rlhf__params_read(&net->params, named->slab, named->first_row, named->rows,
                      out_values);
    return RLHF_OK;
}

rlhf_status rlhf__parameter_write(rlhf__transformer *net, const char *name,
                                  const float *values, int64_t count)
{
    rlhf__params *params = &net->params;
    const rlhf__named *named = NULL;

    RLHF__TRY(find(params, name, count, &named));
    if (params->is_frozen)
        return rlhf__fail(RLHF_ERR_STATE, "\"%.96s\" is of a frozen model", name);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return rlhf__fail(RLHF_ERR_NUMERIC, "value %" PRId64 " of \"%.96s\" is %g", i,
                              name, (double)values[i]);
    RLHF__TRY(rlhf__params_own(params));
    rlhf__params_begin_write(params);
    memcpy(rlhf__named_values(params, named), values, (size_t)count * sizeof *values);
    rlhf__params_end_write(params);
    return RLHF_OK;
}

rlhf_status rlhf__get_config(const rlhf__transformer *net, rlhf_model_config *out_config)
{
    return rlhf__struct_copy_out(&net->config, sizeof net->config, out_config,
                                 "rlhf_model_config");
}
