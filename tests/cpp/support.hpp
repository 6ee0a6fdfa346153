/* What the C++ tests share: checks that say where, a folder of the test's own, a model of
 * a few thousand parameters. */
#ifndef TESTS_CPP_SUPPORT_HPP
#define TESTS_CPP_SUPPORT_HPP

#include <rlhf/rlhf.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace support
{

[[noreturn]] inline void fail(const char *file, int line, const std::string &what)
{
    throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition))                                                                \
            support::fail(__FILE__, __LINE__, #condition);                               \
    } while (0)

/* The exception that an expression throws; to throw none is a failure. */
#define THROWN(type, expression)                                                         \
    [&]() -> type {                                                                      \
        try {                                                                            \
            (void)(expression);                                                          \
        } catch (const type &caught) {                                                   \
            return caught;                                                               \
        }                                                                                \
        support::fail(__FILE__, __LINE__, #expression " threw no " #type);               \
    }()

inline bool contains(std::string_view text, std::string_view part)
{
    return text.find(part) != std::string_view::npos;
}

/* A temporary folder, gone at the end. */
class folder
{
  public:
    folder()
    {
        std::string name =
            (std::filesystem::temp_directory_path() / "rlhf-XXXXXX").string();
        CHECK(mkdtemp(name.data()));
        path_ = name;
    }
    folder(const folder &) = delete;
    ~folder() { std::filesystem::remove_all(path_); }

    std::string operator/(const char *name) const { return path_ + "/" + name; }
    std::string write(const char *name, std::string_view text) const
    {
        std::ofstream(*this / name, std::ios::binary) << text;
        return *this / name;
    }
    std::string read(const char *name) const
    {
        std::ifstream file(*this / name, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

  private:
    std::string path_;
};

constexpr std::int32_t vocab = 12, length = 64;

inline rlhf::model_config tiny_config()
{
    rlhf::model_config c;
    c.vocab_size = vocab;
    c.context_length = length;
    c.hidden_size = 16;
    c.intermediate_size = 32;
    c.num_layers = 2;
    c.num_heads = 2;
    c.bos_token_id = 0;
    c.eos_token_id = 1;
    return c;
}

inline rlhf::context one_thread()
{
    rlhf::context_options options;
    options.num_threads = 1;
    return rlhf::context(options);
}

inline rlhf::dataset repeated_rows(const rlhf::context &context, int rows, int size)
{
    rlhf::dataset dataset(context);
    std::vector<std::int32_t> tokens;
    for (int t = 0; t < size; t++)
        tokens.push_back(t * 5 % vocab);
    for (int i = 0; i < rows; i++)
        dataset.append(rlhf::example(tokens));
    return dataset;
}

struct test {
    const char *name;
    void (*run)();
};

/* Runs them all; the exit status. */
inline int run(std::initializer_list<test> tests)
{
    int failed = 0;
    for (const test &t : tests) {
        try {
            t.run();
            std::printf("[  OK  ] %s\n", t.name);
        } catch (const std::exception &e) {
            std::printf("[FAILED] %s: %s\n", t.name, e.what());
            failed++;
        }
    }
    return failed != 0;
}

} // namespace support

#endif
