/* What the programs of the documentation meet in their folder: tiny models and data, of
 * the names that the pages use. Also reads a YAML block as the library would.
 *
 *     make_scratch               writes into the folder that it is in
 *     make_scratch FILE KEY...   reads FILE: every section by its name, KEYs as texts */
#include <rlhf/rlhf.h>

#include <stdio.h>
#include <string.h>

#define TRY(call)                                                                        \
    if ((status = (call)) != RLHF_OK)                                                    \
    return status

enum { ROWS = 96 };
static const char *const names[] = {"Mia", "Tom", "Nora", "Ben"};
static const char *const moods[] = {"happy", "sad", "tired"};
static const char *const places[] = {"pond", "garden", "library", "workshop"};

/* Row i of each file; all of the same few words. */
static void write_rows(FILE *text, FILE *prompts, FILE *pairs)
{
    for (int i = 0; i < ROWS; i++) {
        const char *name = names[i % 4], *mood = moods[i % 3], *place = places[i / 3 % 4];
        fprintf(text, "%s is %s. The sun shines. %s goes to the %s.\n", name, mood, name,
                place);
        fprintf(prompts, "{\"prompt\": \"%s is %s. The sun shines.\"}\n", name, mood);
        fprintf(pairs,
                "{\"prompt\": \"%s is %s.\", \"chosen\": \" Go to the %s, %s!\", "
                "\"rejected\": \" The sun shines.\"}\n",
                name, mood, place, name);
    }
}

static int write_files(void)
{
    FILE *text = fopen("corpus.txt", "w"), *prompts = fopen("prompts.jsonl", "w"),
         *pairs = fopen("choices.jsonl", "w");
    const int opened = text && prompts && pairs;

    if (opened)
        write_rows(text, prompts, pairs);
    return opened && fclose(text) == 0 && fclose(prompts) == 0 && fclose(pairs) == 0;
}

static rlhf_status make_tokenizer(rlhf_context *context, rlhf_tokenizer **out)
{
    static char text[64 * ROWS];
    const char *texts[1] = {text};
    size_t sizes[1] = {0};
    rlhf_tokenizer_train_options options;
    FILE *file = fopen("corpus.txt", "r");
    rlhf_status status;

    if (file) {
        sizes[0] = fread(text, 1, sizeof text, file);
        fclose(file);
    }
    TRY(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 320;
    return rlhf_tokenizer_train(context, texts, sizes, 1, &options, out);
}

static rlhf_status make_models(rlhf_context *context)
{
    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_reward_model *reward;
    rlhf_model_config config;
    rlhf_status status;

    TRY(make_tokenizer(context, &tokenizer));
    TRY(rlhf_model_config_init(&config, sizeof config));
    config.vocab_size = rlhf_tokenizer_vocab_size(tokenizer);
    config.context_length = 512;
    config.hidden_size = 16;
    config.num_layers = 2;
    config.num_heads = 2;
    config.position = RLHF_POSITION_ROTARY;
    config.bos_token_id = rlhf_tokenizer_bos_id(tokenizer);
    config.eos_token_id = rlhf_tokenizer_eos_id(tokenizer);
    TRY(rlhf_model_create(context, &config, 1, &model));
    TRY(rlhf_reward_model_create(model, NULL, &reward));
    TRY(rlhf_model_save(model, "sft"));
    TRY(rlhf_tokenizer_save(tokenizer, "sft"));
    TRY(rlhf_reward_model_save(reward, "reward"));
    TRY(rlhf_tokenizer_save(tokenizer, "reward"));
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    rlhf_tokenizer_free(tokenizer);
    return RLHF_OK;
}

typedef union any_options {
    rlhf_context_options context;
    rlhf_tokenizer_train_options tokenizer;
    rlhf_model_config model;
    rlhf_dataset_options dataset;
    rlhf_sampler_options sampler;
    rlhf_generator_options generator;
    rlhf_reward_model_options reward_model;
    rlhf_reward_options training;
    rlhf_ppo_options ppo;
} any_options;

/* The sections that the examples read, their structs and sizes; pairs' training options
 * have the fields of texts', too. */
static const struct {
    const char *section, *name;
    size_t size;
} sections[] = {
    {"context", "rlhf_context_options", sizeof(rlhf_context_options)},
    {"tokenizer", "rlhf_tokenizer_train_options", sizeof(rlhf_tokenizer_train_options)},
    {"model", "rlhf_model_config", sizeof(rlhf_model_config)},
    {"dataset", "rlhf_dataset_options", sizeof(rlhf_dataset_options)},
    {"sampler", "rlhf_sampler_options", sizeof(rlhf_sampler_options)},
    {"generator", "rlhf_generator_options", sizeof(rlhf_generator_options)},
    {"reward_model", "rlhf_reward_model_options", sizeof(rlhf_reward_model_options)},
    {"training", "rlhf_reward_options", sizeof(rlhf_reward_options)},
    {"ppo", "rlhf_ppo_options", sizeof(rlhf_ppo_options)},
};

static int is_among(const char *name, char **keys, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(name, keys[i]) == 0)
            return 1;
    return 0;
}

static rlhf_status read_yaml(rlhf_context *context, char **arguments, int count)
{
    const char *text;
    rlhf_config *config;
    rlhf_status status;

    TRY(rlhf_config_load(context, arguments[0], &config));
    for (int i = 1; i < count; i++)
        TRY(rlhf_config_string(config, arguments[i], NULL, &text));
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        any_options options;
        memset(&options, 0, sizeof options);
        memcpy(&options, &sections[i].size, sizeof(size_t)); /* struct_size */
        if (!is_among(sections[i].section, arguments + 1, count - 1))
            TRY(rlhf_config_read(config, sections[i].section, sections[i].name,
                                 &options));
    }
    TRY(rlhf_config_finish(config));
    rlhf_config_free(config);
    return RLHF_OK;
}

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_status status = rlhf_context_create(NULL, &context);

    if (status == RLHF_OK && argc > 1)
        status = read_yaml(context, argv + 1, argc - 1);
    else if (status == RLHF_OK)
        status = write_files() ? make_models(context) : RLHF_ERR_IO;
    if (status != RLHF_OK)
        fprintf(stderr, "%s: %s\n", rlhf_status_name(status), rlhf_last_error_message());
    rlhf_context_free(context);
    return status != RLHF_OK;
}
