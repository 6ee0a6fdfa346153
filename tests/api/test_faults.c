/* Everything that is saved, on a full disk, where nothing may be written, and where
 * the path is something else; and a process killed in the middle: the old or the new,
 * whole, never mixed. */
#include "api_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "test_files.h"

typedef struct objects {
    rlhf_context *context;
    rlhf_model *model, *policy;
    rlhf_reward_model *reward;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset, *pairs;
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward_trainer;
    rlhf_ppo_trainer *ppo;
    rlhf_rollout *rollout;
    rlhf_feedback *feedback;
    char folder[TEST_PATH];
} objects;

/* "folder/name" that stays until the program ends. */
static const char *place(const char *folder, const char *name)
{
    static char *all[64];
    static int count;

    assert_true(count < 64);
    all[count] = strdup(test_join(folder, name));
    return all[count++];
}

/* --- what is saved ------------------------------------------------------------------ */

static rlhf_status save_model(objects *o, const char *path)
{
    return rlhf_model_save(o->model, path);
}

static rlhf_status save_reward(objects *o, const char *path)
{
    return rlhf_reward_model_save(o->reward, path);
}

static rlhf_status save_tokenizer(objects *o, const char *path)
{
    return rlhf_tokenizer_save(o->tokenizer, path);
}

static rlhf_status save_lm(objects *o, const char *path)
{
    return rlhf_lm_trainer_save(o->lm, path);
}

static rlhf_status save_reward_trainer(objects *o, const char *path)
{
    return rlhf_reward_trainer_save(o->reward_trainer, path);
}

static rlhf_status save_ppo(objects *o, const char *path)
{
    return rlhf_ppo_trainer_save(o->ppo, path);
}

static rlhf_status export_feedback(objects *o, const char *path)
{
    return rlhf_feedback_export(o->feedback, path);
}

static rlhf_status append_rollout(objects *o, const char *path)
{
    return rlhf_rollout_write_jsonl(o->rollout, NULL, path);
}

typedef struct saver {
    const char *name;
    rlhf_status (*save)(objects *o, const char *path);
    int is_file;
} saver;

static const saver savers[] = {
    {"model", save_model, 0},
    {"reward model", save_reward, 0},
    {"tokenizer", save_tokenizer, 0},
    {"lm trainer", save_lm, 0},
    {"reward trainer", save_reward_trainer, 0},
    {"ppo trainer", save_ppo, 0},
    {"feedback export", export_feedback, 1},
    {"rollout", append_rollout, 1},
};
enum { NUM_SAVERS = sizeof savers / sizeof savers[0] };

static void make_text_objects(objects *o)
{
    const char *text = "a tokenizer of bytes";
    const size_t length = strlen(text);
    rlhf_tokenizer_train_options options;
    const int32_t prompt[2] = {2, 3}, answers[2][300] = {{4, 5}, {6, 7}};
    int64_t id;
    rlhf_comparison pair = {.struct_size = sizeof pair,
                            .prompt_ids = prompt,
                            .answer_ids = {answers[0], answers[1]},
                            .num_prompt = 2,
                            .num_answer = {300, 300},
                            .prompt_text = "prompt",
                            .answer_text = {"one", "two"}};

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 257;
    assert_ok(
        rlhf_tokenizer_train(o->context, &text, &length, 1, &options, &o->tokenizer));
    assert_ok(rlhf_feedback_open(o->context, test_join(o->folder, "store.db"), 1,
                                 &o->feedback));
    for (int i = 0; i < 4; i++) {
        assert_ok(rlhf_feedback_add(o->feedback, &pair, &id));
        assert_ok(rlhf_feedback_choose(o->feedback, id, RLHF_CHOICE_FIRST));
    }
}

static void make_rollout(objects *o)
{
    int32_t tokens[LENGTH];
    uint8_t mask[LENGTH];

    for (int t = 0; t < LENGTH; t++) {
        tokens[t] = t % VOCAB;
        mask[t] = t > 0;
    }
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = LENGTH,
                                      .score = 0.5};
    assert_ok(rlhf_rollout_create(o->context, &o->rollout));
    for (int i = 0; i < 20; i++)
        assert_ok(rlhf_rollout_append(o->rollout, &input));
}

static int setup(void **state)
{
    objects *o = calloc(1, sizeof *o);
    rlhf_dataset_options options;

    test_folder_make(o->folder);
    o->context = support_context(NULL, 1);
    o->model = tiny_model(o->context, VOCAB, LENGTH, 1);
    o->dataset = repeated_rows(o->context, 4, 8);
    assert_ok(rlhf_lm_trainer_create(o->model, o->dataset, NULL, &o->lm));
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(o->context, &options, &o->pairs));
    assert_ok(rlhf_reward_model_create(o->model, NULL, &o->reward));
    assert_ok(rlhf_reward_trainer_create(o->reward, o->pairs, NULL, &o->reward_trainer));
    o->policy = tiny_model(o->context, VOCAB, LENGTH, 2);
    assert_ok(rlhf_ppo_trainer_create(o->policy, NULL, NULL, NULL, NULL, &o->ppo));
    make_text_objects(o);
    make_rollout(o);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    objects *o = *state;

    rlhf_feedback_free(o->feedback);
    rlhf_rollout_free(o->rollout);
    rlhf_ppo_trainer_free(o->ppo);
    rlhf_reward_trainer_free(o->reward_trainer);
    rlhf_lm_trainer_free(o->lm);
    rlhf_tokenizer_free(o->tokenizer);
    rlhf_dataset_free(o->dataset);
    rlhf_dataset_free(o->pairs);
    rlhf_reward_model_free(o->reward);
    rlhf_model_free(o->model);
    rlhf_model_free(o->policy);
    rlhf_context_free(o->context);
    test_folder_remove(o->folder);
    free(o);
    return 0;
}

/* --- looking at folders ------------------------------------------------------------- */

static void mix(uint64_t *hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ bytes[i]) * 0x100000001b3ULL; /* FNV-1a */
}

/* Names and bytes of a file or of a folder with all that is in it. */
static uint64_t content(const char *path)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    struct dirent **entries = NULL;
    size_t size = 0;
    struct stat info;

    assert_int_equal(stat(path, &info), 0);
    if (!S_ISDIR(info.st_mode)) {
        char *data = test_read(path, &size);
        mix(&hash, data, size);
        free(data);
        return hash;
    }
    const int count = scandir(path, &entries, NULL, alphasort);
    assert_true(count >= 2);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char child[4 * TEST_PATH];
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            snprintf(child, sizeof child, "%s/%s", path, name);
            const uint64_t inner = content(child);
            mix(&hash, name, strlen(name));
            mix(&hash, &inner, sizeof inner);
        }
        free(entries[i]);
    }
    free(entries);
    return hash;
}

/* --- a disk that is full ------------------------------------------------------------ */

/* The old is saved first; then the disk is full; 0, or the number of the saver that
 * did not keep what was there or fail with words. */
static int save_on_full_disk(objects *o, const char *folder, void (*fill)(const char *),
                             const char *words)
{
    uint64_t before[NUM_SAVERS];
    char path[3 * TEST_PATH];

    for (int i = 0; i < NUM_SAVERS; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        if (savers[i].save(o, path) != RLHF_OK) {
            fprintf(stderr, "%s: %s\n", savers[i].name, rlhf_last_error_message());
            return i + 1;
        }
        before[i] = content(path);
    }
    fill(folder);
    const int entries = test_count_entries(folder);
    for (int i = 0; i < NUM_SAVERS; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        const rlhf_status status = savers[i].save(o, path);
        if (status != RLHF_ERR_IO || !strstr(rlhf_last_error_message(), words) ||
            content(path) != before[i] || test_count_entries(folder) != entries) {
            fprintf(stderr, "%s: %s: %s (%d entries, %d before; %s)\n", savers[i].name,
                    rlhf_status_name(status), rlhf_last_error_message(),
                    test_count_entries(folder), entries,
                    content(path) == before[i] ? "old content kept" : "content changed");
            return i + 1;
        }
    }
    return 0;
}

static void limit_files(const char *folder)
{
    (void)folder;
    test_limit_file_size(100); /* less than any of the files, tokenizer_config.json too */
}

/* The context works in the process that made it alone, so each child makes its own
 * things. */
static int in_child(int (*body)(objects *o))
{
    int status = -1;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        objects *own = NULL;
        setup((void **)&own);
        const int failed = body(own);
        teardown((void **)&own);
        _exit(failed);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status))
        fail_msg("the child ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static int full_by_limit(objects *o)
{
    const char *folder = place(o->folder, "saved");

    if (mkdir(folder, 0777))
        return 100;
    return save_on_full_disk(o, folder, limit_files, "File too large");
}

static void test_files_over_the_limit_leave_the_old(void **state)
{
    (void)state;
    assert_int_equal(in_child(full_by_limit), 0);
}

/* Fills what is left of a file system. */
static void fill_up(const char *folder)
{
    static const char zeros[4096];
    const int fd = open(test_join(folder, "filler"), O_WRONLY | O_CREAT, 0666);

    for (size_t size = sizeof zeros; size > 0; size /= 2)
        while (write(fd, zeros, size) == (ssize_t)size)
            ;
    close(fd);
}

enum { NO_MOUNT = 77 };

/* A small file system of the child's own. */
static int full_by_mount(objects *o)
{
    const char *folder = place(o->folder, "disk");

    if (mkdir(folder, 0777))
        return 100;
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", folder, "tmpfs", 0, "size=2m"))
        return NO_MOUNT;
    const int failed = save_on_full_disk(o, folder, fill_up, "No space left on device");
    umount2(folder, MNT_DETACH);
    return failed;
}

static void test_full_disk_leaves_the_old(void **state)
{
    (void)state;
    const int failed = in_child(full_by_mount);

    if (failed == NO_MOUNT) {
        print_message("skipped: a small file system cannot be mounted here\n");
        skip();
    }
    assert_int_equal(failed, 0);
}

/* The feedback store itself: the choice that found no room is not there, the others
 * are. */
static int full_store(objects *o)
{
    const char *folder = place(o->folder, "disk");
    rlhf_feedback_info before = {.struct_size = sizeof before}, after = before;
    const int32_t ids[2][3000] = {{1}, {2}};
    rlhf_comparison pair = {.struct_size = sizeof pair,
                            .prompt_ids = ids[0],
                            .answer_ids = {ids[0], ids[1]},
                            .num_prompt = 3000,
                            .num_answer = {3000, 3000},
                            .prompt_text = "",
                            .answer_text = {"", ""}};
    rlhf_feedback *store;
    int64_t id;

    if (mkdir(folder, 0777))
        return 100;
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", folder, "tmpfs", 0, "size=1m"))
        return NO_MOUNT;
    if (rlhf_feedback_open(o->context, test_join(folder, "s.db"), 1, &store) ||
        rlhf_feedback_add(store, &pair, &id) || rlhf_feedback_get_info(store, &before))
        return 1;
    fill_up(folder);
    const rlhf_status status = rlhf_feedback_add(store, &pair, &id);
    if (status != RLHF_ERR_IO || !strstr(rlhf_last_error_message(), "s.db")) {
        fprintf(stderr, "%s: %s\n", rlhf_status_name(status), rlhf_last_error_message());
        return 2;
    }
    if (rlhf_feedback_get_info(store, &after) ||
        memcmp(&before, &after, sizeof after) != 0)
        return 3;
    unlink(test_join(folder, "filler"));
    if (rlhf_feedback_add(store, &pair, &id)) /* with room again it goes on */
        return 4;
    rlhf_feedback_free(store);
    umount2(folder, MNT_DETACH);
    return 0;
}

static void test_full_disk_leaves_the_feedback_store_whole(void **state)
{
    (void)state;
    const int failed = in_child(full_store);

    if (failed == NO_MOUNT) {
        print_message("skipped: a small file system cannot be mounted here\n");
        skip();
    }
    assert_int_equal(failed, 0);
}

/* --- wrong places ------------------------------------------------------------------- */

static void test_wrong_paths_are_named(void **state)
{
    objects *o = *state;
    const char *file = place(o->folder, "a-file"), *dir = place(o->folder, "a-dir");

    test_write(file, "x", 1);
    assert_int_equal(mkdir(dir, 0777), 0);
    for (int i = 0; i < NUM_SAVERS; i++) {
        const char *other = savers[i].is_file ? dir : file;
        const int entries = test_count_entries(o->folder);
        const rlhf_status status = savers[i].save(o, other);
        if ((status != RLHF_ERR_IO && status != RLHF_ERR_EXISTS) ||
            !strstr(rlhf_last_error_message(), other))
            fail_msg("%s: %s: %s", savers[i].name, rlhf_status_name(status),
                     rlhf_last_error_message());
        assert_fails(savers[i].save(o, test_join(o->folder, "no/such/place")),
                     RLHF_ERR_NOT_FOUND, "no/such/place");
        assert_fails(savers[i].save(o, ""), RLHF_ERR_INVALID_ARG, "the path is empty");
        assert_int_equal(test_count_entries(o->folder), entries);
    }
    char *kept = test_read(file, NULL);
    assert_string_equal(kept, "x");
    free(kept);
    assert_int_equal(test_count_entries(dir), 0);
}

/* A link to a link, named as if it were a folder: the links stay, and what they name is
 * replaced. */
static void test_links_to_folders_are_followed(void **state)
{
    objects *o = *state;
    const char *inside = place(o->folder, "links"), *real = place(inside, "real"),
               *link = place(inside, "link"), *second = place(inside, "second");
    struct stat st;

    assert_int_equal(mkdir(inside, 0777), 0);
    assert_int_equal(symlink("real", link), 0);
    assert_int_equal(symlink("link", second), 0);
    for (int i = 0; i < NUM_SAVERS; i++) {
        if (savers[i].is_file)
            continue;
        assert_ok(savers[i].save(o, real));
        const int files = test_count_entries(real);
        assert_ok(savers[i].save(o, second));
        assert_ok(savers[i].save(o, test_join(inside, "link/")));
        assert_ok(savers[i].save(o, test_join(inside, "second/")));
        assert_int_equal(test_count_entries(real), files);
        assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
        assert_true(lstat(second, &st) == 0 && S_ISLNK(st.st_mode));
        assert_int_equal(test_count_entries(inside), 3);
        test_folder_remove(real);
    }
}

/* Open at its other end, so that whoever writes into it does not wait. */
static void test_pipe_is_not_written(void **state)
{
    objects *o = *state;
    const char *path = place(o->folder, "pipe");
    struct stat st;

    assert_int_equal(mkfifo(path, 0666), 0);
    const int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int i = 0; i < NUM_SAVERS; i++) {
        if (!savers[i].is_file)
            continue;
        assert_fails(savers[i].save(o, path), RLHF_ERR_IO, "not a regular file");
        assert_non_null(strstr(rlhf_last_error_message(), path));
        assert_true(lstat(path, &st) == 0 && S_ISFIFO(st.st_mode));
    }
    close(fd);
    assert_int_equal(unlink(path), 0);
}

/* As somebody whom the folder's mode keeps out, root included. */
static int in_closed_folder(objects *o)
{
    const char *folder = place(o->folder, "closed");
    int failed = 0;

    if (mkdir(folder, 0777) || chmod(o->folder, 0755) || chmod(folder, 0555))
        return 100;
    if (geteuid() == 0 && seteuid(65534))
        return 101;
    for (int i = 0; i < NUM_SAVERS && !failed; i++) {
        const rlhf_status status = savers[i].save(o, test_join(folder, "new"));
        if (status != RLHF_ERR_IO ||
            !strstr(rlhf_last_error_message(), "Permission denied")) {
            fprintf(stderr, "%s: %s: %s\n", savers[i].name, rlhf_status_name(status),
                    rlhf_last_error_message());
            failed = i + 1;
        }
    }
    if (getuid() == 0 && seteuid(0))
        return 102;
    return failed ? failed : test_count_entries(folder) != 0;
}

static void test_closed_folder_is_named(void **state)
{
    (void)state;
    assert_int_equal(in_child(in_closed_folder), 0);
}

/* --- killed in the middle ----------------------------------------------------------- */

/* Saves one model and the other in turns until it is killed. */
static void save_for_ever(const char *path)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *models[2] = {tiny_model(context, VOCAB, LENGTH, 1),
                             tiny_model(context, 2 * VOCAB, LENGTH, 2)};

    for (int i = 0;; i++)
        if (rlhf_model_save(models[i % 2], path) != RLHF_OK)
            _exit(1);
}

static void assert_old_or_new(rlhf_context *context, rlhf_model *const models[2],
                              const char *path)
{
    rlhf_model_config config;
    rlhf_model *model;
    char *note;

    assert_ok(rlhf_model_config_init(&config, sizeof config));
    assert_ok(rlhf_model_load(context, path, &model));
    assert_ok(rlhf_model_get_config(model, &config));
    assert_same_model(model, models[config.vocab_size == VOCAB ? 0 : 1]);
    rlhf_model_free(model);
    note = test_read(test_join(path, "notes/mine.txt"), NULL);
    assert_non_null(note); /* a file that is not the model's */
    assert_string_equal(note, "kept");
    free(note);
    assert_int_equal(test_count_entries(path), 3);
}

static void test_killed_save_leaves_old_or_new(void **state)
{
    objects *o = *state;
    const char *beside, *path;
    rlhf_model *models[2] = {tiny_model(o->context, VOCAB, LENGTH, 1),
                             tiny_model(o->context, 2 * VOCAB, LENGTH, 2)};
    unsigned int seed = 1;
    int status;

    beside = place(o->folder, "beside");
    assert_int_equal(mkdir(beside, 0777), 0);
    path = place(beside, "model");
    assert_ok(rlhf_model_save(models[0], path));
    assert_int_equal(mkdir(test_join(path, "notes"), 0777), 0);
    test_write(test_join(path, "notes/mine.txt"), "kept", 4);
    for (int round = 0; round < 40; round++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_for_ever(path);
        nanosleep(&(struct timespec){0, 1000000 + rand_r(&seed) % 30000000}, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_old_or_new(o->context, models, path);
    }
    assert_ok(
        rlhf_model_save(models[1], path)); /* what was left beside it is no hindrance */
    assert_old_or_new(o->context, models, path);
    rlhf_model_free(models[0]);
    rlhf_model_free(models[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_over_the_limit_leave_the_old),
        cmocka_unit_test(test_full_disk_leaves_the_old),
        cmocka_unit_test(test_full_disk_leaves_the_feedback_store_whole),
        cmocka_unit_test(test_wrong_paths_are_named),
        cmocka_unit_test(test_links_to_folders_are_followed),
        cmocka_unit_test(test_pipe_is_not_written),
        cmocka_unit_test(test_closed_folder_is_named),
        cmocka_unit_test(test_killed_save_leaves_old_or_new),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
