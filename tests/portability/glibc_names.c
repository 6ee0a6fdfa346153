/* The names of glibc alone that Debian's static libraries ask for: its checks of buffers
 * (_FORTIFY_SOURCE) and a call by its 64-bit name. With them those libraries link with
 * musl: all else that they use has the same name, and on x86-64 the same layout, in both
 * (`./dev musl`, docs/portability.md). Checks are left out. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room);
void *__memset_chk(void *to, int byte, size_t size, size_t room);
int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...);
int __snprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, ...);
int __printf_chk(int flag, const char *format, ...);
int __fprintf_chk(FILE *file, int flag, const char *format, ...);
int __vfprintf_chk(FILE *file, int flag, const char *format, va_list args);
int fcntl64(int file, int command, ...);

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room)
{
    (void)room;
    return memcpy(to, from, size);
}

void *__memset_chk(void *to, int byte, size_t size, size_t room)
{
    (void)room;
    return memset(to, byte, size);
}

int __snprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, ...)
{
    va_list args;

    (void)flag, (void)room;
    va_start(args, format);
    const int length = vsnprintf(to, size, format, args);
    va_end(args);
    return length;
}

int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...)
{
    va_list args;

    (void)flag, (void)room;
    va_start(args, format);
    const int length = vsprintf(to, format, args);
    va_end(args);
    return length;
}

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list args)
{
    (void)flag;
    return vfprintf(file, format, args);
}

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int length = __vfprintf_chk(file, flag, format, args);
    va_end(args);
    return length;
}

int __printf_chk(int flag, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int length = __vfprintf_chk(stdout, flag, format, args);
    va_end(args);
    return length;
}

int fcntl64(int file, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *); /* an int comes in the same register */
    va_end(args);
    return fcntl(file, command, argument);
}
