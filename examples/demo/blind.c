/* Answers before and after as comparisons for a person who does not know which is which.
 *   blind make BEFORE.jsonl AFTER.jsonl STORE COUNT
 *   blind count STORE OUT.txt      "after before ties" */
#include "../host.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *read_row(FILE *file, const char *path)
{
    char *line = NULL;
    size_t room = 0;
    json_t *row = getline(&line, &room, file) > 0 ? json_loads(line, 0, NULL) : NULL;

    if (!row)
        host_die("%s ends too early", path);
    free(line);
    return row;
}

static int32_t *ids_of(const json_t *row, const char *key, int64_t *out_count)
{
    const json_t *list = json_object_get(row, key);
    int32_t *ids = host_alloc(json_array_size(list) + 1, sizeof *ids);

    *out_count = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < *out_count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return ids;
}

/* Answer 0 is the one before, answer 1 the one after; the store shuffles their
 * display. */
static int add(rlhf_feedback *store, const json_t *before, const json_t *after)
{
    rlhf_comparison c = {.struct_size = sizeof c};
    int32_t *prompt = ids_of(before, "prompt_ids", &c.num_prompt);
    int32_t *first = ids_of(before, "completion_ids", &c.num_answer[0]);
    int32_t *second = ids_of(after, "completion_ids", &c.num_answer[1]);

    c.prompt_ids = prompt;
    c.answer_ids[0] = first;
    c.answer_ids[1] = second;
    c.prompt_text = json_string_value(json_object_get(before, "prompt"));
    c.answer_text[0] = json_string_value(json_object_get(before, "completion"));
    c.answer_text[1] = json_string_value(json_object_get(after, "completion"));
    const rlhf_status status = rlhf_feedback_add(store, &c, NULL);
    if (status != RLHF_ERR_EXISTS)
        host_must(status, "keep a pair");
    free(prompt);
    free(first);
    free(second);
    return status == RLHF_OK;
}

static void make(rlhf_context *context, char **argv)
{
    FILE *before = fopen(argv[2], "r"), *after = fopen(argv[3], "r");
    rlhf_feedback *store;

    if (!before || !after)
        host_die("cannot read %s", before ? argv[3] : argv[2]);
    host_must(rlhf_feedback_open(context, argv[4], 1, &store), "open the store");
    for (int left = atoi(argv[5]); left > 0;) {
        json_t *b = read_row(before, argv[2]), *a = read_row(after, argv[3]);
        left -= add(store, b, a);
        json_decref(b);
        json_decref(a);
    }
    rlhf_feedback_free(store);
    fclose(before);
    fclose(after);
}

static void count(rlhf_context *context, char **argv)
{
    rlhf_feedback_info info = {.struct_size = sizeof info};
    int wins[2] = {0, 0}, ties = 0;
    rlhf_feedback *store;
    host_file file;

    host_must(rlhf_feedback_open(context, argv[2], 1, &store), "open the store");
    host_must(rlhf_feedback_get_info(store, &info), "count the pairs");
    for (int64_t id = 1; id <= info.num_comparisons; id++) {
        rlhf_comparison c = {.struct_size = sizeof c};
        host_must(rlhf_feedback_get(store, id, &c), "fetch a pair");
        if (c.preferred >= 0)
            wins[c.preferred]++;
        ties += c.choice == RLHF_CHOICE_TIE;
    }
    rlhf_feedback_free(store);
    host_file_begin(&file, argv[3]);
    fprintf(file.stream, "%d %d %d\n", wins[1], wins[0], ties);
    host_file_commit(&file);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);

    if (argc == 6 && strcmp(argv[1], "make") == 0)
        make(context, argv);
    else if (argc == 4 && strcmp(argv[1], "count") == 0)
        count(context, argv);
    else
        host_die("usage: blind make BEFORE AFTER STORE COUNT | count STORE OUT");
    rlhf_context_free(context);
    return 0;
}
