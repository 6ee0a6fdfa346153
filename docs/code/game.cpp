/* A character that talks, and learns what the player likes, a little in each frame.
 *
 *     ./game MODEL [quit]
 *
 * A frame does one small piece of work and comes back: a token of the line that is being
 * said, or one micro-batch of learning. The player may walk away at any time, and quit
 * while the model is still being read. */
#include <rlhf/rlhf.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

/* Handles free themselves, in any order: each holds what it needs. */
template <auto Free> struct Freer {
    template <class T> void operator()(T *handle) const { Free(handle); }
};
template <class T, auto Free> using Handle = std::unique_ptr<T, Freer<Free>>;
using Context = Handle<rlhf_context, rlhf_context_free>;
using Model = Handle<rlhf_model, rlhf_model_free>;
using Tokenizer = Handle<rlhf_tokenizer, rlhf_tokenizer_free>;
using Generator = Handle<rlhf_generator, rlhf_generator_free>;
using Rollout = Handle<rlhf_rollout, rlhf_rollout_free>;
using Trainer = Handle<rlhf_ppo_trainer, rlhf_ppo_trainer_free>;

struct Cancelled {
};

static void check(rlhf_status status)
{
    if (status == RLHF_ERR_CANCELLED)
        throw Cancelled();
    if (status != RLHF_OK)
        throw std::runtime_error(rlhf_last_error_message());
}

/* Makes a handle by a constructor that writes it last. */
template <class H, class Create, class... Arguments>
static H make(Create create, Arguments... arguments)
{
    typename H::pointer made = nullptr;
    check(create(arguments..., &made));
    return H(made);
}

class Character
{
  public:
    Character(rlhf_context *context, const char *folder)
        : context_(context),
          tokenizer_(make<Tokenizer>(rlhf_tokenizer_load, context, folder)),
          model_(make<Model>(rlhf_model_load, context, folder))
    {
        rlhf_generator_options talk;
        check(rlhf_generator_options_init(&talk, sizeof talk));
        talk.max_new_tokens = max_words;
        talk.tokenizer = tokenizer_.get();
        talk.text = hear;
        talk.text_user_data = this;
        mouth_ = make<Generator>(rlhf_generator_create, model_.get(),
                                 static_cast<rlhf_sampler *>(nullptr), &talk);
        rlhf_ppo_options learn;
        check(rlhf_ppo_options_init(&learn, sizeof learn));
        learn.max_new_tokens = max_words;
        learn.num_epochs = 1;
        learn.num_minibatches = 2;
        learn.micro_batch_tokens = 128; /* what a frame can bear */
        learn.learning_rate = learn.value_learning_rate = 3e-4;
        trainer_ = make<Trainer>(rlhf_ppo_trainer_create, model_.get(),
                                 static_cast<rlhf_model *>(nullptr),
                                 static_cast<rlhf_reward_model *>(nullptr),
                                 static_cast<rlhf_reward_model *>(nullptr), &learn);
        lines_ = make<Rollout>(rlhf_rollout_create, context);
    }

    bool talking() const { return talking_; }
    bool learning() const { return remaining_ >= 0; }
    const std::string &words() const { return words_; }

    /* Begins a line; the frames say it. */
    void begin(const std::string &prompt)
    {
        std::vector<int32_t> ids(prompt.size() + 2);
        int64_t ends[2] = {0, 0}, count = 0;
        if (rlhf_tokenizer_bos_id(tokenizer_.get()) >= 0)
            ids[static_cast<std::size_t>(ends[1]++)] =
                rlhf_tokenizer_bos_id(tokenizer_.get());
        check(rlhf_tokenizer_encode(tokenizer_.get(), prompt.data(), prompt.size(), 0,
                                    ids.data() + ends[1],
                                    static_cast<int64_t>(ids.size()) - ends[1], &count));
        ends[1] += count;
        const int64_t id = said_++; /* other dice for each line */
        check(rlhf_generator_start(mouth_.get(), ids.data(), ends, 1, &id));
        words_.clear();
        talking_ = true;
    }

    /* The player walked away: the line is forgotten. */
    void interrupt() { talking_ = false; }

    /* The player's face, after a line: it becomes something to learn from. */
    void rate(double score)
    {
        rlhf_generation line = {};
        line.struct_size = sizeof line;
        check(rlhf_generator_get(mouth_.get(), 0, &line));
        const auto size = static_cast<std::size_t>(line.num_tokens);
        const auto prompt = static_cast<std::size_t>(line.num_prompt);
        std::vector<uint8_t> mask(size, 0);
        std::vector<float> logprobs(size, 0.0F);
        std::fill(mask.begin() + line.num_prompt, mask.end(), uint8_t{1});
        std::copy(line.logprobs, line.logprobs + (size - prompt),
                  logprobs.begin() + line.num_prompt);
        rlhf_rollout_input input = {};
        input.struct_size = sizeof input;
        input.tokens = line.tokens;
        input.action_mask = mask.data();
        input.logprobs = logprobs.data();
        input.num_tokens = line.num_tokens;
        input.finish = line.finish;
        input.score = score;
        check(rlhf_rollout_append(lines_.get(), &input));
        if (rlhf_rollout_num_sequences(lines_.get()) == lesson)
            remaining_ = 0; /* enough: the next frames learn */
    }

    /* One small piece of work. A cancelled one is done again in the next frame. */
    void frame()
    {
        rlhf_status status = RLHF_OK;
        if (talking_) {
            int64_t active = 0;
            status = rlhf_generator_step(mouth_.get(), &active);
            talking_ = status != RLHF_OK || active > 0;
        } else if (learning()) {
            status = learn_a_little();
        }
        if (status != RLHF_ERR_CANCELLED)
            check(status);
    }

  private:
    static constexpr int32_t max_words = 24;
    static constexpr int64_t lesson = 8; /* lines */

    static int32_t hear(void *self, int64_t, const char *text, std::size_t size)
    {
        static_cast<Character *>(self)->words_.append(text, size);
        return 0;
    }

    rlhf_status learn_a_little()
    {
        if (!prepared_) {
            const rlhf_status status =
                rlhf_ppo_trainer_advantages(trainer_.get(), lines_.get());
            prepared_ = status == RLHF_OK;
            remaining_ = 1;
            return status;
        }
        if (remaining_ > 0)
            return rlhf_ppo_trainer_accumulate(trainer_.get(), lines_.get(), &remaining_);
        int32_t done = 0;
        rlhf_ppo_stats stats = {};
        stats.struct_size = sizeof stats;
        const rlhf_status status = rlhf_ppo_trainer_apply(trainer_.get(), &done, &stats);
        remaining_ = 1;
        if (status == RLHF_OK && done != 0) {
            std::printf("    (lesson %d: score %.2f, kl %.3f)\n",
                        static_cast<int>(stats.iteration), stats.score, stats.kl);
            lines_ = make<Rollout>(rlhf_rollout_create, context_);
            prepared_ = false;
            remaining_ = -1;
        }
        return status;
    }

    rlhf_context *context_;
    Tokenizer tokenizer_;
    Model model_;
    Generator mouth_;
    Trainer trainer_;
    Rollout lines_;
    std::string words_;
    int64_t said_ = 0, remaining_ = -1; /* micro-batches; -1: nothing to learn */
    bool talking_ = false, prepared_ = false;
};

/* Reading a model takes longer than a frame: it has a thread of its own, the frames go
 * on, and a player who quits does not wait for it. */
static std::unique_ptr<Character> load(rlhf_context *context, const char *folder,
                                       bool quits)
{
    auto loading = std::async(
        std::launch::async, [=] { return std::make_unique<Character>(context, folder); });
    do {
        if (quits)
            rlhf_context_cancel(context);
    } while (loading.wait_for(std::chrono::milliseconds(16)) !=
             std::future_status::ready);
    auto character = loading.get(); /* or Cancelled */
    if (quits)
        throw Cancelled(); /* it was there before the request was heard */
    return character;
}

/* Stands for the game: a player who likes exclamations, and sometimes walks away. */
static void play(const char *folder, bool quits)
{
    rlhf_context_options options;
    check(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 1; /* the other cores draw */
    const auto context = make<Context>(rlhf_context_create, &options);
    const auto character = load(context.get(), folder, quits);
    std::chrono::duration<double, std::milli> longest{0};
    int lines = 0;

    for (int frame = 0; lines < 20 || character->learning(); frame++) {
        const auto start = std::chrono::steady_clock::now();
        if (frame % 97 == 96)
            character->interrupt(); /* walks away */
        else if (!character->talking() && !character->learning())
            character->begin("Mia is happy. The sun shines. Mia wants to fish.");
        const bool talked = character->talking();
        character->frame();
        if (talked && !character->talking()) {
            std::printf("%s\n", character->words().c_str());
            character->rate(character->words().find('!') != std::string::npos ? 1 : -1);
            lines++;
        }
        longest = std::max(longest, std::chrono::duration<double, std::milli>(
                                        std::chrono::steady_clock::now() - start));
    }
    std::printf("longest frame %.1f ms\n", longest.count());
}

int main(int argc, char **argv)
{
    try {
        if (argc < 2)
            throw std::runtime_error("usage: game MODEL [quit]");
        play(argv[1], argc > 2);
    } catch (const Cancelled &) {
        std::puts("left");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "game: %s\n", error.what());
        return 1;
    }
    return 0;
}
