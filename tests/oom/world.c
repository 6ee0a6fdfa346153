/* The world of a scenario: fixtures, setups that several scenarios share, the digest. */
#include "oom.h"

#include <dirent.h>
#include <math.h>

static char fixtures[TEST_PATH];

const int32_t oom_prompts[9] = {0, 2, 3, 0, 4, 5, 0, 6, 7};
const int64_t oom_prompt_ends[4] = {0, 3, 6, 9};

/* --- fixtures ----------------------------------------------------------------------- */

const char *oom_fixture(const char *name)
{
    return test_join(fixtures, name);
}

static void write_text(const char *name, const char *text)
{
    test_write(oom_fixture(name), text, strlen(text));
}

static void make_tokenizer(rlhf_context *context)
{
    static const char text[] = "the cat sat on the mat; the dog sat on the log. "
                               "A cat and a dog: the end, the end.";
    const char *texts[1] = {text};
    const size_t sizes[1] = {sizeof text - 1};
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 270;
    assert_ok(rlhf_tokenizer_train(context, texts, sizes, 1, &options, &tokenizer));
    assert_ok(rlhf_tokenizer_save(tokenizer, oom_fixture("tokenizer")));
    rlhf_tokenizer_free(tokenizer);
}

static void make_texts(void)
{
    write_text("plain.txt", "the cat sat on the mat; the dog sat on the log.\n");
    write_text("text.jsonl",
               "{\"text\": \"the cat\"}\n{\"text\": \"the dog sat on the log\"}\n");
    write_text("completion.jsonl",
               "{\"prompt\": \"the\", \"completion\": \" cat\"}\n"
               "{\"prompt_ids\": [5, 6], \"completion_ids\": [7, 8]}\n");
    write_text(
        "preference.jsonl",
        "{\"prompt\": \"the\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n"
        "{\"chosen\": \"the cat sat\", \"rejected\": \"the cat sang\", \"margin\": 2}\n");
    write_text("config.yaml", "ppo:\n  preset: trl\n  learning_rate: 0.001\n  seed: 5\n"
                              "tokenizer:\n  eos_token: \"<|endoftext|>\"\n"
                              "paths:\n  model: a/b\nsteps: 7\nrate: 0.5\n");
    write_text(
        "byte-fallback.json",
        "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\","
        "\"special\": true, \"normalized\": false, \"single_word\": false,"
        "\"lstrip\": false, \"rstrip\": false}],"
        "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": ["
        "{\"type\": \"Prepend\", \"prepend\": \"\\u2581\"},"
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
        "\"content\": \"\\u2581\"}]}, \"pre_tokenizer\": null,"
        "\"post_processor\": null, \"decoder\": {\"type\": \"Sequence\","
        "\"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\":"
        "\"\\u2581\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"},"
        "{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \","
        "\"start\": 1, \"stop\": 0}]}, \"model\": {\"type\": \"BPE\","
        "\"dropout\": null, \"unk_token\": \"<unk>\", \"fuse_unk\": true,"
        "\"byte_fallback\": false, \"vocab\": {\"<unk>\": 0, \"\\u2581\": 1,"
        "\"a\": 2, \"b\": 3, \"\\u2581a\": 4, \"\\u2581ab\": 5},"
        "\"merges\": [\"\\u2581 a\", \"\\u2581a b\"]}}");
}

/* Folders of models, and of trainers in the middle of their runs. */
static void make_folders(failing_allocator *memory)
{
    oom_world *w = oom_world_open(memory, true);
    const rlhf_lm_options lm = oom_lm_options();
    const rlhf_reward_options reward = oom_reward_options();
    const rlhf_ppo_options ppo = oom_ppo_options();
    int64_t remaining;
    int32_t done;

    oom_need_model(w);
    oom_need_reward(w);
    assert_ok(rlhf_model_save(w->model, oom_fixture("model")));
    assert_ok(rlhf_reward_model_save(w->reward, oom_fixture("reward")));
    oom_need_rows(w, RLHF_DATASET_TEXT);
    assert_ok(rlhf_lm_trainer_create(w->model, w->dataset, &lm, &w->lm));
    assert_ok(rlhf_lm_trainer_step(w->lm, NULL));
    assert_ok(rlhf_lm_trainer_save(w->lm, oom_fixture("lm-state")));
    rlhf_lm_trainer_free(w->lm);
    rlhf_dataset_free(w->dataset);
    w->lm = NULL;
    w->dataset = NULL;
    assert_ok(rlhf_ppo_trainer_create(w->model, NULL, w->reward, NULL, &ppo, &w->ppo));
    assert_ok(rlhf_ppo_trainer_step(w->ppo, oom_prompts, oom_prompt_ends, 3, NULL));
    /* Saved between two optimizer steps, so that a rollout is in the folder. */
    assert_ok(
        rlhf_ppo_trainer_rollout(w->ppo, oom_prompts, oom_prompt_ends, 3, &w->rollout));
    assert_ok(rlhf_ppo_trainer_score(w->ppo, w->rollout));
    assert_ok(rlhf_ppo_trainer_advantages(w->ppo, w->rollout));
    assert_ok(rlhf_ppo_trainer_accumulate(w->ppo, w->rollout, &remaining));
    assert_ok(rlhf_ppo_trainer_apply(w->ppo, &done, NULL));
    assert_int_equal(done, 0);
    assert_ok(rlhf_ppo_trainer_save(w->ppo, oom_fixture("ppo-state")));
    oom_need_rows(w, RLHF_DATASET_PREFERENCE);
    assert_ok(
        rlhf_reward_trainer_create(w->reward, w->dataset, &reward, &w->reward_trainer));
    assert_ok(rlhf_reward_trainer_step(w->reward_trainer, NULL));
    assert_ok(rlhf_reward_trainer_save(w->reward_trainer, oom_fixture("reward-state")));
    oom_world_close(w);
}

void oom_fixtures_make(void)
{
    failing_allocator memory = {.fail_at = -1};
    rlhf_context *context = support_context(NULL, 1);

    test_folder_make(fixtures);
    make_tokenizer(context);
    make_texts();
    rlhf_context_free(context);
    make_folders(&memory);
    assert_int_equal(memory.live, 0);
}

void oom_fixtures_remove(void)
{
    test_folder_remove(fixtures);
}

/* --- life --------------------------------------------------------------------------- */

oom_world *oom_world_open(failing_allocator *memory, bool hooked)
{
    static oom_world world; /* one at a time; not on the heap, which is being counted */

    memset(&world, 0, sizeof world);
    world.memory = memory;
    world.hooked = hooked;
    memory->fail_at = -1;
    test_folder_make(world.folder);
    return &world;
}

void oom_world_close(oom_world *w)
{
    rlhf_config_free(w->config);
    rlhf_feedback_free(w->feedback);
    rlhf_rollout_free(w->rollout_out);
    rlhf_rollout_free(w->rollout);
    rlhf_ppo_trainer_free(w->ppo);
    rlhf_reward_trainer_free(w->reward_trainer);
    rlhf_lm_trainer_free(w->lm);
    rlhf_generator_free(w->generator);
    rlhf_sampler_free(w->sampler);
    rlhf_dataset_free(w->held_out);
    rlhf_dataset_free(w->dataset_out);
    rlhf_dataset_free(w->dataset);
    rlhf_text_stream_free(w->stream);
    rlhf_tokenizer_free(w->tokenizer_out);
    rlhf_tokenizer_free(w->tokenizer);
    rlhf_reward_model_free(w->reward_out);
    rlhf_reward_model_free(w->reward);
    rlhf_model_free(w->model_out);
    rlhf_model_free(w->model);
    rlhf_context_free(w->context_out);
    rlhf_context_free(w->context);
    test_folder_remove(w->folder);
}

/* --- outputs ------------------------------------------------------------------------ */

rlhf_status oom_take(rlhf_status status, const void *out, void *slot)
{
    void *handle;

    memcpy(&handle, out, sizeof handle);
    if (status == RLHF_OK)
        memcpy(slot, out, sizeof handle);
    else if (handle)
        fail_msg("a failed call gave a handle");
    return status;
}

enum { PATTERN = 0xa5 };

void oom_prepare(void *out, size_t size, bool has_struct_size)
{
    memset(out, PATTERN, size);
    if (has_struct_size)
        memcpy(out, &size, sizeof size);
}

rlhf_status oom_keep(oom_world *w, rlhf_status status, const void *out, size_t size,
                     bool has_struct_size)
{
    const unsigned char *bytes = out;

    if (status == RLHF_OK) {
        oom_put(w, out, size);
        return status;
    }
    for (size_t i = has_struct_size ? sizeof(size_t) : 0; i < size; i++)
        if (bytes[i] != PATTERN)
            fail_msg("a failed call wrote into its output, byte %zu of %zu", i, size);
    return status;
}

void oom_put(oom_world *w, const void *bytes, size_t size)
{
    assert_true(size <= sizeof w->bytes - w->size);
    memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

/* --- digest: FNV-1a over all that can be seen --------------------------------------- */

static void mix(uint64_t *hash, const void *bytes, size_t size)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ b[i]) * UINT64_C(1099511628211);
}

static void mix_model(uint64_t *hash, rlhf_model *model)
{
    int64_t count;

    if (!model)
        return;
    float *values = model_values(model, &count);
    mix(hash, values, (size_t)count * sizeof *values);
    free(values);
}

static void mix_reward(uint64_t *hash, rlhf_reward_model *model)
{
    double affine[2];
    int64_t count;

    if (!model)
        return;
    float *values = reward_values(model, &count);
    assert_ok(rlhf_reward_model_get_affine(model, &affine[0], &affine[1]));
    mix(hash, values, (size_t)count * sizeof *values);
    mix(hash, affine, sizeof affine);
    free(values);
}

static void mix_tokenizer(uint64_t *hash, const rlhf_tokenizer *tokenizer)
{
    int32_t ids[64],
        special[3] = {rlhf_tokenizer_vocab_size(tokenizer),
                      rlhf_tokenizer_bos_id(tokenizer), rlhf_tokenizer_eos_id(tokenizer)};
    int64_t count;

    if (!tokenizer)
        return;
    mix(hash, special, sizeof special);
    assert_ok(rlhf_tokenizer_encode(tokenizer, "the cat ab", 10, 0, ids, 64, &count));
    mix(hash, ids, (size_t)count * sizeof *ids);
}

static void mix_dataset(uint64_t *hash, rlhf_dataset *dataset, bool without_streams)
{
    rlhf_dataset_info info = {.struct_size = sizeof info};
    unsigned char position[RLHF_SOURCE_POSITION_MAX];
    size_t size = 0;

    if (!dataset)
        return;
    assert_ok(rlhf_dataset_get_info(dataset, &info));
    mix(hash, &info, sizeof info);
    if (without_streams)
        return;
    assert_ok(rlhf_dataset_save_position(dataset, position, sizeof position, &size));
    mix(hash, position, size);
}

static void mix_generator(uint64_t *hash, const rlhf_generator *generator)
{
    for (int64_t i = 0; i < rlhf_generator_num_sequences(generator); i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        assert_ok(rlhf_generator_get(generator, i, &g));
        mix(hash, g.tokens, (size_t)g.num_tokens * sizeof *g.tokens);
        if (g.num_tokens > g.num_prompt)
            mix(hash, g.logprobs,
                (size_t)(g.num_tokens - g.num_prompt) * sizeof *g.logprobs);
        mix(hash, &g.finish, sizeof g.finish);
    }
}

static void mix_floats(uint64_t *hash, const float *values, int64_t count)
{
    const int32_t there = values != NULL;

    mix(hash, &there, sizeof there);
    if (values)
        mix(hash, values, (size_t)count * sizeof *values);
}

static void mix_rollout(uint64_t *hash, const rlhf_rollout *rollout)
{
    const int64_t count = rlhf_rollout_num_sequences(rollout);

    mix(hash, &count, sizeof count);
    for (int64_t i = 0; i < count; i++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        assert_ok(rlhf_rollout_get(rollout, i, &s));
        mix(hash, s.tokens, (size_t)s.num_tokens * sizeof *s.tokens);
        mix(hash, s.action_mask, (size_t)s.num_tokens);
        mix_floats(hash, s.logprobs, s.num_tokens);
        mix_floats(hash, s.ref_logprobs, s.num_tokens);
        mix_floats(hash, s.values, s.num_tokens);
        mix_floats(hash, s.rewards, s.num_tokens);
        mix_floats(hash, s.advantages, s.num_tokens);
        mix_floats(hash, s.returns, s.num_tokens);
        mix_floats(hash, s.token_scores, s.num_tokens);
        mix(hash, &s.score, sizeof s.score);
        mix(hash, &s.finish, sizeof s.finish);
    }
}

static void mix_feedback(uint64_t *hash, rlhf_feedback *feedback)
{
    rlhf_feedback_info info = {.struct_size = sizeof info};

    if (!feedback)
        return;
    assert_ok(rlhf_feedback_get_info(feedback, &info));
    mix(hash, &info, sizeof info);
    for (int64_t id = 1; id <= info.num_comparisons; id++) {
        rlhf_comparison c = {.struct_size = sizeof c};
        assert_ok(rlhf_feedback_get(feedback, id, &c));
        mix(hash, c.prompt_text, strlen(c.prompt_text));
        mix(hash, c.answer_ids[0], (size_t)c.num_answer[0] * sizeof(int32_t));
        mix(hash, &c.choice, sizeof c.choice);
    }
}

static void mix_trainers(uint64_t *hash, oom_world *w)
{
    const int64_t steps[3] = {rlhf_lm_trainer_num_steps(w->lm),
                              rlhf_reward_trainer_num_steps(w->reward_trainer),
                              rlhf_ppo_trainer_num_iterations(w->ppo)};
    rlhf_reward_model *critic;

    mix(hash, steps, sizeof steps);
    if (!w->ppo)
        return;
    assert_ok(rlhf_ppo_trainer_clone_critic(w->ppo, &critic));
    mix_reward(hash, critic);
    rlhf_reward_model_free(critic);
}

/* Names and bytes, in the names' order. An SQLite file is seen through the store instead.
 */
static void mix_folder(uint64_t *hash, const char *path, const oom_world *w)
{
    struct dirent **entries;
    const int count = scandir(path, &entries, NULL, alphasort);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char child[2 * TEST_PATH];
        struct stat info;
        snprintf(child, sizeof child, "%s/%s", path, name);
        const bool passed_over = name[0] == '.' || strstr(name, ".db") ||
                                 (w->skip_temporary && strstr(name, ".tmp-"));
        if (!passed_over && stat(child, &info) == 0) {
            mix(hash, name, strlen(name) + 1);
            if (S_ISDIR(info.st_mode)) {
                mix_folder(hash, child, w);
            } else if (!w->names_only) {
                size_t size = 0;
                char *data = test_read(child, &size);
                mix(hash, data, size);
                free(data);
            }
        }
        free(entries[i]);
    }
    free(entries);
}

uint64_t oom_digest(oom_world *w, bool without_streams)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    const int32_t threads = rlhf_context_num_threads(w->context_out);
    const int handles = !!w->sampler + 2 * !!w->stream + 4 * !!w->generator +
                        8 * !!w->lm + 16 * !!w->reward_trainer + 32 * !!w->config +
                        64 * !!w->dataset_out + 128 * !!w->rollout_out;

    mix(&hash, &threads, sizeof threads);
    mix(&hash, &handles, sizeof handles);
    mix(&hash, w->bytes, w->size);
    mix_model(&hash, w->model);
    mix_model(&hash, w->model_out);
    mix_reward(&hash, w->reward);
    mix_reward(&hash, w->reward_out);
    mix_tokenizer(&hash, w->tokenizer);
    mix_tokenizer(&hash, w->tokenizer_out);
    mix_dataset(&hash, w->dataset, without_streams);
    mix_dataset(&hash, w->dataset_out, without_streams);
    mix_dataset(&hash, w->held_out, without_streams);
    if (!without_streams) {
        mix_generator(&hash, w->generator);
        mix_rollout(&hash, w->rollout);
        mix_rollout(&hash, w->rollout_out);
    }
    mix_feedback(&hash, w->feedback);
    mix_trainers(&hash, w);
    mix_folder(&hash, w->folder, w);
    return hash;
}

/* --- setups ------------------------------------------------------------------------- */

void oom_need_context(oom_world *w)
{
    if (!w->context)
        w->context = support_context(w->hooked ? w->memory : NULL, 1);
}

static rlhf_model_config model_config(void)
{
    rlhf_model_config c = tiny_config(OOM_VOCAB, OOM_LENGTH);

    c.num_layers = 1;
    return c;
}

void oom_need_model(oom_world *w)
{
    const rlhf_model_config c = model_config();

    oom_need_context(w);
    if (!w->model)
        assert_ok(rlhf_model_create(w->context, &c, 3, &w->model));
}

void oom_need_reward(oom_world *w)
{
    rlhf_reward_model_options options;

    oom_need_model(w);
    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.seed = 5;
    if (!w->reward)
        assert_ok(rlhf_reward_model_create(w->model, &options, &w->reward));
}

void oom_need_tokenizer(oom_world *w)
{
    oom_need_context(w);
    if (!w->tokenizer)
        assert_ok(
            rlhf_tokenizer_load(w->context, oom_fixture("tokenizer"), &w->tokenizer));
}

rlhf_dataset_options oom_dataset_options(int32_t kind)
{
    rlhf_dataset_options o;

    assert_ok(rlhf_dataset_options_init(&o, sizeof o));
    o.kind = kind;
    o.max_length = OOM_LENGTH;
    o.seed = 3;
    return o;
}

void oom_need_rows(oom_world *w, int32_t kind)
{
    const rlhf_dataset_options options = oom_dataset_options(kind);

    oom_need_context(w);
    assert_ok(rlhf_dataset_create(w->context, &options, &w->dataset));
    for (int32_t i = 0; i < 7; i++) {
        int32_t a[8], b[8];
        for (int32_t t = 0; t < 8; t++) {
            a[t] = (i * 7 + t * t) % OOM_VOCAB;
            b[t] = t < 3 ? a[t] : (i * 5 + t * 3 + 1) % OOM_VOCAB;
        }
        rlhf_example row = {
            .struct_size = sizeof row, .tokens = a, .num_tokens = 5 + i % 4};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 3;
            row.rejected = b;
            row.num_rejected = 6 + i % 3;
        }
        assert_ok(rlhf_dataset_append(w->dataset, &row));
    }
}

rlhf_lm_options oom_lm_options(void)
{
    rlhf_lm_options o;

    assert_ok(rlhf_lm_options_init(&o, sizeof o));
    o.batch_size = 4;
    o.micro_batch_tokens = 16;
    o.learning_rate = 1e-2;
    return o;
}

rlhf_reward_options oom_reward_options(void)
{
    rlhf_reward_options o;

    assert_ok(rlhf_reward_options_init(&o, sizeof o));
    o.batch_size = 3;
    o.micro_batch_tokens = 30;
    o.learning_rate = 1e-2;
    return o;
}

rlhf_ppo_options oom_ppo_options(void)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = 4;
    o.num_epochs = 2;
    o.num_minibatches = 2;
    o.rollout_batch = 2;
    o.micro_batch_tokens = 12;
    o.learning_rate = o.value_learning_rate = 5e-3;
    o.score_normalize = RLHF_SCORE_RUNNING;
    o.seed = 8;
    return o;
}
