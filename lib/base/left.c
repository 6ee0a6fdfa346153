/* Temporary files and folders of processes that were killed while they wrote: who writes
 * one holds a lock on it, which goes with the process, and the next commit to the same
 * path removes those that nobody holds. Where the file system has no locks, all stay. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_internal.h"

static bool is_folder(int parent, const char *name)
{
    struct stat st;

    return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

void rlhf__empty_folder(DIR *dir, int depth)
{
    const int fd = dirfd(dir);

    (void)!fchmod(fd, S_IRWXU); /* its owner may have been kept from writing in it */
    rewinddir(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const char *name = entry->d_name;
        if (rlhf__is_dots(name))
            continue;
        if (!is_folder(fd, name)) {
            unlinkat(fd, name, 0);
            continue;
        }
        int child =
            depth < RLHF__MAX_DEPTH
                ? openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                : -1;
        DIR *inside = child >= 0 ? fdopendir(child) : NULL;
        if (inside) {
            rlhf__empty_folder(inside, depth + 1);
            closedir(inside);
        } else if (child >= 0) {
            close(child);
        }
        unlinkat(fd, name, AT_REMOVEDIR);
    }
}

bool rlhf__hold_temporary(int fd, const char *name)
{
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno != EWOULDBLOCK; /* no locks here: then nobody removes it either */
    return rlhf__is_same(fd, AT_FDCWD, name);
}

/* Whether `text` is as many digits as that, up to `end`. */
static const char *skip_digits(const char *text, int least, int most)
{
    int count = 0;

    while (isdigit((unsigned char)text[count]))
        count++;
    return count >= least && count <= most ? text + count : NULL;
}

/* BASE.tmp-PID-NANOSECONDS-ATTEMPT, as rlhf__temporary_name makes it; of an old folder
 * that stepped aside the attempt has four digits, and it is kept. */
static bool is_temporary(const char *name, const char *base)
{
    const size_t size = strlen(base);
    const char *at = name + size + 5;

    if (strncmp(name, base, size) != 0 || strncmp(name + size, ".tmp-", 5) != 0)
        return false;
    at = skip_digits(at, 1, 20);
    at = at && *at == '-' ? skip_digits(at + 1, 9, 9) : NULL;
    at = at && *at == '-' ? skip_digits(at + 1, 1, 3) : NULL;
    return at && *at == '\0';
}

static void remove_if_left(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && rlhf__is_same(fd, parent, name) &&
        fstat(fd, &st) == 0) {
        DIR *dir = S_ISDIR(st.st_mode) ? fdopendir(fd) : NULL;
        if (dir) {
            rlhf__empty_folder(dir, 0);
            unlinkat(parent, name, AT_REMOVEDIR);
            closedir(dir); /* and with it the lock */
            return;
        }
        if (S_ISREG(st.st_mode))
            unlinkat(parent, name, 0);
    }
    close(fd);
}

void rlhf__remove_left(const char *path)
{
    char folder[PATH_MAX]; /* all stands: nothing may fail now */
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const size_t size = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (size >= sizeof folder || !*base)
        return;
    memcpy(folder, size > 0 ? path : ".", size > 0 ? size : 1);
    folder[size > 0 ? size : 1] = '\0';
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (is_temporary(entry->d_name, base))
            remove_if_left(dirfd(dir), entry->d_name);
    closedir(dir);
}
