/* Datasets that draw from a source of the host. What the host hands over is checked
 * before anything of the library sees it. */
#include "data/source.h"

#include <fenv.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"

rlhf_status rlhf__dataset_create_from_source(rlhf_context *context, int32_t kind,
                                             const rlhf_source_ops *ops, void *user_data,
                                             rlhf__dataset **out)
{
    rlhf_dataset_options options;
    rlhf_source_ops own;

    *out = NULL;
    RLHF__TRY(rlhf__struct_copy_in(ops, sizeof own, sizeof own, &own, "rlhf_source_ops"));
    if (!own.next)
        return rlhf__fail_arg("next", "rlhf_source_ops.next is NULL");
    if (!own.save != !own.restore)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "rlhf_source_ops needs both save and restore, or neither");
    RLHF__TRY(rlhf__struct_init(&rlhf__dataset_options_desc, &options, sizeof options));
    options.kind = kind;
    RLHF__TRY(rlhf__dataset_create(context, &options, out));
    (*out)->is_source = true;
    (*out)->source = own;
    (*out)->user_data = user_data;
    return RLHF_OK;
}

static rlhf_status callback_failed(const char *slot, rlhf_status status)
{
    return rlhf__fail(RLHF_ERR_CALLBACK, "the source's %s failed: %s (%d)", slot,
                      rlhf_status_name(status), (int)status);
}

/* A side must have tokens: of an answer one, of a text two, since the first is no target.
 */
static rlhf_status check_sizes(const rlhf__dataset *dataset, const rlhf_example *example)
{
    const bool text = dataset->kind == RLHF_DATASET_TEXT;
    const bool prompt = dataset->kind == RLHF_DATASET_PROMPT;
    const int64_t fewest = text ? 2 : prompt ? 1 : example->prompt_length + 1;

    if (example->num_tokens < fewest)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "num_tokens must be >= %" PRId64 ", got %" PRId64, fewest,
                          example->num_tokens);
    if (dataset->kind == RLHF_DATASET_COMPLETION && example->num_tokens < 2)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "num_tokens must be >= 2, got 1");
    if (dataset->kind == RLHF_DATASET_PREFERENCE && example->num_rejected < fewest)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "num_rejected must be >= %" PRId64 ", got %" PRId64, fewest,
                          example->num_rejected);
    return RLHF_OK;
}

rlhf_status rlhf__source_next(rlhf__dataset *dataset, rlhf_example *out_example)
{
    rlhf_example example;
    rlhf_status status;
    char reason[256];
    fenv_t own;

    if (dataset->has_returned) {
        dataset->has_returned = false;
        *out_example = dataset->returned;
        return RLHF_OK;
    }
    memset(&example, 0, sizeof example);
    example.struct_size = sizeof example;
    fegetenv(&own);
    status = dataset->source.next(dataset->user_data, &example);
    fesetenv(&own);
    if (status == RLHF_ERR_NOT_FOUND)
        return rlhf__fail(status, "the source has no more rows");
    if (status != RLHF_OK)
        return callback_failed("next", status);
    status = rlhf__example_check(&example, dataset->kind, dataset->vocab_size);
    if (status == RLHF_OK)
        status = check_sizes(dataset, &example);
    if (status != RLHF_OK) {
        size_t length = strnlen(rlhf_last_error_message(), sizeof reason - 1);
        memcpy(reason, rlhf_last_error_message(), length);
        reason[length] = '\0';
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the source's row %" PRId64 " is refused: %s", example.id,
                          reason);
    }
    example.struct_size = sizeof example;
    if (dataset->kind == RLHF_DATASET_PROMPT)
        example.prompt_length = example.num_tokens;
    if (dataset->kind != RLHF_DATASET_PREFERENCE) {
        example.rejected = NULL;
        example.num_rejected = 0;
        example.margin = 0;
    }
    *out_example = example;
    dataset->drawn_from = true;
    return RLHF_OK;
}

rlhf_status rlhf__source_save(rlhf__dataset *dataset, void *out_bytes, size_t capacity,
                              size_t *out_size)
{
    unsigned char bytes[RLHF_SOURCE_POSITION_MAX];
    const size_t room = capacity < sizeof bytes ? capacity : sizeof bytes;
    size_t size = 0;
    rlhf_status status;
    fenv_t own;

    if (!dataset->source.save)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED, "the source cannot save its position");
    if (dataset->has_returned)
        return rlhf__fail(RLHF_ERR_STATE,
                          "the source is past a row that is not used yet: draw it first");
    memset(bytes, 0, sizeof bytes);
    fegetenv(&own);
    status = dataset->source.save(dataset->user_data, bytes, room, &size);
    fesetenv(&own);
    if (status != RLHF_OK)
        return callback_failed("save", status);
    if (size > room)
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the source's position has %zu bytes, capacity is %zu", size,
                          room);
    memcpy(out_bytes, bytes, size);
    *out_size = size;
    return RLHF_OK;
}

rlhf_status rlhf__source_restore(rlhf__dataset *dataset, const void *bytes, size_t size)
{
    rlhf_status status;
    fenv_t own;

    if (!dataset->source.restore)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED, "the source cannot restore a position");
    if (size > RLHF_SOURCE_POSITION_MAX)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "a position has at most %d bytes, got %zu",
                          RLHF_SOURCE_POSITION_MAX, size);
    fegetenv(&own);
    status = dataset->source.restore(dataset->user_data, bytes, size);
    fesetenv(&own);
    if (status != RLHF_OK)
        return callback_failed("restore", status);
    dataset->has_returned = false;
    return RLHF_OK;
}
