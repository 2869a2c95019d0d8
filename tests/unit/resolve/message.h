/* message.h - build DNS messages byte by byte for the tests of resolve/ (RFC 1035 4). Nothing is checked: tests
 * want wrong ones too. */
#ifndef HIKYAKU_TEST_MESSAGE_H
#define HIKYAKU_TEST_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MESSAGE_MAX 65535u

struct message {
    uint8_t bytes[MESSAGE_MAX];
    size_t length;
    size_t rdata_length_at; /* of the record that is open */
};

static inline void message_u16(struct message *m, unsigned value)
{
    m->bytes[m->length++] = (uint8_t)(value >> 8);
    m->bytes[m->length++] = (uint8_t)value;
}

static inline void message_u32(struct message *m, uint32_t value)
{
    message_u16(m, value >> 16);
    message_u16(m, value & 0xffffu);
}

static inline void message_bytes(struct message *m, const void *bytes, size_t length)
{
    memcpy(m->bytes + m->length, bytes, length);
    m->length += length;
}

/* "mx1.x.test" as labels; "" is the root. */
static inline void message_name(struct message *m, const char *name)
{
    while (*name) {
        size_t label = strcspn(name, ".");

        m->bytes[m->length++] = (uint8_t)label;
        message_bytes(m, name, label);
        name += label;
        name += *name == '.';
    }
    m->bytes[m->length++] = 0;
}

/* A header with one question, x.test at offset 12. */
static inline void message_begin(struct message *m, unsigned rcode)
{
    m->length = 0;
    message_u16(m, 0);
    message_u16(m, 0x8180u | rcode);
    message_u16(m, 1);
    message_u16(m, 0);
    message_u16(m, 0);
    message_u16(m, 0);
    message_name(m, "x.test");
    message_u16(m, 15);
    message_u16(m, 1);
}

/* Open a record owned by the question's name; section 0 answer, 1 authority. */
static inline void message_record(struct message *m, unsigned section, unsigned type, uint32_t ttl_s)
{
    m->bytes[7 + 2 * section]++;
    message_u16(m, 0xc00c);
    message_u16(m, type);
    message_u16(m, 1);
    message_u32(m, ttl_s);
    m->rdata_length_at = m->length;
    message_u16(m, 0);
}

/* The same, owned by `owner`. */
static inline void message_record_of(struct message *m, const char *owner, unsigned type, uint32_t ttl_s)
{
    m->bytes[7]++;
    message_name(m, owner);
    message_u16(m, type);
    message_u16(m, 1);
    message_u32(m, ttl_s);
    m->rdata_length_at = m->length;
    message_u16(m, 0);
}

/* The same, in section 0, 1 or 2 (additional). */
static inline void message_record_at(struct message *m, unsigned section, const char *owner, unsigned type,
                                     uint32_t ttl_s)
{
    message_record_of(m, owner, type, ttl_s);
    m->bytes[7]--;
    m->bytes[7 + 2 * section]++;
}

static inline void message_record_end(struct message *m)
{
    size_t length = m->length - m->rdata_length_at - 2;

    m->bytes[m->rdata_length_at] = (uint8_t)(length >> 8);
    m->bytes[m->rdata_length_at + 1] = (uint8_t)length;
}

static inline void message_mx(struct message *m, uint32_t ttl_s, unsigned preference, const char *host)
{
    message_record(m, 0, 15, ttl_s);
    message_u16(m, preference);
    message_name(m, host);
    message_record_end(m);
}

static inline void message_a(struct message *m, uint32_t ttl_s, uint32_t ip)
{
    message_record(m, 0, 1, ttl_s);
    message_u32(m, ip);
    message_record_end(m);
}

static inline void message_aaaa(struct message *m, uint32_t ttl_s, uint8_t last)
{
    message_record(m, 0, 28, ttl_s);
    message_bytes(m, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
    m->bytes[m->length++] = last;
    message_record_end(m);
}

static inline void message_tlsa(struct message *m, uint32_t ttl_s, unsigned usage, unsigned selector,
                                unsigned matching, size_t length)
{
    message_record(m, 0, 52, ttl_s);
    m->bytes[m->length++] = (uint8_t)usage;
    m->bytes[m->length++] = (uint8_t)selector;
    m->bytes[m->length++] = (uint8_t)matching;
    memset(m->bytes + m->length, 0xd5, length);
    m->length += length;
    message_record_end(m);
}

static inline void message_soa(struct message *m, uint32_t ttl_s, uint32_t minimum)
{
    message_record(m, 1, 6, ttl_s);
    message_name(m, "ns.x.test");
    message_name(m, "hostmaster.x.test");
    for (unsigned i = 0; i < 4; i++)
        message_u32(m, 1);
    message_u32(m, minimum);
    message_record_end(m);
}

#endif
