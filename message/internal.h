/* internal.h - a compiled message, shared by the files of message/.
 *
 * Everything static lies in one buffer, `wire`, in the order of the wire, so that neighbouring runs become
 * one iovec. `canon` holds those canonical forms that differ from their wire form. Offsets, not pointers:
 * both buffers move while they grow.
 *
 * A message is read-only after message_compile and may be rendered into any number of copies, one at a time
 * in a process: the signer's hash contexts are shared.
 */
#ifndef MESSAGE_INTERNAL_H
#define MESSAGE_INTERNAL_H

#include <openssl/evp.h>

#include "buf.h"
#include "canon.h"
#include "encode.h"
#include "hikyaku/address.h"
#include "hikyaku/message.h"
#include "note.h"
#include "tag.h"
#include "word.h"

#define MESSAGE_ID_MAX  384
#define MESSAGE_URL_MAX 900 /* of sender.unsubscribe_url with its token: one unfolded line has 998 */

/* ---- what a copy is rendered from ---- */

struct render {
    const struct message *message;
    const struct segment_record *record; /* NULL while static fields are rendered at compile */
    struct copy *copy;
    uint64_t wall_us;
    char message_id[MESSAGE_ID_MAX];           /* without angle brackets */
    char unsubscribe_url[MESSAGE_URL_MAX + 1]; /* "" where there is none */
    char unsubscribe_mail[ADDRESS_MAX + 1];    /* the address of List-Unsubscribe's mailto:; "" none */
};

struct slice_value {
    const char *text;
    size_t length;
};
struct slice_value render_value(const struct render *render, uint32_t source);

/* ---- header fields ---- */

enum field_kind {
    FIELD_TEXT,    /* unstructured */
    FIELD_ADDRESS, /* a list of mailboxes */
    FIELD_URL,     /* <URL>, ... : RFC 2369 */
    FIELD_DATE,
    FIELD_MESSAGE_ID,
    FIELD_UNSUBSCRIBE, /* List-Unsubscribe of ours */
    FIELD_TO,          /* To: <the recipient>, where the template has none */
};

/* "display <address>": the tokens of both; `at` is where the domain's '@' stands in the address if no tag
 * comes behind it, so that a value can never change the domain. */
struct mailbox {
    struct token_list display, address;
    bool domain_is_fixed;
};

struct field {
    enum field_kind kind;
    const char *name; /* kept by the message */
    bool is_static;
    bool is_signed;
    bool falls_back_to_recipient; /* To: with no mailbox left */
    size_t wire_at, wire_length;  /* static */
    struct token_list tokens;     /* FIELD_TEXT, FIELD_URL */
    struct mailbox *mailbox;      /* FIELD_ADDRESS */
    size_t mailbox_count;
};

/* Append the field as it goes on the wire, or nothing if it has no value that can stand. */
void field_render(const struct field *field, const struct render *render, struct buf *text, struct buf *out);
/* Read an address field's value (unfolded). 0, HK_EINVAL with words in *fault, HK_ENOMEM. */
int mailboxes_parse(const char *value, size_t length, const struct tag_names *names, struct message *message,
                    struct field *field, struct tag_fault *fault) HK_MUST_USE;
void mailboxes_render(const struct field *field, const struct render *render, struct buf *text,
                      struct buf *out);
/* Append an addr-spec whose local part is quoted where RFC 5322 wants it and whose domain holds nothing but
 * domain octets: no value breaks out of it. `utf8`: octets above ASCII may stand. */
void address_put(struct buf *out, const char *local, size_t local_length, const char *domain,
                 size_t domain_length, bool utf8);
/* Append the values of the tokens, unescaped. */
void tokens_render(const struct token_list *tokens, const struct render *render, struct buf *out);
/* The same, every value made safe inside <URL>. */
void tokens_render_url(const struct token_list *tokens, const struct render *render, struct buf *out);

/* ---- body ---- */

enum op_kind {
    OP_STATIC,  /* wire octets as they are; ends at the start of a line */
    OP_QP_TEXT, /* static quoted-printable */
    OP_QP_VALUE,
    OP_BASE64_TEXT,  /* static, encoded for each of the three states of the carry */
    OP_BASE64_SHORT, /* static, but too short for that: run.at are octets to encode */
    OP_BASE64_VALUE,
    OP_BASE64_END,
    OP_LINE_END, /* the message has to end in CRLF */
    OP_IF,
    OP_UNLESS,
};

struct op {
    enum op_kind kind;
    bool html; /* escape the value for HTML */
    uint32_t source;
    uint32_t jump; /* number of an op */
    uint32_t run;
};

/* Static octets: where they lie on the wire, what they are to the hash, and how the encoder goes on. */
struct run {
    size_t at, length;
    struct canon_run canon;
    bool canon_is_wire; /* canon.at counts in `wire` */
    bool joins_line;    /* begins with a line end: may follow in the middle of a line */
    size_t end_col;
    uint8_t head[2], tail[2]; /* octets left out at both ends, base64 */
    uint8_t head_length, tail_length;
};

struct message {
    const struct config *config;
    const struct signer *signer;
    char campaign[CAMPAIGN_ID_MAX + 1];
    bool wants_unsubscribe_url, wants_unsubscribe_mail, is_signed;
    struct buf wire, canon;

    struct field *field;
    size_t field_count;

    struct op *op;
    size_t op_count, op_room;
    struct run *run;
    size_t run_count, run_room;

    size_t prefix_ops;         /* ops before the first tag: hashed at compile */
    EVP_MD_CTX *body_prefix;   /* SHA-256 of them */
    EVP_MD_CTX *header_prefix; /* SHA-256 of the static signed fields, which come first in h= */
    struct dkim_form *dkim;    /* one for each key */

    struct note_list notes;

    void **kept; /* memory that lives as long as the message */
    size_t kept_count;
};

/* The DKIM-Signature field of one key up to "t=", as on the wire and canonical. */
struct dkim_form {
    struct buf wire, canon;
};

/* Give memory to the message; on failure it is freed and NULL comes back. NULL may be given. */
void *message_keep(struct message *message, void *memory);

/* ---- compiling ---- */

struct compile {
    const char *path, *bytes;
    struct tag_names names;
    struct message *message;
    struct hk_why *why;
    size_t static_from; /* in wire: where static octets begin that no op holds yet */
};
struct entity;

/* Words with "PATH:LINE: " in front; returns HK_EINVAL. */
int compile_refuse(const struct compile *c, uint32_t line, const char *format, ...) HK_PRINTF(3, 4);
/* The words of a tag's fault, with the line where the tag stands in the raw text (`line`, its first, if the
 * tag is hidden by an encoding). */
int compile_refuse_tag(const struct compile *c, const struct tag_fault *fault, const char *raw, size_t length,
                       uint32_t line);

/* part.c: what becomes of one leaf of the MIME tree. */
struct part {
    bool encode;          /* `text` is the decoded content, to be encoded anew; else the raw body stays */
    bool base64;          /* how */
    bool utf8;            /* Content-Type says charset=UTF-8 now */
    const char *encoding; /* Content-Transfer-Encoding now; NULL: as it was */
    struct buf text;
    struct token_list tokens; /* of text; one text token at most where there is no tag */
};
int part_read(const struct compile *c, const struct entity *entity, struct part *part) HK_MUST_USE;
void part_free(struct part *part);
/* Append Content-Type and Content-Transfer-Encoding as they have to be now. */
void part_put_content_fields(const struct entity *entity, const struct part *part, struct buf *out);

/* body.c: compile the body into ops. `root` is the part of the message itself where it is no multipart. */
int body_compile(struct compile *c, const struct entity *entity, const struct part *root) HK_MUST_USE;

/* header.c: compile the header, with the fields we make. */
int header_compile(struct compile *c, const struct entity *entity, const struct part *root) HK_MUST_USE;
/* Is every line short, ASCII, not blank, without controls: may the field go on the wire as it stands? */
bool field_is_clean(const char *value, size_t length);
/* Append "Name:value CRLF" with its folding at CRLF. */
void field_put_raw(struct buf *out, const char *name, size_t name_length, const char *value, size_t length);
/* Append the value without its folding, tabs and line ends as blanks. */
void field_unfold(const char *value, size_t length, struct buf *out);

/* render.c */
struct copy_arena {
    struct buf dynamic; /* rendered pieces in the order of the wire; an iovec with a NULL base is the next */
    struct buf signature; /* the DKIM-Signature fields, which come first and are known last */
    struct buf blanks;    /* what dkim.c has to know to fill those in */
    struct buf mark;      /* what is put in front of all for a relay (copy_mark_ses) */
    struct buf text;      /* one value, or one field's value */
    struct buf canon;     /* canonical octets on their way to the hash */
    struct buf header;    /* canonical dynamic fields */
    size_t iov_room;
    size_t bytes;
    bool failed;
};
/* Run ops [from, to); `hash` gets canonical octets, or NULL. */
struct body_state {
    const struct render *render;
    EVP_MD_CTX *hash;
    struct canon canon;
    size_t col;
    struct base64 base64;
};
void body_run(struct body_state *state, size_t from, size_t to);
/* At compile: count and hash the ops before the first tag. */
int render_prefix(struct message *message) HK_MUST_USE;

#endif
