/* Folders that commit as one: a new sibling is written and synced, then swapped in. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file_internal.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

struct rlhf__folder {
    rlhf_context *context;
    char *path;      /* where it will stand */
    char *temporary; /* where it is written */
    DIR *written; /* `temporary`, open from the start: nothing may fail after the swap */
    bool replaces;
    struct stat before; /* where it replaces one: that one */
    bool keep_others;
    bool (*drop)(const char *name); /* NULL: keep all */
};

struct rlhf__stream {
    int fd;
    char *path;
};

static void free_folder(rlhf__folder *folder)
{
    if (folder->written)
        closedir(folder->written);
    rlhf__free(folder->path);
    rlhf__free(folder->temporary);
    rlhf__free(folder);
}

/* One attempt; false, and errno, if it failed: EEXIST where another name may do. What
 * replaces another is nobody else's to see until it has that one's rights. */
static bool try_temporary(rlhf__folder *folder)
{
    if (mkdir(folder->temporary, folder->replaces ? 0700 : 0777) != 0)
        return false;
    folder->written = opendir(folder->temporary);
    if (!folder->written) {
        const int error = errno;
        rmdir(folder->temporary);
        errno = error == ENOENT ? EEXIST : error;
        return false;
    }
    if (rlhf__hold_temporary(dirfd(folder->written), folder->temporary))
        return true;
    closedir(folder->written);
    folder->written = NULL;
    errno = EEXIST;
    return false;
}

static rlhf_status make_temporary(rlhf__folder *folder)
{
    for (int attempt = 0;; attempt++) {
        RLHF__TRY(rlhf__temporary_name(folder->context, folder->path, attempt,
                                       &folder->temporary));
        if (try_temporary(folder))
            return RLHF_OK;
        int error = errno;
        rlhf__free(folder->temporary);
        folder->temporary = NULL;
        if (error != EEXIST || attempt > 100)
            return rlhf__fail_errno(error, folder->path,
                                    "cannot create a folder beside %s", folder->path);
    }
}

/* `path` is what the caller gave, which these messages name; later ones name where it
 * led. */
static rlhf_status look_at_old(rlhf__folder *folder, const char *path)
{
    folder->replaces = stat(folder->path, &folder->before) == 0;
    if (!folder->replaces)
        return RLHF_OK;
    if (!S_ISDIR(folder->before.st_mode))
        return rlhf__fail_errno(ENOTDIR, path, "cannot save to %s", path);
    if (rlhf__holds_current(&folder->before))
        return rlhf__fail_at(RLHF_ERR_INVALID_ARG, path, 0, 0, NULL,
                             "replacing it would take the current directory away; save "
                             "into a folder below it");
    return RLHF_OK;
}

rlhf_status rlhf__folder_begin(rlhf_context *context, const char *path, bool keep_others,
                               rlhf__folder **out_folder)
{
    rlhf__folder *folder = NULL;

    *out_folder = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *folder, RLHF_MEMORY_GENERAL, &folder));
    folder->context = context;
    folder->keep_others = keep_others;
    rlhf_status status = rlhf__path_resolve(context, path, &folder->path);
    if (status == RLHF_OK)
        status = look_at_old(folder, path);
    if (status == RLHF_OK)
        status = make_temporary(folder);
    if (status != RLHF_OK) {
        free_folder(folder);
        return status;
    }
    *out_folder = folder;
    return RLHF_OK;
}

void rlhf__folder_set_drop(rlhf__folder *folder, bool (*drop)(const char *name))
{
    folder->drop = drop;
}

const char *rlhf__folder_path(const rlhf__folder *folder)
{
    return folder->temporary;
}

/* Of the old folder's file of that name, if there is one. */
static rlhf_status keep_rights_of(rlhf__folder *folder, const char *name, int fd)
{
    char *old = NULL;
    struct stat st;

    if (!folder->replaces)
        return RLHF_OK;
    RLHF__TRY(rlhf__path_join(folder->context, folder->path, name, &old));
    if (stat(old, &st) == 0 && S_ISREG(st.st_mode))
        rlhf__keep_rights(fd, &st);
    rlhf__free(old);
    return RLHF_OK;
}

rlhf_status rlhf__folder_open(rlhf__folder *folder, const char *name,
                              rlhf__stream **out_stream)
{
    rlhf__stream *stream = NULL;

    *out_stream = NULL;
    RLHF__TRY(
        rlhf__alloc(folder->context, 1, sizeof *stream, RLHF_MEMORY_GENERAL, &stream));
    stream->fd = -1;
    rlhf_status status =
        rlhf__path_join(folder->context, folder->temporary, name, &stream->path);
    if (status == RLHF_OK) {
        stream->fd = open(stream->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (stream->fd < 0)
            status =
                rlhf__fail_errno(errno, stream->path, "cannot create %s", stream->path);
    }
    if (status == RLHF_OK)
        status = keep_rights_of(folder, name, stream->fd);
    if (status != RLHF_OK) {
        if (stream->fd >= 0)
            close(stream->fd);
        rlhf__free(stream->path);
        rlhf__free(stream);
        return status;
    }
    *out_stream = stream;
    return RLHF_OK;
}

rlhf_status rlhf__stream_write(rlhf__stream *stream, const void *data, int64_t size)
{
    return rlhf__write_all(stream->fd, stream->path, data, size);
}

rlhf_status rlhf__stream_close(rlhf__stream *stream)
{
    if (!stream)
        return RLHF_OK;
    rlhf_status status = rlhf__sync_and_close(stream->fd, stream->path);
    rlhf__free(stream->path);
    rlhf__free(stream);
    return status;
}

rlhf_status rlhf__folder_write(rlhf__folder *folder, const char *name, const void *data,
                               int64_t size)
{
    rlhf__stream *stream = NULL;

    RLHF__TRY(rlhf__folder_open(folder, name, &stream));
    rlhf_status written = rlhf__stream_write(stream, data, size);
    if (written != RLHF_OK) {
        close(stream->fd);
        rlhf__free(stream->path);
        rlhf__free(stream);
        return written;
    }
    return rlhf__stream_close(stream);
}

static rlhf_status copy_file(rlhf_context *context, const char *from, const char *to,
                             const struct stat *before)
{
    char *data = NULL;
    int64_t size = 0;

    RLHF__TRY(rlhf__file_read(context, from, INT64_MAX / 4, &data, &size));
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    rlhf_status status =
        fd < 0 ? rlhf__fail_errno(errno, to, "cannot create %s", to) : RLHF_OK;
    if (status == RLHF_OK) {
        rlhf__keep_rights(fd, before);
        status = rlhf__write_all(fd, to, data, size);
        rlhf_status closed = rlhf__sync_and_close(fd, to);
        if (status == RLHF_OK)
            status = closed;
    }
    rlhf__free(data);
    return status;
}

static rlhf_status copy_link(const char *from, const char *to)
{
    char target[4096];
    ssize_t size = readlink(from, target, sizeof target - 1);

    if (size >= 0) {
        target[size] = '\0';
        if (symlink(target, to) == 0)
            return RLHF_OK;
    }
    return rlhf__fail_errno(errno, from, "cannot keep %s", from);
}

static rlhf_status keep_entries(rlhf__folder *folder, const char *from, const char *to,
                                int depth);

/* A subfolder becomes a tree of links: the old one stays whole until the new one
 * stands. */
static rlhf_status keep_subfolder(rlhf__folder *folder, const char *from, const char *to,
                                  const struct stat *before, int depth)
{
    if (depth == RLHF__MAX_DEPTH)
        return rlhf__fail_at(RLHF_ERR_LIMIT, from, 0, 0, NULL,
                             "folders lie deeper in each other than %d", RLHF__MAX_DEPTH);
    if (mkdir(to, 0700))
        return rlhf__fail_errno(errno, from, "cannot keep %s", from);
    const int fd = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return rlhf__fail_errno(errno, from, "cannot keep %s", from);
    const rlhf_status status = keep_entries(folder, from, to, depth);
    rlhf__keep_rights(fd, before); /* now that nothing more is written in it */
    close(fd);
    return status;
}

/* One entry of the old folder that the new one lacks: linked, or else copied. */
static rlhf_status keep_entry(rlhf__folder *folder, const char *from, const char *to,
                              int depth)
{
    struct stat st;

    if (lstat(to, &st) == 0 || lstat(from, &st) != 0)
        return RLHF_OK;
    if (S_ISDIR(st.st_mode))
        return keep_subfolder(folder, from, to, &st, depth + 1);
    if (link(from, to) == 0)
        return RLHF_OK;
    if (S_ISREG(st.st_mode))
        return copy_file(folder->context, from, to, &st);
    if (S_ISLNK(st.st_mode))
        return copy_link(from, to);
    return rlhf__fail_errno(errno, from, "cannot keep %s", from);
}

static rlhf_status keep_entries(rlhf__folder *folder, const char *from, const char *to,
                                int depth)
{
    rlhf_status status = RLHF_OK;
    DIR *dir = opendir(from);

    if (!dir)
        return errno == ENOENT ? RLHF_OK
                               : rlhf__fail_errno(errno, from, "cannot list %s", from);
    for (struct dirent *entry = readdir(dir); entry && status == RLHF_OK;
         entry = readdir(dir)) {
        char *old = NULL, *kept = NULL;
        if (rlhf__is_dots(entry->d_name) ||
            (depth == 0 && folder->drop && folder->drop(entry->d_name)))
            continue;
        status = rlhf__path_join(folder->context, from, entry->d_name, &old);
        if (status == RLHF_OK)
            status = rlhf__path_join(folder->context, to, entry->d_name, &kept);
        if (status == RLHF_OK)
            status = keep_entry(folder, old, kept, depth);
        rlhf__free(old);
        rlhf__free(kept);
    }
    closedir(dir);
    return status;
}

/* Where the kernel or the file system has no exchange: the old folder steps aside
 * first. A crash between the two renames leaves it under its temporary name, whole. */
static rlhf_status swap_by_hand(rlhf__folder *folder)
{
    char *aside = NULL;

    RLHF__TRY(rlhf__temporary_name(folder->context, folder->path, RLHF__ASIDE, &aside));
    rlhf_status status = RLHF_OK;
    if (rename(folder->path, aside))
        status = rlhf__fail_errno(errno, folder->path, "cannot move %s", folder->path);
    if (status == RLHF_OK && rename(folder->temporary, folder->path)) {
        status = rlhf__fail_errno(errno, folder->path, "cannot replace %s", folder->path);
        (void)!rename(aside, folder->path);
    } else if (status == RLHF_OK) {
        (void)!rename(aside, folder->temporary); /* so that the caller finds the old
                                                    there */
    }
    rlhf__free(aside);
    return status;
}

static rlhf_status swap_in(rlhf__folder *folder)
{
    struct stat st;

    if (lstat(folder->path, &st) != 0) {
        if (rename(folder->temporary, folder->path))
            return rlhf__fail_errno(errno, folder->path, "cannot create %s",
                                    folder->path);
        return RLHF_OK;
    }
    if (!S_ISDIR(st.st_mode)) /* somebody else put it there: a link, say */
        return rlhf__fail_errno(ENOTDIR, folder->path, "cannot replace %s", folder->path);
    if (syscall(SYS_renameat2, AT_FDCWD, folder->temporary, AT_FDCWD, folder->path,
                RENAME_EXCHANGE) == 0)
        return RLHF_OK;
    if (errno != ENOSYS && errno != EINVAL && errno != EPERM)
        return rlhf__fail_errno(errno, folder->path, "cannot replace %s", folder->path);
    return swap_by_hand(folder);
}

static rlhf_status sync_written(rlhf__folder *folder)
{
    int fd = open(folder->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 ? rlhf__sync_and_close(fd, folder->temporary) : RLHF_OK;
}

/* NULL, and errno, if there is none; a link that came there meanwhile is ENOTDIR. */
static DIR *open_old(const rlhf__folder *folder)
{
    const int fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (fd >= 0 && !dir) {
        const int error = errno;
        close(fd);
        errno = error;
    }
    return dir;
}

/* The old one's rights are those that it has now, if it is still there. */
static void give_rights(rlhf__folder *folder, DIR *old)
{
    if (old)
        folder->replaces = fstat(dirfd(old), &folder->before) == 0;
    if (folder->replaces)
        rlhf__keep_rights(dirfd(folder->written), &folder->before);
}

/* Only where the swap put it: if somebody moved it away meanwhile, it is theirs. */
static void remove_old(const rlhf__folder *folder, DIR *old)
{
    if (!rlhf__is_same(dirfd(old), AT_FDCWD, folder->temporary))
        return;
    rlhf__empty_folder(old, 0);
    rmdir(folder->temporary);
}

/* The old folder is opened before the swap: what is left to do then needs no memory. */
rlhf_status rlhf__folder_commit(rlhf__folder *folder)
{
    DIR *old = open_old(folder);
    rlhf_status status = RLHF_OK;

    if (!old && errno != ENOENT)
        status = rlhf__fail_errno(errno, folder->path, "cannot replace %s", folder->path);
    if (status == RLHF_OK && old && folder->keep_others)
        status = keep_entries(folder, folder->path, folder->temporary, 0);
    if (status == RLHF_OK) {
        give_rights(folder, old);
        status = sync_written(folder);
    }
    if (status == RLHF_OK)
        status = swap_in(folder);
    if (status == RLHF_OK) {
        rlhf__sync_parent(folder->path);
        if (old)
            remove_old(folder, old);
        rlhf__remove_left(folder->path);
        free_folder(folder);
    } else {
        rlhf__folder_abort(folder);
    }
    if (old)
        closedir(old);
    return status;
}

void rlhf__folder_abort(rlhf__folder *folder)
{
    if (!folder)
        return;
    rlhf__empty_folder(folder->written, 0);
    rmdir(folder->temporary);
    free_folder(folder);
}
