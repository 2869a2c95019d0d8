/* conn.c - one session of a worker: its addresses in order, its socket, its timer; the dialogue says what to do.
 *
 *   CONN_CONNECTING -> [CONN_HANDSHAKE, implicit TLS] -> CONN_TALKING <-> CONN_HANDSHAKE -> CONN_OVER -> CONN_FREE
 *
 * An address that fails before the session is ready gives way to the next one; opportunistic TLS that fails gets
 * the same address once more in plain. When all have failed, conn_info says why: what a server said counts for
 * more than that another could not be reached.
 */
#include <errno.h>
#include <string.h>

#include "order.h"
#include "worker.h"

/* Before anything of the dialogue is called: the time, and a place for what it writes. */
static void conn_enter(struct session *s)
{
    s->talk.now_ms = s->worker->now_ms;
    if (s->wire != NULL || s->state == CONN_FREE || s->state == CONN_OVER)
        return;
    s->wire = worker_wire(s->worker);
    s->box.text = s->wire->text;
    s->box.text_size = sizeof s->wire->text;
}

/* Behind everything that came, as long as it waits: for a connection, a reply, work, or its burial. The next event lends it
 * another. */
static void conn_rest(struct session *s)
{
    if (s->wire == NULL)
        return;
    if (s->state != CONN_OVER && (!outbox_is_empty(&s->box) || reply_pending(&s->wire->reader) > 0))
        return;
    worker_wire_back(s->worker, s->wire);
    s->wire = NULL;
    s->box.text = NULL;
    s->box.text_size = 0;
}

static void conn_over(struct session *s)
{
    if (s->state == CONN_OVER || s->state == CONN_FREE)
        return;
    s->state = CONN_OVER;
    ev_io_stop(s->worker->loop, &s->io);
    ev_timer_stop(s->worker->loop, &s->timer);
    outbox_clear(&s->box);
    link_close(&s->link);
    s->over_next = s->worker->over;
    s->worker->over = s;
}

static void conn_watch(struct session *s, int events)
{
    if (ev_is_active(&s->io) && (s->io.events & (EV_READ | EV_WRITE)) == events && s->io.fd == s->link.fd)
        return;
    ev_io_stop(s->worker->loop, &s->io);
    ev_io_set(&s->io, s->link.fd, events);
    ev_io_start(s->worker->loop, &s->io);
}

/* The timer is only moved when it would come too late: one that comes early looks at the deadline again. */
static void conn_arm(struct session *s)
{
    uint64_t deadline_ms = s->state == CONN_TALKING ? dialogue_deadline_ms(&s->talk) : s->deadline_ms;
    uint64_t now_ms = s->worker->now_ms;
    if (deadline_ms == UINT64_MAX || (s->timer_ms != 0 && s->timer_ms <= deadline_ms))
        return;
    uint64_t wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    ev_timer_stop(s->worker->loop, &s->timer);
    ev_timer_set(&s->timer, (double)wait_ms / 1000 + 0.001, 0.);
    ev_timer_start(s->worker->loop, &s->timer);
    s->timer_ms = deadline_ms;
}

unsigned long long conn_serial(const struct session *s)
{
    return (unsigned long long)worker_conn_info(s->worker, s)->serial;
}

/* Why a session failed before it was ready, or ended with no message under way. */

void conn_note_failure(struct session *s, enum log_phase log_phase, const struct reply *reply,
                       const char *words)
{
    struct outcome_reply *failure = &worker_conn_info(s->worker, s)->failure;
    size_t length = reply != NULL ? reply->length : strlen(words);
    char text[REGION_REPLY_TEXT], clean[256];

    if (reply == NULL || reply->code != 521)
        s->never = false;
    length = length < sizeof text ? length : sizeof text;
    memcpy(text, reply != NULL ? reply->text : words, length);
    login_mask(s->login, text, length);
    s->failed_in = log_phase;
    (void)hk_clean_text(clean, sizeof clean, text, length);
    if (reply != NULL)
        log_info("connection %llu to %s, %s: %u %s", conn_serial(s), s->host, log_phase_name(log_phase),
                 reply->code, clean);
    else
        log_info("connection %llu to %s, %s: %s", conn_serial(s), s->host, log_phase_name(log_phase), clean);
    if (reply == NULL && failure->code != 0)
        return;
    *failure = (struct outcome_reply){.code = reply != NULL ? reply->code : 0,
                                      .log_phase = (uint8_t)log_phase,
                                      .text_length = (uint16_t)length};
    if (reply != NULL)
        memcpy(failure->enhanced, reply->enhanced, sizeof failure->enhanced);
    memcpy(failure->text, text, length);
}

static struct tls_peer conn_tls_peer(const struct session *s);

/* Would chain and name have to hold, if the domain's MTA-STS policy were enforced? (RFC 8461 5, mode testing) */
static bool conn_is_tested(const struct session *s)
{
    return s->dest->sts == STS_TESTING && s->tls != HOST_TLS_DANE;
}

/* How TLS went with the address under trial: what is told first of it counts. */
static void conn_note_seen(struct session *s, enum tls_seen_result result)
{
    struct conn_info *info = worker_conn_info(s->worker, s);
    if (info->tls_seen_count == DEST_ADDRESSES_MAX ||
        (info->tls_seen_count > 0 && info->tls_seen[info->tls_seen_count - 1].address == s->at))
        return;
    info->tls_seen[info->tls_seen_count++] = (struct tls_seen){s->at, (uint8_t)result};
}

/* The session is ready, in TLS or in plain. */
static void conn_note_ready(struct session *s)
{
    uint8_t mx = s->address[s->at].mx % DEST_MX_MAX;
    struct tls_peer peer = conn_tls_peer(s);
    if (s->dest->mx_tls[mx] == HOST_TLS_NONE && s->link.ssl == NULL)
        return; /* as the operator wants it */
    if (s->link.ssl == NULL)
        conn_note_seen(s, TLS_SEEN_STARTTLS);
    else if (conn_is_tested(s) && ((unsigned)s->dest->sts_listed >> mx & 1u) == 0)
        conn_note_seen(s, TLS_SEEN_UNLISTED);
    else
        conn_note_seen(s, tls_seen(s->link.ssl, &peer, conn_is_tested(s)));
}

static bool conn_try(struct session *s);

static void conn_give_up(struct session *s)
{
    struct conn_info *info = worker_conn_info(s->worker, s);
    info->failed = 1;
    info->never = s->never;
    dialogue_drain(&s->talk);
    conn_over(s);
}

/* The address under trial failed in log_phase: the same one in plain, the next, or the end. */
static void conn_address_failed(struct session *s, enum log_phase log_phase)
{
    struct worker *w = s->worker;
    struct tls_peer peer = conn_tls_peer(s);
    if (log_phase == LOG_PHASE_STARTTLS)
        conn_note_seen(s, s->link.ssl != NULL ? tls_seen(s->link.ssl, &peer, conn_is_tested(s))
                                              : TLS_SEEN_STARTTLS);
    bool again_plain =
        log_phase == LOG_PHASE_STARTTLS && s->tls == HOST_TLS_OPPORTUNISTIC && !s->terms.implicit_tls;
    if (again_plain)
        tls_broken_note(w->tls, &s->address[s->at], s->dest->port, w->now_ms);
    counter_add(w->counters, connect_failures, 1);
    ev_io_stop(w->loop, &s->io);
    link_close(&s->link);
    outbox_clear(&s->box);
    if (w->orphaned || w->exiting) {
        conn_give_up(s);
        return;
    }
    s->plain = again_plain;
    if (!again_plain)
        s->at++;
    while (s->at < s->address_count) {
        if (conn_try(s))
            return;
        s->at++;
    }
    s->at = s->address_count > 0 ? (uint8_t)(s->address_count - 1) : 0;
    conn_give_up(s);
}

static void conn_fail(struct session *s, enum log_phase log_phase, const char *words)
{
    conn_note_failure(s, log_phase, NULL, words);
    conn_address_failed(s, log_phase);
}

/* Opening. */

/* What is asked of the address under trial. */
static enum host_tls conn_tls(const struct session *s, bool implicit_tls)
{
    const struct dest_address *address = &s->address[s->at];
    enum host_tls tls = (enum host_tls)s->dest->mx_tls[address->mx % DEST_MX_MAX];
    if (tls == HOST_TLS_OPPORTUNISTIC && !implicit_tls &&
        (s->plain || tls_broken_is(s->worker->tls, address, s->dest->port, s->worker->now_ms)))
        return HOST_TLS_NONE;
    return tls;
}

static void conn_set_terms(struct session *s)
{
    const struct worker *w = s->worker;
    const struct destination *dest = s->dest;
    const struct cfg_route *route = s->route;
    bool implicit_tls = route != NULL && route->implicit_tls;
    s->tls = conn_tls(s, implicit_tls);
    /* The dialogue has to know whether it may go on in plain, not what a certificate is held against. */
    s->terms =
        (struct dialogue_terms){.config = w->config,
                                .hostname = w->config->source[s->source].hostname,
                                .tls = s->tls > HOST_TLS_VERIFIED ? TLS_VERIFIED : (enum tls_policy)s->tls,
                                .implicit_tls = implicit_tls,
                                .no_pipelining = dest->no_pipelining != 0,
                                .local_part = (enum local_part)dest->local_part};
    if (s->login == NULL)
        return;
    s->terms.auth_plain = s->login->plain;
    s->terms.auth_user = s->login->user;
    s->terms.auth_password = s->login->password;
}

/* Begin to connect to the address at s->at. False: it failed at once, and that is noted. */
static bool conn_try(struct session *s)
{
    struct worker *w = s->worker;
    const struct dest_address *address = &s->address[s->at];
    struct conn_info *info = worker_conn_info(w, s);
    char words[128], listed[300];
    const char *host = address->mx < s->dest->mx_count ? destination_mx_name(s->dest, address->mx) : "";
    (void)snprintf(s->host, sizeof s->host, "%s", host);
    conn_set_terms(s);
    info->family = address->family;
    info->mx = address->mx;
    info->port = s->dest->port;
    memcpy(info->peer, address->ip, sizeof info->peer);
    if (s->tls == HOST_TLS_UNLISTED) {
        conn_note_seen(s, TLS_SEEN_UNLISTED);
        (void)snprintf(listed, sizeof listed, "the MTA-STS policy of %.200s does not list it (RFC 8461 4.1)",
                       s->dest->next_hop);
        conn_note_failure(s, LOG_PHASE_STARTTLS, NULL, listed);
        return false;
    }
    if (s->tls == HOST_TLS_UNUSED) {
        conn_note_seen(s, TLS_SEEN_DNSSEC_INVALID);
        conn_note_failure(s, LOG_PHASE_STARTTLS, NULL,
                          "its TLSA records cannot be looked up, so it may not be used (RFC 7672 2.1.2)");
        return false;
    }
    if (link_connect(&s->link, address, s->dest->port, &w->config->source[s->source], words, sizeof words) !=
        0) {
        counter_add(w->counters, connect_failures, 1);
        conn_note_failure(s, LOG_PHASE_CONNECT, NULL, words);
        return false;
    }
    s->state = CONN_CONNECTING;
    s->deadline_ms = w->now_ms + w->config->smtp.connect_ms;
    conn_watch(s, EV_WRITE);
    conn_arm(s);
    return true;
}

/* Its own order, and only while it is looking for one that answers. */
static void conn_draw_addresses(struct session *s, int family)
{
    size_t count = s->dest->address_count;
    s->address = hk_xcalloc(count, sizeof *s->address);
    memcpy(s->address, s->dest->address, count * sizeof *s->address);
    s->address_count = (uint8_t)order_of_family(s->address, count, family);
    order_draw(s->address, s->address_count, arc4random_uniform);
}

static void conn_drop_addresses(struct session *s)
{
    free(s->address);
    s->address = NULL;
    s->address_count = 0;
}

void conn_open(struct session *s, const struct desc *desc)
{
    struct worker *w = s->worker;
    struct conn_info *info = worker_conn_info(w, s);
    HK_BUG_ON(s->state != CONN_FREE || desc->dest >= w->region->header->sizes.dest_slots ||
              desc->source >= w->config->source_count);
    const struct destination *dest = &w->region->destination[desc->dest];
    HK_BUG_ON(dest->address_count > DEST_ADDRESSES_MAX ||
              (dest->route >= 0 && (size_t)dest->route >= w->config->route_count) ||
              dest->provider >= w->config->provider_count);
    memset(info, 0, sizeof *info);
    info->serial = desc->serial;
    info->dest = desc->dest;
    info->source = desc->source;
    s->dest = dest;
    conn_draw_addresses(s, config_source_family(&w->config->source[desc->source]));
    s->route = dest->route >= 0 ? &w->config->route[dest->route] : NULL;
    s->login = dest->route >= 0 && w->login[dest->route].given ? &w->login[dest->route] : NULL;
    s->source = desc->source;
    s->client = tls_client(w->tls, dest->route, dest->provider);
    s->plain = s->ever_opened = false;
    s->never = true;
    s->at = 0;
    s->talk = (struct dialogue){.ops = &worker_ops, .context = s, .now_ms = w->now_ms};
    s->terms = (struct dialogue_terms){.config = w->config};
    s->talk.terms = &s->terms;
    s->talk.box = &s->box;
    s->state = CONN_CONNECTING;
    w->open_sessions++;
    conn_enter(s);
    for (; s->at < s->address_count; s->at++) {
        if (conn_try(s)) {
            conn_rest(s);
            return;
        }
    }
    s->at = 0;
    if (s->address_count == 0)
        conn_note_failure(s, LOG_PHASE_CONNECT, NULL, "no address that its source can connect to");
    conn_give_up(s);
}

static struct tls_peer conn_tls_peer(const struct session *s)
{
    return (struct tls_peer){.host = s->host,
                             .address = &s->address[s->at],
                             .port = s->dest->port,
                             .policy = s->tls,
                             .dane = &s->dest->dane,
                             .next_hop = s->dest->next_hop,
                             .client = s->client};
}

static void conn_work(struct session *s);
static void conn_readable(struct session *s, bool to_end);

static void conn_ready(struct session *s)
{
    struct worker *w = s->worker;
    struct conn_info *info = worker_conn_info(w, s);
    memset(&info->failure, 0, sizeof info->failure);
    info->mail_max = s->talk.offer.mail_max;
    info->rcpt_domain_max = s->talk.offer.rcpt_domain_max;
    if (s->link.ssl != NULL) {
        struct tls_peer peer = conn_tls_peer(s);
        tls_describe(s->link.ssl, &peer, info);
    }
    conn_note_ready(s);
    log_debug("connection %llu to %s is ready (%s)", conn_serial(s), s->host,
              info->tls_version[0] != '\0' ? info->tls_version : "plain");
    s->ever_opened = true;
    conn_drop_addresses(s);
    worker_push(w, &(struct desc){.kind = DESC_OPENED, .conn = s->conn, .serial = info->serial});
}

static void conn_shake(struct session *s)
{
    char words[256];
    struct tls_peer peer = conn_tls_peer(s);
    enum tls_result result = tls_shake(s->link.ssl, &peer, words, sizeof words);
    if (result == TLS_FAILED) {
        conn_fail(s, LOG_PHASE_STARTTLS, words);
        return;
    }
    if (result != TLS_DONE) {
        conn_watch(s, result == TLS_WANT_READ ? EV_READ : EV_WRITE);
        return;
    }
    counter_add(s->worker->counters, tls_handshakes, 1);
    if (SSL_session_reused(s->link.ssl))
        counter_add(s->worker->counters, tls_resumed, 1);
    s->state = CONN_TALKING;
    if (dialogue_secured(&s->talk) == DIALOGUE_FAILED) {
        conn_address_failed(s, LOG_PHASE_STARTTLS);
        return;
    }
    /* The greeting of implicit TLS may lie in OpenSSL's buffer, where no event tells of it. */
    conn_readable(s, true);
    conn_work(s);
}

static void conn_start_tls(struct session *s)
{
    struct tls_peer peer = conn_tls_peer(s);
    /* RFC 3207 6, and what came of not heeding it: bytes from before TLS would be taken for the server's. */
    if (reply_pending(&s->wire->reader) > 0) {
        conn_fail(s, LOG_PHASE_STARTTLS, "the server sent more than its reply to STARTTLS before TLS began");
        return;
    }
    s->link.ssl = tls_start(s->worker->tls, s->link.fd, &peer);
    if (s->link.ssl == NULL) {
        conn_fail(s, LOG_PHASE_STARTTLS, "no memory for TLS");
        return;
    }
    s->state = CONN_HANDSHAKE;
    s->deadline_ms = s->worker->now_ms + s->worker->config->smtp.starttls_ms;
    conn_arm(s);
    conn_shake(s);
}

static void conn_heed(struct session *s, enum dialogue_verdict verdict)
{
    switch (verdict) {
    case DIALOGUE_GO_ON:
        return;
    case DIALOGUE_START_TLS:
        conn_start_tls(s);
        return;
    case DIALOGUE_OPENED:
        conn_ready(s);
        return;
    case DIALOGUE_FAILED:
        conn_address_failed(s, s->failed_in);
        return;
    case DIALOGUE_ENDED:
        conn_over(s);
        return;
    }
}

static void conn_established(struct session *s)
{
    char words[128];
    if (link_connected(&s->link, words, sizeof words) != 0) {
        conn_fail(s, LOG_PHASE_CONNECT, words);
        return;
    }
    counter_add(s->worker->counters, connects, 1);
    link_local(&s->link, worker_conn_info(s->worker, s)->local);
    reply_reader_init(&s->wire->reader);
    outbox_clear(&s->box);
    dialogue_begin(&s->talk, &s->terms, &s->box);
    s->state = CONN_TALKING;
    if (s->terms.implicit_tls)
        conn_start_tls(s);
    else
        conn_work(s);
}

/* Talking. */

/* Every whole reply that is there. False: nothing more may be read. */
static bool conn_replies(struct session *s)
{
    struct reply reply;
    while (s->state == CONN_TALKING && s->wire != NULL) {
        int got = reply_next(&s->wire->reader, &reply);
        if (got == 0)
            return true;
        if (got < 0) {
            conn_heed(s, dialogue_garbled(&s->talk, got == HK_ETOOBIG ? "the reply is too long"
                                                                      : "what came is not an SMTP reply"));
            return false;
        }
        counter_add(s->worker->counters, replies, 1);
        conn_heed(s, dialogue_reply(&s->talk, &reply));
    }
    return false; /* over, shaking hands, or at rest again */
}

/* What is there. to_end: until the socket says that there is no more; else the loop tells of what comes behind a read that gave
 * less than there was room for. */
static void conn_readable(struct session *s, bool to_end)
{
    char words[256];
    bool is_empty = false;
    while (s->state == CONN_TALKING && s->wire != NULL) {
        char *where;
        size_t room = reply_room(&s->wire->reader, &where);
        if (room > 0) {
            ssize_t got = link_read(&s->link, where, room, words, sizeof words);
            if (got == LINK_AGAIN)
                return;
            if (got <= 0) {
                conn_heed(s, dialogue_lost(&s->talk, got == 0 ? "connection closed by the receiver" : words));
                return;
            }
            reply_filled(&s->wire->reader, (size_t)got);
            is_empty = !to_end && (size_t)got < room && !link_holds(&s->link);
        }
        if (!conn_replies(s) || is_empty)
            return;
    }
}

/* One write. False: nothing more can be written now. */
static bool conn_flush(struct session *s)
{
    struct iovec iov[LINK_PIECES];
    char words[256];
    bool has_dot;
    size_t count = outbox_gather(&s->box, iov, LINK_PIECES, link_write_limit(&s->link), &has_dot);
    if (has_dot)
        dialogue_dot_leaves(&s->talk);
    ssize_t wrote = link_write(&s->link, iov, count, words, sizeof words);
    dialogue_wrote(&s->talk, wrote > 0 ? (size_t)wrote : 0, has_dot);
    if (has_dot && s->talk.in->dot_out)
        letter_dot_out(s->worker, s->talk.in);
    if (wrote > 0) {
        counter_add(s->worker->counters, bytes_out, (uint64_t)wrote);
        return true;
    }
    if (wrote == LINK_AGAIN)
        return false;
    conn_readable(s, true); /* the last words of a server that hung up may be the outcome */
    if (s->state == CONN_TALKING)
        conn_heed(s, dialogue_lost(&s->talk, wrote == 0 ? "connection closed by the receiver" : words));
    return false;
}

/* Put what may go, write what the socket takes, and wait for the rest. */
static void conn_work(struct session *s)
{
    bool corked = false;
    conn_enter(s);
    for (int writes = 0; writes < 8 && s->state == CONN_TALKING; writes++) {
        conn_heed(s, dialogue_pump(&s->talk));
        if (s->state != CONN_TALKING || outbox_is_empty(&s->box))
            break;
        if (!corked && s->box.body_left > link_write_limit(&s->link)) {
            corked = true;
            link_cork(&s->link, true);
        }
        if (!conn_flush(s))
            break;
    }
    if (corked)
        link_cork(&s->link, false);
    if (s->state == CONN_TALKING && s->worker->exiting && s->talk.phase == DIALOGUE_QUIT &&
        outbox_is_empty(&s->box))
        conn_over(s);
    if (s->state == CONN_TALKING) {
        conn_watch(s, outbox_is_empty(&s->box) ? EV_READ : EV_READ | EV_WRITE);
        conn_arm(s);
    }
    conn_rest(s);
}

static void conn_on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct session *s = io->data;
    (void)loop;
    conn_enter(s);
    if (s->state == CONN_CONNECTING) {
        conn_established(s);
    } else if (s->state == CONN_HANDSHAKE) {
        conn_shake(s);
    } else if (s->state == CONN_TALKING) {
        if (events & EV_READ)
            conn_readable(s, false);
        conn_work(s);
    }
    conn_rest(s);
}

static void conn_on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct session *s = timer->data;
    (void)loop;
    (void)events;
    s->timer_ms = 0;
    conn_enter(s);
    /* What waited while this process did not run (a stopped machine) counts before the clock does. */
    if (s->state == CONN_TALKING)
        conn_readable(s, true);
    uint64_t deadline_ms = s->state == CONN_TALKING ? dialogue_deadline_ms(&s->talk) : s->deadline_ms;
    if (s->worker->now_ms < deadline_ms)
        conn_arm(s);
    else if (s->state == CONN_CONNECTING)
        conn_fail(s, LOG_PHASE_CONNECT, "timed out");
    else if (s->state == CONN_HANDSHAKE)
        conn_fail(s, LOG_PHASE_STARTTLS, "timed out shaking hands for TLS");
    else if (s->state == CONN_TALKING)
        conn_heed(s, dialogue_expired(&s->talk));
    if (s->state == CONN_TALKING)
        conn_work(s);
    conn_rest(s);
}

/* Descriptors. */

void conn_init(struct session *s, struct worker *w, uint32_t conn)
{
    s->worker = w;
    s->conn = conn;
    s->link.fd = -1;
    ev_init(&s->io, conn_on_io);
    s->io.data = s;
    ev_init(&s->timer, conn_on_timer);
    s->timer.data = s;
}

bool conn_takes_letters(const struct session *s)
{
    return s->state != CONN_FREE && s->state != CONN_OVER && !dialogue_is_closing(&s->talk);
}

void conn_send(struct session *s, struct letter *letter)
{
    dialogue_queue(&s->talk, letter);
    if (s->state == CONN_TALKING)
        conn_work(s);
}

void conn_grant(struct session *s, struct letter *letter)
{
    if (s->state != CONN_TALKING)
        return;
    conn_enter(s);
    dialogue_grant(&s->talk, letter);
    conn_work(s);
}

void conn_deny(struct session *s, struct letter *letter)
{
    if (s->state != CONN_TALKING)
        return;
    conn_enter(s);
    conn_heed(s, dialogue_deny(&s->talk, letter));
}

void conn_close(struct session *s)
{
    if (s->state == CONN_FREE || s->state == CONN_OVER)
        return; /* it ended by itself, and DESC_CLOSED is on its way */
    dialogue_quit(&s->talk);
    if (s->state == CONN_TALKING)
        conn_work(s);
}

void conn_drain(struct session *s)
{
    if (s->state == CONN_FREE || s->state == CONN_OVER)
        return;
    conn_enter(s);
    dialogue_drain(&s->talk);
    conn_rest(s);
}

void conn_stop(struct session *s)
{
    if (s->state == CONN_FREE || s->state == CONN_OVER)
        return;
    conn_enter(s);
    if (s->state == CONN_TALKING) {
        conn_heed(s, dialogue_stop(&s->talk));
        return;
    }
    conn_note_failure(s, LOG_PHASE_CONNECT, NULL, "the master is gone");
    conn_give_up(s);
}

void conn_exit(struct session *s)
{
    if (s->state == CONN_FREE || s->state == CONN_OVER)
        return;
    conn_drain(s);
    if (s->state == CONN_TALKING && s->talk.opened) {
        dialogue_quit(&s->talk);
        conn_work(s);
        return;
    }
    conn_note_failure(s, LOG_PHASE_CONNECT, NULL, "the worker ends");
    conn_give_up(s);
}

static void conn_render(struct session *s, struct letter *letter)
{
    const char *fault = letter_render(s, letter);
    if (fault == NULL)
        dialogue_prepared(&s->talk, letter);
    else
        dialogue_unprepared(&s->talk, letter, fault);
}

/* The next one first: its envelope goes with the message that is signed here. */
void conn_make_copies(struct session *s)
{
    struct letter *next = s->talk.head, *out = s->talk.out;
    if (s->state != CONN_TALKING)
        return;
    conn_enter(s);
    if (next != NULL && next->preparing && !next->ready)
        conn_render(s, next);
    if (out != NULL && !out->complete)
        conn_heed(s, dialogue_signed(&s->talk, out, letter_sign(out)));
    conn_work(s);
}

void conn_bury(struct session *s)
{
    struct worker *w = s->worker;
    struct conn_info *info = worker_conn_info(w, s);
    HK_BUG_ON(s->state != CONN_OVER || s->talk.head != NULL || s->talk.in != NULL || s->talk.out != NULL);
    info->broken_sync = s->talk.broken_sync;
    if (s->wire != NULL)
        worker_wire_back(w, s->wire);
    s->wire = NULL;
    outbox_init(&s->box, NULL, 0);
    conn_drop_addresses(s);
    s->dest = NULL;
    s->timer_ms = 0;
    s->state = CONN_FREE;
    w->open_sessions--;
    log_debug("connection %llu is closed", conn_serial(s));
    worker_push(w, &(struct desc){.kind = DESC_CLOSED, .conn = s->conn, .serial = info->serial});
}
