/* saying.h - one text that says why a recipient did not get a mail: its reply code, its status, the phase that it speaks of,
 * and the words alone ("smtp; 550-5.1.1 No such\n 550 5.1.1 user" -> 550, 5.1.1, "No such user").
 */
#ifndef BOUNCE_SAYING_H
#define BOUNCE_SAYING_H

#include "hikyaku/classify.h"
#include "slice.h"

#define SAYING_MAX 1800u

struct saying {
    uint16_t code;      /* 4xx or 5xx, 0: none that stands as a reply does */
    uint16_t status[3]; /* RFC 3463; status[0] == 0: none */
    char text[SAYING_MAX + 1];
    size_t length;
    size_t reply; /* where the words of the reply begin; what stands before is of who tells of it */
};
void saying_read(struct slice text, struct saying *out);

/* A status at the beginning of a Status: field; false where there is none. */
bool saying_status(struct slice value, uint16_t status[3]);

/* The phase that a notice speaks of, LOG_PHASES where of none. */
enum log_phase saying_phase(struct slice text);

/* Judge one. `temporary`: what was said besides (the field Status, a delay) speaks of 4xx where the text has no code. */
struct verdict saying_judge(const struct saying *saying, enum log_phase phase, bool temporary);

#endif
