/* A person, simulated: annotator SEED [--lexicon FILE | --coin]
 * Reads pairs as 04_annotate writes them with `plain: 1` and writes its choices, until
 * the pairs end. It prefers by the hidden preference with Bradley-Terry noise; --coin
 * throws a coin. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gold.h"

static uint64_t random_state;

static double uniform(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u; /* SplitMix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* The JSON string after `key` on a line, or NULL if the line is another. */
static char *field(const char *line, const char *key)
{
    json_t *value;
    char *text;

    while (line[0] == '>' && line[1] == ' ') /* the prompt of the answer before */
        line += 2;
    if (strncmp(line, key, strlen(key)) != 0)
        return NULL;
    value = json_loads(line + strlen(key), JSON_DECODE_ANY, NULL);
    if (!json_is_string(value)) {
        fprintf(stderr, "annotator: not a JSON string: %s", line);
        exit(1);
    }
    text = strdup(json_string_value(value));
    json_decref(value);
    return text;
}

int main(int argc, char **argv)
{
    gold_lexicon *lexicon = NULL;
    int coin = 0;
    char *line = NULL, *text[3] = {NULL, NULL, NULL};
    static const char *const keys[3] = {"PROMPT ", "1 ", "2 "};
    size_t room = 0;

    if (argc == 4 && strcmp(argv[2], "--lexicon") == 0) {
        lexicon = gold_lexicon_load(argv[3]);
    } else if (argc == 3 && strcmp(argv[2], "--coin") == 0) {
        coin = 1;
    } else if (argc != 2) {
        fprintf(stderr, "usage: annotator SEED [--lexicon FILE | --coin]\n");
        return 2;
    }
    random_state = strtoull(argv[1], NULL, 10) * 0x2545f4914f6cdd1du + 7;
    while (getline(&line, &room, stdin) > 0) {
        for (int i = 0; i < 3; i++) {
            char *value = field(line, keys[i]);
            if (value) {
                free(text[i]);
                text[i] = value;
            }
        }
        if (!text[0] || !text[1] || !text[2])
            continue;
        const double p =
            coin ? 0.5 : gold_probability(lexicon, text[0], text[1], text[2]);
        puts(uniform() < p ? "1" : "2");
        fflush(stdout);
        for (int i = 0; i < 3; i++) {
            free(text[i]);
            text[i] = NULL;
        }
    }
    for (int i = 0; i < 3; i++)
        free(text[i]);
    free(line);
    gold_lexicon_free(lexicon);
    return 0;
}
