/* Public datasets: argument checks around data/dataset.c. */
#include "api/handle.h"

#include "base/versioned_struct.h"
#include "data/dataset.h"

rlhf_status rlhf_dataset_options_init(rlhf_dataset_options *options, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__dataset_options_desc, options, struct_size);
}

static void destroy(void *handle)
{
    rlhf_dataset *dataset = handle;

    rlhf__dataset_free(dataset->core);
    rlhf__handle_unref(dataset->tokenizer);
}

static rlhf_status create_handle(rlhf_context *context, rlhf_dataset **out_dataset)
{
    return rlhf__handle_create(context, sizeof **out_dataset, destroy, out_dataset);
}

/* Hands the new handle out, or gives it back if `status` is a failure. */
static rlhf_status finish(rlhf_status status, rlhf_dataset *dataset,
                          rlhf_dataset **out_dataset)
{
    if (status == RLHF_OK)
        *out_dataset = dataset;
    else
        rlhf__handle_unref(dataset);
    return status;
}

static rlhf_status load(rlhf_context *context, rlhf_tokenizer *tokenizer,
                        const char *path, const rlhf_dataset_options *options,
                        rlhf_dataset **out_dataset)
{
    rlhf_dataset *dataset = NULL;

    RLHF__TRY(create_handle(context, &dataset));
    dataset->tokenizer = rlhf__handle_ref(tokenizer);
    return finish(
        rlhf__dataset_load(context, tokenizer->core, path, options, &dataset->core),
        dataset, out_dataset);
}

rlhf_status rlhf_dataset_load(rlhf_context *context, rlhf_tokenizer *tokenizer,
                              const char *path, const rlhf_dataset_options *options,
                              rlhf_dataset **out_dataset)
{
    RLHF__REQUIRE(out_dataset);
    *out_dataset = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(tokenizer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, load(context, tokenizer, path, options, out_dataset));
}

static rlhf_status create(rlhf_context *context, const rlhf_dataset_options *options,
                          rlhf_dataset **out_dataset)
{
    rlhf_dataset *dataset = NULL;

    RLHF__TRY(create_handle(context, &dataset));
    return finish(rlhf__dataset_create(context, options, &dataset->core), dataset,
                  out_dataset);
}

rlhf_status rlhf_dataset_create(rlhf_context *context,
                                const rlhf_dataset_options *options,
                                rlhf_dataset **out_dataset)
{
    RLHF__REQUIRE(out_dataset);
    *out_dataset = NULL;
    RLHF__REQUIRE(context);
    RLHF__ENTER_AND_RETURN(context, create(context, options, out_dataset));
}

static rlhf_status create_from_source(rlhf_context *context, int32_t kind,
                                      const rlhf_source_ops *ops, void *user_data,
                                      rlhf_dataset **out_dataset)
{
    rlhf_dataset *dataset = NULL;

    RLHF__TRY(create_handle(context, &dataset));
    return finish(
        rlhf__dataset_create_from_source(context, kind, ops, user_data, &dataset->core),
        dataset, out_dataset);
}

rlhf_status rlhf_dataset_create_from_source(rlhf_context *context, int32_t kind,
                                            const rlhf_source_ops *ops, void *user_data,
                                            rlhf_dataset **out_dataset)
{
    RLHF__REQUIRE(out_dataset);
    *out_dataset = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(ops);
    RLHF__ENTER_AND_RETURN(
        context, create_from_source(context, kind, ops, user_data, out_dataset));
}

void rlhf_dataset_free(rlhf_dataset *dataset)
{
    rlhf__handle_free(dataset);
}

rlhf_status rlhf_dataset_append(rlhf_dataset *dataset, const rlhf_example *example)
{
    rlhf_example own;

    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(example);
    RLHF__TRY(
        rlhf__struct_copy_in(example, sizeof own, sizeof own, &own, "rlhf_example"));
    RLHF__ENTER_AND_RETURN(dataset->handle.context,
                           rlhf__dataset_append(dataset->core, &own));
}

static rlhf_status split(rlhf_dataset *dataset, int64_t held_out, uint64_t seed,
                         rlhf_dataset **out_train, rlhf_dataset **out_held_out)
{
    rlhf_dataset *parts[2] = {NULL, NULL};
    rlhf_status status = create_handle(dataset->handle.context, &parts[0]);

    if (status == RLHF_OK)
        status = create_handle(dataset->handle.context, &parts[1]);
    if (status == RLHF_OK)
        status = rlhf__dataset_split(dataset->core, held_out, seed, &parts[0]->core,
                                     &parts[1]->core);
    if (status != RLHF_OK) {
        rlhf__handle_unref(parts[0]);
        rlhf__handle_unref(parts[1]);
        return status;
    }
    for (int i = 0; i < 2; i++)
        parts[i]->tokenizer = rlhf__handle_ref(dataset->tokenizer);
    *out_train = parts[0];
    *out_held_out = parts[1];
    return RLHF_OK;
}

rlhf_status rlhf_dataset_split(rlhf_dataset *dataset, int64_t held_out, uint64_t seed,
                               rlhf_dataset **out_train, rlhf_dataset **out_held_out)
{
    if (out_train)
        *out_train = NULL;
    if (out_held_out)
        *out_held_out = NULL;
    RLHF__REQUIRE(out_train);
    RLHF__REQUIRE(out_held_out);
    RLHF__REQUIRE(dataset);
    RLHF__ENTER_AND_RETURN(dataset->handle.context,
                           split(dataset, held_out, seed, out_train, out_held_out));
}

static rlhf_status get_info(const rlhf_dataset *dataset, rlhf_dataset_info *info)
{
    rlhf_dataset_info own;

    rlhf__dataset_get_info(dataset->core, &own);
    return rlhf__struct_copy_out(&own, sizeof own, info, "rlhf_dataset_info");
}

rlhf_status rlhf_dataset_get_info(const rlhf_dataset *dataset, rlhf_dataset_info *info)
{
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(info);
    RLHF__ENTER_AND_RETURN(dataset->handle.context, get_info(dataset, info));
}

static rlhf_status row(rlhf_dataset *dataset, int64_t index, rlhf_example *out_example)
{
    rlhf_example own;

    RLHF__TRY(rlhf__dataset_get_row(dataset->core, index, &own));
    return rlhf__struct_copy_out(&own, sizeof own, out_example, "rlhf_example");
}

rlhf_status rlhf_dataset_row(rlhf_dataset *dataset, int64_t index,
                             rlhf_example *out_example)
{
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(out_example);
    RLHF__ENTER_AND_RETURN(dataset->handle.context, row(dataset, index, out_example));
}

static rlhf_status next(rlhf_dataset *dataset, rlhf_example *out_example)
{
    rlhf_example own;

    /* Checked first, so that a row is not drawn and lost. */
    RLHF__TRY(rlhf__struct_check_out(out_example, "rlhf_example"));
    RLHF__TRY(rlhf__dataset_next(dataset->core, &own));
    return rlhf__struct_copy_out(&own, sizeof own, out_example, "rlhf_example");
}

rlhf_status rlhf_dataset_next(rlhf_dataset *dataset, rlhf_example *out_example)
{
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(out_example);
    RLHF__ENTER_AND_RETURN(dataset->handle.context, next(dataset, out_example));
}

rlhf_status rlhf_dataset_rewind(rlhf_dataset *dataset)
{
    RLHF__REQUIRE(dataset);
    RLHF__ENTER_AND_RETURN(dataset->handle.context, rlhf__dataset_rewind(dataset->core));
}

rlhf_status rlhf_dataset_save_position(rlhf_dataset *dataset, void *out_bytes,
                                       size_t capacity, size_t *out_size)
{
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(out_bytes);
    RLHF__REQUIRE(out_size);
    RLHF__ENTER_AND_RETURN(
        dataset->handle.context,
        rlhf__dataset_save_position(dataset->core, out_bytes, capacity, out_size));
}

rlhf_status rlhf_dataset_restore_position(rlhf_dataset *dataset, const void *bytes,
                                          size_t size)
{
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(bytes);
    RLHF__ENTER_AND_RETURN(dataset->handle.context,
                           rlhf__dataset_restore_position(dataset->core, bytes, size));
}
