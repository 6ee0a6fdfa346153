/* Paths: joined, and followed to the place that they name. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_internal.h"

#define MAX_LINKS 40 /* one after the other; as many as Linux follows */

bool rlhf__path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

rlhf_status rlhf__path_check(const char *path)
{
    return *path ? RLHF_OK : rlhf__fail(RLHF_ERR_INVALID_ARG, "the path is empty");
}

rlhf_status rlhf__path_join(rlhf_context *context, const char *folder, const char *name,
                            char **out_path)
{
    size_t a = strlen(folder), b = strlen(name);
    char *path = NULL;

    *out_path = NULL;
    RLHF__TRY(rlhf__path_check(folder)); /* the name alone would be one of the root's */
    while (a > 1 && folder[a - 1] == '/')
        a--;
    RLHF__TRY(
        rlhf__alloc_raw(context, (int64_t)(a + b + 2), 1, RLHF_MEMORY_GENERAL, &path));
    snprintf(path, a + b + 2, "%.*s/%s", (int)a, folder, name);
    *out_path = path;
    return RLHF_OK;
}

bool rlhf__is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* --- to what they name -------------------------------------------------------------- */

static void strip_slashes(char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        path[--size] = '\0';
}

/* `path`, a link, becomes what it names. False, and errno: EINVAL where it is none. */
static bool follow(char path[PATH_MAX])
{
    char target[PATH_MAX];
    const ssize_t size = readlink(path, target, sizeof target);

    if (size < 0)
        return false;
    const char *slash = strrchr(path, '/');
    const size_t folder = target[0] == '/' || !slash ? 0 : (size_t)(slash - path) + 1;
    if (folder + (size_t)size >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(path + folder, target, (size_t)size);
    path[folder + (size_t)size] = '\0';
    return true;
}

/* Of a `path` that is not there yet: its folder must be. */
static bool resolve_new(const char *path, char out[PATH_MAX])
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

    if (rlhf__is_dots(name)) {
        errno = ENOENT;
        return false;
    }
    if (slash) {
        memcpy(folder, path, (size_t)(name - path));
        folder[name - path] = '\0';
    }
    if (!realpath(folder, out))
        return false;
    const size_t size = strlen(out), room = PATH_MAX - size;
    const int added =
        snprintf(out + size, room, "%s%s", out[size - 1] == '/' ? "" : "/", name);
    if (added >= 0 && (size_t)added < room)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

static bool resolve(const char *path, char out[PATH_MAX])
{
    char at[PATH_MAX];
    const size_t size = strlen(path);

    if (size >= sizeof at) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(at, path, size + 1);
    for (int links = 0; links <= MAX_LINKS; links++) {
        strip_slashes(at);
        if (realpath(at, out))
            return true;
        if (errno != ENOENT)
            return false;
        if (!follow(at)) /* not there, and no link that leads there */
            return (errno == ENOENT || errno == EINVAL) && resolve_new(at, out);
    }
    errno = ELOOP;
    return false;
}

rlhf_status rlhf__path_resolve(rlhf_context *context, const char *path, char **out_path)
{
    char real[PATH_MAX];

    *out_path = NULL;
    RLHF__TRY(rlhf__path_check(path));
    if (!resolve(path, real))
        return rlhf__fail_errno(errno, path, "cannot write to %s", path);
    return rlhf__strdup(context, real, out_path);
}

/* --- which folder it is ------------------------------------------------------------- */

static bool is_one(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool rlhf__path_same(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && is_one(&x, &y);
}

bool rlhf__is_same(int fd, int parent, const char *name)
{
    struct stat open_one, named;

    return fstat(fd, &open_one) == 0 &&
           fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_one(&open_one, &named);
}

bool rlhf__holds_current(const struct stat *folder)
{
    char at[PATH_MAX] = ".";
    struct stat st, below = {0};

    for (size_t size = 1; size + 4 <= sizeof at && stat(at, &st) == 0; size += 3) {
        if (is_one(&st, folder))
            return true;
        if (is_one(&st, &below)) /* the root's folder is itself */
            return false;
        below = st;
        memcpy(at + size, "/..", 4);
    }
    return false;
}
