/* config.json: what is read as a model's or a reward model's is the same once written. */
#include "fuzz.h"

#include "base/json.h"
#include "hub/config_json.h"
#include "nn/model_config.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)fuzz_context();
    return 0;
}

/* Every field set, so that what was left out and what was written out compare. */
static rlhf_layer_config *resolve(const rlhf_model_config *config, rlhf_model_config *out)
{
    rlhf_layer_config *layers = NULL;

    FUZZ_OK(rlhf__model_config_resolve(fuzz_context(), config, out, &layers));
    return layers;
}

static void check_round_trip(const rlhf__hub_config *config, bool reward)
{
    rlhf_model_config canonical, again;
    rlhf__hub_config read;
    rlhf__json *document = NULL;
    rlhf_layer_config *layers = resolve(&config->model, &canonical), *layers_again;

    FUZZ_OK(rlhf__hub_config_write(fuzz_context(), &canonical,
                                   reward ? &config->score : NULL, NULL, &document));
    FUZZ_OK(rlhf__hub_config_read(fuzz_context(), document, "again", reward, &read));
    layers_again = resolve(&read.model, &again);
    FUZZ_REQUIRE(
        memcmp(layers, layers_again, (size_t)canonical.num_layers * sizeof *layers) == 0,
        "other layers");
    again.layers = canonical.layers = NULL;
    /* A pad that ends the text too is left out on purpose. */
    if (reward && canonical.pad_token_id == config->score.eos_token_id)
        canonical.pad_token_id = -1;
    FUZZ_REQUIRE(memcmp(&again, &canonical, sizeof again) == 0, "another config");
    if (reward)
        FUZZ_REQUIRE(read.score.offset == config->score.offset, "another offset");
    rlhf__hub_config_clear(&read);
    rlhf__json_free(document);
    rlhf__free(layers);
    rlhf__free(layers_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf__json *document = NULL;
    rlhf__hub_config config;

    fuzz_taken = false;
    if (!fuzz_check(rlhf__json_parse(fuzz_context(), (const char *)data, (int64_t)size,
                                     "config.json", 1, &document)))
        return 0;
    for (int reward = 0; reward < 2; reward++) {
        if (!fuzz_check(rlhf__hub_config_read(fuzz_context(), document, "config.json",
                                              reward, &config)))
            continue;
        fuzz_taken = true;
        check_round_trip(&config, reward);
        rlhf__hub_config_clear(&config);
    }
    rlhf__json_free(document);
    return 0;
}
