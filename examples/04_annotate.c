/* Chapter 4. A person picks the better of two answers.
 *
 *     build/examples/04_annotate examples/04_annotate.yaml
 *
 * Picking is easier than writing: that is the whole idea. The two answers stand in a
 * shuffled order, so that a liking for the first line favours neither. A choice is on
 * disk before the next pair is shown, and a second start goes on where the first stopped.
 *
 *     1, 2  the better one      t  as good as each other      s  skip
 *     u     undo the last       q  quit
 *
 * With `plain: 1` the pairs come as lines for a program (each a word and a JSON
 * string; then "> "), and its answers are read the same way: an annotator may be a
 * process of its own. */
#include "host.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct session {
    rlhf_feedback *store;
    int plain;
    int64_t limit, chosen; /* choices wanted, and made, in this session */
} session;

static rlhf_feedback_info count(const session *s)
{
    rlhf_feedback_info info = {.struct_size = sizeof info};

    host_must(rlhf_feedback_get_info(s->store, &info), "count the pairs");
    return info;
}

static void show(const session *s, const rlhf_comparison *c)
{
    const char *first = c->answer_text[c->order], *second = c->answer_text[1 - c->order];

    if (s->plain) {
        fputs("PROMPT ", stdout);
        host_json_string(stdout, c->prompt_text);
        fputs("\n1 ", stdout);
        host_json_string(stdout, first);
        fputs("\n2 ", stdout);
        host_json_string(stdout, second);
        fputs("\n> ", stdout);
    } else {
        const rlhf_feedback_info info = count(s);
        printf("\n--- %" PRId64 " left --- %s\n\n  1) %s\n\n  2) %s\n\n"
               "better (1, 2, t tie, s skip, u undo, q quit)? ",
               info.num_pending, c->prompt_text, first, second);
    }
    if (fflush(stdout) != 0)
        host_die("cannot show a pair: %s", strerror(errno));
}

/* The first letter of a line, 'q' at the end of input. */
static int read_key(void)
{
    char line[256];

    errno = 0;
    if (!fgets(line, sizeof line, stdin))
        return 'q';
    const int key = tolower((unsigned char)line[0]);
    while (!strchr(line, '\n') && fgets(line, sizeof line, stdin)) /* the rest of a long
                                                                      line */
        ;
    return key;
}

/* False: no more. */
static int annotate_one(session *s)
{
    rlhf_comparison c = {.struct_size = sizeof c};
    int32_t choice = RLHF_CHOICE_NONE;
    const rlhf_status status = rlhf_feedback_next(s->store, &c);

    if (status == RLHF_ERR_NOT_FOUND)
        return 0;
    host_must(status, "fetch a pair");
    show(s, &c);
    switch (read_key()) {
    case '1':
        choice = RLHF_CHOICE_FIRST;
        break;
    case '2':
        choice = RLHF_CHOICE_SECOND;
        break;
    case 't':
        choice = RLHF_CHOICE_TIE;
        break;
    case 's':
        choice = RLHF_CHOICE_SKIP;
        break;
    case 'u': {
        int64_t id;
        if (rlhf_feedback_undo(s->store, &id) != RLHF_OK)
            fprintf(stderr, "%s\n", rlhf_last_error_message());
        else if (s->chosen > 0)
            s->chosen--;
        return 1;
    }
    case 'q':
        return 0;
    default:
        fprintf(stderr, "please type 1, 2, t, s, u or q\n");
        return 1;
    }
    host_must(rlhf_feedback_choose(s->store, c.id, choice), "keep the choice");
    s->chosen++;
    return s->chosen < s->limit;
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *store = host_path(config, "store");
    const char *export_path = host_optional(config, "export");
    session s = {.plain = (int)host_integer(config, "plain", 0, 0),
                 .limit = host_integer(config, "limit", INT64_MAX, 1)};

    host_must(rlhf_config_finish(config), "read the config");
    if (!host_exists(store))
        host_die("there is no store at %s: run 03_generate first", store);
    host_must(rlhf_feedback_open(context, store, 0, &s.store), "open the store");
    while (!host_interrupted() && annotate_one(&s))
        ;
    const rlhf_feedback_info info = count(&s);
    fprintf(stderr,
            "%" PRId64 " choices, %" PRId64 " ties, %" PRId64 " skipped, %" PRId64
            " left\n",
            info.num_chosen, info.num_ties, info.num_skipped, info.num_pending);
    if (export_path)
        host_must(rlhf_feedback_export(s.store, export_path), "export the choices");

    rlhf_feedback_free(s.store);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
