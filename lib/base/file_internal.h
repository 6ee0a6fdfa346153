/* Shared by file.c and folder.c. */
#ifndef RLHF_BASE_FILE_INTERNAL_H
#define RLHF_BASE_FILE_INTERNAL_H

#include <time.h>

#include "base/file.h"

rlhf_status rlhf__write_all(int fd, const char *path, const void *data, int64_t size);
rlhf_status rlhf__sync_and_close(int fd, const char *path);
/* fsync of the folder that holds `path`, as far as it can be done. */
void rlhf__sync_parent(const char *path);
/* A name beside `path` that nobody else picks. */
rlhf_status rlhf__temporary_name(rlhf_context *context, const char *path, int attempt,
                                 char **out_name);

#endif
