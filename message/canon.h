/* canon.h - relaxed canonicalisation (RFC 6376 3.4.2 and 3.4.4), as a stream.
 *
 * Pure. The input is what the receiver stores: CRLF line ends only, dots not stuffed, a CRLF never cut in
 * two. White space and line ends that may still turn out to be at the end wait in struct canon until it is
 * known. A static run is put into its canonical form once (canon_run_make) and joined to any state later, so
 * that a copy only hashes it.
 */
#ifndef MESSAGE_CANON_H
#define MESSAGE_CANON_H

#include "buf.h"

struct canon {
    size_t crlf; /* line ends not written yet */
    bool wsp;    /* white space behind them not written yet */
    bool any;    /* something was written: the body is not empty */
};

void canon_feed(struct canon *canon, const char *text, size_t length, struct buf *out);
/* The end of the body: its last line ends in CRLF, an empty body stays empty. */
void canon_end(const struct canon *canon, struct buf *out);

/* What a run does to any state that it is joined to: line ends and white space before its first visible
 * octet, then `length` octets at `at` of the buf it was made into, then the state behind its last. */
struct canon_run {
    size_t lead_crlf, tail_crlf;
    size_t at, length;
    bool lead_wsp, tail_wsp;
};
void canon_run_make(const char *text, size_t length, struct canon_run *run, struct buf *out);
/* Everything that comes before the run's own octets; puts the state behind them. */
void canon_run_join(struct canon *canon, const struct canon_run *run, struct buf *out);

/* One header field "Name: value CRLF" with its folding, as "name:value CRLF". */
void canon_field(const char *field, size_t length, struct buf *out);

#endif
