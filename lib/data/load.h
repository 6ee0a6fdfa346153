/* Reading files into a dataset: lines, and one JSONL row. Private to this folder. */
#ifndef RLHF_DATA_LOAD_H
#define RLHF_DATA_LOAD_H

#include <stdbool.h>

#include "base/alloc.h"
#include "data/dataset.h"
#include "text/tokenizer.h"

#define RLHF__LINE_MAX      ((int64_t)16 << 20)
#define RLHF__DATA_FILE_MAX ((int64_t)4 << 30)

/* --- lines.c ------------------------------------------------------------------------ */

typedef struct rlhf__lines {
    rlhf_context *context;
    const char *path;
    int fd;
    char *chunk;        /* of the file, [CHUNK] */
    int64_t start, end; /* what of the chunk is still to be given out */
    bool at_end;
    int64_t done, total; /* bytes given out, bytes of the file as it was opened */
    int64_t number;      /* of the line given out last, from 1 */
    rlhf__buffer line;
} rlhf__lines;
rlhf_status rlhf__lines_open(rlhf_context *context, const char *path, rlhf__lines *out);
/* The next line without its newline, in lines->line; *out_more is false after the last.
 * LIMIT for a line above RLHF__LINE_MAX, naming it. */
rlhf_status rlhf__lines_next(rlhf__lines *lines, bool *out_more);
void rlhf__lines_close(rlhf__lines *lines); /* accepts a zeroed struct with fd -1 */

/* --- rows.c ------------------------------------------------------------------------- */

/* One field of a row: text, or ids, or neither. */
typedef struct rlhf__part {
    const char *text; /* NULL: absent */
    int64_t size;
    bool has_ids;
    rlhf__ids ids;
} rlhf__part;

typedef struct rlhf__loader {
    rlhf_context *context;
    rlhf__tokenizer *tokenizer;
    const char *path;
    int64_t line; /* that the row is on */
    rlhf__dataset *dataset;
    rlhf__part prompt, answer, rejected;
    rlhf__ids sides[2]; /* the row encoded */
    rlhf__buffer joined;
} rlhf__loader;
/* One line of JSONL. */
rlhf_status rlhf__loader_add_line(rlhf__loader *loader, const char *text, int64_t size);
/* BOS and EOS by the dataset's options, each only where it is not there already. */
rlhf_status rlhf__loader_add_bos(const rlhf__loader *loader, rlhf__ids *ids);
rlhf_status rlhf__loader_add_eos(const rlhf__loader *loader, rlhf__ids *ids);

#endif
