/* due.c - see due.h. */
#include "due.h"

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

void due_call(struct due *due)
{
    due->call++;
    due->count = 0;
}
