/* link.c - see link.h. */
#include "link.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hikyaku/fault.h"

union link_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "connection refused": the system's words, as they stand in a sentence. */
static int down(int error, char *words, size_t size)
{
    (void)snprintf(words, size, "%s", error == ETIMEDOUT ? "timed out" : strerror(error));
    words[0] = (char)tolower((unsigned char)words[0]);
    return HK_EDOWN;
}

static socklen_t fill_peer(union link_sockaddr *to, const struct dest_address *address, uint16_t port)
{
    memset(to, 0, sizeof *to);
    if (address->family == AF_INET) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons(port);
        memcpy(&to->v4.sin_addr, address->ip, 4);
        return sizeof to->v4;
    }
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons(port);
    memcpy(&to->v6.sin6_addr, address->ip, 16);
    return sizeof to->v6;
}

static int bind_source(int fd, const struct cfg_source *source, int family, char *words, size_t size)
{
    union link_sockaddr from;
    int one = 1;
    memset(&from, 0, sizeof from);
    if (source->address == NULL)
        return 0;
    void *ip = family == AF_INET ? (void *)&from.v4.sin_addr : (void *)&from.v6.sin6_addr;
    if (inet_pton(family, source->address, ip) != 1) {
        (void)snprintf(words, size, "source %s has no IPv%d address", source->name,
                       family == AF_INET ? 4 : 6);
        return HK_EDOWN;
    }
    from.any.sa_family = (sa_family_t)family;
    /* The port is chosen at connect(), where the other end is known: else 28,000 connections are the end. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, &from.any, family == AF_INET ? sizeof from.v4 : sizeof from.v6) == 0)
        return 0;
    (void)snprintf(words, size, "source address %s cannot be used: %s", source->address, strerror(errno));
    return HK_EDOWN;
}

int link_connect(struct link *link, const struct dest_address *address, uint16_t port,
                 const struct cfg_source *source, char *words, size_t size)
{
    union link_sockaddr to;
    int one = 1;
    int fd = socket(address->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    link->ssl = NULL;
    link->fd = fd;
    if (fd < 0)
        return down(errno, words, size);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int error = bind_source(fd, source, address->family, words, size);
    socklen_t length = fill_peer(&to, address, port);
    if (error == 0 && connect(fd, &to.any, length) != 0 && errno != EINPROGRESS)
        error = down(errno, words, size);
    if (error != 0)
        link_close(link);
    return error;
}

int link_connected(const struct link *link, char *words, size_t size)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    return error == 0 ? 0 : down(error, words, size);
}

void link_close(struct link *link)
{
    /* No close_notify: writing it would first push out a record that was put off, and with it perhaps a dot that has
     * to stay. But OpenSSL has to believe in it, or it spoils the session for the next connection. */
    if (link->ssl != NULL)
        SSL_set_shutdown(link->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(link->ssl);
    link->ssl = NULL;
    if (link->fd >= 0)
        (void)close(link->fd);
    link->fd = -1;
}

void link_local(const struct link *link, uint8_t ip[16])
{
    union link_sockaddr own;
    socklen_t length = sizeof own;
    memset(&own, 0, sizeof own);
    if (getsockname(link->fd, &own.any, &length) != 0)
        return;
    if (own.any.sa_family == AF_INET)
        memcpy(ip, &own.v4.sin_addr, 4);
    else if (own.any.sa_family == AF_INET6)
        memcpy(ip, &own.v6.sin6_addr, 16);
}

static ssize_t plain_result(ssize_t moved, char *words, size_t size)
{
    if (moved >= 0)
        return moved;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return LINK_AGAIN;
    (void)down(errno, words, size);
    return LINK_BROKEN;
}

ssize_t link_read(struct link *link, void *where, size_t room, char *words, size_t size)
{
    if (fault_fails(SOCKET_READ_BEFORE))
        return plain_result(-1, words, size);
    if (link->ssl != NULL)
        return tls_read(link->ssl, where, room, words, size);
    return plain_result(recv(link->fd, where, room, 0), words, size);
}

bool link_holds(const struct link *link)
{
    return link->ssl != NULL && tls_holds(link->ssl);
}

size_t link_write_limit(const struct link *link)
{
    return link->ssl != NULL ? LINK_TLS_BYTES : LINK_PLAIN_BYTES;
}

void link_cork(const struct link *link, bool on)
{
    int value = on;
    if (link->fd >= 0)
        (void)setsockopt(link->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value);
}

/* OpenSSL takes one buffer. A write that was put off is repeated with the same bytes in front and at least as
 * many of them, because an outbox only grows at its end. */
static ssize_t write_record(struct link *link, const struct iovec *iov, size_t count, char *words,
                            size_t size)
{
    static unsigned char record[LINK_TLS_BYTES]; /* one thread, and never kept over a call */
    size_t length = 0;
    if (count == 1)
        return tls_write(link->ssl, iov->iov_base, iov->iov_len, words, size);
    for (size_t i = 0; i < count; i++) {
        HK_BUG_ON(iov[i].iov_len > sizeof record - length);
        memcpy(record + length, iov[i].iov_base, iov[i].iov_len);
        length += iov[i].iov_len;
    }
    return tls_write(link->ssl, record, length, words, size);
}

static ssize_t write_plain(struct link *link, const struct iovec *iov, size_t count, char *words, size_t size)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    message.msg_iovlen = fault_half_pieces(SOCKET_WRITE_MIDDLE, message.msg_iov, count);
    ssize_t wrote = sendmsg(link->fd, &message, MSG_NOSIGNAL);
    fault_at(SOCKET_WRITE_MIDDLE);
    return plain_result(wrote, words, size);
}

ssize_t link_write(struct link *link, const struct iovec *iov, size_t count, char *words, size_t size)
{
    if (fault_fails(SOCKET_WRITE_BEFORE))
        return plain_result(-1, words, size);
    ssize_t wrote = link->ssl != NULL ? write_record(link, iov, count, words, size)
                                      : write_plain(link, iov, count, words, size);
    fault_at(SOCKET_WRITE_AFTER);
    return wrote;
}
