/* net.c - see net.h. */
#include "net.h"

#include <string.h>
#include <sys/resource.h>

int net_split(const char *text, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    const char *at = text;

    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        at++;
        length -= 2;
    } else if (memchr(text, ':', length) != NULL) {
        return HK_EINVAL;
    }
    if (length == 0 || length >= size)
        return HK_EINVAL;
    memcpy(host, at, length);
    host[length] = '\0';
    *port = colon + 1;
    return HK_OK;
}

uint64_t net_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}
