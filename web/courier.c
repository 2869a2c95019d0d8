/* courier.c - see courier.h. One request at a time: certificates are kept, so there are a few a day. */
#include "courier.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/process.h"

#define BETWEEN_MAX 65536u
#define WORDS_MAX   256u
#define TOPIC_MAX   400u

struct request {
    uint32_t kind; /* enum courier_errand */
    char topic[TOPIC_MAX];
    char url[SNS_URL_MAX];
};

struct answer {
    uint32_t length, between_length;
    char words[WORDS_MAX];
    char bytes[SNS_CERTIFICATE_MAX + BETWEEN_MAX]; /* body, then between */
};
#define ANSWER_BYTES(a) (offsetof(struct answer, bytes) + (a)->length + (a)->between_length)

/* ---- what the process needs of files ---- */

#define AUTHORITIES_MAX ((size_t)16 * 1024 * 1024)

/* All that the C library reads to find the address of a name. */
static const char *const name_file[] = {"/etc/resolv.conf", "/etc/hosts",    "/etc/nsswitch.conf",
                                        "/etc/host.conf",   "/etc/gai.conf", "/etc/services"};
#define NAME_FILES (sizeof name_file / sizeof name_file[0])

struct files {
    struct curl_blob system,
        own; /* authorities, PEM: the system's, and those of sns.ca_file; data NULL: none */
    struct stat name[NAME_FILES]; /* zeros: not there */
};

static void authorities_read(const char *path, struct curl_blob *out)
{
    struct hk_why why;
    char *text = NULL;
    size_t length = 0;

    if (path == NULL)
        return;
    if (hk_read_file(path, AUTHORITIES_MAX, &text, &length, &why) != 0) {
        log_warning("nothing that it vouches for is believed: %s", why.text);
        return;
    }
    *out = (struct curl_blob){.data = text, .len = length, .flags = CURL_BLOB_NOCOPY};
}

static void name_files_stat(struct stat now[NAME_FILES])
{
    memset(now, 0, NAME_FILES * sizeof *now);
    for (size_t i = 0; i < NAME_FILES; i++)
        if (stat(name_file[i], &now[i]) != 0)
            memset(&now[i], 0, sizeof now[i]);
}

/* Once more than is needed: what is found now the C library keeps, and would otherwise look for when no file can be opened. */
static void files_read(const struct config *config, struct files *files)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    name_files_stat(files->name);
    authorities_read(curl_version_info(CURLVERSION_NOW)->cainfo, &files->system);
    authorities_read(config->sns.ca_file, &files->own);
    if (getaddrinfo("localhost", NULL, &hints, &found) == 0)
        freeaddrinfo(found);
}

/* Another file under the same name cannot be read any more, and the C library would take it for an empty one. */
static bool name_files_changed(const struct files *files)
{
    struct stat now[NAME_FILES];

    name_files_stat(now);
    for (size_t i = 0; i < NAME_FILES; i++)
        if (now[i].st_dev != files->name[i].st_dev || now[i].st_ino != files->name[i].st_ino ||
            now[i].st_mtim.tv_sec != files->name[i].st_mtim.tv_sec ||
            now[i].st_mtim.tv_nsec != files->name[i].st_mtim.tv_nsec)
            return true;
    return false;
}

/* ---- the process ---- */

struct job {
    struct answer *answer;
    bool too_large;
    char error[CURL_ERROR_SIZE];
};

static size_t on_body(char *bytes, size_t one, size_t count, void *context)
{
    struct job *job = context;

    (void)one;
    if (count > SNS_CERTIFICATE_MAX - job->answer->length) {
        job->too_large = true;
        return 0; /* libcurl ends the transfer */
    }
    memcpy(job->answer->bytes + job->answer->length, bytes, count);
    job->answer->length += (uint32_t)count;
    return count;
}

#define SET(option, value) ok &= curl_easy_setopt(easy, (option), (value)) == CURLE_OK

/* From memory alone; libcurl would open the system's. */
static bool set_authorities(CURL *easy, const struct config *config, const struct files *files)
{
    const struct curl_blob *of_server = config->sns.ca_file != NULL ? &files->own : &files->system;
    bool ok = true;

    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_PROXY_CAINFO, NULL);
    SET(CURLOPT_PROXY_CAPATH, NULL);
    if (of_server->data != NULL)
        SET(CURLOPT_CAINFO_BLOB, of_server);
    if (files->system.data != NULL)
        SET(CURLOPT_PROXY_CAINFO_BLOB, &files->system);
    return ok;
}

static bool set_up(CURL *easy, struct job *job, const struct config *config, const struct files *files,
                   const struct request *request)
{
    bool ok = set_authorities(easy, config, files);

    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CERTINFO, 1L);
    SET(CURLOPT_PROXY,
        config->sns.proxy != NULL ? config->sns.proxy : ""); /* not even from the environment */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_USERAGENT, "hikyaku/" HK_VERSION);
    SET(CURLOPT_TIMEOUT_MS, (long)COURIER_LIMIT_MS);
    SET(CURLOPT_MAXFILESIZE, (long)SNS_CERTIFICATE_MAX);
    SET(CURLOPT_ERRORBUFFER, job->error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, job);
    return ok;
}
#undef SET

/* The chain that the server showed, but for its own certificate. */
static void keep_chain(CURL *easy, struct answer *answer)
{
    const struct curl_certinfo *info = NULL;

    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL)
        return;
    for (int i = 1; i < info->num_of_certs; i++)
        for (const struct curl_slist *line = info->certinfo[i]; line != NULL; line = line->next) {
            const char *pem = strncmp(line->data, "Cert:", 5) == 0 ? line->data + 5 : NULL;
            size_t length = pem != NULL ? strlen(pem) : 0;
            if (pem == NULL || length + 1 > BETWEEN_MAX - answer->between_length)
                continue;
            memcpy(answer->bytes + answer->length + answer->between_length, pem, length);
            answer->bytes[answer->length + answer->between_length + length] = '\n';
            answer->between_length += (uint32_t)length + 1;
        }
}

static void perform(CURL *easy, struct job *job)
{
    struct answer *answer = job->answer;
    CURLcode code = curl_easy_perform(easy);
    long status = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (job->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        (void)snprintf(answer->words, WORDS_MAX, "the answer is larger than %u bytes", SNS_CERTIFICATE_MAX);
    } else if (code != CURLE_OK) {
        const char *said = job->error[0] != '\0' ? job->error : curl_easy_strerror(code);
        (void)hk_clean_text(answer->words, WORDS_MAX, said, strlen(said));
    } else if (status != 200) {
        (void)snprintf(answer->words, WORDS_MAX, "the server answers %ld instead of 200", status);
    } else {
        keep_chain(easy, answer);
    }
    if (answer->words[0] != '\0')
        answer->length = answer->between_length = 0;
}

static int request_check(const struct request *request, struct hk_why *why)
{
    return request->kind == FETCH_CERTIFICATE ? sns_certificate_url_check(request->url, why)
                                              : sns_subscribe_url_check(request->url, request->topic, why);
}

static void serve(const struct config *config, const struct files *files, struct request *request,
                  struct answer *answer)
{
    struct job job = {.answer = answer};
    struct hk_why why;
    CURL *easy;

    answer->length = answer->between_length = 0;
    answer->words[0] = '\0';
    request->topic[TOPIC_MAX - 1] = request->url[SNS_URL_MAX - 1] = '\0';
    if (request_check(request, &why) != 0) {
        (void)snprintf(answer->words, WORDS_MAX, "%.250s", why.text);
        return;
    }
    easy = curl_easy_init();
    if (easy == NULL || !set_up(easy, &job, config, files, request))
        (void)snprintf(answer->words, WORDS_MAX, "no memory for a request");
    else
        perform(easy, &job);
    curl_easy_cleanup(easy);
}

/* From here on it opens no file but those of names. */
static int begin_life(const struct config *config, struct files *files, struct hk_why *why)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return why_set(why, HK_EDOWN, "libcurl does not start");
    files_read(config, files);
    return process_confine_client(name_file, NAME_FILES, why);
}

_Noreturn static void run(const struct config *config, int fd, int parent)
{
    static struct request request;
    static struct answer answer;
    static struct files files;
    struct hk_why why;
    ssize_t n;

    process_child_setup("hikyaku: web fetch", parent, SIGKILL, &fd, 1);
    log_setup(log_threshold, "web fetch");
    if (begin_life(config, &files, &why) != 0) {
        log_error("it cannot begin: %s", why.text);
        _exit(1);
    }
    while ((n = recv(fd, &request, sizeof request, 0)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof request)
            break;
        if (name_files_changed(&files)) {
            log_info("how names are looked up has changed on this machine: it begins anew");
            break;
        }
        serve(config, &files, &request, &answer);
        if (send(fd, &answer, ANSWER_BYTES(&answer), MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

/* ---- the web process ---- */

struct waiting {
    struct request request;
    courier_done *done;
    void *context;
};

struct courier {
    int fd;
    struct ev_loop *loop;
    ev_io io;
    struct waiting *waiting[COURIER_WAITING]; /* a ring; the first one is under way */
    size_t first, count;
    struct answer answer;
    void (*on_end)(void *context);
    void *context;
};

int courier_fork(const struct config *config, struct courier **out, struct hk_why *why)
{
    int pair[2], parent = (int)getpid(), size = 4 * (int)sizeof(struct answer);
    struct courier *courier = calloc(1, sizeof *courier);
    pid_t pid;

    if (courier == NULL)
        return why_set(why, HK_ENOMEM, "no memory for the fetching process");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        free(courier);
        return why_set(why, HK_EIO, "cannot make a socket pair: %s", strerror(errno));
    }
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    pid = fork();
    if (pid == 0)
        run(config, pair[1], parent);
    (void)close(pair[1]);
    courier->fd = pair[0];
    *out = courier;
    if (pid > 0)
        return 0;
    (void)close(courier->fd);
    free(courier);
    *out = NULL;
    return why_set(why, HK_EIO, "cannot start the fetching process: %s", strerror(errno));
}

/* The next one; a request is small against the socket's buffer, so it never waits. */
static void begin(struct courier *courier)
{
    const struct waiting *waiting = courier->count > 0 ? courier->waiting[courier->first] : NULL;

    if (waiting != NULL)
        (void)!send(courier->fd, &waiting->request, sizeof waiting->request, MSG_NOSIGNAL);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct courier *courier = io->data;
    struct answer *answer = &courier->answer;
    ssize_t n = recv(courier->fd, answer, sizeof *answer, MSG_DONTWAIT);
    struct waiting *waiting;
    bool more;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < (ssize_t)offsetof(struct answer, bytes) || courier->count == 0 ||
        answer->length > SNS_CERTIFICATE_MAX || answer->between_length > BETWEEN_MAX ||
        (size_t)n != ANSWER_BYTES(answer)) {
        ev_io_stop(loop, io);
        courier->on_end(courier->context);
        return;
    }
    answer->words[WORDS_MAX - 1] = '\0';
    waiting = courier->waiting[courier->first];
    courier->first = (courier->first + 1) % COURIER_WAITING;
    more = --courier->count > 0; /* else one that `done` asks for begins by itself */
    waiting->done(waiting->context, answer->words, answer->bytes, answer->length,
                  answer->bytes + answer->length, answer->between_length);
    free(waiting);
    if (more)
        begin(courier);
}

void courier_watch(struct courier *courier, struct ev_loop *loop, void (*on_end)(void *context),
                   void *context)
{
    courier->loop = loop;
    courier->on_end = on_end;
    courier->context = context;
    ev_io_init(&courier->io, on_io, courier->fd, EV_READ);
    courier->io.data = courier;
    ev_io_start(loop, &courier->io);
}

int courier_send(struct courier *courier, enum courier_errand kind, const char *url, const char *topic,
                 courier_done *done, void *context)
{
    struct waiting *waiting;
    int error;

    if (courier->count == COURIER_WAITING)
        return HK_EFULL;
    waiting = calloc(1, sizeof *waiting);
    if (waiting == NULL)
        return HK_ENOMEM;
    waiting->request.kind = (uint32_t)kind;
    (void)snprintf(waiting->request.url, sizeof waiting->request.url, "%s", url);
    (void)snprintf(waiting->request.topic, sizeof waiting->request.topic, "%s", topic != NULL ? topic : "");
    waiting->done = done;
    waiting->context = context;
    error = strlen(url) >= SNS_URL_MAX ? HK_EINVAL : request_check(&waiting->request, NULL);
    if (error != 0) {
        free(waiting);
        return error;
    }
    courier->waiting[(courier->first + courier->count) % COURIER_WAITING] = waiting;
    if (courier->count++ == 0)
        begin(courier);
    return 0;
}
