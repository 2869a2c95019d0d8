/* busy.h - when the worker that serves a site is enough for it, and when others take a part (design 5).
 *
 * Each worker sleeps and wakes for its own part of what goes to a site and what comes back, so two that share little work cost more
 * than one that has all of it. The master looks at each tick: one is enough while it worked less than BUSY_ENOUGH % of the time since
 * the look before, which is all that it did not wait for something to do: of CPU time it never uses much where a core is not all its
 * own. What a connection costs, a signature for each message or nothing, shows only then, so that one worker serves a site alone for
 * BUSY_OPENED_MAX new connections between two looks; more of them open on all workers. The busiest, from BUSY_SHARES % and beside
 * one that does no more than half as much, gives connections up: they end, and open on those that have time.
 */
#ifndef HIKYAKU_MASTER_BUSY_H
#define HIKYAKU_MASTER_BUSY_H

#include <stdbool.h>
#include <stdint.h>

#define BUSY_ENOUGH     60u /* % of the time */
#define BUSY_SHARES     70u
#define BUSY_OPENED_MAX 100u    /* whose TLS handshakes take it some 50 ms; and given up at a time */
#define BUSY_LOOK_US    100000u /* what is shorter tells nothing */

/* Of one worker. */
struct busy {
    uint64_t rested_us, looked_us;
    uint32_t percent; /* of the time between the last two looks, in which it worked */
    uint32_t opened;  /* connections, since the last look */
};

/* It is started. rested_us: how long it, or who was in its place, has rested until now; now_us: a clock that does not jump. */
void busy_begin(struct busy *busy, uint64_t rested_us, uint64_t now_us);
void busy_look(struct busy *busy, uint64_t rested_us, uint64_t now_us);
bool busy_has_time(const struct busy *busy);
/* Is the other one so idle that the first should give it a part of its connections? */
bool busy_should_share(const struct busy *busy, const struct busy *other);
/* How many of its `working` connections, all taken as equal, it gives up to `others` whose percents are others_percent together, so
 * that each has as much to do. */
uint32_t busy_gives(const struct busy *busy, uint32_t working, uint32_t others, uint32_t others_percent);

#endif
