/* Whole files and whole folders: read, written, replaced, and left alone when
 * something fails. */
#include "support.h"

#include "test_files.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "base/file.h"

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void assert_content(const char *path, const char *expected)
{
    char *data = NULL;
    int64_t size = 0;

    assert_ok(rlhf__file_read(NULL, path, 1 << 20, &data, &size));
    assert_int_equal(size, strlen(expected));
    assert_string_equal(data, expected);
    rlhf__free(data);
}

static void test_file_is_written_whole_and_read_back(void **state)
{
    (void)state;
    char folder[TEST_PATH];

    test_folder_make(folder);
    const char *path = test_join(folder, "a.txt");
    assert_ok(rlhf__file_write(NULL, path, "one", 3));
    assert_content(path, "one");
    assert_ok(rlhf__file_write(NULL, path, "", 0));
    assert_content(path, "");
    assert_ok(rlhf__file_write(NULL, path, "two", 3));
    const char *link = test_join(folder, "link");
    assert_int_equal(symlink(path, link), 0);
    assert_ok(rlhf__file_write(NULL, link, "three", 5));
    assert_content(path, "three");
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(count_entries(folder), 2);
    test_folder_remove(folder);
}

static void test_file_errors_name_the_path(void **state)
{
    (void)state;
    char folder[TEST_PATH], *data = NULL;
    int64_t size;

    test_folder_make(folder);
    const char *path = test_join(folder, "absent");
    assert_fails(rlhf__file_read(NULL, path, 10, &data, &size), RLHF_ERR_NOT_FOUND, path);
    assert_fails(rlhf__file_read(NULL, folder, 10, &data, &size), RLHF_ERR_IO,
                 "regular file");
    assert_ok(rlhf__file_write(NULL, path, "0123456789x", 11));
    assert_fails(rlhf__file_read(NULL, path, 10, &data, &size), RLHF_ERR_LIMIT,
                 "11 bytes are more than the limit of 10");
    assert_fails(rlhf__file_write(NULL, folder, "x", 1), RLHF_ERR_IO, "directory");
    const char *nowhere = test_join(folder, "no/such/folder");
    assert_fails(rlhf__file_write(NULL, nowhere, "x", 1), RLHF_ERR_NOT_FOUND,
                 "no/such/folder");
    assert_null(data);
    test_folder_remove(folder);
}

/* In a child that may write no file beyond 1000 bytes: the disk is "full". */
static void test_file_survives_a_full_disk(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    int child_status = -1;

    test_folder_make(folder);
    const char *path = test_join(folder, "kept");
    assert_ok(rlhf__file_write(NULL, path, "old", 3));
    pid_t child = fork();
    if (child == 0) {
        static char large[5000];
        struct rlimit limit = {1000, 1000};
        rlhf__folder *writing = NULL;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        rlhf_status first = rlhf__file_write(NULL, path, large, sizeof large);
        rlhf_status second =
            rlhf__folder_begin(NULL, test_join(folder, "f"), false, &writing);
        if (second == RLHF_OK)
            second = rlhf__folder_write(writing, "x", large, sizeof large);
        rlhf__folder_abort(writing);
        _exit(first == RLHF_ERR_IO && second == RLHF_ERR_IO ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &child_status, 0), child);
    assert_int_equal(child_status, 0);
    assert_content(path, "old");
    assert_int_equal(count_entries(folder), 1);
    test_folder_remove(folder);
}

static void test_folder_appears_whole_and_is_swapped(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    rlhf__folder *writing = NULL;
    rlhf__stream *stream = NULL;

    test_folder_make(folder);
    const char *path = test_join(folder, "model");
    assert_ok(rlhf__folder_begin(NULL, path, false, &writing));
    assert_ok(rlhf__folder_write(writing, "config.json", "{}", 2));
    assert_ok(rlhf__folder_open(writing, "weights", &stream));
    assert_ok(rlhf__stream_write(stream, "abc", 3));
    assert_ok(rlhf__stream_write(stream, "def", 3));
    assert_ok(rlhf__stream_close(stream));
    assert_false(rlhf__path_exists(path));
    assert_ok(rlhf__folder_commit(writing));
    assert_content(test_join(path, "weights"), "abcdef");
    assert_ok(rlhf__folder_begin(NULL, path, false, &writing));
    assert_ok(rlhf__folder_write(writing, "config.json", "{new}", 5));
    assert_content(test_join(path, "config.json"), "{}");
    assert_ok(rlhf__folder_commit(writing));
    assert_content(test_join(path, "config.json"), "{new}");
    assert_false(rlhf__path_exists(test_join(path, "weights")));
    assert_int_equal(count_entries(folder), 1);
    test_folder_remove(folder);
}

static void test_folder_keeps_what_is_not_its_own(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    rlhf__folder *writing = NULL;

    test_folder_make(folder);
    const char *path = test_join(folder, "model");
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(mkdir(test_join(path, "sub"), 0777), 0);
    test_write(test_join(path, "sub/note"), "n", 1);
    test_write(test_join(path, "tokenizer.json"), "tok", 3);
    test_write(test_join(path, "config.json"), "old", 3);
    assert_ok(rlhf__folder_begin(NULL, path, true, &writing));
    assert_ok(rlhf__folder_write(writing, "config.json", "new", 3));
    assert_ok(rlhf__folder_commit(writing));
    assert_content(test_join(path, "tokenizer.json"), "tok");
    assert_content(test_join(path, "config.json"), "new");
    assert_content(test_join(path, "sub/note"), "n");
    assert_int_equal(count_entries(folder), 1);
    test_folder_remove(folder);
}

static void test_folder_abort_leaves_the_old_one(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    rlhf__folder *writing = NULL;

    test_folder_make(folder);
    const char *path = test_join(folder, "model");
    assert_ok(rlhf__folder_begin(NULL, path, false, &writing));
    assert_ok(rlhf__folder_write(writing, "a", "1", 1));
    assert_ok(rlhf__folder_commit(writing));
    assert_ok(rlhf__folder_begin(NULL, path, false, &writing));
    assert_ok(rlhf__folder_write(writing, "a", "2", 1));
    rlhf__folder_abort(writing);
    rlhf__folder_abort(NULL);
    assert_content(test_join(path, "a"), "1");
    assert_int_equal(count_entries(folder), 1);
    test_write(test_join(folder, "file"), "x", 1);
    assert_fails(rlhf__folder_begin(NULL, test_join(folder, "file"), false, &writing),
                 RLHF_ERR_IO, "file");
    assert_null(writing);
    assert_fails(rlhf__folder_begin(NULL, "", false, &writing), RLHF_ERR_INVALID_ARG,
                 "empty");
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_is_written_whole_and_read_back),
        cmocka_unit_test(test_file_errors_name_the_path),
        cmocka_unit_test(test_file_survives_a_full_disk),
        cmocka_unit_test(test_folder_appears_whole_and_is_swapped),
        cmocka_unit_test(test_folder_keeps_what_is_not_its_own),
        cmocka_unit_test(test_folder_abort_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
