/* rlhf.hpp: batches, models, reward models, samplers, generators. */
#ifndef RLHF_HPP_MODEL_HPP
#define RLHF_HPP_MODEL_HPP

#include <rlhf/hpp/data.hpp>

namespace rlhf
{

struct model_config : detail::initialised<::rlhf_model_config, ::rlhf_model_config_init> {
    static constexpr const char *struct_name = "rlhf_model_config";
};

struct reward_model_options
    : detail::initialised<::rlhf_reward_model_options, ::rlhf_reward_model_options_init> {
    static constexpr const char *struct_name = "rlhf_reward_model_options";
};

struct sampler_options
    : detail::initialised<::rlhf_sampler_options, ::rlhf_sampler_options_init> {
    static constexpr const char *struct_name = "rlhf_sampler_options";
    sampler_options() = default;
    explicit sampler_options(double tau) { temperature = tau; }
};

/* `on_text` streams what `tokenizer` decodes; true ends the sequence. */
struct generator_options
    : detail::initialised<::rlhf_generator_options, ::rlhf_generator_options_init> {
    static constexpr const char *struct_name = "rlhf_generator_options";
    std::function<bool(std::int64_t sequence_id, std::string_view text)> on_text;
};

using layer_config = sized<::rlhf_layer_config>;
using parameter_info = sized<::rlhf_parameter_info>;

struct generation : sized<::rlhf_generation> {
    span<const std::int32_t> all() const { return {tokens, std::size_t(num_tokens)}; }
    span<const std::int32_t> prompt() const { return {tokens, std::size_t(num_prompt)}; }
    span<const std::int32_t> answer() const
    {
        return {tokens + num_prompt, std::size_t(num_tokens - num_prompt)};
    }
    span<const float> answer_logprobs() const
    {
        return {logprobs, std::size_t(num_tokens - num_prompt)};
    }
};

/* --- batches ------------------------------------------------------------------------ */

/* Sequences end to end, and where each begins: the ragged batch of rlhf/model.h. */
class batch
{
  public:
    batch() = default;
    batch(std::initializer_list<std::vector<std::int32_t>> sequences)
    {
        for (const auto &sequence : sequences)
            add(sequence);
    }
    explicit batch(const std::vector<std::vector<std::int32_t>> &sequences)
    {
        for (const auto &sequence : sequences)
            add(sequence);
    }

    void add(span<const std::int32_t> sequence)
    {
        tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
        cu_seqlens_.push_back(detail::count(tokens_));
    }
    void clear()
    {
        tokens_.clear();
        cu_seqlens_.resize(1);
    }
    std::size_t size() const noexcept { return cu_seqlens_.size() - 1; }
    span<const std::int32_t> operator[](std::size_t i) const
    {
        return {tokens_.data() + cu_seqlens_[i],
                std::size_t(cu_seqlens_[i + 1] - cu_seqlens_[i])};
    }
    span<const std::int32_t> tokens() const noexcept { return tokens_; }
    span<const std::int64_t> cu_seqlens() const noexcept { return cu_seqlens_; }

  private:
    std::vector<std::int32_t> tokens_;
    std::vector<std::int64_t> cu_seqlens_ = {0};
};

/* One that lies elsewhere. */
class batch_view
{
  public:
    batch_view(const batch &batch)
        : tokens_(batch.tokens()), cu_seqlens_(batch.cu_seqlens())
    {
    }
    batch_view(span<const std::int32_t> tokens, span<const std::int64_t> cu_seqlens)
        : tokens_(tokens), cu_seqlens_(cu_seqlens)
    {
        if (cu_seqlens.empty() || cu_seqlens.end()[-1] != detail::count(tokens))
            throw error(RLHF_ERR_INVALID_ARG,
                        "cu_seqlens must end with the number of tokens");
    }
    const std::int32_t *tokens() const noexcept { return tokens_.data(); }
    const std::int64_t *cu_seqlens() const noexcept { return cu_seqlens_.data(); }
    std::size_t num_tokens() const noexcept { return tokens_.size(); }
    std::size_t num_seqs() const noexcept { return cu_seqlens_.size() - 1; }

  private:
    span<const std::int32_t> tokens_;
    span<const std::int64_t> cu_seqlens_;
};

namespace detail
{

inline void expect_size(std::size_t size, std::size_t wanted, const char *what)
{
    if (size != wanted)
        throw error(RLHF_ERR_INVALID_ARG, std::string(what) + " must have " +
                                              std::to_string(wanted) + " values, got " +
                                              std::to_string(size));
}

/* What models and reward models have alike: the config and the named parameters. */
template <class T, void (*Free)(T *),
          rlhf_status (*Config)(const T *, ::rlhf_model_config *),
          std::int64_t (*Count)(const T *), std::int64_t (*Names)(const T *),
          rlhf_status (*Info)(const T *, std::int64_t, ::rlhf_parameter_info *),
          rlhf_status (*Read)(T *, const char *, float *, std::int64_t),
          rlhf_status (*Write)(T *, const char *, const float *, std::int64_t),
          rlhf_status (*Freeze)(T *)>
class network : public handle<T, Free>
{
  public:
    using handle<T, Free>::handle;
    using handle<T, Free>::get;

    /* Its `layers` are the model's. */
    model_config config() const
    {
        model_config config;
        must([&] { return Config(get(), &config); });
        return config;
    }
    std::int64_t num_parameters() const noexcept { return Count(get()); }
    std::int64_t num_parameter_names() const noexcept { return Names(get()); }
    parameter_info parameter(std::int64_t index) const
    {
        parameter_info info;
        must([&] { return Info(get(), index, &info); });
        return info;
    }
    std::vector<float> read_parameter(std::string_view name)
    {
        std::vector<float> values(1); /* where there is no such name, C says so */
        for (std::int64_t i = 0; i < num_parameter_names(); i++) {
            const parameter_info info = parameter(i);
            if (name == info.name)
                values.resize(static_cast<std::size_t>(info.rows * info.cols));
        }
        read_parameter(name, values);
        return values;
    }
    void read_parameter(std::string_view name, span<float> out)
    {
        const c_string text(name);
        must([&] { return Read(get(), text, out.data(), count(out)); });
    }
    void write_parameter(std::string_view name, span<const float> values)
    {
        const c_string text(name);
        must([&] { return Write(get(), text, values.data(), count(values)); });
    }
    /* Read-only for good, and smaller: rlhf_model_freeze. */
    void freeze()
    {
        must([&] { return Freeze(get()); });
    }
};

using model_base = network<::rlhf_model, ::rlhf_model_free, ::rlhf_model_get_config,
                           ::rlhf_model_num_parameters, ::rlhf_model_num_parameter_names,
                           ::rlhf_model_parameter_info, ::rlhf_model_parameter_read,
                           ::rlhf_model_parameter_write, ::rlhf_model_freeze>;
using reward_model_base =
    network<::rlhf_reward_model, ::rlhf_reward_model_free, ::rlhf_reward_model_get_config,
            ::rlhf_reward_model_num_parameters, ::rlhf_reward_model_num_parameter_names,
            ::rlhf_reward_model_parameter_info, ::rlhf_reward_model_parameter_read,
            ::rlhf_reward_model_parameter_write, ::rlhf_reward_model_freeze>;

} // namespace detail

/* --- models ------------------------------------------------------------------------- */

class model : public detail::model_base
{
  public:
    using detail::model_base::network;
    model(const context &context, const model_config &config, std::uint64_t seed)
        : network(context.keep())
    {
        detail::must(
            [&] { return ::rlhf_model_create(context.get(), &config, seed, put()); });
    }

    static model load(const context &context, std::string_view path)
    {
        const detail::c_string name(path);
        return detail::make<model>(context.keep(), [&](::rlhf_model **out) {
            return ::rlhf_model_load(context.get(), name, out);
        });
    }
    void save(std::string_view path)
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_model_save(get(), name); });
    }
    model clone() const
    {
        return detail::make<model>(
            keep(), [&](::rlhf_model **out) { return ::rlhf_model_clone(get(), out); });
    }

    /* [tokens][vocab_size] */
    std::vector<float> logits(const batch_view &batch)
    {
        std::vector<float> values(num_logits(batch));
        logits(batch, values);
        return values;
    }
    void logits(const batch_view &batch, span<float> out)
    {
        detail::expect_size(out.size(), num_logits(batch), "logits");
        detail::must([&] {
            return ::rlhf_model_logits(get(), batch.tokens(), batch.cu_seqlens(),
                                       std::int64_t(batch.num_seqs()), out.data());
        });
    }
    /* [tokens] */
    std::vector<float> logprobs(const batch_view &batch, double temperature = 1)
    {
        std::vector<float> values(batch.num_tokens());
        logprobs(batch, values, temperature);
        return values;
    }
    void logprobs(const batch_view &batch, span<float> out, double temperature = 1)
    {
        detail::expect_size(out.size(), batch.num_tokens(), "logprobs");
        detail::must([&] {
            return ::rlhf_model_logprobs(get(), batch.tokens(), batch.cu_seqlens(),
                                         std::int64_t(batch.num_seqs()), temperature,
                                         out.data());
        });
    }

  private:
    std::size_t num_logits(const batch_view &batch) const
    {
        return batch.num_tokens() * static_cast<std::size_t>(config().vocab_size);
    }
};

class reward_model : public detail::reward_model_base
{
  public:
    using detail::reward_model_base::network;
    explicit reward_model(const model &model, const reward_model_options &options = {})
        : network(model.keep())
    {
        detail::must(
            [&] { return ::rlhf_reward_model_create(model.get(), &options, put()); });
    }

    static reward_model load(const context &context, std::string_view path)
    {
        const detail::c_string name(path);
        return detail::make<reward_model>(context.keep(), [&](::rlhf_reward_model **out) {
            return ::rlhf_reward_model_load(context.get(), name, out);
        });
    }
    void save(std::string_view path)
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_reward_model_save(get(), name); });
    }
    reward_model clone() const
    {
        return detail::make<reward_model>(keep(), [&](::rlhf_reward_model **out) {
            return ::rlhf_reward_model_clone(get(), out);
        });
    }

    std::vector<float> score(const batch_view &batch)
    {
        std::vector<float> scores(batch.num_seqs());
        detail::must([&] {
            return ::rlhf_reward_model_score(get(), batch.tokens(), batch.cu_seqlens(),
                                             detail::count(scores), scores.data());
        });
        return scores;
    }
    void normalize(const batch_view &batch, bool unit_variance = true)
    {
        detail::must([&] {
            return ::rlhf_reward_model_normalize(
                get(), batch.tokens(), batch.cu_seqlens(), std::int64_t(batch.num_seqs()),
                unit_variance);
        });
    }
    /* Scale and offset. */
    std::pair<double, double> affine() const
    {
        double scale = 0, offset = 0;
        detail::must(
            [&] { return ::rlhf_reward_model_get_affine(get(), &scale, &offset); });
        return {scale, offset};
    }
    void set_affine(double scale, double offset)
    {
        detail::must(
            [&] { return ::rlhf_reward_model_set_affine(get(), scale, offset); });
    }
};

/* --- samplers ----------------------------------------------------------------------- */

/* Picks a token: what the lambda of sampler::custom is. */
using sample_fn =
    std::function<std::int32_t(const ::rlhf_sample_info &info, span<const float> logits)>;

class sampler : public detail::handle<::rlhf_sampler, ::rlhf_sampler_free>
{
  public:
    using handle::handle;
    explicit sampler(const sampler_options &options = {})
    {
        detail::must([&] { return ::rlhf_sampler_create(&options, put()); });
    }

    /* softmax_temperature: as in rlhf_sampler_ops. The lambda goes with the sampler. */
    static sampler custom(sample_fn sample, double softmax_temperature = 0)
    {
        sized<::rlhf_sampler_ops> ops;
        if (sample)
            ops.sample = on_sample;
        ops.destroy = [](void *self) { delete static_cast<sample_fn *>(self); };
        ops.softmax_temperature = softmax_temperature;
        auto owned = std::make_unique<sample_fn>(std::move(sample));
        ::rlhf_sampler *made = nullptr;
        const rlhf_status status = ::rlhf_sampler_create_custom(&ops, owned.get(), &made);
        if (status != RLHF_OK)
            detail::fail(status);
        (void)owned.release(); /* `destroy` has it now */
        return sampler(made);
    }

  private:
    static rlhf_status on_sample(void *self, void *, const ::rlhf_sample_info *info,
                                 const float *logits, std::int64_t vocab_size,
                                 std::int32_t *out_token) noexcept
    {
        const bool went = detail::guarded([&] {
            *out_token = (*static_cast<const sample_fn *>(self))(
                *info, {logits, static_cast<std::size_t>(vocab_size)});
        });
        return went ? RLHF_OK : RLHF_ERR_CALLBACK;
    }
};

/* --- generators --------------------------------------------------------------------- */

class generator : public detail::handle<::rlhf_generator, ::rlhf_generator_free>
{
  public:
    using handle::handle;
    explicit generator(const model &model, const generator_options &options = {})
        : generator(model, nullptr, options)
    {
    }
    generator(const model &model, const sampler &sampler,
              const generator_options &options = {})
        : generator(model, sampler.get(), options)
    {
    }

    void start(const batch_view &prompts, span<const std::int64_t> sequence_ids = {})
    {
        if (!sequence_ids.empty())
            detail::expect_size(sequence_ids.size(), prompts.num_seqs(), "sequence_ids");
        detail::must([&] {
            return ::rlhf_generator_start(get(), prompts.tokens(), prompts.cu_seqlens(),
                                          std::int64_t(prompts.num_seqs()),
                                          sequence_ids.data());
        });
    }
    /* How many sequences still go on. */
    std::int64_t step()
    {
        std::int64_t active = 0;
        detail::must([&] { return ::rlhf_generator_step(get(), &active); });
        return active;
    }
    void run()
    {
        detail::must([&] { return ::rlhf_generator_run(get()); });
    }
    std::int64_t size() const noexcept { return ::rlhf_generator_num_sequences(get()); }
    generation operator[](std::int64_t index) const
    {
        generation sequence;
        detail::must([&] { return ::rlhf_generator_get(get(), index, &sequence); });
        return sequence;
    }

  private:
    struct texts {
        std::shared_ptr<void> context; /* its callbacks */
        decltype(generator_options::on_text) on_text;
    };

    generator(const model &model, ::rlhf_sampler *sampler,
              const generator_options &options)
        : handle(std::make_shared<texts>(texts{model.keep(), options.on_text}))
    {
        ::rlhf_generator_options c = options;
        if (options.on_text) {
            c.text = pass_text;
            c.text_user_data = keep().get();
        }
        detail::must(
            [&] { return ::rlhf_generator_create(model.get(), sampler, &c, put()); });
    }
    static std::int32_t pass_text(void *self, std::int64_t sequence_id, const char *text,
                                  std::size_t size) noexcept
    {
        bool over = true; /* also where it threw */
        detail::guarded([&] {
            over = static_cast<const texts *>(self)->on_text(sequence_id, {text, size});
        });
        return over;
    }
};

} // namespace rlhf

#endif
