/* Prompts and continuations from real stories: stories SEED MODEL TEXT.gz DIR
 * A prompt is 16 tokens, the model's start of text among them, from the start of a
 * sentence; its completion is how the story goes on, 64 tokens or to its end. Stories,
 * not prompts, are dealt to the sets, and a prompt that was seen before is dropped, so
 * no two sets share one. */
#include "../host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 16, COMPLETION = 64, STOP = 1, SLOTS = 1 << 17 };

typedef struct set {
    const char *name;
    int limit, share, count;
    host_file file;
} set;
/* `share` of 100 stories. */
static set sets[] = {{"sft.jsonl", 4000, 20, 0, {0}},
                     {"prompts_compare.jsonl", 2000, 25, 0, {0}},
                     {"prompts_test.jsonl", 2200, 25, 0, {0}},
                     {"prompts_ppo.jsonl", 3000, 18, 0, {0}},
                     {"prompts_validate.jsonl", 128, 2, 0, {0}},
                     {"prompts_eval.jsonl", 600, 10, 0, {0}}};
enum { SETS = sizeof sets / sizeof sets[0] };

static uint64_t random_state;
static uint64_t seen[SLOTS]; /* hashes of prompts */

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u; /* SplitMix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int is_new(const int32_t *ids)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a over ids */

    for (int i = 0; i < PROMPT; i++)
        hash = (hash ^ (uint64_t)ids[i]) * 1099511628211u;
    hash += !hash;
    for (size_t slot = hash % SLOTS;; slot = (slot + 1) % SLOTS) {
        if (seen[slot] == hash)
            return 0;
        if (!seen[slot]) {
            seen[slot] = hash;
            return 1;
        }
    }
}

static void write_row(const rlhf_tokenizer *tokenizer, set *s, const int32_t *ids,
                      int64_t count)
{
    FILE *f = s->file.stream;
    char *prompt = host_decode(tokenizer, ids, PROMPT);

    fputs("{\"prompt\": ", f);
    host_json_string(f, prompt);
    fputs(", \"prompt_ids\": ", f);
    host_json_ids(f, ids, PROMPT);
    if (s == &sets[0]) {
        char *text = host_decode(tokenizer, ids + PROMPT, count - PROMPT);
        fputs(", \"completion\": ", f);
        host_json_string(f, text);
        fputs(", \"completion_ids\": ", f);
        host_json_ids(f, ids + PROMPT, count - PROMPT);
        free(text);
    }
    fputs("}\n", f);
    free(prompt);
    s->count++;
}

/* Rows from every sentence start of a story. */
static void take_story(const rlhf_tokenizer *tokenizer, const char *story, set *s)
{
    const char *at = story;

    while (*at && s->count < s->limit) {
        int32_t row[PROMPT + COMPLETION + 1] = {rlhf_tokenizer_bos_id(tokenizer)};
        int64_t count;
        int32_t *ids = host_encode(tokenizer, at, &count);
        int64_t n = count < PROMPT + COMPLETION - 1 ? count : PROMPT + COMPLETION - 1;
        memcpy(row + 1, ids, (size_t)n * sizeof *ids);
        const int ends = n == count;
        free(ids);
        n++;
        if (ends)
            row[n++] = STOP;
        if (n > PROMPT + 8 && is_new(row))
            write_row(tokenizer, s, row, n);
        /* the next sentence */
        at = strpbrk(at, ".!?\n");
        while (at && *at && strchr(".!?\n \"'", *at))
            at++;
        if (!at)
            return;
    }
}

static char *read_gzip(const char *path)
{
    char command[8192], *text = NULL;
    size_t size = 0, room = 0, got;
    FILE *pipe;

    if (strchr(path, '\''))
        host_die("cannot read %s: a quote in its name", path);
    snprintf(command, sizeof command, "gzip -dc -- '%s'", path);
    pipe = popen(command, "r");
    if (!pipe)
        host_die("cannot start gzip: %s", strerror(errno));
    do {
        if (room - size < 65536) {
            room = room ? 2 * room : 1 << 20;
            text = realloc(text, room);
            if (!text)
                host_die("out of memory");
        }
        got = fread(text + size, 1, room - size - 1, pipe);
        size += got;
    } while (got > 0);
    if (pclose(pipe) != 0)
        host_die("cannot unpack %s", path);
    text[size] = '\0';
    return text;
}

int main(int argc, char **argv)
{
    static const char mark[] = "<|endoftext|>";
    rlhf_context *context = host_start(argv[0]);
    rlhf_tokenizer *tokenizer;

    if (argc != 5)
        host_die("usage: stories SEED MODEL TEXT.gz DIR");
    random_state = strtoull(argv[1], NULL, 10);
    host_must(rlhf_tokenizer_load(context, argv[2], &tokenizer), "read the tokenizer");
    char *text = read_gzip(argv[3]);
    for (int i = 0; i < SETS; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[4], sets[i].name);
        host_file_begin(&sets[i].file, path);
    }
    /* The last story of the sample is cut off: only what a mark ends is taken. */
    for (char *story = text, *end; (end = strstr(story, mark));
         story = end + sizeof mark - 1) {
        int ticket = (int)(next_random() % 100), i = 0;
        *end = '\0';
        while (i + 1 < SETS && ticket >= sets[i].share)
            ticket -= sets[i++].share;
        take_story(tokenizer, story + strspn(story, " \n"), &sets[i]);
    }
    for (int i = 0; i < SETS; i++) {
        if (sets[i].count == 0)
            host_die("%s has too few stories", argv[3]);
        host_file_commit(&sets[i].file);
        fprintf(stderr, "%s: %d rows\n", sets[i].name, sets[i].count);
    }
    free(text);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    return 0;
}
