/* Every allocation of every public function fails in turn: the call says so, leaks
 * nothing, changes nothing, and then works. The map of exported functions is read, so
 * that none is forgotten. */
#include "oom.h"

/* No memory is asked for in these: they fill a struct, read a field, set a flag, or give
 * back. */
static const char *const cannot_allocate[] = {
    "rlhf_context_cancel",
    "rlhf_context_cpu_level",
    "rlhf_context_dtype",
    "rlhf_context_memory",
    "rlhf_context_num_threads",
    "rlhf_generator_num_sequences",
    "rlhf_last_error_info",
    "rlhf_last_error_message",
    "rlhf_lm_trainer_num_steps",
    "rlhf_lm_trainer_set_learning_rate",
    "rlhf_model_num_parameter_names",
    "rlhf_model_num_parameters",
    "rlhf_ppo_options_preset",
    "rlhf_ppo_trainer_abandon",
    "rlhf_ppo_trainer_is_current",
    "rlhf_ppo_trainer_num_iterations",
    "rlhf_ppo_trainer_set_kl_coef",
    "rlhf_ppo_trainer_set_learning_rate",
    "rlhf_reward_model_num_parameter_names",
    "rlhf_reward_model_num_parameters",
    "rlhf_reward_trainer_num_steps",
    "rlhf_reward_trainer_set_learning_rate",
    "rlhf_rollout_num_sequences",
    "rlhf_status_name",
    "rlhf_tokenizer_bos_id",
    "rlhf_tokenizer_eos_id",
    "rlhf_tokenizer_token_id",
    "rlhf_tokenizer_vocab_size",
    "rlhf_version",
};

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text), tail = strlen(end);

    return size >= tail && strcmp(text + size - tail, end) == 0;
}

static bool has_scenario(const oom_scenario *scenarios, const char *name)
{
    const size_t size = strlen(name);

    for (const oom_scenario *s = scenarios; s->name; s++)
        if (strncmp(s->name, name, size) == 0 &&
            (s->name[size] == '\0' || s->name[size] == ' '))
            return true;
    return false;
}

static bool is_covered(const char *name)
{
    if (ends_with(name, "_free") || ends_with(name, "_init"))
        return true;
    for (size_t i = 0; i < sizeof cannot_allocate / sizeof *cannot_allocate; i++)
        if (strcmp(cannot_allocate[i], name) == 0)
            return true;
    return has_scenario(oom_data_scenarios, name) ||
           has_scenario(oom_feedback_scenarios, name) ||
           has_scenario(oom_model_scenarios, name) ||
           has_scenario(oom_train_scenarios, name) ||
           has_scenario(oom_ppo_scenarios, name);
}

static void test_oom_covers_every_exported_function(void **state)
{
    const char *source = getenv("RLHF_SOURCE_DIR");
    char *map = test_read(test_join(source ? source : ".", "lib/librlhf.map"), NULL);
    int exported = 0, missing = 0;

    (void)state;
    assert_non_null(map);
    for (char *name = strtok(map, " \t\n;{}"); name; name = strtok(NULL, " \t\n;{}")) {
        if (strncmp(name, "rlhf_", 5) != 0)
            continue;
        exported++;
        if (!is_covered(name)) {
            print_message("%s has neither a scenario nor a place in cannot_allocate\n",
                          name);
            missing++;
        }
    }
    free(map);
    assert_true(exported > 100);
    assert_int_equal(missing, 0);
}

int main(void)
{
    return oom_main(true, test_oom_covers_every_exported_function);
}
