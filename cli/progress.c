/* progress.c - how far a campaign is, on standard error while it runs. */
#include "progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "format.h"

#define LEFT_MAX_S     (30.0 * 86400) /* a longer time left is no forecast: hardly anything moves */
#define BEGINNING_MS   10000u
#define PLAIN_EVERY_MS 10000u
#define BAR_COLUMNS    24u
#define LINE_MAX_BYTES 256u

void progress_init(struct progress *progress, FILE *out)
{
    *progress = (struct progress){.out = out, .terminal = isatty(fileno(out)) == 1};
}

uint64_t progress_done(const struct node_progress *now)
{
    uint64_t open = now->counts[LEDGER_PENDING] + now->counts[LEDGER_SENDING] + now->counts[LEDGER_DEFERRED];
    return now->recipients > open ? now->recipients - open : 0;
}

/* What stands at the end of the line: why it does not go on, or when it will be through. */
static void describe_rest(const struct node_progress *now, uint64_t done, char *out, size_t size)
{
    char text[FORMAT_SIZE];
    uint64_t left = now->recipients - done;

    if (now->redis_down)
        snprintf(out, size, "waiting for Redis");
    else if (now->draining)
        snprintf(out, size, "finishing what is under way");
    else if (now->paused)
        snprintf(out, size, "paused");
    else if (left == 0)
        snprintf(out, size, "done in %s", format_duration(now->elapsed_ms, text));
    else if (now->next_due_ms > 0)
        snprintf(out, size, "next retry in %s", format_duration(now->next_due_ms, text));
    else if (now->rate > 0 && (double)left / now->rate < LEFT_MAX_S)
        snprintf(out, size, "%s left", format_duration((uint64_t)((double)left / now->rate * 1000), text));
    else
        snprintf(out, size, now->elapsed_ms < BEGINNING_MS ? "beginning" : "waiting for DNS or receivers");
}

static void draw_bar(uint64_t done, uint64_t whole, char out[BAR_COLUMNS + 4])
{
    size_t full = whole ? (size_t)(done * BAR_COLUMNS / whole) : 0;
    out[0] = '[';
    memset(out + 1, '#', full);
    memset(out + 1 + full, '.', BAR_COLUMNS - full);
    memcpy(out + 1 + BAR_COLUMNS, "] ", 3);
}

const char *progress_line(const struct node_progress *now, size_t width, bool bar, char *out, size_t size)
{
    char done_text[FORMAT_SIZE], whole_text[FORMAT_SIZE], share[FORMAT_SIZE], rate[FORMAT_SIZE];
    char deferred[FORMAT_SIZE], bounced[FORMAT_SIZE], rest[64], figures[LINE_MAX_BYTES];
    char picture[BAR_COLUMNS + 4] = "";
    uint64_t done = progress_done(now);

    describe_rest(now, done, rest, sizeof rest);
    snprintf(figures, sizeof figures, "%s of %s  %s  %s/s  deferred %s  bounced %s  %s",
             format_count(done, done_text), format_count(now->recipients, whole_text),
             format_share(done, now->recipients, share), format_rate(now->rate, rate),
             format_count(now->counts[LEDGER_DEFERRED], deferred),
             format_count(now->counts[LEDGER_BOUNCED], bounced), rest);
    if (bar && strlen(figures) + BAR_COLUMNS + 3 <= width)
        draw_bar(done, now->recipients, picture);
    snprintf(out, size, "%s%s", picture, figures);
    if (width < size)
        out[width] = '\0';
    return out;
}

static size_t terminal_width(FILE *out)
{
    struct winsize window;
    if (ioctl(fileno(out), TIOCGWINSZ, &window) < 0 || window.ws_col < 20)
        return 80;
    return window.ws_col;
}

void progress_show(void *context, const struct node_progress *now)
{
    struct progress *progress = context;
    char line[LINE_MAX_BYTES];
    uint64_t ms = clock_now_ms();

    if (progress->terminal) {
        /* One column stays free: a line that fills the last one makes some terminals scroll. */
        progress_line(now, terminal_width(progress->out) - 1, true, line, sizeof line);
        fprintf(progress->out, "\r\033[K%s", line);
        fflush(progress->out);
        progress->drawn = true;
        return;
    }
    if (progress->last_ms != 0 && ms - progress->last_ms < PLAIN_EVERY_MS)
        return;
    progress->last_ms = ms;
    fprintf(progress->out, "%s\n", progress_line(now, sizeof line - 1, false, line, sizeof line));
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fputc('\n', progress->out);
    progress->drawn = false;
}
