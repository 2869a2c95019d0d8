/* load_errors.h - what went wrong, counted by where, reply code and enhanced code: a table with a fixed number of rows.
 *
 * A row keeps the text of its first reply, cleaned. What finds no row any more is counted in `others`.
 */
#ifndef BENCH_LOAD_ERRORS_H
#define BENCH_LOAD_ERRORS_H

#include "hikyaku/base.h"
#include "hikyaku/reply.h"

#define LOAD_ERRORS_MAX 64u

struct load_errors {
    size_t count;
    uint64_t others;
    struct load_error {
        const char *phase; /* a static word */
        uint16_t code;     /* 0: no reply; text says what happened */
        uint8_t enhanced[3];
        uint64_t count;
        char text[160];
    } row[LOAD_ERRORS_MAX];
};

void load_errors_reply(struct load_errors *errors, const char *phase, const struct reply *reply);
void load_errors_event(struct load_errors *errors, const char *phase, const char *what);
/* Most frequent first. */
void load_errors_sort(struct load_errors *errors);

#endif
