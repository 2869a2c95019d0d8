/* output.c - whole files through a locked temporary file. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUTPUT_BUFFER_SIZE (1u << 20)

static int cannot_write(const char *path, int error, struct hk_why *why)
{
    if (error == ENOSPC || error == EDQUOT)
        return why_set(why, HK_EFULL, "%s: cannot write: no room left on the disk", path);
    return why_set(why, HK_EIO, "%s: cannot write: %s", path, strerror(error));
}

/* Open and lock. Between the two another writer may have renamed the file or removed it: then what we hold is
 * not what stands under the name, and we try again. */
static int open_locked(const char *path, const char *temporary, struct hk_why *why)
{
    struct stat ours, named;

    for (;;) {
        int fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return cannot_write(path, errno, why);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int error = errno;
            close(fd);
            if (error == EWOULDBLOCK)
                return why_set(why, HK_EBUSY, "%s: another process is writing it; wait for it to end", path);
            return cannot_write(path, error, why);
        }
        if (fstat(fd, &ours) == 0 && stat(temporary, &named) == 0 && ours.st_ino == named.st_ino &&
            ours.st_dev == named.st_dev) {
            if (ftruncate(fd, 0) == 0)
                return fd;
            int error = errno;
            unlink(temporary); /* ours by the lock: nobody else may find it */
            close(fd);
            return cannot_write(path, error, why);
        }
        close(fd);
    }
}

/* Before anything is written, so that a rename is never left without it. */
static int open_directory(const char *path, struct hk_why *why)
{
    char *copy = strdup(path);
    int fd;

    if (copy == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    return fd < 0 ? cannot_write(path, errno, why) : fd;
}

int output_open(struct output *out, const char *path, bool digest, struct hk_why *why)
{
    int fd = hk_may_replace(path, why);

    memset(out, 0, sizeof *out);
    out->fd = out->directory = -1;
    if (fd < 0)
        return fd;
    out->path = strdup(path);
    out->buffer = malloc(OUTPUT_BUFFER_SIZE);
    if (asprintf(&out->temporary, "%s.tmp", path) < 0)
        out->temporary = NULL;
    if (digest)
        out->digest = EVP_MD_CTX_new();
    if (out->path == NULL || out->buffer == NULL || out->temporary == NULL ||
        (digest && (out->digest == NULL || EVP_DigestInit_ex(out->digest, EVP_sha256(), NULL) != 1))) {
        output_discard(out);
        return why_set(why, HK_ENOMEM, "%s: out of memory", path);
    }
    fd = open_directory(path, why);
    if (fd >= 0) {
        out->directory = fd;
        fd = open_locked(path, out->temporary, why);
    }
    if (fd < 0) {
        output_discard(out);
        return fd;
    }
    out->fd = fd;
    return 0;
}

static void flush(struct output *out)
{
    if (out->error == 0 && hk_write_all(out->fd, out->buffer, out->used) != 0)
        out->error = errno != 0 ? errno : EIO;
    if (out->digest != NULL)
        HK_BUG_ON(EVP_DigestUpdate(out->digest, out->buffer, out->used) != 1);
    out->used = 0;
}

void output_add(struct output *out, const void *bytes, size_t length)
{
    const char *from = bytes;

    while (length > 0) {
        size_t room = OUTPUT_BUFFER_SIZE - out->used, n = length < room ? length : room;
        memcpy(out->buffer + out->used, from, n);
        out->used += n;
        from += n;
        length -= n;
        if (out->used == OUTPUT_BUFFER_SIZE)
            flush(out);
    }
}

void output_sha256(struct output *out, unsigned char sha256[32])
{
    unsigned length = 0;

    flush(out);
    HK_BUG_ON(EVP_DigestFinal_ex(out->digest, sha256, &length) != 1 || length != 32);
    EVP_MD_CTX_free(out->digest);
    out->digest = NULL;
}

int output_sync(struct output *out, struct hk_why *why)
{
    flush(out);
    if (out->error == 0 && fsync(out->fd) != 0)
        out->error = errno;
    return out->error == 0 ? 0 : cannot_write(out->path, out->error, why);
}

int output_commit(struct output *out, struct hk_why *why)
{
    int rc = output_sync(out, why);

    if (rc == 0 && rename(out->temporary, out->path) != 0)
        rc = cannot_write(out->path, errno, why);
    if (rc == 0) {
        free(out->temporary);
        out->temporary = NULL;
        if (fsync(out->directory) != 0)
            rc = cannot_write(out->path, errno, why);
    }
    output_discard(out);
    return rc;
}

void output_discard(struct output *out)
{
    /* The name goes while the lock is held: nobody else's file is ever removed. */
    if (out->fd >= 0 && out->temporary != NULL)
        unlink(out->temporary);
    if (out->fd >= 0)
        close(out->fd);
    if (out->directory >= 0)
        close(out->directory);
    free(out->path);
    free(out->temporary);
    free(out->buffer);
    EVP_MD_CTX_free(out->digest);
    memset(out, 0, sizeof *out);
    out->fd = out->directory = -1;
}
