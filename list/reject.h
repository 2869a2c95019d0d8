/* reject.h - rejected.csv: the rows that were not taken, each with its number, the reason and its text. */
#ifndef LIST_REJECT_H
#define LIST_REJECT_H

#include "csv.h"
#include "output.h"

#define REJECT_TEXT_MAX 1024u /* bytes of a row's text; "..." stands behind a cut one */

/* The header of rejected.csv. */
void reject_begin(struct output *out);
/* One row. Its text is put together from the fields again and made safe for a terminal (control bytes and what
 * is not UTF-8 become '?'). */
void reject_add(struct output *out, uint64_t row, const char *reason, const struct csv_row *text);
/* The same for a row whose text is there as one piece. */
void reject_add_text(struct output *out, uint64_t row, const char *reason, const char *text, size_t length);

#endif
