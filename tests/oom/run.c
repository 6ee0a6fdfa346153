/* Fails the allocations of a scenario's call, one at a time, or one and all that follow.
 */
#include "oom.h"

#include <inttypes.h>

int oom_armed;

enum { DENSE = 40, SPARSE = 16, LAST = 4 };

typedef struct expected {
    uint64_t before, before_still; /* digests, the second without streams */
    uint64_t after;
    int64_t allocations; /* of the call that succeeds */
} expected;

static rlhf_status armed_call(const oom_scenario *s, oom_world *w, int64_t fail_at,
                              int fail_all)
{
    w->memory->count = 0;
    w->memory->fail_all = fail_all;
    w->memory->fail_at = fail_at;
    oom_armed = 1;
    const rlhf_status status = s->call(w);
    oom_armed = 0;
    w->memory->fail_at = -1;
    return status;
}

static void close_world(const oom_scenario *s, oom_world *w, int64_t live)
{
    failing_allocator *memory = w->memory;

    oom_world_close(w);
    if (memory->live != live)
        fail_msg("%s: %" PRId64 " blocks leaked", s->name, memory->live - live);
}

static expected run_unharmed(const oom_scenario *s, failing_allocator *memory,
                             bool hooked)
{
    expected e;
    oom_world *w = oom_world_open(memory, hooked);

    s->setup(w);
    e.before = oom_digest(w, false);
    e.before_still = oom_digest(w, true);
    oom_world_close(w);
    /* Its digest is taken after the call only: asking a handle can warm its scratch. */
    w = oom_world_open(memory, hooked);
    s->setup(w);
    const rlhf_status status = armed_call(s, w, -1, 0);
    if (status != RLHF_OK)
        fail_msg("%s: %s", s->name, rlhf_last_error_message());
    e.allocations = memory->count;
    e.after = oom_digest(w, false);
    oom_world_close(w);
    return e;
}

/* The call with its n-th allocation failing, and then once more with none. */
static void run_failing(const oom_scenario *s, const expected *e,
                        failing_allocator *memory, bool hooked, int64_t n, int fail_all)
{
    const int64_t live = memory->live;
    oom_world *w = oom_world_open(memory, hooked);
    rlhf_status status;
    char what[256];

    snprintf(what, sizeof what, "%s, allocation %" PRId64 "%s of %" PRId64, s->name, n,
             fail_all ? " and later" : "", e->allocations);
    s->setup(w);
    const int64_t live_before = memory->live;
    status = armed_call(s, w, n, fail_all);
    if (status == RLHF_OK && !hooked) {
        /* A C library may do without: sorting in place, say. The result must be the same.
         */
        if (oom_digest(w, false) != e->after)
            fail_msg("%s: succeeded with another result", what);
        close_world(s, w, live);
        return;
    }
    if (status != RLHF_ERR_NO_MEMORY)
        fail_msg("%s: %s (%s)", what, rlhf_status_name(status),
                 rlhf_last_error_message());
    if (!*rlhf_last_error_message())
        fail_msg("%s: no message", what);
    if (hooked && !(s->flags & OOM_KEEPS) && memory->live > live_before)
        fail_msg("%s: %" PRId64 " blocks more than before", what,
                 memory->live - live_before);
    if (!(s->flags & OOM_PROGRESSES)) {
        const bool moves = s->flags & OOM_MOVES;
        if (oom_digest(w, moves) != (moves ? e->before_still : e->before))
            fail_msg("%s: the failure changed something", what);
    }
    status = armed_call(s, w, -1, 0);
    if (status != RLHF_OK)
        fail_msg("%s: then %s (%s)", what, rlhf_status_name(status),
                 rlhf_last_error_message());
    if (oom_digest(w, false) != e->after)
        fail_msg("%s: then another result", what);
    close_world(s, w, live);
}

static void run_scenario(const oom_scenario *s, failing_allocator *memory, bool hooked)
{
    const expected e = run_unharmed(s, memory, hooked);
    const int64_t sparse = (e.allocations - DENSE) / SPARSE,
                  stride = sparse > 1 ? sparse : 1;

    if (hooked && (s->flags & OOM_NONE)) {
        if (e.allocations != 0)
            fail_msg("%s: %" PRId64 " allocations, expected none", s->name,
                     e.allocations);
        return;
    }
    if (e.allocations == 0 && hooked)
        fail_msg("%s: no allocation to fail", s->name);
    if (hooked && e.before == e.after && !(s->flags & OOM_PROGRESSES))
        fail_msg("%s: the digest does not see what the call does", s->name);
    for (int64_t n = 0; n < e.allocations;
         n += n < DENSE || n >= e.allocations - LAST ? 1 : stride) {
        if (hooked || !(s->flags & OOM_JSON))
            run_failing(s, &e, memory, hooked, n, 0);
        run_failing(s, &e, memory, hooked, n, 1);
    }
}

/* --- a cmocka test for each scenario ------------------------------------------------ */

static failing_allocator memory;
static bool with_hooks;

static void run_one(void **state)
{
    run_scenario(*state, &memory, with_hooks);
}

static int make_fixtures(void **state)
{
    (void)state;
    memory.fail_at = -1;
    oom_fixtures_make();
    return 0;
}

static int remove_fixtures(void **state)
{
    (void)state;
    oom_fixtures_remove();
    return 0;
}

failing_allocator *oom_memory(void)
{
    return &memory;
}

int oom_main(bool hooked, void (*check)(void **state))
{
    static const oom_scenario *const tables[] = {
        oom_data_scenarios, oom_feedback_scenarios, oom_model_scenarios,
        oom_train_scenarios, oom_ppo_scenarios};
    static struct CMUnitTest tests[256];
    size_t count = 0;

    /* Saving syncs to the disk, thousands of times here: memory will do. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    with_hooks = hooked;
    if (check)
        tests[count++] =
            (struct CMUnitTest){"every exported function", check, NULL, NULL, NULL};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const oom_scenario *s = tables[t]; s->name; s++)
            tests[count++] =
                (struct CMUnitTest){s->name, run_one, NULL, NULL, (void *)(uintptr_t)s};
    return _cmocka_run_group_tests(hooked ? "oom" : "malloc", tests, count, make_fixtures,
                                   remove_fixtures);
}
