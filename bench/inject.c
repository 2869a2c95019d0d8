/* inject.c - hand personalised messages to a mail server as cheaply as a program can: what a user of one pays at least.
 *
 * bench/peers sets mail servers beside hikyaku, which takes a list and a message; a mail server has to be given each
 * message, ready-made. So this fills in the name and the address of each row, and hands it over by SMTP with blocking
 * sockets: a process for each connection, PIPELINING where it is offered, one write and one round trip a message then.
 * The list is CSV without quotes, the first column the address, the second the name; the message is an RFC 5322 file
 * with CRLF, in which {{email}} and {{name}} are filled in. A reply that is not expected ends the run, so that a server
 * which refuses some is not taken for a fast one.
 * Exit status: 0, 1 the server did not play along, 2 bad usage or a file is not to be had.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/reply.h"

#define FILE_MAX_BYTES  (1u << 30)
#define ENVELOPE_BYTES  1024u
#define TAGS_MAX        64u
#define CONNECTIONS_MAX 1000u

/* A row of the list: pieces of the file as it lies in memory. */
struct row {
    const char *email, *name;
    size_t email_length, name_length;
};

/* What stands before a tag, and the tag; the last piece has none. */
struct piece {
    const char *text;
    size_t length;
    enum { TAG_NONE, TAG_EMAIL, TAG_NAME } tag;
};

struct inject {
    struct sockaddr_in to;
    const char *from;
    char *list, *message; /* the files */
    struct row *rows;
    size_t count;
    struct piece pieces[TAGS_MAX + 1];
    size_t piece_count, text_length;
    uint32_t connections;
};

struct session {
    const struct inject *inject;
    int fd;
    bool pipelining;
    size_t next; /* row */
    char *out;   /* a message, its dot and the envelope of the next */
    struct reply_reader reader;
};

static _Noreturn HK_PRINTF(2, 3) void stop(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("inject: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

/* ---- files ---- */

static char *file_read(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    long size;
    char *text;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0 || size > (long)FILE_MAX_BYTES)
        stop(2, "%s: %s", path, errno != 0 ? strerror(errno) : "too long");
    rewind(f);
    text = hk_xcalloc(1, (size_t)size + 1);
    *length = fread(text, 1, (size_t)size, f);
    if (*length != (size_t)size)
        stop(2, "%s: it cannot be read", path);
    fclose(f);
    return text;
}

static void list_read(struct inject *in, const char *path)
{
    size_t length, rows = 0;
    char *at, *end;

    at = in->list = file_read(path, &length);
    for (size_t i = 0; i < length; i++)
        rows += at[i] == '\n';
    in->rows = hk_xcalloc(rows + 1, sizeof *in->rows);
    at += strcspn(at, "\n"); /* the names of the columns */
    while (*at != '\0' && *++at != '\0') {
        struct row *row = &in->rows[in->count++];

        end = at + strcspn(at, "\r\n");
        row->email = at;
        row->email_length = strcspn(at, ",\r\n");
        if (at + row->email_length == end || row->email_length > ENVELOPE_BYTES / 2)
            stop(2, "%s: row %zu is not an address and a name", path, in->count);
        row->name = at + row->email_length + 1;
        row->name_length = (size_t)(end - row->name);
        if (row->name_length > ENVELOPE_BYTES)
            stop(2, "%s: the name in row %zu has more than %u octets", path, in->count, ENVELOPE_BYTES);
        at = end + strcspn(end, "\n");
    }
}

static void message_read(struct inject *in, const char *path)
{
    size_t length;
    const char *at;

    at = in->message = file_read(path, &length);
    in->text_length = length;
    if (strstr(at, "\n.") != NULL || length < 2 || at[length - 1] != '\n')
        stop(2, "%s: a line begins with a dot, or the last one has no end", path);
    for (;;) {
        const char *tag = strstr(at, "{{");
        struct piece *p = &in->pieces[in->piece_count++];

        *p = (struct piece){.text = at, .length = tag != NULL ? (size_t)(tag - at) : strlen(at)};
        if (tag == NULL)
            return;
        if (in->piece_count > TAGS_MAX)
            stop(2, "%s: more than %u tags", path, TAGS_MAX);
        if (strncmp(tag, "{{email}}", 9) == 0)
            p->tag = TAG_EMAIL;
        else if (strncmp(tag, "{{name}}", 8) == 0)
            p->tag = TAG_NAME;
        else
            stop(2, "%s: %.20s: tags are {{email}} and {{name}}", path, tag);
        at = tag + (p->tag == TAG_EMAIL ? 9 : 8);
    }
}

/* ---- a session ---- */

static void send_all(const struct session *s, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = send(s->fd, bytes, length, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            stop(1, "the server closed the connection: %s", strerror(errno));
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        }
    }
}

static void expect(struct session *s, unsigned code, struct reply *r)
{
    int got;

    while ((got = reply_next(&s->reader, r)) == 0) {
        char *where;
        size_t room = reply_room(&s->reader, &where);
        ssize_t n = recv(s->fd, where, room, 0);

        if (n == 0 || (n < 0 && errno != EINTR))
            stop(1, "the server closed the connection");
        if (n > 0)
            reply_filled(&s->reader, (size_t)n);
    }
    if (got < 0)
        stop(1, "the server sent something that is no reply");
    if (r->code != code)
        stop(1, "the server answered %u %s", r->code, r->text);
}

static size_t append(char *to, size_t at, const char *text, size_t length)
{
    memcpy(to + at, text, length);
    return at + length;
}

static size_t render(const struct session *s, const struct row *row)
{
    size_t at = 0;

    for (size_t i = 0; i < s->inject->piece_count; i++) {
        const struct piece *p = &s->inject->pieces[i];

        at = append(s->out, at, p->text, p->length);
        if (p->tag == TAG_EMAIL)
            at = append(s->out, at, row->email, row->email_length);
        else if (p->tag == TAG_NAME)
            at = append(s->out, at, row->name, row->name_length);
    }
    return append(s->out, at, ".\r\n", 3);
}

static size_t envelope(const struct session *s, size_t at, const struct row *row)
{
    int n = snprintf(s->out + at, ENVELOPE_BYTES, "MAIL FROM:<%s>\r\nRCPT TO:<%.*s>\r\nDATA\r\n",
                     s->inject->from, (int)row->email_length, row->email);

    HK_BUG_ON(n < 0 || (size_t)n >= ENVELOPE_BYTES);
    return at + (size_t)n;
}

/* Without PIPELINING each line waits for its reply. */
static void envelope_in_step(struct session *s, const struct row *row)
{
    char *line = s->out, *end = s->out + envelope(s, 0, row);
    struct reply r;

    while (line < end) {
        size_t length = (size_t)((char *)memchr(line, '\n', (size_t)(end - line)) + 1 - line);

        send_all(s, line, length);
        line += length;
        expect(s, line < end ? 250 : 354, &r);
    }
}

static void session_hand_over(struct session *s)
{
    const struct inject *in = s->inject;
    bool under_way = false; /* the envelope went out behind the message before it */
    struct reply r;

    while (s->next < in->count) {
        const struct row *row = &in->rows[s->next];
        size_t length;

        s->next += in->connections;
        if (!s->pipelining) {
            envelope_in_step(s, row);
        } else {
            if (!under_way)
                send_all(s, s->out, envelope(s, 0, row));
            expect(s, 250, &r);
            expect(s, 250, &r);
            expect(s, 354, &r);
        }
        length = render(s, row);
        under_way = s->pipelining && s->next < in->count;
        if (under_way)
            length = envelope(s, length, &in->rows[s->next]);
        send_all(s, s->out, length);
        expect(s, 250, &r);
    }
}

/* One connection, in a process of its own: the rows first, first + connections, ... */
static void session_run(const struct inject *in, size_t first)
{
    struct session s = {.inject = in, .next = first};
    struct ehlo_offer offer;
    struct reply r;
    int one = 1;

    /* Each tag may stand for something as long as an envelope is. */
    s.out = hk_xcalloc(1, in->text_length + (in->piece_count + 1) * ENVELOPE_BYTES);
    reply_reader_init(&s.reader);
    s.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s.fd < 0 || connect(s.fd, (const struct sockaddr *)&in->to, sizeof in->to) != 0)
        stop(1, "connecting: %s", strerror(errno));
    setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    expect(&s, 220, &r);
    send_all(&s, "EHLO inject.test\r\n", 18);
    expect(&s, 250, &r);
    ehlo_offer_parse(&r, &offer);
    s.pipelining = offer.pipelining;
    session_hand_over(&s);
    send_all(&s, "QUIT\r\n", 6);
    expect(&s, 221, &r);
    close(s.fd);
    free(s.out);
}

/* ---- the command line ---- */

static void address(struct inject *in, const char *text)
{
    const char *colon = strrchr(text, ':');
    char host[32];
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;

    snprintf(host, sizeof host, "%.*s", colon != NULL ? (int)(colon - text) : 0, text);
    in->to.sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &in->to.sin_addr) != 1 || port == 0 || port > 65535)
        stop(2, "%s: write an IPv4 address and a port, as 127.0.0.1:2525", text);
    in->to.sin_port = htons((uint16_t)port);
}

static void options(struct inject *in, int argc, char **argv)
{
    static const struct option known[] = {
        {"to", required_argument, NULL, 't'},          {"list", required_argument, NULL, 'l'},
        {"message", required_argument, NULL, 'm'},     {"from", required_argument, NULL, 'f'},
        {"connections", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0},
    };
    int got;

    *in = (struct inject){.from = "bounce@bounce.bench.test", .connections = 4};
    while ((got = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (got == 't')
            address(in, optarg);
        else if (got == 'l')
            list_read(in, optarg);
        else if (got == 'm')
            message_read(in, optarg);
        else if (got == 'f')
            in->from = optarg;
        else if (got == 'c')
            in->connections = (uint32_t)strtoul(optarg, NULL, 10);
        else
            exit(2);
    }
    if (in->to.sin_port == 0 || in->count == 0 || in->piece_count == 0 || optind < argc ||
        strlen(in->from) > 256)
        stop(2, "usage: inject --to 127.0.0.1:PORT --list FILE --message FILE [--from ADDRESS] "
                "[--connections N]");
    if (in->connections == 0 || in->connections > CONNECTIONS_MAX)
        stop(2, "--connections: write a number from 1 to %u", CONNECTIONS_MAX);
}

int main(int argc, char **argv)
{
    struct inject in;
    int status, worst = 0;

    options(&in, argc, argv);
    if (in.connections > in.count)
        in.connections = (uint32_t)in.count;
    for (uint32_t i = 0; i < in.connections; i++) {
        pid_t pid = fork();

        if (pid < 0)
            stop(1, "fork: %s", strerror(errno));
        if (pid == 0) {
            session_run(&in, i);
            _exit(0);
        }
    }
    while (wait(&status) > 0)
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            worst = 1;
    free(in.rows);
    free(in.list);
    free(in.message);
    return worst;
}
