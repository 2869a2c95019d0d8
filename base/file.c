/* file.c - whole files in, whole files out: nothing half-written is ever seen under its name. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/base.h"

#define PEM_FILE_MAX ((size_t)1024 * 1024)

int hk_write_all(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length > 0) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return HK_EIO;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

ssize_t hk_pread_all(int fd, void *bytes, size_t length, off_t at)
{
    size_t got = 0;

    while (got < length) {
        ssize_t n = pread(fd, (char *)bytes + got, length - got, at + (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* A rename is durable once its directory is. */
static int sync_directory_of(const char *path)
{
    char *copy = hk_xstrdup(path);
    char *slash = strrchr(copy, '/');
    int fd, rc;

    if (slash == NULL)
        copy[0] = '.', copy[1] = '\0';
    else if (slash == copy)
        slash[1] = '\0';
    else
        *slash = '\0';
    fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd < 0)
        return HK_EIO;
    rc = fsync(fd) == 0 ? 0 : HK_EIO;
    close(fd);
    return rc;
}

int hk_may_replace(const char *path, struct hk_why *why)
{
    struct stat st;

    if (lstat(path, &st) != 0 || S_ISREG(st.st_mode))
        return 0; /* what is not there can be made; else whoever opens it says why not */
    return why_set(why, HK_EINVAL,
                   "%s is no ordinary file, and a new one would take its place: write another name", path);
}

int hk_write_file(const char *path, unsigned mode, const void *bytes, size_t length, struct hk_why *why)
{
    char *temporary = hk_xasprintf("%s.%d.tmp", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
    int rc = fd < 0 ? HK_EIO : 0;

    if (rc == 0 && (hk_write_all(fd, bytes, length) != 0 || fsync(fd) != 0))
        rc = HK_EIO;
    if (fd >= 0 && close(fd) != 0)
        rc = HK_EIO;
    if (rc == 0 && (rename(temporary, path) != 0 || sync_directory_of(path) != 0))
        rc = HK_EIO;
    if (rc != 0) {
        why_set(why, rc, "%s: cannot write: %s", path, strerror(errno));
        unlink(temporary);
    }
    free(temporary);
    return rc;
}

/* A pipe whose writer is still at work, as a shell makes for <(command): waited for, not for ever. */
#define PIPE_WAIT_MS 10000

static bool pipe_has_more(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready;

    do
        ready = poll(&p, 1, PIPE_WAIT_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

static int read_open_file(int fd, const char *path, size_t max_bytes, char **out, size_t *length,
                          struct hk_why *why)
{
    size_t size = 65536, used = 0;
    char *buffer = malloc(size + 1);

    while (buffer != NULL) {
        ssize_t n = read(fd, buffer + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && pipe_has_more(fd))
            continue;
        if (n < 0) {
            free(buffer);
            return why_set(why, HK_EIO, "%s: cannot read: %s", path, strerror(errno));
        }
        if (n == 0) {
            buffer[used] = '\0';
            *out = buffer;
            *length = used;
            return 0;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            free(buffer);
            return why_set(why, HK_ETOOBIG, "%s: larger than %zu bytes", path, max_bytes);
        }
        if (used == size) {
            char *larger = realloc(buffer, (size *= 2) + 1);
            if (larger == NULL)
                free(buffer);
            buffer = larger;
        }
    }
    return why_set(why, HK_ENOMEM, "%s: out of memory", path);
}

int hk_read_file(const char *path, size_t max_bytes, char **out, size_t *length, struct hk_why *why)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    if (fd < 0)
        return why_set(why, errno == ENOENT ? HK_ENOENT : HK_EIO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        return why_set(why, HK_EINVAL, "%s: is a directory", path);
    }
    rc = read_open_file(fd, path, max_bytes, out, length, why);
    close(fd);
    return rc;
}

void hk_hex(const void *bytes, size_t length, char *out)
{
    static const char digit[] = "0123456789abcdef";
    const unsigned char *at = bytes;

    for (; length > 0; length--, at++) {
        *out++ = digit[*at >> 4];
        *out++ = digit[*at & 0xf];
    }
    *out = '\0';
}

int hk_no_pass_phrase(char *buf, int size, int rwflag, void *context)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)context;
    return -1;
}

int hk_read_private_key(const char *path, const char *advice, EVP_PKEY **out, struct hk_why *why)
{
    char *pem = NULL;
    size_t length = 0;
    BIO *bio;
    int error = hk_read_file(path, PEM_FILE_MAX, &pem, &length, why);

    if (error != 0)
        return error;
    bio = BIO_new_mem_buf(pem, (int)length);
    *out = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, hk_no_pass_phrase, NULL) : NULL;
    ERR_clear_error();
    BIO_free(bio);
    OPENSSL_cleanse(pem, length);
    free(pem);
    return *out != NULL ? 0
                        : why_set(why, HK_EINVAL, "%s: no private key in PEM form without a pass phrase; %s",
                                  path, advice);
}

void hk_sha256_hex(const void *bytes, size_t length, char out[HK_SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    HK_BUG_ON(EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL) != 1);
    hk_hex(digest, (HK_SHA256_HEX - 1) / 2, out);
}

int hk_sha256_file(const char *path, char out[HK_SHA256_HEX], struct hk_why *why)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char buffer[65536];
    EVP_MD_CTX *md;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return why_set(why, errno == ENOENT ? HK_ENOENT : HK_EIO, "%s: %s", path, strerror(errno));
    md = EVP_MD_CTX_new();
    HK_BUG_ON(md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1);
    while ((n = read(fd, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            HK_BUG_ON(EVP_DigestUpdate(md, buffer, (size_t)n) != 1);
    if (n == 0) {
        HK_BUG_ON(EVP_DigestFinal_ex(md, digest, NULL) != 1);
        hk_hex(digest, (HK_SHA256_HEX - 1) / 2, out);
    }
    EVP_MD_CTX_free(md);
    close(fd);
    return n == 0 ? 0 : why_set(why, HK_EIO, "%s: cannot read: %s", path, strerror(errno));
}
