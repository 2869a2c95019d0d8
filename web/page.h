/* page.h - the pages that people see: plain HTML in two languages, nothing from elsewhere, no script. */
#ifndef WEB_PAGE_H
#define WEB_PAGE_H

#include "route.h"

#define PAGES(X)                                                  \
    X(ASK)     /* the one question, with a button that posts */   \
    X(DONE)    /* accepted */                                     \
    X(GONE)    /* a token of ours that cannot be used any more */ \
    X(UNKNOWN) /* no token of ours: cut off, or made up */        \
    X(LATER)   /* nothing could be written down just now */       \
    X(WRONG)   /* a request that we do not understand */          \
    X(NOWHERE) /* there is nothing here */
enum page {
#define PAGE_ENUM(name) PAGE_##name,
    PAGES(PAGE_ENUM)
#undef PAGE_ENUM
        PAGES_COUNT
};

/* The page as UTF-8 HTML, malloc'd; NULL: no memory. `list`: the name of the mailing list, NULL none. */
char *page_text(enum page page, enum route_language language, const char *list);
unsigned page_status(enum page page); /* of HTTP */
const char *page_language_tag(enum route_language language);
/* The value of Content-Security-Policy: our one style by its hash, a form that posts to us, nothing else. A constant. */
const char *page_policy(void);

#endif
