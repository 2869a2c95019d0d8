/* input.c - read, hash and decode a list block by block (input.h). */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define INPUT_BLOCK_SIZE (1u << 20)

/* What browsers and Excel mean by a name is a superset of what the standard of that name holds: without it the
 * circled digits and half of the names in a Japanese list would be broken. */
static const char *charset_of(const char *name)
{
    static const char *const meant[][2] = {
        {"shift_jis", "CP932"},   {"shift-jis", "CP932"},  {"shiftjis", "CP932"},
        {"sjis", "CP932"},        {"ms_kanji", "CP932"},   {"cp932", "CP932"},
        {"windows-31j", "CP932"}, {"euc-jp", "EUC-JP-MS"}, {"eucjp", "EUC-JP-MS"},
    };

    for (size_t i = 0; i < sizeof meant / sizeof meant[0]; i++)
        if (strcasecmp(name, meant[i][0]) == 0)
            return meant[i][1];
    return name;
}

static bool is_utf8_name(const char *name)
{
    return strcasecmp(name, "utf-8") == 0 || strcasecmp(name, "utf8") == 0;
}

static size_t unit_of(const char *name)
{
    if (strncasecmp(name, "utf-16", 6) == 0 || strncasecmp(name, "utf16", 5) == 0 ||
        strncasecmp(name, "ucs-2", 5) == 0 || strncasecmp(name, "ucs2", 4) == 0)
        return 2;
    if (strncasecmp(name, "utf-32", 6) == 0 || strncasecmp(name, "utf32", 5) == 0 ||
        strncasecmp(name, "ucs-4", 5) == 0 || strncasecmp(name, "ucs4", 4) == 0)
        return 4;
    return 1;
}

static int open_converter(struct input *in, const char *encoding, struct hk_why *why)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:+()";
    char clean[64];

    in->encoding = encoding;
    if (is_utf8_name(encoding))
        return 0;
    /* A slash would hand iconv() orders of its own ("//IGNORE"). */
    if (encoding[0] != '\0' && encoding[strspn(encoding, allowed)] == '\0') {
        in->converter = iconv_open("UTF-8", charset_of(encoding));
        in->decodes = in->converter != (iconv_t)-1;
    }
    if (in->decodes) {
        in->unit = unit_of(encoding);
        return 0;
    }
    hk_clean_text(clean, sizeof clean, encoding, strlen(encoding));
    return why_set(
        why, HK_EINVAL,
        "--encoding %s: no such encoding is known; write Shift_JIS, EUC-JP, ISO-2022-JP, windows-1252, "
        "UTF-16 or another name that 'iconv -l' lists",
        clean);
}

static int open_file(struct input *in, const char *path, struct hk_why *why)
{
    bool standard_input = strcmp(path, "-") == 0;

    in->name = standard_input ? "standard input" : path;
    in->fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return why_set(why, errno == ENOENT || errno == ENOTDIR ? HK_ENOENT : HK_EINVAL,
                       "%s: cannot open the list: %s", in->name, strerror(errno));
    if (fstat(in->fd, &in->before) != 0)
        return why_set(why, HK_EIO, "%s: cannot read: %s", in->name, strerror(errno));
    if (S_ISDIR(in->before.st_mode))
        return why_set(why, HK_EINVAL, "%s: is a directory; give the CSV file in it", in->name);
    posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

int input_open(struct input *in, const char *path, const char *encoding, struct hk_why *why)
{
    int rc;

    memset(in, 0, sizeof *in);
    in->fd = -1;
    in->unit = 1;
    rc = open_file(in, path, why);
    if (rc == 0 && encoding != NULL)
        rc = open_converter(in, encoding, why);
    if (rc != 0)
        return rc;
    in->raw = malloc(INPUT_BLOCK_SIZE);
    in->text = in->decodes ? malloc(INPUT_BLOCK_SIZE) : NULL;
    in->digest = EVP_MD_CTX_new();
    if (in->raw == NULL || (in->decodes && in->text == NULL) || in->digest == NULL ||
        EVP_DigestInit_ex(in->digest, EVP_sha256(), NULL) != 1)
        return why_set(why, HK_ENOMEM, "%s: out of memory", in->name);
    return 0;
}

/* Fill `raw` behind what is left in it, as far as the file goes. 0 or HK_EIO. */
static int fill(struct input *in, struct hk_why *why)
{
    memmove(in->raw, in->raw + in->raw_at, in->raw_end - in->raw_at);
    in->raw_end -= in->raw_at;
    in->raw_at = 0;
    while (!in->at_end && in->raw_end < INPUT_BLOCK_SIZE) {
        ssize_t n = read(in->fd, in->raw + in->raw_end, INPUT_BLOCK_SIZE - in->raw_end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return why_set(why, HK_EIO, "%s: cannot read: %s", in->name, strerror(errno));
        in->at_end = n == 0;
        HK_BUG_ON(EVP_DigestUpdate(in->digest, in->raw + in->raw_end, (size_t)n) != 1);
        in->raw_end += (size_t)n;
        in->bytes_read += (size_t)n;
    }
    return 0;
}

/* Bytes that cannot be decoded: leave a mark, skip them and begin anew in the encoding's first state. */
static void skip_broken(struct input *in, char **out, size_t *room)
{
    size_t left = in->raw_end - in->raw_at;

    in->raw_at += left < in->unit ? left : in->unit;
    *(*out)++ = INPUT_BROKEN;
    (*room)--;
    iconv(in->converter, NULL, NULL, NULL, NULL);
}

/* Decode what is in `raw` as far as `text` has room: the bytes made. */
static size_t decode(struct input *in)
{
    char *out = in->text;
    size_t room = INPUT_BLOCK_SIZE;

    while (in->raw_at < in->raw_end) {
        char *from = in->raw + in->raw_at;
        size_t left = in->raw_end - in->raw_at;
        int error = iconv(in->converter, &from, &left, &out, &room) == (size_t)-1 ? errno : 0;
        in->raw_at = in->raw_end - left;
        if (error == E2BIG || room == 0 || (error == EINVAL && !in->at_end))
            break;
        if (error == EILSEQ || error == EINVAL)
            skip_broken(in, &out, &room);
    }
    if (in->at_end && in->raw_at == in->raw_end)
        iconv(in->converter, NULL, NULL, &out, &room);
    return INPUT_BLOCK_SIZE - room;
}

ssize_t input_read(struct input *in, const char **text, struct hk_why *why)
{
    size_t length;
    int rc;

    do {
        rc = fill(in, why);
        if (rc != 0)
            return rc;
        if (!in->decodes) {
            *text = in->raw;
            in->raw_at = in->raw_end;
            return (ssize_t)in->raw_end;
        }
        *text = in->text;
        length = decode(in);
    } while (length == 0 && !(in->at_end && in->raw_at == in->raw_end));
    return (ssize_t)length;
}

void input_sha256(struct input *in, char out[HK_SHA256_HEX])
{
    unsigned char sha256[EVP_MAX_MD_SIZE];

    HK_BUG_ON(EVP_DigestFinal_ex(in->digest, sha256, NULL) != 1);
    hk_hex(sha256, 32, out);
}

bool input_has_changed(const struct input *in)
{
    struct stat after;

    return in->fd >= 0 && S_ISREG(in->before.st_mode) &&
           (fstat(in->fd, &after) != 0 || after.st_size != in->before.st_size ||
            after.st_mtim.tv_sec != in->before.st_mtim.tv_sec ||
            after.st_mtim.tv_nsec != in->before.st_mtim.tv_nsec);
}

void input_close(struct input *in)
{
    if (in->fd >= 0)
        close(in->fd);
    if (in->decodes)
        iconv_close(in->converter);
    EVP_MD_CTX_free(in->digest);
    free(in->raw);
    free(in->text);
    memset(in, 0, sizeof *in);
    in->fd = -1;
}
