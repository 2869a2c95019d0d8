/* link.h - the socket of one connection, plain or under TLS. Never blocks.
 *
 * link_read and link_write give the bytes moved, 0 for a connection closed by the peer, LINK_AGAIN when the
 * socket is not ready, LINK_BROKEN with words for a person.
 */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include <sys/types.h>
#include <sys/uio.h>

#include "tls.h"

#define LINK_AGAIN  (-1)
#define LINK_BROKEN (-2)
/* One write: as much as a TLS record holds, or a good piece of a large message. */
#define LINK_TLS_BYTES   16384u
#define LINK_PLAIN_BYTES 262144u
#define LINK_PIECES      256u

struct link {
    int fd; /* -1: closed */
    SSL *ssl;
};

/* Begin to connect from the source's address, if it has one. 0, or HK_EDOWN with words. */
int link_connect(struct link *link, const struct dest_address *address, uint16_t port,
                 const struct cfg_source *source, char *words, size_t size) HK_MUST_USE;
/* The socket became writable: is it connected? */
int link_connected(const struct link *link, char *words, size_t size) HK_MUST_USE;
void link_close(struct link *link);
/* Our own end into `ip` (16 bytes, network order). */
void link_local(const struct link *link, uint8_t ip[16]);

ssize_t link_read(struct link *link, void *where, size_t room, char *words, size_t size);
ssize_t link_write(struct link *link, const struct iovec *iov, size_t count, char *words, size_t size);
/* Is there something to read that no event of the socket tells of? */
bool link_holds(const struct link *link);
size_t link_write_limit(const struct link *link);
/* More than one write follows: while this is on, the system sends full segments only. */
void link_cork(const struct link *link, bool on);

#endif
