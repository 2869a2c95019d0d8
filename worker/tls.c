/* tls.c - see tls.h. */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "hikyaku/client_cert.h"

struct tls_key {
    char host[DOMAIN_MAX + 1];
    uint8_t ip[16];
    uint16_t port;
    uint16_t client; /* with another certificate, or none, the server would take us for somebody else */
    uint8_t family;
    uint8_t policy;
    uint8_t dane[8]; /* a hash of the TLSA records: with others the session has to be judged anew */
};

struct tls_broken {
    uint64_t until_ms; /* 0: the slot is free */
    uint16_t port;
    uint8_t family;
    uint8_t ip[16];
};

struct tls_slot {
    struct tls_key key;
    SSL_SESSION *session[TLS_TICKETS]; /* the newest last */
    unsigned sessions;
};

/* A client certificate in memory. */
struct tls_client {
    const struct cfg_client *files; /* the configuration's */
    struct client_cert cert;
};

struct tls {
    SSL_CTX *ctx;
    struct tls_client *client; /* each pair of files once */
    uint16_t clients;
    uint16_t *of_route, *of_provider; /* 1 + index into client; TLS_CLIENT_NONE */
    struct tls_slot *slot;            /* TLS_CACHE_SLOTS */
    unsigned sessions;                /* of all slots */
    struct tls_broken *broken;        /* TLS_BROKEN_SLOTS */
};

/* What an SSL carries, so that a session ticket that comes later finds its place. */
struct tls_mark {
    struct tls *tls;
    struct tls_key key;
    bool dane;  /* OpenSSL has TLSA records to hold the certificate against */
    bool asked; /* the server asked for a client certificate */
    bool heard; /* ... and has said something since, so it has not hung up over it */
};

static int mark_index = -1;

static void mark_free(void *parent, void *mark, CRYPTO_EX_DATA *data, int index, long l, void *p)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)l;
    (void)p;
    free(mark);
}

#define HASH_EMPTY 14695981039346656037u

/* FNV-1a: only spreads the slots, a wrong hit is caught by comparing the key; and tells one host's TLSA records of now from
 * those of before, where nobody but the host could gain by two that hash alike. */
static uint64_t hash_more(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 1099511628211u;
    return hash;
}

static struct tls_slot *cache_slot(struct tls *tls, const struct tls_key *key)
{
    uint64_t hash = hash_more(HASH_EMPTY, key, sizeof *key);
    return &tls->slot[(hash ^ (hash >> 32)) % TLS_CACHE_SLOTS];
}

static bool slot_is_of(const struct tls_slot *slot, const struct tls_key *key)
{
    return slot->sessions > 0 && memcmp(&slot->key, key, sizeof *key) == 0;
}

static void slot_drop_newest(struct tls *tls, struct tls_slot *slot)
{
    SSL_SESSION_free(slot->session[--slot->sessions]);
    tls->sessions--;
}

static void slot_drop_oldest(struct tls *tls, struct tls_slot *slot)
{
    SSL_SESSION_free(slot->session[0]);
    slot->sessions--;
    tls->sessions--;
    for (unsigned i = 0; i < slot->sessions; i++)
        slot->session[i] = slot->session[i + 1];
}

static void slot_clear(struct tls *tls, struct tls_slot *slot)
{
    while (slot->sessions > 0)
        slot_drop_newest(tls, slot);
}

static void cache_forget(struct tls *tls, const struct tls_key *key)
{
    struct tls_slot *slot = cache_slot(tls, key);
    if (slot_is_of(slot, key))
        slot_clear(tls, slot);
}

/* A ticket of TLS 1.3 serves one connection (RFC 8446 C.4; OpenSSL calls it spent behind that one's handshake), a session of
 * before that any number. */
static bool serves_once(const SSL_SESSION *session)
{
    return SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
}

static void cache_use(struct tls *tls, const struct tls_key *key, SSL *ssl)
{
    struct tls_slot *slot = cache_slot(tls, key);
    if (!slot_is_of(slot, key))
        return;
    SSL_SESSION *newest = slot->session[slot->sessions - 1];
    (void)SSL_set_session(ssl, newest); /* has a reference of its own */
    if (serves_once(newest))
        slot_drop_newest(tls, slot);
}

static int cache_store(SSL *ssl, SSL_SESSION *session)
{
    struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    if (mark == NULL || !SSL_SESSION_is_resumable(session))
        return 0;
    struct tls *tls = mark->tls;
    struct tls_slot *slot = cache_slot(tls, &mark->key);
    if (!slot_is_of(slot, &mark->key) || !serves_once(session) || !serves_once(slot->session[0]))
        slot_clear(tls, slot);
    if (slot->sessions == TLS_TICKETS || (slot->sessions > 0 && tls->sessions >= TLS_SESSIONS))
        slot_drop_oldest(tls, slot);
    slot->key = mark->key;
    slot->session[slot->sessions++] = session;
    tls->sessions++;
    return 1; /* the reference is ours now */
}

/* OpenSSL wants our certificate: the server asked. Without one it gets an empty list, which is an answer as well. */
static int on_certificate_wanted(SSL *ssl, void *none)
{
    struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    (void)none;
    mark->asked = true;
    if (mark->key.client == TLS_CLIENT_NONE)
        return 1;
    const struct client_cert *cert = &mark->tls->client[mark->key.client - 1].cert;
    return SSL_use_cert_and_key(ssl, cert->leaf, cert->key, cert->chain, 1) == 1;
}

static int client_add(struct tls *tls, const struct cfg_client *files, uint16_t *number, struct hk_why *why)
{
    *number = TLS_CLIENT_NONE;
    if (files->certificate == NULL)
        return 0;
    for (uint16_t i = 0; i < tls->clients; i++) {
        const struct cfg_client *known = tls->client[i].files;
        if (strcmp(known->certificate, files->certificate) == 0 && strcmp(known->key, files->key) == 0) {
            *number = (uint16_t)(i + 1);
            return 0;
        }
    }
    if (tls->clients == UINT16_MAX)
        return why_set(why, HK_EINVAL, "more than %u client certificates", UINT16_MAX);
    tls->client = hk_xrealloc(tls->client, tls->clients + 1u, sizeof *tls->client);
    struct tls_client *client = &tls->client[tls->clients];
    client->files = files;
    int error = client_cert_load(files, &client->cert, why);
    if (error == 0)
        *number = ++tls->clients;
    return error;
}

static int clients_load(struct tls *tls, const struct config *config, struct hk_why *why)
{
    int error = 0;
    tls->of_route = hk_xcalloc(config->route_count + 1, sizeof *tls->of_route);
    tls->of_provider = hk_xcalloc(config->provider_count + 1, sizeof *tls->of_provider);
    for (size_t i = 0; i < config->route_count && error == 0; i++)
        error = client_add(tls, &config->route[i].client, &tls->of_route[i], why);
    for (size_t i = 0; i < config->provider_count && error == 0; i++)
        error = client_add(tls, &config->provider[i].client, &tls->of_provider[i], why);
    return error;
}

uint16_t tls_client(const struct tls *tls, int route, uint32_t provider)
{
    return route >= 0 ? tls->of_route[route] : tls->of_provider[provider];
}

static bool is_of_tls13(const SSL_CIPHER *suite)
{
    return strcmp(SSL_CIPHER_get_version(suite), "TLSv1.3") == 0;
}

/* Of the suites of TLS 1.3 that the system allows, the one that every server has (RFC 8446 9.1) goes first: a body costs less than under
 * OpenSSL's own first choice, and a handshake, without SHA-384, a twentieth less. */
static void prefer_aes128(SSL_CTX *ctx)
{
    static const char preferred[] = "TLS_AES_128_GCM_SHA256";
    const STACK_OF(SSL_CIPHER) *suites = SSL_CTX_get_ciphers(ctx);
    char list[512] = "", *at = list;

    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < sk_SSL_CIPHER_num(suites); i++) {
            const SSL_CIPHER *suite = sk_SSL_CIPHER_value(suites, i);
            const char *name = SSL_CIPHER_get_name(suite);
            if (!is_of_tls13(suite) || (strcmp(name, preferred) == 0) != (pass == 0))
                continue;
            at = hk_put(at, list + sizeof list, at == list ? "" : ":");
            at = hk_put(at, list + sizeof list, name);
        }
    HK_BUG_ON(SSL_CTX_set_ciphersuites(ctx, list) != 1);
}

int tls_create(const struct config *config, struct tls **out, struct hk_why *why)
{
    struct tls *tls = hk_xcalloc(1, sizeof *tls);
    tls->slot = hk_xcalloc(TLS_CACHE_SLOTS, sizeof *tls->slot);
    tls->broken = hk_xcalloc(TLS_BROKEN_SLOTS, sizeof *tls->broken);
    if (mark_index < 0)
        mark_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, mark_free);
    tls->ctx = SSL_CTX_new(TLS_client_method());
    HK_BUG_ON(tls->ctx == NULL || mark_index < 0);
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A record by one call, and not its head first. Who reads has to ask tls_holds(). */
    SSL_CTX_set_read_ahead(tls->ctx, 1);
    /* A server that closes without close_notify is common and harmless: SMTP says itself where a reply ends. */
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    prefer_aes128(tls->ctx);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls->ctx, cache_store);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_NONE, NULL); /* tls_shake judges */
    SSL_CTX_set_cert_cb(tls->ctx, on_certificate_wanted, NULL);
    /* RFC 7672 3.1.1: with usage 3 neither name nor expiry count. */
    HK_BUG_ON(SSL_CTX_dane_enable(tls->ctx) != 1);
    SSL_CTX_dane_set_flags(tls->ctx, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    const char *ca_file = config->tls.ca_file;
    int loaded = ca_file != NULL ? SSL_CTX_load_verify_file(tls->ctx, ca_file)
                                 : SSL_CTX_set_default_verify_paths(tls->ctx);
    if (loaded != 1) {
        tls_free(tls);
        return why_set(why, HK_EINVAL, "tls.ca_file %s holds no certificate that can be read",
                       ca_file != NULL ? ca_file : "of the system");
    }
    int error = clients_load(tls, config, why);
    if (error != 0) {
        tls_free(tls);
        return error;
    }
    *out = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    for (size_t i = 0; i < TLS_CACHE_SLOTS; i++)
        slot_clear(tls, &tls->slot[i]);
    SSL_CTX_free(tls->ctx);
    for (uint16_t i = 0; i < tls->clients; i++)
        client_cert_free(&tls->client[i].cert);
    free(tls->client);
    free(tls->of_route);
    free(tls->of_provider);
    free(tls->slot);
    free(tls->broken);
    free(tls);
}

static bool host_is_literal(const char *host)
{
    unsigned char ip[16];
    return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
}

static void dane_hash(const struct tls_peer *peer, uint8_t out[8])
{
    const struct dane_set *set = peer->dane;
    const char *base = dane_base(set, peer->address->mx);
    uint64_t hash = HASH_EMPTY;
    for (uint32_t i = 0; i < set->record_count; i++) {
        const struct dane_record *record = &set->record[i];
        uint8_t head[3] = {record->usage, record->selector, record->matching};
        if (record->host != peer->address->mx)
            continue;
        hash = hash_more(hash, head, sizeof head);
        hash = hash_more(hash, set->bytes + record->at, record->length);
    }
    hash = base != NULL ? hash_more(hash, base, strlen(base)) : hash;
    hash = hash_more(hash, set->next_hop, strlen(set->next_hop) + 1);
    hash = hash_more(hash, peer->next_hop, strlen(peer->next_hop));
    memcpy(out, &hash, sizeof hash);
}

/* Which names a certificate under usage 2 may bear (RFC 7672 3.2.2): the base domain, and where an MX look-up led to the host,
 * the recipient's domain and what that is an alias of. */
static bool dane_names_set(SSL *ssl, const struct tls_peer *peer)
{
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS); /* 3.2.3 */
    if (peer->next_hop[0] == '\0')
        return true;
    return SSL_add1_host(ssl, peer->next_hop) == 1 &&
           (peer->dane->next_hop[0] == '\0' || SSL_add1_host(ssl, peer->dane->next_hop) == 1);
}

/* Give OpenSSL the records of this host. False: out of memory. */
static bool dane_set_up(SSL *ssl, const struct tls_peer *peer, bool *usable)
{
    const struct dane_set *set = peer->dane;
    const char *base = dane_base(set, peer->address->mx);
    /* This also sets SNI to the base domain (8.1). */
    if (SSL_dane_enable(ssl, base != NULL ? base : peer->host) <= 0)
        return false;
    for (uint32_t i = 0; i < set->record_count; i++) {
        const struct dane_record *record = &set->record[i];
        if (record->host != peer->address->mx)
            continue;
        int added = SSL_dane_tlsa_add(ssl, record->usage, record->selector, record->matching,
                                      set->bytes + record->at, record->length);
        if (added < 0)
            return false;
        *usable |= added > 0;
    }
    ERR_clear_error(); /* a record that is no certificate or key is unusable, not an error */
    return dane_names_set(ssl, peer);
}

static bool mark_set(SSL *ssl, struct tls *tls, const struct tls_peer *peer)
{
    struct tls_mark *mark = calloc(1, sizeof *mark);
    if (mark == NULL)
        return false;
    mark->tls = tls;
    (void)snprintf(mark->key.host, sizeof mark->key.host, "%s", peer->host);
    memcpy(mark->key.ip, peer->address->ip, sizeof mark->key.ip);
    mark->key.family = peer->address->family;
    mark->key.port = peer->port;
    mark->key.client = peer->client;
    mark->key.policy = (uint8_t)peer->policy;
    if (peer->policy == HOST_TLS_DANE)
        dane_hash(peer, mark->key.dane);
    if (SSL_set_ex_data(ssl, mark_index, mark) == 1)
        return true;
    free(mark);
    return false;
}

SSL *tls_start(struct tls *tls, int fd, const struct tls_peer *peer)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->ctx);
    if (ssl == NULL)
        return NULL;
    if (!mark_set(ssl, tls, peer) || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    if (peer->policy == HOST_TLS_DANE && !dane_set_up(ssl, peer, &mark->dane)) {
        SSL_free(ssl);
        return NULL;
    }
    if (SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL && !host_is_literal(peer->host) &&
        peer->host[0] != '\0')
        (void)SSL_set_tlsext_host_name(ssl, peer->host); /* without SNI the handshake still means something */
    if (peer->policy == HOST_TLS_OPPORTUNISTIC) {
        /* The choice is not weak or strong TLS, it is weak TLS or none. */
        SSL_set_security_level(ssl, 0);
        (void)SSL_set_min_proto_version(ssl, TLS1_VERSION);
    }
    cache_use(tls, &mark->key, ssl);
    SSL_set_connect_state(ssl);
    return ssl;
}

static const char *error_words(const char *otherwise)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    return reason != NULL ? reason : otherwise;
}

/* A server that does not like our certificate, or that there is none, hangs up: in the midst of the handshake, or (TLS 1.3)
 * when we are through with it and have said EHLO. Some send an alert that says so, some send none. */
static bool may_be_for_want_of_client(const SSL *ssl)
{
    const struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    return mark->asked && !mark->heard;
}

static void say_client(const SSL *ssl, char *words, size_t size)
{
    const struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    size_t length = strlen(words);
    if (!may_be_for_want_of_client(ssl))
        return;
    if (mark->key.client == TLS_CLIENT_NONE)
        (void)snprintf(
            words + length, size - length,
            "; the server asked for a client certificate, and no client_certificate is set for it");
    else
        (void)snprintf(words + length, size - length,
                       "; the server asked for a client certificate, and was shown that of %.120s",
                       mark->tls->client[mark->key.client - 1].files->certificate);
}

static void failure_words(const SSL *ssl, int result, int saved_errno, char *words, size_t size)
{
    int error = SSL_get_error(ssl, result);
    if (error == SSL_ERROR_SYSCALL && saved_errno != 0)
        (void)snprintf(words, size, "TLS failed: %s", strerror(saved_errno));
    else
        (void)snprintf(words, size, "TLS failed: %s", error_words("connection closed"));
    say_client(ssl, words, size);
}

/* NULL: the certificate is the host's, and an authority that we trust says so. */
static const char *certificate_fault(const SSL *ssl, const char *host)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);
    if (certificate == NULL)
        return "the server has no certificate";
    if (result != X509_V_OK)
        return X509_verify_cert_error_string(result);
    int match = host_is_literal(host) ? X509_check_ip_asc(certificate, host, 0)
                                      : X509_check_host(certificate, host, 0, 0, NULL);
    return match == 1 ? NULL : "it is another host's";
}

/* NULL: the certificate matches a TLSA record, and under usage 2 bears a right name and is in force. */
static const char *dane_fault(const SSL *ssl)
{
    long result = SSL_get_verify_result(ssl);
    if (SSL_get0_peer_certificate(ssl) == NULL)
        return "the server has no certificate";
    if (result != X509_V_OK)
        return X509_verify_cert_error_string(result);
    /* A resumed session bears the result, but no longer which record it was. */
    if (!SSL_session_reused(ssl) && SSL_get0_dane_authority((SSL *)(uintptr_t)ssl, NULL, NULL) < 0)
        return "it matches no TLSA record";
    return NULL;
}

static bool is_held_against_dane(const SSL *ssl)
{
    const struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    return mark->dane;
}

static bool wants_pkix(const struct tls_peer *peer)
{
    return peer->policy == HOST_TLS_VERIFIED || peer->policy == HOST_TLS_STS;
}

static const char *fault_under_policy(const SSL *ssl, const struct tls_peer *peer)
{
    if (is_held_against_dane(ssl))
        return dane_fault(ssl);
    return wants_pkix(peer) ? certificate_fault(ssl, peer->host) : NULL;
}

enum tls_seen_result tls_seen(const SSL *ssl, const struct tls_peer *peer, bool pkix)
{
    if (!SSL_is_init_finished(ssl))
        return TLS_SEEN_VALIDATION;
    if (is_held_against_dane(ssl))
        return dane_fault(ssl) == NULL ? TLS_SEEN_OK : TLS_SEEN_TLSA_INVALID;
    if ((!pkix && !wants_pkix(peer)) || certificate_fault(ssl, peer->host) == NULL)
        return TLS_SEEN_OK;
    switch (SSL_get_verify_result(ssl)) {
    case X509_V_OK:
        return TLS_SEEN_HOST_MISMATCH; /* the chain holds, so it is the name */
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return TLS_SEEN_EXPIRED;
    default:
        return TLS_SEEN_NOT_TRUSTED;
    }
}

enum tls_result tls_shake(SSL *ssl, const struct tls_peer *peer, char *words, size_t size)
{
    const struct tls_mark *mark = SSL_get_ex_data(ssl, mark_index);
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(ssl);
    int saved_errno = errno;
    if (result != 1) {
        int error = SSL_get_error(ssl, result);
        if (error == SSL_ERROR_WANT_READ)
            return TLS_WANT_READ;
        if (error == SSL_ERROR_WANT_WRITE)
            return TLS_WANT_WRITE;
        cache_forget(mark->tls, &mark->key);
        failure_words(ssl, result, saved_errno, words, size);
        return TLS_FAILED;
    }
    const char *fault = fault_under_policy(ssl, peer);
    if (fault == NULL)
        return TLS_DONE;
    cache_forget(mark->tls, &mark->key);
    (void)snprintf(words, size, "certificate of %s not accepted: %s", peer->host, fault);
    return TLS_FAILED;
}

/* Clearing visits every place of OpenSSL's queue of errors, full or not; before a record it is nearly always empty. */
static void errors_forget(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static ssize_t transfer_result(const SSL *ssl, int result, int saved_errno, char *words, size_t size)
{
    int error = SSL_get_error(ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -1;
    if (error == SSL_ERROR_ZERO_RETURN && !may_be_for_want_of_client(ssl))
        return 0;
    failure_words(ssl, result, saved_errno, words, size);
    return -2;
}

ssize_t tls_read(SSL *ssl, void *where, size_t room, char *words, size_t size)
{
    size_t taken = 0;
    errors_forget();
    errno = 0;
    int result = SSL_read_ex(ssl, where, room, &taken);
    int saved_errno = errno;
    if (result == 1)
        ((struct tls_mark *)SSL_get_ex_data(ssl, mark_index))->heard = true;
    return result == 1 ? (ssize_t)taken : transfer_result(ssl, result, saved_errno, words, size);
}

bool tls_holds(const SSL *ssl)
{
    return SSL_has_pending(ssl) == 1;
}

ssize_t tls_write(SSL *ssl, const void *bytes, size_t length, char *words, size_t size)
{
    size_t taken = 0;
    errors_forget();
    errno = 0;
    int result = SSL_write_ex(ssl, bytes, length, &taken);
    int saved_errno = errno;
    return result == 1 ? (ssize_t)taken : transfer_result(ssl, result, saved_errno, words, size);
}

void tls_describe(const SSL *ssl, const struct tls_peer *peer, struct conn_info *info)
{
    (void)snprintf(info->tls_version, sizeof info->tls_version, "%s", SSL_get_version(ssl));
    (void)snprintf(info->tls_cipher, sizeof info->tls_cipher, "%s", SSL_get_cipher_name(ssl));
    const char *verified = certificate_fault(ssl, peer->host) == NULL ? "pkix" : "";
    if (is_held_against_dane(ssl))
        verified = "dane"; /* or tls_shake() had refused it */
    (void)snprintf(info->tls_verified, sizeof info->tls_verified, "%s", verified);
    info->tls_policy = (uint8_t)peer->policy;
}

static uint64_t broken_slot(const struct dest_address *address)
{
    return hash_more(HASH_EMPTY, address->ip, sizeof address->ip) % TLS_BROKEN_SLOTS;
}

void tls_broken_note(struct tls *tls, const struct dest_address *address, uint16_t port, uint64_t now_ms)
{
    struct tls_broken *broken = &tls->broken[broken_slot(address)];
    *broken =
        (struct tls_broken){.until_ms = now_ms + TLS_BROKEN_MS, .port = port, .family = address->family};
    memcpy(broken->ip, address->ip, sizeof broken->ip);
}

bool tls_broken_is(const struct tls *tls, const struct dest_address *address, uint16_t port, uint64_t now_ms)
{
    const struct tls_broken *broken = &tls->broken[broken_slot(address)];
    return now_ms < broken->until_ms && broken->port == port && broken->family == address->family &&
           memcmp(broken->ip, address->ip, sizeof broken->ip) == 0;
}
