/* server.h - HTTP as the web process speaks it: libmicrohttpd on the process's own loop, with bounds on everything.
 *
 * A request is collected whole, then handed to `serve`; it is answered at once or later by request_answer(), and exactly once.
 * Bounded: connections at a time (more wait in the kernel), the time from a connection's first byte to the request's last
 * (slow ones are cut, sooner when room gets short), a request's body by what it asks for, and all bodies together.
 */
#ifndef WEB_SERVER_H
#define WEB_SERVER_H

#include <ev.h>

#include "page.h"

#define FORM_MAX   4096u       /* bytes of a form */
#define BODIES_MAX (64u << 20) /* of all requests together */

struct server;
struct request; /* the server's, until it is answered */

/* What was asked for, when all of it is there. `one_click`: its form has List-Unsubscribe=One-Click. */
struct asked {
    const struct route *route;
    enum route_language language;
    bool is_post, one_click, is_raw; /* is_raw: SNS says that it is raw delivery */
    const char *body;                /* of SNS and RAW */
    size_t length;
};
typedef void serve_fn(void *context, struct request *request, const struct asked *asked);

int server_open(const struct config *config, const struct route_table *routes, struct ev_loop *loop,
                serve_fn *serve, void *context, struct server **out, struct hk_why *why) HK_MUST_USE;
/* Take connections from this listening descriptor. */
int server_listen(struct server *server, int fd) HK_MUST_USE;

/* A page, or for programs a status and a line of words. */
void request_show(struct request *request, enum page page);
void request_answer(struct request *request, unsigned status, const char *words);

#endif
