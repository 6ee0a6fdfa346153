#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* renameat2, nftw: an example can be compiled by hand, too */
#endif
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "example";
static rlhf_context *current_context;
static volatile sig_atomic_t interrupted;
static host_file *open_files;
static char *open_folder; /* that host_save is writing, or NULL */
static int line_is_open;  /* a progress bar stands on the terminal, without a newline */

/* rlhf_context_cancel is one atomic store, so a signal handler may call it. */
static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
    rlhf_context_cancel(current_context);
}

static void end_line(void)
{
    if (line_is_open)
        fputc('\n', stderr);
    line_is_open = 0;
}

static void on_log(void *user_data, int32_t level, const char *message)
{
    (void)user_data;
    (void)level;
    end_line();
    fprintf(stderr, "%s: %s\n", program_name, message);
}

rlhf_context *host_start(const char *program)
{
    const char *slash = strrchr(program, '/');
    rlhf_context_options options;
    struct sigaction action = {.sa_handler = on_interrupt};

    program_name = slash ? slash + 1 : program;
    host_must(rlhf_context_options_init(&options, sizeof options), "start");
    options.log_level = RLHF_LOG_WARNING;
    options.log = on_log;
    host_must(rlhf_context_create(&options, &current_context), "start");
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is then an error of write, with a
                                 message */
    return current_context;
}

static int remove_entry(const char *path, const struct stat *info, int type,
                        struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_folder(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_unfinished(void)
{
    for (host_file *file = open_files; file; file = file->next)
        unlink(file->temporary);
    open_files = NULL;
    if (open_folder)
        remove_folder(open_folder);
}

void host_die(const char *format, ...)
{
    va_list arguments;

    end_line();
    fprintf(stderr, "%s: ", program_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    remove_unfinished();
    exit(1);
}

void host_stop(const char *state)
{
    end_line();
    fprintf(stderr, "%s: stopped by Ctrl-C; %s\n", program_name, state);
    remove_unfinished();
    exit(130);
}

void host_must(rlhf_status status, const char *doing)
{
    if (status == RLHF_OK)
        return;
    if (status == RLHF_ERR_CANCELLED)
        host_stop("nothing was written half");
    host_die("cannot %s: %s", doing, rlhf_last_error_message());
}

int host_interrupted(void)
{
    return interrupted;
}

double host_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- progress ---------------------------------------------------------------------- */

static void print_bar(double share)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1];
    int full = (int)(share * WIDTH);

    for (int i = 0; i < WIDTH; ++i)
        bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "[%s] ", bar);
}

void host_progress(const char *what, int64_t done, int64_t total, const char *format, ...)
{
    static double started, shown;
    static int64_t first;
    static const char *stage;
    double now = host_seconds(), interval = isatty(2) ? 0.1 : 5.0;
    double share = total > 0 ? (double)done / (double)total : 0;
    va_list arguments;

    if (stage != what) { /* literals: another pointer is another stage */
        stage = what;
        started = now;
        shown = now;
        first = done;
        if (done < total && !isatty(2))
            return;
    }
    if (done < total && now - shown < interval)
        return;
    shown = now;
    if (isatty(2))
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%-10s", what);
    if (isatty(2))
        print_bar(share);
    fprintf(stderr, " %lld/%lld", (long long)done, (long long)total);
    if (now > started && done > first) {
        double rate = (double)(done - first) / (now - started);
        long left = (long)ceil((double)(total - done) / rate);
        fprintf(stderr, "  %.*f/s", rate < 10 ? 1 : 0, rate);
        if (done < total)
            fprintf(stderr, "  %ld:%02ld left", left / 60, left % 60);
        else
            fprintf(stderr, "  %.1f s", now - started);
    }
    if (format && *format) {
        fputs("  ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
    line_is_open = isatty(2);
    if (!line_is_open || done >= total) {
        fputc('\n', stderr);
        line_is_open = 0;
    }
    if (done >= total)
        stage = NULL;
    fflush(stderr);
}

/* ---- files ------------------------------------------------------------------------- */

void *host_alloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);

    if (!memory)
        host_die("out of memory");
    return memory;
}

void host_file_begin(host_file *file, const char *path)
{
    size_t size = strlen(path) + 16;

    file->path = strdup(path);
    file->temporary = host_alloc(size, 1);
    if (!file->path)
        host_die("out of memory");
    snprintf(file->temporary, size, "%s.part", path);
    file->stream = fopen(file->temporary, "w");
    if (!file->stream)
        host_die("cannot write %s: %s", path, strerror(errno));
    file->next = open_files;
    open_files = file;
}

void host_file_commit(host_file *file)
{
    int bad = fflush(file->stream) != 0 || ferror(file->stream) != 0;

    if (bad || fsync(fileno(file->stream)) != 0)
        host_die("cannot write %s: %s", file->path, strerror(errno ? errno : EIO));
    if (fclose(file->stream) != 0 || rename(file->temporary, file->path) != 0)
        host_die("cannot write %s: %s", file->path, strerror(errno));
    for (host_file **link = &open_files; *link; link = &(*link)->next) {
        if (*link == file) {
            *link = file->next;
            break;
        }
    }
    free(file->path);
    free(file->temporary);
}

/* What the folder that will be replaced holds, by links: what is not written anew
 * stays. */
static void link_tree(const char *from, const char *to)
{
    DIR *folder = opendir(from);
    char old[4096], kept[4096];
    struct stat info;

    if (!folder)
        host_die("cannot read %s: %s", from, strerror(errno));
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(old, sizeof old, "%s/%s", from, entry->d_name);
        snprintf(kept, sizeof kept, "%s/%s", to, entry->d_name);
        const int is_folder = lstat(old, &info) == 0 && S_ISDIR(info.st_mode);
        if ((is_folder ? mkdir(kept, 0777) : link(old, kept)) != 0)
            host_die("cannot keep %s: %s", old, strerror(errno));
        if (is_folder)
            link_tree(old, kept);
    }
    closedir(folder);
}

/* By an exchange, so that there is a whole folder under the name at any moment. */
static void replace_folder(const char *path, const char *part)
{
    const int is_new = !host_exists(path);

    if (is_new ? rename(part, path) != 0
               : renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_EXCHANGE) != 0)
        host_die("cannot write %s: %s", path, strerror(errno));
    if (!is_new)
        remove_folder(part); /* the old one now */
}

static rlhf_status save_parts(const char *part, rlhf_tokenizer *tokenizer,
                              rlhf_model *model, rlhf_reward_model *reward)
{
    rlhf_status status = rlhf_tokenizer_save(tokenizer, part);

    if (status == RLHF_OK && model)
        status = rlhf_model_save(model, part);
    if (status == RLHF_OK && reward)
        status = rlhf_reward_model_save(reward, part);
    return status;
}

void host_save(const char *path, rlhf_tokenizer *tokenizer, rlhf_model *model,
               rlhf_reward_model *reward)
{
    char *real = realpath(path, NULL), *name = real ? real : strdup(path);
    size_t size = name ? strlen(name) : 0;

    while (size > 1 && name[size - 1] == '/')
        name[--size] = '\0';
    open_folder = host_alloc(size + 8, 1);
    snprintf(open_folder, size + 8, "%s.part", name ? name : "");
    remove_folder(open_folder); /* of a run that was killed */
    if (mkdir(open_folder, 0777) != 0)
        host_die("cannot save to %s: %s", path, strerror(errno));
    if (real)
        link_tree(real, open_folder);
    rlhf_status status;
    do /* Ctrl-C waits for what is nearly done */
        status = save_parts(open_folder, tokenizer, model, reward);
    while (status == RLHF_ERR_CANCELLED);
    host_must(status, "save the folder");
    replace_folder(name, open_folder);
    if (interrupted)
        rlhf_context_cancel(current_context); /* the next call hears of it */
    free(open_folder);
    open_folder = NULL;
    free(name);
}

FILE *host_log_open(const char *path, int append)
{
    FILE *log;

    if (!path)
        return NULL;
    log = fopen(path, append ? "a" : "w");
    if (!log)
        host_die("cannot write %s: %s", path, strerror(errno));
    return log;
}

void host_log(FILE *log, const char *format, ...)
{
    va_list arguments;

    if (!log)
        return;
    va_start(arguments, format);
    vfprintf(log, format, arguments);
    va_end(arguments);
    fputc('\n', log);
    if (fflush(log) != 0)
        host_die("cannot write the metrics: %s", strerror(errno));
}

void host_log_close(FILE *log)
{
    if (log && fclose(log) != 0)
        host_die("cannot write the metrics: %s", strerror(errno));
}

/* Bytes of the UTF-8 character at `text`, 0 if there is none. RFC 3629, table of §4. */
static int utf8_length(const unsigned char *text)
{
    int length;
    unsigned char low = 0x80, high = 0xbf;

    if (text[0] < 0x80)
        return 1;
    if (text[0] >= 0xc2 && text[0] <= 0xdf)
        length = 2;
    else if ((text[0] & 0xf0) == 0xe0)
        length = 3;
    else if (text[0] >= 0xf0 && text[0] <= 0xf4)
        length = 4;
    else
        return 0;
    if (text[0] == 0xe0)
        low = 0xa0;
    if (text[0] == 0xed)
        high = 0x9f; /* no surrogates */
    if (text[0] == 0xf0)
        low = 0x90;
    if (text[0] == 0xf4)
        high = 0x8f;
    for (int i = 1; i < length; ++i) {
        if (text[i] < low || text[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

void host_json_string(FILE *stream, const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;

    fputc('"', stream);
    while (*byte) {
        int length = utf8_length(byte);
        if (length == 0) {
            fputs("\xef\xbf\xbd", stream);
            length = 1;
        } else if (*byte == '"' || *byte == '\\') {
            fprintf(stream, "\\%c", *byte);
        } else if (*byte == '\n') {
            fputs("\\n", stream);
        } else if (*byte < 0x20) {
            fprintf(stream, "\\u%04x", *byte);
        } else {
            fwrite(byte, 1, (size_t)length, stream);
        }
        byte += length;
    }
    fputc('"', stream);
}

void host_json_ids(FILE *stream, const int32_t *ids, int64_t count)
{
    fputc('[', stream);
    for (int64_t i = 0; i < count; ++i)
        fprintf(stream, i ? ", %d" : "%d", ids[i]);
    fputc(']', stream);
}

/* ---- text -------------------------------------------------------------------------- */

char *host_decode(const rlhf_tokenizer *tokenizer, const int32_t *ids, int64_t count)
{
    size_t size;
    char *text;

    host_must(rlhf_tokenizer_decode(tokenizer, ids, count, 1, NULL, 0, &size),
              "decode an answer");
    text = host_alloc(size + 1, 1);
    host_must(rlhf_tokenizer_decode(tokenizer, ids, count, 1, text, size + 1, &size),
              "decode an answer");
    return text;
}

int32_t *host_encode(const rlhf_tokenizer *tokenizer, const char *text,
                     int64_t *out_count)
{
    size_t size = strlen(text);
    int32_t *ids = host_alloc(size + 1, sizeof *ids);

    host_must(rlhf_tokenizer_encode(tokenizer, text, size, 0, ids, (int64_t)size + 1,
                                    out_count),
              "encode a text");
    return ids;
}

char *host_read(const char *path, size_t *out_size)
{
    FILE *stream = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, room = 0, got;

    if (!stream)
        host_die("cannot read %s: %s", path, strerror(errno));
    do {
        if (room - size < 65536) {
            room = room ? 2 * room : 131072;
            text = realloc(text, room);
            if (!text)
                host_die("out of memory");
        }
        got = fread(text + size, 1, room - size - 1, stream);
        size += got;
    } while (got > 0);
    if (ferror(stream))
        host_die("cannot read %s: %s", path, strerror(errno));
    fclose(stream);
    text[size] = '\0';
    *out_size = size;
    return text;
}

int host_exists(const char *path)
{
    struct stat info;

    return path && stat(path, &info) == 0;
}

/* ---- configs ----------------------------------------------------------------------- */

rlhf_config *host_config(rlhf_context *context, int argc, char **argv, const char *usage)
{
    rlhf_config *config;

    if (argc < 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: %s %s\n", program_name, usage);
        exit(2);
    }
    host_must(rlhf_config_load(context, argv[1], &config), "read the config");
    return config;
}

const char *host_optional(rlhf_config *config, const char *key)
{
    const char *value;

    host_must(rlhf_config_string(config, key, NULL, &value), "read the config");
    return value;
}

const char *host_path(rlhf_config *config, const char *key)
{
    const char *value = host_optional(config, key);

    if (!value)
        host_die("the config has no '%s'", key);
    return value;
}

int64_t host_integer(rlhf_config *config, const char *key, int64_t fallback, int64_t min)
{
    int64_t value;

    host_must(rlhf_config_int(config, key, fallback, min, INT64_MAX, &value),
              "read the config");
    return value;
}

void host_options(rlhf_config *config, const char *section, const char *struct_name,
                  void *options)
{
    host_must(rlhf_config_read(config, section, struct_name, options), "read the config");
}

/* ---- rows -------------------------------------------------------------------------- */

void host_batch_add(host_batch *batch, const int32_t *tokens, int64_t count)
{
    batch->cu_seqlens = realloc(batch->cu_seqlens, (size_t)(batch->num_seqs + 2) *
                                                       sizeof *batch->cu_seqlens);
    if (!batch->cu_seqlens)
        host_die("out of memory");
    if (batch->num_seqs == 0)
        batch->cu_seqlens[0] = 0;
    const int64_t end = batch->cu_seqlens[batch->num_seqs];
    batch->tokens =
        realloc(batch->tokens, (size_t)(end + count + 1) * sizeof *batch->tokens);
    if (!batch->tokens)
        host_die("out of memory");
    memcpy(batch->tokens + end, tokens, (size_t)count * sizeof *tokens);
    batch->cu_seqlens[++batch->num_seqs] = end + count;
}

void host_draw(host_batch *batch, rlhf_dataset *dataset, int64_t count, int64_t each)
{
    memset(batch, 0, sizeof *batch);
    for (int64_t i = 0; i < count; ++i) {
        rlhf_example row = {.struct_size = sizeof row};
        host_must(rlhf_dataset_next(dataset, &row), "draw a prompt");
        for (int64_t copy = 0; copy < each; ++copy)
            host_batch_add(batch, row.tokens, row.num_tokens);
    }
}

void host_gather(host_batch *batch, const rlhf_generator *generator)
{
    memset(batch, 0, sizeof *batch);
    for (int64_t i = 0; i < rlhf_generator_num_sequences(generator); ++i) {
        rlhf_generation g = {.struct_size = sizeof g};
        host_must(rlhf_generator_get(generator, i, &g), "read an answer");
        host_batch_add(batch, g.tokens, g.num_tokens);
    }
}

void host_batch_free(host_batch *batch)
{
    free(batch->tokens);
    free(batch->cu_seqlens);
    memset(batch, 0, sizeof *batch);
}

void host_describe(const rlhf_dataset *dataset)
{
    rlhf_dataset_info info = {.struct_size = sizeof info};

    host_must(rlhf_dataset_get_info(dataset, &info), "count the rows");
    fprintf(stderr, "data: %lld rows, %lld tokens", (long long)info.num_rows,
            (long long)info.num_tokens);
    if (info.num_truncated)
        fprintf(stderr, "; %lld truncated", (long long)info.num_truncated);
    if (info.num_overlong_dropped)
        fprintf(stderr, "; %lld too long, dropped", (long long)info.num_overlong_dropped);
    if (info.num_identical_dropped)
        fprintf(stderr, "; %lld with equal answers, dropped",
                (long long)info.num_identical_dropped);
    if (info.num_empty_dropped)
        fprintf(stderr, "; %lld empty, dropped", (long long)info.num_empty_dropped);
    fputc('\n', stderr);
}
