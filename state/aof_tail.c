/* aof_tail.c - see aof_tail.h: find the last transaction of the newest file, and cut it off where it is not whole. */
#include "aof_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AOF_TAIL_BYTES \
    (8 * 1024 * 1024) /* a transaction of ours is below 1 MB; before this nothing is looked at */
#define AOF_MANIFEST_BYTES 65536u
#define AOF_PATH_MAX       1024u
#define AOF_NAME_MAX       255

static const char multi[] = "*1\r\n$5\r\nMULTI\r\n";

/* A line of the manifest: "file NAME seq N type i"; the last of that type is the one that grows. */
static bool newest_name(char *manifest, char name[AOF_NAME_MAX + 1])
{
    char *rest = manifest, *line, here[AOF_NAME_MAX + 1], kind;
    bool found = false;

    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, "file %255s seq %*u type %c", here, &kind) != 2 || kind != 'i' ||
            strchr(here, '/') != NULL)
            continue;
        memcpy(name, here, sizeof here);
        found = true;
    }
    return found;
}

/* "*N\r\n" or "$N\r\n" at *at, which moves behind it. False: it is not whole; *n is -1 where it is something else. */
static bool take_number(const char **at, const char *end, char kind, long *n)
{
    const char *p = *at;
    long value = 0;

    *n = 0;
    if (p == end)
        return false;
    if (*p++ != kind) {
        *n = -1;
        return false;
    }
    for (; p < end && *p >= '0' && *p <= '9' && value < AOF_TAIL_BYTES; p++)
        value = value * 10 + (*p - '0');
    if ((p < end && p[0] != '\r') || (end - p >= 2 && p[1] != '\n'))
        *n = -1;
    if (end - p < 2 || *n < 0)
        return false;
    *n = value;
    *at = p + 2;
    return true;
}

/* A whole command at *at, which moves behind it. False: the file ends in it, or *strange. */
static bool take_command(const char **at, const char *end, bool *is_exec, bool *strange)
{
    const char *p = *at;
    long words, length;
    bool whole = take_number(&p, end, '*', &words);

    *strange = words < 0;
    *is_exec = false;
    for (long i = 0; whole && i < words; i++) {
        whole = take_number(&p, end, '$', &length);
        *strange = length < 0;
        if (!whole || end - p < length + 2)
            return false;
        *is_exec = words == 1 && length == 4 && memcmp(p, "EXEC", 4) == 0;
        p += length + 2;
    }
    *at = p;
    return whole;
}

static const char *last_multi(const char *bytes, size_t length)
{
    size_t size = sizeof multi - 1;

    for (const char *at = length < size ? NULL : bytes + length - size; at != NULL && at >= bytes; at--)
        if (*at == multi[0] && memcmp(at, multi, size) == 0)
            return at;
    return NULL;
}

/* How many bytes at the end belong to a transaction that never came to its EXEC. */
static size_t unfinished(const char *bytes, size_t length)
{
    const char *begin = last_multi(bytes, length), *at = begin, *end = bytes + length;
    bool is_exec = false, strange = false;

    if (begin == NULL)
        return 0;
    while (!is_exec && take_command(&at, end, &is_exec, &strange))
        continue;
    return is_exec || strange ? 0 : (size_t)(end - begin);
}

static int mend_file(int fd, const char *path, struct hk_why *why)
{
    struct stat about;
    size_t want, cut;
    off_t from;
    char *bytes;

    if (fstat(fd, &about) != 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    want = about.st_size > AOF_TAIL_BYTES ? AOF_TAIL_BYTES : (size_t)about.st_size;
    from = about.st_size - (off_t)want;
    bytes = malloc(want + 1);
    if (bytes == NULL)
        return why_set(why, HK_ENOMEM, "%s: %s", path, hk_strerror(HK_ENOMEM));
    if (hk_pread_all(fd, bytes, want, from) != (ssize_t)want) {
        free(bytes);
        return why_set(why, HK_EIO, "%s: cannot read: %s", path, strerror(errno));
    }
    cut = unfinished(bytes, want);
    free(bytes);
    if (cut == 0)
        return 0;
    if (ftruncate(fd, about.st_size - (off_t)cut) != 0 || fsync(fd) != 0)
        return why_set(why, HK_EIO, "%s: cannot cut an unfinished transaction: %s", path, strerror(errno));
    log_warning("%s: cut off an unfinished transaction of %zu bytes", path, cut);
    return 0;
}

/* 1 and the path of the file that grows, 0 there is none, or why the manifest cannot be read. */
static int newest_path(const char *dir, char path[AOF_PATH_MAX], struct hk_why *why)
{
    char name[AOF_NAME_MAX + 1], *manifest = NULL;
    size_t length;
    bool found;
    int error;

    if (snprintf(path, AOF_PATH_MAX, "%s/appendonlydir/appendonly.aof.manifest", dir) >= (int)AOF_PATH_MAX)
        return why_set(why, HK_EIO, "%s: too long a path", dir);
    error = hk_read_file(path, AOF_MANIFEST_BYTES, &manifest, &length, why);
    if (error == HK_ENOENT)
        return 0;
    if (error != 0)
        return error;
    found = newest_name(manifest, name);
    free(manifest);
    return found && snprintf(path, AOF_PATH_MAX, "%s/appendonlydir/%s", dir, name) < (int)AOF_PATH_MAX;
}

int aof_tail_mend(const char *dir, struct hk_why *why)
{
    char path[AOF_PATH_MAX];
    int fd, error = newest_path(dir, path, why);

    if (error <= 0)
        return error;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    error = mend_file(fd, path, why);
    (void)close(fd);
    return error;
}

uint64_t aof_tail_bytes(const char *dir)
{
    char path[AOF_PATH_MAX];
    struct stat about;

    return newest_path(dir, path, NULL) > 0 && stat(path, &about) == 0 ? (uint64_t)about.st_size : 0;
}
