/* A network being trained: its accumulated gradient and its optimizer. The trainers
 * have one (lm, reward) or two (PPO's policy and critic). */
#ifndef RLHF_TRAIN_LEARNER_H
#define RLHF_TRAIN_LEARNER_H

#include <stdbool.h>
#include <stdint.h>

#include "ckpt/state.h"
#include "nn/transformer.h"
#include "optim/adamw.h"

typedef struct rlhf__learner_settings {
    double beta1, beta2, epsilon, weight_decay;
    double max_grad_norm; /* 0: off */
    int32_t adam_form;    /* an rlhf_adam_form */
} rlhf__learner_settings;

typedef struct rlhf__learner {
    rlhf_context *context;
    rlhf__transformer *net; /* borrowed */
    rlhf__grads grads;
    rlhf__adamw adamw;
    double max_grad_norm;
} rlhf__learner;

rlhf_status rlhf__learner_init(rlhf__learner *learner, rlhf__transformer *net,
                               const rlhf__learner_settings *settings);
void rlhf__learner_free(rlhf__learner *learner); /* accepts a zeroed struct */
void rlhf__learner_zero_grads(rlhf__learner *learner);
/* Norm of scale * gradient; NUMERIC (naming `what`) unless it is finite. */
rlhf_status rlhf__learner_norm(rlhf__learner *learner, double scale, const char *what,
                               double *out_norm);
/* One optimizer step on scale * gradient, clipped; `norm` is of that gradient. Cannot
 * fail. */
void rlhf__learner_apply(rlhf__learner *learner, double learning_rate, double scale,
                         double norm);
/* scale * gradient of a parameter; as rlhf_lm_trainer_gradient. */
rlhf_status rlhf__learner_gradient(const rlhf__learner *learner, const char *name,
                                   double scale, float *out_values, int64_t count);
/* Weights, moments and step count, under "PREFIX...". */
rlhf_status rlhf__learner_put(rlhf__learner *learner, const char *prefix,
                              rlhf__state_writer *writer);
/* Everything is there and fits; nothing changes. */
rlhf_status rlhf__learner_check(const rlhf__learner *learner, const char *prefix,
                                const rlhf__state_reader *reader);
/* After a check. */
rlhf_status rlhf__learner_get(rlhf__learner *learner, const char *prefix,
                              const rlhf__state_reader *reader);

/* INVALID_ARG naming `field` unless value > 0 and finite, as a float too, and so is the
 * learner's step at it. */
rlhf_status rlhf__learner_check_rate(const rlhf__learner *learner, const char *field,
                                     double value);
int64_t rlhf__now_ns(void); /* monotonic clock, for rates */

#endif
