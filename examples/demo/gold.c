#include "gold.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lore.h"

/* --- suiting the prompt ------------------------------------------------------------- */

/* Occurrences of a phrase, letter case aside, that are not part of longer words. */
static int mentions(const char *text, const char *phrase)
{
    const size_t size = strlen(phrase);
    int count = 0;

    for (const char *at = text; *at; at++) {
        size_t i = 0;
        if (at != text && isalpha((unsigned char)at[-1]))
            continue;
        while (i < size &&
               tolower((unsigned char)at[i]) == tolower((unsigned char)phrase[i]))
            i++;
        count += i == size && !isalpha((unsigned char)at[size]);
    }
    return count;
}

static double share(int right, int all)
{
    return all == 0 ? -1.0 : 2.0 * right / all - 1.0;
}

double gold_suits(const char *prompt, const char *answer)
{
    int tones = 0, right_tones = 0, objects = 0, right_objects = 0, places = 0,
        right_places = 0;

    for (int m = 0; m < COUNT(lore_moods); m++) {
        const int wanted = mentions(prompt, lore_moods[m].name) > 0;
        for (int i = 0; i < 3; i++) {
            const int n = mentions(answer, lore_moods[m].phrases[i]);
            tones += n;
            right_tones += wanted ? n : 0;
        }
    }
    for (int w = 0; w < COUNT(lore_wishes); w++) {
        const int wanted = mentions(prompt, lore_wishes[w].name) > 0;
        for (int i = 0; i < 3; i++) {
            const int n = mentions(answer, lore_wishes[w].objects[i]);
            objects += n;
            right_objects += wanted ? n : 0;
        }
        for (int i = 0; i < 2; i++) {
            const int n = mentions(answer, lore_wishes[w].places[i]);
            places += n;
            right_places += wanted ? n : 0;
        }
    }
    return 0.40 * share(right_tones, tones) + 0.33 * share(right_objects, objects) +
           0.27 * share(right_places, places);
}

/* --- positive words ----------------------------------------------------------------- */

enum { SLOTS = 1 << 15, WORD = 32 };

struct gold_lexicon {
    struct {
        char word[WORD];
        double valence;
    } slots[SLOTS];
    int count;
};

static size_t slot_of(const gold_lexicon *lexicon, const char *word)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */

    for (const char *c = word; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    for (size_t slot = hash % SLOTS;; slot = (slot + 1) % SLOTS)
        if (!lexicon->slots[slot].word[0] || strcmp(lexicon->slots[slot].word, word) == 0)
            return slot;
}

gold_lexicon *gold_lexicon_load(const char *path)
{
    FILE *file = fopen(path, "r");
    gold_lexicon *lexicon = calloc(1, sizeof *lexicon);
    char line[4096], word[64];
    double valence;

    if (!file || !lexicon) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        exit(1);
    }
    /* word, mean valence, deviation, ratings; tab-separated */
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63[^\t]\t%lf", word, &valence) != 2 || strlen(word) >= WORD ||
            lexicon->count > SLOTS / 2)
            continue;
        const size_t slot = slot_of(lexicon, word);
        lexicon->count += !lexicon->slots[slot].word[0];
        snprintf(lexicon->slots[slot].word, WORD, "%s", word);
        lexicon->slots[slot].valence = valence;
    }
    fclose(file);
    if (lexicon->count < 1000) {
        fprintf(stderr, "%s is no VADER lexicon: %d words\n", path, lexicon->count);
        exit(1);
    }
    return lexicon;
}

void gold_lexicon_free(gold_lexicon *lexicon)
{
    free(lexicon);
}

double gold_positive(const gold_lexicon *lexicon, const char *answer)
{
    double sum = 0;

    for (const char *at = answer; *at;) {
        char word[WORD] = "";
        size_t size = 0;
        while (*at && !isalpha((unsigned char)*at))
            at++;
        for (; isalpha((unsigned char)*at) || (*at == '\'' && size > 0); at++)
            if (size + 1 < WORD)
                word[size++] = (char)tolower((unsigned char)*at);
        word[size] = '\0';
        if (size > 0)
            sum += lexicon->slots[slot_of(lexicon, word)].valence;
    }
    return sum / sqrt(sum * sum + 15.0);
}

double gold_score(const gold_lexicon *lexicon, const char *prompt, const char *answer)
{
    return lexicon ? gold_positive(lexicon, answer) : gold_suits(prompt, answer);
}

double gold_probability(const gold_lexicon *lexicon, const char *prompt,
                        const char *first, const char *second)
{
    const double noise = lexicon ? 6.0 : 4.0;

    return 1.0 / (1.0 + exp(-noise * (gold_score(lexicon, prompt, first) -
                                      gold_score(lexicon, prompt, second))));
}
