/* Writes the demo's texts: world SEED DIR [PAIRS]
 *   corpus.txt             documents to pretrain on, one a line: stories, facts, remarks
 *                          on answers good and bad, and the hand-written tales
 *   sft.jsonl              prompts and answers; an answer suits its prompt in each
 *                          respect in fewer than half of the cases: there is something
 *                          to learn
 *   prompts_compare.jsonl  prompts for the comparisons that people judge,
 *   prompts_test.jsonl     for comparisons the reward model never sees,
 *   prompts_ppo.jsonl      for PPO,
 *   prompts_validate.jsonl to pick its best checkpoint on,
 *   prompts_eval.jsonl     to evaluate on, once, at the end
 * No prompt is in two sets. Same seed, same files. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lore.h"

enum { MOODS = COUNT(lore_moods), WISHES = COUNT(lore_wishes), LINE = 1024 };

static uint64_t random_state;

/* SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int below(int n)
{
    return (int)(next_random() % (uint64_t)n);
}
static double uniform(void)
{
    return (double)(next_random() >> 11) * 0x1p-53;
}

/* `right` with probability p, else one of the others. */
static int mostly(int right, int n, double p)
{
    return uniform() < p ? right : (right + 1 + below(n - 1)) % n;
}

static void die(const char *what, const char *path)
{
    fprintf(stderr, "world: cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void put(char *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(char *line, const char *format, ...)
{
    const size_t used = strlen(line);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + used, LINE - used, format, arguments);
    va_end(arguments);
}

/* Who a prompt is about. */
typedef struct scene {
    int name, mood, wish;
} scene;

static scene make_prompt(char *line)
{
    const scene s = {below(COUNT(lore_names)), below(MOODS), below(WISHES)};
    const char *n = lore_names[s.name], *m = lore_moods[s.mood].name;
    const char *w = lore_wishes[s.wish].name, *d = lore_days[below(COUNT(lore_days))];

    line[0] = '\0';
    switch (below(6)) {
    case 0:
        put(line, "%s %s is %s and wants to %s.", d, n, m, w);
        break;
    case 1:
        put(line, "%s is %s. %s %s wants to %s.", n, m, d, n, w);
        break;
    case 2:
        put(line, "%s %s feels %s. %s would like to %s.", d, n, m, n, w);
        break;
    case 3:
        put(line, "%s, who is %s, wants to %s. %s", n, m, w, d);
        break;
    case 4:
        put(line, "Today %s is %s. %s %s hopes to %s.", n, m, d, n, w);
        break;
    default:
        put(line, "%s wants to %s. %s But %s is %s.", n, w, d, n, m);
        break;
    }
    return s;
}

/* What an answer says, and in which respects it suits. */
typedef struct reply {
    int mood, object_wish, place_wish;
    const char *phrase, *object, *place;
} reply;

static reply make_answer(char *line, scene s, double quality)
{
    const char *n = lore_names[s.name];
    reply r = {mostly(s.mood, MOODS, quality),
               mostly(s.wish, WISHES, quality),
               mostly(s.wish, WISHES, quality),
               NULL,
               NULL,
               NULL};

    r.phrase = lore_moods[r.mood].phrases[below(3)];
    r.object = lore_wishes[r.object_wish].objects[below(3)];
    r.place = lore_wishes[r.place_wish].places[below(2)];
    switch (below(6)) {
    case 0:
        put(line, "%s, %s! Take the %s to the %s.", r.phrase, n, r.object, r.place);
        break;
    case 1:
        put(line, "%s, %s. The %s is in the %s.", r.phrase, n, r.object, r.place);
        break;
    case 2:
        put(line, "%s! Find the %s, %s, and go to the %s.", r.phrase, r.object, n,
            r.place);
        break;
    case 3:
        put(line, "%s, go to the %s and bring the %s. %s!", n, r.place, r.object,
            r.phrase);
        break;
    case 4:
        put(line, "Here is the %s, %s. %s! The %s is open.", r.object, n, r.phrase,
            r.place);
        break;
    default:
        put(line, "%s, dear %s. I left the %s by the %s.", r.phrase, n, r.object,
            r.place);
        break;
    }
    return r;
}

/* --- documents ---------------------------------------------------------------------- */

static void make_story(char *line)
{
    const scene s = {below(COUNT(lore_names)), below(MOODS), below(WISHES)};
    const char *n = lore_names[s.name], *m = lore_moods[s.mood].name;
    const char *f = lore_names[mostly(s.name, COUNT(lore_names), 0)];
    const char *w = lore_wishes[s.wish].name, *d = lore_days[below(COUNT(lore_days))];
    const char *ob = lore_wishes[s.wish].objects[below(3)];
    const char *pl = lore_wishes[s.wish].places[below(2)];
    const char *o = lore_moods[s.mood].phrases[below(3)];

    switch (below(6)) {
    case 0:
        put(line,
            "%s %s was %s. %s wanted to %s. %s said: %s, %s! %s took the %s to the %s.",
            d, n, m, n, w, f, o, n, n, ob, pl);
        break;
    case 1:
        put(line,
            "%s likes to %s. So %s keeps a %s by the %s. %s comes by and says: %s! For "
            "%s is %s today.",
            n, w, n, ob, pl, f, o, n, m);
        break;
    case 2:
        put(line,
            "%s %s finds %s in the %s with the %s. %s wants to %s. %s, says %s, for %s "
            "feels %s.",
            d, f, n, pl, ob, n, w, o, f, n, m);
        break;
    case 3:
        put(line,
            "To %s you need the %s. You can %s in the %s. %s, we say to one who is %s.",
            w, ob, w, pl, o, m);
        break;
    case 4:
        put(line,
            "%s is %s today. %s, %s! says %s. Then %s goes to the %s to %s. The %s is "
            "there.",
            n, m, o, n, f, n, pl, w, ob);
        break;
    default:
        put(line,
            "%s asks %s: do you want to %s? Yes, says %s. Here is the %s, says %s. The "
            "%s is open. %s is %s. %s!",
            f, n, w, n, ob, f, pl, n, m, o);
        break;
    }
}

/* An answer, good or bad, and what a reader says of it. */
static void make_remark(char *line)
{
    const scene s = make_prompt(line);

    put(line, " ");
    const reply r = make_answer(line, s, 0.5);
    put(line, " %s %s %s. The %s %s to %s. The %s %s those who %s.", r.phrase,
        r.mood == s.mood ? "fits" : "does not fit", lore_moods[s.mood].name, r.object,
        r.object_wish == s.wish ? "helps" : "does not help", lore_wishes[s.wish].name,
        r.place, r.place_wish == s.wish ? "suits" : "does not suit",
        lore_wishes[s.wish].name);
}

static void make_fact(char *line)
{
    const int mood = below(MOODS), wish = below(WISHES), right = below(2);
    const int other_mood = mostly(mood, MOODS, right),
              other = mostly(wish, WISHES, right);

    switch (below(3)) {
    case 0:
        put(line, "One is %s. %s %s %s.", lore_moods[mood].name,
            lore_moods[other_mood].phrases[below(3)], right ? "fits" : "does not fit",
            lore_moods[mood].name);
        break;
    case 1:
        put(line, "One wants to %s. The %s %s to %s.", lore_wishes[wish].name,
            lore_wishes[other].objects[below(3)], right ? "helps" : "does not help",
            lore_wishes[wish].name);
        break;
    default:
        put(line, "One wants to %s. The %s %s those who %s.", lore_wishes[wish].name,
            lore_wishes[other].places[below(2)], right ? "suits" : "does not suit",
            lore_wishes[wish].name);
        break;
    }
}

/* Written by hand: what no rule above would say. */
static const char *const tales[] = {
#include "tales.inc"
};

static FILE *open_file(const char *folder, const char *name)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    if (!file)
        die("write", path);
    return file;
}

static void close_file(FILE *file, const char *name)
{
    const int bad = ferror(file);

    if (fclose(file) != 0 || bad)
        die("write", name);
}

static void write_corpus(const char *folder, int documents)
{
    FILE *file = open_file(folder, "corpus.txt");

    for (int i = 0; i < documents; i++) {
        char line[LINE] = "";
        const int kind = below(100);
        if (kind < 49)
            make_fact(line);
        else if (kind < 95)
            make_remark(line);
        else if (kind < 98)
            make_story(line);
        else
            put(line, "%s", tales[below(COUNT(tales))]);
        fprintf(file, "%s\n", line);
    }
    close_file(file, "corpus.txt");
}

/* --- prompts, each given out once --------------------------------------------------- */

typedef struct prompt {
    char text[160];
    scene scene;
} prompt;
static prompt *given;
static int num_given;
static int table[1 << 17]; /* open addressing over `given`; 0: free, else index + 1 */

static int is_new(const char *text)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */

    for (const char *c = text; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    for (size_t slot = hash;; slot++) {
        int *entry = &table[slot % COUNT(table)];
        if (*entry == 0) {
            *entry = num_given + 1;
            return 1;
        }
        if (strcmp(given[*entry - 1].text, text) == 0)
            return 0;
    }
}

static const prompt *fresh_prompt(void)
{
    for (;;) {
        char line[LINE];
        const scene s = make_prompt(line);
        snprintf(given[num_given].text, sizeof given[0].text, "%.150s", line);
        if (is_new(given[num_given].text)) {
            given[num_given].scene = s;
            return &given[num_given++];
        }
    }
}

static void write_prompts(const char *folder, const char *name, int count)
{
    FILE *file = open_file(folder, name);

    for (int i = 0; i < count; i++)
        fprintf(file, "{\"prompt\": \"%s\"}\n", fresh_prompt()->text);
    close_file(file, name);
}

static void write_answers(const char *folder, const char *name, int count)
{
    FILE *file = open_file(folder, name);

    for (int i = 0; i < count; i++) {
        const prompt *p = fresh_prompt();
        char line[LINE] = " ";
        make_answer(line, p->scene, 0.45);
        fprintf(file, "{\"prompt\": \"%s\", \"completion\": \"%s\"}\n", p->text, line);
    }
    close_file(file, name);
}

int main(int argc, char **argv)
{
    enum {
        SFT = 5000,
        TEST = 2200,
        PPO = 4000,
        VALIDATE = 128,
        EVAL = 600,
        DOCUMENTS = 12000
    };
    const int pairs = argc > 3 ? atoi(argv[3]) : 9000;

    if (argc < 3 || argc > 4 || pairs < 1 || pairs > 12000) {
        fprintf(stderr, "usage: world SEED DIR [PAIRS, at most 12000]\n");
        return 2;
    }
    random_state = strtoull(argv[1], NULL, 10) * 0x2545f4914f6cdd1du + 1;
    given = calloc((size_t)pairs + SFT + TEST + PPO + VALIDATE + EVAL + 1, sizeof *given);
    if (!given)
        die("hold", "the prompts");
    write_corpus(argv[2], DOCUMENTS);
    write_answers(argv[2], "sft.jsonl", SFT);
    write_prompts(argv[2], "prompts_compare.jsonl", pairs);
    write_prompts(argv[2], "prompts_test.jsonl", TEST);
    write_prompts(argv[2], "prompts_ppo.jsonl", PPO);
    write_prompts(argv[2], "prompts_validate.jsonl", VALIDATE);
    write_prompts(argv[2], "prompts_eval.jsonl", EVAL);
    printf(
        "%d documents; prompts, all different: %d to fine-tune on, %d to compare, "
        "%d to test the reward on, %d for PPO, %d to pick a checkpoint, %d to evaluate\n",
        DOCUMENTS, SFT, pairs, TEST, PPO, VALIDATE, EVAL);
    free(given);
    return 0;
}
