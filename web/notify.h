/* notify.h - what Amazon SNS posts: whose topic, whose certificate, whose signature; then what SES says in it, told to the master.
 *
 * In this order, so that nothing is fetched for a stranger: the envelope is read, its topic has to be one of ours, its URLs have
 * to keep the rule; then the certificate is fetched (or known), its chain and the signature verified; then it counts.
 */
#ifndef WEB_NOTIFY_H
#define WEB_NOTIFY_H

#include "courier.h"
#include "hikyaku/desk.h"
#include "server.h"

struct notifier;
/* What of a request is asked of the desk: the `nth` of its answer. */
enum { ASKED_UNSUBSCRIBE, ASKED_NOTICE };

/* Reads the authorities that are believed. `courier` and `desk` have to stay; courier NULL: only raw delivery. */
int notifier_open(const struct config *config, struct courier *courier, struct desk *desk,
                  struct notifier **out, struct hk_why *why) HK_MUST_USE;
/* An envelope, or what came by raw delivery behind its secret. The request is answered, now or later. */
void notifier_take(struct notifier *notifier, struct request *request, const struct asked *asked);
/* The desk's answer to an ASKED_NOTICE. */
void notifier_told(struct request *request, enum desk_answer answer, const struct json_t *told);

/* A refusal for the log: at most one a second, with how many there were. */
void refusal_log(const char *what, const char *words);

#endif
