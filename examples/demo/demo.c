/* ./dev demo: a language model learns what a person prefers. Every stage is one of the
 * numbered examples, run as a user would run it; this program writes their configs,
 * lets a person (one at the keyboard, or one simulated in a process of its own)
 * choose, and measures. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"
#include "report.h"
#include "steps.h"

typedef enum mode { MODE_DEFAULT, MODE_REAL, MODE_HUMAN, MODE_CONTROL } mode;
static const char *const mode_names[] = {"default", "real", "human", "control"};

/* How much of each stage; the short form is for tests of the machinery. */
typedef struct plan {
    mode mode;
    int is_short;
    long seed;
    const char *data; /* RLHF_DATA_DIR, --real */
    int pretrain_steps, finetune_steps, pairs, test_pairs, reward_steps, iterations, eval;
    int new_tokens;
} plan;

static void usage(FILE *stream)
{
    fputs("usage: ./dev demo [--real | --human | --control] [--seed N] [--out DIR]\n"
          "                  [--short]\n"
          "  --real     from a real model, on real stories (needs RLHF_DATA_DIR)\n"
          "  --human    you choose, 40 pairs at most, and judge the result\n"
          "  --control  and three runs that must not learn what the annotator prefers\n"
          "  --seed N   of everything random (1)\n"
          "  --out DIR  new or empty (demo-out/MODE-SEED)\n"
          "  --short    a few steps of each stage: it works, but learns little\n",
          stream);
}

/* --- the folder --------------------------------------------------------------------- */

static int is_empty_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    int count = 0;

    if (!folder)
        return errno == ENOENT;
    while ((entry = readdir(folder)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count == 0;
}

static void make_folders(const char *path)
{
    char *copy = strdup(path);

    if (!is_empty_folder(path))
        step_die("%s is there and not empty (or no folder): name another with --out",
                 path);
    for (char *at = copy + 1; at && *at; at++)
        if (*at == '/') {
            *at = '\0';
            (void)mkdir(copy, 0777);
            *at = '/';
        }
    free(copy);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        step_die("cannot make %s: %s", path, strerror(errno));
    step_set_folder(path);
    for (int i = 0; i < 3; i++) {
        static const char *const names[3] = {"config", "data", "metrics"};
        if (mkdir(step_path("%s", names[i]), 0777) != 0)
            step_die("cannot make %s: %s", step_path("%s", names[i]), strerror(errno));
    }
}

/* --- stages ------------------------------------------------------------------------- */

static void make_world(const plan *p)
{
    char seed[32], pairs[32];
    const char *arguments[] = {seed, step_path("data"), pairs, NULL};

    snprintf(seed, sizeof seed, "%ld", p->seed);
    snprintf(pairs, sizeof pairs, "%d", p->pairs);
    fputs("\n== the world\n", stderr);
    step_run_with("world", arguments);
}

static void pretrain(const plan *p)
{
    step_config(
        "1_pretrain",
        "corpus: %s\ndocuments: lines\noutput: %s\nmetrics: %s\nsteps: %d\n"
        "held_out: 200\nseed: %ld\n"
        "tokenizer:\n  vocab_size: 1024\n"
        "dataset:\n  max_length: 128\n  seed: %ld\n"
        "model:\n  context_length: 128\n  hidden_size: 64\n  intermediate_size: 176\n"
        "  num_layers: 4\n  num_heads: 4\n  position: rotary\n  norm: rmsnorm\n"
        "  activation: swiglu\n  attention_bias: false\n  mlp_bias: false\n"
        "training:\n  learning_rate: 3.0e-3\n  batch_size: 32\n  warmup_steps: 20\n"
        "  schedule: linear\n  weight_decay: 0.01\n",
        step_path("data/corpus.txt"), step_path("pretrained"),
        step_path("metrics/pretrain.jsonl"), p->pretrain_steps, p->seed, p->seed);
    step_run("1. pretrain: a model that knows nothing learns to continue text",
             "01_pretrain", "1_pretrain");
}

/* The real model is fine-tuned gently, on how its own stories go on. */
static void finetune(const plan *p, const char *model)
{
    const int real = p->mode == MODE_REAL;

    step_config("2_finetune",
                "model: %s\ndata: %s\noutput: %s\nmetrics: %s\nsteps: %d\nheld_out: 200\n"
                "seed: %ld\n"
                "dataset:\n  max_length: %d\n  seed: %ld\n  add_eos: %d\n"
                "training:\n  learning_rate: %s\n  batch_size: 32\n  warmup_steps: 20\n"
                "  schedule: linear\n  weight_decay: 0.01\n",
                model, step_path("data/sft.jsonl"), step_path("sft"),
                step_path("metrics/finetune.jsonl"), p->finetune_steps, p->seed,
                real ? 256 : 128, p->seed, !real, real ? "3.0e-4" : "1.0e-3");
    step_run("2. fine-tune: what an answer looks like", "02_sft", "2_finetune");
}

/* One answer a prompt (output) or two (store). */
static void respond(const plan *p, const char *title, const char *name, const char *model,
                    const char *prompts, const char *key, const char *target, int limit,
                    long seed)
{
    step_config(name,
                "model: %s\nprompts: %s\n%s: %s\nanswers: %d\nlimit: %d\nseed: %ld\n%s"
                "generator:\n  max_new_tokens: %d\n",
                step_path("%s", model), step_path("data/%s", prompts), key,
                step_path("%s", target), strcmp(key, "store") == 0 ? 2 : 1, limit, seed,
                p->mode == MODE_REAL ? "stop_token: 1\n" : "", p->new_tokens);
    step_run(title, "03_generate", name);
}

/* The simulated person at the other end of 04_annotate. */
static void annotate(const plan *p, const char *title, const char *name,
                     const char *store, const char *export, long seed, int coin)
{
    char number[32];
    const char *lexicon = step_path("data/lexicon.txt");
    const char *honest[] = {number, NULL}, *coins[] = {number, "--coin", NULL};
    const char *positive[] = {number, "--lexicon", lexicon, NULL};

    snprintf(number, sizeof number, "%ld", seed);
    step_config(name, "store: %s\nexport: %s\nplain: 1\n", step_path("%s", store),
                step_path("%s", export));
    step_annotate(title, name, coin ? coins : p->mode == MODE_REAL ? positive : honest);
}

static void compare(const plan *p)
{
    respond(p, "3. respond: two answers to each prompt", "3_respond", "sft",
            "prompts_compare.jsonl", "store", "feedback.db", p->pairs, p->seed);
    if (p->mode == MODE_HUMAN) {
        step_config("4_annotate", "store: %s\nexport: %s\nlimit: %d\n",
                    step_path("feedback.db"), step_path("choices.jsonl"), p->pairs);
        step_run("4. annotate: which answer is better? You decide", "04_annotate",
                 "4_annotate");
    } else {
        annotate(p, "4. annotate: a person, simulated, picks the better one",
                 "4_annotate", "feedback.db", "choices.jsonl", p->seed, 0);
    }
    respond(p, NULL, "3_respond_test", "sft", "prompts_test.jsonl", "store", "test.db",
            p->test_pairs, p->seed + 1000);
    annotate(p, "   and the same for pairs that the reward model will never see",
             "4_annotate_test", "test.db", "test_choices.jsonl", p->seed + 1000, 0);
}

static void train_reward(const plan *p, const char *title, const char *name,
                         const char *choices, const char *output)
{
    const int real = p->mode == MODE_REAL;

    step_config(name,
                "model: %s\ndata: %s\noutput: %s\nmetrics: %s\nsteps: %d\nheld_out: 0\n"
                "normalize_on: %s\nnormalize_count: 512\nseed: %ld\naverage_last: %d\n%s"
                "reward_model:\n  append_eos: %s\n"
                "dataset:\n  max_length: %d\n  seed: %ld\n  add_eos: 0\n"
                "training:\n  learning_rate: %s\n  batch_size: 32\n  warmup_steps: %d\n"
                "  schedule: linear\n  center_coefficient: 0.01\n  weight_decay: 0.01\n"
                "generator:\n  max_new_tokens: %d\n",
                step_path("sft"), step_path("%s", choices), step_path("%s", output),
                step_path("metrics/%s.jsonl", output), p->reward_steps,
                step_path("data/prompts_ppo.jsonl"), p->seed,
                real ? p->reward_steps * 5 / 8 : 0, real ? "stop_token: 1\n" : "",
                real ? "never" : "if_missing", real ? 256 : 128, p->seed,
                real ? "2.0e-3" : "1.0e-3", real ? p->reward_steps : 10, p->new_tokens);
    step_run(title, "05_reward", name);
}

static void optimize(const plan *p, const char *title, const char *name, int iterations,
                     const char *reward, const char *output)
{
    const int real = p->mode == MODE_REAL;

    step_config(
        name,
        "model: %s\nreward_model: %s\nprompts: %s\nheld_out_prompts: %s\noutput: %s\n"
        "samples: %s\nmetrics: %s\niterations: %d\nbatch: 128\nheld_out: 128\n"
        "evaluate_every: 5\n"
        "dataset:\n  seed: %ld\n"
        "ppo:\n  seed: %ld\n  max_new_tokens: %d\n  kl_coef: %s\n  num_epochs: 2\n"
        "  num_minibatches: 2\n  learning_rate: %s\n  value_learning_rate: %s\n"
        "  schedule: linear\n  final_lr_ratio: 0.1\n%s",
        step_path("sft"), step_path("%s", reward), step_path("data/prompts_ppo.jsonl"),
        step_path("data/prompts_validate.jsonl"), step_path("%s", output),
        step_path("%s_samples.jsonl", output), step_path("metrics/%s.jsonl", output),
        iterations, p->seed, p->seed, p->new_tokens, real ? "0.07" : "0.05",
        real ? "2.0e-4" : "1.0e-3", real ? "5.0e-4" : "1.0e-3",
        real ? "  stop_token_id: 1\n"
             : "  missing_eos: subtract\n  missing_eos_value: 2.0\n");
    step_run(title, "06_ppo", name);
}

/* --- measuring ---------------------------------------------------------------------- */

static void score(const char *name, const char *key, const char *model, const char *input,
                  const char *output)
{
    step_config(name, "%s: %s\ninput: %s\noutput: %s\n", key, step_path("%s", model),
                step_path("%s", input), step_path("%s", output));
    step_run(NULL, "score", name);
}

static reward_quality judge_reward(const char *reward, const char *choices,
                                   const gold_lexicon *lexicon)
{
    score("score_pairs", "reward_model", reward, "test_choices.jsonl", "test_scores.txt");
    return measure_reward(step_path("%s", choices), step_path("test_choices.jsonl"),
                          step_path("test_scores.txt"), lexicon);
}

/* The same held-out prompts answered by a policy; compared with the answers before. */
static policy_quality judge_policy(const plan *p, const char *model,
                                   const answers *before, answers *after,
                                   const gold_lexicon *lexicon)
{
    char target[128], logprobs[128];

    snprintf(target, sizeof target, "%s_answers.jsonl", model);
    snprintf(logprobs, sizeof logprobs, "%s_reference.txt", model);
    respond(p, NULL, "7_respond", model, "prompts_eval.jsonl", "output", target, p->eval,
            p->seed + 3000);
    score("score_answers", "model", "sft", target, logprobs);
    *after = answers_read(step_path("%s", target));
    return measure_policy(before, after, step_path("%s", logprobs), lexicon);
}

static void compare_with_bias(const plan *p, const answers *before, report *r,
                              const gold_lexicon *lexicon)
{
    char kl[32];
    const char *arguments[] = {step_path("sft"),
                               step_path("data/prompts_ppo.jsonl"),
                               step_path("data/prompts_eval.jsonl"),
                               step_path("tilt.jsonl"),
                               kl,
                               lexicon ? step_path("data/lexicon.txt") : NULL,
                               NULL};

    snprintf(kl, sizeof kl, "%.3f", r->policy.kl);
    fputs(
        "\n== for comparison: one bias a token, fitted to the gold score, at equal KL\n",
        stderr);
    step_run_with("tilt", arguments);
    answers tilted = answers_read(step_path("tilt.jsonl"));
    tilted.count = tilted.count < p->eval ? tilted.count : p->eval;
    r->tilt = measure_policy(before, &tilted, NULL, lexicon);
    r->has_tilt = 1;
    answers_free(&tilted);
}

/* --- control runs ------------------------------------------------------------------- */

static void variant(const char *kind, const char *output)
{
    const char *arguments[] = {kind, step_path("reward"), step_path("%s", output), NULL};

    step_run_with("variant", arguments);
}

/* Reward of the first and the last evaluation in a metrics file. */
static void held_out_scores(const char *name, double *out_first, double *out_last)
{
    FILE *file = fopen(step_path("metrics/%s.jsonl", name), "r");
    char line[1024];
    int found = 0;

    *out_first = *out_last = 0;
    while (file && fgets(line, sizeof line, file)) {
        const char *at = strstr(line, "\"score\": ");
        if (!at || !strstr(line, "ppo_held_out"))
            continue;
        *out_last = strtod(at + 9, NULL);
        if (!found++)
            *out_first = *out_last;
    }
    if (file)
        fclose(file);
}

/* Pairs of answers to some prompts, chosen by coin. */
static void throw_coins(const plan *p, const char *name, const char *prompts, int count,
                        long seed, const char *title)
{
    char store[64], choices[64], config[2][64];

    snprintf(store, sizeof store, "%s.db", name);
    snprintf(choices, sizeof choices, "%s_choices.jsonl", name);
    snprintf(config[0], sizeof config[0], "control_%s_respond", name);
    snprintf(config[1], sizeof config[1], "control_%s_annotate", name);
    respond(p, NULL, config[0], "sft", prompts, "store", store, count, seed);
    annotate(p, title, config[1], store, choices, seed, 1);
}

static void run_controls(const plan *p, const answers *before, report *r)
{
    answers after;
    double first, last;

    fputs("\n== control 1: the reward's sign flipped; the policy must get worse\n",
          stderr);
    variant("flip", "reward_flipped");
    optimize(p, NULL, "control_flipped", p->iterations * 3 / 2, "reward_flipped",
             "policy_flipped");
    r->flipped = judge_policy(p, "policy_flipped", before, &after, NULL);
    held_out_scores("policy_flipped", &first, &last);
    r->flipped_rise = last - first;
    answers_free(&after);

    fputs("\n== control 2: a constant reward; the policy must stay as it is\n", stderr);
    variant("constant", "reward_constant");
    optimize(p, NULL, "control_constant", p->iterations, "reward_constant",
             "policy_constant");
    r->constant = judge_policy(p, "policy_constant", before, &after, NULL);
    answers_free(&after);

    throw_coins(p, "coin", "prompts_compare.jsonl", p->pairs, p->seed + 2000,
                "control 3: choices by coin; the reward model must learn nothing");
    train_reward(p, NULL, "control_reward", "coin_choices.jsonl", "reward_coin");
    throw_coins(p, "coin_test", "prompts_test.jsonl", p->test_pairs, p->seed + 4000,
                "   and other throws, to be guessed");
    score("score_coins", "reward_model", "reward_coin", "coin_test_choices.jsonl",
          "coin_scores.txt");
    r->coin = measure_agreement(step_path("coin_scores.txt"));
    r->has_controls = 1;
}

/* --- a person's own verdict --------------------------------------------------------- */

/* Ten prompts, the answers before and after side by side and unlabelled. */
static void blind_test(report *r)
{
    const char *arguments[] = {"make",
                               step_path("before.jsonl"),
                               step_path("policy_answers.jsonl"),
                               step_path("blind.db"),
                               "10",
                               NULL};

    fputs(
        "\n== ten times: an answer before and one after, unlabelled. Which is better?\n",
        stderr);
    step_run_with("blind", arguments);
    step_config("blind", "store: %s\nlimit: 10\n", step_path("blind.db"));
    step_run(NULL, "04_annotate", "blind");
    const char *count[] = {"count", step_path("blind.db"), step_path("blind.txt"), NULL};
    step_run_with("blind", count);
    FILE *file = fopen(step_path("blind.txt"), "r");
    if (!file ||
        fscanf(file, "%d %d %d", &r->blind_after, &r->blind_before, &r->blind_ties) != 3)
        step_die("cannot read %s", step_path("blind.txt"));
    fclose(file);
}

/* --- the whole ---------------------------------------------------------------------- */

static plan make_plan(mode m, int is_short, long seed)
{
    plan p = {.mode = m, .is_short = is_short, .seed = seed};

    p.pretrain_steps = is_short ? 60 : 1600;
    p.finetune_steps = is_short ? 20 : m == MODE_REAL ? 60 : 200;
    p.pairs = m == MODE_HUMAN ? 40 : is_short ? 200 : m == MODE_REAL ? 2000 : 7000;
    p.test_pairs = is_short ? 100 : 2200;
    p.reward_steps = is_short ? 10 : m == MODE_HUMAN ? 40 : m == MODE_REAL ? 220 : 500;
    p.iterations = is_short ? 2 : m == MODE_REAL ? 18 : m == MODE_HUMAN ? 15 : 26;
    p.eval = is_short ? 64 : 600;
    p.new_tokens = m == MODE_REAL ? 64 : 24;
    return p;
}

static void start_from_real(const plan *p)
{
    char seed[32], model[4096], text[4096], lexicon[4096];
    const char *arguments[] = {seed, model, text, step_path("data"), NULL};

    snprintf(seed, sizeof seed, "%ld", p->seed);
    snprintf(model, sizeof model, "%s/models/stories260K/hf", p->data);
    snprintf(text, sizeof text, "%s/text/tinystories_sample.txt.gz", p->data);
    snprintf(lexicon, sizeof lexicon, "%s/sentiment/vader_lexicon.txt", p->data);
    fputs("\n== 1. pretrained: a real model, stories260K, and real stories\n", stderr);
    step_run_with("stories", arguments);
    if (symlink(lexicon, step_path("data/lexicon.txt")) != 0)
        step_die("cannot link %s: %s", lexicon, strerror(errno));
    finetune(p, model);
}

static void run(const plan *p)
{
    report r = {.mode = mode_names[p->mode], .seed = p->seed};
    gold_lexicon *lexicon = NULL;
    const double started = step_seconds();

    if (p->mode == MODE_REAL) {
        start_from_real(p);
        lexicon = gold_lexicon_load(step_path("data/lexicon.txt"));
    } else {
        make_world(p);
        pretrain(p);
        finetune(p, step_path("pretrained"));
    }
    compare(p);
    train_reward(p, "5. reward: a network learns to tell the better answer", "5_reward",
                 "choices.jsonl", "reward");
    r.reward = judge_reward("reward", "choices.jsonl", lexicon);
    optimize(p, "6. PPO: the model learns to give the better answers", "6_ppo",
             p->iterations, "reward", "policy");
    fputs("\n== 7. serve: the policy alone answers prompts that no stage has seen\n",
          stderr);
    respond(p, NULL, "7_respond_before", "sft", "prompts_eval.jsonl", "output",
            "before.jsonl", p->eval, p->seed + 2000);
    answers before = answers_read(step_path("before.jsonl")), after;
    r.policy = judge_policy(p, "policy", &before, &after, lexicon);
    r.before = &before;
    r.after = &after;
    if (p->mode != MODE_HUMAN)
        compare_with_bias(p, &before, &r, lexicon);
    r.seconds = step_seconds() - started;
    if (p->mode == MODE_CONTROL)
        run_controls(p, &before, &r);
    if (p->mode == MODE_HUMAN)
        blind_test(&r);
    r.peak_rss_mib = step_peak_mib();
    report_write(&r);
    report_print(&r);
    answers_free(&before);
    answers_free(&after);
    gold_lexicon_free(lexicon);
}

int main(int argc, char **argv)
{
    mode m = MODE_DEFAULT;
    long seed = 1;
    int is_short = 0;
    const char *out = NULL, *data = getenv("RLHF_DATA_DIR");
    char default_out[64], *end;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--real") == 0 && m == MODE_DEFAULT)
            m = MODE_REAL;
        else if (strcmp(argv[i], "--human") == 0 && m == MODE_DEFAULT)
            m = MODE_HUMAN;
        else if (strcmp(argv[i], "--control") == 0 && m == MODE_DEFAULT)
            m = MODE_CONTROL;
        else if (strcmp(argv[i], "--short") == 0)
            is_short = 1;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtol(argv[++i], &end, 10);
            if (*end || seed < 0 || seed > 1000000000)
                step_die("--seed must be a number from 0 to 1000000000, got %s", argv[i]);
        } else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc && argv[i + 1][0])
            out = argv[++i];
        else {
            usage(stderr);
            return 2;
        }
    }
    plan p = make_plan(m, is_short, seed);
    if (m == MODE_REAL) {
        /* Whole, for a link in the folder must hold wherever the folder is. */
        p.data = realpath(data ? data : "../shared/data", NULL);
        if (!p.data)
            step_die("--real needs real data: there is no %s (set RLHF_DATA_DIR)",
                     data ? data : "../shared/data");
    }
    snprintf(default_out, sizeof default_out, "demo-out/%s-%ld", mode_names[m], seed);
    step_find_programs(argv[0]);
    make_folders(out ? out : default_out);
    run(&p);
    return 0;
}
