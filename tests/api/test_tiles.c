/* AMX's tiles are state that the system gives to a process which asks: that is done where
 * a context needs them, and a host's small signal stack goes before. */
#include "outcome.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static int32_t level_of(int32_t requested, int32_t dtype)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;
    int32_t level = 0;

    rlhf_context_options_init(&options, sizeof options);
    options.cpu_level = requested;
    options.dtype = dtype;
    options.num_threads = 1;
    if (rlhf_context_create(&options, &context) == RLHF_OK)
        level = rlhf_context_cpu_level(context);
    rlhf_context_free(context);
    return level;
}

/* A permission stays with the process, so each question is asked in one of its own. */
static int in_child(int (*question)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(question());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int amx_runs(void)
{
    return level_of(RLHF_CPU_AMX, RLHF_DTYPE_BF16) == RLHF_CPU_AMX;
}

/* Room for what AVX-512 saves, not for tiles. Other architectures want more. */
static int set_small_stack(void)
{
#if defined(__x86_64__)
    static char memory[4096];
#else
    static char memory[1 << 16];
#endif
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};

    return sigaltstack(&stack, NULL) == 0;
}

static int small_stack_comes_first(void)
{
    errno = 0;
    return set_small_stack() &&
           level_of(RLHF_CPU_AUTO, RLHF_DTYPE_BF16) == RLHF_CPU_AVX512_BF16 &&
           level_of(RLHF_CPU_AMX, RLHF_DTYPE_BF16) == 0 && errno == 0;
}

static int fp32_asks_for_nothing(void)
{
    return level_of(RLHF_CPU_AUTO, RLHF_DTYPE_FP32) <= RLHF_CPU_AVX512_BF16 &&
           set_small_stack();
}

static void test_bf16_takes_tiles_by_itself(void **state)
{
    (void)state;
    if (!in_child(amx_runs))
        skip();
    assert_int_equal(level_of(RLHF_CPU_AUTO, RLHF_DTYPE_BF16), RLHF_CPU_AMX);
}

static void test_small_signal_stack_comes_before_tiles(void **state)
{
    (void)state;
    if (!in_child(amx_runs))
        skip();
    assert_true(in_child(small_stack_comes_first));
}

static void test_fp32_asks_for_no_tiles(void **state)
{
    (void)state;
    assert_true(in_child(fp32_asks_for_nothing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_signal_stack_comes_before_tiles),
        cmocka_unit_test(test_fp32_asks_for_no_tiles),
        cmocka_unit_test(test_bf16_takes_tiles_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
