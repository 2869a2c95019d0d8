/* inbound.h - the inside of the bounce receiver: what its connections share (include/hikyaku/inbound.h is the contract). */
#ifndef INBOUND_INBOUND_H
#define INBOUND_INBOUND_H

#include <ev.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "guard.h"
#include "hikyaku/desk.h"
#include "hikyaku/inbound.h"
#include "hikyaku/whose.h"
#include "session.h"

#define INBOUND_INPUT 16384u /* bytes read at once */

struct peer;

struct inbound {
    const struct config *config;
    struct ev_loop *loop;
    struct signer *signer;
    struct whose whose;
    struct bounce_reader *reader;
    struct guard *guard;
    struct desk *desk;
    SSL_CTX *tls; /* NULL: STARTTLS is not offered */
    struct session_settings smtp, lmtp;
    size_t memory; /* bytes of messages under way */
    TAILQ_HEAD(, peer) peers;
    bool stopping;
    bool hurried;              /* most of the room is taken: who is slow has less time */
    char input[INBOUND_INPUT]; /* what was just read */
};

/* peer.c: a connection that was accepted; it is closed by itself. */
void peer_open(struct inbound *in, int fd, const struct sockaddr *from, bool lmtp);
void peers_leave(struct inbound *in); /* the node stops: all are told, and closed */
void peers_look(struct inbound *in);  /* now and then: is there room, or has everybody to hurry? */
void peer_answer(void *whose, unsigned nth, enum desk_answer answer, const struct json_t *told);

/* mail.c: what an address is, and what a message says (struct session_host). `in` is the process, `session` whose message. */
enum rcpt_kind mail_rcpt(const struct inbound *in, const char *address, size_t length);
void mail_take(struct inbound *in, struct session *session, void *whose);

#endif
