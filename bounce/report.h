/* report.h - the machine-readable parts: delivery status (RFC 3464, RFC 6533) and feedback (RFC 5965).
 *
 * Fields are found by name, whatever the blanks, the case and the order, whether blank lines part the recipients or not.
 */
#ifndef BOUNCE_REPORT_H
#define BOUNCE_REPORT_H

#include "slice.h"

#define REPORT_FIELDS(X)              \
    X(final, "Final-Recipient")       \
    X(original, "Original-Recipient") \
    X(action, "Action")               \
    X(status, "Status")               \
    X(diagnostic, "Diagnostic-Code")

/* What is said about one recipient; at == NULL where a field is missing. Values as written, folding included. */
struct report_group {
#define REPORT_FIELD(field, name) struct slice field;
    REPORT_FIELDS(REPORT_FIELD)
#undef REPORT_FIELD
};

typedef void report_found(void *context, const struct report_group *group);
/* Calls found for each recipient, in order; the number of them. */
unsigned report_groups(struct slice fields, report_found *found, void *context);

/* Where a delivery status begins in a text that somebody put one into: its first field, at == NULL where there is none. */
struct slice report_in_text(struct slice text);

#define FEEDBACK_RECIPIENTS_MAX 64u
struct feedback {
    struct slice type; /* Feedback-Type */
    struct slice recipient[FEEDBACK_RECIPIENTS_MAX];
    unsigned recipients;
};
void feedback_read(struct slice fields, struct feedback *out);

#endif
