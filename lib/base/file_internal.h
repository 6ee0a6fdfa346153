/* Shared by file.c, folder.c, left.c and path.c. */
#ifndef RLHF_BASE_FILE_INTERNAL_H
#define RLHF_BASE_FILE_INTERNAL_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"

rlhf_status rlhf__write_all(int fd, const char *path, const void *data, int64_t size);
rlhf_status rlhf__sync_and_close(int fd, const char *path);
/* Owner, group and mode of what was there before, as far as the system lets us: who may
 * not give it to its group shows the group no more of it than everybody sees. */
void rlhf__keep_rights(int fd, const struct stat *before);
/* fsync of the folder that holds `path`, as far as it can be done. */
void rlhf__sync_parent(const char *path);
/* A name beside `path` that nobody else picks. */
rlhf_status rlhf__temporary_name(rlhf_context *context, const char *path, int attempt,
                                 char **out_name);
/* INVALID_ARG where it is empty. */
rlhf_status rlhf__path_check(const char *path);
bool rlhf__is_dots(const char *name);
/* Whether `name` in the folder `parent` is, itself and not through a link, what is open
 * as `fd`. */
bool rlhf__is_same(int fd, int parent, const char *name);
/* Whether the current directory is this folder or lies in it. */
bool rlhf__holds_current(const struct stat *folder);
#define RLHF__MAX_DEPTH 16   /* of folders in each other that are kept or removed */
#define RLHF__ASIDE     1000 /* attempt that names an old folder which steps aside */

/* Marks the temporary file or folder open as `fd` as being written, until it is closed.
 * False if somebody took it for a left one and removed it just now: make another. */
bool rlhf__hold_temporary(int fd, const char *name);
/* Removes the temporary files and folders beside `path` that nobody holds: of processes
 * that were killed while they wrote it. After a commit: `path` itself must stand. */
void rlhf__remove_left(const char *path);
/* Removes what an open folder holds, never following a link out of it. Files take no
 * memory to remove, so that a call which failed for want of it cleans up all the same.
 * `depth`: 0. */
void rlhf__empty_folder(DIR *dir, int depth);

#endif
