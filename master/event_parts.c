/* event_parts.c - what files the event log has (event_parts.h). */
#include "event_parts.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void event_parts_free(struct event_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        free(parts->path[i]);
    free((void *)parts->path);
    free(parts->folder);
}

static void parts_add(struct event_parts *parts, const char *name)
{
    parts->path = hk_xrealloc((void *)parts->path, parts->count + 1, sizeof *parts->path);
    parts->path[parts->count++] = hk_xasprintf("%s/%s", parts->folder, name);
}

/* A part whose packing was cut off is there twice, and the packed one is not whole. */
static void drop_doubles(struct event_parts *parts)
{
    size_t kept = 0;

    for (size_t i = 0; i < parts->count; i++) {
        const char *before = kept > 0 ? parts->path[kept - 1] : "";
        size_t length = strlen(before);
        if (length > 0 && strncmp(before, parts->path[i], length) == 0 &&
            strcmp(parts->path[i] + length, ".zst") == 0)
            free(parts->path[i]);
        else
            parts->path[kept++] = parts->path[i];
    }
    parts->count = kept;
}

/* The times in the names of rotated parts sort. */
int event_parts_list(const char *file, struct event_parts *parts, struct hk_why *why)
{
    const char *slash = strrchr(file, '/'), *base = slash != NULL ? slash + 1 : file;
    size_t length = strlen(base);
    struct dirent *entry;
    DIR *folder;

    *parts = (struct event_parts){0};
    parts->folder = slash != NULL ? hk_xasprintf("%.*s", (int)(slash - file), file) : hk_xstrdup(".");
    folder = opendir(slash == file ? "/" : parts->folder);
    if (folder == NULL)
        return why_set(why, HK_EIO, "%s: cannot be read: %s", parts->folder, strerror(errno));
    while ((entry = readdir(folder)) != NULL)
        if (strncmp(entry->d_name, base, length) == 0 && entry->d_name[length] == '.' &&
            entry->d_name[length + 1] >= '0' && entry->d_name[length + 1] <= '9')
            parts_add(parts, entry->d_name);
    closedir(folder);
    if (parts->count > 0)
        qsort((void *)parts->path, parts->count, sizeof *parts->path, by_name);
    drop_doubles(parts);
    if (access(file, F_OK) == 0)
        parts_add(parts, base);
    return 0;
}

/* Behind the log's own name: ".2026-11-24T09:00:00.123456Z", and perhaps more. 0: that is no time. */
static uint64_t time_in_name(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, ".%Y-%m-%dT%H:%M:%S", &tm);
    unsigned long micros;

    if (rest == NULL || sscanf(rest, ".%6luZ", &micros) != 1)
        return 0;
    return (uint64_t)timegm(&tm) * 1000000u + micros;
}

char *event_parts_next(const char *file, uint64_t wall_us, struct hk_why *why)
{
    struct event_parts parts;
    const char *slash = strrchr(file, '/');
    size_t base_length = strlen(slash != NULL ? slash + 1 : file);
    char when[CLOCK_RFC3339_SIZE];
    int rc = event_parts_list(file, &parts, why);

    for (size_t i = 0; i < parts.count; i++) {
        uint64_t newest = time_in_name(parts.path[i] + strlen(parts.folder) + 1 + base_length);
        if (newest >= wall_us)
            wall_us = newest + 1;
    }
    event_parts_free(&parts);
    clock_rfc3339(wall_us, when);
    return rc == 0 ? hk_xasprintf("%s.%s", file, when) : NULL;
}
