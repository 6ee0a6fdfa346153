/* The feedback store: a choice is in the file or it is not, whatever fails. */
#include "oom.h"

static const int32_t prompt[2] = {2, 3}, good[3] = {4, 5, 6}, bad[2] = {7, 8};

static rlhf_comparison make_comparison(void)
{
    return (rlhf_comparison){.struct_size = sizeof(rlhf_comparison),
                             .prompt_ids = prompt,
                             .answer_ids = {good, bad},
                             .num_prompt = 2,
                             .num_answer = {3, 2},
                             .prompt_text = "a prompt",
                             .answer_text = {"a good answer", "a bad one"}};
}

static rlhf_status open_store(oom_world *w)
{
    rlhf_feedback *feedback = (void *)w;

    return oom_take(
        rlhf_feedback_open(w->context, test_join(w->folder, "pairs.db"), 4, &feedback),
        &feedback, &w->feedback);
}

static void need_store(oom_world *w)
{
    oom_need_context(w);
    assert_ok(open_store(w));
}

static void need_pairs(oom_world *w)
{
    const rlhf_comparison pairs[3] = {make_comparison(), make_comparison(),
                                      make_comparison()};

    need_store(w);
    assert_ok(rlhf_feedback_add_many(w->feedback, pairs, 3, NULL));
}

static void need_old_store(oom_world *w)
{
    need_pairs(w);
    rlhf_feedback_free(w->feedback);
    w->feedback = NULL;
}

static void need_choices(oom_world *w)
{
    need_pairs(w);
    assert_ok(rlhf_feedback_choose(w->feedback, 1, RLHF_CHOICE_FIRST));
    assert_ok(rlhf_feedback_choose(w->feedback, 2, RLHF_CHOICE_SECOND));
}

static rlhf_status add(oom_world *w)
{
    const rlhf_comparison comparison = make_comparison();
    int64_t id;

    oom_prepare(&id, sizeof id, false);
    return oom_keep(w, rlhf_feedback_add(w->feedback, &comparison, &id), &id, sizeof id,
                    false);
}

static rlhf_status add_many(oom_world *w)
{
    rlhf_comparison pairs[3] = {make_comparison(), make_comparison(), make_comparison()};
    int64_t skipped;

    pairs[1].answer_text[1] = pairs[1].answer_text[0];
    oom_prepare(&skipped, sizeof skipped, false);
    return oom_keep(w, rlhf_feedback_add_many(w->feedback, pairs, 3, &skipped), &skipped,
                    sizeof skipped, false);
}

static rlhf_status keep_comparison(oom_world *w, rlhf_status status,
                                   const rlhf_comparison *c)
{
    if (status != RLHF_OK)
        return oom_keep(w, status, c, sizeof *c, true);
    oom_put(w, &c->id, sizeof c->id);
    oom_put(w, &c->order, sizeof c->order);
    oom_put(w, c->answer_text[1], strlen(c->answer_text[1]));
    oom_put(w, c->prompt_ids, (size_t)c->num_prompt * sizeof *c->prompt_ids);
    return status;
}

static rlhf_status next(oom_world *w)
{
    rlhf_comparison comparison;

    oom_prepare(&comparison, sizeof comparison, true);
    return keep_comparison(w, rlhf_feedback_next(w->feedback, &comparison), &comparison);
}

static rlhf_status get(oom_world *w)
{
    rlhf_comparison comparison;

    oom_prepare(&comparison, sizeof comparison, true);
    return keep_comparison(w, rlhf_feedback_get(w->feedback, 2, &comparison),
                           &comparison);
}

static rlhf_status choose(oom_world *w)
{
    return rlhf_feedback_choose(w->feedback, 2, RLHF_CHOICE_SECOND);
}

static rlhf_status undo(oom_world *w)
{
    int64_t id;

    oom_prepare(&id, sizeof id, false);
    return oom_keep(w, rlhf_feedback_undo(w->feedback, &id), &id, sizeof id, false);
}

static rlhf_status get_info(oom_world *w)
{
    rlhf_feedback_info info;

    oom_prepare(&info, sizeof info, true);
    return oom_keep(w, rlhf_feedback_get_info(w->feedback, &info), &info, sizeof info,
                    true);
}

static rlhf_status export_choices(oom_world *w)
{
    return rlhf_feedback_export(w->feedback, test_join(w->folder, "choices.jsonl"));
}

static rlhf_status dataset(oom_world *w)
{
    const rlhf_dataset_options options = oom_dataset_options(RLHF_DATASET_PREFERENCE);
    rlhf_dataset *made = (void *)w;

    return oom_take(rlhf_feedback_dataset(w->feedback, &options, &made), &made,
                    &w->dataset_out);
}

/* SQLite takes its memory from malloc: what the hooks do not see, the test of malloc
 * does. */
const oom_scenario oom_feedback_scenarios[] = {
    {"rlhf_feedback_open new", oom_need_context, open_store, 0},
    {"rlhf_feedback_open old", need_old_store, open_store, 0},
    {"rlhf_feedback_add", need_store, add, 0},
    {"rlhf_feedback_add_many", need_store, add_many, 0},
    {"rlhf_feedback_next", need_pairs, next, OOM_KEEPS},
    {"rlhf_feedback_get", need_pairs, get, OOM_KEEPS},
    {"rlhf_feedback_choose", need_pairs, choose, OOM_NONE},
    {"rlhf_feedback_undo", need_choices, undo, OOM_NONE},
    {"rlhf_feedback_get_info", need_choices, get_info, OOM_NONE},
    {"rlhf_feedback_export", need_choices, export_choices, OOM_KEEPS},
    {"rlhf_feedback_dataset", need_choices, dataset, OOM_KEEPS},
    {NULL, NULL, NULL, 0}};
