/* input.h - the bytes of a list, from a file or standard input, hashed as they are and decoded to UTF-8.
 *
 * The file is read() in blocks into memory of ours, never mapped: somebody may cut it while we read. What was
 * opened is read to its end, whatever is done to its name meanwhile; input_has_changed() tells whether the file
 * itself was written to. Bytes that mean nothing in the encoding become one INPUT_BROKEN, which is no UTF-8, so
 * the row they stand in is rejected and the next one is read. Owned by the import.
 */
#ifndef LIST_INPUT_H
#define LIST_INPUT_H

#include <iconv.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "hikyaku/base.h"

#define INPUT_BROKEN '\xff'

struct input {
    const char *name; /* for words */
    const char *encoding;
    int fd;
    struct stat before;
    uint64_t bytes_read;
    EVP_MD_CTX *digest;
    bool decodes;
    iconv_t converter;
    size_t unit;            /* bytes to skip where nothing can be made of them */
    char *raw, *text;       /* blocks as read and as decoded */
    size_t raw_at, raw_end; /* what of `raw` is still to be decoded */
    bool at_end;
};

/* `path` "-": standard input. `encoding` NULL: the list is UTF-8. 0, or HK_E* in words. input_close() in either
 * case. */
int input_open(struct input *in, const char *path, const char *encoding, struct hk_why *why) HK_MUST_USE;
/* The next block of text, good until the next call: its length, 0 at the end, or HK_EIO. */
ssize_t input_read(struct input *in, const char **text, struct hk_why *why) HK_MUST_USE;
/* The SHA-256 of all bytes as read; once, at the end. */
void input_sha256(struct input *in, char out[HK_SHA256_HEX]);
bool input_has_changed(const struct input *in);
void input_close(struct input *in);

#endif
