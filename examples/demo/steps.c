#include "steps.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static char folder[PATH_SIZE], programs[PATH_SIZE];
static long peak_kib;

void step_die(const char *format, ...)
{
    va_list arguments;

    fputs("demo: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void step_set_folder(const char *path)
{
    if (strlen(path) > PATH_SIZE / 2)
        step_die("the path %.40s… is too long", path);
    memcpy(folder, path, strlen(path) + 1);
}

const char *step_folder(void)
{
    return folder;
}

const char *step_path(const char *format, ...)
{
    static char paths[8][PATH_SIZE];
    static int next;
    char *path = paths[next = (next + 1) % 8];
    const int used = snprintf(path, PATH_SIZE, "%s/", folder);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(path + used, (size_t)(PATH_SIZE - used), format, arguments);
    va_end(arguments);
    return path;
}

void step_find_programs(const char *own_path)
{
    const char *slash = strrchr(own_path, '/');

    snprintf(programs, sizeof programs, "%.*s", slash ? (int)(slash - own_path) : 1,
             slash ? own_path : ".");
}

void step_config(const char *name, const char *format, ...)
{
    const char *path = step_path("config/%s.yaml", name);
    FILE *file = fopen(path, "w");
    va_list arguments;

    if (!file)
        step_die("cannot write %s: %s", path, strerror(errno));
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    if (ferror(file) || fclose(file) != 0)
        step_die("cannot write %s: %s", path, strerror(errno));
}

/* A demo program stands beside this one, a numbered example one folder up. */
static void find(const char *program, char out[2 * PATH_SIZE])
{
    snprintf(out, 2 * PATH_SIZE, "%s/%s", programs, program);
    if (access(out, X_OK) != 0)
        snprintf(out, 2 * PATH_SIZE, "%s/../%s", programs, program);
    if (access(out, X_OK) != 0)
        step_die("the program %s is not built", program);
}

/* Starts a program; in and out replace its stdin and stdout unless -1. `unused`: an
 * end of a pipe that the child must not hold open. */
static pid_t start(const char *program, const char *const *arguments, int in, int out,
                   const int unused[2])
{
    char path[2 * PATH_SIZE];
    const char *argv[16] = {path};
    pid_t child;

    find(program, path);
    for (int i = 0; arguments[i]; i++)
        argv[i + 1] = arguments[i];
    fflush(NULL);
    child = fork();
    if (child < 0)
        step_die("cannot start %s: %s", program, strerror(errno));
    if (child > 0)
        return child;
    if (in >= 0)
        dup2(in, STDIN_FILENO);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    for (int i = 0; i < 2; i++)
        if (unused[i] >= 0)
            close(unused[i]);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    execv(path, (char *const *)(void *)argv);
    fprintf(stderr, "demo: cannot start %s: %s\n", path, strerror(errno));
    _exit(127);
}

static void finish(pid_t child, const char *program)
{
    struct rusage usage;
    int status;

    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR)
            step_die("cannot wait for %s: %s", program, strerror(errno));
    if (usage.ru_maxrss > peak_kib)
        peak_kib = usage.ru_maxrss;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 130) {
        fprintf(stderr, "demo: stopped; what is in %s stays\n", folder);
        exit(130);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        step_die("%s failed: see above", program);
}

void step_run_with(const char *program, const char *const *arguments)
{
    static const int none[2] = {-1, -1};

    finish(start(program, arguments, -1, -1, none), program);
}

void step_run(const char *title, const char *program, const char *config)
{
    const char *arguments[] = {step_path("config/%s.yaml", config), NULL};

    if (title)
        fprintf(stderr, "\n== %s\n", title);
    step_run_with(program, arguments);
}

void step_annotate(const char *title, const char *config, const char *const *annotator)
{
    const char *arguments[] = {step_path("config/%s.yaml", config), NULL};
    int pairs[2], choices[2];

    fprintf(stderr, "%s%s\n", title[0] == ' ' ? "" : "\n== ", title);
    if (pipe(pairs) != 0 || pipe(choices) != 0)
        step_die("cannot make a pipe: %s", strerror(errno));
    const int of_annotator[2] = {pairs[1], choices[0]};
    const int of_store[2] = {pairs[0], choices[1]};
    const pid_t person =
        start("annotator", annotator, pairs[0], choices[1], of_annotator);
    const pid_t store = start("04_annotate", arguments, choices[0], pairs[1], of_store);
    close(pairs[0]);
    close(pairs[1]);
    close(choices[0]);
    close(choices[1]);
    finish(store, "04_annotate");
    finish(person, "annotator");
}

double step_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double step_peak_mib(void)
{
    return (double)peak_kib / 1024.0;
}
