/* Who trains what: a network has at most one trainer. */
#ifndef RLHF_API_TRAINING_H
#define RLHF_API_TRAINING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "nn/transformer.h"

/* Claims a handle's in_training flag; BUSY (naming `what`) if another trainer has it.
 * *out_held says whether rlhf__training_end is owed. */
rlhf_status rlhf__training_begin(atomic_int *in_training, const char *what,
                                 bool *out_held);
/* Gives the claim back if it is held. */
void rlhf__training_end(atomic_int *in_training, bool *held);
/* Freezes a network that has no trainer; else BUSY. */
rlhf_status rlhf__freeze(atomic_int *in_training, const char *what,
                         rlhf__transformer *net);

#endif
