/* The demo's figures, from the files that its stages left, as verify.py recomputes
 * them. */
#ifndef DEMO_MEASURE_H
#define DEMO_MEASURE_H

#include <stdint.h>

#include "gold.h"

/* A JSONL file of answers (03_generate) in memory. */
typedef struct answer {
    char *prompt, *text;
    int32_t *ids;
    int num_ids;
    double logprob;
    int stopped;
} answer;
typedef struct answers {
    answer *rows;
    int count;
} answers;
answers answers_read(const char *path);
void answers_free(answers *a);

/* Of a reward model on pairs it has never seen. Accuracy counts a pair's right guess
 * with the annotator's own probability of that choice, so that its noise is no noise
 * of the figure. */
typedef struct reward_quality {
    int pairs;
    double accuracy, ceiling, q;
    double interval; /* half of the 95% interval of the accuracy */
    double shuffled; /* accuracy with each pair under another prompt */
    double linear; /* q of a logistic regression on token counts, same training choices */
} reward_quality;
/* train, test: preference JSONL files; scores: of demo/score on `test`. lexicon NULL:
 * default mode. */
reward_quality measure_reward(const char *train, const char *test, const char *scores,
                              const gold_lexicon *lexicon);

/* Share of the choices made in which the chosen answer has the higher score. Where a coin
 * chooses this is 1/2 for every model, and the interval is exact; against the hidden
 * preference a model of coins still lies to one side by chance. */
typedef struct agreement {
    double rate, interval; /* half of the 95% interval */
} agreement;
agreement measure_agreement(const char *scores);

/* Of answers after PPO against answers before, to the same prompts in the same order. */
typedef struct policy_quality {
    int prompts;
    double gold_before, gold_after, win_rate, low, high, kl;
    double stopped_before, stopped_after, length_before, length_after;
    double unique_ratio, distinct2_ratio; /* after's figure over before's */
} policy_quality;
/* reference: of demo/score, the reference's log-probability of each answer after;
 * NULL: no kl. */
policy_quality measure_policy(const answers *before, const answers *after,
                              const char *reference, const gold_lexicon *lexicon);

#endif
