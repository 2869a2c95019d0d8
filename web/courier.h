/* courier.h - the one kind of request that the web process has made: signing certificates of SNS, and confirmations.
 *
 * By a process of its own, `hikyaku: web fetch`, forked before the web process gives up the right to connect: it alone
 * connects, it reads nothing but these answers, and it holds every URL against the rule of sns.h itself. So also a web process
 * that a stranger has taken over makes no request to another host.
 */
#ifndef WEB_COURIER_H
#define WEB_COURIER_H

#include <ev.h>

#include "hikyaku/config.h"
#include "hikyaku/sns.h"

#define COURIER_LIMIT_MS 10000u /* for one request */
#define COURIER_WAITING  64u    /* that wait */

enum courier_errand { FETCH_CERTIFICATE, FETCH_CONFIRM };

/* words: what is wrong; "" it came, with status 200. `between`: the authorities of the TLS connection, PEM. Both texts are
 * gone after the call. */
typedef void courier_done(void *context, const char *words, const char *body, size_t length,
                          const char *between, size_t between_length);
struct courier;
/* Fork it. Call before any thread or loop is made. HK_EIO. */
int courier_fork(const struct config *config, struct courier **out, struct hk_why *why) HK_MUST_USE;
/* Answers come through this loop. `on_end`: the process is gone. */
void courier_watch(struct courier *courier, struct ev_loop *loop, void (*on_end)(void *context),
                   void *context);
/* HK_EFULL, HK_EINVAL (the rule of sns.h). `done` is called once, later. topic: of a confirmation. */
int courier_send(struct courier *courier, enum courier_errand kind, const char *url, const char *topic,
                 courier_done *done, void *context) HK_MUST_USE;

#endif
