/* packet.c - read a DNS message (RFC 1035 4.1). See packet.h. */
#include "packet.h"

#include <string.h>

#define HEADER_BYTES   12u
#define WIRE_NAME_MAX  255u /* length octets and the root's included (RFC 1035 3.1) */
#define LABEL_MAX      63u
#define CLASS_IN       1u
#define FLAG_TRUNCATED 0x0200u

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)((at[0] << 8) | at[1]);
}

static uint32_t read_u32(const uint8_t *at)
{
    return ((uint32_t)read_u16(at) << 16) | read_u16(at + 2);
}

static bool byte_is_for_hosts(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '_';
}

/* Copy one label in lower case; false if a byte is unfit. A '.' inside a label is unfit too: as text it would
 * be another name. */
static bool label_copy(char *out, const uint8_t *label, size_t length)
{
    bool fit = true;

    for (size_t i = 0; i < length; i++) {
        uint8_t byte = label[i];

        if (byte >= 'A' && byte <= 'Z')
            byte = (uint8_t)(byte | 0x20);
        if (!byte_is_for_hosts(byte)) {
            byte = '?';
            fit = false;
        }
        out[i] = (char)byte;
    }
    return fit;
}

/* Follow the compression pointer at `at`. It has to point before the piece it stands in, which begins at
 * *piece: so no chain of pointers can go on for ever. */
static int pointer_follow(const struct packet *packet, size_t at, size_t *piece)
{
    size_t target;

    if (packet->length - at < 2)
        return HK_EPROTO;
    target = read_u16(packet->bytes + at) & 0x3fffu;
    if (target >= *piece)
        return HK_EPROTO;
    *piece = target;
    return 0;
}

int packet_name(const struct packet *packet, size_t offset, char *name, size_t *end)
{
    size_t at = offset, piece = offset, used = 0, behind = 0;
    bool fit = true, jumped = false;

    for (;;) {
        uint8_t length;

        if (at >= packet->length)
            return HK_EPROTO;
        length = packet->bytes[at];
        if ((length & 0xc0u) == 0xc0u) {
            if (pointer_follow(packet, at, &piece))
                return HK_EPROTO;
            behind = jumped ? behind : at + 2;
            jumped = true;
            at = piece;
            continue;
        }
        if (length > LABEL_MAX)
            return HK_EPROTO;
        if (length == 0)
            break;
        /* used counts a dot or the end behind each label, as the wire counts a length before it */
        if (packet->length - at - 1 < length || used + length + 1u >= WIRE_NAME_MAX)
            return HK_EPROTO;
        fit &= label_copy(name + used, packet->bytes + at + 1, length);
        used += length;
        name[used++] = '.';
        at += length + 1u;
    }
    name[used ? used - 1 : 0] = '\0';
    if (end)
        *end = jumped ? behind : at + 1;
    return fit ? 0 : HK_EINVAL;
}

/* Step over a name without reading what it says. */
static int name_skip(struct packet *packet)
{
    while (packet->at < packet->length) {
        uint8_t length = packet->bytes[packet->at];

        if ((length & 0xc0u) == 0xc0u) {
            packet->at += 2;
            return packet->at <= packet->length ? 0 : HK_EPROTO;
        }
        if (length > LABEL_MAX)
            return HK_EPROTO;
        packet->at += length + 1u;
        if (length == 0)
            return 0;
    }
    return HK_EPROTO;
}

int packet_open(struct packet *packet, const void *bytes, size_t length)
{
    const uint8_t *header = bytes;
    uint16_t questions;

    memset(packet, 0, sizeof *packet);
    if (!bytes || length < HEADER_BYTES)
        return HK_EPROTO;
    packet->bytes = bytes;
    packet->length = length;
    packet->truncated = read_u16(header + 2) & FLAG_TRUNCATED;
    packet->rcode = header[3] & 0x0fu;
    questions = read_u16(header + 4);
    for (unsigned section = 0; section < 3; section++)
        packet->left[section] = read_u16(header + 6 + (size_t)2 * section);
    packet->at = HEADER_BYTES;
    while (questions--) {
        if (name_skip(packet) || packet->length - packet->at < 4)
            return HK_EPROTO;
        packet->at += 4;
    }
    return 0;
}

static enum packet_section section_now(const struct packet *packet)
{
    enum packet_section section = PACKET_ANSWER;
    enum packet_section end = packet->beside ? PACKET_END : PACKET_ADDITIONAL;

    while (section < end && packet->left[section] == 0)
        section++;
    return section < end ? section : PACKET_END;
}

int packet_next(struct packet *packet, struct packet_record *record)
{
    for (;;) {
        enum packet_section section = section_now(packet);
        const uint8_t *fixed;
        uint32_t ttl_s;

        if (section == PACKET_END)
            return 0;
        packet->left[section]--;
        record->owner = packet->at;
        if (name_skip(packet) || packet->length - packet->at < 10)
            return HK_EPROTO;
        fixed = packet->bytes + packet->at;
        ttl_s = read_u32(fixed + 4);
        record->section = section;
        record->type = read_u16(fixed);
        record->ttl_s = ttl_s & 0x80000000u ? 0 : ttl_s;
        record->rdata = packet->at + 10;
        record->rdata_length = read_u16(fixed + 8);
        if (packet->length - record->rdata < record->rdata_length)
            return HK_EPROTO;
        packet->at = record->rdata + record->rdata_length;
        if (read_u16(fixed + 2) == CLASS_IN)
            return 1;
    }
}

int packet_mx(const struct packet *packet, const struct packet_record *record, uint16_t *preference,
              char *name)
{
    size_t end;
    int rc;

    if (record->rdata_length < 3)
        return HK_EPROTO;
    *preference = read_u16(packet->bytes + record->rdata);
    rc = packet_name(packet, record->rdata + 2, name, &end);
    if (rc == HK_EPROTO || end != record->rdata + record->rdata_length)
        return HK_EPROTO;
    return rc;
}

int packet_address(const struct packet *packet, const struct packet_record *record, uint8_t ip[16])
{
    size_t want = record->type == PACKET_A ? 4 : 16;

    if ((record->type != PACKET_A && record->type != PACKET_AAAA) || record->rdata_length != want)
        return HK_EPROTO;
    memset(ip, 0, 16);
    memcpy(ip, packet->bytes + record->rdata, want);
    return 0;
}

int packet_tlsa(const struct packet *packet, const struct packet_record *record, struct packet_tlsa *tlsa)
{
    const uint8_t *rdata = packet->bytes + record->rdata;

    if (record->rdata_length < 3)
        return HK_EPROTO;
    tlsa->usage = rdata[0];
    tlsa->selector = rdata[1];
    tlsa->matching = rdata[2];
    tlsa->data = rdata + 3;
    tlsa->length = (uint16_t)(record->rdata_length - 3u);
    return 0;
}

int packet_txt(const struct packet *packet, const struct packet_record *record, char *out, size_t size,
               size_t *length)
{
    const uint8_t *at = packet->bytes + record->rdata, *end = at + record->rdata_length;

    *length = 0;
    while (at < end) {
        size_t string = *at++;

        if ((size_t)(end - at) < string)
            return HK_EPROTO;
        if (string > size - *length)
            return HK_ETOOBIG;
        memcpy(out + *length, at, string);
        *length += string;
        at += string;
    }
    return 0;
}

int packet_soa_negative_ttl(const struct packet *packet, const struct packet_record *record, uint32_t *ttl_s)
{
    uint32_t minimum;

    /* two names of one octet or more, then five numbers; only the last counts */
    if (record->rdata_length < 22)
        return HK_EPROTO;
    minimum = read_u32(packet->bytes + record->rdata + record->rdata_length - 4);
    *ttl_s = minimum < record->ttl_s ? minimum : record->ttl_s;
    return 0;
}

bool packet_name_is_host(const char *name)
{
    size_t label = 0, length = 0;

    for (; name[length]; length++) {
        if (length >= WIRE_NAME_MAX - 2)
            return false;
        if (name[length] == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!byte_is_for_hosts((uint8_t)name[length]) || ++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0;
}
