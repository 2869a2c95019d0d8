/* notice.h - the part of a bounce that is meant for people: which addresses it is about, and what it says of each.
 *
 * No program is known by name here. A notice has a shape: it says that something failed, names addresses - alone in a line,
 * at the beginning of one, behind "RCPT TO:" or "could not be delivered to" - and says near each what happened; below it comes
 * the message that is returned. An address is taken by where it stands, the best places first; what stands in the returned
 * message is never taken from here.
 */
#ifndef BOUNCE_NOTICE_H
#define BOUNCE_NOTICE_H

#include "mention.h"
#include "phrase.h"
#include "slice.h"

#define NOTICE_TEXT_MAX      (256u << 10) /* bytes that are looked at */
#define NOTICE_ADDRESSES_MAX 12288u

/* Where an address stands, the best first. */
enum notice_place {
    PLACE_HEAD,    /* it begins a line, or a reply line is about it: "<a@b>:", "550 5.1.1 <a@b>..." */
    PLACE_LABEL,   /* behind words that name a recipient: "Recipient: a@b", "could not be delivered to a@b" */
    PLACE_MIDDLE,  /* somewhere in what is said */
    PLACE_SUMMARY, /* in the line "To:" of a summary of the message */
    PLACE_NOWHERE, /* it is somebody else's */
};

struct notice_address {
    struct slice address;
    uint64_t hash; /* mention_hash */
    enum notice_place place;
    bool is_reply;       /* it stands in a reply line */
    struct slice near;   /* from its line to the end of the paragraph that says something */
    struct slice whole;  /* from its line to the next address */
    struct slice before; /* the conversation that ends with its line */
};

struct notice {
    struct slice said; /* what comes before the returned message */
    struct slice
        original; /* the header of the returned message and what follows; empty where it is not in the text */
    struct notice_address *address; /* those of the best place that has any, each once */
    size_t addresses, room;
    struct slice own[2];   /* who sent and who got this mail: not meant where anybody else is named */
    struct folded *folded; /* scratch */
    bool failed;           /* no memory */
};

/* The slices point into `text`, which has to stay. */
void notice_read(struct notice *notice, struct slice text);
/* What is said of an address; NULL: it is not among those of the notice. */
const struct notice_address *notice_find(const struct notice *notice, const char *address);
void notice_free(struct notice *notice);

/* Undo the quoting of a forwarded notice: where most lines begin with '>', one of them and a blank go. Appends to `out`; false
 * where there is nothing to undo. */
bool notice_unquote(struct slice text, struct text *out);

#endif
