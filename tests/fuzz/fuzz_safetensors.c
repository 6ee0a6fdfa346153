/* safetensors: what is opened can be read to its end, and is the same once written. */
#include "fuzz.h"

#include "base/alloc.h"
#include "ckpt/safetensors.h"

enum { MAX_TENSORS = 64 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)fuzz_context();
    return 0;
}

static char *read_tensor(rlhf__tensor_file *file, const rlhf__tensor_entry *entry)
{
    char *bytes = malloc((size_t)(entry->end - entry->begin) + 1);
    float *values = malloc((size_t)entry->count * sizeof *values + 1);

    FUZZ_REQUIRE(bytes && values, "no memory");
    FUZZ_OK(rlhf__tensor_file_read_bytes(file, entry, bytes));
    (void)fuzz_check(rlhf__tensor_file_read_f32(file, entry, 0, entry->count, values));
    free(values);
    return bytes;
}

static void write_again(rlhf__tensor_file *file, int64_t count)
{
    rlhf__tensor_spec specs[MAX_TENSORS];
    rlhf__tensor_writer *writer;
    rlhf__folder *folder;

    for (int64_t i = 0; i < count; i++) {
        const rlhf__tensor_entry *entry = rlhf__tensor_file_at(file, i);
        specs[i] = (rlhf__tensor_spec){entry->name, entry->dtype, entry->rank, {0}};
        memcpy(specs[i].shape, entry->shape, sizeof specs[i].shape);
    }
    FUZZ_OK(rlhf__folder_begin(fuzz_context(), fuzz_path("again"), false, &folder));
    FUZZ_OK(rlhf__tensor_writer_create(folder, fuzz_context(), "x.safetensors", specs,
                                       count, false, &writer));
    for (int64_t i = 0; i < count; i++) {
        const rlhf__tensor_entry *entry = rlhf__tensor_file_at(file, i);
        char *bytes = read_tensor(file, entry);
        FUZZ_OK(rlhf__tensor_writer_write(writer, bytes, entry->end - entry->begin));
        free(bytes);
    }
    FUZZ_OK(rlhf__tensor_writer_close(writer, NULL, NULL));
    FUZZ_OK(rlhf__folder_commit(folder));
}

static void check_same(rlhf__tensor_file *a, rlhf__tensor_file *b, int64_t count)
{
    FUZZ_REQUIRE(rlhf__tensor_file_count(b) == count, "%lld tensors, not %lld",
                 (long long)rlhf__tensor_file_count(b), (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const rlhf__tensor_entry *x = rlhf__tensor_file_at(a, i);
        const rlhf__tensor_entry *y = rlhf__tensor_file_find(b, x->name);
        FUZZ_REQUIRE(y && y->dtype == x->dtype && y->rank == x->rank &&
                         y->count == x->count,
                     "%s differs", x->name);
        char *p = read_tensor(a, x), *q = read_tensor(b, y);
        FUZZ_REQUIRE(memcmp(p, q, (size_t)(x->end - x->begin)) == 0, "%s differs",
                     x->name);
        free(p);
        free(q);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf__tensor_file *file, *again;

    fuzz_write("x.safetensors", data, size);
    fuzz_taken = fuzz_check(
        rlhf__tensor_file_open(fuzz_context(), fuzz_path("x.safetensors"), &file));
    if (!fuzz_taken)
        return 0;
    const int64_t count = rlhf__tensor_file_count(file);
    if (count <= MAX_TENSORS) {
        write_again(file, count);
        FUZZ_OK(rlhf__tensor_file_open(fuzz_context(), fuzz_path("again/x.safetensors"),
                                       &again));
        check_same(file, again, count);
        rlhf__tensor_file_close(again);
    }
    rlhf__tensor_file_close(file);
    return 0;
}
