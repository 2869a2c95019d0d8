/* json_text.h - JSON from strangers (RFC 8259), bounded before anything is built of it. */
#ifndef BOUNCE_JSON_TEXT_H
#define BOUNCE_JSON_TEXT_H

#include <jansson.h>

#include "hikyaku/base.h"

/* One object. NULL, and *error: HK_ETOOBIG, HK_EINVAL (no JSON, deeper than `depth`, a key twice in one object, a NUL in a
 * text), HK_ENOMEM. The caller json_decref()s it. */
json_t *json_text_read(const char *bytes, size_t length, size_t most, unsigned depth, int *error,
                       struct hk_why *why);

/* A member that is a text; NULL where there is none. */
const char *json_text_at(const json_t *object, const char *key);

#endif
