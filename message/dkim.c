/* dkim.c - see dkim.h. */
#include "dkim.h"

#include "signer.h"

#define DKIM_SIGNATURE_COLUMNS 72

/* Where a signature's base64 will stand in a copy's fields, and the hash that it will be of. */
struct dkim_blank {
    size_t at;
    uint8_t digest[SHA256_OCTETS];
};

static void signed_name(struct fold *fold, const char *name, bool *first)
{
    char lower[128];
    size_t length = strlen(name), extra = *first ? 0 : 1;

    HK_BUG_ON(length >= sizeof lower);
    for (size_t i = 0; i < length; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
    lower[length] = 0;
    if (!*first)
        fold_glue(fold, ":");
    if (fold->col + length + extra >= WORD_LINE_MAX) {
        fold_glue(fold, "\r\n ");
        fold->col = 1;
    }
    fold_glue(fold, lower);
    *first = false;
}

static void signed_names(const struct message *m, struct fold *fold)
{
    bool first = true;

    for (int dynamic = 0; dynamic < 2; dynamic++) {
        for (size_t i = 0; i < m->field_count; i++) {
            if (m->field[i].is_signed && m->field[i].is_static == (dynamic == 0))
                signed_name(fold, m->field[i].name, &first);
        }
    }
    signed_name(fold, "from", &first);
}

static int form_make(const struct message *m, size_t key, struct dkim_form *form)
{
    struct fold fold = {.out = &form->wire, .col = 3};

    buf_text(&form->wire, "DKIM-Signature: v=1; a=");
    buf_text(&form->wire, signer_key_algorithm(m->signer, key));
    buf_text(&form->wire, "; c=relaxed/relaxed; s=");
    buf_text(&form->wire, signer_key_selector(m->signer, key));
    buf_text(&form->wire, ";\r\n d=");
    buf_text(&form->wire, signer_key_domain(m->signer, key));
    buf_text(&form->wire, ";\r\n h=");
    signed_names(m, &fold);
    buf_text(&form->wire, ";\r\n t=");
    if (form->wire.failed)
        return HK_ENOMEM;
    canon_field(form->wire.at, form->wire.length, &form->canon);
    form->canon.length -= 2; /* the line goes on */
    return form->canon.failed ? HK_ENOMEM : 0;
}

static int header_prefix_make(struct message *m)
{
    struct buf canon = {0};
    int ok;

    for (size_t i = 0; i < m->field_count; i++) {
        const struct field *field = &m->field[i];

        if (field->is_signed && field->is_static)
            canon_field(m->wire.at + field->wire_at, field->wire_length, &canon);
    }
    m->header_prefix = EVP_MD_CTX_new();
    ok = !canon.failed && m->header_prefix != NULL &&
         EVP_DigestInit_ex2(m->header_prefix, signer_sha256(m->signer), NULL) == 1 &&
         EVP_DigestUpdate(m->header_prefix, canon.at, canon.length) == 1;
    buf_free(&canon);
    return ok ? 0 : HK_ENOMEM;
}

int dkim_compile(struct message *m)
{
    size_t keys = signer_key_count(m->signer);
    int error = header_prefix_make(m);

    m->dkim = calloc(keys, sizeof *m->dkim);
    if (m->dkim == NULL)
        return HK_ENOMEM;
    for (size_t i = 0; i < keys && error == 0; i++)
        error = form_make(m, i, &m->dkim[i]);
    return error;
}

void dkim_free(struct message *m)
{
    for (size_t i = 0; m->dkim != NULL && i < signer_key_count(m->signer); i++) {
        buf_free(&m->dkim[i].wire);
        buf_free(&m->dkim[i].canon);
    }
    free(m->dkim);
    EVP_MD_CTX_free(m->header_prefix);
}

/* The hash that is signed: static fields, dynamic fields, the signature's own field with an empty b=. */
static bool header_digest(const struct message *m, const struct dkim_form *form, const struct buf *dynamic,
                          const char *values, const char *body_hash, uint8_t *digest)
{
    EVP_MD_CTX *hash = signer_header_hash(m->signer);
    static const char bh[] = "; bh=", b[] = "; b=";

    return EVP_MD_CTX_copy_ex(hash, m->header_prefix) == 1 &&
           (dynamic->length == 0 || EVP_DigestUpdate(hash, dynamic->at, dynamic->length) == 1) &&
           EVP_DigestUpdate(hash, form->canon.at, form->canon.length) == 1 &&
           EVP_DigestUpdate(hash, values, strlen(values)) == 1 &&
           EVP_DigestUpdate(hash, bh, sizeof bh - 1) == 1 &&
           EVP_DigestUpdate(hash, body_hash, strlen(body_hash)) == 1 &&
           EVP_DigestUpdate(hash, b, sizeof b - 1) == 1 && EVP_DigestFinal_ex(hash, digest, NULL) == 1;
}

/* With its folding and its line end. */
static size_t signature_text_length(size_t octets)
{
    size_t base64 = (octets + 2) / 3 * 4;

    return base64 + (base64 - 1) / DKIM_SIGNATURE_COLUMNS * 3 + 2;
}

static char *octets_put(char *to, const char *octets, size_t length)
{
    memcpy(to, octets, length);
    return to + length;
}

static void signature_write(const struct buf *base64, char *to)
{
    for (size_t from = 0; from < base64->length; from += DKIM_SIGNATURE_COLUMNS) {
        size_t left = base64->length - from;
        size_t length = left < DKIM_SIGNATURE_COLUMNS ? left : DKIM_SIGNATURE_COLUMNS;

        if (from > 0)
            to = octets_put(to, "\r\n ", 3);
        to = octets_put(to, base64->at + from, length);
    }
    (void)octets_put(to, "\r\n", 2);
}

static void blank_put(struct buf *out, size_t length)
{
    if (!buf_need(out, length))
        return;
    memset(out->at + out->length, ' ', length);
    out->length += length;
}

bool dkim_begin(const struct render *render, const uint8_t *body_digest)
{
    const struct message *m = render->message;
    struct copy_arena *arena = render->copy->arena;
    struct buf *scratch = &arena->text, *out = &arena->signature;
    char time[24], body_hash[64];
    bool ok = true;

    (void)hk_put_number(time, time + sizeof time, render->wall_us / 1000000);
    scratch->length = 0;
    base64_line(body_digest, SHA256_OCTETS, scratch);
    if (scratch->failed)
        return false;
    memcpy(body_hash, scratch->at, scratch->length);
    body_hash[scratch->length] = 0;
    for (size_t i = 0; i < signer_key_count(m->signer) && ok; i++) {
        const struct dkim_form *form = &m->dkim[i];
        struct dkim_blank blank;

        ok = header_digest(m, form, &arena->header, time, body_hash, blank.digest);
        buf_put(out, form->wire.at, form->wire.length);
        buf_text(out, time);
        buf_text(out, "; bh=");
        buf_text(out, body_hash);
        buf_text(out, ";\r\n b=");
        blank.at = out->length;
        blank_put(out, signature_text_length(signer_key_octets(m->signer, i)));
        buf_put(&arena->blanks, &blank, sizeof blank);
    }
    return ok && !out->failed && !arena->blanks.failed;
}

bool dkim_sign(const struct message *m, struct copy_arena *arena)
{
    struct buf *scratch = &arena->text;
    uint8_t signature[SIGNATURE_OCTETS_MAX];

    for (size_t i = 0; i < signer_key_count(m->signer); i++) {
        struct dkim_blank blank;
        size_t length;

        memcpy(&blank, arena->blanks.at + i * sizeof blank, sizeof blank);
        length = signer_sign(m->signer, i, blank.digest, signature);
        if (length != signer_key_octets(m->signer, i))
            return false;
        scratch->length = 0;
        base64_line(signature, length, scratch);
        if (scratch->failed)
            return false;
        signature_write(scratch, arena->signature.at + blank.at);
    }
    return true;
}
