/* signer.h - keys and hash contexts, shared by the files of message/.
 *
 * Algorithms are fetched and keys parsed once; contexts are used again from copy to copy (OpenSSL 3 makes both
 * dear). A signer belongs to one thread.
 */
#ifndef MESSAGE_SIGNER_H
#define MESSAGE_SIGNER_H

#include "buf.h"
#include "hikyaku/message.h"

#include <openssl/evp.h>

#define SHA256_OCTETS        32
#define SIGNATURE_OCTETS_MAX 1024 /* an RSA key of 8192 bits */
#define TOKEN_TEXT_MAX       64
#define TOKEN_HEAD_MAX       28 /* octets of a token in front of its HMAC */

/* What a token is for: a token of one kind is none of another. */
enum token_use { TOKEN_BOUNCE = 'b', TOKEN_UNSUBSCRIBE = 'u', TOKEN_MESSAGE_ID = 'm', TOKEN_ADDRESS = 'a' };

struct token_head {
    size_t length;
    uint8_t octets[TOKEN_HEAD_MAX];
};

const EVP_MD *signer_sha256(const struct signer *signer);
const char *signer_from_domain(const struct signer *signer);
const char *signer_return_path(const struct signer *signer);
size_t signer_key_count(const struct signer *signer);
const char *signer_key_domain(const struct signer *signer, size_t key);
const char *signer_key_selector(const struct signer *signer, size_t key);
const char *signer_key_algorithm(const struct signer *signer, size_t key); /* "rsa-sha256" */
/* Scratch contexts: body and header hash of the copy under way. */
EVP_MD_CTX *signer_body_hash(const struct signer *signer);
EVP_MD_CTX *signer_header_hash(const struct signer *signer);
/* How many octets each signature of a key has. */
size_t signer_key_octets(const struct signer *signer, size_t key);
/* Sign a SHA-256 digest. The number of octets put into out (SIGNATURE_OCTETS_MAX), or 0 when OpenSSL fails. */
size_t signer_sign(const struct signer *signer, size_t number, const uint8_t digest[SHA256_OCTETS],
                   uint8_t *out);

/* HMAC-SHA256 by the newest secret. 0 or HK_ENOMEM. */
int signer_mac(const struct signer *signer, const void *bytes, size_t length,
               uint8_t out[SHA256_OCTETS]) HK_MUST_USE;
uint8_t signer_secret_id(const struct signer *signer);
/* By the secret of this id; HK_EPROTO if there is none. */
int signer_mac_by(const struct signer *signer, uint8_t id, const void *bytes, size_t length,
                  uint8_t out[SHA256_OCTETS]) HK_MUST_USE;

/* The last day on which that secret's tokens were made, UINT16_MAX where it is not given up (days as in VERP_DAY). */
uint16_t signer_secret_until(const struct signer *signer, uint8_t id);

/* token.c: what all tokens of a recipient of a campaign begin with. 0 or HK_ENOMEM. */
int token_head_make(const struct signer *signer, const struct token_subject *subject,
                    struct token_head *out) HK_MUST_USE;
/* The token for that use: at most TOKEN_TEXT_MAX - 2 base32 digits and a NUL. 0 or HK_ENOMEM. */
int token_make(const struct signer *signer, enum token_use use, const struct token_head *head,
               char out[TOKEN_TEXT_MAX]) HK_MUST_USE;
/* The return path made of one, as verp_make() makes it. */
int token_return_path(const struct signer *signer, const struct token_head *head, char *out) HK_MUST_USE;
/* The same for every try of a copy and different for every copy, so that a receiver who sees it twice knows:
 * "DIGITS@from_domain", without angle brackets. 0 or HK_ENOMEM. */
int message_id_make(const struct signer *signer, const char *campaign, uint16_t segment, uint32_t index,
                    char *out, size_t size) HK_MUST_USE;
int token_parse(const struct signer *signer, enum token_use use, const char *text, size_t length,
                struct verp_token *out) HK_MUST_USE;

/* Equal, or one above the other in the tree of domains. Both are lower-case A-labels. */
bool domain_is_aligned(const char *one, const char *other);

#endif
