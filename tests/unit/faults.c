/* faults.c - see faults.h. The calls wrapped here are those that hk_fault_test() in cmake/hikyaku.cmake names. */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/base.h"

#define PIECES_MAX 1024

static struct {
    unsigned kinds;
    unsigned calls_left; /* until the one that fails; 0: none does */
    int error;           /* 0: the usual one of the call */
    bool all_behind;
    int send_buffer; /* of sockets made from now on; 0: the system's */
    size_t most;     /* bytes that a read or write moves; 0: as many as it would */
    unsigned moves;
    unsigned exempt; /* calls deep in what aborts by design */
    bool struck;
} plan;

void fault_arm_error(unsigned kinds, unsigned nth, int error)
{
    memset(&plan, 0, sizeof plan);
    plan.kinds = kinds;
    plan.calls_left = nth;
    plan.error = error;
}

void fault_arm(unsigned kinds, unsigned nth)
{
    fault_arm_error(kinds, nth, 0);
}

void fault_arm_from(unsigned kinds, unsigned nth)
{
    fault_arm_error(kinds, nth, 0);
    plan.all_behind = true;
}

void fault_shorten(size_t most)
{
    memset(&plan, 0, sizeof plan);
    plan.most = most;
}

void fault_shrink_send_buffers(int bytes)
{
    memset(&plan, 0, sizeof plan);
    plan.send_buffer = bytes;
}

bool fault_disarm(void)
{
    bool struck = plan.struck;

    memset(&plan, 0, sizeof plan);
    return struck;
}

/* Does this call fail? Then errno is set. */
static bool strikes(enum fault_kind kind, int error)
{
    if ((plan.kinds & kind) == 0 || plan.calls_left == 0 || plan.exempt > 0)
        return false;
    if (plan.calls_left > 1) {
        plan.calls_left--;
        return false;
    }
    if (!plan.all_behind)
        plan.calls_left = 0;
    plan.struck = true;
    errno = plan.error != 0 ? plan.error : error;
    return true;
}

bool fault_strikes(void)
{
    return strikes(FAULT_LIBRARY, ENOMEM);
}

/* ---- memory ---- */

/* Declares the real call and the wrapped one, and begins the latter. */
#define WRAP(type, name, arguments) \
    type __real_##name arguments;   \
    type __wrap_##name arguments;   \
    type __wrap_##name arguments

WRAP(void *, malloc, (size_t size))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_malloc(size);
}

WRAP(void *, calloc, (size_t count, size_t size))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_calloc(count, size);
}

WRAP(void *, realloc, (void *old, size_t size))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_realloc(old, size);
}

WRAP(void *, reallocarray, (void *old, size_t count, size_t size))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_reallocarray(old, count, size);
}

WRAP(char *, strdup, (const char *text))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_strdup(text);
}

WRAP(char *, strndup, (const char *text, size_t length))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? NULL : __real_strndup(text, length);
}

WRAP(int, vasprintf, (char **out, const char *format, va_list ap))
{
    return strikes(FAULT_MEMORY, ENOMEM) ? -1 : __real_vasprintf(out, format, ap);
}

WRAP(int, asprintf, (char **out, const char *format, ...))
{
    va_list ap;

    if (strikes(FAULT_MEMORY, ENOMEM))
        return -1;
    va_start(ap, format);
    int length = __real_vasprintf(out, format, ap);
    va_end(ap);
    return length;
}

WRAP(void *, hk_xcalloc, (size_t count, size_t size))
{
    plan.exempt++;
    void *out = __real_hk_xcalloc(count, size);
    plan.exempt--;
    return out;
}

WRAP(void *, hk_xrealloc, (void *old, size_t count, size_t size))
{
    plan.exempt++;
    void *out = __real_hk_xrealloc(old, count, size);
    plan.exempt--;
    return out;
}

WRAP(char *, hk_xstrdup, (const char *text))
{
    plan.exempt++;
    char *out = __real_hk_xstrdup(text);
    plan.exempt--;
    return out;
}

WRAP(char *, hk_xasprintf, (const char *format, ...))
{
    va_list ap;
    char *out = NULL;

    va_start(ap, format);
    HK_BUG_ON(__real_vasprintf(&out, format, ap) < 0);
    va_end(ap);
    return out;
}

WRAP(void, hk_sha256_hex, (const void *bytes, size_t length, char out[HK_SHA256_HEX]))
{
    plan.exempt++;
    __real_hk_sha256_hex(bytes, length, out);
    plan.exempt--;
}

/* ---- files ---- */

#define WRAP_OPEN(name)                                                              \
    WRAP(int, name, (const char *path, int flags, ...))                              \
    {                                                                                \
        va_list ap;                                                                  \
        va_start(ap, flags);                                                         \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0; \
        va_end(ap);                                                                  \
        return strikes(FAULT_OPEN, EMFILE) ? -1 : __real_##name(path, flags, mode);  \
    }
#define WRAP_OPENAT(name)                                                               \
    WRAP(int, name, (int at, const char *path, int flags, ...))                         \
    {                                                                                   \
        va_list ap;                                                                     \
        va_start(ap, flags);                                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;    \
        va_end(ap);                                                                     \
        return strikes(FAULT_OPEN, EMFILE) ? -1 : __real_##name(at, path, flags, mode); \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

#define WRAP_FOPEN(name)                                                       \
    WRAP(FILE *, name, (const char *path, const char *mode))                   \
    {                                                                          \
        return strikes(FAULT_OPEN, EMFILE) ? NULL : __real_##name(path, mode); \
    }
WRAP_FOPEN(fopen)
WRAP_FOPEN(fopen64)

WRAP(FILE *, fdopen, (int fd, const char *mode))
{
    return strikes(FAULT_OPEN, EMFILE) ? NULL : __real_fdopen(fd, mode);
}

WRAP(DIR *, opendir, (const char *path))
{
    return strikes(FAULT_OPEN, EMFILE) ? NULL : __real_opendir(path);
}

#define WRAP_STAT(name)                                                \
    WRAP(int, name, (int fd, struct stat *out))                        \
    {                                                                  \
        return strikes(FAULT_FILE, EIO) ? -1 : __real_##name(fd, out); \
    }
WRAP_STAT(fstat)
WRAP_STAT(fstat64)

#define WRAP_LSEEK(name)                                                      \
    WRAP(off_t, name, (int fd, off_t at, int whence))                         \
    {                                                                         \
        return strikes(FAULT_FILE, EIO) ? -1 : __real_##name(fd, at, whence); \
    }
WRAP_LSEEK(lseek)
WRAP_LSEEK(lseek64)

#define WRAP_MMAP(name)                                                                           \
    WRAP(void *, name, (void *where, size_t length, int access, int flags, int fd, off_t at))     \
    {                                                                                             \
        return strikes(FAULT_FILE, ENOMEM) ? MAP_FAILED                                           \
                                           : __real_##name(where, length, access, flags, fd, at); \
    }
WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)

WRAP(void *, mremap, (void *old, size_t old_length, size_t length, int flags))
{
    return strikes(FAULT_FILE, ENOMEM) ? MAP_FAILED : __real_mremap(old, old_length, length, flags);
}

WRAP(int, rename, (const char *from, const char *to))
{
    return strikes(FAULT_FILE, EIO) ? -1 : __real_rename(from, to);
}

WRAP(int, fsync, (int fd))
{
    return strikes(FAULT_FILE, EIO) ? -1 : __real_fsync(fd);
}

WRAP(int, fdatasync, (int fd))
{
    return strikes(FAULT_FILE, EIO) ? -1 : __real_fdatasync(fd);
}

WRAP(int, fchmod, (int fd, mode_t mode))
{
    return strikes(FAULT_FILE, EIO) ? -1 : __real_fchmod(fd, mode);
}

#define WRAP_FTRUNCATE(name)                                                  \
    WRAP(int, name, (int fd, off_t length))                                   \
    {                                                                         \
        return strikes(FAULT_WRITE, ENOSPC) ? -1 : __real_##name(fd, length); \
    }
WRAP_FTRUNCATE(ftruncate)
WRAP_FTRUNCATE(ftruncate64)

#define WRAP_FALLOCATE(name)                                                         \
    WRAP(int, name, (int fd, off_t at, off_t length))                                \
    {                                                                                \
        return strikes(FAULT_WRITE, ENOSPC) ? errno : __real_##name(fd, at, length); \
    }
WRAP_FALLOCATE(posix_fallocate)
WRAP_FALLOCATE(posix_fallocate64)

/* ---- bytes in and out ---- */

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *length);

static bool keeps_borders(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;

    return __real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type != SOCK_STREAM;
}

/* An eventfd: its eight bytes go whole, and it never waits, so nothing can interrupt it. */
static bool is_counter(int fd)
{
    struct stat about;

    return __real_fstat(fd, &about) == 0 && (about.st_mode & S_IFMT) == 0;
}

/* Is this call interrupted? Else *length is as much as it may move. */
static bool comes_short(int fd, size_t *length)
{
    if (plan.most == 0 || is_counter(fd))
        return false;
    if (++plan.moves % 3 == 0) {
        plan.struck = true;
        errno = EINTR;
        return true;
    }
    if (*length > plan.most && !keeps_borders(fd)) {
        plan.struck = true;
        *length = plan.most;
    }
    return false;
}

WRAP(ssize_t, read, (int fd, void *bytes, size_t length))
{
    return strikes(FAULT_READ, EIO) || comes_short(fd, &length) ? -1 : __real_read(fd, bytes, length);
}

#define WRAP_PREAD(name)                                                                                    \
    WRAP(ssize_t, name, (int fd, void *bytes, size_t length, off_t at))                                     \
    {                                                                                                       \
        return strikes(FAULT_READ, EIO) || comes_short(fd, &length) ? -1                                    \
                                                                    : __real_##name(fd, bytes, length, at); \
    }
WRAP_PREAD(pread)
WRAP_PREAD(pread64)

WRAP(ssize_t, write, (int fd, const void *bytes, size_t length))
{
    return strikes(FAULT_WRITE, ENOSPC) || comes_short(fd, &length) ? -1 : __real_write(fd, bytes, length);
}

#define WRAP_PWRITE(name)                                                     \
    WRAP(ssize_t, name, (int fd, const void *bytes, size_t length, off_t at)) \
    {                                                                         \
        return strikes(FAULT_WRITE, ENOSPC) || comes_short(fd, &length)       \
                   ? -1                                                       \
                   : __real_##name(fd, bytes, length, at);                    \
    }
WRAP_PWRITE(pwrite)
WRAP_PWRITE(pwrite64)

WRAP(ssize_t, recv, (int fd, void *bytes, size_t length, int flags))
{
    return strikes(FAULT_RECEIVE, ECONNRESET) || comes_short(fd, &length)
               ? -1
               : __real_recv(fd, bytes, length, flags);
}

WRAP(ssize_t, send, (int fd, const void *bytes, size_t length, int flags))
{
    return strikes(FAULT_SEND, EPIPE) || comes_short(fd, &length) ? -1
                                                                  : __real_send(fd, bytes, length, flags);
}

/* The message with no more than *most bytes; its pieces go into `piece`. */
static struct msghdr cut(const struct msghdr *message, struct iovec piece[PIECES_MAX], size_t most)
{
    struct msghdr out = *message;

    HK_BUG_ON(message->msg_iovlen > PIECES_MAX);
    out.msg_iov = piece;
    out.msg_iovlen = 0;
    for (size_t i = 0; i < message->msg_iovlen && most > 0; i++) {
        struct iovec *p = &piece[out.msg_iovlen++];
        *p = message->msg_iov[i];
        p->iov_len = p->iov_len < most ? p->iov_len : most;
        most -= p->iov_len;
    }
    return out;
}

WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))
{
    struct iovec piece[PIECES_MAX];
    size_t most = SIZE_MAX;

    if (strikes(FAULT_RECEIVE, ECONNRESET) || comes_short(fd, &most))
        return -1;
    if (most == SIZE_MAX)
        return __real_recvmsg(fd, message, flags);
    struct msghdr shorter = cut(message, piece, most);
    ssize_t got = __real_recvmsg(fd, &shorter, flags);
    message->msg_namelen = shorter.msg_namelen;
    message->msg_controllen = shorter.msg_controllen;
    message->msg_flags = shorter.msg_flags;
    return got;
}

WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
{
    struct iovec piece[PIECES_MAX];
    size_t most = SIZE_MAX;

    if (strikes(FAULT_SEND, EPIPE) || comes_short(fd, &most))
        return -1;
    if (most == SIZE_MAX)
        return __real_sendmsg(fd, message, flags);
    struct msghdr shorter = cut(message, piece, most);
    return __real_sendmsg(fd, &shorter, flags);
}

/* ---- sockets and processes ---- */

WRAP(int, socket, (int domain, int type, int protocol))
{
    int fd = strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_socket(domain, type, protocol);

    if (fd >= 0 && plan.send_buffer > 0)
        HK_BUG_ON(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &plan.send_buffer, sizeof plan.send_buffer) != 0);
    return fd;
}

WRAP(int, socketpair, (int domain, int type, int protocol, int pair[2]))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_socketpair(domain, type, protocol, pair);
}

WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t length))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_bind(fd, address, length);
}

WRAP(int, connect, (int fd, const struct sockaddr *address, socklen_t length))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_connect(fd, address, length);
}

WRAP(int, listen, (int fd, int backlog))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_listen(fd, backlog);
}

WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_accept4(fd, address, length, flags);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_getsockopt(fd, level, name, value, length);
}

WRAP(int, eventfd, (unsigned count, int flags))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_eventfd(count, flags);
}

WRAP(int, pipe2, (int pair[2], int flags))
{
    return strikes(FAULT_SOCKET, ENOBUFS) ? -1 : __real_pipe2(pair, flags);
}

WRAP(pid_t, fork, (void))
{
    return strikes(FAULT_FORK, EAGAIN) ? -1 : __real_fork();
}
