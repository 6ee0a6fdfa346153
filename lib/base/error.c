/* The per-thread error: a fixed buffer, so that a failure to allocate can be told too. */
#define RLHF__ERROR_C
#include "base/error.h"

#include <errno.h>
#include <fenv.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/versioned_struct.h"

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch)                                                \
    TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

typedef struct error_state {
    rlhf_status status;
    int32_t system_errno;
    int64_t line, column;
    char file[512];
    char field[128];
    char message[1024];
} error_state;

static _Thread_local error_state last_error;

/* One line: control characters become spaces; an overlong text ends at a character's
 * boundary. */
static void make_one_line(char *text)
{
    size_t size = strlen(text), last = size;

    while (last > 0 && size - last < 4 && ((unsigned char)text[last - 1] & 0xc0) == 0x80)
        last--;
    if (last > 0 && (unsigned char)text[last - 1] >= 0xc0) {
        unsigned char lead = (unsigned char)text[last - 1];
        size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (size - last + 1 < whole)
            text[last - 1] = '\0';
    }
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

static void copy_text(char *to, size_t capacity, const char *from)
{
    size_t size = from ? strlen(from) : 0;

    if (size >= capacity)
        size = capacity - 1;
    if (size)
        memcpy(to, from, size);
    to[size] = '\0';
    make_one_line(to);
}

static void begin(rlhf_status status, const char *file, int64_t line, int64_t column,
                  const char *field, int system_errno)
{
    last_error.status = status;
    last_error.system_errno = system_errno;
    last_error.line = line;
    last_error.column = column;
    copy_text(last_error.file, sizeof last_error.file, file);
    copy_text(last_error.field, sizeof last_error.field, field);
    last_error.message[0] = '\0';
}

/* A message says 0.5 whatever the host's locale, and 0.1 however the host rounds; "C"
 * needs no memory. */
static void append(const char *format, va_list args)
{
    size_t used = strlen(last_error.message);
    fenv_t host;

    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
    rlhf__c_locale scope = rlhf__c_locale_begin();

    vsnprintf(last_error.message + used, sizeof last_error.message - used, format, args);
    rlhf__c_locale_end(scope);
    fesetenv(&host);
}

static void append_text(const char *text)
{
    size_t used = strlen(last_error.message);

    snprintf(last_error.message + used, sizeof last_error.message - used, "%s", text);
}

static void tell(rlhf_status status, const char *field, const char *format, va_list args)
{
    begin(status, NULL, 0, 0, field, 0);
    append(format, args);
    make_one_line(last_error.message);
}

rlhf_status rlhf__fail(rlhf_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(status, NULL, format, args);
    va_end(args);
    return status;
}

rlhf_status rlhf__fail_at(rlhf_status status, const char *file, int64_t line,
                          int64_t column, const char *field, const char *format, ...)
{
    va_list args;
    char place[64];

    begin(status, file, line, column, field, 0);
    if (file) {
        append_text(file);
        append_text(":");
    }
    if (line > 0) {
        snprintf(place, sizeof place, "%lld:", (long long)line);
        append_text(place);
    }
    if (line > 0 && column > 0) {
        snprintf(place, sizeof place, "%lld:", (long long)column);
        append_text(place);
    }
    if (file || line > 0)
        append_text(" ");
    va_start(args, format);
    append(format, args);
    va_end(args);
    make_one_line(last_error.message);
    return status;
}

static rlhf_status status_of_errno(int system_errno)
{
    switch (system_errno) {
    case ENOENT:
        return RLHF_ERR_NOT_FOUND;
    case EEXIST:
        return RLHF_ERR_EXISTS;
    case ENOMEM:
        return RLHF_ERR_NO_MEMORY;
    default:
        return RLHF_ERR_IO;
    }
}

/* glibc's strerror_r returns the text, which may lie elsewhere; POSIX's fills buffer. */
static const char *errno_text(int system_errno, char *buffer, size_t size)
{
#if defined(__GLIBC__)
    return strerror_r(system_errno, buffer, size);
#else
    return strerror_r(system_errno, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

rlhf_status rlhf__fail_errno(int system_errno, const char *file, const char *format, ...)
{
    va_list args;
    char reason[128];

    begin(status_of_errno(system_errno), file, 0, 0, NULL, system_errno);
    va_start(args, format);
    append(format, args);
    va_end(args);
    append_text(": ");
    append_text(errno_text(system_errno, reason, sizeof reason));
    make_one_line(last_error.message);
    return last_error.status;
}

rlhf_status rlhf__fail_no_memory(size_t size)
{
    return rlhf__fail(RLHF_ERR_NO_MEMORY, "out of memory: %zu bytes", size);
}

rlhf_status rlhf__fail_arg(const char *field, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(RLHF_ERR_INVALID_ARG, field, format, args);
    va_end(args);
    return RLHF_ERR_INVALID_ARG;
}

rlhf_status rlhf__fail_field(rlhf_status status, const char *field)
{
    copy_text(last_error.field, sizeof last_error.field, field);
    return status;
}

rlhf_status rlhf__fail_in_file(rlhf_status status, const char *file)
{
    const error_state bare = last_error;

    return rlhf__fail_at(status, file, 0, 0, bare.field[0] ? bare.field : NULL, "%s",
                         bare.message);
}

const char *rlhf_last_error_message(void)
{
    return last_error.message;
}

rlhf_status rlhf_last_error_info(rlhf_error_info *info)
{
    if (!info || info->struct_size < sizeof(size_t))
        return RLHF_ERR_INVALID_ARG;
    rlhf_error_info own = {sizeof own,       last_error.status, last_error.system_errno,
                           last_error.line,  last_error.column, last_error.file,
                           last_error.field, last_error.message};
    return rlhf__struct_copy_out(&own, sizeof own, info, "rlhf_error_info");
}

const char *rlhf_status_name(int32_t status)
{
    static const char *const names[] = {"RLHF_OK",
                                        "RLHF_ERR_INVALID_ARG",
                                        "RLHF_ERR_NO_MEMORY",
                                        "RLHF_ERR_UNSUPPORTED",
                                        "RLHF_ERR_IO",
                                        "RLHF_ERR_FORMAT",
                                        "RLHF_ERR_NUMERIC",
                                        "RLHF_ERR_CALLBACK",
                                        "RLHF_ERR_CANCELLED",
                                        "RLHF_ERR_STATE",
                                        "RLHF_ERR_BUSY",
                                        "RLHF_ERR_LIMIT",
                                        "RLHF_ERR_NOT_FOUND",
                                        "RLHF_ERR_EXISTS",
                                        "RLHF_ERR_INTERNAL"};

    if (status > 0 || status <= -(int32_t)(sizeof names / sizeof names[0]))
        return "RLHF_ERR_UNKNOWN";
    return names[-status];
}

const char *rlhf_version(void)
{
    return VERSION_TEXT(RLHF_VERSION_MAJOR, RLHF_VERSION_MINOR, RLHF_VERSION_PATCH);
}
