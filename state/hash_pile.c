/* hash_pile.c - sorting by pieces on disk (hash_pile.h). */
#include "hash_pile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ROOM_FIRST 1024u
#define ENDS_FIRST 64u
#define RUN_BUFFER 1024u /* hashes of a piece in memory while it is merged */

struct hash_run {
    const struct hash_ending *at, *behind; /* what of it is in memory */
    struct hash_ending *buffer;            /* NULL: all is */
    uint64_t next, end;                    /* what is still in the file */
};

void hash_pile_open(struct hash_pile *pile, const char *path, size_t piece)
{
    *pile = (struct hash_pile){.path = path, .piece = piece, .fd = -1};
}

static int file_open(const char *path)
{
    char name[4096];
    int fd;

    if ((size_t)snprintf(name, sizeof name, "%s.XXXXXX", path) >= sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(name);
    return fd;
}

/* The file may take a part of it; what is read of a piece ends where the last whole one did. */
static int piece_write(struct hash_pile *pile)
{
    uint64_t end = pile->pieces > 0 ? pile->end[pile->pieces - 1] : 0;
    const off_t at = (off_t)(end * sizeof *pile->entry);

    if (pile->fd < 0)
        pile->fd = file_open(pile->path);
    if (pile->fd < 0 || lseek(pile->fd, at, SEEK_SET) != at ||
        hk_write_all(pile->fd, pile->entry, pile->count * sizeof *pile->entry) != 0)
        return HK_EIO;
    pile->end[pile->pieces++] = end + pile->count;
    pile->count = 0;
    return 0;
}

static int put_away(struct hash_pile *pile)
{
    int error = hashes_sort(pile->entry, &pile->count);

    if (!error && pile->pieces == pile->end_room) {
        size_t room = pile->end_room > 0 ? pile->end_room * 2 : ENDS_FIRST;
        uint64_t *larger = realloc(pile->end, room * sizeof *larger);
        error = larger ? 0 : HK_ENOMEM;
        pile->end = larger ? larger : pile->end;
        pile->end_room = larger ? room : pile->end_room;
    }
    if (!error && piece_write(pile) != 0) {
        log_warning("%s: no room to sort beside it (%s); it is done in memory", pile->path, strerror(errno));
        pile->stays = true;
    }
    return error;
}

int hash_pile_add(struct hash_pile *pile, uint64_t hash, uint32_t until_s)
{
    if (pile->count == pile->room) {
        size_t room = pile->room > 0 ? pile->room * 2 : ROOM_FIRST;
        struct hash_ending *larger = realloc(pile->entry, room * sizeof *larger);
        if (!larger)
            return HK_ENOMEM;
        pile->entry = larger;
        pile->room = room;
    }
    pile->entry[pile->count++] = (struct hash_ending){hash, until_s};
    pile->added++;
    pile->endings += until_s != 0;
    return pile->count >= pile->piece && !pile->stays ? put_away(pile) : 0;
}

/* ---- merging ---- */

/* 1: at has the next one; 0: the run is at its end. */
static int run_fill(const struct hash_pile *pile, struct hash_run *run)
{
    const uint64_t left = run->end - run->next;
    const size_t count = left < RUN_BUFFER ? (size_t)left : RUN_BUFFER;
    const size_t bytes = count * sizeof *run->buffer;

    if (count == 0)
        return 0;
    errno = EIO; /* of a file that is shorter than what was written to it */
    if (hk_pread_all(pile->fd, run->buffer, bytes, (off_t)(run->next * sizeof *run->buffer)) !=
        (ssize_t)bytes)
        return HK_EIO;
    run->at = run->buffer;
    run->behind = run->buffer + count;
    run->next += count;
    return 1;
}

static void heap_down(struct hash_pile *pile, size_t at)
{
    const struct hash_run moved = pile->run[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= pile->runs)
            break;
        if (child + 1 < pile->runs && pile->run[child + 1].at->hash < pile->run[child].at->hash)
            child++;
        if (moved.at->hash <= pile->run[child].at->hash)
            break;
        pile->run[at] = pile->run[child];
        at = child;
    }
    pile->run[at] = moved;
}

int hash_pile_rewind(struct hash_pile *pile)
{
    int error = hashes_sort(pile->entry, &pile->count);

    pile->runs = 0;
    pile->last = 0;
    if (!error && !pile->run)
        pile->run = calloc(pile->pieces + 1, sizeof *pile->run);
    if (!error && !pile->buffer)
        pile->buffer = malloc((pile->pieces * RUN_BUFFER + 1) * sizeof *pile->buffer);
    if (error || !pile->run || !pile->buffer)
        return HK_ENOMEM;
    for (size_t i = 0; i < pile->pieces; i++) {
        pile->run[i] = (struct hash_run){.buffer = pile->buffer + i * RUN_BUFFER,
                                         .next = i > 0 ? pile->end[i - 1] : 0,
                                         .end = pile->end[i]};
        error = run_fill(pile, &pile->run[i]);
        if (error < 0)
            return error;
    }
    pile->runs = pile->pieces;
    if (pile->count > 0)
        pile->run[pile->runs++] = (struct hash_run){.at = pile->entry, .behind = pile->entry + pile->count};
    for (size_t i = pile->runs / 2; i > 0; i--)
        heap_down(pile, i - 1);
    return 0;
}

/* Past the first of the run on top. */
static int step(struct hash_pile *pile)
{
    struct hash_run *top = &pile->run[0];
    int there = 1;

    if (++top->at == top->behind)
        there = run_fill(pile, top);
    if (there < 0)
        return there;
    if (there == 0)
        *top = pile->run[--pile->runs];
    if (pile->runs > 0)
        heap_down(pile, 0);
    return 0;
}

int hash_pile_next(struct hash_pile *pile, struct hash_ending *out)
{
    while (pile->runs > 0) {
        int error;
        *out = *pile->run[0].at;
        error = step(pile);
        if (error)
            return error;
        if (out->hash == pile->last)
            continue;
        pile->last = out->hash;
        return 1;
    }
    return 0;
}

void hash_pile_close(struct hash_pile *pile)
{
    if (pile->fd >= 0)
        (void)close(pile->fd);
    free(pile->entry);
    free(pile->end);
    free(pile->run);
    free(pile->buffer);
    *pile = (struct hash_pile){.fd = -1};
}
