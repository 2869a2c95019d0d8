/* load_mail.h - what is sent: sizes, addresses and the text of messages, all of it a function of the message's number.
 *
 * No socket, no clock. Everything is read and checked before the first connection: errors are HK_EINVAL and a word on
 * what to write instead. What grows with the options (the file of addresses, the message) is allocated once.
 */
#ifndef BENCH_LOAD_MAIL_H
#define BENCH_LOAD_MAIL_H

#include "hikyaku/address.h"
#include "hikyaku/base.h"

#define LOAD_SIZES_MAX   16u
#define LOAD_SIZE_MAX    67108864u /* octets of a message */
#define LOAD_FILE_MAX    268435456u
#define LOAD_PIECES_MAX  8u
#define LOAD_WIRE_NUMBER 20u /* digits of a 64-bit number */

/* "10k", "1k..100k" (every size alike), "1k:50,10k:40,100k:10" (parts of any sum). */
struct load_sizes {
    size_t count;
    double weight_sum;
    struct load_size {
        uint32_t min, max;
        double weight;
    } size[LOAD_SIZES_MAX];
};
int load_sizes_parse(const char *text, struct load_sizes *out, struct hk_why *why) HK_MUST_USE;
/* The size of the message with this number: the same for the same seed. */
size_t load_sizes_draw(const struct load_sizes *sizes, uint64_t number, uint64_t seed);
uint32_t load_sizes_max(const struct load_sizes *sizes);
uint32_t load_sizes_min(const struct load_sizes *sizes);

/* Addresses of recipients: a pattern with %d ("user%d@domain.test"; %% is a percent sign), or the lines of a file in
 * turn, from the first again behind the last. */
struct load_addresses {
    char *text;
    const char **line; /* of a file; NULL: a pattern */
    size_t lines;
    uint64_t modulo; /* of a pattern's number; 0: none */
    size_t pieces;   /* a number stands between two pieces */
    const char *piece[LOAD_PIECES_MAX];
    size_t piece_length[LOAD_PIECES_MAX];
    size_t longest; /* octets */
};
int load_addresses_pattern(const char *pattern, uint64_t modulo, struct load_addresses *out,
                           struct hk_why *why) HK_MUST_USE;
int load_addresses_file(const char *path, struct load_addresses *out, struct hk_why *why) HK_MUST_USE;
/* Is this an address that can be written to? HK_EINVAL and why not. */
int load_address_check(const char *text, struct hk_why *why) HK_MUST_USE;
/* Write address `number`; where it ends. There have to be `longest` octets. */
char *load_address_put(const struct load_addresses *addresses, uint64_t number, char *out);
char *load_number_put(uint64_t number, char *out);
void load_addresses_free(struct load_addresses *addresses);

/* The octets of messages: made-up text of any length, or a file as it goes over the wire (line ends CRLF, dots at the
 * beginning of lines doubled, a line end last). */
struct load_text {
    char *bytes;
    size_t length;
    bool file;
    bool eight_bit;
};
int load_text_make(uint32_t size, struct load_text *out, struct hk_why *why) HK_MUST_USE;
int load_text_file(const char *path, struct load_text *out, struct hk_why *why) HK_MUST_USE;
/* A body of exactly `length` octets (at least 3) is the first *taken octets of made-up text and what is returned, which
 * is behind its last line end the final dot. */
const char *load_text_end(const struct load_text *text, size_t length, size_t *taken);
void load_text_free(struct load_text *text);

#endif
