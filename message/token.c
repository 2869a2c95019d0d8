/* token.c - tokens that name a recipient of a campaign, and the VERP return path made of one.
 *
 * Octets, then base32 in lower case (receivers fold case): key id 1, day of sending 2, index 4, proof of the address
 * 4, length of the campaign id 1, the id (or the first 8 octets of its SHA-256 where it is longer than 16), HMAC 10.
 * So a return path's local part has at most 63 octets (RFC 5321 4.5.3.1.1 allows 64), of [a-z0-9-] only.
 *
 * The proof is a keyed hash of the recipient's address: a token tells who is not meant, also when the list that its
 * index counts in is gone, or another one has the campaign's name by now. Keyed, so that nobody can look for an address
 * of his own that has a victim's proof.
 */
#include <openssl/crypto.h>
#include <strings.h>

#include "encode.h"
#include "hikyaku/address.h"
#include "signer.h"

#define TOKEN_PROOF_AT     7u /* behind key id, day and index */
#define TOKEN_LENGTH_AT    (TOKEN_PROOF_AT + VERP_PROOF)
#define TOKEN_HEAD         (TOKEN_LENGTH_AT + 1)
#define TOKEN_CAMPAIGN_MAX 16u
#define TOKEN_HASHED       0xFFu
#define TOKEN_HASH         8u
#define TOKEN_MAC          10u
#define TOKEN_OCTETS_MAX   (TOKEN_HEAD + TOKEN_CAMPAIGN_MAX + TOKEN_MAC)
_Static_assert(TOKEN_HEAD_MAX == TOKEN_HEAD + TOKEN_CAMPAIGN_MAX, "a token's head does not fit");
_Static_assert(2 + (TOKEN_OCTETS_MAX * 8 + 4) / 5 <= ADDRESS_LOCAL_MAX,
               "a return path's local part is too long");

/* The campaign as it stands in a token: its length octet and its octets. Returns the number of these. */
static size_t campaign_octets(const char *campaign, uint8_t *length, uint8_t *out)
{
    size_t n = strlen(campaign);
    char hex[HK_SHA256_HEX];

    if (n <= TOKEN_CAMPAIGN_MAX) {
        *length = (uint8_t)n;
        memcpy(out, campaign, *length);
        return n;
    }
    *length = TOKEN_HASHED;
    hk_sha256_hex(campaign, n, hex);
    for (size_t i = 0; i < TOKEN_HASH; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};

        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return TOKEN_HASH;
}

static void campaign_text(uint8_t length, const uint8_t *octets, size_t count, char *out)
{
    if (length != TOKEN_HASHED) {
        memcpy(out, octets, count);
        out[count] = 0;
        return;
    }
    *out++ = '~';
    hk_hex(octets, count, out);
}

void verp_campaign(const char *campaign, char out[CAMPAIGN_ID_MAX + 1])
{
    uint8_t length, octets[TOKEN_CAMPAIGN_MAX];
    size_t count = campaign_octets(campaign, &length, octets);

    campaign_text(length, octets, count, out);
}

/* The MAC covers the use and everything before it. */
static void token_mac(uint8_t *message, enum token_use use, const uint8_t *token, size_t length)
{
    message[0] = (uint8_t)use;
    memcpy(message + 1, token, length);
}

/* By the secret of that id. HK_EPROTO: there is none; HK_ENOMEM. */
static int address_proof(const struct signer *signer, uint8_t id, const char *address, size_t length,
                         uint8_t out[VERP_PROOF])
{
    uint8_t message[1 + ADDRESS_MAX], mac[SHA256_OCTETS];
    int error;

    if (length > ADDRESS_MAX)
        length = ADDRESS_MAX; /* none is longer that anybody takes */
    message[0] = TOKEN_ADDRESS;
    for (size_t i = 0; i < length; i++)
        message[1 + i] = (uint8_t)(address[i] >= 'A' && address[i] <= 'Z' ? address[i] + 32 : address[i]);
    error = signer_mac_by(signer, id, message, 1 + length, mac);
    if (error == 0)
        memcpy(out, mac, VERP_PROOF);
    return error;
}

int token_head_make(const struct signer *signer, const struct token_subject *subject, struct token_head *out)
{
    uint8_t *token = out->octets;

    token[0] = signer_secret_id(signer);
    token[1] = (uint8_t)(subject->day >> 8);
    token[2] = (uint8_t)subject->day;
    for (unsigned i = 0; i < 4; i++)
        token[3 + i] = (uint8_t)(subject->index >> (24 - 8 * i));
    if (address_proof(signer, token[0], subject->address, subject->address_length, token + TOKEN_PROOF_AT) !=
        0)
        return HK_ENOMEM;
    out->length =
        TOKEN_HEAD + campaign_octets(subject->campaign, &token[TOKEN_LENGTH_AT], token + TOKEN_HEAD);
    return 0;
}

int token_make(const struct signer *signer, enum token_use use, const struct token_head *head,
               char out[TOKEN_TEXT_MAX])
{
    uint8_t token[TOKEN_OCTETS_MAX], message[1 + TOKEN_OCTETS_MAX], mac[SHA256_OCTETS];
    size_t length = head->length;

    token_mac(message, use, head->octets, length);
    if (signer_mac(signer, message, 1 + length, mac) != 0)
        return HK_ENOMEM;
    memcpy(token, head->octets, length);
    memcpy(token + length, mac, TOKEN_MAC);
    length += TOKEN_MAC;
    base32_encode(token, length, out);
    out[base32_size(length)] = 0;
    return 0;
}

int message_id_make(const struct signer *signer, const char *campaign, uint16_t segment, uint32_t index,
                    char *out, size_t size)
{
    char message[CAMPAIGN_ID_MAX + 32], digits[TOKEN_TEXT_MAX];
    uint8_t mac[SHA256_OCTETS];
    char *at = message;
    const char *end = message + sizeof message;

    *at++ = TOKEN_MESSAGE_ID;
    at = hk_put_number(at, end, segment);
    at = hk_put_number(hk_put(at, end, "."), end, index);
    at = hk_put(hk_put(at, end, "."), end, campaign);
    if (signer_mac(signer, message, (size_t)(at - message), mac) != 0)
        return HK_ENOMEM;
    base32_encode(mac, 20, digits);
    digits[base32_size(20)] = 0;
    at = hk_put(out, out + size, digits);
    (void)hk_put(hk_put(at, out + size, "@"), out + size, signer_from_domain(signer));
    return 0;
}

int token_parse(const struct signer *signer, enum token_use use, const char *text, size_t length,
                struct verp_token *out)
{
    uint8_t token[TOKEN_OCTETS_MAX], message[1 + TOKEN_OCTETS_MAX], mac[SHA256_OCTETS];
    int octets = base32_decode(text, length, token, sizeof token);
    size_t campaign, body;
    int error;

    if (octets < (int)(TOKEN_HEAD + TOKEN_MAC))
        return HK_EINVAL;
    campaign = token[TOKEN_LENGTH_AT] == TOKEN_HASHED ? TOKEN_HASH : token[TOKEN_LENGTH_AT];
    body = TOKEN_HEAD + campaign;
    if (campaign == 0 || (size_t)octets != body + TOKEN_MAC)
        return HK_EINVAL;
    token_mac(message, use, token, body);
    error = signer_mac_by(signer, token[0], message, 1 + body, mac);
    if (error == 0 && CRYPTO_memcmp(mac, token + body, TOKEN_MAC) != 0)
        error = HK_EPROTO;
    if (error != 0)
        return error;
    out->key = token[0];
    out->day = (uint16_t)(token[1] << 8 | token[2]);
    if (out->day > signer_secret_until(signer, out->key))
        return HK_EPROTO; /* the secret was given up before that day: whoever makes tokens of it has stolen it */
    memcpy(out->proof, token + TOKEN_PROOF_AT, VERP_PROOF);
    out->index = 0;
    for (unsigned i = 0; i < 4; i++)
        out->index = out->index << 8 | token[3 + i];
    campaign_text(token[TOKEN_LENGTH_AT], token + TOKEN_HEAD, campaign, out->campaign);
    return 0;
}

bool verp_is_about(const struct signer *signer, const struct verp_token *token, const char *address,
                   size_t length)
{
    uint8_t proof[VERP_PROOF];

    return address_proof(signer, token->key, address, length, proof) == 0 &&
           CRYPTO_memcmp(proof, token->proof, VERP_PROOF) == 0;
}

int verp_make(const struct signer *signer, const struct token_subject *subject, char *out)
{
    struct token_head head;

    return token_head_make(signer, subject, &head) == 0 ? token_return_path(signer, &head, out) : HK_ENOMEM;
}

int token_return_path(const struct signer *signer, const struct token_head *head, char *out)
{
    const char *end = out + ADDRESS_MAX + 1;
    char token[TOKEN_TEXT_MAX], *at;

    if (token_make(signer, TOKEN_BOUNCE, head, token) != 0)
        return HK_ENOMEM;
    at = hk_put(hk_put(out, end, "b-"), end, token);
    (void)hk_put(hk_put(at, end, "@"), end, signer_return_path(signer));
    return 0;
}

int verp_parse(const struct signer *signer, const char *address, size_t length, struct verp_token *out)
{
    const char *at = memrchr(address, '@', length);
    const char *domain = signer_return_path(signer);
    size_t local;

    if (at == NULL || length < 2 || strncasecmp(address, "b-", 2) != 0)
        return HK_EINVAL;
    local = (size_t)(at - address);
    if (length - local - 1 != strlen(domain) || strncasecmp(at + 1, domain, strlen(domain)) != 0)
        return HK_EINVAL;
    return local < 2 ? HK_EINVAL : token_parse(signer, TOKEN_BOUNCE, address + 2, local - 2, out);
}

int unsubscribe_parse(const struct signer *signer, const char *token, size_t length, struct verp_token *out)
{
    return token_parse(signer, TOKEN_UNSUBSCRIBE, token, length, out);
}
