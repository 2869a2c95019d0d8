/* suppress_view.c - a node's view of who is suppressed: the file of hashes, and what the stream told since (suppress.h).
 *
 * Redis rules. The file is a copy that carries the place in the stream it was made at; each poll checks that the stream
 * goes on from there without a gap, with the entry that stood there, in the Redis it was made from. Where it does not, all
 * hashes are read anew, a piece in each poll; the old view is asked meanwhile.
 * An entry that ends is kept with its second, and asked for the clock when somebody is found in it; the file loses it some
 * days later. What the master itself added is asked at once, but goes into the file only when the stream has told it: a file never
 * says more than Redis.
 */
#include "suppress_view.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store.h"

#define POLL_ENTRIES  2000u   /* of the stream in one answer */
#define POLL_PAGES    4u      /* of a rebuild in one poll */
#define POLL_SCAN     2000    /* what HSCAN is asked for */
#define MERGE_CHANGES 200000u /* below what the stream keeps: a node that is killed finds the rest there */
#define POLL_WRITE    100000u /* hashes that go to the new file in one poll, some ten milliseconds */
#define SORT_PIECE    262144u /* 4 MB: memory is taken for a piece, not for all */
#define ENDED_KEPT_S  (7u * 86400u) /* a clock that was wrong for a while has ended nobody */
#define SWEEP_POLLS   12u           /* polls for one sweep */
#define SWEEP_COUNT \
    1000u /* entries in it, about a millisecond: fifty million are gone through in three days */
#define NOWHERE UINT64_MAX /* our place in the stream until a rebuild has ended: nothing goes on from there */

/* ---- hashes ---- */

static uint64_t view_hash(const struct suppress *view, const char *scope, const char *key, size_t length)
{
    char text[SUPPRESS_SCOPE_MAX + ADDRESS_MAX + 1];
    size_t scope_size = strnlen(scope, SUPPRESS_SCOPE_MAX - 1) + 1; /* its NUL parts the two */

    if (length > ADDRESS_MAX)
        length = ADDRESS_MAX;
    memcpy(text, scope, scope_size);
    memcpy(text + scope_size, key, length);
    return hash_of(view->id, text, scope_size + length);
}

static bool view_has(const struct suppress *view, uint64_t hash, uint32_t *until_s)
{
    enum hash_change change = hash_set_get(&view->changes, hash, until_s);

    return change == HASH_SAME ? hash_file_has(&view->file, hash, until_s) : change != HASH_REMOVED;
}

static uint64_t now_s(void)
{
    return clock_wall_us() / 1000000u;
}

/* As the scripts decide: an entry that ends gives way to one that ends later, or never. */
static bool gives_way(uint32_t until_s, uint32_t to_s)
{
    return until_s != 0 && (to_s == 0 || to_s > until_s);
}

/* In a scope of the view, by an entry that has not ended, or never will. */
static bool lasts(const struct suppress *view, const char *address, size_t length, bool for_good)
{
    char key[ADDRESS_MAX];
    uint64_t hash[SUPPRESS_SCOPES];
    uint32_t until_s;

    if (length > sizeof key || view->count == 0)
        return false;
    for (size_t i = 0; i < length; i++)
        key[i] = (char)(address[i] >= 'A' && address[i] <= 'Z' ? address[i] + ('a' - 'A') : address[i]);
    for (size_t i = 0; i < view->scopes; i++) {
        hash[i] = view_hash(view, view->scope[i], key, length);
        hash_file_expect(&view->file, hash[i]);
    }
    for (size_t i = 0; i < view->scopes; i++)
        if (view_has(view, hash[i], &until_s) && (until_s == 0 || (!for_good && until_s > now_s())))
            return true;
    return false;
}

bool suppress_has(const struct suppress *view, const char *address, size_t length)
{
    return lasts(view, address, length, false);
}

bool suppress_has_for_good(const struct suppress *view, const char *address, size_t length)
{
    return lasts(view, address, length, true);
}

size_t suppress_count(const struct suppress *view)
{
    return view->count;
}

/* Ours says nothing that the stream has told, and is not told of yet, better than that. */
static bool changes_nothing(enum hash_change known, bool before, uint32_t until_s, enum hash_change change,
                            uint32_t new_until_s)
{
    if (change == HASH_OURS)
        return known == HASH_ADDED || (before && !gives_way(until_s, new_until_s));
    if (known == HASH_OURS)
        return false;
    return change == HASH_ADDED ? before && until_s == new_until_s : !before;
}

static int view_change(struct suppress *view, uint64_t hash, enum hash_change change, uint32_t until_s)
{
    uint32_t before_s, unused;
    bool before = view_has(view, hash, &before_s);
    enum hash_change known = hash_set_get(&view->changes, hash, &unused);

    if (changes_nothing(known, before, before_s, change, until_s))
        return 0;
    if (hash_set_put(&view->changes, hash, change, until_s) != 0)
        return HK_ENOMEM;
    view->told += change != HASH_OURS && (known == HASH_SAME || known == HASH_OURS);
    view->count = view->count + (change != HASH_REMOVED) - before;
    return 0;
}

int suppress_ours(struct suppress *view, const char *scope, const char *key, uint32_t until_s)
{
    return view_change(view, view_hash(view, scope, key, strlen(key)), HASH_OURS, until_s);
}

/* ---- the file ---- */

/* Start over with what the file has; our own additions that the stream has not told stay, whatever memory there is. */
static void changes_restart(struct suppress *view)
{
    struct hash_set *set = &view->changes;

    view->told = 0;
    view->count = view->file.count;
    for (size_t i = 0; i < set->room; i++) {
        uint32_t until_s;
        bool there = set->change[i] == HASH_OURS && hash_file_has(&view->file, set->hash[i], &until_s);
        if (set->change[i] != HASH_OURS || (there && !gives_way(until_s, set->until_s[i])))
            set->change[i] = HASH_SAME;
        else
            view->count += !there;
    }
    if (hash_set_fit(set) != 0)
        log_debug("suppression: no memory for a smaller set of changes; the large one stays");
}

static int take_file(struct suppress *view, struct hk_why *why)
{
    struct hash_file file;
    int error = hash_file_open(view->path, &file, why);

    if (error)
        return error;
    hash_file_close(&view->file);
    view->file = file;
    return 0;
}

/* What the stream told, ascending. malloc'd. */
static struct hash_ending *told_sorted(const struct suppress *view, size_t *count)
{
    struct hash_ending *told = malloc((view->told + 1) * sizeof *told);

    *count = 0;
    for (size_t i = 0; told && i < view->changes.room; i++)
        if (view->changes.change[i] == HASH_ADDED || view->changes.change[i] == HASH_REMOVED)
            told[(*count)++] = (struct hash_ending){view->changes.hash[i], view->changes.until_s[i]};
    if (told && hashes_sort(told, count) != 0) {
        free(told);
        told = NULL;
    }
    return told;
}

static bool is_kept(uint32_t until_s, uint64_t now)
{
    return until_s == 0 || until_s + (uint64_t)ENDED_KEPT_S > now;
}

/* The file's hashes and the changes, both ascending, into a new file. */
static int write_merged(const struct suppress *view, const struct hash_ending *told, size_t count,
                        struct hk_why *why)
{
    struct hash_writer *writer = malloc(sizeof *writer);
    const struct hash_file *file = &view->file;
    struct hash_ends ends = {.file = file};
    const uint64_t now = now_s();
    size_t i = 0, k = 0;
    uint32_t until_s;
    int error = writer ? hash_writer_open(writer, view->path, why)
                       : why_set(why, HK_ENOMEM, "no memory to write %s", view->path);

    while (!error && (i < file->count || k < count)) {
        uint64_t kept = i < file->count ? le64toh(file->hash[i]) : UINT64_MAX;
        if (k == count || (i < file->count && kept < told[k].hash)) {
            until_s = hash_ends_next(&ends, i);
            if (is_kept(until_s, now))
                hash_writer_put(writer, kept, until_s);
            i++;
            continue;
        }
        if (hash_set_get(&view->changes, told[k].hash, &until_s) == HASH_ADDED && is_kept(until_s, now))
            hash_writer_put(writer, told[k].hash, until_s);
        i += i < file->count && kept == told[k].hash;
        k++;
    }
    if (!error)
        error = hash_writer_commit(writer, view->id, view->position, view->mark, why);
    free(writer);
    return error;
}

/* A file that cannot be written is no reason to stop: the changes stay in memory, and Redis has them. */
static void view_merge(struct suppress *view)
{
    struct hk_why why;
    size_t count;
    struct hash_ending *told = told_sorted(view, &count);
    int error = told ? write_merged(view, told, count, &why)
                     : why_set(&why, HK_ENOMEM, "no memory to write %s", view->path);

    free(told);
    if (!error)
        error = take_file(view, &why);
    if (!error)
        changes_restart(view);
    view->merge_at = error ? view->told * 2 : MERGE_CHANGES;
    if (error)
        log_warning("%s; it is read from Redis again at the next start", why.text);
}

/* ---- reading all of it anew ---- */

static void rebuild_end(struct rebuild *rebuild)
{
    if (!rebuild->on)
        return;
    for (size_t i = 0; i < rebuild->scopes; i++)
        free(rebuild->scope[i]);
    free(rebuild->scope);
    if (rebuild->writer)
        hash_writer_abandon(rebuild->writer);
    free(rebuild->writer);
    hash_pile_close(&rebuild->pile);
    memset(rebuild, 0, sizeof *rebuild);
}

/* All of them in memory, where the file cannot be written. */
static int rebuild_keep(struct suppress *view)
{
    struct hash_pile *pile = &view->rebuild.pile;
    uint64_t *hash = malloc((pile->added + 1) * sizeof *hash);
    struct hash_ending *ending = malloc((pile->endings + 1) * sizeof *ending), entry;
    struct hash_file file;
    size_t count = 0, endings = 0;
    int error = hash && ending ? hash_pile_rewind(pile) : HK_ENOMEM;

    while (error == 0 && (error = hash_pile_next(pile, &entry)) == 1) {
        hash[count++] = htole64(entry.hash);
        if (entry.until_s != 0)
            ending[endings++] = entry;
        error = 0;
    }
    if (error)
        free(hash);
    else
        error = hash_file_of(hash, count, ending, endings, &file);
    free(ending);
    if (error)
        return error;
    memcpy(file.id, view->id, HASH_ID_BYTES);
    hash_file_close(&view->file);
    view->file = file;
    return 0;
}

static int write_begin(struct suppress *view, struct hk_why *why)
{
    struct hash_writer *writer = malloc(sizeof *writer);
    int error = writer ? hash_writer_open(writer, view->path, why)
                       : why_set(why, HK_ENOMEM, "no memory to write %s", view->path);

    if (error) {
        free(writer);
        return error;
    }
    view->rebuild.writer = writer;
    error = hash_pile_rewind(&view->rebuild.pile);
    return error ? why_set(why, error, "%s: cannot be sorted: %s", view->path, strerror(errno)) : 1;
}

static int write_end(struct suppress *view, struct hk_why *why)
{
    struct rebuild *rebuild = &view->rebuild;
    int error = hash_writer_commit(rebuild->writer, view->id, rebuild->position, rebuild->mark, why);

    free(rebuild->writer);
    rebuild->writer = NULL;
    return error ? error : take_file(view, why);
}

/* So many of them that the loop does not stand still for long. 1: there are more, 0: the file has them all. */
static int write_piece(struct suppress *view, struct hk_why *why)
{
    struct rebuild *rebuild = &view->rebuild;
    struct hash_ending entry;
    int rc = 1;

    for (unsigned i = 0; i < POLL_WRITE && rc == 1; i++) {
        rc = hash_pile_next(&rebuild->pile, &entry);
        if (rc == 1)
            hash_writer_put(rebuild->writer, entry.hash, entry.until_s);
    }
    if (rc < 0)
        return why_set(why, rc, "%s: cannot be sorted: %s", view->path, strerror(errno));
    return rc == 1 ? 1 : write_end(view, why);
}

static int rebuild_write(struct suppress *view, struct hk_why *why)
{
    struct rebuild *rebuild = &view->rebuild;
    int rc = rebuild->writer ? write_piece(view, why) : write_begin(view, why);

    if (rc == 1)
        return 1;
    if (rc < 0) {
        log_warning("%s; it is read from Redis again at the next start", why->text);
        rc = rebuild_keep(view);
    }
    if (rc == 0) {
        view->position = rebuild->position;
        view->mark = rebuild->mark;
        changes_restart(view);
        if (view->file.count > 0)
            log_info("suppression: %zu entries read from Redis", view->file.count);
    }
    rebuild_end(rebuild);
    if (rc == HK_EIO)
        return why_set(why, rc, "%s: what was sorted beside it cannot be read: %s", view->path,
                       strerror(errno));
    return rc ? why_set(why, rc, "no memory for suppression") : 1;
}

static int rebuild_page(struct suppress *view, const redisReply *page, const char *scope, struct hk_why *why)
{
    const uint64_t now = now_s();

    for (size_t i = 0; i + 1 < page->elements; i += 2) {
        const redisReply *key = page->element[i], *value = page->element[i + 1];
        uint32_t until_s = suppress_value_until(value->str, value->len);
        if (is_kept(until_s, now) &&
            hash_pile_add(&view->rebuild.pile, view_hash(view, scope, key->str, key->len), until_s) != 0)
            return why_set(why, HK_ENOMEM, "no memory for suppression");
    }
    return 0;
}

static int rebuild_step(struct suppress *view, struct hk_why *why)
{
    struct rebuild *rebuild = &view->rebuild;
    int error = 0;

    for (unsigned i = 0; i < POLL_PAGES && !error; i++) {
        const char *scope = rebuild->at < rebuild->scopes ? rebuild->scope[rebuild->at] : NULL;
        redisReply *reply;
        if (!scope)
            return rebuild_write(view, why);
        error = store_ask(view->store, REDIS_REPLY_ARRAY, &reply, why,
                          "HSCAN " SUPPRESS_KEY("%s") " %s COUNT %d", scope, rebuild->cursor, POLL_SCAN);
        if (error)
            break;
        error = store_scan_page(reply, 2, rebuild->cursor, sizeof rebuild->cursor)
                    ? rebuild_page(view, reply->element[1], scope, why)
                    : store_strange(view->store, why);
        freeReplyObject(reply);
        if (!error && strcmp(rebuild->cursor, "0") == 0)
            rebuild->at++;
    }
    /* What was lost in the middle is begun again. */
    if (error)
        rebuild_end(rebuild);
    return error ? error : 1;
}

/* ---- the stream ---- */

struct change {
    uint64_t number, mark;
    bool is_add;
    const char *scope, *key;
    uint32_t until_s;
};

/* One entry: [id, [op, ..., scope, ..., key, ...]], and [until, ...] behind it where it ends. */
static bool change_read(const struct suppress *view, const redisReply *entry, struct change *out)
{
    const redisReply *fields;
    char *end;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        entry->element[0]->type != REDIS_REPLY_STRING || entry->element[1]->type != REDIS_REPLY_ARRAY ||
        (entry->element[1]->elements != 6 && entry->element[1]->elements != 8))
        return false;
    fields = entry->element[1];
    for (size_t i = 0; i < fields->elements; i++)
        if (fields->element[i]->type != REDIS_REPLY_STRING)
            return false;
    out->number = strtoull(entry->element[0]->str, &end, 10);
    out->is_add = strcmp(fields->element[1]->str, "add") == 0;
    out->scope = fields->element[3]->str;
    out->key = fields->element[5]->str;
    out->until_s = 0;
    if (fields->elements == 8) {
        uint64_t until;
        if (!store_parse_u64(fields->element[7]->str, UINT32_MAX, &until))
            return false;
        out->until_s = (uint32_t)until;
    }
    out->mark = view_hash(view, out->scope, out->key, fields->element[5]->len);
    return *end == '-' && fields->element[3]->len < SUPPRESS_SCOPE_MAX;
}

/* The id of this Redis, zeros where it has none, and the last number of its stream. */
static int stream_state(struct suppress *view, uint8_t id[HASH_ID_BYTES], uint64_t *last, struct hk_why *why)
{
    redisReply *reply;
    int error = store_ask(view->store, REDIS_REPLY_ARRAY, &reply, why,
                          "MGET " SUPPRESS_KEY("id") " " SUPPRESS_KEY("seq"));
    const redisReply *name, *seq;

    if (error)
        return error;
    *last = 0;
    memset(id, 0, HASH_ID_BYTES);
    name = reply->elements == 2 ? reply->element[0] : reply;
    seq = reply->elements == 2 ? reply->element[1] : reply;
    if (name->type != REDIS_REPLY_STRING && name->type != REDIS_REPLY_NIL)
        error = store_strange(view->store, why);
    for (size_t i = 0; !error && name->type == REDIS_REPLY_STRING && i < HASH_ID_BYTES; i++)
        if (name->len != 2 * HASH_ID_BYTES || sscanf(name->str + 2 * i, "%2hhx", &id[i]) != 1)
            error = store_strange(view->store, why);
    if (!error && seq->type == REDIS_REPLY_STRING && !store_parse_u64(seq->str, UINT64_MAX, last))
        error = store_strange(view->store, why);
    freeReplyObject(reply);
    return error;
}

static int stream_read(struct suppress *view, uint64_t from, uint32_t count, redisReply **out,
                       struct hk_why *why)
{
    return store_ask(view->store, REDIS_REPLY_ARRAY, out, why,
                     "XRANGE " SUPPRESS_KEY("log") " %llu-0 + COUNT %u", (unsigned long long)from, count);
}

/* The id of this Redis, made with the first use. */
static int stream_id(struct suppress *view, struct hk_why *why)
{
    uint8_t bytes[HASH_ID_BYTES];
    char text[2 * HASH_ID_BYTES + 1];
    uint64_t last;
    redisReply *reply;
    int error;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return why_set(why, HK_EIO, "no random bytes: %s", strerror(errno));
    hk_hex(bytes, sizeof bytes, text);
    error = store_ask(view->store, REDIS_REPLY_INTEGER, &reply, why, "SETNX " SUPPRESS_KEY("id") " %s", text);
    if (error)
        return error;
    freeReplyObject(reply);
    return stream_state(view, view->id, &last, why);
}

static int rebuild_scopes(struct rebuild *rebuild, const redisReply *names)
{
    rebuild->scope = calloc(names->elements + 1, sizeof *rebuild->scope);
    for (size_t i = 0; rebuild->scope && i < names->elements; i++) {
        rebuild->scope[i] = strndup(names->element[i]->str, SUPPRESS_SCOPE_MAX - 1);
        if (!rebuild->scope[i])
            return HK_ENOMEM;
        rebuild->scopes++;
    }
    return rebuild->scope ? 0 : HK_ENOMEM;
}

static int rebuild_begin(struct suppress *view, struct hk_why *why)
{
    struct rebuild *rebuild = &view->rebuild;
    redisReply *reply;
    struct change change;
    uint8_t id[HASH_ID_BYTES];
    int error = stream_id(view, why);

    /* The old hashes were made under the old id and mean nothing under a new one. */
    if (!error && memcmp(view->file.id, view->id, HASH_ID_BYTES) != 0) {
        hash_file_close(&view->file);
        hash_set_free(&view->changes);
        memcpy(view->file.id, view->id, HASH_ID_BYTES);
        view->told = view->count = 0;
    }
    if (!error)
        error = stream_state(view, id, &rebuild->position, why);
    if (!error)
        error = stream_read(view, rebuild->position, 1, &reply, why);
    if (error)
        return error;
    view->position = NOWHERE;
    rebuild->mark = 0;
    if (reply->elements == 1 && change_read(view, reply->element[0], &change) &&
        change.number == rebuild->position)
        rebuild->mark = change.mark;
    freeReplyObject(reply);
    error = store_ask(view->store, REDIS_REPLY_ARRAY, &reply, why, "SMEMBERS " SUPPRESS_KEY("scopes"));
    if (error)
        return error;
    hash_pile_open(&rebuild->pile, view->path, SORT_PIECE);
    (void)snprintf(rebuild->cursor, sizeof rebuild->cursor, "0");
    rebuild->on = true;
    error = rebuild_scopes(rebuild, reply);
    freeReplyObject(reply);
    if (error)
        rebuild_end(rebuild);
    return error ? why_set(why, error, "no memory for suppression") : 1;
}

static int rebuild_because(struct suppress *view, const char *what, struct hk_why *why)
{
    log_info("suppression: %s; reading all of it from Redis", what);
    return rebuild_begin(view, why);
}

/* Apply the entries behind our place. 0, HK_ENOMEM, or HK_ECHANGED: they do not go on from it. */
static int apply_entries(struct suppress *view, const redisReply *entries)
{
    for (size_t i = 0; i < entries->elements; i++) {
        struct change change;
        if (!change_read(view, entries->element[i], &change))
            return HK_ECHANGED;
        if (i == 0 && change.number == view->position) {
            if (view->mark != 0 && change.mark != view->mark)
                return HK_ECHANGED;
            continue;
        }
        if (change.number != view->position + 1)
            return HK_ECHANGED;
        if (view_change(view, change.mark, change.is_add ? HASH_ADDED : HASH_REMOVED, change.until_s) != 0)
            return HK_ENOMEM;
        view->position = change.number;
        view->mark = change.mark;
    }
    return 0;
}

static int follow(struct suppress *view, struct hk_why *why)
{
    uint8_t id[HASH_ID_BYTES];
    uint64_t last, before = view->position;
    redisReply *reply;
    int error = stream_state(view, id, &last, why);

    if (error)
        return error;
    if (before == NOWHERE)
        return rebuild_begin(view, why);
    if (memcmp(id, view->id, sizeof id) != 0)
        return rebuild_because(view, "this is another Redis than before", why);
    if (last < before)
        return rebuild_because(view, "Redis came back with less than it had", why);
    error = stream_read(view, before, POLL_ENTRIES, &reply, why);
    if (error)
        return error;
    error = apply_entries(view, reply);
    freeReplyObject(reply);
    if (error == HK_ENOMEM)
        return why_set(why, HK_ENOMEM, "no memory for suppression");
    if (error || (view->position == before && last > before))
        return rebuild_because(view, "the stream of changes does not go on where the file ends", why);
    if (view->told >= view->merge_at)
        view_merge(view);
    return view->position < last ? 1 : 0;
}

/* ---- what ended long ago ---- */

int suppress_sweep(struct store *store, uint64_t now_s, uint32_t count, struct hk_why *why)
{
    redisReply *reply;
    int gone;
    int error = store_ask(
        store, REDIS_REPLY_INTEGER, &reply, why,
        "EVAL %s 2 " SUPPRESS_KEY("sweep") " " SUPPRESS_KEY("scopes") " " SUPPRESS_KEY("") " %lld %u %u",
        state_suppress_sweep_lua, (long long)now_s - SUPPRESS_ENDED_KEPT_S, SUPPRESS_ENDED_KEPT_S, count);

    if (error)
        return error;
    gone = (int)reply->integer;
    freeReplyObject(reply);
    return gone;
}

/* Not with the first poll, which a start waits for. Whatever fails here fails without harm, a Redis without room above all. */
static void sweep_now_and_then(struct suppress *view)
{
    struct hk_why why;
    int gone;

    if (view->polls++ % SWEEP_POLLS != 1)
        return;
    gone = suppress_sweep(view->store, now_s(), SWEEP_COUNT, &why);
    if (gone > 0)
        log_debug("suppression: %d entries that ended long ago are deleted", gone);
    else if (gone < 0)
        log_debug("suppression: what ended long ago stays: %s", why.text);
}

int suppress_poll(struct suppress *view, struct hk_why *why)
{
    int rc = view->rebuild.on ? rebuild_step(view, why) : follow(view, why);

    if (rc == 0)
        sweep_now_and_then(view);
    return rc;
}

/* ---- opening and closing ---- */

static int open_scopes(struct suppress *view, const struct config *config, struct hk_why *why)
{
    static const enum suppress_scope_kind kinds[SUPPRESS_SCOPES] = {SUPPRESS_ALL, SUPPRESS_SENDER,
                                                                    SUPPRESS_LIST};

    for (size_t i = 0; i < SUPPRESS_SCOPES; i++) {
        int error;
        if ((kinds[i] == SUPPRESS_SENDER && !config->sender.from_domain) ||
            (kinds[i] == SUPPRESS_LIST && !config->sender.list_id))
            continue;
        error = suppress_scope(config, kinds[i], view->scope[view->scopes], why);
        if (error)
            return error;
        view->scopes++;
    }
    return 0;
}

static int open_file(struct suppress *view, struct hk_why *why)
{
    struct hk_why damage;
    int error = take_file(view, &damage);

    if (error == HK_ENOENT)
        return rebuild_begin(view, why);
    if (error)
        return rebuild_because(view, damage.text, why);
    if (memcmp(view->file.id, view->id, HASH_ID_BYTES) != 0)
        return rebuild_because(view, "the file was made from another Redis", why);
    view->position = view->file.position;
    view->mark = view->file.mark;
    view->count = view->file.count;
    return 0;
}

int suppress_open(const struct config *config, struct store *store, struct suppress **out, struct hk_why *why)
{
    struct suppress *view = calloc(1, sizeof *view);
    int error;

    if (!view)
        return why_set(why, HK_ENOMEM, "no memory for suppression");
    view->store = store;
    view->merge_at = MERGE_CHANGES;
    error = config_path(config, view->path, sizeof view->path, SUPPRESS_FILE);
    if (error)
        (void)why_set(why, error, "%s: too long a path", config->state_dir);
    if (!error)
        error = open_scopes(view, config, why);
    if (!error)
        error = stream_id(view, why);
    if (!error)
        error = open_file(view, why);
    while (error >= 0 && (error = suppress_poll(view, why)) > 0)
        continue;
    if (error) {
        view->told = 0; /* nothing that was only half read is written */
        suppress_close(view);
        return error;
    }
    *out = view;
    return 0;
}

void suppress_close(struct suppress *view)
{
    if (!view)
        return;
    if (view->told > 0 && view->position != NOWHERE)
        view_merge(view);
    rebuild_end(&view->rebuild);
    hash_file_close(&view->file);
    hash_set_free(&view->changes);
    free(view);
}
