/* safetensors: what is written comes back bit for bit; what is malformed is refused by
 * name. */
#include "test_files.h"

#include <math.h>

#include "base/context.h"
#include "ckpt/safetensors.h"

typedef struct fixture {
    rlhf_context *context;
    char folder[TEST_PATH];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    assert_int_equal(rlhf_context_create(NULL, &f->context), RLHF_OK);
    test_folder_make(f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    test_folder_remove(f->folder);
    rlhf_context_free(f->context);
    free(f);
    return 0;
}

/* Header text and `size` bytes of zeros after it. */
static const char *make_file(const fixture *f, const char *header, size_t size)
{
    const char *path = test_join(f->folder, "x.safetensors");
    size_t length = strlen(header);
    unsigned char *bytes = calloc(1, 8 + length + size);

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    test_write(path, bytes, 8 + length + size);
    free(bytes);
    return path;
}

static void expect_refusal(const fixture *f, const char *path, rlhf_status status,
                           const char *words)
{
    rlhf__tensor_file *file = NULL;
    rlhf_status got = rlhf__tensor_file_open(f->context, path, &file);

    assert_null(file);
    if (got != status || !strstr(rlhf_last_error_message(), words))
        fail_msg("expected %s with \"%s\", got %s: %s", rlhf_status_name(status), words,
                 rlhf_status_name(got), rlhf_last_error_message());
    if (!strstr(rlhf_last_error_message(), path))
        fail_msg("no path in: %s", rlhf_last_error_message());
}

static const struct {
    const char *header;
    size_t data;
    rlhf_status status;
    const char *words;
} malformed[] = {
    {"", 0, RLHF_ERR_FORMAT, "does not begin with '{'"},
    {"[]", 0, RLHF_ERR_FORMAT, "does not begin with '{'"},
    {" {}", 0, RLHF_ERR_FORMAT, "does not begin with '{'"},
    {"{", 0, RLHF_ERR_FORMAT, "invalid JSON"},
    {"{\"a\": 1}", 0, RLHF_ERR_FORMAT, "tensor \"a\": its description is not an object"},
    {"{\"__metadata__\": []}", 0, RLHF_ERR_FORMAT, "__metadata__ is not an object"},
    {"{\"__metadata__\": {\"k\": 1}}", 0, RLHF_ERR_FORMAT, "\"k\" is not a string"},
    {"{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4, RLHF_ERR_FORMAT,
     "tensor \"a\": dtype is missing"},
    {"{\"a\": {\"dtype\": \"F8_E5M2\", \"shape\": [1], \"data_offsets\": [0, 1]}}", 1,
     RLHF_ERR_UNSUPPORTED, "tensor \"a\": dtype F8_E5M2"},
    {"{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}", 4, RLHF_ERR_FORMAT,
     "tensor \"a\": shape is missing"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4,
     RLHF_ERR_FORMAT, "tensor \"a\": shape[0] is not an integer >= 0"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1, 1.5], \"data_offsets\": [0, 4]}}", 4,
     RLHF_ERR_FORMAT, "tensor \"a\": shape[1] is not"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, "
     "4]}}",
     4, RLHF_ERR_UNSUPPORTED, "tensor \"a\": 9 dimensions"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296], "
     "\"data_offsets\": [0, 4]}}",
     4, RLHF_ERR_FORMAT, "tensor \"a\": the product of the shape overflows"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [9223372036854775807], "
     "\"data_offsets\": [0, 4]}}",
     4, RLHF_ERR_FORMAT, "tensor \"a\": the product of the shape overflows"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4, RLHF_ERR_FORMAT,
     "tensor \"a\": data_offsets is missing"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", 4,
     RLHF_ERR_FORMAT, "data_offsets is missing or not two integers"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 4,
     RLHF_ERR_FORMAT, "data_offsets [4, 0] are not ascending"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [-4, 0]}}", 4,
     RLHF_ERR_FORMAT, "data_offsets [-4, 0] are not ascending"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}", 4,
     RLHF_ERR_FORMAT, "[0, 8] reach over the 4 bytes"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": [0, 20]}}", 20,
     RLHF_ERR_FORMAT, "F32 [2, 3] takes 24 bytes, data_offsets give 20"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, "
     "\"b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}",
     8, RLHF_ERR_FORMAT, "tensor \"b\" begins at byte 4, inside"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}", 8,
     RLHF_ERR_FORMAT, "a hole of 4 bytes before tensor \"a\""},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 6,
     RLHF_ERR_FORMAT, "the tensors end at byte 4 of 6"},
    {"{\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}, "
     "\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}}",
     0, RLHF_ERR_FORMAT, "duplicate"},
};

static void test_header_malformed_is_refused(void **state)
{
    const fixture *f = *state;

    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
        expect_refusal(f, make_file(f, malformed[i].header, malformed[i].data),
                       malformed[i].status, malformed[i].words);
}

static void test_header_size_is_limited(void **state)
{
    const fixture *f = *state;
    const char *path = test_join(f->folder, "x.safetensors");

    test_write(path, "\0\0\0", 3);
    expect_refusal(f, path, RLHF_ERR_FORMAT, "3 bytes are too few");
    test_write(path, "\x01\xe1\xf5\x05\0\0\0\0{}", 10); /* 100,000,001 */
    expect_refusal(f, path, RLHF_ERR_FORMAT, "100000001 bytes is over the limit");
    test_write(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_refusal(f, path, RLHF_ERR_FORMAT, "is over the limit");
    test_write(path, "\x03\0\0\0\0\0\0\0{}", 10);
    expect_refusal(f, path, RLHF_ERR_FORMAT, "does not fit a file of 10");
}

static void test_path_wrong_is_refused(void **state)
{
    const fixture *f = *state;

    expect_refusal(f, test_join(f->folder, "none"), RLHF_ERR_NOT_FOUND, "No such file");
    expect_refusal(f, f->folder, RLHF_ERR_IO, "not a regular file");
}

static void test_empty_file_has_no_tensors(void **state)
{
    const fixture *f = *state;
    rlhf__tensor_file *file = NULL;

    assert_int_equal(rlhf__tensor_file_open(f->context, make_file(f, "{}   ", 0), &file),
                     RLHF_OK);
    assert_int_equal(rlhf__tensor_file_count(file), 0);
    assert_null(rlhf__tensor_file_find(file, "a"));
    rlhf__tensor_file_close(file);
}

static void test_half_precision_widens_exactly(void **state)
{
    const fixture *f = *state;
    /* bits of binary16 and bfloat16, and the values that IEEE 754 gives them */
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001,
                                      0x83ff, 0x0000, 0x8000, 0x7c00, 0xfc00};
    static const float values[] = {1.0f,        -2.0f, 65504.0f, 0x1p-14f, 0x1p-24f,
                                   -0x3ffp-24f, 0.0f,  -0.0f,    INFINITY, -INFINITY};
    static const uint16_t brains[] = {0x3f80, 0xc049, 0x0001, 0x7f7f};
    static const float wide[] = {1.0f, -3.140625f, 0x1p-133f, 0x1.fep127f};
    static const double doubles[] = {0.1, -1e300};
    float got[10];
    char bytes[2048];
    static const char header[] =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[10],\"data_offsets\":[0,20]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[20,28]},"
        "\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[28,44]},"
        "\"i\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[44,48]}}";
    const char *path = test_join(f->folder, "half.safetensors");
    uint64_t length = sizeof header - 1;
    rlhf__tensor_file *file = NULL;

    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, halves, 20);
    memcpy(bytes + 8 + length + 20, brains, 8);
    memcpy(bytes + 8 + length + 28, doubles, 16);
    test_write(path, bytes, 8 + length + 48);
    assert_int_equal(rlhf__tensor_file_open(f->context, path, &file), RLHF_OK);
    assert_int_equal(
        rlhf__tensor_file_read_f32(file, rlhf__tensor_file_find(file, "h"), 0, 10, got),
        RLHF_OK);
    assert_memory_equal(got, values, sizeof values);
    assert_int_equal(
        rlhf__tensor_file_read_f32(file, rlhf__tensor_file_find(file, "h"), 3, 2, got),
        RLHF_OK);
    assert_memory_equal(got, values + 3, 2 * sizeof *values);
    assert_int_equal(
        rlhf__tensor_file_read_f32(file, rlhf__tensor_file_find(file, "b"), 0, 4, got),
        RLHF_OK);
    assert_memory_equal(got, wide, sizeof wide);
    assert_int_equal(
        rlhf__tensor_file_read_f32(file, rlhf__tensor_file_find(file, "d"), 0, 2, got),
        RLHF_OK);
    assert_true(got[0] == 0.1f && got[1] == -INFINITY);
    assert_int_equal(rlhf__tensor_file_find(file, "i")->count, 1);
    assert_int_equal(
        rlhf__tensor_file_read_f32(file, rlhf__tensor_file_find(file, "i"), 0, 1, got),
        RLHF_ERR_UNSUPPORTED);
    assert_non_null(strstr(rlhf_last_error_message(), "tensor \"i\": dtype I32"));
    rlhf__tensor_file_close(file);
}

static void write_two(const fixture *f, rlhf_status expected_close, int64_t drop,
                      char out_sha256[65], int64_t *out_size)
{
    static const float a[6] = {1.0f, -0.0f, NAN, INFINITY, 0x1p-149f, 3.0f};
    static const int64_t b[3] = {INT64_MIN, 0, INT64_MAX};
    rlhf__tensor_spec specs[] = {{"a \"quoted\" \xc3\xa9", RLHF__DTYPE_F32, 2, {2, 3}},
                                 {"b", RLHF__DTYPE_I64, 1, {3}}};
    rlhf__tensor_writer *writer = NULL;
    rlhf__folder *folder = NULL;

    assert_int_equal(
        rlhf__folder_begin(f->context, test_join(f->folder, "out"), false, &folder),
        RLHF_OK);
    assert_int_equal(rlhf__tensor_writer_create(folder, f->context, "t.safetensors",
                                                specs, 2, true, &writer),
                     RLHF_OK);
    assert_int_equal(rlhf__tensor_writer_write(writer, a, 8), RLHF_OK);
    assert_int_equal(rlhf__tensor_writer_write(writer, a + 2, 16), RLHF_OK);
    assert_int_equal(rlhf__tensor_writer_write(writer, b, 24 - drop), RLHF_OK);
    assert_int_equal(rlhf__tensor_writer_write(writer, b, 24), RLHF_ERR_INTERNAL);
    assert_int_equal(rlhf__tensor_writer_close(writer, out_sha256, out_size),
                     expected_close);
    if (expected_close == RLHF_OK)
        assert_int_equal(rlhf__folder_commit(folder), RLHF_OK);
    else
        rlhf__folder_abort(folder);
}

static void test_writer_round_trips_bits(void **state)
{
    const fixture *f = *state;
    const char *path = test_join(f->folder, "out/t.safetensors");
    char written[65], read[65];
    int64_t written_size = 0, read_size = 0;
    rlhf__tensor_file *file = NULL;
    const rlhf__tensor_entry *entry;
    char *bytes;
    float a[6];
    int64_t b[3];
    size_t size;

    write_two(f, RLHF_OK, 0, written, &written_size);
    assert_int_equal(rlhf__file_sha256(f->context, path, read, &read_size), RLHF_OK);
    assert_string_equal(written, read);
    assert_int_equal(written_size, read_size);
    bytes = test_read(path, &size);
    assert_int_equal((8 + (uint64_t)(unsigned char)bytes[0]) % 8, 0);
    assert_non_null(strstr(bytes + 8, "\"__metadata__\": {\"format\": \"pt\"}"));
    free(bytes);

    assert_int_equal(rlhf__tensor_file_open(f->context, path, &file), RLHF_OK);
    assert_string_equal(rlhf__tensor_file_path(file), path);
    entry = rlhf__tensor_file_find(file, "a \"quoted\" \xc3\xa9");
    assert_non_null(entry);
    assert_int_equal(entry->rank, 2);
    assert_int_equal(entry->shape[1], 3);
    assert_int_equal(rlhf__tensor_file_read_f32(file, entry, 0, 6, a), RLHF_OK);
    assert_true(a[0] == 1.0f && signbit(a[1]) && isnan(a[2]) && isinf(a[3]));
    assert_true(a[4] == 0x1p-149f && a[5] == 3.0f);
    assert_int_equal(
        rlhf__tensor_file_read_bytes(file, rlhf__tensor_file_find(file, "b"), b),
        RLHF_OK);
    assert_true(b[0] == INT64_MIN && b[1] == 0 && b[2] == INT64_MAX);
    rlhf__tensor_file_close(file);
}

static void test_writer_counts_its_bytes(void **state)
{
    const fixture *f = *state;
    char sha256[65];
    int64_t size;

    write_two(f, RLHF_ERR_INTERNAL, 8, sha256, &size);
    assert_non_null(strstr(rlhf_last_error_message(), "8 bytes of tensors are missing"));
    assert_false(test_exists(test_join(f->folder, "out")));
}

/* The data's own files, then each of them cut short at every length and with every byte
 * of the header broken: whatever comes, it is a status and words, never a crash. */
static void test_real_files_survive_mutation(void **state)
{
    static const char *const names[] = {"empty",
                                        "multiple",
                                        "parameter_weight_bias_1",
                                        "single",
                                        "tensor-2d-float64",
                                        "tensor-3d-float32",
                                        "tensor-4d-float32"};
    const fixture *f = *state;
    const char *data = test_data_folder();
    int refused = 0;

    if (!data)
        skip();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[2 * TEST_PATH], mutant[2 * TEST_PATH];
        rlhf__tensor_file *file = NULL;
        size_t size = 0, header;
        char *bytes;
        snprintf(path, sizeof path, "%s/formats/safetensors/%s.safetensors", data,
                 names[i]);
        snprintf(mutant, sizeof mutant, "%s/mutant.safetensors", f->folder);
        assert_int_equal(rlhf__tensor_file_open(f->context, path, &file), RLHF_OK);
        for (int64_t j = 0; j < rlhf__tensor_file_count(file); j++) {
            const rlhf__tensor_entry *entry = rlhf__tensor_file_at(file, j);
            float *values = calloc((size_t)entry->count + 1, sizeof *values);
            assert_int_equal(
                rlhf__tensor_file_read_f32(file, entry, 0, entry->count, values),
                RLHF_OK);
            free(values);
        }
        rlhf__tensor_file_close(file);
        bytes = test_read(path, &size);
        for (size_t cut = 0; cut < size; cut += cut < 300 ? 1 : 97) {
            test_write(mutant, bytes, cut);
            assert_int_equal(rlhf__tensor_file_open(f->context, mutant, &file),
                             RLHF_ERR_FORMAT);
            assert_non_null(strstr(rlhf_last_error_message(), mutant));
        }
        header = 8 + (unsigned char)bytes[0] + 256u * (unsigned char)bytes[1];
        for (size_t at = 0; at < header; at++) {
            char old = bytes[at];
            rlhf_status status;
            bytes[at] = (char)(old ^ 0x11);
            test_write(mutant, bytes, size);
            status = rlhf__tensor_file_open(f->context, mutant, &file);
            if (status == RLHF_OK)
                rlhf__tensor_file_close(file); /* a letter of a name */
            else
                refused++;
            assert_true(status == RLHF_OK || status == RLHF_ERR_FORMAT ||
                        status == RLHF_ERR_UNSUPPORTED);
            bytes[at] = old;
        }
        free(bytes);
    }
    assert_true(refused > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_header_malformed_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_header_size_is_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_wrong_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_file_has_no_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_precision_widens_exactly, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_writer_round_trips_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer_counts_its_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_real_files_survive_mutation, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
