/* test_signer.c - keys and secrets: made, loaded, refused; tokens made and taken apart. */
#include <openssl/pem.h>
#include <sys/stat.h>

#include "fixture.h"
#include "hikyaku/address.h"
#include "signer.h"

static void file_put(const char *path, const char *text)
{
    struct hk_why why;

    assert_int_equal(hk_write_file(path, 0600, text, strlen(text), &why), 0);
}

static void load_is_refused(struct fixture *f, const char *words)
{
    struct signer *signer;

    memset(&f->why, 0, sizeof f->why);
    assert_int_not_equal(signer_load(&f->config, &signer, &f->why), 0);
    assert_null(signer);
    if (strstr(f->why.text, words) == NULL)
        fail_msg("%s", f->why.text);
}

static int return_path(const struct fixture *f, const char *campaign, uint32_t index, char *out)
{
    const struct token_subject subject = {.campaign = campaign,
                                          .address = "Ann@Example.net",
                                          .address_length = 15,
                                          .index = index,
                                          .day = 20000};

    return verp_make(f->signer, &subject, out);
}

static void a_return_path_fits_and_survives_lower_and_upper_case(void **state)
{
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1];
    struct verp_token token;

    (void)state;
    assert_int_equal(return_path(f, "Spring_2026.sale", 0xFFFFFFFF, address), 0);
    assert_true(strchr(address, '@') - address <= 64);
    assert_int_equal(strspn(address, "abcdefghijklmnopqrstuvwxyz0123456789.-"),
                     strchr(address, '@') - address);
    for (unsigned upper = 0; upper < 2; upper++) {
        assert_int_equal(verp_parse(f->signer, address, strlen(address), &token), 0);
        assert_string_equal(token.campaign, "Spring_2026.sale");
        assert_int_equal(token.day, 20000);
        assert_int_equal(token.index, 0xFFFFFFFF);
        for (char *p = address; *p != 0; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    }
}

static void a_long_campaign_id_goes_in_as_a_hash(void **state)
{
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1], key[CAMPAIGN_ID_MAX + 1], campaign[CAMPAIGN_ID_MAX + 1];
    struct verp_token token;

    memset(campaign, 'c', CAMPAIGN_ID_MAX);
    campaign[CAMPAIGN_ID_MAX] = 0;
    assert_int_equal(return_path(f, campaign, 2, address), 0);
    assert_true(strchr(address, '@') - address <= 64);
    assert_int_equal(verp_parse(f->signer, address, strlen(address), &token), 0);
    verp_campaign(campaign, key);
    assert_string_equal(token.campaign, key);
    assert_int_equal(key[0], '~');
    verp_campaign("short", key);
    assert_string_equal(key, "short");
}

static void a_token_that_was_changed_is_refused(void **state)
{
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1];
    struct verp_token token;
    size_t length, at;

    assert_int_equal(return_path(f, "spring", 7, address), 0);
    length = strlen(address);
    at = (size_t)(strchr(address, '@') - address);
    for (size_t i = 2; i < at; i++) {
        char was = address[i];

        address[i] = was == 'a' ? 'b' : 'a';
        assert_true(verp_parse(f->signer, address, length, &token) < 0);
        address[i] = was;
    }
    assert_int_equal(verp_parse(f->signer, address, length - 1, &token), HK_EINVAL);
    assert_int_equal(verp_parse(f->signer, address + 1, length - 1, &token), HK_EINVAL);
    assert_int_equal(verp_parse(f->signer, "b-@bounce.example.com", 21, &token), HK_EINVAL);
    assert_int_equal(verp_parse(f->signer, "", 0, &token), HK_EINVAL);
    assert_int_equal(verp_parse(f->signer, "user@example.com", 16, &token), HK_EINVAL);
    /* A return path does not unsubscribe. */
    assert_int_equal(unsubscribe_parse(f->signer, address + 2, at - 2, &token), HK_EPROTO);
}

static void a_token_knows_whom_it_is_about_and_whom_not(void **state)
{
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1];
    struct verp_token token;

    assert_int_equal(return_path(f, "spring", 7, address), 0);
    assert_int_equal(verp_parse(f->signer, address, strlen(address), &token), 0);
    assert_true(verp_is_about(f->signer, &token, "ann@example.net", 15));
    assert_true(verp_is_about(f->signer, &token, "ANN@EXAMPLE.NET", 15));
    assert_false(verp_is_about(f->signer, &token, "bob@example.net", 15));
    assert_false(verp_is_about(f->signer, &token, "ann@example.ne", 14));
    assert_false(verp_is_about(f->signer, &token, "", 0));
    token.key ^= 1u; /* a secret that is not there */
    assert_false(verp_is_about(f->signer, &token, "ann@example.net", 15));
}

/* `old` as a line of the file that was given up on that day, under a secret that is in use. */
static int parse_given_up(struct fixture *f, const char *old, const char *until, const char *address)
{
    static const char digits[] = "0123456789abcdef";
    char path[96], fresh[65], *text, *key = strrchr(old, '\n');
    struct signer *signer = NULL;
    struct verp_token token;
    int error = HK_EINVAL;

    while (key > old && key[-1] != '\n')
        key--;
    (void)snprintf(path, sizeof path, "%s/rotated.key", f->folder);
    f->config.sender.secret_file = path;
    /* One secret in 256 has the id of another: the second one then has not. */
    for (unsigned other = 1; other < 3 && signer == NULL; other++) {
        for (unsigned i = 0; i < 64; i++)
            fresh[i] = digits[(i * other) % 16];
        fresh[64] = 0;
        text = hk_xasprintf("%s\n%.64s%s\n", fresh, key, until);
        file_put(path, text);
        free(text);
        if (signer_load_tokens(&f->config, &signer, &f->why) != 0)
            signer = NULL;
    }
    if (signer != NULL)
        error = verp_parse(signer, address, strlen(address), &token);
    signer_free(signer);
    f->config.sender.secret_file = f->verp;
    (void)unlink(path);
    return error;
}

/* 20000 days after 1970 is 2024-10-04. */
static void a_secret_that_was_given_up_speaks_for_what_was_made_before(void **state)
{
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1], *old;
    size_t length;

    assert_int_equal(return_path(f, "spring", 7, address), 0);
    assert_int_equal(hk_read_file(f->verp, 4096, &old, &length, &f->why), 0);
    assert_int_equal(parse_given_up(f, old, "", address), 0);
    assert_int_equal(parse_given_up(f, old, " until 2024-10-04", address), 0);
    assert_int_equal(parse_given_up(f, old, " until 2024-10-03", address), HK_EPROTO);
    free(old);
}

/* Day and month changed places, or a day too many: that is no later day. */
static void a_secret_is_given_up_on_a_day_that_there_is(void **state)
{
    static const char *const wrong[] = {" until 2024-31-12", " until 2023-02-29", " until 2024-10-32",
                                        " until 2024-00-10", " until 2024-10-00"};
    struct fixture *f = *state;
    char address[ADDRESS_MAX + 1], *old;
    size_t length;

    assert_int_equal(return_path(f, "spring", 7, address), 0);
    assert_int_equal(hk_read_file(f->verp, 4096, &old, &length, &f->why), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(parse_given_up(f, old, wrong[i], address), HK_EINVAL);
        assert_non_null(strstr(f->why.text, "until 2026-11-29"));
    }
    assert_int_equal(parse_given_up(f, old, " until 2028-02-29", address), 0);
    free(old);
}

static void a_secret_that_makes_tokens_is_not_given_up(void **state)
{
    struct fixture *f = *state;
    char path[96], *old, *line;
    size_t length;

    (void)snprintf(path, sizeof path, "%s/first.key", f->folder);
    assert_int_equal(hk_read_file(f->verp, 4096, &old, &length, &f->why), 0);
    old[length - 1] = 0;
    f->config.sender.secret_file = path;
    line = hk_xasprintf("%s until 2026-11-29\n", old);
    file_put(path, line);
    load_is_refused(f, "the first secret makes return paths");
    free(line);
    line = hk_xasprintf("%s till 2026-11-29\n", old);
    file_put(path, line);
    load_is_refused(f, "until 2026-11-29");
    free(line);
    free(old);
    f->config.sender.secret_file = f->verp;
    (void)unlink(path);
}

static void an_old_secret_still_speaks_for_its_tokens(void **state)
{
    struct fixture *f = *state;
    char old[ADDRESS_MAX + 1], new_path[96], *new_text, *old_text, *both;
    size_t length;
    struct signer *signer;
    struct verp_token token;

    assert_int_equal(return_path(f, "spring", 7, old), 0);
    (void)snprintf(new_path, sizeof new_path, "%s/new.key", f->folder);
    assert_int_equal(keygen_verp(new_path, &f->why), 0);
    f->config.sender.secret_file = new_path;
    assert_int_equal(signer_load(&f->config, &signer, &f->why), 0);
    assert_int_equal(verp_parse(signer, old, strlen(old), &token), HK_EPROTO);
    signer_free(signer);
    assert_int_equal(hk_read_file(new_path, 4096, &new_text, &length, &f->why), 0);
    assert_int_equal(hk_read_file(f->verp, 4096, &old_text, &length, &f->why), 0);
    both = hk_xasprintf("%s%s", new_text, old_text);
    file_put(new_path, both);
    free(both);
    /* One key in 256 has the id of another: then the file is refused, which is the next test's matter. */
    if (signer_load(&f->config, &signer, &f->why) == 0) {
        assert_int_equal(verp_parse(signer, old, strlen(old), &token), 0);
        signer_free(signer);
    }
    both = hk_xasprintf("%s%s", old_text, old_text + strlen(old_text) - 65);
    file_put(new_path, both);
    free(both);
    load_is_refused(f, "this secret has the id of one above");
    f->config.sender.secret_file = f->verp;
    free(new_text);
    free(old_text);
    (void)unlink(new_path);
}

static void a_secret_file_that_is_none_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/bad.key", f->folder);
    f->config.sender.secret_file = path;
    load_is_refused(f, path);
    file_put(path, "# only words\n\n");
    load_is_refused(f, "no secret in it");
    file_put(path, "\nhello\n");
    load_is_refused(f, "bad.key:2: a secret is 64 hex digits");
    f->config.sender.secret_file = NULL;
    load_is_refused(f, "test.conf: sender.secret_file is missing");
    f->config.sender.secret_file = f->verp;
    (void)unlink(path);
}

static void a_key_that_cannot_sign_for_us_is_refused(void **state)
{
    struct fixture *f = *state;
    static char other[] = "example.org", parent[] = "com", below[] = "news.example.com", title[] = "a b";
    struct cfg_dkim was = f->dkim[0];
    struct signer *signer;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/bad.pem", f->folder);
    f->config.dkim_count = 1;
    f->dkim[0].domain = other;
    load_is_refused(f, "domain example.org does not align with sender.from_domain example.com");
    f->dkim[0].domain = parent;
    load_is_refused(f, "test.conf: dkim \"s1\": domain");
    f->dkim[0].domain = below;
    assert_int_equal(signer_load(&f->config, &signer, &f->why), 0);
    signer_free(signer);
    f->dkim[0] = was;
    f->dkim[0].selector = title;
    load_is_refused(f, "the title is the selector");
    f->dkim[0] = was;
    f->dkim[0].key_file = path;
    load_is_refused(f, path);
    file_put(path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    load_is_refused(f, "no private key in PEM form");
    f->dkim[0] = was;
    f->config.dkim_count = 0;
    (void)unlink(path);
}

/* RFC 8301 */
static void a_weak_or_foreign_key_is_refused(void **state)
{
    struct fixture *f = *state;
    struct cfg_dkim was = f->dkim[0];
    char path[96];

    (void)snprintf(path, sizeof path, "%s/weak.pem", f->folder);
    f->config.dkim_count = 1;
    f->dkim[0].key_file = path;
    for (unsigned i = 0; i < 2; i++) {
        EVP_PKEY *pkey = i == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)768)
                                : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_int_equal(PEM_write_PrivateKey(file, pkey, NULL, NULL, 0, NULL, NULL), 1);
        (void)fclose(file);
        EVP_PKEY_free(pkey);
        load_is_refused(f, i == 0 ? "an RSA key of 768 bits" : "DKIM knows RSA and Ed25519 keys");
    }
    f->dkim[0] = was;
    f->config.dkim_count = 0;
    (void)unlink(path);
}

static void a_file_that_others_can_read_and_no_key_are_warned_of(void **state)
{
    struct fixture *f = *state;
    struct signer *signer;
    const struct note *note;
    const char *words;
    size_t notes;
    int kept;

    assert_int_equal(chmod(f->verp, 0644), 0);
    kept = log_capture_begin();
    assert_int_equal(signer_load(&f->config, &signer, &f->why), 0);
    assert_string_equal(log_capture_end(kept), "");
    kept = log_capture_begin();
    note = signer_notes(signer, &notes);
    notes_log(note, notes);
    words = log_capture_end(kept);
    signer_free(signer);
    assert_int_equal(chmod(f->verp, 0600), 0);
    assert_non_null(strstr(words, "verp.key can be read by others (mode 644); chmod 600 it"));
    assert_non_null(strstr(words, "test.conf: no dkim section: messages are not signed"));
}

static void sender_keys_are_checked(void **state)
{
    struct fixture *f = *state;
    static char bad_url[] = "ftp://x", long_url[800] = "https://x.example/", bad_id[] = "a b";

    f->config.sender.unsubscribe_url = bad_url;
    load_is_refused(f, "sender.unsubscribe_url: write https://");
    memset(long_url + 18, 'x', sizeof long_url - 19);
    f->config.sender.unsubscribe_url = long_url;
    load_is_refused(f, "at most 700 characters");
    f->config.sender.unsubscribe_url = NULL;
    f->config.sender.list_id = bad_id;
    load_is_refused(f, "sender.list_id");
    f->config.sender.list_id = NULL;
}

static void a_new_key_is_never_written_over_an_old_file(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char *record;

    assert_int_equal(keygen_dkim(DKIM_RSA2048, "example.com", "s1", f->rsa, &record, &f->why), HK_EEXIST);
    assert_null(record);
    assert_non_null(strstr(f->why.text, "exists already"));
    assert_int_equal(keygen_verp(f->verp, &f->why), HK_EEXIST);
    assert_int_equal(stat(f->rsa, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keygen_verp("/nowhere/verp.key", &f->why), HK_EIO);
}

static void the_record_of_a_key_is_a_zone_line_with_short_strings(void **state)
{
    struct fixture *f = *state;
    char path[96], *record;

    (void)snprintf(path, sizeof path, "%s/new.pem", f->folder);
    assert_int_equal(keygen_dkim(DKIM_RSA2048, "Example.COM.", "s-1.x", path, &record, &f->why), 0);
    assert_int_equal(strncmp(record, "s-1.x._domainkey.example.com. IN TXT \"v=DKIM1; k=rsa; p=MII", 58), 0);
    for (const char *p = strchr(record, '"'); p != NULL;) {
        const char *end = strchr(p + 1, '"');

        assert_non_null(end);
        assert_true(end - p - 1 <= 255);
        p = strchr(end + 1, '"');
    }
    free(record);
    (void)unlink(path);
    assert_int_equal(keygen_dkim(DKIM_ED25519, "example.com", "ed", path, &record, &f->why), 0);
    assert_int_equal(strlen(record),
                     strlen("ed._domainkey.example.com. IN TXT \"v=DKIM1; k=ed25519; p=\"") + 44);
    free(record);
    (void)unlink(path);
    assert_int_equal(keygen_dkim(DKIM_RSA2048, "example.com", "a b", path, &record, &f->why), HK_EINVAL);
    assert_int_equal(keygen_dkim(DKIM_RSA2048, "a b", "s1", path, &record, &f->why), HK_EINVAL);
}

/* RFC 8463 3: over the digest itself. Judged by another library than the one that signs. */
static void an_ed25519_signature_verifies(void **state)
{
    struct fixture *f = *state;
    uint8_t digest[SHA256_OCTETS] = {0}, signature[SIGNATURE_OCTETS_MAX];
    struct signer *signer;
    EVP_PKEY *pkey;

    f->config.dkim_count = 2;
    assert_int_equal(signer_load(&f->config, &signer, &f->why), 0);
    f->config.dkim_count = 0;
    assert_int_equal(hk_read_private_key(f->ed, "", &pkey, &f->why), 0);
    for (unsigned i = 0; i < 8; i++) {
        EVP_MD_CTX *verify = EVP_MD_CTX_new();

        digest[i] = (uint8_t)(i + 1);
        assert_int_equal(signer_sign(signer, 1, digest, signature), 64);
        assert_int_equal(EVP_DigestVerifyInit(verify, NULL, NULL, NULL, pkey), 1);
        assert_int_equal(EVP_DigestVerify(verify, signature, 64, digest, sizeof digest), 1);
        EVP_MD_CTX_free(verify);
    }
    EVP_PKEY_free(pkey);
    signer_free(signer);
}

static void domains_align_along_the_tree_only(void **state)
{
    (void)state;
    assert_true(domain_is_aligned("example.com", "example.com"));
    assert_true(domain_is_aligned("news.example.com", "example.com"));
    assert_true(domain_is_aligned("example.com", "news.example.com"));
    assert_false(domain_is_aligned("xexample.com", "example.com"));
    assert_false(domain_is_aligned("a.example.com", "b.example.com"));
    assert_false(domain_is_aligned("com", "example.com"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_return_path_fits_and_survives_lower_and_upper_case),
        cmocka_unit_test(a_long_campaign_id_goes_in_as_a_hash),
        cmocka_unit_test(a_token_that_was_changed_is_refused),
        cmocka_unit_test(a_token_knows_whom_it_is_about_and_whom_not),
        cmocka_unit_test(a_secret_that_was_given_up_speaks_for_what_was_made_before),
        cmocka_unit_test(a_secret_is_given_up_on_a_day_that_there_is),
        cmocka_unit_test(a_secret_that_makes_tokens_is_not_given_up),
        cmocka_unit_test(an_old_secret_still_speaks_for_its_tokens),
        cmocka_unit_test(a_secret_file_that_is_none_is_refused),
        cmocka_unit_test(a_key_that_cannot_sign_for_us_is_refused),
        cmocka_unit_test(a_weak_or_foreign_key_is_refused),
        cmocka_unit_test(a_file_that_others_can_read_and_no_key_are_warned_of),
        cmocka_unit_test(sender_keys_are_checked),
        cmocka_unit_test(a_new_key_is_never_written_over_an_old_file),
        cmocka_unit_test(the_record_of_a_key_is_a_zone_line_with_short_strings),
        cmocka_unit_test(an_ed25519_signature_verifies),
        cmocka_unit_test(domains_align_along_the_tree_only),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
