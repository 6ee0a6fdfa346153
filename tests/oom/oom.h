/* What a test of failing allocations is made of. A scenario names a public function and
 * has a setup and the call itself; everything that the call reads, changes or gives lives
 * in the world, whose digest tells two outcomes apart. */
#ifndef TESTS_OOM_H
#define TESTS_OOM_H

#include <stdbool.h>

#include "test_files.h"
#include "tiny.h"

enum { OOM_VOCAB = 12, OOM_LENGTH = 24 };

/* What a call may do beyond the strict rule. */
enum {
    OOM_NONE = 1,  /* asks the hooks for nothing: that is what is tested */
    OOM_KEEPS = 2, /* scratch memory stays with a handle after a failure */
    OOM_MOVES = 4, /* a failure may leave rows drawn or positions decoded: that is kept */
    OOM_PROGRESSES = 8, /* ... or optimizer steps done, too */
    /* Reads JSON: jansson drops a byte that it has no memory for and reads on, so that of
     * malloc only a want that lasts can be told. */
    OOM_JSON = 16,
};

typedef struct oom_world {
    failing_allocator *memory;
    bool hooked; /* contexts take their memory from `memory`; else the C library fails */
    rlhf_context *context, *context_out;
    rlhf_model *model, *model_out;
    rlhf_reward_model *reward, *reward_out;
    rlhf_tokenizer *tokenizer, *tokenizer_out;
    rlhf_text_stream *stream;
    rlhf_dataset *dataset, *dataset_out, *held_out;
    rlhf_sampler *sampler;
    rlhf_generator *generator;
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward_trainer;
    rlhf_ppo_trainer *ppo;
    rlhf_rollout *rollout, *rollout_out;
    rlhf_feedback *feedback;
    rlhf_config *config;
    char folder[TEST_PATH]; /* of this world alone */
    /* Opening a subfolder takes malloc: where that fails to the end, a temporary folder
     * that holds one stays behind. */
    bool skip_temporary;
    /* Its files hold a measured time: their bytes differ by run. */
    bool names_only;
    unsigned char bytes[1 << 16]; /* plain outputs of the call */
    size_t size;
} oom_world;

typedef struct oom_scenario {
    const char *name; /* of the function, then a note after a blank */
    void (*setup)(oom_world *w);
    rlhf_status (*call)(oom_world *w);
    int flags;
} oom_scenario;

/* Each ends with a NULL name. */
extern const oom_scenario oom_data_scenarios[], oom_feedback_scenarios[],
    oom_model_scenarios[], oom_train_scenarios[], oom_ppo_scenarios[];

/* --- run.c --- */

/* 1 during the call under test: the C library's malloc may fail then, and only then. */
extern int oom_armed;

/* Runs all scenarios, a test each, and `check` first (NULL: none); to be returned from
 * main. */
int oom_main(bool hooked, void (*check)(void **state));
/* The one counter: of the hooks, or of malloc. */
failing_allocator *oom_memory(void);

/* --- world.c --- */

/* Files that several scenarios read, made once. */
void oom_fixtures_make(void);
void oom_fixtures_remove(void);
const char *oom_fixture(const char *name);

oom_world *oom_world_open(failing_allocator *memory, bool hooked);
void oom_world_close(oom_world *w);
/* Of all that can be seen of the world; without_streams: positions and answers left out.
 */
uint64_t oom_digest(oom_world *w, bool without_streams);

void oom_need_context(oom_world *w);
void oom_need_model(oom_world *w);
void oom_need_reward(oom_world *w);
void oom_need_tokenizer(oom_world *w);
void oom_need_rows(oom_world *w, int32_t kind);
rlhf_dataset_options oom_dataset_options(int32_t kind);
rlhf_lm_options oom_lm_options(void);
rlhf_reward_options oom_reward_options(void);
rlhf_ppo_options oom_ppo_options(void);

extern const int32_t oom_prompts[9];
extern const int64_t oom_prompt_ends[4];

/* --- outputs of calls --- */

/* The handle that a call gave in *out goes into the world; a failure must have set it to
 * NULL. */
rlhf_status oom_take(rlhf_status status, const void *out, void *slot);
/* Before the call an output is filled with a pattern, its struct_size set where it has
 * one. */
void oom_prepare(void *out, size_t size, bool has_struct_size);
/* After it: a success is put into the world's bytes, a failure must not have touched it.
 * Volatile fields and pointers are the scenario's to clear first. */
rlhf_status oom_keep(oom_world *w, rlhf_status status, const void *out, size_t size,
                     bool has_struct_size);
void oom_put(oom_world *w, const void *bytes, size_t size);

#endif
