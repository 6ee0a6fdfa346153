/* rlhf.hpp: tokenizers, datasets, the feedback store. */
#ifndef RLHF_HPP_DATA_HPP
#define RLHF_HPP_DATA_HPP

#include <rlhf/hpp/core.hpp>

namespace rlhf
{

struct tokenizer_train_options
    : detail::initialised<::rlhf_tokenizer_train_options,
                          ::rlhf_tokenizer_train_options_init> {
    static constexpr const char *struct_name = "rlhf_tokenizer_train_options";
};

struct dataset_options
    : detail::initialised<::rlhf_dataset_options, ::rlhf_dataset_options_init> {
    static constexpr const char *struct_name = "rlhf_dataset_options";
    dataset_options() = default;
    explicit dataset_options(rlhf_dataset_kind of) { kind = of; }
};

using dataset_info = sized<::rlhf_dataset_info>;
using feedback_info = sized<::rlhf_feedback_info>;
using comparison = sized<::rlhf_comparison>;

struct example : sized<::rlhf_example> {
    example() = default;
    /* A text, or a prompt and its answer; borrowed, so a braced list would be gone. */
    explicit example(span<const std::int32_t> ids, std::int64_t prompt = 0)
    {
        tokens = ids.data();
        num_tokens = detail::count(ids);
        prompt_length = prompt;
    }
    explicit example(std::initializer_list<std::int32_t>, std::int64_t = 0) = delete;
};

/* --- tokenizer ---------------------------------------------------------------------- */

class tokenizer : public detail::handle<::rlhf_tokenizer, ::rlhf_tokenizer_free>
{
  public:
    using handle::handle;

    static tokenizer train(const context &context, span<const std::string_view> texts,
                           const tokenizer_train_options &options = {})
    {
        std::vector<const char *> data;
        std::vector<std::size_t> sizes;
        for (const std::string_view text : texts) {
            data.push_back(text.data());
            sizes.push_back(text.size());
        }
        return detail::make<tokenizer>(context.keep(), [&](::rlhf_tokenizer **out) {
            return ::rlhf_tokenizer_train(context.get(), data.data(), sizes.data(),
                                          detail::count(texts), &options, out);
        });
    }
    static tokenizer load(const context &context, std::string_view path)
    {
        const detail::c_string name(path);
        return detail::make<tokenizer>(context.keep(), [&](::rlhf_tokenizer **out) {
            return ::rlhf_tokenizer_load(context.get(), name, out);
        });
    }
    void save(std::string_view path)
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_tokenizer_save(get(), name); });
    }

    std::int32_t vocab_size() const noexcept
    {
        return ::rlhf_tokenizer_vocab_size(get());
    }
    std::int32_t bos_id() const noexcept { return ::rlhf_tokenizer_bos_id(get()); }
    std::int32_t eos_id() const noexcept { return ::rlhf_tokenizer_eos_id(get()); }
    std::int32_t token_id(std::string_view token) const
    {
        return ::rlhf_tokenizer_token_id(get(), detail::c_string(token));
    }

    std::vector<std::int32_t> encode(std::string_view text,
                                     bool parse_special = false) const
    {
        std::vector<std::int32_t> ids(text.size() + 1); /* a byte-level one's most */
        std::int64_t size = 0;
        const auto call = [&] {
            return ::rlhf_tokenizer_encode(get(), text.data(), text.size(), parse_special,
                                           ids.data(), detail::count(ids), &size);
        };
        rlhf_status status = detail::run(call);
        if (status == RLHF_ERR_LIMIT && size > detail::count(ids)) {
            ids.resize(static_cast<std::size_t>(size));
            status = detail::run(call);
        }
        if (status != RLHF_OK)
            detail::fail(status);
        ids.resize(static_cast<std::size_t>(size));
        return ids;
    }
    std::string decode(span<const std::int32_t> ids, bool skip_special = false) const
    {
        std::string text;
        std::size_t size = 0;
        const auto call = [&] {
            return ::rlhf_tokenizer_decode(
                get(), ids.data(), detail::count(ids), skip_special,
                text.empty() ? nullptr : &text[0], text.size(), &size);
        };
        detail::must(call); /* asks for the size */
        text.resize(size);
        if (size > 0)
            detail::must(call);
        return text;
    }
};

class text_stream : public detail::handle<::rlhf_text_stream, ::rlhf_text_stream_free>
{
  public:
    using handle::handle;
    explicit text_stream(const tokenizer &tokenizer, bool skip_special = false)
        : handle(tokenizer.keep())
    {
        detail::must([&] {
            return ::rlhf_text_stream_create(tokenizer.get(), skip_special, put());
        });
    }

    /* The text that this id completes; the stream's until the next push. */
    std::string_view push(std::int32_t id)
    {
        const char *text = nullptr;
        std::size_t size = 0;
        detail::must([&] { return ::rlhf_text_stream_push(get(), id, &text, &size); });
        return {text, size};
    }
    std::string_view finish() { return push(-1); }
};

/* --- dataset ------------------------------------------------------------------------ */

/* A source of the host's: `next` fills the row, whose arrays stay its own until it is
 * called again, or says false at the end. `save` and `restore` together, or neither. */
struct source {
    std::function<bool(::rlhf_example &)> next;
    std::function<std::string()> save;
    std::function<void(std::string_view)> restore;
};

namespace detail
{

struct source_calls {
    static rlhf_status next(void *self, ::rlhf_example *out) noexcept
    {
        bool there = false;
        const bool went =
            guarded([&] { there = static_cast<const source *>(self)->next(*out); });
        return !went ? RLHF_ERR_CALLBACK : there ? RLHF_OK : RLHF_ERR_NOT_FOUND;
    }
    static rlhf_status save(void *self, void *bytes, std::size_t capacity,
                            std::size_t *out_size) noexcept
    {
        const bool went = guarded([&] {
            const std::string position = static_cast<const source *>(self)->save();
            if (position.size() > capacity)
                throw error(RLHF_ERR_LIMIT, "a source's position is too long");
            position.copy(static_cast<char *>(bytes), position.size());
            *out_size = position.size();
        });
        return went ? RLHF_OK : RLHF_ERR_CALLBACK;
    }
    static rlhf_status restore(void *self, const void *bytes, std::size_t size) noexcept
    {
        const bool went = guarded([&] {
            static_cast<const source *>(self)->restore(
                {static_cast<const char *>(bytes), size});
        });
        return went ? RLHF_OK : RLHF_ERR_CALLBACK;
    }
    static void destroy(void *self) noexcept { delete static_cast<source *>(self); }
};

} // namespace detail

class dataset : public detail::handle<::rlhf_dataset, ::rlhf_dataset_free>
{
  public:
    using handle::handle;
    explicit dataset(const context &context, const dataset_options &options = {})
        : handle(context.keep())
    {
        detail::must(
            [&] { return ::rlhf_dataset_create(context.get(), &options, put()); });
    }

    static dataset load(const context &context, const tokenizer &tokenizer,
                        std::string_view path, const dataset_options &options = {})
    {
        const detail::c_string name(path);
        return detail::make<dataset>(context.keep(), [&](::rlhf_dataset **out) {
            return ::rlhf_dataset_load(context.get(), tokenizer.get(), name, &options,
                                       out);
        });
    }
    static dataset from_source(const context &context, rlhf_dataset_kind kind,
                               source source)
    {
        sized<::rlhf_source_ops> ops;
        if (source.next)
            ops.next = detail::source_calls::next;
        if (source.save)
            ops.save = detail::source_calls::save;
        if (source.restore)
            ops.restore = detail::source_calls::restore;
        ops.destroy = detail::source_calls::destroy;
        auto owned = std::make_unique<rlhf::source>(std::move(source));
        ::rlhf_dataset *made = nullptr;
        const rlhf_status status = ::rlhf_dataset_create_from_source(
            context.get(), kind, &ops, owned.get(), &made);
        if (status != RLHF_OK)
            detail::fail(status);
        (void)owned.release(); /* `destroy` has it now */
        return dataset(made, context.keep());
    }

    void append(const ::rlhf_example &example)
    {
        detail::must([&] { return ::rlhf_dataset_append(get(), &example); });
    }
    /* Training rows and held-out rows. */
    std::pair<dataset, dataset> split(std::int64_t held_out, std::uint64_t seed)
    {
        ::rlhf_dataset *train = nullptr, *other = nullptr;
        const rlhf_status status = detail::run(
            [&] { return ::rlhf_dataset_split(get(), held_out, seed, &train, &other); });
        std::pair<dataset, dataset> both{dataset(train, keep()), dataset(other, keep())};
        if (status != RLHF_OK)
            detail::fail(status);
        return both;
    }
    dataset_info info() const
    {
        dataset_info info;
        detail::must([&] { return ::rlhf_dataset_get_info(get(), &info); });
        return info;
    }
    example row(std::int64_t index)
    {
        example row;
        detail::must([&] { return ::rlhf_dataset_row(get(), index, &row); });
        return row;
    }
    std::optional<example> next()
    {
        example row;
        const bool there = detail::more([&] { return ::rlhf_dataset_next(get(), &row); });
        return there ? std::optional<example>(row) : std::nullopt;
    }
    void rewind()
    {
        detail::must([&] { return ::rlhf_dataset_rewind(get()); });
    }
    std::string save_position()
    {
        std::string bytes(RLHF_SOURCE_POSITION_MAX, '\0');
        std::size_t size = 0;
        detail::must([&] {
            return ::rlhf_dataset_save_position(get(), &bytes[0], bytes.size(), &size);
        });
        bytes.resize(size);
        return bytes;
    }
    void restore_position(std::string_view bytes)
    {
        detail::must([&] {
            return ::rlhf_dataset_restore_position(get(), bytes.data(), bytes.size());
        });
    }
};

/* --- feedback ----------------------------------------------------------------------- */

class feedback : public detail::handle<::rlhf_feedback, ::rlhf_feedback_free>
{
  public:
    using handle::handle;

    static feedback open(const context &context, std::string_view path,
                         std::uint64_t seed)
    {
        const detail::c_string name(path);
        return detail::make<feedback>(context.keep(), [&](::rlhf_feedback **out) {
            return ::rlhf_feedback_open(context.get(), name, seed, out);
        });
    }

    /* The new comparison's id. */
    std::int64_t add(const ::rlhf_comparison &pair)
    {
        std::int64_t id = 0;
        detail::must([&] { return ::rlhf_feedback_add(get(), &pair, &id); });
        return id;
    }
    /* How many were left out. */
    std::int64_t add_many(span<const comparison> comparisons)
    {
        std::int64_t skipped = 0;
        detail::must([&] {
            return ::rlhf_feedback_add_many(get(), comparisons.data(),
                                            detail::count(comparisons), &skipped);
        });
        return skipped;
    }
    std::optional<comparison> next()
    {
        comparison pair;
        const bool there =
            detail::more([&] { return ::rlhf_feedback_next(get(), &pair); });
        return there ? std::optional<comparison>(pair) : std::nullopt;
    }
    comparison at(std::int64_t id)
    {
        comparison pair;
        detail::must([&] { return ::rlhf_feedback_get(get(), id, &pair); });
        return pair;
    }
    void choose(std::int64_t id, rlhf_choice choice)
    {
        detail::must([&] { return ::rlhf_feedback_choose(get(), id, choice); });
    }
    /* The comparison that is without a choice again; nullopt: there was no choice. */
    std::optional<std::int64_t> undo()
    {
        std::int64_t id = 0;
        const bool there = detail::more([&] { return ::rlhf_feedback_undo(get(), &id); });
        return there ? std::optional<std::int64_t>(id) : std::nullopt;
    }
    feedback_info info()
    {
        feedback_info info;
        detail::must([&] { return ::rlhf_feedback_get_info(get(), &info); });
        return info;
    }
    void export_jsonl(std::string_view path)
    {
        const detail::c_string name(path);
        detail::must([&] { return ::rlhf_feedback_export(get(), name); });
    }
    dataset preferences(const dataset_options &options = {})
    {
        return detail::make<dataset>(keep(), [&](::rlhf_dataset **out) {
            return ::rlhf_feedback_dataset(get(), &options, out);
        });
    }
};

} // namespace rlhf

#endif
