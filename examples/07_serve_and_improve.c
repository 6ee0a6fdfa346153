/* Chapter 7. The trained model serves, and its users' choices feed the next round.
 *
 *     build/examples/07_serve_and_improve examples/07_serve_and_improve.yaml
 *
 * Type a prompt a line. To answer takes the policy's folder alone: no reward model, no
 * critic. With a `store` every n-th prompt (`compare_every`) is answered twice and you
 * are asked for the better one; prompts, answers and choices are kept there, and
 * chapters 5 and 6 can be run on it again. */
#include "host.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct server {
    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_sampler *sampler;
    rlhf_feedback *store; /* NULL: none */
    rlhf_generator_options options;
    FILE *prompts; /* log of prompts, or NULL */
    int64_t compare_every, served;
} server;

static int32_t show_text(void *user_data, int64_t sequence_id, const char *text,
                         size_t size)
{
    (void)user_data;
    (void)sequence_id;
    fwrite(text, 1, size, stdout);
    fflush(stdout);
    return host_interrupted();
}

/* A line as a prompt's ids, BOS first as in training. */
static int32_t *encode_prompt(const server *s, const char *text, int64_t *out_count)
{
    const int32_t bos = rlhf_tokenizer_bos_id(s->tokenizer);
    int64_t count;
    int32_t *ids = host_encode(s->tokenizer, text, &count);
    int32_t *prompt = host_alloc((size_t)count + 1, sizeof *prompt);

    *out_count = 0;
    if (bos >= 0)
        prompt[(*out_count)++] = bos;
    memcpy(prompt + *out_count, ids, (size_t)count * sizeof *ids);
    *out_count += count;
    free(ids);
    return prompt;
}

/* One answer, its text shown while it grows. */
static void answer(server *s, const int32_t *prompt, int64_t count)
{
    const int64_t cu_seqlens[2] = {0, count};
    rlhf_generator *generator;
    rlhf_generator_options options = s->options;

    options.tokenizer = s->tokenizer;
    options.text = show_text;
    host_must(rlhf_generator_create(s->model, s->sampler, &options, &generator),
              "make the generator");
    rlhf_status status =
        rlhf_generator_start(generator, prompt, cu_seqlens, 1, &s->served);
    if (status == RLHF_OK)
        status = rlhf_generator_run(generator);
    putchar('\n');
    if (status != RLHF_OK && status != RLHF_ERR_CANCELLED)
        fprintf(stderr, "no answer: %s\n", rlhf_last_error_message());
    rlhf_generator_free(generator);
}

/* Two answers, and which is better. */
static void compare(server *s, const char *text, const int32_t *prompt, int64_t count)
{
    int32_t *twice = host_alloc((size_t)(2 * count), sizeof *twice);
    const int64_t cu_seqlens[3] = {0, count, 2 * count};
    const int64_t ids[2] = {s->served, -1 - s->served};
    rlhf_generator *generator;
    rlhf_comparison c = {.struct_size = sizeof c,
                         .prompt_ids = prompt,
                         .num_prompt = count,
                         .prompt_text = text};
    char *texts[2], line[16];
    int64_t id = 0;

    memcpy(twice, prompt, (size_t)count * sizeof *prompt);
    memcpy(twice + count, prompt, (size_t)count * sizeof *prompt);
    host_must(rlhf_generator_create(s->model, s->sampler, &s->options, &generator),
              "make the generator");
    host_must(rlhf_generator_start(generator, twice, cu_seqlens, 2, ids), "start");
    host_must(rlhf_generator_run(generator), "answer");
    for (int i = 0; i < 2; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        host_must(rlhf_generator_get(generator, i, &g), "read an answer");
        c.answer_ids[i] = g.tokens + count;
        c.num_answer[i] = g.num_tokens - count;
        c.answer_text[i] = texts[i] =
            host_decode(s->tokenizer, c.answer_ids[i], c.num_answer[i]);
    }
    const rlhf_status status = rlhf_feedback_add(s->store, &c, &id);
    if (status == RLHF_ERR_EXISTS) {
        puts(texts[0]);
    } else {
        host_must(status, "keep the pair");
        host_must(rlhf_feedback_get(s->store, id, &c), "fetch the pair");
        printf("  1) %s\n  2) %s\nbetter (1, 2, anything else skips)? ",
               c.answer_text[c.order], c.answer_text[1 - c.order]);
        fflush(stdout);
        const int key = fgets(line, sizeof line, stdin) ? line[0] : 0;
        host_must(rlhf_feedback_choose(s->store, id,
                                       key == '1'   ? RLHF_CHOICE_FIRST
                                       : key == '2' ? RLHF_CHOICE_SECOND
                                                    : RLHF_CHOICE_SKIP),
                  "keep the choice");
    }
    free(texts[0]);
    free(texts[1]);
    rlhf_generator_free(generator);
    free(twice);
}

static void serve(server *s, char *line)
{
    int64_t count;

    line[strcspn(line, "\r\n")] = '\0';
    if (!*line)
        return;
    int32_t *prompt = encode_prompt(s, line, &count);
    if (s->prompts) {
        fputs("{\"prompt\": ", s->prompts);
        host_json_string(s->prompts, line);
        host_log(s->prompts, "}");
    }
    s->served++;
    if (s->store && s->served % s->compare_every == 0)
        compare(s, line, prompt, count);
    else
        answer(s, prompt, count);
    free(prompt);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model"),
               *store = host_optional(config, "store");
    const int64_t seed = host_integer(config, "seed", 1, 0);
    rlhf_sampler_options sampler_options;
    server s = {.compare_every = host_integer(config, "compare_every", 3, 1)};

    s.prompts = host_log_open(host_optional(config, "prompts"), 1);
    host_must(rlhf_sampler_options_init(&sampler_options, sizeof sampler_options),
              "start");
    host_options(config, "sampler", "rlhf_sampler_options", &sampler_options);
    host_must(rlhf_generator_options_init(&s.options, sizeof s.options), "start");
    s.options.seed = (uint64_t)seed;
    host_options(config, "generator", "rlhf_generator_options", &s.options);
    host_must(rlhf_config_finish(config), "read the config");

    host_must(rlhf_tokenizer_load(context, input, &s.tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &s.model), "read the model");
    host_must(rlhf_sampler_create(&sampler_options, &s.sampler), "make the sampler");
    if (store)
        host_must(rlhf_feedback_open(context, store, (uint64_t)seed, &s.store),
                  "open the store");
    char line[8192];
    for (;;) {
        printf("> ");
        fflush(stdout);
        if (host_interrupted() || !fgets(line, sizeof line, stdin))
            break;
        serve(&s, line);
    }
    fprintf(stderr, "\nserved %" PRId64 " prompts\n", s.served);

    host_log_close(s.prompts);
    rlhf_feedback_free(s.store);
    rlhf_sampler_free(s.sampler);
    rlhf_model_free(s.model);
    rlhf_tokenizer_free(s.tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
