/* test_store.c - manifests, counts, the walk, sites and spans, blocking (state/store.c, state/store_ledger.c). */
#include "fixture.h"

static struct fixture f;

static int start(void **state)
{
    (void)state;
    fixture_dir(&f);
    fixture_start(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

static void each_epoch_is_a_new_one(void **state)
{
    struct store *store = fixture_store(&f);
    uint64_t before = 0, after = 0;
    struct hk_why why;

    (void)state;
    assert_int_equal(store_epoch_next(store, 0, &before, &why), 0);
    assert_int_equal(store_epoch_next(store, 0, &after, &why), 0);
    assert_true(before > 0 && after == before + 1);
    store_close(store);
}

static void a_manifest_comes_back_as_it_was_written(void **state)
{
    struct manifest in = {.campaign = "a.manifest-1",
                          .state = "running",
                          .recipients = 5,
                          .rejected = 3,
                          .duplicates = 2,
                          .segments = 1,
                          .spans = 2,
                          .domains = 3,
                          .created_us = 1763975000123456ull,
                          .settled_us = UINT64_MAX};
    uint32_t domain[3] = {0, 2, 4}, span[2] = {0, 2}, *table = NULL, count = 0;
    struct store *store = fixture_store(&f);
    struct manifest out;
    struct hk_why why;

    (void)state;
    hk_sha256_hex("list", 4, in.list_sha256);
    hk_sha256_hex("mail", 4, in.message_sha256);
    assert_int_equal(store_campaign_create(store, &in, domain, span, &why), 0);
    assert_int_equal(store_campaign_get(store, in.campaign, &out, &why), 0);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_equal(store_domain_first(store, &in, 0, &table, &count, &why), 0);
    assert_int_equal(count, 3);
    assert_memory_equal(table, domain, sizeof domain);
    free(table);
    store_close(store);
}

static void a_campaign_of_that_name_is_not_made_twice(void **state)
{
    const uint32_t spans[] = {4};
    struct manifest m = fixture_campaign(&f, "twice", spans, 1, 0), out;
    struct store *store = fixture_store(&f);
    uint32_t first = 0;
    struct hk_why why;

    (void)state;
    m.recipients = 9;
    assert_int_equal(store_campaign_create(store, &m, &first, &first, &why), HK_EEXIST);
    assert_non_null(strstr(why.text, "twice"));
    assert_int_equal(store_campaign_get(store, "twice", &out, &why), 0);
    assert_int_equal(out.recipients, 4);
    assert_int_equal(store_campaign_get(store, "never", &out, &why), HK_ENOENT);
    assert_non_null(strstr(why.text, "never"));
    /* The refused creation leaves the connection in order. */
    m = fixture_campaign(&f, "another", spans, 1, 0);
    assert_int_equal(store_campaign_get(store, "another", &out, &why), 0);
    store_close(store);
}

static void tables_that_do_not_fit_the_recipients_are_refused(void **state)
{
    struct manifest m = {
        .campaign = "tables", .state = "running", .recipients = 10, .segments = 1, .spans = 2, .domains = 1};
    uint32_t domain[1] = {0}, unordered[2] = {0, 0}, outside[2] = {0, 10}, late[2] = {1, 5};
    struct store *store = fixture_store(&f);
    struct hk_why why;

    (void)state;
    assert_int_equal(store_campaign_create(store, &m, domain, unordered, &why), HK_EINVAL);
    assert_int_equal(store_campaign_create(store, &m, domain, outside, &why), HK_EINVAL);
    assert_int_equal(store_campaign_create(store, &m, domain, late, &why), HK_EINVAL);
    m.spans = 1;
    m.recipients = 4097;
    assert_int_equal(store_campaign_create(store, &m, domain, domain, &why), HK_EINVAL);
    (void)snprintf(m.campaign, sizeof m.campaign, "no}such");
    m.recipients = 10;
    assert_int_equal(store_campaign_create(store, &m, domain, domain, &why), HK_EINVAL);
    store_close(store);
}

static int count_pending(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    uint64_t *next = context;

    assert_int_equal(segment, 0);
    assert_int_equal(index, (*next)++);
    assert_int_equal(word, 0);
    return 0;
}

/* A creation that was refused had looked at that campaign, and what becomes of it is not the next one's matter. */
static void a_refused_creation_does_not_spoil_the_next(void **state)
{
    const uint32_t spans[] = {4};
    struct manifest m = fixture_campaign(&f, "refused", spans, 1, 0);
    struct store *store = fixture_store(&f);
    uint32_t first = 0;
    struct hk_why why = {""};

    (void)state;
    assert_int_equal(store_campaign_create(store, &m, &first, &first, &why), HK_EEXIST);
    fixture_do(&f, "HSET {refused}:m state paused");
    (void)snprintf(m.campaign, sizeof m.campaign, "behind-it");
    assert_int_equal(store_campaign_create(store, &m, &first, &first, &why), 0);
    store_close(store);
}

static void an_extension_adds_its_recipients_behind_the_others(void **state)
{
    const uint32_t spans[] = {4};
    struct manifest m = fixture_campaign(&f, "longer", spans, 1, 0), out;
    uint32_t domain[2] = {0, 4}, span[2] = {0, 4};
    uint64_t walked = 0, counts[LEDGER_STATES_COUNT], attempts;
    struct store *store = fixture_store(&f);
    struct hk_why why;

    (void)state;
    m.segments = 2;
    m.recipients = 9;
    m.spans = m.domains = 2;
    assert_int_equal(store_campaign_extend(store, &m, domain, span, &why), 0);
    assert_int_equal(store_campaign_get(store, "longer", &out, &why), 0);
    assert_int_equal(out.recipients, 9);
    assert_int_equal(out.segments, 2);
    assert_int_equal(store_ledger_walk(store, &out, count_pending, &walked, &why), 0);
    assert_int_equal(walked, 9);
    assert_int_equal(store_counts(store, &out, counts, &attempts, &why), 0);
    assert_int_equal(counts[LEDGER_PENDING], 9);

    assert_int_equal(store_campaign_extend(store, &m, domain, span, &why), HK_ECHANGED);
    (void)snprintf(m.campaign, sizeof m.campaign, "nowhere");
    assert_int_equal(store_campaign_extend(store, &m, domain, span, &why), HK_ENOENT);
    m.segments = 1;
    assert_int_equal(store_campaign_extend(store, &m, domain, span, &why), HK_EINVAL);
    store_close(store);
}

static void campaigns_are_listed_in_order_of_their_names(void **state)
{
    const uint32_t spans[] = {1};
    struct store *store = fixture_store(&f);
    struct hk_why why;
    char **name = NULL;
    size_t count = 0;
    int seen = 0;

    (void)state;
    (void)fixture_campaign(&f, "listed-b", spans, 1, 0);
    (void)fixture_campaign(&f, "listed-a", spans, 1, 0);
    assert_int_equal(store_campaign_list(store, &name, &count, &why), 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || strcmp(name[i - 1], name[i]) < 0);
        seen += strncmp(name[i], "listed-", 7) == 0;
    }
    for (size_t i = 0; i < count; i++)
        free(name[i]);
    assert_int_equal(seen, 2);
    free(name);
    store_close(store);
}

static void a_damaged_manifest_is_told_with_its_field(void **state)
{
    const uint32_t spans[] = {1};
    struct store *store = fixture_store(&f);
    struct manifest out;
    struct hk_why why;

    (void)state;
    (void)fixture_campaign(&f, "damaged", spans, 1, 0);
    fixture_do(&f, "HSET {damaged}:m spans %s", "-1");
    assert_int_equal(store_campaign_get(store, "damaged", &out, &why), HK_ECHANGED);
    assert_non_null(strstr(why.text, "spans"));
    fixture_do(&f, "HDEL {damaged}:m spans");
    assert_int_equal(store_campaign_get(store, "damaged", &out, &why), HK_ECHANGED);
    fixture_do(&f, "DEL {damaged}:m");
    fixture_do(&f, "SET {damaged}:m text");
    assert_int_equal(store_campaign_get(store, "damaged", &out, &why), HK_ECHANGED);
    store_close(store);
}

struct seen {
    uint32_t next, stop_at;
    uint32_t words[9000];
};

static int see(void *context, uint32_t segment, uint32_t index, uint32_t word)
{
    struct seen *seen = context;

    assert_int_equal(segment, 0);
    assert_int_equal(index, seen->next);
    seen->words[seen->next++] = word;
    return seen->next == seen->stop_at ? 77 : 0;
}

static void the_walk_gives_every_recipient_in_order(void **state)
{
    /* More spans than one pipeline holds would need; small ones around a full one. */
    const uint32_t spans[] = {3, 4096, 1, 100};
    struct manifest m = fixture_campaign(&f, "walk", spans, 4, 0);
    struct store *store = fixture_store(&f);
    static struct seen seen;
    struct hk_why why;

    (void)state;
    memset(&seen, 0, sizeof seen);
    fixture_do(&f, "HSET {walk}:own 0.1 1");
    fixture_do(&f, "SETRANGE {walk}:s:0.1 16383 %b", "\0", (size_t)1);
    fixture_do(&f, "SETRANGE {walk}:s:0.1 16380 %b", "\x01\x02\x03\x04", (size_t)4);
    assert_int_equal(store_ledger_walk(store, &m, see, &seen, &why), 0);
    assert_int_equal(seen.next, 4200);
    assert_int_equal(seen.words[3 + 4095], 0x04030201);
    assert_int_equal(seen.words[3 + 4094], 0);
    /* A walk that is stopped leaves the connection in step. */
    memset(&seen, 0, sizeof seen);
    seen.stop_at = 2;
    assert_int_equal(store_ledger_walk(store, &m, see, &seen, &why), 77);
    assert_int_equal(seen.next, 2);
    seen = (struct seen){.next = 0};
    assert_int_equal(store_ledger_walk(store, &m, see, &seen, &why), 0);
    store_close(store);
}

static void a_taken_span_without_its_string_is_lost(void **state)
{
    const uint32_t spans[] = {3, 5};
    struct manifest m = fixture_campaign(&f, "lost", spans, 2, 0);
    struct store *store = fixture_store(&f);
    static struct seen seen;
    struct hk_why why;

    (void)state;
    fixture_do(&f, "HSET {lost}:own 0.1 1");
    assert_int_equal(store_ledger_walk(store, &m, see, &seen, &why), HK_ECHANGED);
    assert_non_null(strstr(why.text, "the ledger of campaign \"lost\" has lost a span: {lost}:s:0.1"));
    fixture_do(&f, "SET {lost}:s:0.1 %b", "0123456789abcdef", (size_t)16);
    seen.next = 0;
    assert_int_equal(store_ledger_walk(store, &m, see, &seen, &why), HK_ECHANGED);
    assert_non_null(strstr(why.text, "is cut"));
    store_close(store);
}

static uint32_t site_seen[3];

static void see_site(void *context, uint32_t segment, uint32_t domain, const char *site)
{
    (void)context;
    assert_int_equal(segment, 0);
    assert_true(domain < 3000);
    assert_true(strncmp(site, "site-", 5) == 0 && strtoul(site + 5, NULL, 10) == domain);
    site_seen[domain % 3]++;
}

static void every_site_is_told(void **state)
{
    const uint32_t spans[] = {3};
    struct manifest m = fixture_campaign(&f, "sites", spans, 1, 0);
    struct store *store = fixture_store(&f);
    redisContext *redis = fixture_redis(&f);
    struct hk_why why;

    (void)state;
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(redisAppendCommand(redis, "HSET {sites}:site 0.%u site-%u", i, i), REDIS_OK);
    for (unsigned i = 0; i < 3000; i++) {
        void *reply = NULL;
        assert_int_equal(redisGetReply(redis, &reply), REDIS_OK);
        freeReplyObject(reply);
    }
    redisFree(redis);
    assert_int_equal(store_sites(store, &m, see_site, NULL, &why), 0);
    assert_int_equal(site_seen[0] + site_seen[1] + site_seen[2], 3000);
    fixture_do(&f, "HSET {sites}:site %s x", "0.99999999999");
    assert_int_equal(store_sites(store, &m, see_site, NULL, &why), HK_ECHANGED);
    store_close(store);
}

static void counts_that_cannot_be_are_told(void **state)
{
    const uint32_t spans[] = {3};
    struct manifest m = fixture_campaign(&f, "counted", spans, 1, 0);
    struct store *store = fixture_store(&f);
    uint64_t counts[LEDGER_STATES_COUNT], attempts;
    struct hk_why why;

    (void)state;
    fixture_do(&f, "HSET {counted}:n sent 1 deferred 1 attempts 9");
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), 0);
    assert_int_equal(counts[LEDGER_SENT], 1);
    assert_int_equal(counts[LEDGER_PENDING], 1);
    assert_int_equal(attempts, 9);
    fixture_do(&f, "HSET {counted}:n sent 4");
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), HK_ECHANGED);
    fixture_do(&f, "HSET {counted}:n sent %s", "-1");
    assert_int_equal(store_counts(store, &m, counts, &attempts, &why), HK_ECHANGED);
    store_close(store);
}

static void what_commands_change_of_a_manifest_is_read_again(void **state)
{
    const uint32_t spans[] = {3};
    struct manifest m = fixture_campaign(&f, "changed", spans, 1, 0), out;
    struct store *store = fixture_store(&f);
    struct hk_why why;

    (void)state;
    (void)snprintf(m.state, sizeof m.state, "paused");
    m.first_rows = 100;
    m.settled_us = 5;
    assert_int_equal(store_campaign_put(store, &m, &why), 0);
    assert_int_equal(store_campaign_get(store, "changed", &out, &why), 0);
    assert_string_equal(out.state, "paused");
    assert_int_equal(out.first_rows, 100);
    assert_int_equal(out.settled_us, 5);
    assert_int_equal(out.recipients, 3);
    store_close(store);
}

static void a_purged_campaign_leaves_no_key_and_its_neighbour_all_of_them(void **state)
{
    const uint32_t spans[] = {3};
    struct manifest m = fixture_campaign(&f, "purged", spans, 1, 0), out;
    struct store *store = fixture_store(&f);
    redisContext *redis = fixture_redis(&f);
    redisReply *reply;
    uint32_t word, due, first;
    struct hk_why why;

    (void)state;
    (void)fixture_campaign(&f, "purged2", spans, 1, 0);
    fixture_do(&f, "HSET {purged}:own 0.0 7");
    fixture_do(&f, "SET {purged}:s:0.0 %b", "\1\0\0\0\2\20\0\0\3\0\0\0", (size_t)12);
    fixture_do(&f, "SET {purged}:d:0.0 %b", "\0\0\0\0\11\0\0\0", (size_t)8);
    fixture_do(&f, "SET {purged}:f:0.0 xxxx");
    fixture_do(&f, "ZADD {purged}:due 9 0.0");
    fixture_do(&f, "HSET {purged}:n sent 1");
    fixture_do(&f, "HSET {purged}:site 0.0 a");
    assert_int_equal(store_recipient(store, "purged", 0, 0, 1, &word, &due, &first, &why), 0);
    assert_int_equal(ledger_unpack(word).state, LEDGER_SENT);
    assert_int_equal(ledger_unpack(word).attempts, 1);
    {
        const struct store_place place[] = {{"purged", 0, 0, 1}, {"purged", 0, 0, 4000}, {"nobody", 7, 8, 9}};
        uint32_t words[] = {7, 7, 7};
        assert_int_equal(store_words(store, place, 3, words, &why), 0);
        assert_int_equal(words[0], word);
        assert_int_equal(words[1] + words[2], 0);
        assert_int_equal(store_words(store, place, 0, words, &why), 0);
    }
    assert_int_equal(due, 9);
    assert_int_equal(first, 0);
    assert_int_equal(store_campaign_purge(store, &m, &why), 0);
    assert_int_equal(store_campaign_get(store, "purged", &out, &why), HK_ENOENT);
    assert_int_equal(store_campaign_get(store, "purged2", &out, &why), 0);
    reply = redisCommand(redis, "KEYS {purged}*");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 0);
    freeReplyObject(reply);
    reply = redisCommand(redis, "SISMEMBER hikyaku:campaigns purged");
    assert_non_null(reply);
    assert_int_equal(reply->integer, 0);
    freeReplyObject(reply);
    redisFree(redis);
    store_close(store);
}

static void a_store_goes_on_after_its_connection_was_closed(void **state)
{
    struct store *store = fixture_store(&f);
    uint64_t epoch;
    struct hk_why why;

    (void)state;
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    assert_int_equal(store_epoch_next(store, 0, &epoch, &why), HK_EDOWN);
    assert_int_equal(store_epoch_next(store, 0, &epoch, &why), 0);
    fixture_do(&f, "CLIENT KILL TYPE normal SKIPME yes");
    store_renew(store);
    assert_int_equal(store_epoch_next(store, 0, &epoch, &why), 0);
    store_close(store);
}

static void an_external_redis_asks_for_its_password(void **state)
{
    char socket[96], file[96];
    struct config config = {.state_dir = f.dir, .redis.mode = REDIS_EXTERNAL, .redis.socket = socket};
    struct store *store;
    struct hk_why why;
    uint64_t epoch;

    (void)state;
    (void)snprintf(socket, sizeof socket, "%s/redis.sock", f.dir);
    (void)snprintf(file, sizeof file, "%s/password", f.dir);
    fixture_do(&f, "ACL SETUSER courier on >secret ~* +@all");
    config.redis.user = "courier";
    config.redis.password_file = file;
    assert_int_equal(hk_write_file(file, 0600, "secret\n", 7, &why), 0);
    assert_int_equal(store_open(&config, &store, &why), 0);
    assert_int_equal(store_epoch_next(store, 0, &epoch, &why), 0);
    store_close(store);
    assert_int_equal(hk_write_file(file, 0600, "wrong\n", 6, &why), 0);
    assert_int_equal(store_open(&config, &store, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "refuses our password"));
    assert_null(strstr(why.text, "wrong\n"));
    assert_int_equal(hk_write_file(file, 0600, "\n", 1, &why), 0);
    assert_int_equal(store_open(&config, &store, &why), HK_EINVAL);
    config.redis.password_file = NULL;
    (void)snprintf(socket, sizeof socket, "%s/no.sock", f.dir);
    assert_int_equal(store_open(&config, &store, &why), HK_EDOWN);
    assert_non_null(strstr(why.text, "no.sock"));
}

/* What docs/configuration.md and our words ask for is enough for whatever a command does there. */
static void a_ledger_is_mended_with_the_rights_that_the_manual_names(void **state)
{
    const uint32_t spans[] = {4};
    struct manifest m = fixture_campaign(&f, "rights", spans, 1, 0);
    char socket[96], file[96];
    struct config config = {.state_dir = f.dir, .redis.mode = REDIS_EXTERNAL, .redis.socket = socket};
    struct store *store;
    uint32_t first = 0;
    struct hk_why why = {""};

    (void)state;
    (void)snprintf(socket, sizeof socket, "%s/redis.sock", f.dir);
    (void)snprintf(file, sizeof file, "%s/clerk", f.dir);
    fixture_do(&f,
               "ACL SETUSER clerk on >secret resetkeys ~* resetchannels &* +@all -@admin -@dangerous +info "
               "+config|get +acl|getuser");
    config.redis.user = "clerk";
    config.redis.password_file = file;
    assert_int_equal(hk_write_file(file, 0600, "secret\n", 7, &why), 0);
    assert_int_equal(store_open(&config, &store, &why), 0);
    for (int i = 0; i < 2500; i++)
        fixture_do(&f, "SET hikyaku:journal:%d 1-1:100", i);
    if (store_campaign_repair(store, &m, &first, &first, &why) != 0)
        fail_msg("%s", why.text);
    for (int i = 0; i < 2500; i += 499) {
        char command[64];
        (void)snprintf(command, sizeof command, "EXISTS hikyaku:journal:%d", i);
        assert_int_equal(fixture_number(&f, command), 0);
    }
    if (store_campaign_purge(store, &m, &why) != 0)
        fail_msg("%s", why.text);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_epoch_is_a_new_one),
        cmocka_unit_test(a_manifest_comes_back_as_it_was_written),
        cmocka_unit_test(a_campaign_of_that_name_is_not_made_twice),
        cmocka_unit_test(tables_that_do_not_fit_the_recipients_are_refused),
        cmocka_unit_test(a_refused_creation_does_not_spoil_the_next),
        cmocka_unit_test(an_extension_adds_its_recipients_behind_the_others),
        cmocka_unit_test(campaigns_are_listed_in_order_of_their_names),
        cmocka_unit_test(a_damaged_manifest_is_told_with_its_field),
        cmocka_unit_test(the_walk_gives_every_recipient_in_order),
        cmocka_unit_test(a_taken_span_without_its_string_is_lost),
        cmocka_unit_test(every_site_is_told),
        cmocka_unit_test(counts_that_cannot_be_are_told),
        cmocka_unit_test(what_commands_change_of_a_manifest_is_read_again),
        cmocka_unit_test(a_purged_campaign_leaves_no_key_and_its_neighbour_all_of_them),
        cmocka_unit_test(a_store_goes_on_after_its_connection_was_closed),
        cmocka_unit_test(an_external_redis_asks_for_its_password),
        cmocka_unit_test(a_ledger_is_mended_with_the_rights_that_the_manual_names),
    };
    return cmocka_run_group_tests(tests, start, end);
}
