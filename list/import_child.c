/* import_child.c - the import in a process of its own, and what it tells its parent over a pipe.
 *
 * A message is one write below PIPE_BUF, so it comes whole or not at all. Progress that the parent does not
 * read in time is dropped; the last message waits for room. The child ends with its parent.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "import.h"

struct import_news {
    bool last;
    int status;
    uint64_t rows;
    struct import_result result;
    struct hk_why why;
};
_Static_assert(sizeof(struct import_news) <= PIPE_BUF, "a message must be written in one piece");

struct child_context {
    const struct import_options *options;
    int pipe;
};

static void tell_progress(void *context, uint64_t rows)
{
    const struct child_context *child = context;
    struct import_news news = {.rows = rows};

    /* A full pipe means a parent that is behind: it will read a later figure. */
    if (write(child->pipe, &news, sizeof news) < 0 && errno != EAGAIN)
        _exit(1); /* nobody is left to import for */
}

static bool ask_legacy(void *context, const char *domain)
{
    const struct child_context *child = context;

    return child->options->legacy_allowed(child->options->context, domain);
}

/* What a shell hands over for <(...), by the name that it has there. -1: the list is something else. */
static int handed_over(const char *path)
{
    int fd, end = 0;

    return sscanf(path, "/dev/fd/%d%n", &fd, &end) == 1 && path[end] == '\0' && fd > STDERR_FILENO ? fd : -1;
}

static _Noreturn void run_child(const struct import_options *options, int pipe, int parent)
{
    struct child_context context = {options, pipe};
    struct import_options own = *options;
    struct import_news news = {.last = true};
    int keep[] = {pipe, handed_over(options->list_path)};

    process_child_setup("hikyaku: import", parent, SIGKILL, keep, keep[1] >= 0 ? 2 : 1);
    own.context = &context;
    own.progress = tell_progress;
    own.legacy_allowed = options->legacy_allowed != NULL ? ask_legacy : NULL;
    news.status = list_import(&own, &news.result, &news.why);
    news.rows = news.result.rows;
    fcntl(pipe, F_SETFL, 0);
    _exit(hk_write_all(pipe, &news, sizeof news) == 0 ? 0 : 1);
}

int list_import_start(const struct import_options *options, struct import_child *out, struct hk_why *why)
{
    int ends[2], parent = getpid();

    memset(out, 0, sizeof *out);
    out->pipe = -1;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return why_set(why, HK_EIO, "cannot start the import: %s", strerror(errno));
    out->pid = fork();
    if (out->pid < 0) {
        why_set(why, HK_EIO, "cannot start the import: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        out->pid = 0;
        return HK_EIO;
    }
    if (out->pid == 0)
        run_child(options, ends[1], parent);
    close(ends[1]);
    out->pipe = ends[0];
    return 0;
}

/* The pipe has ended, so the child is ending: collect it, and say why if it left no result. */
static void end_child(struct import_child *child)
{
    int status = 0;
    pid_t reaped;

    close(child->pipe);
    child->pipe = -1;
    do {
        reaped = waitpid(child->pid, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    child->pid = 0;
    child->done = true;
    if (child->told)
        return;
    if (reaped > 0 && WIFSIGNALED(status))
        child->status = why_set(&child->why, HK_EIO,
                                "the import was killed by signal %d (%s); nothing was written, run it again",
                                WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        child->status = why_set(&child->why, HK_EIO, "the import ended without a result; run it again");
}

void list_import_poll(struct import_child *child)
{
    struct import_news news;
    ssize_t n;

    while (!child->done) {
        n = read(child->pipe, &news, sizeof news);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n != (ssize_t)sizeof news) {
            end_child(child);
            return;
        }
        child->rows = news.rows;
        if (!news.last)
            continue;
        child->status = news.status;
        child->result = news.result;
        child->why = news.why;
        child->told = true;
    }
}
