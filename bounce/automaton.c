/* automaton.c - many patterns in one walk (automaton.h).
 *
 * While patterns are added a node knows its children; automaton_build() goes through the tree by depth and fills in, for every
 * node and every byte, where to go: to the child, or to where the longest end of what was read goes, which lies less deep and
 * is known already. A node behind a blank stays where it is for one more blank.
 */
#include "automaton.h"

#define OUTPUT     0x8000u /* in a place of the table: something ends at that node */
#define NODES_MAX  0x8000u
#define GROWN_STEP 1024u

struct node {
    uint64_t mask;           /* of all patterns that end here */
    uint16_t child, sibling; /* 0: none */
    uint16_t shorter;        /* the node of the longest end of this one's text */
    char byte;               /* that leads here */
};

struct automaton {
    struct node *node; /* node[0] is the root */
    size_t nodes;
    uint16_t *next; /* [node << shift | class of the byte] */
    unsigned shift, classes;
    uint8_t class_of[256]; /* 0: in no pattern */
};

struct automaton *automaton_new(void)
{
    struct automaton *a = hk_xcalloc(1, sizeof *a);

    a->node = hk_xcalloc(GROWN_STEP, sizeof *a->node);
    a->nodes = 1;
    a->classes = 1;
    return a;
}

void automaton_free(struct automaton *a)
{
    free(a->node);
    free(a->next);
    free(a);
}

static uint16_t child_of(const struct automaton *a, uint16_t node, char byte)
{
    uint16_t child = a->node[node].child;

    while (child != 0 && a->node[child].byte != byte)
        child = a->node[child].sibling;
    return child;
}

static uint16_t child_add(struct automaton *a, uint16_t parent, char byte)
{
    uint16_t child = (uint16_t)a->nodes;

    HK_BUG_ON(a->nodes >= NODES_MAX);
    if (a->nodes % GROWN_STEP == 0)
        a->node = hk_xrealloc(a->node, a->nodes + GROWN_STEP, sizeof *a->node);
    a->node[a->nodes++] = (struct node){.byte = byte, .sibling = a->node[parent].child};
    a->node[parent].child = child;
    if (a->class_of[(unsigned char)byte] == 0)
        a->class_of[(unsigned char)byte] = (uint8_t)a->classes++;
    HK_BUG_ON(a->classes > UINT8_MAX);
    return child;
}

void automaton_add(struct automaton *a, const char *pattern, size_t length, uint64_t mask)
{
    uint16_t node = 0;

    HK_BUG_ON(length == 0 || a->next != NULL);
    for (size_t i = 0; i < length; i++) {
        uint16_t child = child_of(a, node, pattern[i]);
        node = child != 0 ? child : child_add(a, node, pattern[i]);
    }
    a->node[node].mask |= mask;
}

static uint16_t *row(const struct automaton *a, uint16_t node)
{
    return a->next + ((size_t)node << a->shift);
}

static uint16_t go(const struct automaton *a, uint16_t node, char byte)
{
    return row(a, node)[a->class_of[(unsigned char)byte]] & (OUTPUT - 1);
}

/* The row of a node, and of its children where they fall back to; the rows of less deep nodes are there. */
static void row_fill(struct automaton *a, uint16_t node, uint16_t *order, size_t *ordered)
{
    uint16_t *to = row(a, node);

    if (node != 0)
        memcpy(to, row(a, a->node[node].shorter), sizeof *to << a->shift);
    for (uint16_t child = a->node[node].child; child != 0; child = a->node[child].sibling) {
        struct node *c = &a->node[child];
        c->shorter = node == 0 ? 0 : go(a, a->node[node].shorter, c->byte);
        c->mask |= a->node[c->shorter].mask;
        to[a->class_of[(unsigned char)c->byte]] = (uint16_t)(child | (c->mask != 0 ? OUTPUT : 0));
        order[(*ordered)++] = child;
    }
    if (node != 0 && a->node[node].byte == ' ')
        to[a->class_of[' ']] = (uint16_t)(node | (a->node[node].mask != 0 ? OUTPUT : 0));
}

void automaton_build(struct automaton *a)
{
    uint16_t *order = hk_xcalloc(a->nodes, sizeof *order);
    size_t ordered = 1; /* order[0]: the root */

    while (1u << a->shift < a->classes)
        a->shift++;
    a->next = hk_xcalloc(a->nodes << a->shift, sizeof *a->next);
    for (unsigned byte = 0; byte < 256; byte++)
        a->class_of[byte] = a->class_of[(unsigned char)folded_byte((char)byte)];
    for (size_t i = 0; i < ordered; i++)
        row_fill(a, order[i], order, &ordered);
    HK_BUG_ON(ordered != a->nodes);
    free(order);
}

uint64_t automaton_find(const struct automaton *a, struct slice text, uint64_t enough)
{
    const uint16_t *next = a->next;
    unsigned node = go(a, 0, ' ');
    uint64_t found = a->node[node].mask;

    for (size_t i = 0; i < text.length; i++) {
        node = next[(size_t)(node & (OUTPUT - 1)) << a->shift | a->class_of[(unsigned char)text.at[i]]];
        if ((node & OUTPUT) == 0)
            continue;
        found |= a->node[node & (OUTPUT - 1)].mask;
        if ((found & enough) == enough)
            return found;
    }
    return found | a->node[go(a, (uint16_t)(node & (OUTPUT - 1)), ' ')].mask;
}
