/* log.c - the diagnostic log: one line each on standard error, made in one write so that processes do not mix. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "hikyaku/base.h"

enum log_level log_threshold = LOG_LEVEL_INFO;
static char log_process[32] = "hikyaku";

void log_setup(enum log_level level, const char *process)
{
    log_threshold = level;
    snprintf(log_process, sizeof log_process, "%s", process);
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const name[] = {"error", "warning", "info", "debug"};
    char line[1600], text[1280];
    char when[CLOCK_RFC3339_SIZE];
    va_list ap;
    int n;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    clock_rfc3339(clock_wall_us(), when);
    n = snprintf(line, sizeof line, "%s %s %s: %s\n", when, name[level], log_process, text);
    /* A log that cannot be written has nobody to tell. */
    if (n > 0 && hk_write_all(STDERR_FILENO, line, strlen(line)) != 0)
        return;
}
