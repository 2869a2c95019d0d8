/* event_base.h - libunbound's pluggable event base (unbound-event.h) on a libev loop.
 *
 * libunbound then runs inside our loop: no thread, no second process, no pipe. The caller owns loop and base, and
 * keeps both until the context made with the base is deleted.
 */
#ifndef HIKYAKU_EVENT_BASE_H
#define HIKYAKU_EVENT_BASE_H

struct ev_loop;
struct ub_event_base;

/* NULL without memory. */
struct ub_event_base *event_base_new(struct ev_loop *loop);
void event_base_free(struct ub_event_base *base);

#endif
