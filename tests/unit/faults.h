/* faults.h - the n-th call of a kind fails, or every read and write comes short: for tests made by hk_fault_test().
 *
 * The calls of our code, and of the test itself, are wrapped by the linker (faults.c); those that a shared library
 * makes inside (stdio, OpenSSL, libev) are not. Memory for which hk_xcalloc() and its like (and hk_sha256_hex()) ask
 * never fails: they abort by design. A forked child takes the fault that is armed along, and tells nobody whether it struck.
 *
 *     for (unsigned nth = 1; struck; nth++) {
 *         fault_arm(FAULT_MEMORY, nth);
 *         rc = thing_make(...);
 *         struck = fault_disarm();
 *         assert_int_equal(rc, struck ? HK_ENOMEM : 0);
 *     }
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

enum fault_kind {
    FAULT_MEMORY = 1 << 0, /* malloc, calloc, realloc, reallocarray, strdup, strndup, [v]asprintf: ENOMEM */
    FAULT_OPEN = 1 << 1,   /* open, openat, fopen, fdopen, opendir: EMFILE */
    FAULT_READ = 1 << 2,   /* read, pread: EIO */
    FAULT_WRITE = 1 << 3,  /* write, pwrite, posix_fallocate, ftruncate: ENOSPC */
    FAULT_FILE =
        1 << 4, /* fstat, mmap, mremap, rename, fsync, fdatasync, fchmod, lseek: EIO (maps: ENOMEM) */
    FAULT_SOCKET =
        1 << 5, /* socket, socketpair, bind, connect, listen, accept4, getsockopt, eventfd, pipe2: ENOBUFS */
    FAULT_RECEIVE = 1 << 6, /* recv, recvmsg: ECONNRESET */
    FAULT_SEND = 1 << 7,    /* send, sendmsg: EPIPE */
    FAULT_FORK = 1 << 8,    /* fork: EAGAIN */
    FAULT_LIBRARY = 1 << 9, /* what the test asks fault_strikes() about */
};

/* From now on the nth call (from 1) of these kinds fails, and only that one. */
void fault_arm(unsigned kinds, unsigned nth);
/* The same with an errno of the test's choice. */
void fault_arm_error(unsigned kinds, unsigned nth, int error);
/* The same, and all calls of these kinds behind it. */
void fault_arm_from(unsigned kinds, unsigned nth);
/* From now on a third of all reads and writes is interrupted (EINTR), the others move at most `most` bytes. What keeps
 * the borders of messages (SOCK_SEQPACKET, SOCK_DGRAM) is interrupted, but never cut; an eventfd is neither. */
void fault_shorten(size_t most);
/* Sockets made from now on have this send buffer (the system takes no less than some 4 KB), so that also those whose
 * writes are not ours to cut (OpenSSL's) come short. */
void fault_shrink_send_buffers(int bytes);
/* For calls that a library makes through a function of the test's: does this one fail? */
bool fault_strikes(void);
/* No faults any more. Did one strike (of fault_shorten: was a call cut or interrupted)? */
bool fault_disarm(void);

#endif
