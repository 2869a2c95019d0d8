/* notify.h - what Amazon SNS posts: whose topic, whose certificate, whose signature; then what SES says in it, told to the master.
 *
 * In this order, so that nothing is fetched for a stranger: the envelope is read, its topic has to be one of ours, its URLs have
 * to keep the rule; then the certificate is fetched (or known), its chain and the signature verified; then it counts.
 */
#ifndef WEB_NOTIFY_H
#define WEB_NOTIFY_H

#include "ask.h"
#include "courier.h"
#include "server.h"

struct notifier;
/* Reads the authorities that are believed. `courier` and `asker` have to stay; courier NULL: only raw delivery. */
int notifier_open(const struct config *config, struct courier *courier, struct asker *asker,
                  struct notifier **out, struct hk_why *why) HK_MUST_USE;
/* An envelope, or what came by raw delivery behind its secret. The request is answered, now or later. */
void notifier_take(struct notifier *notifier, struct request *request, const struct asked *asked);

/* A refusal for the log: at most one a second, with how many there were. */
void refusal_log(const char *what, const char *words);

#endif
