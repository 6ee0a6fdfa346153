/* PPO inside of a game's loop, in C++: a little work each frame, and nothing blocks.
 *
 *     build/examples/game_loop [ROUNDS] [FOLDER]
 *
 * Thirty-two creatures each dance eight steps, one a frame, drawn from a policy. The
 * player likes a dance that alternates left and right; after the last step every dance is
 * scored and the policy learns, one micro-batch a frame, while the game goes on drawing.
 * Escape (here: Ctrl-C) stops at once, wherever the learning is, and what was learnt is
 * kept.
 *
 * The game plays without files: the policy is made on the spot, and a token is a move. */
#include <rlhf/rlhf.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace
{

enum move : std::int32_t { music, left, right, jump, num_moves };

constexpr int creatures = 32, steps = 8;

/* How far a dance alternates: 1 if each step is left after right, or right after left. */
float applause(const rlhf::rollout_sequence &sequence)
{
    int good = 0;

    for (std::int64_t t = sequence.num_prompt + 1; t < sequence.num_tokens; t++)
        good += sequence.tokens[t - 1] + sequence.tokens[t] == left + right &&
                sequence.tokens[t] != sequence.tokens[t - 1] &&
                sequence.tokens[t] != music && sequence.tokens[t] != jump;
    return static_cast<float>(good) / (steps - 1);
}

rlhf::model_config small_policy()
{
    rlhf::model_config config;

    config.vocab_size = num_moves;
    config.context_length = steps + 1;
    config.hidden_size = 32;
    config.num_layers = 2;
    config.num_heads = 2;
    return config;
}

rlhf::ppo_options learning(int rounds)
{
    rlhf::ppo_options options;

    options.max_new_tokens = steps;
    options.stop_token_id = -2;
    options.num_minibatches = 2;
    options.num_epochs = 4;
    options.learning_rate = options.value_learning_rate = 0.001;
    options.kl_coef = 0;
    options.total_iterations = rounds;
    return options;
}

rlhf::generator_options dancing()
{
    rlhf::generator_options options;

    options.max_new_tokens = steps;
    options.use_stop_tokens = 0;
    return options;
}

/* The part of the game that learns: each frame does one thing and returns. */
class dance_school
{
  public:
    dance_school(const rlhf::context &context, int rounds)
        : context_(context), policy_(context, small_policy(), 1),
          trainer_(policy_, learning(rounds)), dancers_(policy_, dancing())
    {
        begin();
    }

    void frame()
    {
        switch (phase_) {
        case phase::dance:
            if (dancers_.step() == 0)
                phase_ = phase::judge;
            break;
        case phase::judge:
            judge();
            phase_ = phase::accumulate;
            break;
        case phase::accumulate:
            if (trainer_.accumulate(dances_) == 0)
                phase_ = phase::apply;
            break;
        case phase::apply:
            phase_ = trainer_.apply(stats_) ? phase::over : phase::accumulate;
            break;
        case phase::over:
            begin();
            break;
        }
    }

    std::int64_t rounds() const { return trainer_.num_iterations(); }
    bool between_rounds() const { return phase_ == phase::over; }
    const rlhf::ppo_stats &stats() const { return stats_; }
    void save(const char *folder) { policy_.save(folder); }

  private:
    enum class phase { dance, judge, accumulate, apply, over };

    /* New ids: the same policy dances otherwise each round. */
    void begin()
    {
        std::vector<std::int64_t> ids;
        rlhf::batch prompts;

        for (int i = 0; i < creatures; i++) {
            prompts.add({music});
            ids.push_back(rounds() * creatures + i);
        }
        dancers_.start(prompts, ids);
        phase_ = phase::dance;
    }

    /* The answers as they were drawn, with their log-probabilities: for PPO it is all
     * the same who decoded them. */
    void judge()
    {
        dances_ = rlhf::rollout(context_);
        for (std::int64_t i = 0; i < dancers_.size(); i++)
            dances_.append(dancers_[i]);
        dances_.score(applause);
        trainer_.advantages(dances_);
    }

    const rlhf::context &context_;
    rlhf::model policy_;
    rlhf::ppo_trainer trainer_;
    rlhf::generator dancers_;
    rlhf::rollout dances_;
    rlhf::ppo_stats stats_;
    phase phase_ = phase::dance;
};

rlhf_context *cancelled_by_escape;
volatile std::sig_atomic_t escape_pressed;

extern "C" void on_escape(int)
{
    escape_pressed = 1;
    rlhf_context_cancel(cancelled_by_escape);
}

/* Where a game would move and draw its world. */
void draw_world() {}

void play(int rounds, const char *folder)
{
    using clock = std::chrono::steady_clock;
    const rlhf::context context;
    dance_school school(context, rounds);
    double longest = 0;
    std::int64_t frames = 0;

    cancelled_by_escape = context.get();
    std::signal(SIGINT, on_escape);
    try {
        while (!escape_pressed && school.rounds() < rounds) {
            const auto start = clock::now();
            school.frame();
            draw_world();
            const std::chrono::duration<double, std::milli> spent = clock::now() - start;
            longest = std::max(longest, spent.count());
            frames++;
            if (school.between_rounds() && school.rounds() % 10 == 0) {
                std::printf("round %3d  applause %.3f\n",
                            static_cast<int>(school.rounds()), school.stats().score);
                std::fflush(stdout);
            }
        }
    } catch (const rlhf::cancelled &) {
        /* Escape within a frame: the policy is that of the last whole step. */
    }
    std::signal(SIGINT, SIG_DFL);
    std::printf("%d frames, the longest %.1f ms; ratio off by %g at first\n",
                static_cast<int>(frames), longest, school.stats().first_ratio_deviation);
    if (!folder)
        return;
    try {
        school.save(folder);
    } catch (const rlhf::cancelled &) {
        school.save(folder); /* Escape came between two frames and waited for a call */
    }
}

} // namespace

int main(int argc, char **argv)
{
    try {
        play(argc > 1 ? std::max(1, std::atoi(argv[1])) : 40,
             argc > 2 ? argv[2] : nullptr);
        return 0;
    } catch (const rlhf::error &e) {
        std::fprintf(stderr, "game_loop: %s\n", e.what());
        return 1;
    }
}
