/* word.c - the four bytes that the ledger keeps of a recipient, and the names of its states.
 *
 * Pure. The layout is the one in state.h; ledger.lua and take.lua know it too, and tests hold the two together.
 */
#include "hikyaku/state.h"

_Static_assert(LEDGER_STATES_COUNT <= 16 && CLASSES <= 32,
               "a word has 4 bits for the state and 5 for the class");

const char *ledger_state_name(enum ledger_state state)
{
    static const char *const name[LEDGER_STATES_COUNT] = {
#define LEDGER_STATE_WORDS(id, words) [LEDGER_##id] = (words),
        LEDGER_STATES(LEDGER_STATE_WORDS)
#undef LEDGER_STATE_WORDS
    };

    HK_BUG_ON((unsigned)state >= LEDGER_STATES_COUNT);
    return name[state];
}

uint32_t ledger_pack(struct ledger_word word)
{
    return (word.state & 0xfu) | (word.marks & 0x7u) << 4 | (word.reply_class & 0x1fu) << 7 |
           (uint32_t)word.attempts << 12 | (word.code & 0x3ffu) << 20;
}

struct ledger_word ledger_unpack(uint32_t packed)
{
    return (struct ledger_word){
        .state = packed & 0xfu,
        .marks = packed >> 4 & 0x7u,
        .reply_class = packed >> 7 & 0x1fu,
        .attempts = packed >> 12 & 0xffu,
        .code = packed >> 20 & 0x3ffu,
    };
}
