#include "measure.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "steps.h"

static void *need(void *memory)
{
    if (!memory)
        step_die("out of memory");
    return memory;
}

static FILE *open_read(const char *path)
{
    FILE *file = fopen(path, "r");

    if (!file)
        step_die("cannot read %s: %s", path, strerror(errno));
    return file;
}

static json_t *read_row(FILE *file, const char *path)
{
    char *line = NULL;
    size_t room = 0;
    json_t *row = NULL;

    if (getline(&line, &room, file) > 0) {
        row = json_loads(line, 0, NULL);
        if (!row)
            step_die("%s has a line that is no JSON", path);
    }
    free(line);
    return row;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text ? text : "";
}

static int32_t *ids_of(const json_t *row, const char *key, int *out_count)
{
    const json_t *list = json_object_get(row, key);
    const size_t n = json_array_size(list);
    int32_t *ids = need(calloc(n + 1, sizeof *ids));

    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    *out_count = (int)n;
    return ids;
}

answers answers_read(const char *path)
{
    FILE *file = open_read(path);
    answers a = {NULL, 0};
    json_t *row;

    while ((row = read_row(file, path))) {
        a.rows = need(realloc(a.rows, (size_t)(a.count + 1) * sizeof *a.rows));
        answer *r = &a.rows[a.count++];
        r->prompt = need(strdup(text_of(row, "prompt")));
        r->text = need(strdup(text_of(row, "completion")));
        r->ids = ids_of(row, "completion_ids", &r->num_ids);
        r->logprob = json_real_value(json_object_get(row, "logprob"));
        r->stopped = strcmp(text_of(row, "finish"), "stop") == 0;
        json_decref(row);
    }
    fclose(file);
    return a;
}

void answers_free(answers *a)
{
    for (int i = 0; i < a->count; i++) {
        free(a->rows[i].prompt);
        free(a->rows[i].text);
        free(a->rows[i].ids);
    }
    free(a->rows);
}

/* --- reward ------------------------------------------------------------------------- */

typedef struct pair {
    int32_t *chosen, *rejected;
    int num_chosen, num_rejected;
    double p; /* the annotator's probability of this choice */
} pair;

static pair *read_pairs(const char *path, const gold_lexicon *lexicon, int *out_count)
{
    FILE *file = open_read(path);
    pair *pairs = NULL;
    json_t *row;
    int n = 0;

    while ((row = read_row(file, path))) {
        pairs = need(realloc(pairs, (size_t)(n + 1) * sizeof *pairs));
        pairs[n].chosen = ids_of(row, "chosen_ids", &pairs[n].num_chosen);
        pairs[n].rejected = ids_of(row, "rejected_ids", &pairs[n].num_rejected);
        pairs[n].p = gold_probability(lexicon, text_of(row, "prompt"),
                                      text_of(row, "chosen"), text_of(row, "rejected"));
        n++;
        json_decref(row);
    }
    fclose(file);
    *out_count = n;
    return pairs;
}

static void free_pairs(pair *pairs, int n)
{
    for (int i = 0; i < n; i++) {
        free(pairs[i].chosen);
        free(pairs[i].rejected);
    }
    free(pairs);
}

/* Credit for a guess: the probability that it agrees with a fresh choice. */
static double credit(double margin, double p)
{
    return margin > 0 ? p : margin < 0 ? 1 - p : 0.5;
}

/* --- a linear model on token counts, for comparison --------------------------------- */

static double linear_margin(const double *weights, const pair *x)
{
    double sum = 0;

    for (int i = 0; i < x->num_chosen; i++)
        sum += weights[x->chosen[i]];
    for (int i = 0; i < x->num_rejected; i++)
        sum -= weights[x->rejected[i]];
    return sum;
}

static int largest_id(const pair *pairs, int n, int largest)
{
    for (int i = 0; i < n; i++) {
        for (int t = 0; t < pairs[i].num_chosen; t++)
            largest = pairs[i].chosen[t] > largest ? pairs[i].chosen[t] : largest;
        for (int t = 0; t < pairs[i].num_rejected; t++)
            largest = pairs[i].rejected[t] > largest ? pairs[i].rejected[t] : largest;
    }
    return largest;
}

/* Adds a pair's share to the Newton system: h += q (1 - q) x x^T, g += (1 - q) x. */
static void add_pair(const double *weights, const pair *x, int size, double *h, double *g)
{
    const double q = 1 / (1 + exp(-linear_margin(weights, x))), c = q * (1 - q);
    const int n = x->num_chosen + x->num_rejected;

    for (int i = 0; i < n; i++) {
        const int in_chosen = i < x->num_chosen;
        const int a = in_chosen ? x->chosen[i] : x->rejected[i - x->num_chosen];
        const double sign_a = in_chosen ? 1 : -1;
        g[a] += (1 - q) * sign_a;
        for (int j = 0; j < n; j++) {
            const int is_chosen = j < x->num_chosen;
            const int b = is_chosen ? x->chosen[j] : x->rejected[j - x->num_chosen];
            h[(size_t)a * (size_t)size + (size_t)b] += c * sign_a * (is_chosen ? 1 : -1);
        }
    }
}

/* Solves h x = g for a positive definite h, by Cholesky; g becomes x. */
static void solve(double *h, double *g, int n)
{
    for (int i = 0; i < n; i++) {
        double *row = h + (size_t)i * (size_t)n;
        for (int j = 0; j <= i; j++) {
            const double *other = h + (size_t)j * (size_t)n;
            double sum = row[j];
            for (int k = 0; k < j; k++)
                sum -= row[k] * other[k];
            row[j] = i == j ? sqrt(sum) : sum / other[j];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            g[i] -= h[(size_t)i * (size_t)n + (size_t)k] * g[k];
        g[i] /= h[(size_t)i * (size_t)n + (size_t)i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            g[i] -= h[(size_t)k * (size_t)n + (size_t)i] * g[k];
        g[i] /= h[(size_t)i * (size_t)n + (size_t)i];
    }
}

/* Logistic regression on differences of token counts with a ridge of 1, by Newton's
 * method. */
static double linear_accuracy(const pair *train, int num_train, const pair *test,
                              int num_test)
{
    enum { ROUNDS = 12 };
    const int n = largest_id(test, num_test, largest_id(train, num_train, 0)) + 1;
    double *weights = need(calloc((size_t)n, sizeof *weights));
    double *h = need(malloc((size_t)n * (size_t)n * sizeof *h));
    double *g = need(malloc((size_t)n * sizeof *g)), sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        memset(h, 0, (size_t)n * (size_t)n * sizeof *h);
        for (int v = 0; v < n; v++) {
            h[(size_t)v * (size_t)n + (size_t)v] = 1;
            g[v] = -weights[v];
        }
        for (int i = 0; i < num_train; i++)
            add_pair(weights, &train[i], n, h, g);
        solve(h, g, n);
        for (int v = 0; v < n; v++)
            weights[v] += g[v];
    }
    for (int i = 0; i < num_test; i++)
        sum += credit(linear_margin(weights, &test[i]), test[i].p);
    free(weights);
    free(h);
    free(g);
    return sum / num_test;
}

reward_quality measure_reward(const char *train_path, const char *test_path,
                              const char *scores_path, const gold_lexicon *lexicon)
{
    int num_train, num_test;
    pair *train = read_pairs(train_path, lexicon, &num_train);
    pair *test = read_pairs(test_path, lexicon, &num_test);
    FILE *scores = open_read(scores_path);
    reward_quality out = {.pairs = num_train};
    double squares = 0;

    if (num_test < 2)
        step_die("%s has no pairs", test_path);
    for (int i = 0; i < num_test; i++) {
        double s[4];
        if (fscanf(scores, "%lf %lf %lf %lf", &s[0], &s[1], &s[2], &s[3]) != 4)
            step_die("%s is short of pair %d", scores_path, i);
        const double right = credit(s[0] - s[1], test[i].p);
        out.accuracy += right / num_test;
        squares += right * right / num_test;
        out.shuffled += credit(s[2] - s[3], test[i].p) / num_test;
        out.ceiling += fmax(test[i].p, 1 - test[i].p) / num_test;
    }
    fclose(scores);
    out.interval = 1.96 * sqrt((squares - out.accuracy * out.accuracy) / num_test);
    out.q = (out.accuracy - 0.5) / (out.ceiling - 0.5);
    out.linear =
        (linear_accuracy(train, num_train, test, num_test) - 0.5) / (out.ceiling - 0.5);
    free_pairs(train, num_train);
    free_pairs(test, num_test);
    return out;
}

agreement measure_agreement(const char *scores_path)
{
    FILE *scores = open_read(scores_path);
    agreement out = {0, 0};
    double s[4];
    int n = 0;

    while (fscanf(scores, "%lf %lf %lf %lf", &s[0], &s[1], &s[2], &s[3]) == 4) {
        out.rate += credit(s[0] - s[1], 1);
        n++;
    }
    fclose(scores);
    if (n == 0)
        step_die("%s has no scores", scores_path);
    out.rate /= n;
    out.interval = 1.96 * sqrt(out.rate * (1 - out.rate) / n);
    return out;
}

/* --- policy ------------------------------------------------------------------------- */

/* Of an answer: different words over words, and different pairs of neighbours over
 * pairs; averaged over the answers that have any. A policy that repeats itself loses
 * both. */
typedef struct fluency {
    double unique, distinct2;
} fluency;

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static double share_different(char **words, int n)
{
    int different = 1;

    qsort(words, (size_t)n, sizeof *words, compare_words);
    for (int i = 1; i < n; i++)
        different += strcmp(words[i], words[i - 1]) != 0;
    return (double)different / n;
}

enum { MAX_WORDS = 1024 };

/* Words of a text in `copy`, which they point into. */
static int split_words(char *copy, char *words[MAX_WORDS])
{
    char *save = NULL;
    int n = 0;

    for (char *w = strtok_r(copy, " \t\n", &save); w && n < MAX_WORDS;
         w = strtok_r(NULL, " \t\n", &save))
        words[n++] = w;
    return n;
}

static double share_different_pairs(char *const *words, int n)
{
    char *pairs[MAX_WORDS] = {NULL};

    for (int i = 0; i + 1 < n; i++) {
        const size_t size = strlen(words[i]) + strlen(words[i + 1]) + 2;
        pairs[i] = need(malloc(size));
        snprintf(pairs[i], size, "%s %s", words[i], words[i + 1]);
    }
    const double share = share_different(pairs, n - 1);
    for (int i = 0; i + 1 < n; i++)
        free(pairs[i]);
    return share;
}

static fluency measure_fluency(const answers *a)
{
    int with_words = 0, with_pairs = 0;
    fluency out = {0, 0};

    for (int r = 0; r < a->count; r++) {
        char *copy = need(strdup(a->rows[r].text)), *words[MAX_WORDS];
        const int n = split_words(copy, words);
        if (n > 1) {
            out.distinct2 += share_different_pairs(words, n);
            with_pairs++;
        }
        if (n > 0) {
            out.unique += share_different(words, n);
            with_words++;
        }
        free(copy);
    }
    out.unique = with_words ? out.unique / with_words : 0;
    out.distinct2 = with_pairs ? out.distinct2 / with_pairs : 0;
    return out;
}

policy_quality measure_policy(const answers *before, const answers *after,
                              const char *reference, const gold_lexicon *lexicon)
{
    const int n = after->count;
    FILE *file = reference ? open_read(reference) : NULL;
    policy_quality out = {.prompts = n};
    double squares = 0;

    if (n < 2 || before->count != n)
        step_die("%d answers before and %d after", before->count, n);
    for (int i = 0; i < n; i++) {
        const answer *b = &before->rows[i], *a = &after->rows[i];
        const double gb = gold_score(lexicon, b->prompt, b->text);
        const double ga = gold_score(lexicon, a->prompt, a->text);
        const double win = ga > gb ? 1 : ga < gb ? 0 : 0.5;
        double logprob;
        if (strcmp(a->prompt, b->prompt) != 0)
            step_die("answers %d before and after are to different prompts", i);
        out.gold_before += gb / n;
        out.gold_after += ga / n;
        out.win_rate += win / n;
        squares += win * win / n;
        out.stopped_before += (double)b->stopped / n;
        out.stopped_after += (double)a->stopped / n;
        out.length_before += (double)b->num_ids / n;
        out.length_after += (double)a->num_ids / n;
        if (!file)
            continue;
        if (fscanf(file, "%lf", &logprob) != 1)
            step_die("%s is short of answer %d", reference, i);
        out.kl += (a->logprob - logprob) / n;
    }
    if (file)
        fclose(file);
    const double half = 1.96 * sqrt(fmax(0, squares - out.win_rate * out.win_rate) / n);
    out.low = out.win_rate - half;
    out.high = out.win_rate + half;
    const fluency fb = measure_fluency(before), fa = measure_fluency(after);
    out.unique_ratio = fb.unique > 0 ? fa.unique / fb.unique : 0;
    out.distinct2_ratio = fb.distinct2 > 0 ? fa.distinct2 / fb.distinct2 : 0;
    return out;
}
