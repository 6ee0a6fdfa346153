/* Public configs: the structs' tables by name, PPO's presets, around config/. */
#include "config/config.h"

#include <string.h>

#include "api/descs.h"
#include "api/handle.h"
#include "base/alloc.h"

static void destroy(void *handle)
{
    rlhf__config_free(((rlhf_config *)handle)->core);
}

static rlhf_status load(rlhf_context *context, const char *path, rlhf_config **out_config)
{
    rlhf_config *config = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__handle_create(context, sizeof *config, destroy, &config));
    status = rlhf__config_load(context, path, &config->core);
    if (status == RLHF_OK)
        *out_config = config;
    else
        rlhf__handle_unref(config);
    return status;
}

rlhf_status rlhf_config_load(rlhf_context *context, const char *path,
                             rlhf_config **out_config)
{
    RLHF__REQUIRE(out_config);
    *out_config = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, load(context, path, out_config));
}

void rlhf_config_free(rlhf_config *config)
{
    rlhf__handle_free(config);
}

static rlhf_status ppo_preset(const char *name, void *options)
{
    return rlhf_ppo_options_preset(options, sizeof(rlhf_ppo_options), name);
}

/* Works on a struct of today's size, since the host's may be older or newer. */
static rlhf_status read_struct(rlhf_config *config, const char *section,
                               const rlhf__struct_desc *desc, void *options)
{
    const bool has_presets = strcmp(desc->name, "rlhf_ppo_options") == 0;
    void *own = NULL;
    rlhf_status status;

    RLHF__TRY(
        rlhf__alloc(config->handle.context, 1, desc->size, RLHF_MEMORY_GENERAL, &own));
    status = rlhf__struct_copy_in(options, desc->min_size, desc->size, own, desc->name);
    if (status == RLHF_OK)
        status = rlhf__config_read(config->core, section, desc,
                                   has_presets ? ppo_preset : NULL, own);
    if (status == RLHF_OK)
        status = rlhf__struct_copy_out(own, desc->size, options, desc->name);
    rlhf__free(own);
    return status;
}

rlhf_status rlhf_config_read(rlhf_config *config, const char *section,
                             const char *struct_name, void *options)
{
    RLHF__REQUIRE(config);
    RLHF__REQUIRE(section);
    RLHF__REQUIRE(struct_name);
    RLHF__REQUIRE(options);
    const rlhf__struct_desc *desc = rlhf__desc_find(struct_name);
    if (!desc)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "no options struct is named \"%s\"",
                          struct_name);
    RLHF__ENTER_AND_RETURN(config->handle.context,
                           read_struct(config, section, desc, options));
}

rlhf_status rlhf_config_string(rlhf_config *config, const char *path,
                               const char *fallback, const char **out_value)
{
    RLHF__REQUIRE(config);
    RLHF__REQUIRE(path);
    RLHF__REQUIRE(out_value);
    RLHF__ENTER_AND_RETURN(config->handle.context,
                           rlhf__config_string(config->core, path, fallback, out_value));
}

rlhf_status rlhf_config_int(rlhf_config *config, const char *path, int64_t fallback,
                            int64_t min, int64_t max, int64_t *out_value)
{
    RLHF__REQUIRE(config);
    RLHF__REQUIRE(path);
    RLHF__REQUIRE(out_value);
    RLHF__ENTER_AND_RETURN(
        config->handle.context,
        rlhf__config_int(config->core, path, fallback, min, max, out_value));
}

rlhf_status rlhf_config_double(rlhf_config *config, const char *path, double fallback,
                               double min, double max, double *out_value)
{
    RLHF__REQUIRE(config);
    RLHF__REQUIRE(path);
    RLHF__REQUIRE(out_value);
    RLHF__ENTER_AND_RETURN(
        config->handle.context,
        rlhf__config_double(config->core, path, fallback, min, max, out_value));
}

rlhf_status rlhf_config_finish(const rlhf_config *config)
{
    RLHF__REQUIRE(config);
    RLHF__ENTER_AND_RETURN(config->handle.context, rlhf__config_finish(config->core));
}
