/* page.c - see page.h. */
#include "page.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

static const char style[] =
    "body{font:1.1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1.2rem;color:#222;"
    "background:#fff}h1{font-size:1.5rem;line-height:1.3}button{font:inherit;padding:.7rem 1.6rem;border:0;"
    "border-radius:.4rem;background:#0b57d0;color:#fff;cursor:pointer}button:focus{outline:3px solid #8ab4f8}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#eee}}";

struct words {
    const char *title, *before,
        *after; /* the list's name stands between the two; after NULL: it is not named */
    const char *button;
};

/* clang-format off */
static const struct words words[PAGES_COUNT][2] = {
    [PAGE_ASK] = {
        {"Unsubscribe", "Do you want to receive no more mail of this list", "?", "Unsubscribe"},
        {"配信停止", "このメーリングリスト", "からの配信を停止しますか。", "配信を停止する"}},
    [PAGE_DONE] = {
        {"You are unsubscribed", "You will receive no more mail of this list", ". A message that is on its way already may still arrive.", NULL},
        {"配信を停止しました", "このメーリングリスト", "からのメールは今後届きません。すでに送信中のメールは届くことがあります。", NULL}},
    [PAGE_GONE] = {
        {"This link is too old", "The mail that it came with", " is so old that we cannot tell any more to whom it was sent. Please use the link in a newer mail.", NULL},
        {"リンクが古すぎます", "このリンクを含むメール", "は古く、宛先を確認できません。新しいメールのリンクをご利用ください。", NULL}},
    [PAGE_UNKNOWN] = {
        {"This link is not complete", "We do not know this link. Perhaps a part of it was cut off: please open it from the mail once more.", NULL, NULL},
        {"リンクが正しくありません", "このリンクは確認できません。途中で切れている可能性があります。メールからもう一度開いてください。", NULL, NULL}},
    [PAGE_LATER] = {
        {"Please try again", "We could not write down your wish just now. Please try again in a few minutes.", NULL, NULL},
        {"もう一度お試しください", "ただいま受付できませんでした。数分後にもう一度お試しください。", NULL, NULL}},
    [PAGE_WRONG] = {
        {"This was not understood", "Please open the link from the mail and press the button there.", NULL, NULL},
        {"リクエストを処理できません", "メールのリンクを開き、ボタンを押してください。", NULL, NULL}},
    [PAGE_NOWHERE] = {
        {"Nothing here", "There is no page at this address.", NULL, NULL},
        {"ページがありません", "このアドレスにページはありません。", NULL, NULL}},
};
/* clang-format on */

unsigned page_status(enum page page)
{
    static const unsigned status[PAGES_COUNT] = {
        [PAGE_ASK] = 200,   [PAGE_DONE] = 200,  [PAGE_GONE] = 410,    [PAGE_UNKNOWN] = 404,
        [PAGE_LATER] = 503, [PAGE_WRONG] = 400, [PAGE_NOWHERE] = 404,
    };

    return status[page];
}

const char *page_language_tag(enum route_language language)
{
    return language == LANGUAGE_JA ? "ja" : "en";
}

char *page_text(enum page page, enum route_language language, const char *list)
{
    const struct words *w = &words[page][language];
    char name[300] = "";
    char *out = NULL;

    /* A list's name is that of a domain: it has no character that HTML takes for its own. */
    if (list != NULL && w->after != NULL)
        (void)snprintf(name, sizeof name, language == LANGUAGE_JA ? "（%s）" : " (%s)", list);
    if (asprintf(&out,
                 "<!DOCTYPE html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<meta name=\"robots\" content=\"noindex\">\n<title>%s</title>\n<style>%s</style>\n</head>\n"
                 "<body>\n<main>\n<h1>%s</h1>\n<p>%s%s%s</p>\n%s%s%s</main>\n</body>\n</html>\n",
                 page_language_tag(language), w->title, style, w->title, w->before, name,
                 w->after != NULL ? w->after : "",
                 w->button != NULL ? "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" "
                                     "value=\"One-Click\"><button type=\"submit\">"
                                   : "",
                 w->button != NULL ? w->button : "", w->button != NULL ? "</button></form>\n" : "") < 0)
        return NULL;
    return out;
}

const char *page_policy(void)
{
    static char policy[256];
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char text[64];

    if (policy[0] != '\0')
        return policy;
    (void)SHA256((const unsigned char *)style, sizeof style - 1, digest);
    (void)EVP_EncodeBlock((unsigned char *)text, digest, sizeof digest);
    (void)snprintf(policy, sizeof policy,
                   "default-src 'none'; style-src 'sha256-%s'; form-action 'self'; base-uri 'none'; "
                   "frame-ancestors 'none'",
                   text);
    return policy;
}
