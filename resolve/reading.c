/* reading.c - from a DNS message to hosts and addresses (RFC 5321 5.1, RFC 7505, RFC 2308). See reading.h. */
#include "reading.h"

#include <stdio.h>
#include <string.h>

#define WORDS_SIZE sizeof((struct reading *)0)->words

void reading_rcode_words(int rcode, char *words)
{
    static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

    if (rcode >= 0 && (size_t)rcode < sizeof names / sizeof names[0])
        snprintf(words, WORDS_SIZE, "%s", names[rcode]);
    else
        snprintf(words, WORDS_SIZE, "rcode %d", rcode);
}

static void reading_fail(struct reading *out, const char *words)
{
    out->verdict = READING_FAILED;
    snprintf(out->words, sizeof out->words, "%s", words);
}

static void ttl_lower(uint32_t *ttl_s, uint32_t to_s)
{
    if (to_s < *ttl_s)
        *ttl_s = to_s;
}

/* Open the message; false, with out filled, when it answers nothing. */
static bool reading_open(struct packet *packet, const void *bytes, size_t length, struct reading *out)
{
    memset(out, 0, sizeof *out);
    out->verdict = READING_NONE;
    out->ttl_s = UINT32_MAX;
    if (packet_open(packet, bytes, length)) {
        reading_fail(out, "a malformed answer");
        return false;
    }
    if (packet->truncated) {
        reading_fail(out, "a truncated answer");
        return false;
    }
    if (packet->rcode == PACKET_NXDOMAIN) {
        out->verdict = READING_NXDOMAIN;
    } else if (packet->rcode != PACKET_NOERROR) {
        out->verdict = READING_FAILED;
        reading_rcode_words(packet->rcode, out->words);
        return false;
    }
    return true;
}

/* After the last record: `rc` is what packet_next() ended with, soa_ttl_s UINT32_MAX if there was no SOA. */
static void reading_close(struct reading *out, int rc, uint32_t soa_ttl_s)
{
    if (rc < 0)
        reading_fail(out, "a malformed answer");
    if (out->verdict == READING_NONE || out->verdict == READING_NXDOMAIN)
        ttl_lower(&out->ttl_s, soa_ttl_s == UINT32_MAX ? READING_NEGATIVE_TTL_S : soa_ttl_s);
}

/* Records that every question may meet: the CNAMEs on the way, the SOA of a negative answer. */
static int reading_common(const struct packet *packet, const struct packet_record *record,
                          struct reading *out, uint32_t *soa_ttl_s)
{
    if (record->section == PACKET_ANSWER && record->type == PACKET_CNAME)
        ttl_lower(&out->ttl_s, record->ttl_s);
    if (record->section == PACKET_AUTHORITY && record->type == PACKET_SOA)
        return packet_soa_negative_ttl(packet, record, soa_ttl_s);
    return 0;
}

/* Whose record is it? Noted for the first one that is used. */
static int owner_note(const struct packet *packet, const struct packet_record *record, struct reading *out)
{
    int rc;

    if (out->owner[0] != '\0')
        return 0;
    rc = packet_name(packet, record->owner, out->owner, NULL);
    if (rc == HK_EINVAL)
        out->owner[0] = '\0';
    return rc == HK_EPROTO ? rc : 0;
}

struct mx_tally {
    uint32_t records;
    uint32_t roots_first; /* "0 ." */
};

static int mx_take(const struct packet *packet, const struct packet_record *record, choice_draw_fn draw,
                   struct choice_list *list, struct reading *out, struct mx_tally *tally)
{
    char name[DOMAIN_MAX + 1];
    uint16_t preference;
    int rc = packet_mx(packet, record, &preference, name);

    if (rc == HK_EPROTO)
        return rc;
    if (owner_note(packet, record, out))
        return HK_EPROTO;
    tally->records++;
    ttl_lower(&out->ttl_s, record->ttl_s);
    if (rc == 0 && packet_name_is_host(name)) {
        choice_add(list, preference, draw(UINT32_MAX), name);
        return 0;
    }
    if (name[0] == '\0' && preference == 0)
        tally->roots_first++;
    if (out->unfit++ == 0)
        snprintf(out->unfit_name, sizeof out->unfit_name, "%s", name[0] ? name : ".");
    return 0;
}

void reading_mx(const void *bytes, size_t length, choice_draw_fn draw, struct choice_list *list,
                struct reading *out)
{
    struct packet packet;
    struct packet_record record;
    struct mx_tally tally = {0};
    uint32_t soa_ttl_s = UINT32_MAX;
    int rc;

    list->count = 0;
    if (!reading_open(&packet, bytes, length, out))
        return;
    while ((rc = packet_next(&packet, &record)) == 1) {
        if (record.section == PACKET_ANSWER && record.type == PACKET_MX)
            rc = mx_take(&packet, &record, draw, list, out, &tally);
        else
            rc = reading_common(&packet, &record, out, &soa_ttl_s);
        if (rc < 0)
            break;
    }
    if (tally.records && out->verdict == READING_NONE)
        out->verdict = READING_FOUND;
    out->null_mx = tally.records == 1 && tally.roots_first == 1;
    reading_close(out, rc, soa_ttl_s);
}

static int address_take(const struct packet *packet, const struct packet_record *record,
                        struct choice_addresses *addresses, struct reading *out)
{
    uint8_t ip[16];
    int rc = packet_address(packet, record, ip);

    if (rc == 0)
        rc = owner_note(packet, record, out);
    if (rc)
        return rc;
    ttl_lower(&out->ttl_s, record->ttl_s);
    if (addresses->count < CHOICE_ADDRESSES_MAX)
        memcpy(addresses->ip[addresses->count++], ip, sizeof ip);
    return 0;
}

void reading_addresses(const void *bytes, size_t length, enum choice_family family,
                       struct choice_addresses *addresses, struct reading *out)
{
    enum packet_type type = family == CHOICE_IPV4 ? PACKET_A : PACKET_AAAA;
    struct packet packet;
    struct packet_record record;
    uint32_t soa_ttl_s = UINT32_MAX;
    int rc;

    addresses->count = 0;
    if (!reading_open(&packet, bytes, length, out))
        return;
    while ((rc = packet_next(&packet, &record)) == 1) {
        if (record.section == PACKET_ANSWER && record.type == type)
            rc = address_take(&packet, &record, addresses, out);
        else
            rc = reading_common(&packet, &record, out, &soa_ttl_s);
        if (rc < 0)
            break;
    }
    if (addresses->count && out->verdict == READING_NONE)
        out->verdict = READING_FOUND;
    reading_close(out, rc, soa_ttl_s);
    if (out->verdict != READING_FOUND)
        addresses->count = 0;
}

static bool stands_beside(const struct packet *packet, const struct packet_record *record, const char *name)
{
    char owner[DOMAIN_MAX + 1];

    return record->section == PACKET_ADDITIONAL && record->type == PACKET_A &&
           packet_name(packet, record->owner, owner, NULL) == 0 && strcmp(owner, name) == 0;
}

void reading_beside(const void *bytes, size_t length, const char *name, struct choice_addresses *addresses,
                    uint32_t *ttl_s)
{
    struct packet packet;
    struct packet_record record;
    struct reading out;
    int rc;

    addresses->count = 0;
    if (!reading_open(&packet, bytes, length, &out))
        return;
    packet.beside = true;
    while ((rc = packet_next(&packet, &record)) == 1) {
        if (stands_beside(&packet, &record, name))
            rc = address_take(&packet, &record, addresses, &out);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        addresses->count = 0;
    if (addresses->count > 0)
        *ttl_s = out.ttl_s;
}

/* May it be used at all (RFC 7672 3.1, RFC 6698 2.1)? */
static bool tlsa_is_usable(const struct packet_tlsa *tlsa)
{
    if ((tlsa->usage != DANE_TA && tlsa->usage != DANE_EE) || tlsa->selector > 1)
        return false;
    switch (tlsa->matching) {
    case DANE_FULL:
        return tlsa->length > 0;
    case DANE_SHA256:
        return tlsa->length == 32;
    case DANE_SHA512:
        return tlsa->length == 64;
    default:
        return false;
    }
}

struct tlsa_tally {
    uint32_t records, usable, kept;
};

static int tlsa_take(const struct packet *packet, const struct packet_record *record, uint32_t host,
                     struct dane_set *set, struct reading *out, struct tlsa_tally *tally)
{
    struct packet_tlsa tlsa;
    struct dane_record keep;
    int rc = packet_tlsa(packet, record, &tlsa);

    if (rc)
        return rc;
    tally->records++;
    ttl_lower(&out->ttl_s, record->ttl_s);
    if (!tlsa_is_usable(&tlsa))
        return 0;
    tally->usable++;
    keep = (struct dane_record){.host = (uint8_t)host,
                                .usage = tlsa.usage,
                                .selector = tlsa.selector,
                                .matching = tlsa.matching,
                                .length = tlsa.length};
    tally->kept += dane_add(set, &keep, tlsa.data);
    return 0;
}

void reading_tlsa(const void *bytes, size_t length, uint32_t host, struct dane_set *set,
                  enum dane_state *state, struct reading *out)
{
    struct packet packet;
    struct packet_record record;
    struct tlsa_tally tally = {0};
    uint32_t soa_ttl_s = UINT32_MAX;
    int rc;

    *state = DANE_NONE;
    if (!reading_open(&packet, bytes, length, out))
        return;
    while ((rc = packet_next(&packet, &record)) == 1) {
        if (record.section == PACKET_ANSWER && record.type == PACKET_TLSA)
            rc = tlsa_take(&packet, &record, host, set, out, &tally);
        else
            rc = reading_common(&packet, &record, out, &soa_ttl_s);
        if (rc < 0)
            break;
    }
    if (tally.records && out->verdict == READING_NONE) {
        out->verdict = READING_FOUND;
        *state = tally.kept ? DANE_USABLE : tally.usable ? DANE_FAILED : DANE_UNUSABLE;
    }
    reading_close(out, rc, soa_ttl_s);
    if (tally.kept < tally.usable)
        log_info("%u of %u usable TLSA records have no room", tally.usable - tally.kept, tally.usable);
}

void reading_cname(const void *bytes, size_t length, struct reading *out)
{
    struct packet packet;
    struct packet_record record;
    uint32_t soa_ttl_s = UINT32_MAX;
    int rc;

    if (!reading_open(&packet, bytes, length, out))
        return;
    while ((rc = packet_next(&packet, &record)) == 1) {
        if (record.section == PACKET_ANSWER && record.type == PACKET_CNAME && out->verdict == READING_NONE)
            out->verdict = READING_FOUND;
        rc = reading_common(&packet, &record, out, &soa_ttl_s);
        if (rc < 0)
            break;
    }
    reading_close(out, rc, soa_ttl_s);
}
