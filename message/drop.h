/* drop.h - header fields that a message has from a mail program or a mailbox, and that do not go out.
 *
 * A user may give a draft or a copy that he received. What others wrote on its way, and what his program keeps
 * for itself, is not part of what he wrote: it would be untrue of the new message, and filters take a trace of
 * another program beside our Message-ID for forgery.
 */
#ifndef MESSAGE_DROP_H
#define MESSAGE_DROP_H

#include "entity.h"
#include "note.h"

bool drop_is_due(struct slice name);
/* A note for each kind of field that is left out, with the names. 0 or HK_ENOMEM. */
int drop_note(const struct entity *entity, const char *path, struct note_list *notes) HK_MUST_USE;

#endif
