/* Size-versioned structs and their descriptor tables. */
#include "base/versioned_struct.h"

#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/number.h"

static size_t field_size(rlhf__field_type type)
{
    switch (type) {
    case RLHF__FIELD_I32:
    case RLHF__FIELD_BOOL:
    case RLHF__FIELD_ENUM:
        return sizeof(int32_t);
    case RLHF__FIELD_STRING:
    case RLHF__FIELD_POINTER:
        return sizeof(void *);
    default:
        return 8;
    }
}

static void set_default(const rlhf__field *field, void *options)
{
    char *at = (char *)options + field->offset;
    int32_t i32;
    int64_t i64;
    uint64_t u64;
    const void *none = NULL;

    /* Each converts in its own case: a default of -1 has no value as a uint64_t. */
    switch (field->type) {
    case RLHF__FIELD_I32:
    case RLHF__FIELD_BOOL:
    case RLHF__FIELD_ENUM:
        i32 = (int32_t)field->default_value;
        memcpy(at, &i32, sizeof i32);
        break;
    case RLHF__FIELD_I64:
        i64 = (int64_t)field->default_value;
        memcpy(at, &i64, sizeof i64);
        break;
    case RLHF__FIELD_U64:
        u64 = (uint64_t)field->default_value;
        memcpy(at, &u64, sizeof u64);
        break;
    case RLHF__FIELD_F64:
        memcpy(at, &field->default_value, sizeof(double));
        break;
    default:
        memcpy(at, &none, sizeof none);
    }
}

rlhf_status rlhf__struct_init(const rlhf__struct_desc *desc, void *options,
                              size_t struct_size)
{
    if (!options)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s is NULL", desc->name);
    if (struct_size < desc->min_size)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s: struct_size %zu is below %zu",
                          desc->name, struct_size, desc->min_size);
    memset(options, 0, struct_size);
    memcpy(options, &struct_size, sizeof struct_size);
    for (int32_t i = 0; i < desc->num_fields; i++)
        if (desc->fields[i].offset + field_size(desc->fields[i].type) <= struct_size)
            set_default(&desc->fields[i], options);
    return RLHF_OK;
}

static bool all_zero(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* Bytes of `theirs` that today's struct holds; refuses unknown ones that are set. */
static rlhf_status known_size(const void *theirs, size_t min_size, size_t size,
                              const char *name, size_t *out_known)
{
    size_t given;

    memcpy(&given, theirs, sizeof given);
    if (given < min_size)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "%s: struct_size %zu is below %zu (was it "
                          "initialised?)",
                          name, given, min_size);
    if (given > (size_t)1 << 20)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s: struct_size %zu is not plausible",
                          name, given);
    if (given > size && !all_zero((const char *)theirs + size, given - size))
        return rlhf__fail(RLHF_ERR_UNSUPPORTED,
                          "%s sets a field that is newer than this "
                          "library (struct_size %zu, known %zu)",
                          name, given, size);
    *out_known = given < size ? given : size;
    return RLHF_OK;
}

rlhf_status rlhf__struct_read(const rlhf__struct_desc *desc, const void *options,
                              void *out)
{
    size_t known = 0;
    rlhf_status status = RLHF_OK;
    fenv_t host;

    RLHF__TRY(rlhf__struct_init(desc, out, desc->size));
    if (!options)
        return RLHF_OK;
    RLHF__TRY(known_size(options, desc->min_size, desc->size, desc->name, &known));
    memcpy((char *)out + sizeof(size_t), (const char *)options + sizeof(size_t),
           known - sizeof(size_t));
    /* A host that flushes denormals would find 1e-310 to be 0. */
    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
    for (int32_t i = 0; i < desc->num_fields && status == RLHF_OK; i++)
        status = rlhf__field_check(&desc->fields[i], out);
    fesetenv(&host);
    return status;
}

/* `as`: "", or " as a float" where `value` is what is left of the one given. */
static rlhf_status range_error(const rlhf__field *field, const char *relation,
                               double bound, const char *as, const char *text)
{
    char bound_text[32];

    rlhf__format_f64(bound, bound_text);
    return rlhf__fail_arg(field->name, "%s must be %s %s%s, got %s", field->name,
                          relation, bound_text, as, text);
}

static rlhf_status check_range(const rlhf__field *field, double value, const char *as,
                               const char *text)
{
    if (field->type == RLHF__FIELD_F64 && !isfinite(value))
        return rlhf__fail_arg(field->name, "%s must be finite%s, got %s", field->name, as,
                              text);
    if (field->min_exclusive ? value <= field->min : value < field->min)
        return range_error(field, field->min_exclusive ? ">" : ">=", field->min, as,
                           text);
    if (field->max_exclusive ? value >= field->max : value > field->max)
        return range_error(field, field->max_exclusive ? "<" : "<=", field->max, as,
                           text);
    return RLHF_OK;
}

static rlhf_status check_f64(const rlhf__field *field, double value)
{
    char text[32];

    rlhf__format_f64(value, text);
    RLHF__TRY(check_range(field, value, "", text));
    if (!field->as_float)
        return RLHF_OK;
    return check_range(field, (double)(float)value, " as a float", text);
}

static rlhf_status check_enum(const rlhf__field *field, int32_t value)
{
    for (const rlhf__enum_name *n = field->names; n->name; n++)
        if (n->value == value)
            return RLHF_OK;
    return rlhf__fail_arg(field->name, "%s has no value %d", field->name, value);
}

rlhf_status rlhf__field_check(const rlhf__field *field, const void *options)
{
    const char *at = (const char *)options + field->offset;
    char text[32] = "";
    int32_t i32;
    int64_t i64;
    uint64_t u64;
    double f64;

    switch (field->type) {
    case RLHF__FIELD_BOOL:
        memcpy(&i32, at, sizeof i32);
        if (i32 == 0 || i32 == 1)
            return RLHF_OK;
        return rlhf__fail_arg(field->name, "%s must be 0 or 1, got %d", field->name, i32);
    case RLHF__FIELD_ENUM:
        memcpy(&i32, at, sizeof i32);
        return check_enum(field, i32);
    case RLHF__FIELD_I32:
        memcpy(&i32, at, sizeof i32);
        rlhf__format_f64(i32, text);
        return check_range(field, i32, "", text);
    case RLHF__FIELD_I64:
        memcpy(&i64, at, sizeof i64);
        rlhf__format_f64((double)i64, text);
        return check_range(field, (double)i64, "", text);
    case RLHF__FIELD_U64:
        memcpy(&u64, at, sizeof u64);
        return RLHF_OK;
    case RLHF__FIELD_F64:
        memcpy(&f64, at, sizeof f64);
        return check_f64(field, f64);
    default:
        return RLHF_OK;
    }
}

const rlhf__field *rlhf__struct_find(const rlhf__struct_desc *desc, const char *name)
{
    for (int32_t i = 0; i < desc->num_fields; i++)
        if (strcmp(desc->fields[i].name, name) == 0)
            return &desc->fields[i];
    return NULL;
}

rlhf_status rlhf__struct_copy_in(const void *theirs, size_t min_size, size_t size,
                                 void *out, const char *name)
{
    size_t known = 0;

    if (!theirs)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s is NULL", name);
    RLHF__TRY(known_size(theirs, min_size, size, name, &known));
    memset(out, 0, size);
    memcpy(out, theirs, known);
    memcpy(out, &size, sizeof size);
    return RLHF_OK;
}

rlhf_status rlhf__struct_check_out(const void *theirs, const char *name)
{
    size_t given;

    if (!theirs)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s is NULL", name);
    memcpy(&given, theirs, sizeof given);
    if (given < sizeof given || given > (size_t)1 << 20)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "%s: struct_size is %zu; set it to sizeof", name, given);
    return RLHF_OK;
}

rlhf_status rlhf__struct_copy_out(const void *ours, size_t size, void *theirs,
                                  const char *name)
{
    size_t given;

    RLHF__TRY(rlhf__struct_check_out(theirs, name));
    memcpy(&given, theirs, sizeof given);
    memset(theirs, 0, given);
    memcpy(theirs, ours, given < size ? given : size);
    memcpy(theirs, &given, sizeof given);
    return RLHF_OK;
}
