/* test_tls.c - what the TLS side of a connection asks of a certificate under DANE, which name it sends, which sessions it
 * resumes (RFC 7672 3, 8.1; RFC 7671 5), whom it shows a client certificate (RFC 5246 7.4.6, RFC 8446 4.4.2), and how long a
 * broken address is remembered. Against OpenSSL's server, in memory. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

#define HOST "mx.x.test"

static struct {
    SSL_CTX *server;
    X509 *certificate, *authority;
    struct tls *tls;
    struct dane_set dane;
    struct dest_address address;
    struct tls_peer peer;
    struct conn_info info;
    char sni[256];
    char words[256];
    bool resumed;
    X509 *client; /* whom the server saw */
} rig;

static void extension_add(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* Names and end, signed by `issuer`; of itself where that is NULL. */
static X509 *certificate_make(EVP_PKEY *key, const char *names, long ends_s, X509 *issuer,
                              EVP_PKEY *issuer_key)
{
    X509 *x = X509_new();
    const char *organisation = issuer != NULL ? "a server" : "an authority";
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), ends_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "O", MBSTRING_ASC,
                               (const unsigned char *)organisation, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer != NULL ? issuer : x));
    X509_set_pubkey(x, key);
    if (issuer != NULL)
        extension_add(x, NID_subject_alt_name, names);
    else
        extension_add(x, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(x, issuer != NULL ? issuer_key : key, EVP_sha256()) > 0);
    return x;
}

static int on_sni(SSL *ssl, int *alert, void *argument)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    (void)argument;
    snprintf(rig.sni, sizeof rig.sni, "%s", name != NULL ? name : "");
    return SSL_TLSEXT_ERR_OK;
}

/* A server whose certificate has these names and ends then. */
static void server_make(const char *names, long ends_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *authority_key = EVP_EC_gen("P-256");
    SSL_CTX_free(rig.server);
    X509_free(rig.certificate);
    X509_free(rig.authority);
    rig.authority = certificate_make(authority_key, NULL, 7200, NULL, NULL);
    rig.certificate = certificate_make(key, names, ends_s, rig.authority, authority_key);
    rig.server = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(rig.server, rig.certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(rig.server, key), 1);
    assert_int_equal(SSL_CTX_add1_chain_cert(rig.server, rig.authority), 1);
    SSL_CTX_set_session_id_context(rig.server, (const unsigned char *)"x", 1);
    SSL_CTX_set_tlsext_servername_callback(rig.server, on_sni);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
}

static int set_up(void **state)
{
    static struct config config;
    struct hk_why why;
    (void)state;
    memset(&rig, 0, sizeof rig);
    assert_int_equal(tls_create(&config, &rig.tls, &why), 0);
    rig.address = (struct dest_address){.family = AF_INET, .mx = 1, .ip = {127, 0, 0, 1}};
    rig.peer = (struct tls_peer){.host = HOST,
                                 .address = &rig.address,
                                 .port = 25,
                                 .policy = HOST_TLS_DANE,
                                 .dane = &rig.dane,
                                 .next_hop = ""};
    server_make("DNS:" HOST, 7200);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_free(rig.tls);
    SSL_CTX_free(rig.server);
    X509_free(rig.certificate);
    X509_free(rig.authority);
    X509_free(rig.client);
    return 0;
}

static void record_add(unsigned host, unsigned usage, unsigned matching, const void *bytes, size_t length)
{
    struct dane_record record = {.host = (uint8_t)host,
                                 .usage = (uint8_t)usage,
                                 .selector = 0,
                                 .matching = (uint8_t)matching,
                                 .length = (uint16_t)length};
    assert_true(dane_add(&rig.dane, &record, bytes));
}

/* The server's own certificate or its authority's, as SHA-256. */
static void record_fit(unsigned host, unsigned usage)
{
    unsigned char digest[32];
    unsigned length = 0;
    X509 *of = usage == DANE_TA ? rig.authority : rig.certificate;
    assert_int_equal(X509_digest(of, EVP_sha256(), digest, &length), 1);
    record_add(host, usage, DANE_SHA256, digest, length);
}

static void record_other(unsigned host)
{
    static const uint8_t digest[32] = {1, 2, 3};
    record_add(host, DANE_EE, DANE_SHA256, digest, sizeof digest);
}

static SSL *server_start(int fd)
{
    SSL *ssl = SSL_new(rig.server);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    SSL_set_accept_state(ssl);
    return ssl;
}

struct meeting {
    int pair[2];
    SSL *client, *server;
};

static void meet(struct meeting *m)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, m->pair), 0);
    m->client = tls_start(rig.tls, m->pair[0], &rig.peer);
    m->server = server_start(m->pair[1]);
    assert_non_null(m->client);
}

/* The handshake, and a byte each way so that tickets arrive. */
static enum tls_result shake_hands(const struct meeting *m)
{
    enum tls_result result = TLS_WANT_READ;
    SSL *client = m->client, *server = m->server;
    char byte = 'x';
    memset(&rig.info, 0, sizeof rig.info);
    for (int turn = 0; turn < 20 && (result == TLS_WANT_READ || result == TLS_WANT_WRITE); turn++) {
        result = tls_shake(client, &rig.peer, rig.words, sizeof rig.words);
        (void)SSL_do_handshake(server);
    }
    rig.resumed = SSL_session_reused(client) == 1;
    X509_free(rig.client);
    rig.client = NULL;
    if (result == TLS_DONE && SSL_do_handshake(server) == 1) {
        assert_int_equal(SSL_write(server, &byte, 1), 1);
        assert_int_equal(tls_read(client, &byte, 1, rig.words, sizeof rig.words), 1);
        tls_describe(client, &rig.peer, &rig.info);
        rig.client = SSL_get1_peer_certificate(server);
    } else if (result ==
               TLS_DONE) { /* TLS 1.3: the server's word on our certificate comes behind the handshake */
        assert_int_equal(tls_read(client, &byte, 1, rig.words, sizeof rig.words), -2);
        result = TLS_FAILED;
    }
    return result;
}

static void part(const struct meeting *m)
{
    SSL_set_shutdown(m->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* as link_close() does */
    SSL_free(m->client);
    SSL_free(m->server);
    close(m->pair[0]);
    close(m->pair[1]);
}

static enum tls_result shake(void)
{
    struct meeting m;
    meet(&m);
    enum tls_result result = shake_hands(&m);
    part(&m);
    return result;
}

static void assert_refused(const char *word)
{
    assert_int_equal(shake(), TLS_FAILED);
    if (strstr(rig.words, word) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\"", rig.words, word);
}

static void assert_taken(const char *verified)
{
    enum tls_result result = shake();
    if (result != TLS_DONE)
        fail_msg("%s", rig.words);
    assert_string_equal(rig.info.tls_verified, verified);
    assert_int_equal(rig.info.tls_policy, rig.peer.policy);
}

/* RFC 7672 3.1.1 */
static void with_usage_3_neither_name_nor_expiry_counts(void **state)
{
    (void)state;
    server_make("DNS:elsewhere.test", -3600);
    record_fit(1, DANE_EE);
    assert_taken("dane");
}

/* RFC 7672 3.1.2, 3.2 */
static void with_usage_2_name_and_expiry_count(void **state)
{
    (void)state;
    record_fit(1, DANE_TA);
    assert_taken("dane");
    memset(&rig.dane, 0, sizeof rig.dane);
    server_make("DNS:elsewhere.test", 7200);
    record_fit(1, DANE_TA);
    assert_refused("mismatch");
    memset(&rig.dane, 0, sizeof rig.dane);
    server_make("DNS:" HOST, -3600);
    record_fit(1, DANE_TA);
    assert_refused("expired");
}

/* RFC 7672 3.2.2 */
static void with_usage_2_the_recipients_domain_is_a_name_too(void **state)
{
    (void)state;
    server_make("DNS:x.test", 7200);
    record_fit(1, DANE_TA);
    assert_refused("mismatch");
    rig.peer.next_hop = "x.test";
    assert_taken("dane");
    server_make("DNS:real.test", 7200);
    memset(&rig.dane, 0, sizeof rig.dane);
    record_fit(1, DANE_TA);
    assert_refused("mismatch");
    snprintf(rig.dane.next_hop, sizeof rig.dane.next_hop, "real.test");
    assert_taken("dane");
}

/* RFC 7672 3.2.3 */
static void a_wildcard_stands_for_a_whole_label(void **state)
{
    (void)state;
    server_make("DNS:*.x.test", 7200);
    record_fit(1, DANE_TA);
    assert_taken("dane");
    memset(&rig.dane, 0, sizeof rig.dane);
    server_make("DNS:m*.x.test", 7200);
    record_fit(1, DANE_TA);
    assert_refused("mismatch");
}

static void a_certificate_that_matches_no_record_is_refused(void **state)
{
    (void)state;
    record_other(1);
    assert_refused("TLSA");
    record_fit(0, DANE_EE); /* another host's record is none of this one */
    assert_refused("TLSA");
    record_fit(1, DANE_EE);
    assert_taken("dane");
}

/* RFC 7672 2.2: bytes that only OpenSSL can tell are no certificate. */
static void records_that_openssl_cannot_use_ask_for_tls_alone(void **state)
{
    (void)state;
    record_add(1, DANE_EE, DANE_FULL, "no certificate", 14);
    assert_taken("");
    record_other(1);
    assert_refused("TLSA");
}

/* RFC 7672 8.1 */
static void sni_is_the_base_domain(void **state)
{
    (void)state;
    record_fit(1, DANE_EE);
    assert_taken("dane");
    assert_string_equal(rig.sni, HOST);
    assert_true(dane_base_set(&rig.dane, 1, "real.y.test"));
    assert_taken("dane");
    assert_string_equal(rig.sni, "real.y.test");
    rig.peer.policy = HOST_TLS_REQUIRED;
    assert_taken("");
    assert_string_equal(rig.sni, HOST);
}

static void the_base_domain_is_the_name_that_usage_2_looks_for(void **state)
{
    (void)state;
    server_make("DNS:real.y.test", 7200);
    record_fit(1, DANE_TA);
    assert_refused("mismatch");
    assert_true(dane_base_set(&rig.dane, 1, "real.y.test"));
    assert_taken("dane");
}

static void a_session_is_resumed_under_the_same_records_only(void **state)
{
    (void)state;
    record_fit(1, DANE_EE);
    assert_taken("dane");
    assert_false(rig.resumed);
    assert_taken("dane");
    assert_true(rig.resumed);
    /* The records changed, and the certificate has not. */
    memset(&rig.dane, 0, sizeof rig.dane);
    record_other(1);
    assert_refused("TLSA");
    rig.peer.policy = HOST_TLS_OPPORTUNISTIC;
    assert_taken("");
    assert_false(rig.resumed);
}

/* OpenSSL's server gives two tickets for a whole handshake and one for a resumed one: what the connections use up they
 * bring back. */
static void connections_that_begin_together_resume_each_with_a_ticket_of_its_own(void **state)
{
    struct meeting m[TLS_TICKETS];
    (void)state;
    rig.peer.policy = HOST_TLS_OPPORTUNISTIC;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < TLS_TICKETS; i++)
            meet(&m[i]);
        for (unsigned i = 0; i < TLS_TICKETS; i++) {
            assert_int_equal(shake_hands(&m[i]), TLS_DONE);
            assert_int_equal(rig.resumed, round > 0);
        }
        for (unsigned i = 0; i < TLS_TICKETS; i++)
            part(&m[i]);
    }
}

/* How many of two connections that begin together resume. */
static unsigned resumed_of_two(void)
{
    struct meeting m[2];
    unsigned resumed = 0;
    meet(&m[0]);
    meet(&m[1]);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(shake_hands(&m[i]), TLS_DONE);
        resumed += rig.resumed;
        part(&m[i]);
    }
    return resumed;
}

static void address_set(unsigned number)
{
    rig.address.ip[2] = (uint8_t)(number >> 8);
    rig.address.ip[3] = (uint8_t)number;
}

/* Of the late addresses some fall on a slot that is taken: what was there makes room, and they keep more than one. */
static void with_as_many_sessions_as_may_be_a_new_address_keeps_one(void **state)
{
    const unsigned early = TLS_SESSIONS / TLS_TICKETS * 5 / 4, late = 20;
    unsigned resumed = 0, number = 0;
    (void)state;
    rig.peer.policy = HOST_TLS_OPPORTUNISTIC;
    assert_int_equal(SSL_CTX_set_num_tickets(rig.server, TLS_TICKETS), 1);
    address_set(number);
    assert_int_equal(shake(), TLS_DONE);
    assert_int_equal(resumed_of_two(), 2);
    for (; number < early; number++) {
        address_set(number);
        assert_int_equal(shake(), TLS_DONE);
    }
    for (; number < early + late; number++) {
        address_set(number);
        assert_int_equal(shake(), TLS_DONE);
        unsigned of_two = resumed_of_two();
        assert_true(of_two >= 1);
        resumed += of_two;
    }
    assert_in_range(resumed, late, late * 7 / 4);
}

static void tls_1_2_resumes_as_well(void **state)
{
    (void)state;
    SSL_CTX_set_max_proto_version(rig.server, TLS1_2_VERSION);
    record_fit(1, DANE_EE);
    assert_taken("dane");
    assert_false(rig.resumed);
    assert_taken("dane");
    assert_true(rig.resumed);
    assert_string_equal(rig.info.tls_version, "TLSv1.2");
}

static void a_session_that_was_refused_is_not_resumed(void **state)
{
    (void)state;
    SSL_CTX_set_max_proto_version(rig.server, TLS1_2_VERSION); /* its session comes with the handshake */
    record_other(1);
    assert_refused("TLSA");
    assert_refused("TLSA");
    assert_false(rig.resumed);
    memset(&rig.dane, 0, sizeof rig.dane);
    record_fit(1, DANE_EE);
    assert_taken("dane");
    assert_string_equal(rig.info.tls_version, "TLSv1.2");
}

/* Client certificates: two of them, for two providers; a third has none. */

static struct {
    char path[2][96];
    X509 *certificate[2];
    struct cfg_provider provider[3];
    struct config config;
} own;
static char own_folder[64];

static void own_write(size_t number)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *file;
    snprintf(own.path[number], sizeof own.path[number], "%s/%zu.pem", own_folder, number);
    own.certificate[number] = certificate_make(key, NULL, 7200, NULL, NULL);
    file = fopen(own.path[number], "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, own.certificate[number]), 1);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    own.provider[number].client = (struct cfg_client){own.path[number], own.path[number]};
    EVP_PKEY_free(key);
}

static int set_up_clients(void **state)
{
    struct hk_why why;
    assert_int_equal(set_up(state), 0);
    memset(&own, 0, sizeof own);
    snprintf(own_folder, sizeof own_folder, "/tmp/hikyaku-tls-XXXXXX");
    assert_non_null(mkdtemp(own_folder));
    own_write(0);
    own_write(1);
    own.config.provider = own.provider;
    own.config.provider_count = 3;
    tls_free(rig.tls);
    assert_int_equal(tls_create(&own.config, &rig.tls, &why), 0);
    rig.peer.policy = HOST_TLS_REQUIRED;
    return 0;
}

static int tear_down_clients(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        X509_free(own.certificate[i]);
        unlink(own.path[i]);
    }
    rmdir(own_folder);
    return tear_down(state);
}

static int take_anyone(int is_good, X509_STORE_CTX *store)
{
    (void)is_good;
    (void)store;
    return 1;
}

/* The server asks. Where it demands a certificate it takes the first of the two alone, else any, or none. */
static void server_asks(bool demands, int version)
{
    SSL_CTX_set_verify(rig.server, SSL_VERIFY_PEER | (demands ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       demands ? NULL : take_anyone);
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(rig.server), own.certificate[0]), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(rig.server, version), 1);
}

static void assert_shown(const X509 *certificate, bool resumed)
{
    assert_taken("");
    assert_int_equal(rig.resumed, resumed);
    if (certificate == NULL)
        assert_null(rig.client);
    else
        assert_int_equal(X509_cmp(rig.client, certificate), 0);
}

static void show(uint32_t provider)
{
    rig.peer.client = tls_client(rig.tls, -1, provider);
}

static void a_client_certificate_is_shown_to_a_server_that_asks(int version)
{
    show(0);
    assert_shown(NULL, false); /* nobody asked */
    server_make("DNS:" HOST, 7200);
    server_asks(true, version);
    show(1);
    assert_refused(
        "unknown ca; the server asked for a client certificate, and was shown that of /tmp/hikyaku-tls-");
    show(2);
    assert_refused("; the server asked for a client certificate, and no client_certificate is set for it");
    show(0);
    assert_shown(own.certificate[0], false);
    assert_shown(own.certificate[0], true); /* the session knows it */
}

/* RFC 8446 4.4.2 */
static void tls_1_3_shows_a_client_certificate(void **state)
{
    (void)state;
    a_client_certificate_is_shown_to_a_server_that_asks(TLS1_3_VERSION);
    assert_string_equal(rig.info.tls_version, "TLSv1.3");
}

/* RFC 5246 7.4.6, RFC 8446 4.4.2 */
static void tls_1_2_shows_a_client_certificate(void **state)
{
    (void)state;
    a_client_certificate_is_shown_to_a_server_that_asks(TLS1_2_VERSION);
    assert_string_equal(rig.info.tls_version, "TLSv1.2");
}

static void sessions_of_one_client_certificate_are_none_of_another(int version)
{
    server_asks(false, version);
    show(0);
    assert_shown(own.certificate[0], false);
    show(2);
    assert_shown(NULL, false);
    assert_shown(NULL, true);
    show(1);
    assert_shown(own.certificate[1], false);
    show(2);
    assert_shown(NULL, true);
}

/* RFC 8446 4.4.2, 4.6.1: a ticket stands for the certificate that was shown. */
static void client_certificates_have_sessions_of_their_own(void **state)
{
    (void)state;
    sessions_of_one_client_certificate_are_none_of_another(TLS1_3_VERSION);
}

static void and_so_they_have_under_tls_1_2(void **state)
{
    (void)state;
    sessions_of_one_client_certificate_are_none_of_another(TLS1_2_VERSION);
}

static void a_client_certificate_that_cannot_be_read_is_told_at_start(void **state)
{
    struct tls *tls;
    struct hk_why why;
    (void)state;
    own.provider[1].client.key = own.path[0];
    assert_int_equal(tls_create(&own.config, &tls, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "it is not the key of the certificate in"));
    own.provider[1].client.key = own.path[1];
    unlink(own.path[1]);
    assert_int_equal(tls_create(&own.config, &tls, &why), HK_ENOENT);
    assert_non_null(strstr(why.text, own.path[1]));
}

static void a_broken_address_is_remembered_for_a_time(void **state)
{
    struct dest_address other = rig.address;
    (void)state;
    other.ip[3] = 2;
    assert_false(tls_broken_is(rig.tls, &rig.address, 25, 1000));
    tls_broken_note(rig.tls, &rig.address, 25, 1000);
    assert_true(tls_broken_is(rig.tls, &rig.address, 25, 1000 + TLS_BROKEN_MS - 1));
    assert_false(tls_broken_is(rig.tls, &rig.address, 25, 1000 + TLS_BROKEN_MS));
    assert_false(tls_broken_is(rig.tls, &rig.address, 26, 1000));
    assert_false(tls_broken_is(rig.tls, &other, 25, 1000));
}

static void what_is_remembered_is_bounded(void **state)
{
    struct dest_address address = rig.address;
    unsigned known = 0;
    (void)state;
    for (unsigned i = 0; i < 3 * TLS_BROKEN_SLOTS; i++) {
        address.ip[2] = (uint8_t)(i >> 8);
        address.ip[3] = (uint8_t)i;
        tls_broken_note(rig.tls, &address, 25, 1000);
        assert_true(tls_broken_is(rig.tls, &address, 25, 1001)); /* the newest always */
    }
    for (unsigned i = 0; i < 3 * TLS_BROKEN_SLOTS; i++) {
        address.ip[2] = (uint8_t)(i >> 8);
        address.ip[3] = (uint8_t)i;
        known += tls_broken_is(rig.tls, &address, 25, 1001);
    }
    assert_in_range(known, TLS_BROKEN_SLOTS / 2, TLS_BROKEN_SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(with_usage_3_neither_name_nor_expiry_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_usage_2_name_and_expiry_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_usage_2_the_recipients_domain_is_a_name_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wildcard_stands_for_a_whole_label, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_certificate_that_matches_no_record_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_that_openssl_cannot_use_ask_for_tls_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sni_is_the_base_domain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_base_domain_is_the_name_that_usage_2_looks_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_session_is_resumed_under_the_same_records_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_that_begin_together_resume_each_with_a_ticket_of_its_own,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_as_many_sessions_as_may_be_a_new_address_keeps_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tls_1_2_resumes_as_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_that_was_refused_is_not_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tls_1_3_shows_a_client_certificate, set_up_clients,
                                        tear_down_clients),
        cmocka_unit_test_setup_teardown(tls_1_2_shows_a_client_certificate, set_up_clients,
                                        tear_down_clients),
        cmocka_unit_test_setup_teardown(client_certificates_have_sessions_of_their_own, set_up_clients,
                                        tear_down_clients),
        cmocka_unit_test_setup_teardown(and_so_they_have_under_tls_1_2, set_up_clients, tear_down_clients),
        cmocka_unit_test_setup_teardown(a_client_certificate_that_cannot_be_read_is_told_at_start,
                                        set_up_clients, tear_down_clients),
        cmocka_unit_test_setup_teardown(a_broken_address_is_remembered_for_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_remembered_is_bounded, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
