/* Temporary files and folders of processes that were killed while they wrote: the next
 * save to the same path removes them, but nothing that somebody holds and nothing that
 * only looks alike. */
#include "support.h"

#include "test_files.h"

#include <sys/wait.h>

#include "base/file.h"

static int setup(void **state)
{
    char *folder = malloc(TEST_PATH);

    test_folder_make(folder);
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(*state);
    free(*state);
    return 0;
}

static void save_folder(const char *path, const char *text)
{
    rlhf__folder *folder = NULL;

    assert_ok(rlhf__folder_begin(NULL, path, false, &folder));
    assert_ok(rlhf__folder_write(folder, "a", text, (int64_t)strlen(text)));
    assert_ok(rlhf__folder_commit(folder));
}

static void assert_holds(const char *path, const char *name, const char *expected)
{
    char *text = test_read(test_join(path, name), NULL);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

/* Runs `work` in a process that does not live to its end. */
static void run_and_die(void (*work)(const char *path), const char *path)
{
    int how = 0;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        work(path);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
}

static void die_in_a_folder(const char *path)
{
    rlhf__folder *folder = NULL;

    if (rlhf__folder_begin(NULL, path, true, &folder) == RLHF_OK &&
        rlhf__folder_write(folder, "half", "1", 1) == RLHF_OK)
        kill(getpid(), SIGKILL);
}

/* SIGXFSZ ends it after a thousand bytes. */
static void die_in_a_file(const char *path)
{
    const char bytes[5000] = {0};

    signal(SIGXFSZ, SIG_DFL);
    const struct rlimit limit = {1000, 1000};
    if (setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
        rlhf__file_write(NULL, path, bytes, 1000) == RLHF_OK)
        (void)rlhf__file_write(NULL, path, bytes, sizeof bytes);
}

static void test_left_of_the_killed_goes_with_the_next_save(void **state)
{
    const char *folder = *state;
    const char *model = test_join(folder, "model"), *file = test_join(folder, "file");

    save_folder(model, "1");
    run_and_die(die_in_a_folder, model);
    run_and_die(die_in_a_folder, model);
    run_and_die(die_in_a_file, file);
    assert_int_equal(test_count_entries(folder), 5);
    save_folder(model, "2");
    assert_int_equal(test_count_entries(folder), 3); /* the file's is not the model's */
    assert_holds(model, "a", "2");
    assert_ok(rlhf__file_write(NULL, file, "3", 1));
    assert_int_equal(test_count_entries(folder), 2);
    assert_holds(folder, "file", "3");
}

/* Two at once: the one that commits first leaves the other's alone. */
static void test_temporary_that_is_held_stays(void **state)
{
    const char *path = test_join(*state, "model");
    rlhf__folder *folder = NULL;

    assert_ok(rlhf__folder_begin(NULL, path, false, &folder));
    assert_ok(rlhf__folder_write(folder, "a", "slow", 4));
    save_folder(path, "quick");
    assert_int_equal(test_count_entries(*state), 2);
    assert_holds(rlhf__folder_path(folder), "a", "slow");
    assert_ok(rlhf__folder_commit(folder));
    assert_int_equal(test_count_entries(*state), 1);
    assert_holds(path, "a", "slow");
}

/* The last but two: an old folder that stepped aside, and the only copy after a crash. */
static void test_names_that_only_look_alike_stay(void **state)
{
    static const char *const names[] = {"model2.tmp-1-123456789-0",
                                        "mode.tmp-1-123456789-0",
                                        "model.tmp-1-123456789-0x",
                                        "model.tmp-1-12345678-0",
                                        "model.tmp--123456789-0",
                                        "model.tmp-1-123456789-",
                                        "model.tmp-x-123456789-0",
                                        "model.tmp-1-123456789",
                                        "model.tmp",
                                        "model.tmp-1-123456789-1000",
                                        "model.bak",
                                        "xmodel.tmp-1-123456789-0"};
    const int count = (int)(sizeof names / sizeof names[0]);
    char target[2 * TEST_PATH];

    snprintf(target, sizeof target, "%s/kept", (const char *)*state);
    for (int i = 0; i < count; i++)
        test_write(test_join(*state, names[i]), "x", 1);
    test_write(target, "kept", 4);
    assert_int_equal(symlink(target, test_join(*state, "model.tmp-1-123456789-1")), 0);
    test_write(test_join(*state, "model.tmp-1-123456789-2"), "x", 1);
    save_folder(test_join(*state, "model"), "1");
    assert_int_equal(test_count_entries(*state), count + 3);
    assert_false(test_exists(test_join(*state, "model.tmp-1-123456789-2")));
    assert_holds(*state, "kept", "kept");
}

/* Not before the new one stands. */
static void test_save_that_fails_removes_nothing(void **state)
{
    const char *path = test_join(*state, "model");
    rlhf__folder *folder = NULL;

    run_and_die(die_in_a_folder, path);
    assert_ok(rlhf__folder_begin(NULL, path, false, &folder));
    rlhf__folder_abort(folder);
    assert_int_equal(test_count_entries(*state), 1);
    save_folder(path, "1");
    assert_int_equal(test_count_entries(*state), 1);
    assert_holds(path, "a", "1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_left_of_the_killed_goes_with_the_next_save),
        TEST(test_temporary_that_is_held_stays),
        TEST(test_names_that_only_look_alike_stay),
        TEST(test_save_that_fails_removes_nothing),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
