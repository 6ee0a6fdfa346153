/* Shared by the fuzz targets: a context with a limit on memory, a folder, properties that
 * every call must keep. One that does not hold ends the process, as fuzzers want. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rlhf/rlhf.h>

#define FUZZ_MEMORY_MAX ((int64_t)256 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Whether the last input was taken, for a driver that knows what it should be. */
extern bool fuzz_taken;

#define FUZZ_REQUIRE(condition, ...)                                                     \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);              \
            fprintf(stderr, __VA_ARGS__);                                                \
            fprintf(stderr, "\n");                                                       \
            abort();                                                                     \
        }                                                                                \
    } while (0)

#define FUZZ_OK(call) FUZZ_REQUIRE((call) == RLHF_OK, "%s", rlhf_last_error_message())

/* Made once: one thread, no log, no more than FUZZ_MEMORY_MAX bytes. */
rlhf_context *fuzz_context(void);
/* "FOLDER/name" in one of four buffers that take turns; the folder goes at exit. */
const char *fuzz_path(const char *name);
void fuzz_write(const char *name, const void *data, size_t size);
/* True for RLHF_OK; a failure must have a status of a caller's or a file's fault, and one
 * line of words. Want of memory counts only where the limit was met. */
bool fuzz_check(rlhf_status status);
/* A small byte-level tokenizer, made once. */
rlhf_tokenizer *fuzz_tokenizer(void);

#endif
