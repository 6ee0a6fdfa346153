/* What stands where something is saved: followed through links, replaced with its rights
 * kept, or refused by name. */
#include "support.h"

#include "test_files.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "base/file.h"

static char model[TEST_PATH + 8], file[TEST_PATH + 8], pipe_path[TEST_PATH + 8];

static int setup(void **state)
{
    char *folder = malloc(TEST_PATH);

    test_folder_make(folder);
    snprintf(model, sizeof model, "%s/model", folder);
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(pipe_path, sizeof pipe_path, "%s/pipe", folder);
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(*state);
    free(*state);
    return 0;
}

static rlhf_status save_folder(const char *path, const char *text)
{
    rlhf__folder *folder = NULL;

    RLHF__TRY(rlhf__folder_begin(NULL, path, true, &folder));
    const rlhf_status status =
        rlhf__folder_write(folder, "a", text, (int64_t)strlen(text));
    if (status == RLHF_OK)
        return rlhf__folder_commit(folder);
    rlhf__folder_abort(folder);
    return status;
}

static void assert_holds(const char *path, const char *name, const char *expected)
{
    char *text = test_read(test_join(path, name), NULL);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_link(const char *path, const char *expected)
{
    char target[TEST_PATH] = {0};

    assert_true(readlink(path, target, sizeof target - 1) > 0);
    assert_string_equal(target, expected);
}

/* --- links -------------------------------------------------------------------------- */

static void test_link_stays_and_the_folder_it_names_is_replaced(void **state)
{
    static const char *const names[] = {"link",   "link/",         "link//",   "second",
                                        "third/", "model/../link", "./second/"};
    const char *folder = *state;
    char absolute[2 * TEST_PATH];

    snprintf(absolute, sizeof absolute, "%s/second", folder);
    assert_ok(save_folder(model, "1"));
    test_write(test_join(model, "mine"), "kept", 4);
    assert_int_equal(symlink("model", test_join(folder, "link")), 0);
    assert_int_equal(symlink("./link/", test_join(folder, "second")), 0);
    assert_int_equal(symlink(absolute, test_join(folder, "third")), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(save_folder(test_join(folder, names[i]), names[i]));
        assert_holds(model, "a", names[i]);
        assert_holds(model, "mine", "kept");
        assert_link(test_join(folder, "link"), "model");
        assert_link(test_join(folder, "second"), "./link/");
        assert_link(test_join(folder, "third"), absolute);
        assert_int_equal(test_count_entries(folder), 4);
    }
}

static void test_link_to_nothing_leads_to_what_is_made(void **state)
{
    const char *folder = *state;

    assert_int_equal(symlink("model", test_join(folder, "link")), 0);
    assert_int_equal(symlink("link", test_join(folder, "second")), 0);
    assert_ok(save_folder(test_join(folder, "second/"), "1"));
    assert_holds(test_join(folder, "model"), "a", "1");
    assert_int_equal(symlink("file", test_join(folder, "to-file")), 0);
    assert_ok(rlhf__file_write(NULL, test_join(folder, "to-file"), "2", 1));
    assert_holds(folder, "file", "2");
    assert_link(test_join(folder, "to-file"), "file");
    assert_int_equal(test_count_entries(folder), 5);
}

static void test_link_that_leads_nowhere_is_refused(void **state)
{
    const char *folder = *state;

    assert_int_equal(symlink("no/such/place", test_join(folder, "lost")), 0);
    assert_int_equal(symlink("round", test_join(folder, "round")), 0);
    assert_fails(save_folder(test_join(folder, "lost"), "1"), RLHF_ERR_NOT_FOUND, "lost");
    assert_fails(save_folder(test_join(folder, "lost/"), "1"), RLHF_ERR_NOT_FOUND,
                 "lost");
    assert_fails(save_folder(test_join(folder, "round"), "1"), RLHF_ERR_IO, "round");
    assert_fails(rlhf__file_write(NULL, test_join(folder, "lost"), "1", 1),
                 RLHF_ERR_NOT_FOUND, "lost");
    assert_fails(rlhf__file_write(NULL, test_join(folder, "round"), "1", 1), RLHF_ERR_IO,
                 "round");
    assert_int_equal(test_count_entries(folder), 2);
}

/* --- changed by somebody else meanwhile --------------------------------------------- */

static void test_folder_that_became_a_link_is_refused(void **state)
{
    const char *folder = *state;
    rlhf__folder *writing = NULL;

    assert_ok(save_folder(test_join(folder, "model"), "1"));
    assert_ok(save_folder(test_join(folder, "other"), "2"));
    assert_ok(rlhf__folder_begin(NULL, test_join(folder, "model"), true, &writing));
    assert_ok(rlhf__folder_write(writing, "a", "3", 1));
    assert_int_equal(rename(test_join(folder, "model"), test_join(folder, "model.bak")),
                     0);
    assert_int_equal(symlink("other", test_join(folder, "model")), 0);
    assert_fails(rlhf__folder_commit(writing), RLHF_ERR_IO, "model");
    assert_link(test_join(folder, "model"), "other");
    assert_holds(test_join(folder, "other"), "a", "2");
    assert_holds(test_join(folder, "model.bak"), "a", "1");
    assert_int_equal(test_count_entries(folder), 3);
}

static const char *moved_to;

static bool move_away(const char *name)
{
    (void)name;
    (void)!rename(model, moved_to);
    return false;
}

/* While the old folder is listed, after it was opened. */
static void test_folder_moved_away_keeps_its_files(void **state)
{
    const char *folder = *state;
    rlhf__folder *writing = NULL;

    moved_to = test_join(folder, "moved");
    assert_ok(save_folder(model, "1"));
    assert_ok(rlhf__folder_begin(NULL, model, true, &writing));
    assert_ok(rlhf__folder_write(writing, "a", "2", 1));
    rlhf__folder_set_drop(writing, move_away);
    assert_ok(rlhf__folder_commit(writing));
    assert_holds(model, "a", "2");
    assert_holds(moved_to, "a", "1");
    assert_int_equal(test_count_entries(folder), 2);
}

/* --- the current directory ---------------------------------------------------------- */

static void test_folder_is_named_by_dots(void **state)
{
    assert_ok(save_folder(model, "1"));
    assert_ok(save_folder(test_join(model, "."), "2"));
    assert_holds(model, "a", "2");
    assert_int_equal(mkdir(test_join(model, "sub"), 0777), 0);
    assert_ok(save_folder(test_join(model, "sub/.."), "3"));
    assert_holds(model, "a", "3");
    assert_fails(save_folder(test_join(model, "none/.."), "4"), RLHF_ERR_NOT_FOUND,
                 "none/..");
    assert_fails(save_folder(test_join(model, "none/."), "4"), RLHF_ERR_NOT_FOUND,
                 "none/.");
    assert_int_equal(test_count_entries(*state), 1);
}

/* It would be taken away from below the process, and a relative path then leads nowhere.
 */
static void test_current_directory_is_refused(void **state)
{
    static const char *const names[] = {".",     "./",     "..",          "../",
                                        "../..", "../sub", "../../model", "link"};
    const char *folder = *state;
    char home[4096];

    assert_ok(save_folder(model, "1"));
    assert_int_equal(mkdir(test_join(model, "sub"), 0777), 0);
    assert_non_null(getcwd(home, sizeof home));
    assert_int_equal(chdir(test_join(model, "sub")), 0);
    assert_int_equal(symlink("../../model", "link"), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_fails(save_folder(names[i], "2"), RLHF_ERR_INVALID_ARG,
                     "save into a folder below it");
    assert_fails(save_folder(model, "2"), RLHF_ERR_INVALID_ARG, model);
    assert_ok(save_folder("below", "3"));
    assert_ok(save_folder("../beside", "4"));
    assert_int_equal(chdir(home), 0);
    assert_holds(model, "a", "1");
    assert_holds(model, "sub/below/a", "3");
    assert_holds(model, "beside/a", "4");
    assert_int_equal(test_count_entries(folder), 1);
    assert_int_equal(test_count_entries(test_join(model, "sub")), 2);
}

/* --- what is no file ---------------------------------------------------------------- */

static void test_file_that_is_no_regular_one_is_refused(void **state)
{
    const char *folder = *state, *link = test_join(folder, "link");
    struct stat st;

    assert_int_equal(mkfifo(pipe_path, 0666), 0);
    assert_int_equal(symlink("pipe", link), 0);
    assert_fails(rlhf__file_write(NULL, pipe_path, "x", 1), RLHF_ERR_IO, pipe_path);
    assert_non_null(strstr(rlhf_last_error_message(), "not a regular file"));
    assert_fails(rlhf__file_write(NULL, link, "x", 1), RLHF_ERR_IO, "not a regular file");
    assert_int_equal(lstat(pipe_path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    test_write(test_join(folder, "file"), "x", 1);
    assert_fails(rlhf__file_write(NULL, test_join(folder, "file/"), "y", 1), RLHF_ERR_IO,
                 "file/");
    assert_fails(rlhf__file_write(NULL, test_join(folder, "new/"), "y", 1), RLHF_ERR_IO,
                 "new/");
    assert_int_equal(test_count_entries(folder), 3);
}

static void test_empty_path_is_refused(void **state)
{
    char *data = NULL;
    int64_t size;

    (void)state;
    assert_fails(rlhf__file_read(NULL, "", 9, &data, &size), RLHF_ERR_INVALID_ARG,
                 "the path is empty");
    assert_fails(rlhf__file_write(NULL, "", "x", 1), RLHF_ERR_INVALID_ARG,
                 "the path is empty");
    assert_fails(save_folder("", "x"), RLHF_ERR_INVALID_ARG, "the path is empty");
}

/* --- rights ------------------------------------------------------------------------- */

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Runs `work` in a process of its own: its exit status. */
static int in_child(int (*work)(void))
{
    int how = -1;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(work());
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void test_replaced_keeps_its_mode(void **state)
{
    (void)state;
    assert_ok(save_folder(model, "1"));
    assert_int_equal(chmod(model, 02710), 0);
    assert_int_equal(chmod(test_join(model, "a"), 0600), 0);
    test_write(test_join(model, "mine"), "kept", 4);
    assert_int_equal(chmod(test_join(model, "mine"), 0640), 0);
    assert_int_equal(mkdir(test_join(model, "sub"), 0777), 0);
    assert_int_equal(mkdir(test_join(model, "sub/deep"), 0777), 0);
    assert_int_equal(chmod(test_join(model, "sub/deep"), 01775), 0);
    assert_int_equal(chmod(test_join(model, "sub"), 0700), 0);
    test_write(file, "1", 1);
    assert_int_equal(chmod(file, 0600), 0);
    for (int i = 0; i < 2; i++) {
        assert_ok(save_folder(model, "2"));
        assert_ok(rlhf__file_write(NULL, file, "2", 1));
        assert_int_equal(mode_of(model), 02710);
        assert_int_equal(mode_of(test_join(model, "a")), 0600);
        assert_int_equal(mode_of(test_join(model, "mine")), 0640);
        assert_int_equal(mode_of(test_join(model, "sub")), 0700);
        assert_int_equal(mode_of(test_join(model, "sub/deep")), 01775);
        assert_int_equal(mode_of(file), 0600);
    }
    assert_holds(model, "a", "2");
}

static void test_new_gets_the_mode_of_the_umask(void **state)
{
    (void)state;
    const mode_t old = umask(027);

    assert_ok(save_folder(model, "1"));
    assert_ok(rlhf__file_write(NULL, file, "1", 1));
    umask(old);
    assert_int_equal(mode_of(model), 0750);
    assert_int_equal(mode_of(test_join(model, "a")), 0640);
    assert_int_equal(mode_of(file), 0640);
}

static void assert_owned(const char *path, uid_t user, gid_t group)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, user);
    assert_int_equal(st.st_gid, group);
}

static void test_replaced_keeps_its_owner(void **state)
{
    (void)state;
    test_write(file, "1", 1);
    if (chown(file, 1007, 1008)) {
        print_message("skipped: only root may give files away\n");
        skip();
    }
    assert_ok(save_folder(model, "1"));
    assert_int_equal(mkdir(test_join(model, "sub"), 0777), 0);
    assert_int_equal(chown(test_join(model, "sub"), 1001, 1002), 0);
    assert_int_equal(chown(test_join(model, "a"), 1003, 1004), 0);
    assert_int_equal(chown(model, 1005, 1006), 0);
    assert_int_equal(chmod(file, 04640), 0);
    assert_ok(save_folder(model, "2"));
    assert_ok(rlhf__file_write(NULL, file, "2", 1));
    assert_owned(test_join(model, "sub"), 1001, 1002);
    assert_owned(test_join(model, "a"), 1003, 1004);
    assert_owned(model, 1005, 1006);
    assert_owned(file, 1007, 1008);
    assert_int_equal(mode_of(file), 04640);
}

/* Somebody who may write in a folder, but owns little of what is in it. */
static int save_as_nobody(void)
{
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 50;
    if (save_folder(model, "2") != RLHF_OK ||
        rlhf__file_write(NULL, file, "2", 1) != RLHF_OK) {
        fprintf(stderr, "%s\n", rlhf_last_error_message());
        return 1;
    }
    return 0;
}

/* What cannot be given to its group again is not shown to another one; a folder that its
 * owner may not write into is replaced all the same. */
static void test_rights_that_cannot_be_kept_do_not_grow(void **state)
{
    const char *folder = *state, *sub = test_join(model, "sub");

    assert_ok(save_folder(model, "1"));
    if (geteuid() != 0 || chown(model, 65534, 65534)) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(chmod(test_join(model, "a"), 0664), 0);
    assert_int_equal(mkdir(sub, 0777), 0);
    test_write(test_join(sub, "mine"), "kept", 4);
    assert_int_equal(chmod(test_join(sub, "mine"), 0644), 0);
    test_write(test_join(folder, "file"), "1", 1);
    assert_int_equal(chmod(test_join(folder, "file"), 06660), 0);
    assert_int_equal(chown(sub, 65534, 65534), 0);
    assert_int_equal(chmod(sub, 0555), 0);
    assert_int_equal(chmod(model, 0555), 0);
    assert_int_equal(in_child(save_as_nobody), 0);
    assert_int_equal(mode_of(model), 0555);
    assert_int_equal(mode_of(sub), 0555);
    assert_int_equal(mode_of(test_join(model, "a")), 0644);
    assert_int_equal(mode_of(test_join(sub, "mine")), 0644);
    assert_int_equal(mode_of(test_join(folder, "file")), 0600);
    assert_int_equal(test_count_entries(folder), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_link_stays_and_the_folder_it_names_is_replaced),
        TEST(test_link_to_nothing_leads_to_what_is_made),
        TEST(test_link_that_leads_nowhere_is_refused),
        TEST(test_folder_that_became_a_link_is_refused),
        TEST(test_folder_moved_away_keeps_its_files),
        TEST(test_folder_is_named_by_dots),
        TEST(test_current_directory_is_refused),
        TEST(test_file_that_is_no_regular_one_is_refused),
        TEST(test_empty_path_is_refused),
        TEST(test_replaced_keeps_its_mode),
        TEST(test_new_gets_the_mode_of_the_umask),
        TEST(test_replaced_keeps_its_owner),
        TEST(test_rights_that_cannot_be_kept_do_not_grow),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
