/* What C++ adds: spans, handles that free, errors that carry their parts, exceptions that
 * cross the C boundary. Everything is called through <rlhf/rlhf.hpp>. */
#include "support.hpp"

#include <array>
#include <thread>
#if defined(__cpp_lib_span)
#include <span>
#endif

using namespace support;

namespace
{

/* --- spans and handles -------------------------------------------------------------- */

float sum(rlhf::span<const float> values)
{
    float total = 0;
    for (const float value : values)
        total += value;
    return total;
}

void test_span_takes_what_lies_in_a_row()
{
    std::vector<float> vector = {1, 2, 3};
    const std::array<float, 2> array = {4, 5};
    const float plain[2] = {6, 7};
    const rlhf::span<float> writable(vector);

    CHECK(sum(vector) == 6 && sum(array) == 9 && sum(plain) == 13 && sum({8, 9}) == 17);
    CHECK(sum(writable) == 6 && sum({}) == 0 && sum({vector.data(), 2}) == 3);
    writable[0] = 10;
    CHECK(vector[0] == 10);
    static_assert(
        !std::is_constructible_v<rlhf::span<float>, const std::vector<float> &>);
    static_assert(!std::is_constructible_v<rlhf::span<float>, std::vector<double> &>);
#if defined(__cpp_lib_span)
    const std::span<const float> standard = rlhf::span<const float>(vector);
    CHECK(standard.size() == 3 && sum(standard) == 15);
#endif
}

template <class H> constexpr bool moves_only()
{
    return !std::is_copy_constructible_v<H> && !std::is_copy_assignable_v<H> &&
           std::is_nothrow_move_constructible_v<H> &&
           std::is_nothrow_move_assignable_v<H> && std::is_nothrow_destructible_v<H> &&
           std::is_default_constructible_v<H>;
}

static_assert(moves_only<rlhf::context>() && moves_only<rlhf::config>() &&
              moves_only<rlhf::tokenizer>() && moves_only<rlhf::text_stream>() &&
              moves_only<rlhf::dataset>() && moves_only<rlhf::feedback>() &&
              moves_only<rlhf::model>() && moves_only<rlhf::reward_model>() &&
              moves_only<rlhf::sampler>() && moves_only<rlhf::generator>() &&
              moves_only<rlhf::lm_trainer>() && moves_only<rlhf::reward_trainer>() &&
              moves_only<rlhf::ppo_trainer>() && moves_only<rlhf::rollout>());

void test_handle_frees_what_it_owns()
{
    const rlhf::context context = one_thread();
    const auto bytes = [&] { return context.memory().total_now; };
    const std::int64_t empty = bytes();
    rlhf::model a(context, tiny_config(), 1);
    const std::int64_t one = bytes();
    rlhf::model b(context, tiny_config(), 2);

    CHECK(one > empty && bytes() > one);
    const auto *kept = a.get();
    b = std::move(a); /* b's own goes */
    CHECK(bytes() == one && b.get() == kept && !a && b);
    rlhf::model &same = b;
    b = std::move(same);
    CHECK(b.get() == kept);
    const rlhf::model c = std::move(b);
    CHECK(bytes() == one && !b);
    b = rlhf::model();
    CHECK(bytes() == one);
    {
        const rlhf::model d(context, tiny_config(), 3);
        CHECK(bytes() > one);
    }
    CHECK(bytes() == one);
}

void test_context_tells_what_it_is()
{
    rlhf::context_options options;
    options.num_threads = 3;
    options.cpu_level = RLHF_CPU_PORTABLE;
    const rlhf::context context(options);

    CHECK(context.num_threads() == 3 && context.cpu_level() == RLHF_CPU_PORTABLE);
    CHECK(context.dtype() == RLHF_DTYPE_FP32);
    CHECK(rlhf::version() == std::to_string(RLHF_VERSION_MAJOR) + "." +
                                 std::to_string(RLHF_VERSION_MINOR) + "." +
                                 std::to_string(RLHF_VERSION_PATCH));
    CHECK(rlhf::status_name(RLHF_ERR_IO) == "RLHF_ERR_IO");
}

/* --- errors ------------------------------------------------------------------------- */

void test_error_carries_its_parts()
{
    const folder folder;
    const rlhf::context context = one_thread();
    const auto absent =
        THROWN(rlhf::error, rlhf::model::load(context, folder / "absent"));
    CHECK(absent.status() == RLHF_ERR_NOT_FOUND && absent.system_errno() == ENOENT);
    CHECK(contains(absent.file(), "absent") && contains(absent.what(), "absent"));

    rlhf::model_config wrong = tiny_config();
    wrong.num_layers = -3;
    const auto field = THROWN(rlhf::error, rlhf::model(context, wrong, 1));
    CHECK(field.status() == RLHF_ERR_INVALID_ARG && field.field() == "num_layers");
    CHECK(contains(field.what(), "-3"));

    const std::string path = folder.write("run.yaml", "model:\n  num_heads: many\n");
    rlhf::config config = rlhf::config::load(context, path);
    const auto place = THROWN(rlhf::error, config.read("model", wrong));
    CHECK(place.status() == RLHF_ERR_FORMAT && place.file() == path);
    CHECK(place.line() == 2 && place.column() > 1 && place.field() == "num_heads");

    const auto zero =
        THROWN(rlhf::error, rlhf::model::load(context, std::string_view("a\0b", 3)));
    CHECK(zero.status() == RLHF_ERR_INVALID_ARG && contains(zero.what(), "zero byte"));
}

void test_config_fills_options_by_name()
{
    const folder folder;
    const rlhf::context context = one_thread();
    const std::string path = folder.write(
        "run.yaml", "ppo:\n  preset: trl\n  kl_coef: 0.25\npaths:\n  model: here\n"
                    "steps: 7\nrate: 0.5\n");
    rlhf::config config = rlhf::config::load(context, path);
    rlhf::ppo_options options;

    config.read("ppo", options);
    CHECK(options.kl_coef == 0.25);
    CHECK(options.gamma == rlhf::ppo_options("trl").gamma);
    CHECK(config.string("paths.model") == "here" && !config.string("paths.other"));
    CHECK(config.integer("steps", 1, 0, 10) == 7 && config.integer("more", 3, 0, 1) == 3);
    const auto unread = THROWN(rlhf::error, config.finish());
    CHECK(unread.status() == RLHF_ERR_FORMAT && contains(unread.what(), "rate"));
    CHECK(config.number("rate", 0, 0, 1) == 0.5);
    config.finish();
}

/* --- callbacks ---------------------------------------------------------------------- */

/* An exception with something of the host's in it. */
struct host_exception : std::runtime_error {
    explicit host_exception(int number) : runtime_error("the host's"), number(number) {}
    int number;
};

void test_progress_that_throws_stops_the_call()
{
    int calls = 0, limit = 1;
    bool at_end = false;
    rlhf::context_options options;
    options.num_threads = 1;
    options.on_progress = [&](std::string_view stage, std::int64_t done,
                              std::int64_t total) {
        CHECK(stage == "train" && done <= total);
        if (++calls == limit || (at_end && done == total))
            throw host_exception(41);
    };
    const rlhf::context context(options);
    rlhf::model model(context, tiny_config(), 1);
    rlhf::dataset rows = repeated_rows(context, 4, 16);
    rlhf::lm_trainer trainer(model, rows);

    CHECK(THROWN(host_exception, trainer.step()).number == 41);
    CHECK(calls == 1); /* and none after it threw */
    limit = 0;
    CHECK(trainer.step()->step >= 1); /* nothing is left of the cancellation */
    for (int i = 0; i < 100000 && calls == 1; i++)
        trainer.step(); /* progress comes every 50 ms */
    CHECK(calls > 1);
    const std::int64_t steps = trainer.num_steps();
    at_end = true; /* what is done is kept */
    CHECK(THROWN(host_exception, trainer.step()).number == 41);
    at_end = false;
    CHECK(trainer.num_steps() == steps + 1);
    CHECK(trainer.step()->step == steps + 2);
}

void test_log_that_throws_is_heard()
{
    const folder folder;
    std::string last;
    bool throws = false;
    rlhf::context_options options;
    options.on_log = [&](std::int32_t level, std::string_view message) {
        CHECK(level >= RLHF_LOG_INFO);
        last = message;
        if (throws)
            throw host_exception(42);
    };
    const rlhf::context context(options);
    rlhf::tokenizer tokenizer = rlhf::tokenizer::train(context, {{"ab ab ab"}});
    const std::string path = folder.write("rows.jsonl", "{\"text\": \"ab ab\"}\n");

    CHECK(rlhf::dataset::load(context, tokenizer, path).info().num_rows == 1);
    CHECK(contains(last, "rows.jsonl"));
    throws = true;
    const auto heard =
        THROWN(host_exception, rlhf::dataset::load(context, tokenizer, path));
    CHECK(heard.number == 42);
    throws = false;
    CHECK(rlhf::dataset::load(context, tokenizer, path).info().num_rows == 1);
}

void test_sampler_that_throws_can_be_asked_again()
{
    const rlhf::context context = one_thread();
    const rlhf::model model(context, tiny_config(), 1);
    auto held = std::make_shared<int>(0);
    rlhf::sampler sampler = rlhf::sampler::custom(
        [held](const ::rlhf_sample_info &info, rlhf::span<const float> logits) {
            CHECK(logits.size() == vocab && info.position >= info.num_prompt);
            if (++*held == 3)
                throw host_exception(43);
            return static_cast<std::int32_t>(2 + info.position % 3);
        });
    rlhf::generator_options options;
    options.max_new_tokens = 5;
    rlhf::generator generator(model, sampler, options);

    sampler = rlhf::sampler(); /* the generator keeps the lambda */
    CHECK(held.use_count() == 2);
    generator.start(rlhf::batch{{3, 4}});
    CHECK(THROWN(host_exception, generator.run()).number == 43);
    CHECK(generator[0].num_tokens == 4);
    generator.run();
    const std::vector<std::int32_t> wanted = {4, 2, 3, 4, 2};
    const auto answer = generator[0].answer();
    CHECK(std::vector<std::int32_t>(answer.begin(), answer.end()) == wanted);
    CHECK(*held == 6);
    generator = rlhf::generator();
    CHECK(held.use_count() == 1);
    const auto refused = THROWN(rlhf::error, rlhf::sampler::custom(nullptr));
    CHECK(refused.status() == RLHF_ERR_INVALID_ARG);
}

void test_text_that_throws_ends_its_sequence()
{
    const rlhf::context context = one_thread();
    const rlhf::tokenizer tokenizer = rlhf::tokenizer::train(context, {{"ab ab ab"}});
    rlhf::model_config config = tiny_config();
    config.vocab_size = tokenizer.vocab_size();
    const rlhf::model model(context, config, 1);
    const rlhf::sampler sampler = rlhf::sampler::custom(
        [](const ::rlhf_sample_info &, rlhf::span<const float>) { return 70; });
    rlhf::generator_options options;
    int pieces = 0, throws_at = 2;
    options.max_new_tokens = 6;
    options.tokenizer = tokenizer.get();
    options.on_text = [&](std::int64_t id, std::string_view text) {
        CHECK(id == 7 && text == tokenizer.decode({70}));
        if (++pieces == throws_at)
            throw host_exception(44);
        return pieces == 4;
    };
    rlhf::generator generator(model, sampler, options);

    generator.start(rlhf::batch{{3, 4}}, {7});
    CHECK(THROWN(host_exception, generator.run()).number == 44);
    CHECK(generator[0].finish == RLHF_FINISH_CALLBACK && pieces == 2);
    pieces = 0;
    throws_at = 0;
    generator.start(rlhf::batch{{3, 4}}, {7});
    generator.run();
    CHECK(generator[0].finish == RLHF_FINISH_CALLBACK && pieces == 4);
    CHECK(generator[0].answer().size() == 4 && generator[0].prompt().size() == 2);
}

void test_source_of_lambdas_is_a_dataset()
{
    const rlhf::context context = one_thread();
    std::vector<std::int32_t> row = {2, 3, 4};
    int drawn = 0, throws_at = 3;
    rlhf::source source;
    source.next = [&](::rlhf_example &out) {
        if (drawn + 1 == throws_at)
            throw host_exception(45);
        out.tokens = row.data();
        out.num_tokens = 3;
        out.id = drawn;
        return drawn++ < 4;
    };
    source.save = [&] { return std::to_string(drawn); };
    source.restore = [&](std::string_view position) {
        drawn = std::stoi(std::string(position));
    };
    rlhf::dataset dataset =
        rlhf::dataset::from_source(context, RLHF_DATASET_TEXT, source);

    CHECK(dataset.next()->id == 0);
    const std::string position = dataset.save_position();
    CHECK(dataset.next()->id == 1);
    CHECK(THROWN(host_exception, dataset.next()).number == 45);
    throws_at = 0;
    dataset.restore_position(position);
    CHECK(dataset.next()->id == 1 && dataset.next()->id == 2 && dataset.next()->id == 3);
    CHECK(!dataset.next());
    CHECK(THROWN(rlhf::error, dataset.rewind()).status() == RLHF_ERR_UNSUPPORTED);
    const auto refused =
        THROWN(rlhf::error, rlhf::dataset::from_source(context, RLHF_DATASET_TEXT, {}));
    CHECK(refused.status() == RLHF_ERR_INVALID_ARG);
}

/* The objects of a context outlive it, and so do its callbacks. */
void test_callbacks_outlive_the_context()
{
    int calls = 0;
    rlhf::lm_trainer trainer;
    {
        rlhf::context_options options;
        options.on_progress = [&calls](std::string_view, std::int64_t, std::int64_t) {
            calls++;
        };
        const rlhf::context context(options);
        rlhf::model model(context, tiny_config(), 1);
        rlhf::dataset rows = repeated_rows(context, 4, 16);
        trainer = rlhf::lm_trainer(model, rows);
    }
    CHECK(trainer.step() && calls > 0);
}

/* A callback may use another context, and what fails there is its own affair. */
void test_callback_may_use_another_context()
{
    const rlhf::context other = one_thread();
    rlhf::model inner(other, tiny_config(), 2);
    const rlhf::context context = one_thread();
    const rlhf::model model(context, tiny_config(), 1);
    int refused = 0;
    const rlhf::sampler sampler = rlhf::sampler::custom(
        [&](const ::rlhf_sample_info &info, rlhf::span<const float>) {
            try {
                inner.logits(rlhf::batch{{vocab}});
            } catch (const rlhf::error &) {
                refused++;
            }
            const rlhf::span<const std::int32_t> tokens(
                info.tokens, static_cast<std::size_t>(info.position));
            return inner.logits(rlhf::batch{{tokens[0]}})[0] > 0 ? 2 : 3;
        });
    rlhf::generator_options options;
    options.max_new_tokens = 3;
    rlhf::generator generator(model, sampler, options);

    generator.start(rlhf::batch{{4}});
    while (generator.step() > 0)
        ;
    CHECK(refused == 3 && generator[0].num_tokens == 4);
}

void test_cancelled_call_goes_on()
{
    rlhf::context context = one_thread();
    rlhf::model model(context, tiny_config(), 1);
    const rlhf::batch batch = {{2, 3}};

    context.cancel();
    CHECK(THROWN(rlhf::cancelled, model.logits(batch)).status() == RLHF_ERR_CANCELLED);
    CHECK(model.logits(batch).size() == 2 * vocab);
    std::thread([&] { context.cancel(); }).join();
    CHECK(contains(THROWN(rlhf::error, model.logits(batch)).what(), "cancelled"));
}

} // namespace

int main()
{
    return run({
        {"span takes what lies in a row", test_span_takes_what_lies_in_a_row},
        {"handle frees what it owns", test_handle_frees_what_it_owns},
        {"context tells what it is", test_context_tells_what_it_is},
        {"error carries its parts", test_error_carries_its_parts},
        {"config fills options by name", test_config_fills_options_by_name},
        {"progress that throws stops the call", test_progress_that_throws_stops_the_call},
        {"log that throws is heard", test_log_that_throws_is_heard},
        {"sampler that throws can be asked again",
         test_sampler_that_throws_can_be_asked_again},
        {"text that throws ends its sequence", test_text_that_throws_ends_its_sequence},
        {"source of lambdas is a dataset", test_source_of_lambdas_is_a_dataset},
        {"callbacks outlive the context", test_callbacks_outlive_the_context},
        {"callback may use another context", test_callback_may_use_another_context},
        {"cancelled call goes on", test_cancelled_call_goes_on},
    });
}
