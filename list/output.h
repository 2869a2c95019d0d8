/* output.h - write a file that appears whole or not at all.
 *
 * The bytes go to PATH.tmp beside it, which is locked (flock): a second writer of the same file is refused, and
 * what a killed one left is taken over. Errors stick and are told once, by output_commit(). Owned by the
 * caller, who ends every opened output with output_commit() or output_discard().
 */
#ifndef LIST_OUTPUT_H
#define LIST_OUTPUT_H

#include <openssl/evp.h>

#include "hikyaku/base.h"

struct output {
    int fd;        /* -1: not open */
    int directory; /* that the file lies in: a rename is durable once it is */
    int error;     /* errno of the first failure */
    char *path, *temporary;
    char *buffer;
    size_t used;
    EVP_MD_CTX *digest; /* of all bytes so far; NULL: not wanted */
};

/* 0; HK_EBUSY another process is writing it; HK_EIO, HK_EFULL, HK_ENOMEM. Mode 0600. */
int output_open(struct output *out, const char *path, bool digest, struct hk_why *why) HK_MUST_USE;
void output_add(struct output *out, const void *bytes, size_t length);
/* SHA-256 of all bytes added so far. */
void output_sha256(struct output *out, unsigned char sha256[32]);
/* Have all bytes on the disk, so that output_commit() has only the rename left to do. 0, HK_EFULL or HK_EIO. */
int output_sync(struct output *out, struct hk_why *why) HK_MUST_USE;
/* output_sync(), rename, fsync of the directory. 0, HK_EFULL or HK_EIO; the temporary file is gone either way.
 */
int output_commit(struct output *out, struct hk_why *why) HK_MUST_USE;
/* Leave nothing. Harmless when the output is not open. */
void output_discard(struct output *out);

#endif
