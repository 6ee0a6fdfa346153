/* Who trains what. */
#include "api/training.h"

rlhf_status rlhf__training_begin(atomic_int *in_training, const char *what,
                                 bool *out_held)
{
    int expected = 0;

    if (!atomic_compare_exchange_strong(in_training, &expected, 1))
        return rlhf__fail(RLHF_ERR_BUSY, "the %s has a trainer already", what);
    *out_held = true;
    return RLHF_OK;
}

void rlhf__training_end(atomic_int *in_training, bool *held)
{
    if (*held)
        atomic_store(in_training, 0);
    *held = false;
}

rlhf_status rlhf__freeze(atomic_int *in_training, const char *what,
                         rlhf__transformer *net)
{
    bool held = false;

    RLHF__TRY(rlhf__training_begin(in_training, what, &held));
    const rlhf_status status = rlhf__params_freeze(&net->params);
    rlhf__training_end(in_training, &held);
    return status;
}
