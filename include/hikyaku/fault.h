/* fault.h - named points at which a test makes this process die, stop, wait, or a call fail. Test builds only.
 *
 * Nothing of it is left without the CMake option HK_FAULTS (preset `fault`): each macro is then a constant, and the names
 * are in no binary. Points stand where the write happens that a death must not spoil: ring, slot, log, Redis, socket.
 *
 *   HIKYAKU_FAULTS=ROLE/POINT:N:ACTION[:ARGUMENT],...
 *     ROLE    master | worker | resolver | command (whatever is none of these) | any: by the name that ps shows
 *     N       the n-th pass of that point in one process of that role, from 1
 *     ACTION  kill        SIGKILL to itself
 *             stop        SIGSTOP to itself; whoever drives the test continues it
 *             sleep:MS    nothing is done for so long
 *             error:NAME  the call behind the point is not made and fails with that errno
 *             short       half of the bytes are written; the caller has to see to the rest
 *   HIKYAKU_FAULTS_ONCE=DIRECTORY  an entry first makes DIRECTORY/<its number, from 1>, and does nothing where that is:
 *     so it strikes once in all processes and restarts, and whoever drives the test sees that it did, where and in whom
 *   HIKYAKU_FAULTS=list  the names of all points, one a line; list:ACTION of those where ACTION can be
 *   HIKYAKU_CLOCK=FILE   seconds, which may be negative, that are added to the wall clock; read again each second
 *   HIKYAKU_BOOT_ID=TEXT instead of the kernel's
 *
 * A bad value of one of these is told on standard error at start, with exit status 2.
 *
 * At a point *.middle a write takes half of its bytes before the action, whatever that is. kill, stop and sleep go at
 * every point; error and short only where the table says so.
 */
#ifndef HIKYAKU_FAULT_H
#define HIKYAKU_FAULT_H

#include <sys/uio.h>

#include "hikyaku/base.h"

/* Each row: the point, its name, and what can be there besides kill, stop and sleep. */
/* clang-format off */
#define FAULT_POINTS(X)                                                                                      \
    X(RING_PUSH_BEFORE,    "ring.push.before",     FAULT_DEATHS) /* either end of a ring, master or worker */ \
    X(RING_PUSH_AFTER,     "ring.push.after",      FAULT_DEATHS)                                             \
    X(RING_NEXT_BEFORE,    "ring.next.before",     FAULT_DEATHS)                                             \
    X(RING_NEXT_AFTER,     "ring.next.after",      FAULT_DEATHS)                                             \
    X(SLOT_TAKEN_BEFORE,   "slot.taken.before",    FAULT_DEATHS) /* a pair for each flight_phase, in order */ \
    X(SLOT_TAKEN_AFTER,    "slot.taken.after",     FAULT_DEATHS)                                             \
    X(SLOT_ENVELOPE_BEFORE, "slot.envelope.before", FAULT_DEATHS)                                            \
    X(SLOT_ENVELOPE_AFTER, "slot.envelope.after",  FAULT_DEATHS)                                             \
    X(SLOT_CONTENT_BEFORE, "slot.content.before",  FAULT_DEATHS)                                             \
    X(SLOT_CONTENT_AFTER,  "slot.content.after",   FAULT_DEATHS)                                             \
    X(SLOT_DOT_BEFORE,     "slot.dot.before",      FAULT_DEATHS)                                             \
    X(SLOT_DOT_AFTER,      "slot.dot.after",       FAULT_DEATHS)                                             \
    X(SLOT_DONE_BEFORE,    "slot.done.before",     FAULT_DEATHS)                                             \
    X(SLOT_DONE_AFTER,     "slot.done.after",      FAULT_DEATHS)                                             \
    X(LOG_WRITE_BEFORE,    "log.write.before",     FAULT_FAILS)  /* the event log */                         \
    X(LOG_WRITE_MIDDLE,    "log.write.middle",     FAULT_SHORT)                                              \
    X(LOG_WRITE_AFTER,     "log.write.after",      FAULT_DEATHS)                                             \
    X(LOG_SYNC_BEFORE,     "log.sync.before",      FAULT_FAILS)                                              \
    X(REDIS_SEND_BEFORE,   "redis.send.before",    FAULT_FAILS)  /* a call of the master's loop */           \
    X(REDIS_SEND_AFTER,    "redis.send.after",     FAULT_DEATHS) /* on the wire, the answer is to come */    \
    X(REDIS_ANSWER_BEFORE, "redis.answer.before",  FAULT_DEATHS) /* it is here and not yet believed */       \
    X(REDIS_STORE_BEFORE,  "redis.store.before",   FAULT_FAILS)  /* a call that waits */                     \
    X(REDIS_STORE_AFTER,   "redis.store.after",    FAULT_DEATHS)                                             \
    X(EFFECT_BEFORE,       "effect.before",        FAULT_DEATHS) /* a line is told, what follows from it is not */ \
    X(SOCKET_WRITE_BEFORE, "socket.write.before",  FAULT_FAILS)  /* to a receiver */                         \
    X(SOCKET_WRITE_MIDDLE, "socket.write.middle",  FAULT_SHORT)  /* plain only: half a TLS record is none */ \
    X(SOCKET_WRITE_AFTER,  "socket.write.after",   FAULT_DEATHS)                                             \
    X(SOCKET_READ_BEFORE,  "socket.read.before",   FAULT_FAILS)                                              \
    X(MALLOC,              "malloc",               FAULT_FAILS)  /* of our own code (base/fault_malloc.c) */ \
    X(FORK_WORKER_BEFORE,  "fork.worker.before",   FAULT_FAILS)                                              \
    X(FORK_WORKER_AFTER,   "fork.worker.after",    FAULT_DEATHS) /* in the master */                         \
    X(SETTLE_BEFORE,       "settle.before",        FAULT_DEATHS) /* what the last run left */                \
    X(SETTLE_MIDDLE,       "settle.middle",        FAULT_DEATHS) /* the log was told, the region was not */  \
    X(SETTLE_AFTER,        "settle.after",         FAULT_DEATHS)                                             \
    X(TAKE_ANSWER,         "take.answer",          FAULT_DEATHS) /* a span is ours and not yet queued */
/* clang-format on */

#ifdef HK_FAULTS

enum fault_point {
#define FAULT_ENUM(point, words, more) FAULT_AT_##point,
    FAULT_POINTS(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_POINT_COUNT
};

/* First in main(): read the variables, or answer a list. Ends the process for either a list or a bad value. */
void fault_setup(void);
/* The same for values from elsewhere; entries and passes before are forgotten. `once` NULL: an entry strikes in every
 * process. */
int fault_plan(const char *text, const char *once, struct hk_why *why) HK_MUST_USE;
/* This process is now what ps will call it. Passes are counted anew. */
void fault_role_set(const char *title);

/* Pass a point: acts if an entry says so. True, with errno: the call has to fail. */
bool fault_pass(enum fault_point point);
/* Will the next pass act? */
bool fault_is_next(enum fault_point point);
size_t fault_half_of(enum fault_point point, size_t length);
/* Cuts the pieces in place to half of their bytes; returns how many there are then. */
size_t fault_half_iovec(enum fault_point point, struct iovec *iov, size_t count);
int64_t fault_clock_us(void);
bool fault_boot_id(char out[40]);

#define fault_at(point)                      ((void)fault_pass(FAULT_AT_##point))
#define fault_at_nth(point, n)               ((void)fault_pass((enum fault_point)(FAULT_AT_##point + (int)(n))))
#define fault_fails(point)                   fault_pass(FAULT_AT_##point)
#define fault_strikes(point)                 fault_is_next(FAULT_AT_##point)
#define fault_half(point, length)            fault_half_of(FAULT_AT_##point, length)
#define fault_half_pieces(point, iov, count) fault_half_iovec(FAULT_AT_##point, iov, count)

#else

#define fault_setup()                        ((void)0)
#define fault_role_set(title)                ((void)0)
#define fault_at(point)                      ((void)0)
#define fault_at_nth(point, n)               ((void)0)
#define fault_fails(point)                   false
#define fault_strikes(point)                 false
#define fault_half(point, length)            (length)
#define fault_half_pieces(point, iov, count) (count)
#define fault_clock_us()                     0
#define fault_boot_id(out)                   false

#endif

#endif
