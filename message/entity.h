/* entity.h - read an RFC 5322 / MIME file into a tree of header fields and parts (RFC 2045, 2046).
 *
 * Looks, and changes nothing: everything points into the caller's bytes. Line ends may be CRLF, LF or CR.
 * What is not a message is refused with a line number. Preambles and epilogues are left out of the tree.
 */
#ifndef MESSAGE_ENTITY_H
#define MESSAGE_ENTITY_H

#include "buf.h"

#define ENTITY_DEPTH_MAX    16
#define ENTITY_PARTS_MAX    1000
#define ENTITY_FIELDS_MAX   1000
#define ENTITY_PARAMS_MAX   16
#define ENTITY_NAME_MAX     76 /* octets of a field's name; a line has 78 */
#define ENTITY_BOUNDARY_MAX 70

struct slice {
    const char *at;
    size_t length;
};

struct entity_field {
    struct slice name;  /* without blanks before the colon */
    struct slice value; /* behind the colon, folding included, without the last line end */
    uint32_t line;      /* in the file, from 1 */
};

enum entity_encoding { ENCODING_7BIT, ENCODING_8BIT, ENCODING_BINARY, ENCODING_QP, ENCODING_BASE64 };

struct entity {
    struct entity_field *field;
    size_t field_count;
    struct slice body;
    uint32_t line, body_line;

    char type[128]; /* "text/plain", lower case; the default where no Content-Type stands */
    char charset[64];
    char boundary[ENTITY_BOUNDARY_MAX + 1];
    struct slice param[ENTITY_PARAMS_MAX]; /* as written: name=value */
    size_t param_count;
    enum entity_encoding encoding;

    struct entity *child; /* of a multipart that is taken apart */
    size_t child_count;
};

struct entity_fault {
    uint32_t line;
    char words[256];
};

/* 0, HK_EINVAL with *fault, HK_ENOMEM. The caller frees *out with entity_free in every case. */
int entity_parse(const char *bytes, size_t length, struct entity *out,
                 struct entity_fault *fault) HK_MUST_USE;
void entity_free(struct entity *entity);

const struct entity_field *entity_field(const struct entity *entity, const char *name);
bool slice_is(struct slice slice, const char *text); /* case does not count */
struct slice slice_trim(struct slice slice);

#endif
