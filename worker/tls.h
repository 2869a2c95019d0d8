/* tls.h - the TLS side of a worker's connections: one context, a bounded cache of sessions to resume, and a bounded memory
 * of addresses at which STARTTLS does not work.
 *
 * Sockets are non-blocking; nothing in here waits. Which certificate is good enough is decided after the
 * handshake and before anything is sent (tls_shake): under HOST_TLS_VERIFIED chain and name must hold, under HOST_TLS_DANE a
 * TLSA record must match (RFC 7672 3; where OpenSSL can use none of them, TLS is enough), else what was found is only
 * noted. A resumed session is judged like a fresh one, by the certificate it came with; other TLSA records than it was
 * judged by make it no session of this host.
 *
 * A client certificate is shown to a server that asks for one, where the route or the provider of this connection has one,
 * and to no other. Its key is read once, in tls_create(). Sessions made with it are resumed with it alone.
 * Every SSL made here belongs to the caller: SSL_free().
 */
#ifndef WORKER_TLS_H
#define WORKER_TLS_H

#include <openssl/ssl.h>

#include "hikyaku/config.h"
#include "hikyaku/region.h"

/* Addresses with sessions; one that falls on a taken slot replaces what is there. */
#define TLS_CACHE_SLOTS 1024u
/* Sessions of an address: so many connections that begin together resume. */
#define TLS_TICKETS 32u
/* Of all addresses: from there on each keeps as many as it has, and one at least. */
#define TLS_SESSIONS 8192u

#define TLS_BROKEN_SLOTS 1024u /* addresses kept; as above */
#define TLS_BROKEN_MS    600000u

struct tls;

/* HK_EINVAL with words: tls.ca_file, or a client certificate, cannot be used; HK_ENOENT, HK_EIO, HK_ENOMEM of the latter. */
int tls_create(const struct config *config, struct tls **out, struct hk_why *why) HK_MUST_USE;
void tls_free(struct tls *tls);

/* The client certificate of a route (-1: none), or of a provider. */
uint16_t tls_client(const struct tls *tls, int route, uint32_t provider);
#define TLS_CLIENT_NONE 0u

struct tls_peer {
    const char *host; /* for SNI and the check of the name; an address literal is checked as one */
    const struct dest_address *address;
    uint16_t port;
    enum host_tls policy;
    const struct dane_set *dane; /* with HOST_TLS_DANE: the records of host address->mx */
    const char *next_hop;        /* another name that may stand in its certificate then; "": none */
    uint16_t client;             /* tls_client(): what it is shown when it asks */
};

/* NULL: out of memory. */
SSL *tls_start(struct tls *tls, int fd, const struct tls_peer *peer);

enum tls_result { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED };
/* One step of the handshake. TLS_FAILED fills words. */
enum tls_result tls_shake(SSL *ssl, const struct tls_peer *peer, char *words, size_t size);

/* Bytes moved; 0: closed by the peer; -1: try again when the socket is ready; -2: broken, words filled. */
ssize_t tls_read(SSL *ssl, void *where, size_t room, char *words, size_t size);
/* Bytes that are off the socket and not read: no event tells of them. */
bool tls_holds(const SSL *ssl);
ssize_t tls_write(SSL *ssl, const void *bytes, size_t length, char *words, size_t size);

/* STARTTLS failed at this address: where the policy lets, it is not tried again for TLS_BROKEN_MS. */
void tls_broken_note(struct tls *tls, const struct dest_address *address, uint16_t port, uint64_t now_ms);
bool tls_broken_is(const struct tls *tls, const struct dest_address *address, uint16_t port, uint64_t now_ms);

/* What the handshake, done or failed, showed of the certificate, as a report names it (RFC 8460 4.3). `pkix`: chain and name
 * count though the policy does not ask for them (MTA-STS mode testing). */
enum tls_seen_result tls_seen(const SSL *ssl, const struct tls_peer *peer, bool pkix);

/* Policy, version, cipher and what was verified into info. */
void tls_describe(const SSL *ssl, const struct tls_peer *peer, struct conn_info *info);

#endif
