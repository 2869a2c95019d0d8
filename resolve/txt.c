/* txt.c - see txt.h. */
#include "txt.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "packet.h"

/* The one record that begins with `version` and a delimiter, into text. False: none, or more than one. */
static bool record_find(const void *bytes, size_t length, const char *version, char text[TXT_BYTES_MAX + 1])
{
    struct packet packet;
    struct packet_record record;
    char one[TXT_BYTES_MAX + 1];
    unsigned found = 0;
    int rc;

    if (packet_open(&packet, bytes, length) || packet.truncated || packet.rcode != PACKET_NOERROR)
        return false;
    while ((rc = packet_next(&packet, &record)) == 1) {
        size_t used;

        if (record.section != PACKET_ANSWER || record.type != PACKET_TXT)
            continue;
        rc = packet_txt(&packet, &record, one, TXT_BYTES_MAX, &used);
        if (rc == HK_EPROTO)
            return false;
        one[used] = '\0';
        if (rc || strlen(one) != used || strncmp(one, version, strlen(version)) != 0)
            continue;
        found++;
        memcpy(text, one, used + 1);
    }
    return rc == 0 && found == 1;
}

static const char *blanks_skip(const char *at)
{
    return at + strspn(at, " \t");
}

/* Step to the next field: its first octet, and in *length how long it is without blanks at its end. NULL: no more. */
static const char *field_next(const char **rest, size_t *length)
{
    const char *at = blanks_skip(*rest);
    size_t whole = strcspn(at, ";");

    while (*at == '\0' || whole == 0) {
        if (*at == '\0')
            return NULL;
        at = blanks_skip(at + 1);
        whole = strcspn(at, ";");
    }
    *rest = at + whole + (at[whole] == ';');
    while (whole > 0 && (at[whole - 1] == ' ' || at[whole - 1] == '\t'))
        whole--;
    *length = whole;
    return at;
}

/* The value of the first field `name=`. NULL: the record has none. */
static const char *field_find(const char *record, const char *name, size_t *length)
{
    const char *rest = record, *field;
    size_t name_length = strlen(name);

    while ((field = field_next(&rest, length)) != NULL) {
        if (*length <= name_length || strncmp(field, name, name_length) != 0)
            continue;
        *length -= name_length;
        return field + name_length;
    }
    return NULL;
}

/* "v=STSv1" has to be followed by a delimiter: STSv10 would be another version. */
static bool version_ends(const char *record, const char *version)
{
    const char *behind = blanks_skip(record + strlen(version));

    return *behind == ';';
}

bool txt_sts_id(const void *bytes, size_t length, char id[TXT_STS_ID_MAX + 1])
{
    char record[TXT_BYTES_MAX + 1];
    const char *value;
    size_t value_length;

    if (!record_find(bytes, length, "v=STSv1", record) || !version_ends(record, "v=STSv1"))
        return false;
    value = field_find(record, "id=", &value_length);
    if (value == NULL || value_length > TXT_STS_ID_MAX)
        return false;
    for (size_t i = 0; i < value_length; i++)
        if (!isalnum((unsigned char)value[i]))
            return false;
    memcpy(id, value, value_length);
    id[value_length] = '\0';
    return true;
}

static bool uri_is_usable(const char *uri, size_t length)
{
    if (!(length > 7 && strncasecmp(uri, "mailto:", 7) == 0) &&
        !(length > 8 && strncasecmp(uri, "https://", 8) == 0))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isgraph((unsigned char)uri[i]) || uri[i] == '"' || uri[i] == '\\')
            return false;
    return true;
}

/* Cut the next of a list of URIs off *rest: without the blanks around it. NULL: no more. */
static const char *uri_next(const char **rest, size_t *left, size_t *length)
{
    const char *uri = *rest, *comma;
    size_t whole;

    if (*left == 0)
        return NULL;
    comma = memchr(uri, ',', *left);
    whole = comma != NULL ? (size_t)(comma - uri) : *left;
    *rest += whole + (comma != NULL ? 1 : 0);
    *left -= whole + (comma != NULL ? 1 : 0);
    while (whole > 0 && (*uri == ' ' || *uri == '\t')) {
        uri++;
        whole--;
    }
    while (whole > 0 && (uri[whole - 1] == ' ' || uri[whole - 1] == '\t'))
        whole--;
    *length = whole;
    return uri;
}

bool txt_tlsrpt_rua(const void *bytes, size_t length, char rua[TXT_RUA_SIZE])
{
    char record[TXT_BYTES_MAX + 1];
    const char *rest, *uri;
    size_t left, uri_length, used = 0;

    if (!record_find(bytes, length, "v=TLSRPTv1", record) || !version_ends(record, "v=TLSRPTv1"))
        return false;
    rest = field_find(record, "rua=", &left);
    while (rest != NULL && (uri = uri_next(&rest, &left, &uri_length)) != NULL) {
        if (!uri_is_usable(uri, uri_length) || used + uri_length + 2 > TXT_RUA_SIZE)
            continue;
        if (used > 0)
            rua[used++] = ',';
        memcpy(rua + used, uri, uri_length);
        used += uri_length;
    }
    rua[used] = '\0';
    return used > 0;
}
