/* note.h - what is worth a word though nothing is wrong: collected while a message is compiled or keys are loaded.
 *
 * The library keeps the words and says nothing itself: every worker compiles the same message, and the person
 * wants to hear of it once (message_notes, signer_notes). Owned by the message or the signer.
 */
#ifndef MESSAGE_NOTE_H
#define MESSAGE_NOTE_H

#include "hikyaku/message.h"

#define NOTE_LENGTH_MAX 700

struct note_list {
    struct note *at;
    size_t count;
};

/* 0 or HK_ENOMEM. */
int note_add(struct note_list *list, bool is_warning, const char *format, ...) HK_PRINTF(3, 4) HK_MUST_USE;
void note_list_free(struct note_list *list);

#endif
