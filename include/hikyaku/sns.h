/* sns.h - messages of Amazon SNS as they come by HTTP: read, checked against the rules for their URLs, and their signature
 * verified (SignatureVersion 1: SHA1withRSA, 2: SHA256withRSA).
 *
 * Pure: bytes in, a verdict out; nothing is fetched in here. Whoever fetches asks sns_*_url_check() before any request. A valid
 * signature proves that SNS sent it, not whose topic it is: the caller compares sns_message.topic with his own.
 */
#ifndef HIKYAKU_SNS_H
#define HIKYAKU_SNS_H

#include "hikyaku/base.h"

#define SNS_BODY_MAX        (1u << 20) /* bytes of an envelope: 256 KB of payload (SNS' own bound), escaped twice */
#define SNS_DEPTH_MAX       16u        /* objects and arrays within each other */
#define SNS_URL_MAX         2048u
#define SNS_CERTIFICATE_MAX 65536u /* bytes of a PEM file */

enum sns_type { SNS_NOTIFICATION, SNS_SUBSCRIPTION, SNS_UNSUBSCRIPTION };

/* Strings belong to the message; what an envelope of this type does not have is NULL. */
struct sns_message {
    enum sns_type type;
    unsigned version; /* of the signature: 1 or 2 */
    const char *message_id, *topic, *text, *timestamp, *subject, *token;
    const char *certificate_url, *subscribe_url; /* as written: not checked yet */
    uint8_t *signature;
    size_t signature_length;
    void *json; /* private */
};

/* Read an envelope. HK_ETOOBIG, HK_ENOMEM, or HK_EINVAL: no JSON, too deep, a key twice, a field missing or of another type,
 * an unknown Type or SignatureVersion, a signature that is no base64. Nothing is verified. */
int sns_read(const char *bytes, size_t length, struct sns_message *out, struct hk_why *why) HK_MUST_USE;
void sns_message_free(struct sns_message *message); /* a zeroed one is a valid empty one */

/* May a certificate be fetched from there: https, host sns.REGION.amazonaws.com or .com.cn, a path that ends in .pem, and no
 * user, port, query, fragment or escape. 0, or HK_EINVAL with what is wrong. */
int sns_certificate_url_check(const char *url, struct hk_why *why) HK_MUST_USE;
/* May a subscription to this topic be confirmed there: the same rule for scheme and host, the topic's own region, and
 * nothing but the action ConfirmSubscription. */
int sns_subscribe_url_check(const char *url, const char *topic, struct hk_why *why) HK_MUST_USE;

/* arn:PARTITION:sns:REGION:ACCOUNT:NAME, with a partition that SNS has. */
bool sns_topic_is_valid(const char *topic);

/* What the signature is about; malloc'd, NULL: no memory. */
char *sns_signed_text(const struct sns_message *message, size_t *length);

/* The host of a URL that was checked. `out` has SNS_URL_MAX bytes. */
void sns_url_host(const char *url, char *out);

/* The authorities that are believed: those of a PEM file, or the system's (NULL). HK_EINVAL: the file cannot be used. */
struct sns_trust;
int sns_trust_open(const char *ca_file, struct sns_trust **out, struct hk_why *why) HK_MUST_USE;
void sns_trust_free(struct sns_trust *trust);

/* Is `pem` (the file of the certificate URL) good to verify with: made out to SNS, valid at `now_s`, and trusted through what
 * else stands in the file and in `between` (PEM certificates of authorities, may be NULL)? `host` is that of its URL. 0 and
 * *out; HK_EINVAL with words, HK_ENOMEM. */
struct sns_certificate;
int sns_certificate_check(const char *pem, size_t length, const char *between, size_t between_length,
                          const char *host, const struct sns_trust *trust, int64_t now_s,
                          struct sns_certificate **out, struct hk_why *why) HK_MUST_USE;
void sns_certificate_free(struct sns_certificate *certificate);
/* Is it within the time that it was made for? It may run out while it is kept. */
bool sns_certificate_is_valid(const struct sns_certificate *certificate, int64_t now_s);

/* 0, HK_EPROTO: it is not what that certificate's key has signed, or HK_ENOMEM. */
int sns_verify(const struct sns_message *message, const struct sns_certificate *certificate,
               struct hk_why *why) HK_MUST_USE;

#endif
