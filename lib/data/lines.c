/* A file line by line, under a limit, without holding it whole. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "data/load.h"

#include "base/file.h"
#include "base/size.h"

static const int64_t CHUNK = 1 << 16;

rlhf_status rlhf__lines_open(rlhf_context *context, const char *path, rlhf__lines *out)
{
    memset(out, 0, sizeof *out);
    out->context = context;
    out->line.context = context;
    out->path = path;
    RLHF__TRY(rlhf__file_open(path, &out->fd, &out->total));
    return rlhf__alloc_raw(context, CHUNK, 1, RLHF_MEMORY_GENERAL, &out->chunk);
}

void rlhf__lines_close(rlhf__lines *lines)
{
    if (lines->fd >= 0)
        close(lines->fd);
    lines->fd = -1;
    rlhf__free(lines->chunk);
    lines->chunk = NULL;
    rlhf__buffer_free(&lines->line);
}

static rlhf_status fill(rlhf__lines *lines)
{
    ssize_t got;

    do
        got = read(lines->fd, lines->chunk, (size_t)CHUNK);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return rlhf__fail_errno(errno, lines->path, "cannot read %s", lines->path);
    lines->start = 0;
    lines->end = got;
    lines->at_end = got == 0;
    if (lines->done + got > RLHF__DATA_FILE_MAX)
        return rlhf__fail_at(RLHF_ERR_LIMIT, lines->path, 0, 0, NULL,
                             "more than %" PRId64 " bytes", RLHF__DATA_FILE_MAX);
    return RLHF_OK;
}

rlhf_status rlhf__lines_next(rlhf__lines *lines, bool *out_more)
{
    lines->line.size = 0;
    for (bool any = false;; any = true) {
        if (lines->start == lines->end && !lines->at_end)
            RLHF__TRY(fill(lines));
        if (lines->at_end) {
            *out_more = any; /* a last line without its newline */
            lines->number += any;
            return RLHF_OK;
        }
        const char *from = lines->chunk + lines->start;
        const int64_t there = lines->end - lines->start;
        const char *newline = memchr(from, '\n', (size_t)there);
        const int64_t size = newline ? newline - from : there;
        if (lines->line.size + size > RLHF__LINE_MAX)
            return rlhf__fail_at(RLHF_ERR_LIMIT, lines->path, lines->number + 1, 0, NULL,
                                 "a line of more than %" PRId64 " bytes", RLHF__LINE_MAX);
        RLHF__TRY(rlhf__buffer_append(&lines->line, from, size));
        lines->start += size + (newline ? 1 : 0);
        lines->done += size + (newline ? 1 : 0);
        if (newline) {
            lines->number++;
            *out_more = true;
            return RLHF_OK;
        }
    }
}
