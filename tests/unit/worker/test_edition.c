/* test_edition.c - a worker's campaigns: loaded once, kept while letters need them, never mixed up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edition.h"

struct rig {
    char folder[64];
    struct config *config;
    struct signer *signer;
    struct region_campaign campaigns[REGION_CAMPAIGNS_MAX];
    struct region region;
    struct shelf *shelf;
};

static void put(const char *path, const char *text)
{
    struct hk_why why;
    assert_int_equal(hk_write_file(path, 0600, text, strlen(text), &why), 0);
}

static void add_campaign(struct rig *rig, const char *id, const char *list, const char *message)
{
    char path[256], list_path[256];
    struct hk_why why = {""};
    struct import_result result;
    (void)snprintf(path, sizeof path, "%s/campaigns/%s", rig->folder, id);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(list_path, sizeof list_path, "%s/campaigns/%s/list.csv", rig->folder, id);
    put(list_path, list);
    (void)snprintf(path, sizeof path, "%s/campaigns/%s/segment-0.seg", rig->folder, id);
    const struct import_options options = {.list_path = list_path, .segment_path = path};
    assert_int_equal(list_import(&options, &result, &why), 0);
    (void)snprintf(path, sizeof path, "%s/campaigns/%s/message.eml", rig->folder, id);
    put(path, message);
}

/* What the manifest would name: the files as they are now. */
static void pin(const struct rig *rig, struct region_campaign *campaign)
{
    struct segment *segment;
    struct hk_why why;
    char path[256];
    if (segment_open_campaign(rig->config, campaign->id, 1, true, &segment, &why) != 0)
        return;
    (void)snprintf(campaign->list_sha256, sizeof campaign->list_sha256, "%s", segment_sha256(segment));
    segment_close(segment);
    (void)snprintf(path, sizeof path, "%s/campaigns/%s/message.eml", rig->folder, campaign->id);
    assert_int_equal(hk_sha256_file(path, campaign->message_sha256, &why), 0);
}

static void use_slot(struct rig *rig, uint32_t slot, const char *id)
{
    struct region_campaign *campaign = &rig->campaigns[slot];
    (void)snprintf(campaign->id, sizeof campaign->id, "%s", id);
    campaign->segments = 1;
    pin(rig, campaign);
    atomic_fetch_add_explicit(&campaign->generation, 1, memory_order_release);
}

#define MESSAGE "From: a@me.test\nTo: <{{email}}>\nSubject: hello\n\nhello\n"

static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct hk_why why = {""};
    char path[256], text[512];
    assert_non_null(rig);
    (void)snprintf(rig->folder, sizeof rig->folder, "/tmp/edition-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    (void)snprintf(path, sizeof path, "%s/campaigns", rig->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/verp.key", rig->folder);
    assert_int_equal(keygen_verp(path, &why), 0);
    (void)snprintf(text, sizeof text,
                   "hostname = \"me.test\"\nstate_dir = \"%s\"\nsender { from_domain = \"me.test\" "
                   "return_path = \"b.me.test\" secret_file = \"verp.key\" }\n",
                   rig->folder);
    (void)snprintf(path, sizeof path, "%s/hikyaku.conf", rig->folder);
    put(path, text);
    assert_int_equal(config_load(path, &rig->config, &why), 0);
    assert_int_equal(signer_load(rig->config, &rig->signer, &why), 0);
    rig->region.campaign = rig->campaigns;
    rig->shelf = shelf_new(rig->config, &rig->region, rig->signer);
    add_campaign(rig, "one", "email\na@x.test\nb@x.test\n", MESSAGE);
    add_campaign(rig, "two", "email\nc@x.test\n", MESSAGE);
    add_campaign(rig, "broken", "email\nd@x.test\n", MESSAGE "{{nobody}}\n");
    return rig;
}

static void rig_free(struct rig *rig)
{
    char command[128];
    shelf_free(rig->shelf);
    signer_free(rig->signer);
    config_free(rig->config);
    (void)snprintf(command, sizeof command, "rm -r %s", rig->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a name of our own making */
    free(rig);
}

static void an_edition_is_loaded_once(void **state)
{
    struct rig *rig = rig_new();
    const char *fault = NULL;
    (void)state;
    use_slot(rig, 3, "one");
    struct edition *first = edition_get(rig->shelf, 3, 1, &fault);
    struct edition *second = edition_get(rig->shelf, 3, 2, &fault);
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_int_equal(segment_count(first->segment), 2);
    edition_unref(first);
    edition_unref(second);
    rig_free(rig);
}

static void a_slot_used_anew_is_another_campaign_and_letters_keep_the_old_one(void **state)
{
    struct rig *rig = rig_new();
    const char *fault = NULL;
    (void)state;
    use_slot(rig, 0, "one");
    struct edition *old = edition_get(rig->shelf, 0, 1, &fault);
    assert_non_null(old);
    use_slot(rig, 0, "two");
    struct edition *new = edition_get(rig->shelf, 0, 2, &fault);
    assert_non_null(new);
    assert_int_equal(segment_count(new->segment), 1);
    assert_int_equal(segment_count(old->segment), 2);
    edition_unref(old); /* the last reference */
    edition_unref(new);
    rig_free(rig);
}

static void what_cannot_be_loaded_says_why_and_is_tried_again_after_a_pause(void **state)
{
    struct rig *rig = rig_new();
    const char *fault = NULL;
    char path[256];
    (void)state;
    use_slot(rig, 0, "broken");
    assert_null(edition_get(rig->shelf, 0, 1000, &fault));
    assert_non_null(strstr(fault, "nobody"));
    (void)snprintf(path, sizeof path, "%s/campaigns/broken/message.eml", rig->folder);
    put(path, MESSAGE);
    pin(rig, &rig->campaigns[0]);
    assert_null(edition_get(rig->shelf, 0, 1000 + EDITION_AGAIN_MS - 1, &fault));
    struct edition *mended = edition_get(rig->shelf, 0, 1000 + EDITION_AGAIN_MS, &fault);
    assert_non_null(mended);
    edition_unref(mended);
    rig->campaigns[0].segments = 2; /* the second is not there */
    atomic_fetch_add(&rig->campaigns[0].generation, 1);
    assert_null(edition_get(rig->shelf, 0, 1000, &fault));
    assert_non_null(strstr(fault, "segment-1.seg"));
    rig_free(rig);
}

static void files_that_were_exchanged_are_not_taken(void **state)
{
    static const char *const what[] = {"message", "list"};
    (void)state;
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
        struct rig *rig = rig_new();
        const char *fault = NULL;
        char from[256], to[256], words[64];
        const char *file = i == 0 ? "message.eml" : "segment-0.seg";
        use_slot(rig, 0, "one");
        (void)snprintf(from, sizeof from, "%s/campaigns/%s/%s", rig->folder, i == 0 ? "broken" : "two", file);
        (void)snprintf(to, sizeof to, "%s/campaigns/one/%s", rig->folder, file);
        assert_int_equal(rename(from, to), 0);
        assert_null(edition_get(rig->shelf, 0, 1, &fault));
        (void)snprintf(words, sizeof words, "not the %s that campaign one was begun with", what[i]);
        assert_string_equal(fault, words);
        rig_free(rig);
    }
}

static void a_name_that_leads_elsewhere_is_not_followed(void **state)
{
    struct rig *rig = rig_new();
    const char *fault = NULL;
    (void)state;
    use_slot(rig, 0, "../campaigns/one");
    assert_null(edition_get(rig->shelf, 0, 1, &fault));
    assert_non_null(strstr(fault, "cannot have"));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edition_is_loaded_once),
        cmocka_unit_test(a_slot_used_anew_is_another_campaign_and_letters_keep_the_old_one),
        cmocka_unit_test(what_cannot_be_loaded_says_why_and_is_tried_again_after_a_pause),
        cmocka_unit_test(files_that_were_exchanged_are_not_taken),
        cmocka_unit_test(a_name_that_leads_elsewhere_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
