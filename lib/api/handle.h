/* Public handles. Each is a reference-counted header followed by a core object of some
 * layer. Handles hold references to the handles that they were made from (a trainer to
 * its model), so the order in which a host frees them never matters; cores know
 * nothing of counting. */
#ifndef RLHF_API_HANDLE_H
#define RLHF_API_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <rlhf/rlhf.h>

#include "base/context.h"
#include "base/error.h"

/* First member of every handle struct. */
typedef struct rlhf__handle {
    atomic_int references;
    rlhf_context *context;           /* a reference of its own; NULL for samplers */
    void (*destroy)(void *handle);   /* frees cores and held handles; accepts half-built
                                      ones */
    struct rlhf__handle *next_freed; /* of those that wait in context->freed */
} rlhf__handle;

/* A zeroed handle of `size` bytes with one reference. context may be NULL. */
rlhf_status rlhf__handle_create(rlhf_context *context, size_t size,
                                void (*destroy)(void *handle), void *out_handle);
/* Returns the handle; NULL stays NULL. */
void *rlhf__handle_ref(void *handle);
void rlhf__handle_unref(void *handle); /* NULL is a no-op */
/* The host's reference goes. From a callback it goes when the call ends that is under
 * way, which may be the handle's own. */
void rlhf__handle_free(void *handle);
/* rlhf__context_leave, and then what the call's callbacks freed. */
rlhf_status rlhf__leave(rlhf_context *context, rlhf__entry *entry, rlhf_status status);

/* Argument checks of public calls. */
#define RLHF__REQUIRE(pointer)                                                           \
    do {                                                                                 \
        if (!(pointer))                                                                  \
            return rlhf__fail_arg(#pointer, #pointer " is NULL");                        \
    } while (0)

/* Runs `call` (a status expression) between rlhf__context_enter and rlhf__leave and
 * returns. */
#define RLHF__ENTER_AND_RETURN(ctx, call)                                                \
    do {                                                                                 \
        rlhf__entry entry_;                                                              \
        RLHF__TRY(rlhf__context_enter((ctx), &entry_));                                  \
        return rlhf__leave((ctx), &entry_, (call));                                      \
    } while (0)

/* --- handle structs; cores are declared by their layers ----------------------------- */

struct rlhf_model {
    rlhf__handle handle;
    struct rlhf__transformer *net;
    struct rlhf__hub_origin *origin; /* config fields to be preserved on save, or NULL */
    atomic_int in_training;          /* 1 while a trainer trains it */
};

struct rlhf_reward_model {
    rlhf__handle handle;
    struct rlhf__reward_model *core; /* train/reward_model.h */
    struct rlhf__hub_origin *origin;
    atomic_int in_training;
};

struct rlhf_tokenizer {
    rlhf__handle handle;
    struct rlhf__tokenizer *core;
};

struct rlhf_text_stream {
    rlhf__handle handle;
    rlhf_tokenizer *tokenizer;
    struct rlhf__text_stream *core;
};

struct rlhf_dataset {
    rlhf__handle handle;
    rlhf_tokenizer *tokenizer; /* NULL: none */
    struct rlhf__dataset *core;
};

struct rlhf_sampler {
    rlhf__handle handle;
    struct rlhf__sampler *core;
};

struct rlhf_generator {
    rlhf__handle handle;
    rlhf_model *model;
    rlhf_sampler *sampler;
    rlhf_tokenizer *tokenizer; /* NULL: none */
    struct rlhf__generator *core;
};

struct rlhf_lm_trainer {
    rlhf__handle handle;
    rlhf_model *model;
    rlhf_dataset *dataset;
    bool holds_model; /* its in_training is ours */
    struct rlhf__lm_trainer *core;
};

struct rlhf_reward_trainer {
    rlhf__handle handle;
    rlhf_reward_model *reward_model;
    rlhf_dataset *dataset;
    bool holds_model;
    struct rlhf__reward_trainer *core;
};

struct rlhf_rollout {
    rlhf__handle handle;
    struct rlhf__rollout *core;
};

struct rlhf_ppo_trainer {
    rlhf__handle handle;
    rlhf_model *policy;
    rlhf_model *reference;
    rlhf_reward_model *reward_model; /* NULL: none */
    rlhf_reward_model *critic;
    rlhf_sampler *sampler; /* NULL: the default */
    bool holds_policy, holds_critic;
    /* Whose update is under way, or that was sampled last and waits for its update; NULL:
     * none. */
    rlhf_rollout *active;
    rlhf_rollout *spare; /* an empty one for the next iteration; NULL: none */
    struct rlhf__ppo_trainer *core;
};

struct rlhf_feedback {
    rlhf__handle handle;
    struct rlhf__feedback *core;
};

struct rlhf_config {
    rlhf__handle handle;
    struct rlhf__config *core;
};

#endif
