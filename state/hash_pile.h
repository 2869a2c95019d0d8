/* hash_pile.h - hashes in whatever order they come, told again in ascending order, each once: more than memory should hold.
 *
 * Of every `piece` of them, sorted, a file without a name is made longer that lies beside `path`; at the end the pieces are
 * merged. Where no such file can be had, or it takes no more, the rest stays in memory: a full disk costs memory, and nothing
 * else. On disk one is 16 bytes, in this machine's byte order, for nobody but this process reads it.
 */
#ifndef HIKYAKU_STATE_HASH_PILE_H
#define HIKYAKU_STATE_HASH_PILE_H

#include "hashes.h"

struct hash_run; /* one piece while it is merged */

struct hash_pile {
    const char *path;
    size_t piece;
    struct hash_ending *entry; /* since the last piece */
    size_t count, room;
    int fd; /* -1: none */
    bool stays;
    uint64_t *end; /* of each piece in the file, in hashes from its beginning */
    size_t pieces, end_room;
    size_t added, endings; /* all that came, and of them those that end */
    struct hash_run *run;  /* a heap, the one with the smallest hash on top */
    size_t runs;
    struct hash_ending *buffer; /* of all runs */
    uint64_t last;
};

/* `path` has to stay; the file is made with the first whole piece. */
void hash_pile_open(struct hash_pile *pile, const char *path, size_t piece);
/* until_s: when it ends, 0 never. HK_ENOMEM. */
int hash_pile_add(struct hash_pile *pile, uint64_t hash, uint32_t until_s) HK_MUST_USE;
/* From here on hash_pile_next() tells them, from the smallest; may be said again, to begin anew. Nothing can be added then.
 * HK_ENOMEM, or HK_EIO: the file cannot be read (errno says why). */
int hash_pile_rewind(struct hash_pile *pile) HK_MUST_USE;
/* 1 and the next one, 0: there are no more, HK_EIO as above. Of the same hash it is not said which came first. */
int hash_pile_next(struct hash_pile *pile, struct hash_ending *out) HK_MUST_USE;
void hash_pile_close(struct hash_pile *pile);

#endif
