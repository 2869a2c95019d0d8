/* fuzz_command.c - any line through the command grammar: what it returns must lie inside the line. */
#include <string.h>

#include "hikyaku/reply.h"

#define CHECK(condition)      \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line =
        malloc(size + (size == 0)); /* its exact size, so that the sanitizer sees an octet too many */
    struct smtp_command c;

    if (line == NULL)
        return 0;
    memcpy(line, data, size);
    smtp_command_parse(line, size, &c);
    CHECK(c.argument >= line && c.argument + c.argument_length <= line + size);
    CHECK(c.parameters >= line && c.parameters + c.parameters_length <= line + size);
    if ((c.verb == VERB_MAIL || c.verb == VERB_RCPT) && !c.bad_syntax) {
        CHECK(c.argument_length <= 320);
        CHECK(c.argument_length == 0 || memchr(c.argument, '\n', c.argument_length) == NULL);
        CHECK(c.argument_length > 0 || c.verb == VERB_MAIL);
    }
    free(line);
    return 0;
}
