/* A host that loads the library by dlopen, with RTLD_LOCAL, and unloads it two hundred
 * times, while a thread of its own that met an error in there lives on: afterwards no
 * thread, no descriptor, no mapping and no memory is left. */
#include <rlhf/rlhf.h>

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TIMES = 200, WARM = 100, VOCAB = 8, LENGTH = 48 };

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                      \
            return 1;                                                                    \
        }                                                                                \
    } while (0)
/* A function of the library by its name, in a variable of its own type. */
#define LOAD(library, name)                                                              \
    __typeof__(&rlhf_##name) name;                                                       \
    *(void **)&name = dlsym(library, "rlhf_" #name);                                     \
    CHECK(name)

typedef struct outliver {
    __typeof__(&rlhf_model_logits) logits;
    __typeof__(&rlhf_last_error_message) message;
    pthread_barrier_t failed, unloaded;
    int wrong;
} outliver;

/* Has text of its own in the library's memory when the library goes. */
static void *fail_and_outlive(void *arg)
{
    outliver *o = arg;

    o->wrong = o->logits(NULL, NULL, NULL, 0, NULL) != RLHF_ERR_INVALID_ARG ||
               !strstr(o->message(), "model");
    pthread_barrier_wait(&o->failed);
    pthread_barrier_wait(&o->unloaded);
    return NULL;
}

/* Forward and, where a model's products are large enough, on all threads. */
static int work(void *library)
{
    int32_t tokens[LENGTH];
    const int64_t ends[2] = {0, LENGTH};
    static float logits[LENGTH * VOCAB];
    rlhf_context_options options;
    rlhf_model_config config;
    rlhf_context *context;
    rlhf_model *model;

    LOAD(library, context_options_init);
    LOAD(library, context_create);
    LOAD(library, context_free);
    LOAD(library, model_config_init);
    LOAD(library, model_create);
    LOAD(library, model_logits);
    LOAD(library, model_free);
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = i % VOCAB;
    CHECK(context_options_init(&options, sizeof options) == RLHF_OK);
    options.num_threads = 3;
    CHECK(context_create(&options, &context) == RLHF_OK);
    CHECK(model_config_init(&config, sizeof config) == RLHF_OK);
    config.vocab_size = VOCAB;
    config.hidden_size = 96;
    config.num_layers = 1;
    CHECK(model_create(context, &config, 1, &model) == RLHF_OK);
    CHECK(model_logits(model, tokens, ends, 1, logits) == RLHF_OK);
    CHECK(model_logits(model, tokens, ends, 0, logits) == RLHF_ERR_INVALID_ARG);
    model_free(model);
    context_free(context);
    return 0;
}

static int load_and_unload(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    outliver other = {.wrong = 1};
    pthread_t thread;

    CHECK(library);
    LOAD(library, model_logits);
    LOAD(library, last_error_message);
    other.logits = model_logits;
    other.message = last_error_message;
    CHECK(pthread_barrier_init(&other.failed, NULL, 2) == 0);
    CHECK(pthread_barrier_init(&other.unloaded, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, fail_and_outlive, &other) == 0);
    pthread_barrier_wait(&other.failed);
    CHECK(work(library) == 0);
    CHECK(dlclose(library) == 0);
    CHECK(!dlopen(path, RTLD_NOW | RTLD_NOLOAD)); /* it is gone */
    pthread_barrier_wait(&other.unloaded);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!other.wrong);
    pthread_barrier_destroy(&other.failed);
    pthread_barrier_destroy(&other.unloaded);
    return 0;
}

/* Of a folder, its own two included. */
static int count_entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

/* Pages of the process: mapped, and resident. */
static int read_pages(long *out_mapped, long *out_resident)
{
    FILE *file = fopen("/proc/self/statm", "r");
    const int read = file ? fscanf(file, "%ld %ld", out_mapped, out_resident) : 0;

    if (file)
        fclose(file);
    return read == 2;
}

int main(int argc, char **argv)
{
    /* The fewest pages of the first times and of the last: malloc's own come and go. */
    long mapped[2] = {LONG_MAX, LONG_MAX}, resident[2] = {LONG_MAX, LONG_MAX};
    /* Less than a page a time. BLIS's tables were 17, an unjoined thread 2000. */
    const long most = (TIMES - WARM) / 4;
    const int threads = count_entries("/proc/self/task");
    const int descriptors = count_entries("/proc/self/fd");

    CHECK(argc == 2);
    for (int i = 0; i < TIMES; i++) {
        if (load_and_unload(argv[1]))
            return 1;
        long mapped_now, resident_now;
        CHECK(read_pages(&mapped_now, &resident_now));
        const int half = i >= (TIMES + WARM) / 2;
        if (i >= WARM) {
            mapped[half] = mapped_now < mapped[half] ? mapped_now : mapped[half];
            resident[half] =
                resident_now < resident[half] ? resident_now : resident[half];
        }
    }
    /* A joined thread leaves this folder a moment later. */
    for (int i = 0; i < 100 && count_entries("/proc/self/task") > threads; i++)
        usleep(10000);
    CHECK(threads > 2 && count_entries("/proc/self/task") == threads);
    CHECK(count_entries("/proc/self/fd") == descriptors);
    printf("after %d times: %+ld pages mapped, %+ld resident\n", (TIMES - WARM) / 2,
           mapped[1] - mapped[0], resident[1] - resident[0]);
    CHECK(mapped[1] - mapped[0] < most);
    CHECK(resident[1] - resident[0] < most);
    return 0;
}
