/* log.c - the diagnostic log: one line each on standard error, made in one write so that processes do not mix.
 *
 * Where standard error is the journal of systemd, a line begins with its level ("<4>", sd-daemon(3)) instead of time and
 * level, which the journal keeps itself. Never any colour.
 */
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/base.h"

enum log_level log_threshold = LOG_LEVEL_INFO;
static char log_process[32] = "hikyaku";
static bool log_to_journal;

/* JOURNAL_STREAM names the socket that the journal gave us: standard error is another where it was redirected. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat about;

    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &about) == 0 && about.st_dev == device && about.st_ino == inode;
}

void log_setup(enum log_level level, const char *process)
{
    log_threshold = level;
    log_to_journal = stderr_is_journal();
    snprintf(log_process, sizeof log_process, "%s", process);
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const name[] = {"error", "warning", "info", "debug"};
    static const char *const priority[] = {"<3>", "<4>", "<6>", "<7>"};
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
    if (log_to_journal)
        n = snprintf(line, sizeof line, "%s%s: %s\n", priority[level], log_process, text);
    else
        n = snprintf(line, sizeof line, "%s %s %s: %s\n", when, name[level], log_process, text);
    /* A log that cannot be written has nobody to tell. */
    if (n > 0 && hk_write_all(STDERR_FILENO, line, strlen(line)) != 0)
        return;
}
