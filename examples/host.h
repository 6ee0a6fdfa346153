/* What any host program around the library needs and the library, being a guest,
 * leaves to it: Ctrl-C, messages, progress lines, output files that appear whole.
 * Nothing here is part of librlhf; the numbered examples share it so that each can be
 * read for its own subject. */
#ifndef EXAMPLES_HOST_H
#define EXAMPLES_HOST_H

#include <rlhf/rlhf.h>

#include <stdio.h>

/* Makes the context (warnings of the library go to stderr) and lets Ctrl-C cancel it. */
rlhf_context *host_start(const char *program);

/* Ends the program with "PROGRAM: cannot DOING: reason" unless the status is RLHF_OK.
 * After Ctrl-C it says so instead. Files begun and not committed are removed. */
void host_must(rlhf_status status, const char *doing);
void host_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* True once Ctrl-C was pressed. */
int host_interrupted(void);
/* Ends the program after Ctrl-C; `state` says what is safe on disk. */
void host_stop(const char *state) __attribute__((noreturn));

double host_seconds(void); /* monotonic */

/* "pretrain  340/700  49%  12.3/s  0:29 left  loss 2.41": a bar that is redrawn on a
 * terminal, a plain line every few seconds elsewhere, both on stderr. Call it as often as
 * you like; done == total ends the line. */
void host_progress(const char *what, int64_t done, int64_t total, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A file that appears under its name only when committed, with all of it on disk. */
typedef struct host_file {
    FILE *stream;
    char *path;
    char *temporary;
    struct host_file *next;
} host_file;

void host_file_begin(host_file *file, const char *path);
void host_file_commit(host_file *file);

/* Saves a tokenizer with a model or a reward model (the other is NULL) as one folder: it
 * appears, or replaces the one that is there, when both are on disk. Its other files are
 * kept. */
void host_save(const char *path, rlhf_tokenizer *tokenizer, rlhf_model *model,
               rlhf_reward_model *reward);

/* A log that grows a line at a time (metrics). NULL path: no log, and every use is a
 * no-op. */
FILE *host_log_open(const char *path, int append);
void host_log(FILE *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void host_log_close(FILE *log);

/* JSON pieces. Bytes that are not UTF-8 are written as U+FFFD: ids carry the truth. */
void host_json_string(FILE *stream, const char *text);
void host_json_ids(FILE *stream, const int32_t *ids, int64_t count);

/* All or nothing: the program ends where memory does. */
void *host_alloc(size_t count, size_t size);
char *host_decode(const rlhf_tokenizer *tokenizer, const int32_t *ids, int64_t count);
int32_t *host_encode(const rlhf_tokenizer *tokenizer, const char *text,
                     int64_t *out_count);
char *host_read(const char *path, size_t *out_size);
int host_exists(const char *path);

/* Reads the config named on the command line, or explains the program and ends. */
rlhf_config *host_config(rlhf_context *context, int argc, char **argv, const char *usage);
/* A string that must be there, and one that may be missing (NULL). */
const char *host_path(rlhf_config *config, const char *key);
const char *host_optional(rlhf_config *config, const char *key);
int64_t host_integer(rlhf_config *config, const char *key, int64_t fallback, int64_t min);
/* Fills an options struct (initialised before) from a section. */
void host_options(rlhf_config *config, const char *section, const char *struct_name,
                  void *options);

/* A ragged batch, grown as rows are added. */
typedef struct host_batch {
    int32_t *tokens;
    int64_t *cu_seqlens;
    int64_t num_seqs;
} host_batch;

/* Starts as {0}. */
void host_batch_add(host_batch *batch, const int32_t *tokens, int64_t count);
/* The next `count` prompts of a dataset, each of them `each` times in a row. */
void host_draw(host_batch *batch, rlhf_dataset *dataset, int64_t count, int64_t each);
/* The sequences of a generator, prompts and answers together. */
void host_gather(host_batch *batch, const rlhf_generator *generator);
void host_batch_free(host_batch *batch);
/* One line on what a file's rows became: kept, truncated, dropped. */
void host_describe(const rlhf_dataset *dataset);

#endif
