/* fetch.c - see fetch.h. libcurl says which sockets it wants watched (on_want) and when it wants to be called (on_timer_want);
 * what has ended is collected after each of its calls, never inside a callback of its own. */
#include "fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <ev.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#include "sts.h"

#define ADDRESSES_GIVEN 4u /* of each family */

struct fetch {
    TAILQ_ENTRY(fetch) link; /* fetcher.waiting or fetcher.running */
    struct fetcher *fetcher;
    CURL *easy;
    struct curl_slist *resolve;
    fetch_done_fn done;
    void *context;
    size_t length;
    bool too_large;
    char error[CURL_ERROR_SIZE];
    char *body; /* STS_FILE_MAX when there is one */
};
TAILQ_HEAD(fetch_line, fetch);

/* One socket of libcurl's. */
struct watch {
    LIST_ENTRY(watch) link;
    struct fetcher *fetcher;
    ev_io io;
};

struct fetcher {
    struct ev_loop *loop;
    CURLM *multi;
    const char *ca_file;
    uint32_t limit_ms;
    ev_timer timer;
    struct fetch_line waiting, running;
    uint32_t running_count;
    LIST_HEAD(, watch) watches;
};

/* ---- libcurl's sockets and timer ---- */

static void fetcher_collect(struct fetcher *fetcher);

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct fetcher *fetcher = ((struct watch *)io->data)->fetcher;
    int running,
        what = (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0);

    (void)loop;
    (void)curl_multi_socket_action(fetcher->multi, io->fd, what, &running);
    fetcher_collect(fetcher);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct fetcher *fetcher = timer->data;
    int running;

    (void)loop;
    (void)revents;
    (void)curl_multi_socket_action(fetcher->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    fetcher_collect(fetcher);
}

static int on_timer_want(CURLM *multi, long after_ms, void *context)
{
    struct fetcher *fetcher = context;

    (void)multi;
    ev_timer_stop(fetcher->loop, &fetcher->timer);
    if (after_ms < 0)
        return 0;
    ev_timer_set(&fetcher->timer, (double)after_ms / 1e3 + (ev_time() - ev_now(fetcher->loop)), 0.);
    ev_timer_start(fetcher->loop, &fetcher->timer);
    return 0;
}

static int on_want(CURL *easy, curl_socket_t fd, int what, void *context, void *of_socket)
{
    struct fetcher *fetcher = context;
    struct watch *watch = of_socket;

    (void)easy;
    if (watch != NULL)
        ev_io_stop(fetcher->loop, &watch->io);
    if (what == CURL_POLL_REMOVE) {
        if (watch == NULL)
            return 0;
        (void)curl_multi_assign(fetcher->multi, fd, NULL);
        LIST_REMOVE(watch, link);
        free(watch);
        return 0;
    }
    if (watch == NULL) {
        watch = calloc(1, sizeof *watch);
        if (watch == NULL)
            return -1; /* the fetch ends as failed */
        watch->fetcher = fetcher;
        ev_init(&watch->io, on_io);
        watch->io.data = watch;
        LIST_INSERT_HEAD(&fetcher->watches, watch, link);
        (void)curl_multi_assign(fetcher->multi, fd, watch);
    }
    ev_io_set(&watch->io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    ev_io_start(fetcher->loop, &watch->io);
    return 0;
}

/* ---- one fetch ---- */

static void fetch_free(struct fetch *fetch)
{
    if (fetch->easy != NULL)
        curl_easy_cleanup(fetch->easy);
    curl_slist_free_all(fetch->resolve);
    free(fetch->body);
    free(fetch);
}

static size_t on_body(char *bytes, size_t one, size_t count, void *context)
{
    struct fetch *fetch = context;

    (void)one;
    if (fetch->body == NULL)
        fetch->body = malloc(STS_FILE_MAX);
    fetch->too_large = count > STS_FILE_MAX - fetch->length;
    if (fetch->body == NULL || fetch->too_large)
        return 0; /* libcurl ends the transfer */
    memcpy(fetch->body + fetch->length, bytes, count);
    fetch->length += count;
    return count;
}

static bool is_plain_text(const char *type)
{
    return type != NULL && strncasecmp(type, "text/plain", 10) == 0 &&
           (type[10] == '\0' || type[10] == ';' || type[10] == ' ');
}

static bool is_webpki(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_INVALIDCERTSTATUS;
}

static void fetch_report(struct fetch *fetch, CURLcode code)
{
    enum fetch_result result = is_webpki(code) ? FETCH_WEBPKI : FETCH_FAILED;
    const char *type = NULL;
    char words[192], clean[120];
    long status = 0;

    (void)curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_TYPE, &type);
    if (fetch->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        snprintf(words, sizeof words, "the policy file is larger than %u bytes", STS_FILE_MAX);
    } else if (code != CURLE_OK) {
        const char *said = fetch->error[0] != '\0' ? fetch->error : curl_easy_strerror(code);

        (void)hk_clean_text(words, sizeof words, said, strlen(said));
    } else if (status != 200) {
        snprintf(words, sizeof words, "the web server answers %ld instead of 200", status);
    } else if (!is_plain_text(type)) {
        (void)hk_clean_text(clean, sizeof clean, type != NULL ? type : "", type != NULL ? strlen(type) : 0);
        snprintf(words, sizeof words, "the policy file is \"%s\" instead of text/plain", clean);
    } else {
        result = FETCH_DONE;
        words[0] = '\0';
    }
    fetch->done(fetch->context, result, fetch->body != NULL ? fetch->body : "", fetch->length, words);
}

static bool easy_set(struct fetch *fetch, const char *url)
{
    CURL *easy = fetch->easy;
    const struct fetcher *fetcher = fetch->fetcher;
    bool ok = true;

#define SET(option, value) ok &= curl_easy_setopt(easy, (option), (value)) == CURLE_OK
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (fetcher->ca_file != NULL) {
        SET(CURLOPT_CAINFO, fetcher->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* libcurl would add the system's */
    }
    SET(CURLOPT_RESOLVE, fetch->resolve);
    SET(CURLOPT_PROXY, ""); /* not even from the environment */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_USERAGENT, "hikyaku/" HK_VERSION);
    SET(CURLOPT_TIMEOUT_MS, (long)fetcher->limit_ms);
    SET(CURLOPT_MAXFILESIZE, (long)STS_FILE_MAX);
    SET(CURLOPT_ERRORBUFFER, fetch->error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, fetch);
    SET(CURLOPT_PRIVATE, fetch);
#undef SET
    return ok;
}

/* "+HOST:443:ADDRESS,[ADDRESS]": in libcurl's cache for a minute, instead of a look-up. */
static struct curl_slist *resolve_list(const char *domain, const struct choice_addresses *of)
{
    char text[DOMAIN_MAX + 32 + 2 * ADDRESSES_GIVEN * (INET6_ADDRSTRLEN + 3)], ip[INET6_ADDRSTRLEN];
    int used = snprintf(text, sizeof text, "+mta-sts.%s:443:", domain);
    const char *comma = "";

    for (unsigned family = 0; family < CHOICE_FAMILIES; family++) {
        for (uint32_t i = 0; i < of[family].count && i < ADDRESSES_GIVEN; i++) {
            bool is_v4 = family == CHOICE_IPV4;

            if (inet_ntop(is_v4 ? AF_INET : AF_INET6, of[family].ip[i], ip, sizeof ip) == NULL)
                continue;
            used += snprintf(text + used, sizeof text - (size_t)used, is_v4 ? "%s%s" : "%s[%s]", comma, ip);
            comma = ",";
        }
    }
    return curl_slist_append(NULL, text);
}

/* ---- all of them ---- */

static void fetch_end(struct fetch *fetch, CURLcode code)
{
    struct fetcher *fetcher = fetch->fetcher;

    TAILQ_REMOVE(&fetcher->running, fetch, link);
    fetcher->running_count--;
    (void)curl_multi_remove_handle(fetcher->multi, fetch->easy);
    fetch_report(fetch, code);
    fetch_free(fetch);
}

static void fetcher_start(struct fetcher *fetcher)
{
    struct fetch *fetch;

    while (fetcher->running_count < FETCHES_MAX && (fetch = TAILQ_FIRST(&fetcher->waiting)) != NULL) {
        TAILQ_REMOVE(&fetcher->waiting, fetch, link);
        TAILQ_INSERT_TAIL(&fetcher->running, fetch, link);
        fetcher->running_count++;
        if (curl_multi_add_handle(fetcher->multi, fetch->easy) != CURLM_OK)
            fetch_end(fetch, CURLE_OUT_OF_MEMORY);
    }
}

static void fetcher_collect(struct fetcher *fetcher)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(fetcher->multi, &left)) != NULL) {
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        HK_BUG_ON(private == NULL);
        fetch_end((struct fetch *)(void *)private, message->data.result);
    }
    fetcher_start(fetcher);
}

int fetcher_open(const struct config *config, struct ev_loop *loop, uint32_t limit_ms, struct fetcher **out,
                 struct hk_why *why)
{
    struct fetcher *fetcher;

    if (config->tls.ca_file != NULL && access(config->tls.ca_file, R_OK))
        return why_set(why, HK_EINVAL, "tls.ca_file %.256s cannot be read", config->tls.ca_file);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return why_set(why, HK_ENOMEM, "libcurl does not start");
    fetcher = calloc(1, sizeof *fetcher);
    if (fetcher != NULL)
        fetcher->multi = curl_multi_init();
    if (fetcher == NULL || fetcher->multi == NULL) {
        free(fetcher);
        curl_global_cleanup();
        return why_set(why, HK_ENOMEM, "no memory for libcurl");
    }
    fetcher->loop = loop;
    fetcher->ca_file = config->tls.ca_file;
    fetcher->limit_ms = limit_ms;
    TAILQ_INIT(&fetcher->waiting);
    TAILQ_INIT(&fetcher->running);
    LIST_INIT(&fetcher->watches);
    ev_init(&fetcher->timer, on_timer);
    fetcher->timer.data = fetcher;
    (void)curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETFUNCTION, on_want);
    (void)curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETDATA, fetcher);
    (void)curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERFUNCTION, on_timer_want);
    (void)curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERDATA, fetcher);
    *out = fetcher;
    return 0;
}

void fetcher_close(struct fetcher *fetcher)
{
    struct fetch *fetch, *next;
    struct watch *watch;

    if (fetcher == NULL)
        return;
    for (fetch = TAILQ_FIRST(&fetcher->running); fetch != NULL; fetch = next) {
        next = TAILQ_NEXT(fetch, link);
        (void)curl_multi_remove_handle(fetcher->multi, fetch->easy);
        fetch_free(fetch);
    }
    for (fetch = TAILQ_FIRST(&fetcher->waiting); fetch != NULL; fetch = next) {
        next = TAILQ_NEXT(fetch, link);
        fetch_free(fetch);
    }
    (void)curl_multi_cleanup(fetcher->multi);
    while ((watch = LIST_FIRST(&fetcher->watches)) != NULL) {
        ev_io_stop(fetcher->loop, &watch->io);
        LIST_REMOVE(watch, link);
        free(watch);
    }
    ev_timer_stop(fetcher->loop, &fetcher->timer);
    curl_global_cleanup();
    free(fetcher);
}

int fetch_begin(struct fetcher *fetcher, const char *domain, const struct choice_addresses *of,
                fetch_done_fn done, void *context)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    char url[DOMAIN_MAX + 64];

    if (fetch == NULL)
        return HK_ENOMEM;
    snprintf(url, sizeof url, "https://mta-sts.%s/.well-known/mta-sts.txt", domain);
    fetch->fetcher = fetcher;
    fetch->done = done;
    fetch->context = context;
    fetch->resolve = resolve_list(domain, of);
    fetch->easy = curl_easy_init();
    if (fetch->resolve == NULL || fetch->easy == NULL || !easy_set(fetch, url)) {
        fetch_free(fetch);
        return HK_ENOMEM;
    }
    TAILQ_INSERT_TAIL(&fetcher->waiting, fetch, link);
    fetcher_start(fetcher);
    return 0;
}
