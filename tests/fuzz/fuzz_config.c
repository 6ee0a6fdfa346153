/* YAML: whatever the file, each options struct is filled or left alone. */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)fuzz_context();
    return 0;
}

/* A struct in the middle of bytes that nobody may touch. */
static bool read_struct(rlhf_config *config, const char *section, const char *name,
                        const void *defaults, size_t size)
{
    unsigned char options[2048];

    FUZZ_REQUIRE(size < sizeof options, "%s", name);
    memset(options, 0xa5, sizeof options);
    memcpy(options, defaults, size);
    const bool taken = fuzz_check(rlhf_config_read(config, section, name, options));
    if (!taken)
        FUZZ_REQUIRE(memcmp(options, defaults, size) == 0, "a failure changed %s", name);
    for (size_t i = size; i < sizeof options; i++)
        FUZZ_REQUIRE(options[i] == 0xa5, "bytes after %s were written", name);
    return taken;
}

static bool read_all(rlhf_config *config)
{
    rlhf_ppo_options ppo;
    rlhf_lm_options lm;
    rlhf_model_config model;
    rlhf_tokenizer_train_options tokenizer;
    const char *text;
    int64_t integer;
    double number;
    bool taken = true;

    FUZZ_OK(rlhf_ppo_options_init(&ppo, sizeof ppo));
    FUZZ_OK(rlhf_lm_options_init(&lm, sizeof lm));
    FUZZ_OK(rlhf_model_config_init(&model, sizeof model));
    FUZZ_OK(rlhf_tokenizer_train_options_init(&tokenizer, sizeof tokenizer));
    taken &= read_struct(config, "ppo", "rlhf_ppo_options", &ppo, sizeof ppo);
    taken &= read_struct(config, "lm", "rlhf_lm_options", &lm, sizeof lm);
    taken &= read_struct(config, "a.model", "rlhf_model_config", &model, sizeof model);
    taken &= read_struct(config, "tokenizer", "rlhf_tokenizer_train_options", &tokenizer,
                         sizeof tokenizer);
    taken &= fuzz_check(rlhf_config_string(config, "paths.model", "none", &text));
    taken &= fuzz_check(rlhf_config_int(config, "steps", 3, 0, 100, &integer));
    taken &= fuzz_check(rlhf_config_double(config, "rate", 0.5, 0, 1, &number));
    return fuzz_check(rlhf_config_finish(config)) && taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_config *config;

    fuzz_write("config.yaml", data, size);
    fuzz_taken =
        fuzz_check(rlhf_config_load(fuzz_context(), fuzz_path("config.yaml"), &config));
    if (fuzz_taken)
        fuzz_taken = read_all(config);
    rlhf_config_free(config);
    return 0;
}
