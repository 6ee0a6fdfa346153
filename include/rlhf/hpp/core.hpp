/* rlhf.hpp: spans, errors, handles, structs, the context, configs. */
#ifndef RLHF_HPP_CORE_HPP
#define RLHF_HPP_CORE_HPP

#include <rlhf/rlhf.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rlhf
{

/* Elements of somebody else's array. Made from anything with data() and size(), from an
 * array, or from a braced list that outlives the call; converts to std::span. */
template <class T> class span
{
  public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr span(T (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    template <
        class C,
        class = std::enable_if_t<std::is_convertible_v<
            std::remove_pointer_t<decltype(std::declval<C &>().data())> (*)[], T (*)[]>>,
        class = decltype(std::declval<C &>().size())>
    constexpr span(C &&container) noexcept
        : data_(container.data()), size_(container.size())
    {
    }
    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    constexpr span(std::initializer_list<value_type> list) noexcept
        : span(list.begin(), list.size())
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/* --- errors ------------------------------------------------------------------------- */

/* A failed call: what() is the library's message, the rest are its parts. */
class error : public std::runtime_error
{
  public:
    error(rlhf_status status, const std::string &message) : runtime_error(message)
    {
        info_.status = status;
    }
    explicit error(const ::rlhf_error_info &info)
        : runtime_error(info.message), info_(info), file_(info.file), field_(info.field)
    {
    }

    rlhf_status status() const noexcept { return static_cast<rlhf_status>(info_.status); }
    int system_errno() const noexcept { return info_.system_errno; }
    std::int64_t line() const noexcept { return info_.line; }
    std::int64_t column() const noexcept { return info_.column; }
    const std::string &file() const noexcept { return file_; }
    const std::string &field() const noexcept { return field_; }

  private:
    ::rlhf_error_info info_ = {};
    std::string file_, field_;
};

/* RLHF_ERR_CANCELLED: the same call goes on. */
class cancelled : public error
{
  public:
    using error::error;
};

inline std::string_view version()
{
    return ::rlhf_version();
}
inline std::string_view status_name(std::int32_t status)
{
    return ::rlhf_status_name(status);
}

/* The structs without an _init: struct_size is set, all else is zero. */
template <class C> struct sized : C {
    using c_type = C;
    sized() noexcept : C() { this->struct_size = sizeof(C); }
};

using error_info = sized<::rlhf_error_info>;
using memory_info = sized<::rlhf_memory_info>;

namespace detail
{

/* What a callback threw in the call that this thread is in. While it is set the host's
 * callbacks are passed over: the call is on its way out. */
inline std::exception_ptr &thrown() noexcept
{
    thread_local std::exception_ptr exception;
    return exception;
}

/* Runs a host's callback for C: true unless it threw, now or before. */
template <class F> bool guarded(F &&callback) noexcept
{
    if (thrown())
        return false;
    try {
        callback();
        return true;
    } catch (...) {
        thrown() = std::current_exception();
        return false;
    }
}

[[noreturn]] inline void fail(rlhf_status status)
{
    error_info info;

    if (::rlhf_last_error_info(&info) != RLHF_OK || info.status != status)
        throw error(status, ::rlhf_status_name(status));
    if (status == RLHF_ERR_CANCELLED)
        throw cancelled(info);
    throw error(info);
}

/* Runs a call of the library that may run callbacks: what one threw goes on from here. */
template <class F> rlhf_status run(F &&call)
{
    thrown() = nullptr;
    const rlhf_status status = call();
    if (thrown())
        std::rethrow_exception(std::exchange(thrown(), nullptr));
    return status;
}

/* The same where each failure is an exception. */
template <class F> void must(F &&call)
{
    const rlhf_status status = run(std::forward<F>(call));
    if (status != RLHF_OK)
        fail(status);
}

/* The same where the end of a stream is none: false there. */
template <class F> bool more(F &&call)
{
    const rlhf_status status = run(std::forward<F>(call));
    if (status != RLHF_OK && status != RLHF_ERR_NOT_FOUND)
        fail(status);
    return status == RLHF_OK;
}

/* A text as C takes it; a zero within would cut it short unseen. */
class c_string
{
  public:
    c_string(std::string_view text) : text_(text)
    {
        if (text_.find('\0') != std::string::npos)
            throw error(RLHF_ERR_INVALID_ARG, "a name or path has a zero byte in it");
    }
    operator const char *() const noexcept { return text_.c_str(); }

  private:
    std::string text_;
};

template <class T> std::int64_t count(const T &container) noexcept
{
    return static_cast<std::int64_t>(container.size());
}

/* An owned C handle. `keep` is what callbacks use that may run as long as it lives. */
template <class T, void (*Free)(T *)> class handle
{
  public:
    using c_type = T;

    handle() noexcept = default;
    explicit handle(T *owned, std::shared_ptr<void> keep = nullptr) noexcept
        : keep_(std::move(keep)), c_(owned)
    {
    }
    handle(handle &&other) noexcept
        : keep_(std::move(other.keep_)), c_(std::exchange(other.c_, nullptr))
    {
    }
    handle &operator=(handle &&other) noexcept
    {
        handle old(std::move(other));
        std::swap(keep_, old.keep_);
        std::swap(c_, old.c_);
        return *this;
    }
    ~handle() { Free(c_); }

    /* The C handle, borrowed: for C code, and to cancel from a signal handler. */
    T *get() const noexcept { return c_; }
    explicit operator bool() const noexcept { return c_ != nullptr; }
    const std::shared_ptr<void> &keep() const noexcept { return keep_; }

  protected:
    explicit handle(std::shared_ptr<void> keep) noexcept : keep_(std::move(keep)) {}
    T **put() noexcept { return &c_; }

  private:
    std::shared_ptr<void> keep_; /* goes after the handle is freed */
    T *c_ = nullptr;
};

/* An object that `call` writes: H(keep), then the C function with where to put it. */
template <class H, class F> H make(std::shared_ptr<void> keep, F &&call)
{
    typename H::c_type *made = nullptr;
    const auto adopt = [&] { return H(std::exchange(made, nullptr), std::move(keep)); };

    try {
        must([&] { return call(&made); });
    } catch (...) {
        adopt();
        throw;
    }
    return adopt();
}

/* An options struct with the library's defaults. */
template <class C, rlhf_status (*Init)(C *, std::size_t)> struct initialised : C {
    using c_type = C;
    initialised() : C()
    {
        must([&] { return Init(this, sizeof(C)); });
    }
};

} // namespace detail

/* --- context ------------------------------------------------------------------------ */

/* What a callback throws stops the call that it runs in and arrives from there. */
struct context_options
    : detail::initialised<::rlhf_context_options, ::rlhf_context_options_init> {
    static constexpr const char *struct_name = "rlhf_context_options";
    std::function<void(std::int32_t level, std::string_view message)> on_log;
    std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)>
        on_progress;
};

namespace detail
{

/* The callbacks of a context, which outlive all that is made from it. */
struct callbacks {
    decltype(context_options::on_log) log;
    decltype(context_options::on_progress) progress;
    ::rlhf_context *context = nullptr;

    static void on_log(void *self, std::int32_t level, const char *message) noexcept
    {
        guarded([&] { static_cast<callbacks *>(self)->log(level, message); });
    }

    /* The library looks for a cancellation after each of these but a stage's last: what
     * is done then is kept, and the exception goes on from the call's end. */
    static void on_progress(void *self, const char *stage, std::int64_t done,
                            std::int64_t total) noexcept
    {
        const auto *callbacks_ = static_cast<callbacks *>(self);
        const bool went = guarded([&] {
            if (callbacks_->progress)
                callbacks_->progress(stage, done, total);
        });
        if (!went && (done != total || total == 0))
            ::rlhf_context_cancel(callbacks_->context);
    }
};

} // namespace detail

class context : public detail::handle<::rlhf_context, ::rlhf_context_free>
{
  public:
    using handle::handle;
    explicit context(const context_options &options = {})
        : context(options, std::make_shared<detail::callbacks>())
    {
    }

    void cancel() noexcept { ::rlhf_context_cancel(get()); }
    std::int32_t cpu_level() const noexcept { return ::rlhf_context_cpu_level(get()); }
    std::int32_t dtype() const noexcept { return ::rlhf_context_dtype(get()); }
    std::int32_t num_threads() const noexcept
    {
        return ::rlhf_context_num_threads(get());
    }
    memory_info memory() const
    {
        memory_info info;
        detail::must([&] { return ::rlhf_context_memory(get(), &info); });
        return info;
    }

  private:
    context(const context_options &options, std::shared_ptr<detail::callbacks> callbacks)
        : handle(callbacks)
    {
        ::rlhf_context_options c = options;

        callbacks->log = options.on_log;
        callbacks->progress = options.on_progress;
        if (options.on_log) {
            c.log = detail::callbacks::on_log;
            c.log_user_data = callbacks.get();
        }
        if (!c.progress || options.on_progress) {
            c.progress = detail::callbacks::on_progress;
            c.progress_user_data = callbacks.get();
        }
        detail::must([&] { return ::rlhf_context_create(&c, put()); });
        callbacks->context = get();
    }
};

/* --- config ------------------------------------------------------------------------- */

class config : public detail::handle<::rlhf_config, ::rlhf_config_free>
{
  public:
    using handle::handle;

    static config load(const context &context, std::string_view path)
    {
        const detail::c_string name(path);
        return detail::make<config>(context.keep(), [&](::rlhf_config **out) {
            return ::rlhf_config_load(context.get(), name, out);
        });
    }

    /* `options`: any options struct of this namespace; its texts stay the config's. */
    template <class O> void read(std::string_view section, O &options)
    {
        const detail::c_string name(section);
        typename O::c_type *c = &options;
        detail::must([&] { return ::rlhf_config_read(get(), name, O::struct_name, c); });
    }
    std::optional<std::string> string(std::string_view path)
    {
        const detail::c_string name(path);
        const char *value = nullptr;
        detail::must([&] { return ::rlhf_config_string(get(), name, nullptr, &value); });
        return value ? std::optional<std::string>(value) : std::nullopt;
    }
    std::int64_t integer(std::string_view path, std::int64_t fallback, std::int64_t min,
                         std::int64_t max)
    {
        const detail::c_string name(path);
        std::int64_t value = 0;
        detail::must(
            [&] { return ::rlhf_config_int(get(), name, fallback, min, max, &value); });
        return value;
    }
    double number(std::string_view path, double fallback, double min, double max)
    {
        const detail::c_string name(path);
        double value = 0;
        detail::must([&] {
            return ::rlhf_config_double(get(), name, fallback, min, max, &value);
        });
        return value;
    }
    void finish() const
    {
        detail::must([&] { return ::rlhf_config_finish(get()); });
    }
};

} // namespace rlhf

#endif
