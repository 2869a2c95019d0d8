/* error.c - error codes in words, bugs of ours, and memory that has to be there. */
#include <stdarg.h>
#include <string.h>

#include "hikyaku/base.h"

const char *hk_strerror(int error)
{
    switch (error) {
    case HK_OK:
        return "no error";
#define HK_ERROR_WORDS(name, value, words) \
    case name:                             \
        return words;
        HK_ERRORS(HK_ERROR_WORDS)
#undef HK_ERROR_WORDS
    default:
        return "unknown error";
    }
}

int why_set(struct hk_why *why, int error, const char *format, ...)
{
    va_list ap;

    if (why == NULL)
        return error;
    va_start(ap, format);
    vsnprintf(why->text, sizeof why->text, format, ap);
    va_end(ap);
    for (char *c = why->text; *c != '\0'; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    return error;
}

void hk_bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "hikyaku: bug at %s:%d: %s\n", file, line, what);
    abort();
}

static void *or_abort(void *memory)
{
    if (memory == NULL) {
        fputs("hikyaku: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *hk_xcalloc(size_t count, size_t size)
{
    return or_abort(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *hk_xrealloc(void *old, size_t count, size_t size)
{
    return or_abort(reallocarray(old, count > 0 ? count : 1, size > 0 ? size : 1));
}

char *hk_xstrdup(const char *text)
{
    return or_abort(strdup(text));
}

char *hk_xasprintf(const char *format, ...)
{
    va_list ap;
    char *out = NULL;

    va_start(ap, format);
    if (vasprintf(&out, format, ap) < 0)
        out = NULL;
    va_end(ap);
    return or_abort(out);
}
