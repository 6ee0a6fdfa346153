/* rlhf.hpp: the trainers, PPO and its rollouts. */
#ifndef RLHF_HPP_TRAIN_HPP
#define RLHF_HPP_TRAIN_HPP

#include <rlhf/hpp/model.hpp>

#include <limits>

namespace rlhf
{

struct lm_options : detail::initialised<::rlhf_lm_options, ::rlhf_lm_options_init> {
    static constexpr const char *struct_name = "rlhf_lm_options";
};

struct reward_options
    : detail::initialised<::rlhf_reward_options, ::rlhf_reward_options_init> {
    static constexpr const char *struct_name = "rlhf_reward_options";
};

struct ppo_options : detail::initialised<::rlhf_ppo_options, ::rlhf_ppo_options_init> {
    static constexpr const char *struct_name = "rlhf_ppo_options";
    ppo_options() = default;
    explicit ppo_options(std::string_view preset)
    {
        const detail::c_string name(preset);
        detail::must(
            [&] { return ::rlhf_ppo_options_preset(this, sizeof(c_type), name); });
    }
};

using lm_stats = sized<::rlhf_lm_stats>;
using reward_stats = sized<::rlhf_reward_stats>;
using ppo_stats = sized<::rlhf_ppo_stats>;

struct rollout_sequence : sized<::rlhf_rollout_sequence> {
    span<const std::int32_t> all() const { return {tokens, std::size_t(num_tokens)}; }
    span<const std::int32_t> prompt() const { return {tokens, std::size_t(num_prompt)}; }
    span<const std::int32_t> answer() const
    {
        return {tokens + num_prompt, std::size_t(num_tokens - num_prompt)};
    }
};

using rollout_input = sized<::rlhf_rollout_input>;

namespace detail
{

/* What the trainers of language and reward models have alike. */
template <class T, class Stats, void (*Free)(T *),
          rlhf_status (*Step)(T *, typename Stats::c_type *),
          rlhf_status (*Accumulate)(T *, std::int64_t *),
          rlhf_status (*Apply)(T *, typename Stats::c_type *),
          rlhf_status (*Gradient)(T *, const char *, float *, std::int64_t),
          rlhf_status (*SetRate)(T *, double), std::int64_t (*NumSteps)(const T *),
          rlhf_status (*Save)(T *, const char *),
          rlhf_status (*Resume)(T *, const char *)>
class trainer : public handle<T, Free>
{
  public:
    using handle<T, Free>::handle;
    using handle<T, Free>::get;

    /* nullopt: the dataset has ended. */
    std::optional<Stats> step()
    {
        Stats stats;
        const bool there = more([&] { return Step(get(), &stats); });
        return there ? std::optional<Stats>(stats) : std::nullopt;
    }
    /* Micro-batches still to come before apply; nullopt: the dataset has ended. */
    std::optional<std::int64_t> accumulate()
    {
        std::int64_t remaining = 0;
        const bool there = more([&] { return Accumulate(get(), &remaining); });
        return there ? std::optional<std::int64_t>(remaining) : std::nullopt;
    }
    Stats apply()
    {
        Stats stats;
        must([&] { return Apply(get(), &stats); });
        return stats;
    }
    void gradient(std::string_view name, span<float> out)
    {
        const c_string text(name);
        must([&] { return Gradient(get(), text, out.data(), count(out)); });
    }
    void set_learning_rate(double rate)
    {
        must([&] { return SetRate(get(), rate); });
    }
    std::int64_t num_steps() const noexcept { return NumSteps(get()); }
    void save(std::string_view path)
    {
        const c_string name(path);
        must([&] { return Save(get(), name); });
    }
    void resume(std::string_view path)
    {
        const c_string name(path);
        must([&] { return Resume(get(), name); });
    }
};

using lm_trainer_base =
    trainer<::rlhf_lm_trainer, lm_stats, ::rlhf_lm_trainer_free, ::rlhf_lm_trainer_step,
            ::rlhf_lm_trainer_accumulate, ::rlhf_lm_trainer_apply,
            ::rlhf_lm_trainer_gradient, ::rlhf_lm_trainer_set_learning_rate,
            ::rlhf_lm_trainer_num_steps, ::rlhf_lm_trainer_save,
            ::rlhf_lm_trainer_resume>;
using reward_trainer_base =
    trainer<::rlhf_reward_trainer, reward_stats, ::rlhf_reward_trainer_free,
            ::rlhf_reward_trainer_step, ::rlhf_reward_trainer_accumulate,
            ::rlhf_reward_trainer_apply, ::rlhf_reward_trainer_gradient,
            ::rlhf_reward_trainer_set_learning_rate, ::rlhf_reward_trainer_num_steps,
            ::rlhf_reward_trainer_save, ::rlhf_reward_trainer_resume>;

} // namespace detail

class lm_trainer : public detail::lm_trainer_base
{
  public:
    using detail::lm_trainer_base::trainer;
    lm_trainer(model &model, dataset &dataset, const lm_options &options = {})
        : trainer(model.keep())
    {
        detail::must([&] {
            return ::rlhf_lm_trainer_create(model.get(), dataset.get(), &options, put());
        });
    }
    /* The mean loss; max_rows 0: all. */
    double evaluate(dataset &dataset, std::int64_t max_rows = 0)
    {
        double loss = 0;
        detail::must([&] {
            return ::rlhf_lm_trainer_evaluate(get(), dataset.get(), max_rows, &loss);
        });
        return loss;
    }
};

class reward_trainer : public detail::reward_trainer_base
{
  public:
    using detail::reward_trainer_base::trainer;
    reward_trainer(reward_model &model, dataset &pairs,
                   const reward_options &options = {})
        : trainer(model.keep())
    {
        detail::must([&] {
            return ::rlhf_reward_trainer_create(model.get(), pairs.get(), &options,
                                                put());
        });
    }
    /* max_rows 0: all. */
    reward_stats evaluate(dataset &pairs, std::int64_t max_rows = 0)
    {
        reward_stats stats;
        detail::must([&] {
            return ::rlhf_reward_trainer_evaluate(get(), pairs.get(), max_rows, &stats);
        });
        return stats;
    }
};

/* --- rollouts ----------------------------------------------------------------------- */

class rollout : public detail::handle<::rlhf_rollout, ::rlhf_rollout_free>
{
  public:
    using handle::handle;
    rollout() noexcept = default; /* none */
    explicit rollout(const context &context) : handle(context.keep())
    {
        detail::must([&] { return ::rlhf_rollout_create(context.get(), put()); });
    }

    void append(const ::rlhf_rollout_input &input)
    {
        detail::must([&] { return ::rlhf_rollout_append(get(), &input); });
    }
    /* An answer with its recorded log-probabilities, not scored yet. */
    void append(const generation &generation)
    {
        const auto prompt = static_cast<std::size_t>(generation.num_prompt);
        const auto size = static_cast<std::size_t>(generation.num_tokens);
        std::vector<std::uint8_t> mask(size, 1);
        std::vector<float> logprobs(size, 0);
        rollout_input input;

        for (std::size_t i = 0; i < prompt; i++)
            mask[i] = 0;
        for (std::size_t i = prompt; i < size; i++)
            logprobs[i] = generation.logprobs[i - prompt];
        input.tokens = generation.tokens;
        input.action_mask = mask.data();
        input.logprobs = logprobs.data();
        input.num_tokens = generation.num_tokens;
        input.score = std::numeric_limits<double>::quiet_NaN();
        input.finish = generation.finish;
        append(input);
    }
    std::int64_t size() const noexcept { return ::rlhf_rollout_num_sequences(get()); }
    rollout_sequence operator[](std::int64_t index) const
    {
        rollout_sequence sequence;
        detail::must([&] { return ::rlhf_rollout_get(get(), index, &sequence); });
        return sequence;
    }
    void set_scores(span<const float> scores)
    {
        detail::must([&] {
            return ::rlhf_rollout_set_scores(get(), scores.data(), detail::count(scores));
        });
    }
    /* Scores each sequence by a reward of the host's: float(const rollout_sequence &).
     * If one throws, no score changes. */
    template <class F> void score(F &&reward)
    {
        std::vector<float> scores;
        for (std::int64_t i = 0; i < size(); i++)
            scores.push_back(static_cast<float>(reward((*this)[i])));
        set_scores(scores);
    }
    void set_token_scores(std::int64_t index, span<const float> scores)
    {
        detail::must([&] {
            return ::rlhf_rollout_set_token_scores(get(), index, scores.data(),
                                                   detail::count(scores));
        });
    }
    void write_jsonl(std::string_view path) const { write(nullptr, path); }
    void write_jsonl(std::string_view path, const tokenizer &tokenizer) const
    {
        write(tokenizer.get(), path);
    }

  private:
    void write(const ::rlhf_tokenizer *tokenizer, std::string_view path) const
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_rollout_write_jsonl(get(), tokenizer, name); });
    }
};

/* --- PPO ---------------------------------------------------------------------------- */

/* Who takes part beside the policy; nullptr as in rlhf_ppo_trainer_create. */
struct ppo_models {
    const model *reference = nullptr;
    const reward_model *reward = nullptr;
    reward_model *critic = nullptr;
};

class ppo_trainer : public detail::handle<::rlhf_ppo_trainer, ::rlhf_ppo_trainer_free>
{
  public:
    using handle::handle;
    /* The host sets the scores. */
    explicit ppo_trainer(model &policy, const ppo_options &options = {})
        : ppo_trainer(policy, ppo_models{}, options)
    {
    }
    ppo_trainer(model &policy, const reward_model &reward,
                const ppo_options &options = {})
        : ppo_trainer(policy, ppo_models{nullptr, &reward, nullptr}, options)
    {
    }
    ppo_trainer(model &policy, const ppo_models &others, const ppo_options &options)
        : handle(policy.keep())
    {
        detail::must([&] {
            return ::rlhf_ppo_trainer_create(
                policy.get(), others.reference ? others.reference->get() : nullptr,
                others.reward ? others.reward->get() : nullptr,
                others.critic ? others.critic->get() : nullptr, &options, put());
        });
    }

    ppo_stats step(const batch_view &prompts)
    {
        ppo_stats stats;
        detail::must([&] {
            return ::rlhf_ppo_trainer_step(get(), prompts.tokens(), prompts.cu_seqlens(),
                                           std::int64_t(prompts.num_seqs()), &stats);
        });
        return stats;
    }
    rlhf::rollout rollout(const batch_view &prompts)
    {
        return detail::make<rlhf::rollout>(keep(), [&](::rlhf_rollout **out) {
            return ::rlhf_ppo_trainer_rollout(get(), prompts.tokens(),
                                              prompts.cu_seqlens(),
                                              std::int64_t(prompts.num_seqs()), out);
        });
    }
    void score(rlhf::rollout &rollout)
    {
        detail::must([&] { return ::rlhf_ppo_trainer_score(get(), rollout.get()); });
    }
    void advantages(rlhf::rollout &rollout)
    {
        detail::must([&] { return ::rlhf_ppo_trainer_advantages(get(), rollout.get()); });
    }
    ppo_stats update(rlhf::rollout &rollout)
    {
        ppo_stats stats;
        detail::must(
            [&] { return ::rlhf_ppo_trainer_update(get(), rollout.get(), &stats); });
        return stats;
    }
    /* Micro-batches still to come before apply. */
    std::int64_t accumulate(rlhf::rollout &rollout)
    {
        std::int64_t remaining = 0;
        detail::must([&] {
            return ::rlhf_ppo_trainer_accumulate(get(), rollout.get(), &remaining);
        });
        return remaining;
    }
    /* True after the iteration's last minibatch. */
    bool apply(ppo_stats &out_stats)
    {
        std::int32_t done = 0;
        detail::must([&] { return ::rlhf_ppo_trainer_apply(get(), &done, &out_stats); });
        return done != 0;
    }
    void gradient(bool critic, std::string_view name, span<float> out)
    {
        const detail::c_string text(name);
        detail::must([&] {
            return ::rlhf_ppo_trainer_gradient(get(), critic, text, out.data(),
                                               detail::count(out));
        });
    }
    /* Figures and answers. */
    std::pair<ppo_stats, rlhf::rollout> evaluate(const batch_view &prompts)
    {
        ppo_stats stats;
        auto answers = detail::make<rlhf::rollout>(keep(), [&](::rlhf_rollout **out) {
            return ::rlhf_ppo_trainer_evaluate(
                get(), prompts.tokens(), prompts.cu_seqlens(),
                std::int64_t(prompts.num_seqs()), &stats, out);
        });
        return {stats, std::move(answers)};
    }

    /* nullptr: the default again. */
    void set_sampler(const sampler *sampler)
    {
        detail::must([&] {
            return ::rlhf_ppo_trainer_set_sampler(get(),
                                                  sampler ? sampler->get() : nullptr);
        });
    }
    void set_learning_rate(double policy, double critic)
    {
        detail::must(
            [&] { return ::rlhf_ppo_trainer_set_learning_rate(get(), policy, critic); });
    }
    void set_kl_coef(double kl_coef)
    {
        detail::must([&] { return ::rlhf_ppo_trainer_set_kl_coef(get(), kl_coef); });
    }
    void abandon()
    {
        detail::must([&] { return ::rlhf_ppo_trainer_abandon(get()); });
    }
    std::int64_t num_iterations() const noexcept
    {
        return ::rlhf_ppo_trainer_num_iterations(get());
    }
    bool is_current(const rlhf::rollout &rollout) const noexcept
    {
        return ::rlhf_ppo_trainer_is_current(get(), rollout.get()) != 0;
    }
    reward_model clone_critic()
    {
        return detail::make<reward_model>(keep(), [&](::rlhf_reward_model **out) {
            return ::rlhf_ppo_trainer_clone_critic(get(), out);
        });
    }
    void save(std::string_view path)
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_ppo_trainer_save(get(), name); });
    }
    /* The rollout in hand, false (as bool) if there was none. */
    rlhf::rollout resume(std::string_view path)
    {
        const detail::c_string name(path);
        return detail::make<rlhf::rollout>(keep(), [&](::rlhf_rollout **out) {
            return ::rlhf_ppo_trainer_resume(get(), name, out);
        });
    }
};

} // namespace rlhf

#endif
