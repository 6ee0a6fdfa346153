/* Public feedback store: argument checks around feedback/. */
#include "feedback/feedback.h"

#include "api/handle.h"
#include "base/versioned_struct.h"

static void destroy(void *handle)
{
    rlhf__feedback_free(((rlhf_feedback *)handle)->core);
}

static rlhf_status open_store(rlhf_context *context, const char *path, uint64_t seed,
                              rlhf_feedback **out_feedback)
{
    rlhf_feedback *feedback = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__handle_create(context, sizeof *feedback, destroy, &feedback));
    status = rlhf__feedback_open(context, path, seed, &feedback->core);
    if (status == RLHF_OK)
        *out_feedback = feedback;
    else
        rlhf__handle_unref(feedback);
    return status;
}

rlhf_status rlhf_feedback_open(rlhf_context *context, const char *path, uint64_t seed,
                               rlhf_feedback **out_feedback)
{
    RLHF__REQUIRE(out_feedback);
    *out_feedback = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, open_store(context, path, seed, out_feedback));
}

void rlhf_feedback_free(rlhf_feedback *feedback)
{
    rlhf__handle_free(feedback);
}

rlhf_status rlhf_feedback_add(rlhf_feedback *feedback, const rlhf_comparison *comparison,
                              int64_t *out_id)
{
    rlhf_comparison own;

    RLHF__REQUIRE(feedback);
    RLHF__REQUIRE(comparison);
    RLHF__TRY(rlhf__struct_copy_in(comparison, sizeof own, sizeof own, &own,
                                   "rlhf_comparison"));
    RLHF__ENTER_AND_RETURN(feedback->handle.context,
                           rlhf__feedback_add(feedback->core, &own, out_id));
}

rlhf_status rlhf_feedback_add_many(rlhf_feedback *feedback,
                                   const rlhf_comparison *comparisons, int64_t count,
                                   int64_t *out_skipped)
{
    RLHF__REQUIRE(feedback);
    if (count < 0 || (count > 0 && !comparisons))
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%lld comparisons at %s",
                          (long long)count, comparisons ? "a pointer" : "NULL");
    RLHF__ENTER_AND_RETURN(
        feedback->handle.context,
        rlhf__feedback_add_many(feedback->core, comparisons, count, out_skipped));
}

static rlhf_status next(rlhf_feedback *feedback, rlhf_comparison *out)
{
    rlhf_comparison own;

    RLHF__TRY(rlhf__feedback_next(feedback->core, &own));
    return rlhf__struct_copy_out(&own, sizeof own, out, "rlhf_comparison");
}

rlhf_status rlhf_feedback_next(rlhf_feedback *feedback, rlhf_comparison *out)
{
    RLHF__REQUIRE(feedback);
    RLHF__REQUIRE(out);
    RLHF__ENTER_AND_RETURN(feedback->handle.context, next(feedback, out));
}

static rlhf_status get(rlhf_feedback *feedback, int64_t id, rlhf_comparison *out)
{
    rlhf_comparison own;

    RLHF__TRY(rlhf__feedback_get(feedback->core, id, &own));
    return rlhf__struct_copy_out(&own, sizeof own, out, "rlhf_comparison");
}

rlhf_status rlhf_feedback_get(rlhf_feedback *feedback, int64_t id, rlhf_comparison *out)
{
    RLHF__REQUIRE(feedback);
    RLHF__REQUIRE(out);
    RLHF__ENTER_AND_RETURN(feedback->handle.context, get(feedback, id, out));
}

rlhf_status rlhf_feedback_choose(rlhf_feedback *feedback, int64_t id, int32_t choice)
{
    RLHF__REQUIRE(feedback);
    RLHF__ENTER_AND_RETURN(feedback->handle.context,
                           rlhf__feedback_choose(feedback->core, id, choice));
}

rlhf_status rlhf_feedback_undo(rlhf_feedback *feedback, int64_t *out_id)
{
    RLHF__REQUIRE(feedback);
    RLHF__ENTER_AND_RETURN(feedback->handle.context,
                           rlhf__feedback_undo(feedback->core, out_id));
}

static rlhf_status get_info(rlhf_feedback *feedback, rlhf_feedback_info *info)
{
    rlhf_feedback_info own;

    RLHF__TRY(rlhf__feedback_get_info(feedback->core, &own));
    return rlhf__struct_copy_out(&own, sizeof own, info, "rlhf_feedback_info");
}

rlhf_status rlhf_feedback_get_info(rlhf_feedback *feedback, rlhf_feedback_info *info)
{
    RLHF__REQUIRE(feedback);
    RLHF__REQUIRE(info);
    RLHF__ENTER_AND_RETURN(feedback->handle.context, get_info(feedback, info));
}

rlhf_status rlhf_feedback_export(rlhf_feedback *feedback, const char *path)
{
    RLHF__REQUIRE(feedback);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(feedback->handle.context,
                           rlhf__feedback_export(feedback->core, path));
}

static void destroy_dataset(void *handle)
{
    rlhf__dataset_free(((rlhf_dataset *)handle)->core);
}

static rlhf_status dataset(rlhf_feedback *feedback, const rlhf_dataset_options *options,
                           rlhf_dataset **out_dataset)
{
    rlhf_dataset *made = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__handle_create(feedback->handle.context, sizeof *made, destroy_dataset,
                                  &made));
    status = rlhf__feedback_dataset(feedback->core, options, &made->core);
    if (status == RLHF_OK)
        *out_dataset = made;
    else
        rlhf__handle_unref(made);
    return status;
}

rlhf_status rlhf_feedback_dataset(rlhf_feedback *feedback,
                                  const rlhf_dataset_options *options,
                                  rlhf_dataset **out_dataset)
{
    RLHF__REQUIRE(out_dataset);
    *out_dataset = NULL;
    RLHF__REQUIRE(feedback);
    RLHF__ENTER_AND_RETURN(feedback->handle.context,
                           dataset(feedback, options, out_dataset));
}
