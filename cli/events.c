/* events.c - what the event log says: its newest part, line by line. */
#include "events.h"

#include <string.h>
#include <sys/stat.h>

static void offer(const char *text, size_t length, const char *campaign,
                  void (*fn)(void *context, const json_t *line), void *context)
{
    json_t *line = json_loadb(text, length, 0, NULL);
    const char *of = json_string_value(json_object_get(line, "campaign"));

    if (line != NULL && (campaign == NULL || (of != NULL && strcmp(of, campaign) == 0)))
        fn(context, line);
    json_decref(line);
}

void events_scan(const struct config *config, uint64_t bytes, const char *campaign, const char *text,
                 void (*fn)(void *context, const json_t *line), void *context)
{
    FILE *file = fopen(config->events.file, "re");
    char *line = NULL;
    size_t room = 0;
    struct stat st;
    ssize_t n;

    if (file == NULL)
        return;
    if (fstat(fileno(file), &st) == 0 && (uint64_t)st.st_size > bytes &&
        fseeko(file, st.st_size - (off_t)bytes, SEEK_SET) == 0)
        (void)getline(&line, &room, file); /* cut in the middle */
    while ((n = getline(&line, &room, file)) > 0)
        if (strcasestr(line, text) != NULL)
            offer(line, (size_t)n, campaign, fn, context);
    free(line);
    fclose(file);
}
