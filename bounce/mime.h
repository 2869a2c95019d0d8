/* mime.h - a mail as header fields and a flat list of its parts (RFC 5322, RFC 2045, 2046, 2231), however damaged.
 *
 * Looks, and changes nothing: all slices point into the mail. One walk over the bytes, whatever they are: multiparts
 * deeper than MIME_DEPTH_MAX are taken as bytes of their parent, parts beyond MIME_PARTS_MAX are left out. What lies in a
 * message/rfc822 is one part and is not taken apart: a report inside a returned message tells about somebody else.
 */
#ifndef BOUNCE_MIME_H
#define BOUNCE_MIME_H

#include "slice.h"

#define MIME_DEPTH_MAX    24u
#define MIME_PARTS_MAX    512u
#define MIME_BOUNDARY_MAX 250u

/* What kind of part, and the media types that are it. */
enum mime_kind {
    MIME_TEXT,            /* text/plain, and what has no type */
    MIME_HTML,            /* text/html */
    MIME_DELIVERY_STATUS, /* message/delivery-status, message/global-delivery-status */
    MIME_FEEDBACK,        /* message/feedback-report */
    MIME_DISPOSITION,     /* message/disposition-notification, and the global one */
    MIME_MESSAGE,         /* message/rfc822, message/global, message/partial */
    MIME_HEADERS,         /* text/rfc822-headers, message/global-headers */
    MIME_OTHER,
};

enum mime_encoding { MIME_IDENTITY, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

struct mime_part {
    enum mime_kind kind;
    enum mime_encoding encoding;
    bool attachment; /* Content-Disposition says so */
    struct slice charset, body;
};

/* The fields of a mail that somebody asks for: the first of each name, X-Failed-Recipients all. */
#define MAIL_FIELDS(X)                           \
    X(from, "From")                              \
    X(to, "To")                                  \
    X(subject, "Subject")                        \
    X(return_path, "Return-Path")                \
    X(auto_submitted, "Auto-Submitted")          \
    X(precedence, "Precedence")                  \
    X(in_reply_to, "In-Reply-To")                \
    X(autoreply, "X-Autoreply")                  \
    X(autorespond, "X-Autorespond")              \
    X(auto_response, "X-Auto-Response-Suppress") \
    X(complainer, "X-HmXmrOriginalRecipient")    \
    X(received, "Received")                      \
    X(message_id, "Message-ID")
struct mail_fields {
#define MAIL_FIELD(field, name) struct slice field;
    MAIL_FIELDS(MAIL_FIELD)
#undef MAIL_FIELD
    struct slice failed[16]; /* X-Failed-Recipients */
    uint32_t failed_count;
    uint32_t count; /* of all fields, whatever their names */
};

struct mime_mail {
    struct mail_fields fields;
    struct slice body; /* behind the header of the whole mail */
    bool is_report;    /* multipart/report */
    bool is_delivery_report;
    struct mime_part part[MIME_PARTS_MAX];
    uint32_t parts;
};

void mime_read(struct slice mail, struct mime_mail *out);
/* Only the header fields at the beginning of `bytes`. */
void mime_fields(struct slice bytes, struct mail_fields *out);

#endif
