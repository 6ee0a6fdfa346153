/* Files for tests: a temporary folder that goes again, whole files, the data folder. */
#ifndef RLHF_TEST_FILES_H
#define RLHF_TEST_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_PATH 512

/* Makes a folder of the test's own. */
static inline void test_folder_make(char out[TEST_PATH])
{
    const char *base = getenv("TMPDIR");

    snprintf(out, TEST_PATH, "%s/rlhf-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(out));
}

static inline int test_remove_entry(const char *path, const struct stat *info, int type,
                                    struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void test_folder_remove(const char *path)
{
    (void)nftw(path, test_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* "folder/name" in one of eight buffers that take turns. */
static inline const char *test_join(const char *folder, const char *name)
{
    static char paths[8][2 * TEST_PATH];
    static int next;
    char *path = paths[next++ % 8];

    char joined[sizeof paths[0]];

    snprintf(joined, sizeof joined, "%s/%s", folder, name);
    return memcpy(path, joined, sizeof joined);
}

static inline void test_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The whole file, zero-terminated; the caller frees it. NULL if it cannot be read. */
static inline char *test_read(const char *path, size_t *out_size)
{
    FILE *file = fopen(path, "rb");
    char *data;
    long size;

    if (!file)
        return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    rewind(file);
    data = malloc((size_t)size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, file), size);
    fclose(file);
    data[size] = 0;
    if (out_size)
        *out_size = (size_t)size;
    return data;
}

static inline int test_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

/* Entries of a folder, "." and ".." not counted. */
static inline int test_count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = -2;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static inline void test_files_equal(const char *a, const char *b)
{
    size_t size_a = 0, size_b = 0;
    char *data_a = test_read(a, &size_a), *data_b = test_read(b, &size_b);

    assert_non_null(data_a);
    assert_non_null(data_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(data_a, data_b, size_a);
    free(data_a);
    free(data_b);
}

/* Makes every write beyond `bytes` of a file fail, as on a full disk; a negative number
 * lifts it. The signal that comes with it is ignored. */
static inline void test_limit_file_size(long bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The folder of real data, or NULL (with a line that says so) where this machine has
 * none. */
static inline const char *test_data_folder(void)
{
    static char path[TEST_PATH];
    const char *data = getenv("RLHF_DATA_DIR"), *source = getenv("RLHF_SOURCE_DIR");

    if (data && *data)
        snprintf(path, sizeof path, "%s", data);
    else
        snprintf(path, sizeof path, "%s/../shared/data", source ? source : ".");
    if (test_exists(path))
        return path;
    print_message("skipped: no data at RLHF_DATA_DIR (%s)\n", path);
    return NULL;
}

#endif
