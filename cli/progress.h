/* progress.h - how far a campaign is, on standard error while it runs.
 *
 * On a terminal one line is drawn over and over; elsewhere a plain line comes every ten seconds, so that a log
 * file stays readable. Owns nothing but its struct.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "hikyaku/node.h"

struct progress {
    FILE *out;
    bool terminal;
    bool drawn; /* a line stands on the terminal without its newline */
    uint64_t last_ms;
};

void progress_init(struct progress *progress, FILE *out);
/* For struct node_options: context is a struct progress. */
void progress_show(void *context, const struct node_progress *now);
/* Leave the terminal's cursor at the start of a fresh line; call before anything else is printed. */
void progress_end(struct progress *progress);

/* The line itself, at most `width` columns; with a bar where there is room for one. Returns out. */
const char *progress_line(const struct node_progress *now, size_t width, bool bar, char *out, size_t size);
uint64_t progress_done(const struct node_progress *now);

#endif
