/* The hidden preference. The annotator decides by it and the evaluation measures by
 * it; no program that trains links it. */
#ifndef DEMO_GOLD_H
#define DEMO_GOLD_H

/* Default mode, in [-1, 1]: how well an answer suits its prompt, in tone (0.40),
 * object (0.33) and place (0.27). Each counts the share of the answer's mentions that
 * fit, from -1 (none, or nothing mentioned) to 1. Neither prompt nor answer alone
 * decides it. */
double gold_suits(const char *prompt, const char *answer);

/* --real: the sum s of the VADER valences of an answer's words, as s / sqrt(s^2 + 15). */
typedef struct gold_lexicon gold_lexicon;
gold_lexicon *gold_lexicon_load(const char *path); /* ends the program with a message on
                                                      failure */
void gold_lexicon_free(gold_lexicon *lexicon);
double gold_positive(const gold_lexicon *lexicon, const char *answer);

/* Either: positive where there is a lexicon. */
double gold_score(const gold_lexicon *lexicon, const char *prompt, const char *answer);
/* Probability that the first of two answers is chosen: Bradley and Terry 1952, with
 * the noise at which the best possible guess is right in 75% to 90% of the cases. */
double gold_probability(const gold_lexicon *lexicon, const char *prompt,
                        const char *first, const char *second);

#endif
