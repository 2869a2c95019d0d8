/* due.c - see due.h. */
#include <time.h>

#include "due.h"
#include "hikyaku/base.h"

#define DUE_NAP_NS 20000 /* Linux adds 50,000 where nobody said otherwise (PR_SET_TIMERSLACK) */

void due_init(struct due *due)
{
    *due = (struct due){.call = 1};
}

void due_gone(struct due *due, struct due_mark *mark)
{
    if (mark->call == due->call)
        due->count--;
    mark->call = 0;
}

void due_granted(struct due *due, struct due_mark *mark, uint64_t now_us)
{
    mark->granted_us = now_us;
    if (!mark->near || mark->call == due->call)
        return;
    mark->call = due->call;
    due->count++;
}

void due_answered(struct due *due, struct due_mark *mark, uint64_t now_us)
{
    mark->near = now_us - mark->granted_us <= DUE_US;
    due_gone(due, mark);
}

void due_await(struct due *due, void (*look)(void *context), void *context)
{
    const struct timespec nap = {.tv_nsec = DUE_NAP_NS};
    uint64_t until_us = clock_now_us() + DUE_US;

    while (due->count > 0 && clock_now_us() < until_us) {
        nanosleep(&nap, NULL);
        look(context);
    }
    due->call++;
    due->count = 0;
}
