/* Whole files: read under a limit, written whole or not at all. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_internal.h"

rlhf_status rlhf__file_map_open(int fd, const char *path, int64_t size,
                                rlhf__file_map *out_map)
{
    void *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);

    if (bytes == MAP_FAILED)
        return rlhf__fail_errno(errno, path, "cannot map %s", path);
    *out_map = (rlhf__file_map){bytes, size};
    return RLHF_OK;
}

void rlhf__file_map_close(rlhf__file_map *map)
{
    if (map->bytes)
        (void)munmap(map->bytes, (size_t)map->size);
    map->bytes = NULL;
}

static rlhf_status check_regular(const char *path, const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        return RLHF_OK;
    return rlhf__fail_at(RLHF_ERR_IO, path, 0, 0, NULL, "not a regular file");
}

/* Opening a named pipe would wait for its writer. */
rlhf_status rlhf__file_open(const char *path, int *out_fd, int64_t *out_size)
{
    struct stat st;

    *out_fd = -1;
    RLHF__TRY(rlhf__path_check(path));
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return rlhf__fail_errno(errno, path, "cannot open %s", path);
    rlhf_status status = fstat(fd, &st)
                             ? rlhf__fail_errno(errno, path, "cannot look at %s", path)
                             : check_regular(path, &st);
    if (status != RLHF_OK) {
        close(fd);
        return status;
    }
    *out_fd = fd;
    *out_size = st.st_size;
    return RLHF_OK;
}

static rlhf_status read_open_file(rlhf_context *context, int fd, const char *path,
                                  int64_t expected, char **out_data, int64_t *out_size)
{
    char *data = NULL;
    int64_t size = 0;

    RLHF__TRY(rlhf__alloc_raw(context, expected + 1, 1, RLHF_MEMORY_GENERAL, &data));
    while (size < expected) {
        ssize_t got = read(fd, data + size, (size_t)(expected - size));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            rlhf__free(data);
            return rlhf__fail_errno(error, path, "cannot read %s", path);
        }
        if (got == 0)
            break;
        size += got;
    }
    data[size] = '\0';
    *out_data = data;
    *out_size = size;
    return RLHF_OK;
}

rlhf_status rlhf__file_read(rlhf_context *context, const char *path, int64_t limit,
                            char **out_data, int64_t *out_size)
{
    int64_t size = 0;
    int fd;

    *out_data = NULL;
    *out_size = 0;
    RLHF__TRY(rlhf__file_open(path, &fd, &size));
    rlhf_status status =
        size > limit
            ? rlhf__fail_at(RLHF_ERR_LIMIT, path, 0, 0, NULL,
                            "%" PRId64 " bytes are more than the limit of %" PRId64, size,
                            limit)
            : read_open_file(context, fd, path, size, out_data, out_size);
    close(fd);
    return status;
}

rlhf_status rlhf__write_all(int fd, const char *path, const void *data, int64_t size)
{
    const char *bytes = data;

    while (size > 0) {
        ssize_t done = write(fd, bytes, (size_t)(size > 1 << 30 ? 1 << 30 : size));
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return rlhf__fail_errno(errno, path, "cannot write %s", path);
        bytes += done;
        size -= done;
    }
    return RLHF_OK;
}

rlhf_status rlhf__sync_and_close(int fd, const char *path)
{
    int failed = fsync(fd), error = errno;

    if (close(fd) && !failed) {
        failed = -1;
        error = errno;
    }
    /* Some file systems do not sync; that is not the file's fault. */
    if (failed && error != EINVAL && error != EROFS)
        return rlhf__fail_errno(error, path, "cannot write %s to disk", path);
    return RLHF_OK;
}

void rlhf__sync_parent(const char *path)
{
    char folder[PATH_MAX]; /* the file stands already: no memory may be wanting now */
    const char *slash = strrchr(path, '/');
    const size_t size = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (size >= sizeof folder)
        return;
    memcpy(folder, size > 0 ? path : ".", size > 0 ? size : 1);
    folder[size > 0 ? size : 1] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
}

rlhf_status rlhf__temporary_name(rlhf_context *context, const char *path, int attempt,
                                 char **out_name)
{
    size_t size = strlen(path) + 64;
    struct timespec t;
    char *name = NULL;

    while (size > 65 && path[size - 65] == '/') /* trailing slashes */
        size--;
    clock_gettime(CLOCK_REALTIME, &t);
    RLHF__TRY(rlhf__alloc_raw(context, (int64_t)size, 1, RLHF_MEMORY_GENERAL, &name));
    snprintf(name, size, "%.*s.tmp-%ld-%09ld-%d", (int)(size - 64), path, (long)getpid(),
             t.tv_nsec, attempt);
    *out_name = name;
    return RLHF_OK;
}

void rlhf__keep_rights(int fd, const struct stat *before)
{
    mode_t mode = before->st_mode & 07777;
    struct stat now = {0};

    if (fchown(fd, before->st_uid, before->st_gid))
        (void)!fchown(fd, (uid_t)-1, before->st_gid);
    const bool known = fstat(fd, &now) == 0;
    if (!known || now.st_uid != before->st_uid)
        mode &= ~(mode_t)S_ISUID;
    if (!known || now.st_gid != before->st_gid)
        mode &= ~(mode_t)(S_ISGID | S_IRWXG) | (mode & S_IRWXO) << 3;
    (void)!fchmod(fd, mode); /* after fchown, which takes bits away */
}

/* Creates a fresh file beside `path`. */
static rlhf_status open_temporary(rlhf_context *context, const char *path, mode_t mode,
                                  char **out_name, int *out_fd)
{
    for (int attempt = 0;; attempt++) {
        char *name = NULL;
        RLHF__TRY(rlhf__temporary_name(context, path, attempt, &name));
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd >= 0 && rlhf__hold_temporary(fd, name)) {
            *out_name = name;
            *out_fd = fd;
            return RLHF_OK;
        }
        int error = fd >= 0 ? EEXIST : errno;
        if (fd >= 0)
            close(fd);
        rlhf__free(name);
        if (error != EEXIST || attempt > 100)
            return rlhf__fail_errno(error, path, "cannot create a file beside %s", path);
    }
}

/* before: what `real` is already; NULL where it is not there. */
static rlhf_status write_resolved(rlhf_context *context, const char *path,
                                  const char *real, const struct stat *before,
                                  const void *data, int64_t size)
{
    char *name = NULL;
    int fd = -1;

    RLHF__TRY(open_temporary(context, real, before ? 0600 : 0666, &name, &fd));
    if (before)
        rlhf__keep_rights(fd, before);
    const int held = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* until it has its own name */
    rlhf_status status = rlhf__write_all(fd, path, data, size);
    if (status == RLHF_OK)
        status = rlhf__sync_and_close(fd, path);
    else
        close(fd);
    if (status == RLHF_OK && rename(name, real))
        status = rlhf__fail_errno(errno, path, "cannot replace %s", path);
    if (status == RLHF_OK) {
        rlhf__sync_parent(real);
        rlhf__remove_left(real);
    } else {
        unlink(name);
    }
    if (held >= 0)
        close(held);
    rlhf__free(name);
    return status;
}

/* `real` may be there already, as a regular file; a folder, a device or a pipe is not
 * replaced. */
static rlhf_status look_at_target(const char *path, const char *real,
                                  struct stat *out_before, bool *out_exists)
{
    const bool slash = path[strlen(path) - 1] == '/';
    const bool exists = stat(real, out_before) == 0;

    *out_exists = exists;
    if (slash || (exists && S_ISDIR(out_before->st_mode)))
        return rlhf__fail_errno(exists && S_ISREG(out_before->st_mode) ? ENOTDIR : EISDIR,
                                path, "cannot write %s", path);
    return exists ? check_regular(path, out_before) : RLHF_OK;
}

/* Through links, to what they name. */
rlhf_status rlhf__file_write(rlhf_context *context, const char *path, const void *data,
                             int64_t size)
{
    char *real = NULL;
    struct stat before;
    bool exists = false;

    RLHF__TRY(rlhf__path_resolve(context, path, &real));
    rlhf_status status = look_at_target(path, real, &before, &exists);
    if (status == RLHF_OK)
        status = write_resolved(context, path, real, exists ? &before : NULL, data, size);
    rlhf__free(real);
    return status;
}

static rlhf_status append_open(int fd, const char *path, const void *data, int64_t size)
{
    struct stat st;

    if (fstat(fd, &st))
        return rlhf__fail_errno(errno, path, "cannot look at %s", path);
    RLHF__TRY(check_regular(path, &st));
    rlhf_status status = rlhf__write_all(fd, path, data, size);
    if (status != RLHF_OK && ftruncate(fd, st.st_size))
        status =
            rlhf__fail_errno(errno, path, "cannot take back half a line of %s", path);
    return status;
}

rlhf_status rlhf__file_append(const char *path, const void *data, int64_t size)
{
    struct stat st;

    RLHF__TRY(rlhf__path_check(path));
    const bool fresh = stat(path, &st) != 0;
    if (!fresh) /* a device is not even opened */
        RLHF__TRY(check_regular(path, &st));
    const int fd = open(
        path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (fd < 0)
        return rlhf__fail_errno(errno, path, "cannot open %s", path);
    rlhf_status status = append_open(fd, path, data, size);
    if (status != RLHF_OK && fresh)
        unlink(path);
    if (close(fd) && status == RLHF_OK)
        status = rlhf__fail_errno(errno, path, "cannot close %s", path);
    return status;
}
