/* The stages through <rlhf/rlhf.hpp>: each member is called, and gives what its C
 * function says. */
#include "support.hpp"

#include <cmath>

using namespace support;

namespace
{

bool near(double a, double b, double tolerance)
{
    return std::fabs(a - b) <= tolerance;
}

void test_tokenizer_there_and_back()
{
    const folder folder;
    const rlhf::context context = one_thread();
    rlhf::tokenizer_train_options options;
    options.vocab_size = 270;
    rlhf::tokenizer tokenizer =
        rlhf::tokenizer::train(context, {{"the cat", "the hat"}}, options);
    tokenizer.save(folder / "model");
    const rlhf::tokenizer again = rlhf::tokenizer::load(context, folder / "model");

    const std::int32_t end = again.token_id("<|endoftext|>");
    CHECK(end >= 0 && end == again.eos_id() && end == again.bos_id());
    CHECK(again.vocab_size() == tokenizer.vocab_size() && again.vocab_size() <= 270);
    const auto ids = again.encode("the \xc3\xa9t\xc3\xa9<|endoftext|>", true);
    CHECK(ids.back() == end && again.encode("").empty());
    CHECK(again.decode(ids) == "the \xc3\xa9t\xc3\xa9<|endoftext|>");
    CHECK(again.decode(ids, true) == "the \xc3\xa9t\xc3\xa9" && again.decode({}).empty());
    rlhf::text_stream whole(again);
    std::string all;
    for (const std::int32_t id : ids)
        all += whole.push(id);
    CHECK(all + std::string(whole.finish()) == again.decode(ids));
    rlhf::text_stream stream(again, true);
    std::string text;
    for (const std::int32_t id : ids)
        text += stream.push(id);
    text += stream.finish();
    CHECK(text == "the \xc3\xa9t\xc3\xa9");
    CHECK(THROWN(rlhf::error, stream.push(1 << 20)).status() == RLHF_ERR_INVALID_ARG);
}

void test_dataset_streams_and_splits()
{
    const rlhf::context context = one_thread();
    rlhf::dataset_options options(RLHF_DATASET_TEXT);
    options.num_epochs = 1;
    options.shuffle = 0;
    rlhf::dataset rows(context, options);
    for (std::int32_t i = 0; i < 5; i++)
        rows.append(rlhf::example(std::vector<std::int32_t>(3, i)));

    CHECK(rows.info().num_rows == 5 && rows.row(3).tokens[0] == 3);
    std::vector<std::int64_t> ids;
    std::string after_two;
    while (const auto row = rows.next()) {
        ids.push_back(row->id);
        if (ids.size() == 2)
            after_two = rows.save_position();
    }
    CHECK((ids == std::vector<std::int64_t>{0, 1, 2, 3, 4}));
    rows.restore_position(after_two);
    CHECK(rows.next()->id == 2);
    rows.rewind();
    CHECK(rows.next()->id == 0);
    auto [train, held_out] = rows.split(2, 1);
    CHECK(train.info().num_rows == 3 && held_out.info().num_rows == 2);
    CHECK(THROWN(rlhf::error, rows.split(9, 1)).status() == RLHF_ERR_INVALID_ARG);
}

void test_model_gives_logits_and_parameters()
{
    const folder folder;
    const rlhf::context context = one_thread();
    rlhf::model model(context, tiny_config(), 1);
    rlhf::batch batch = {{2, 3, 4}, {5}};
    batch.add({{6, 7}});
    const auto logits = model.logits(batch);
    const auto logprobs = model.logprobs(batch, 2.0);

    CHECK(batch.size() == 3 && batch[2][1] == 7 && logits.size() == 6 * vocab);
    double sum = 0; /* of token 4 after 2, 3 at temperature 2, from the logits */
    for (int v = 0; v < vocab; v++)
        sum += std::exp(logits[vocab + v] / 2.0);
    CHECK(near(logprobs[2], logits[vocab + 4] / 2.0 - std::log(sum), 1e-5));
    CHECK(logprobs[0] == 0 && logprobs[3] == 0);
    model.save(folder / "model");
    rlhf::model loaded = rlhf::model::load(context, folder / "model");
    CHECK(loaded.logits(batch) == logits && loaded.config().hidden_size == 16);
    rlhf::model copy = loaded.clone();
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < copy.num_parameter_names(); i++) {
        const auto info = copy.parameter(i);
        count += info.rows * info.cols;
    }
    CHECK(count == copy.num_parameters());
    const std::string name = copy.parameter(0).name;
    auto values = copy.read_parameter(name);
    values[0] += 1;
    copy.write_parameter(name, values);
    CHECK(copy.read_parameter(name) == values && loaded.read_parameter(name) != values);
    copy.freeze();
    CHECK(copy.read_parameter(name) == values);
    CHECK(THROWN(rlhf::error, copy.write_parameter(name, values)).status() ==
          RLHF_ERR_STATE);
    std::vector<float> out(5);
    CHECK(contains(THROWN(rlhf::error, model.logits(batch, out)).what(), "72"));
    CHECK(contains(THROWN(rlhf::error, model.logprobs(batch, out)).what(), "6 values"));
    CHECK(THROWN(rlhf::error, model.read_parameter("x")).status() == RLHF_ERR_NOT_FOUND);
    const std::int64_t wrong[] = {0, 9};
    CHECK(THROWN(rlhf::error, rlhf::batch_view(batch.tokens(), wrong)).status() ==
          RLHF_ERR_INVALID_ARG);
    batch.clear();
    CHECK(batch.size() == 0 && batch.tokens().empty());
}

void test_reward_model_scores()
{
    const folder folder;
    const rlhf::context context = one_thread();
    const rlhf::model model(context, tiny_config(), 1);
    rlhf::reward_model_options options;
    options.seed = 3;
    rlhf::reward_model reward(model, options);
    const rlhf::batch batch = {{2, 3}, {4, 5, 6}, {7}};
    const auto raw = reward.score(batch);

    reward.set_affine(2, -1);
    CHECK(reward.affine() == std::make_pair(2.0, -1.0));
    CHECK(near(reward.score(batch)[1], 2 * raw[1] - 1, 1e-5));
    reward.normalize(batch);
    const auto scores = reward.score(batch);
    CHECK(near(scores[0] + scores[1] + scores[2], 0, 1e-4));
    reward.save(folder / "reward");
    rlhf::reward_model loaded = rlhf::reward_model::load(context, folder / "reward");
    CHECK(near(loaded.score(batch)[2], scores[2], 1e-4));
    rlhf::reward_model copy = loaded.clone();
    CHECK(copy.score(batch) == loaded.score(batch) && copy.config().num_layers == 2);
    CHECK(copy.num_parameters() > copy.num_parameter_names());
    const std::string name = copy.parameter(0).name;
    auto values = copy.read_parameter(name);
    values[1] = 0.5F;
    copy.write_parameter(name, values);
    CHECK(copy.read_parameter(name) == values);
    copy.freeze();
    CHECK(THROWN(rlhf::error, copy.write_parameter(name, values)).status() ==
          RLHF_ERR_STATE);
}

void test_generator_is_greedy_when_told_so()
{
    const rlhf::context context = one_thread();
    rlhf::model model(context, tiny_config(), 1);
    const rlhf::sampler greedy(rlhf::sampler_options(0.0));
    rlhf::generator_options options;
    options.max_new_tokens = 2;
    options.use_stop_tokens = 0;
    rlhf::generator generator(model, greedy, options);

    generator.start(rlhf::batch{{2, 3}, {4}});
    CHECK(generator.step() == 2);
    generator.run();
    CHECK(generator.size() == 2);
    const auto all = generator[0].all();
    const auto logits = model.logits(rlhf::batch{{all[0], all[1], all[2]}});
    for (int t = 1; t < 3; t++) /* each token is the likeliest after the one before */
        for (int v = 0; v < vocab; v++)
            CHECK(logits[t * vocab + all[t + 1]] >= logits[t * vocab + v]);
    const auto logprobs = model.logprobs(rlhf::batch{{all[0], all[1], all[2], all[3]}});
    CHECK(generator[0].answer_logprobs()[1] == logprobs[3]);
    rlhf::generator plain(model);
    plain.start(rlhf::batch{{2}});
    CHECK(plain.step() == 1);
    CHECK(THROWN(rlhf::error, plain.start(rlhf::batch{{2}}, {1, 2})).status() ==
          RLHF_ERR_INVALID_ARG);
}

void test_feedback_is_kept()
{
    const folder folder;
    const rlhf::context context = one_thread();
    rlhf::feedback store = rlhf::feedback::open(context, folder / "store.db", 1);
    const std::int32_t prompt[] = {2}, good[] = {3, 4}, bad[] = {5};
    rlhf::comparison pair;
    pair.prompt_ids = prompt;
    pair.num_prompt = 1;
    pair.answer_ids[0] = good;
    pair.num_answer[0] = 2;
    pair.answer_ids[1] = bad;
    pair.num_answer[1] = 1;
    pair.prompt_text = "p";
    pair.answer_text[0] = "good";
    pair.answer_text[1] = "bad";
    rlhf::comparison same = pair;
    same.answer_text[1] = "good";

    const std::int64_t first = store.add(pair);
    CHECK(store.add_many({pair, same}) == 1 && store.info().num_pending == 2);
    CHECK(THROWN(rlhf::error, store.add(same)).status() == RLHF_ERR_EXISTS);
    CHECK(!store.undo());
    const auto next = store.next();
    CHECK(next && next->id == first && next->num_answer[0] == 2);
    store.choose(first, next->order == 0 ? RLHF_CHOICE_FIRST : RLHF_CHOICE_SECOND);
    CHECK(store.at(first).preferred == 0);
    CHECK(store.undo() == first && store.info().num_chosen == 0);
    store.choose(first, next->order == 0 ? RLHF_CHOICE_FIRST : RLHF_CHOICE_SECOND);
    store.choose(store.next()->id, RLHF_CHOICE_TIE);
    CHECK(!store.next());
    store.export_jsonl(folder / "pairs.jsonl");
    CHECK(contains(folder.read("pairs.jsonl"), "\"chosen_ids\": [3, 4]") ||
          contains(folder.read("pairs.jsonl"), "\"chosen_ids\":[3,4]"));
    rlhf::dataset pairs = store.preferences();
    CHECK(pairs.info().num_rows == 1 && pairs.row(0).num_rejected == 2);
}

/* Accumulate and apply are a step, and a resumed trainer goes on to the same bits. */
template <class Trainer, class Model>
void check_trainer(Trainer &whole, Model &whole_model, Trainer &parts, Model &parts_model)
{
    const folder folder;
    const std::string name = parts_model.parameter(0).name;
    std::vector<float> gradient(parts_model.read_parameter(name).size());

    const auto stats = whole.step();
    while (*parts.accumulate() > 0)
        ;
    parts.gradient(name, gradient);
    double squares = 0;
    for (const float g : gradient)
        squares += g * g;
    CHECK(squares > 0);
    CHECK(parts.apply().loss == stats->loss && stats->step == 1);
    whole.set_learning_rate(0.25);
    whole.save(folder / "state");
    parts.resume(folder / "state");
    CHECK(parts.num_steps() == 1 && parts.step()->loss == whole.step()->loss);
    CHECK(parts_model.read_parameter(name) == whole_model.read_parameter(name));
}

void test_lm_trainer_steps_to_the_end_of_its_data()
{
    const rlhf::context context = one_thread();
    rlhf::model a(context, tiny_config(), 1), b(context, tiny_config(), 1);
    rlhf::dataset rows_a = repeated_rows(context, 6, 9),
                  rows_b = repeated_rows(context, 6, 9);
    rlhf::lm_options options;
    options.batch_size = 4;
    options.micro_batch_tokens = 20;
    rlhf::lm_trainer whole(a, rows_a, options), parts(b, rows_b, options);
    check_trainer(whole, a, parts, b);
    CHECK(whole.evaluate(rows_b, 2) > 0);

    rlhf::dataset_options once;
    once.num_epochs = 1;
    rlhf::dataset few(context, once);
    const std::int32_t row[] = {2, 3, 4};
    for (int i = 0; i < 5; i++)
        few.append(rlhf::example(row));
    rlhf::model c(context, tiny_config(), 1);
    rlhf::lm_trainer trainer(c, few, options);
    int steps = 0;
    while (trainer.step())
        steps++;
    CHECK(steps == 2 && !trainer.accumulate());
}

rlhf::dataset some_pairs(const rlhf::context &context)
{
    rlhf::dataset pairs(context, rlhf::dataset_options(RLHF_DATASET_PREFERENCE));
    const std::int32_t chosen[] = {2, 3, 4, 5}, rejected[] = {2, 3, 6};
    rlhf::example pair(chosen, 2);
    pair.rejected = rejected;
    pair.num_rejected = 3;
    for (int i = 0; i < 4; i++)
        pairs.append(pair);
    return pairs;
}

void test_reward_trainer_learns_a_pair()
{
    const rlhf::context context = one_thread();
    const rlhf::model model(context, tiny_config(), 1);
    rlhf::reward_model a(model), b(model), c(model);
    rlhf::dataset pairs_a = some_pairs(context), pairs_b = some_pairs(context);
    rlhf::reward_options options;
    options.batch_size = 4;
    options.micro_batch_tokens = 16;
    options.learning_rate = 0.01;
    rlhf::reward_trainer whole(a, pairs_a, options), parts(b, pairs_b, options);
    check_trainer(whole, a, parts, b);

    rlhf::reward_trainer trainer(c, pairs_a, options);
    const double before = trainer.evaluate(pairs_b).loss;
    for (int i = 0; i < 10; i++)
        CHECK(trainer.step());
    CHECK(trainer.evaluate(pairs_b).loss < before && trainer.num_steps() == 10);
}

/* A reward that counts one token, as a lambda. */
float fours(const rlhf::rollout_sequence &sequence)
{
    float sum = 0;
    for (const std::int32_t token : sequence.answer())
        sum += token == 4;
    return sum;
}

rlhf::ppo_options small_ppo()
{
    rlhf::ppo_options options;
    options.max_new_tokens = 4;
    options.num_minibatches = 2;
    options.num_epochs = 1;
    options.learning_rate = 0.01;
    options.stop_token_id = -2;
    return options;
}

void test_ppo_by_parts_is_ppo_as_a_whole()
{
    const folder folder;
    const rlhf::context context = one_thread();
    rlhf::model a(context, tiny_config(), 1), b(context, tiny_config(), 1);
    const rlhf::reward_model reward(a);
    const rlhf::batch prompts = {{2, 3}, {4}, {5, 6}, {7}};
    rlhf::ppo_trainer whole(a, reward, small_ppo()), parts(b, reward, small_ppo());

    const rlhf::ppo_stats stats = whole.step(prompts);
    rlhf::rollout rollout = parts.rollout(prompts);
    CHECK(parts.is_current(rollout) && !whole.is_current(rollout));
    parts.score(rollout);
    parts.advantages(rollout);
    rlhf::ppo_stats sum;
    bool done = false;
    std::vector<float> gradient(b.read_parameter(b.parameter(0).name).size());
    while (!done) {
        while (parts.accumulate(rollout) > 0)
            ;
        parts.gradient(false, b.parameter(0).name, gradient);
        done = parts.apply(sum);
    }
    CHECK(sum.score == stats.score && sum.policy_loss == stats.policy_loss);
    CHECK(sum.first_ratio_deviation == 0 && parts.num_iterations() == 1);
    CHECK(!parts.is_current(rollout) && a.logits(prompts) == b.logits(prompts));
    whole.set_learning_rate(0.02, 0.03);
    whole.abandon();
    whole.set_kl_coef(0.5);
    whole.save(folder / "state");
    CHECK(!parts.resume(folder / "state"));
    CHECK(parts.step(prompts).kl_coef == 0.5);
    const auto [figures, answers] = parts.evaluate(prompts);
    CHECK(answers.size() == 4 && figures.num_tokens == 16);
    CHECK(parts.clone_critic().score(prompts).size() == 4);
}

void test_ppo_takes_the_hosts_own()
{
    const folder folder;
    const rlhf::context context = one_thread();
    rlhf::model policy(context, tiny_config(), 1);
    const rlhf::model reference = policy.clone();
    rlhf::reward_model critic(policy);
    rlhf::ppo_options options = small_ppo();
    options.allow_biased_rollout = 1;
    rlhf::ppo_models others;
    others.reference = &reference;
    others.critic = &critic;
    rlhf::ppo_trainer trainer(policy, others, options);
    const rlhf::sampler always = rlhf::sampler::custom(
        [](const ::rlhf_sample_info &, rlhf::span<const float>) { return 4; });

    trainer.set_sampler(&always);
    CHECK(fours(trainer.rollout(rlhf::batch{{2}, {3}})[1]) == 4);
    trainer.set_sampler(nullptr);

    rlhf::generator_options drawing;
    drawing.max_new_tokens = 4;
    drawing.use_stop_tokens = 0;
    rlhf::generator generator(policy, drawing);
    generator.start(rlhf::batch{{2, 3}, {5}});
    generator.run();
    rlhf::rollout rollout(context);
    for (std::int64_t i = 0; i < generator.size(); i++)
        rollout.append(generator[i]);
    CHECK(rollout.size() == 2 && rollout[0].num_prompt == 2 &&
          std::isnan(rollout[0].score));
    CHECK(rollout[1].logprobs[2] == generator[1].answer_logprobs()[1]);
    CHECK(THROWN(std::range_error, rollout.score([](const auto &sequence) -> float {
              return sequence.num_prompt == 2 ? 1 : throw std::range_error("no");
          })).what() == std::string("no"));
    CHECK(std::isnan(rollout[0].score));
    rollout.score(fours);
    CHECK(rollout[0].score == fours(rollout[0]));
    rollout.set_token_scores(0, std::vector<float>(6, 0.5F));
    CHECK(rollout[0].token_scores[3] == 0.5F && rollout[0].answer().size() == 4);
    trainer.advantages(rollout);
    CHECK(trainer.update(rollout).first_ratio_deviation == 0);
    rollout.write_jsonl(folder / "rollout.jsonl");
    const rlhf::tokenizer tokenizer = rlhf::tokenizer::train(context, {{"abab"}});
    rollout.write_jsonl(folder / "rollout.jsonl", tokenizer);
    CHECK(contains(folder.read("rollout.jsonl"), "completion_ids"));
    CHECK(rollout[0].all().size() == 6 && rollout[0].prompt()[1] == 3);
}

} // namespace

int main()
{
    return run({
        {"tokenizer there and back", test_tokenizer_there_and_back},
        {"dataset streams and splits", test_dataset_streams_and_splits},
        {"model gives logits and parameters", test_model_gives_logits_and_parameters},
        {"reward model scores", test_reward_model_scores},
        {"generator is greedy when told so", test_generator_is_greedy_when_told_so},
        {"feedback is kept", test_feedback_is_kept},
        {"lm trainer steps to the end of its data",
         test_lm_trainer_steps_to_the_end_of_its_data},
        {"reward trainer learns a pair", test_reward_trainer_learns_a_pair},
        {"ppo by parts is ppo as a whole", test_ppo_by_parts_is_ppo_as_a_whole},
        {"ppo takes the host's own", test_ppo_takes_the_hosts_own},
    });
}
