/* Files: whole reads under a limit, whole writes or none, folders that commit as one.
 * Every failure names the path. */
#ifndef RLHF_BASE_FILE_H
#define RLHF_BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "base/alloc.h"
#include "base/error.h"

/* Opens a regular file for reading; of anything else it is IO. */
rlhf_status rlhf__file_open(const char *path, int *out_fd, int64_t *out_size);
/* Reads a whole regular file, zero-terminated, of at most `limit` bytes (LIMIT above). */
rlhf_status rlhf__file_read(rlhf_context *context, const char *path, int64_t limit,
                            char **out_data, int64_t *out_size);
/* Appears whole or not at all: temporary file beside it, fsync, rename, fsync of the
 * folder. What is there already must be a regular file; the new one gets its mode, and
 * its owner where we may. */
rlhf_status rlhf__file_write(rlhf_context *context, const char *path, const void *data,
                             int64_t size);
/* To the end of a regular file, made if it is not there; half a write is taken back. */
rlhf_status rlhf__file_append(const char *path, const void *data, int64_t size);
/* A file as memory that can be read only. Whoever cuts the file short afterwards makes
 * reading it a SIGBUS. */
typedef struct rlhf__file_map {
    void *bytes; /* NULL: none */
    int64_t size;
} rlhf__file_map;
rlhf_status rlhf__file_map_open(int fd, const char *path, int64_t size,
                                rlhf__file_map *out_map);
void rlhf__file_map_close(rlhf__file_map *map); /* none is a no-op */
bool rlhf__path_exists(const char *path);
/* "folder/name", allocated. */
rlhf_status rlhf__path_join(rlhf_context *context, const char *folder, const char *name,
                            char **out_path);
/* The place that `path` names for what is to be written: absolute, without links, "." and
 * "..". It need not be there, but its folder must. Allocated. */
rlhf_status rlhf__path_resolve(rlhf_context *context, const char *path, char **out_path);
/* Whether both lead to one file or folder, by whatever names. */
bool rlhf__path_same(const char *a, const char *b);

/* A folder being written: a new sibling that replaces `path` at commit (renameat2 with
 * EXCHANGE where there was one; rename where not; documented fallback elsewhere), then
 * the old one is deleted. Files of the old folder that are not ours are NOT kept
 * unless `keep_others` is set, when they are hard-linked or copied into the new one.
 * The new folder, and what is in it that was in the old one too, get the old modes, and
 * the owners where we may. Where `path` is a link, what it names is replaced, not the
 * link. The current directory is not replaced, nor a folder above it: INVALID_ARG. */
typedef struct rlhf__folder rlhf__folder;
rlhf_status rlhf__folder_begin(rlhf_context *context, const char *path, bool keep_others,
                               rlhf__folder **out_folder);
/* With keep_others: names for which `drop` is true are not kept (a shard of the old
 * weights). */
void rlhf__folder_set_drop(rlhf__folder *folder, bool (*drop)(const char *name));
/* Path of the folder to write files into; borrowed. */
const char *rlhf__folder_path(const rlhf__folder *folder);
rlhf_status rlhf__folder_write(rlhf__folder *folder, const char *name, const void *data,
                               int64_t size);
/* Opens a file in it for streaming; the caller writes with rlhf__stream_write. */
typedef struct rlhf__stream rlhf__stream;
rlhf_status rlhf__folder_open(rlhf__folder *folder, const char *name,
                              rlhf__stream **out_stream);
rlhf_status rlhf__stream_write(rlhf__stream *stream, const void *data, int64_t size);
rlhf_status rlhf__stream_close(rlhf__stream *stream);  /* fsync; frees it in any case */
rlhf_status rlhf__folder_commit(rlhf__folder *folder); /* frees it; on failure as abort */
void rlhf__folder_abort(rlhf__folder *folder); /* removes what was written; NULL ok */

#endif
