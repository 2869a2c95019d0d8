-- ledger.lua - change the words of recipients, each by compare-and-set (design 4; rules in include/hikyaku/state.h).
--
-- One call is one campaign. It reads and writes nothing but KEYS, knows no clock, and is idempotent: a call whose
-- answer was lost is sent again and changes nothing (with one op for a recipient in it, or a COMMIT and its RELEASE). Every command here is one that Redis refuses, if at all, before
-- the first write, so a call is applied whole or not at all.
--   KEYS  {c}:m {c}:own {c}:due {c}:n {c}:q, then for each span {c}:s:SEG.SPAN {c}:d:SEG.SPAN {c}:f:SEG.SPAN
--   ARGV  the epoch that asks; the ops, 20 bytes each: kind, attempt (1 byte each), span (its place in KEYS, from 0),
--         offset in the span, count (2 each), word, due, first (4 each), little-endian; the number of this call among
--         those of its epoch, kept in {c}:q: a Redis that lost writes is known by it, and what a dead connection still
--         carries, too late; the epoch that was granted what the ops are about: the asking one, or a dead one whose end
--         is told; for each span of KEYS the first place that an op touches and the one behind the last, 2 bytes each
-- Reply: one digit for each op, enum ledger_verdict; nothing for a call that comes too late.
local PENDING, SENDING, SENT, DEFERRED, BOUNCED = 0, 1, 2, 3, 4
local EXPIRED, SUPPRESSED, UNKNOWN, CANCELLED = 5, 6, 7, 8
-- By state, from SENDING on.
local NAME = { 'sending', 'sent', 'deferred', 'bounced', 'expired', 'suppressed', 'unknown', 'cancelled' }
local DONE, SETTLED, PAUSED, STOPPED, NOT_OURS, LOST = '0', '1', '2', '3', '4', '5'
-- What wins where two stories meet; expired, suppressed and cancelled give way to sent and bounced alone.
local RANK = {
    [PENDING] = 1, [DEFERRED] = 2, [SENDING] = 3, [UNKNOWN] = 4, [EXPIRED] = 4, [SUPPRESSED] = 4, [CANCELLED] = 4,
    [BOUNCED] = 5, [SENT] = 6,
}
local EVIDENCE = { [SENT] = true, [BOUNCED] = true, [UNKNOWN] = true }
-- Places in a word: state 4 bits, marks 3, class 5, attempts 8, code 10, and `uncounted` (see take.lua).
local MARK, CLASS, ATTEMPT, CODE, UNCOUNTED = 16, 128, 4096, 1048576, 1073741824
local ATTEMPTS_MAX = 255
local OP_BYTES = 20
local COMMIT, OUTCOME, RELEASE, PUT_BACK, SETTLE, RESEND, MARKED = 1, 2, 3, 4, 5, 6, 7

local call, byte = redis.call, string.byte
local unpack_op, pack = struct.unpack, struct.pack
local epoch, ops, number, granted, ranges = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local last = call('HGET', KEYS[5], epoch)
if number <= tonumber(last or 0) then
    return ''
end
local campaign = call('EXISTS', KEYS[4]) == 1 and call('HGET', KEYS[1], 'state')
local moved, counted = { [PENDING] = 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 0

-- Without math.floor(): what is taken off first leaves whole numbers, and a call costs more than both.
local function attempts_of(word)
    return (word - word % ATTEMPT) / ATTEMPT % (ATTEMPTS_MAX + 1)
end

-- A string of a span, as far as this call is about it: read once, changed here, written at the end.
local WORDS, DUE, FIRST = 0, 1, 2
local function read(span, part)
    local key, from = KEYS[span.key + part], span.from
    local text = call('GETRANGE', key, from * 4, span.to * 4 - 1)
    local copy = { key = key, from = from, text = text, new = {}, changed = {}, count = 0, last = -1 }
    span[part] = copy
    return copy
end

local function get(copy, offset)
    local new = copy.new[offset]
    if new then
        return new
    end
    local at = (offset - copy.from) * 4 + 1
    local a, b, c, d = byte(copy.text, at, at + 3)
    return d and a + b * 256 + c * 65536 + d * 16777216 or 0
end

local function set(copy, offset, value)
    local new = copy.new
    if not new[offset] then
        local count = copy.count + 1
        copy.count = count
        copy.changed[count] = offset
        if offset < copy.last then
            copy.unsorted = true
        end
        copy.last = offset
    end
    new[offset] = value
end

-- A command costs more than a few words that are written as they were. Lua's stack bounds what unpack() and pack() take.
local BRIDGE, RUN_MAX = 16, 1000
local function write_run(copy, first, last)
    local words, new, count = {}, copy.new, last - first + 1
    for i = 1, count do
        words[i] = new[first + i - 1] or get(copy, first + i - 1)
    end
    call('SETRANGE', copy.key, first * 4, pack('<' .. string.rep('I4', count), unpack(words)))
end

local function write(copy)
    local first, last = nil, nil
    if copy.unsorted then
        table.sort(copy.changed)
    end
    for _, offset in ipairs(copy.changed) do
        if first and (offset - last > BRIDGE or offset - first >= RUN_MAX) then
            write_run(copy, first, last)
            first = nil
        end
        first, last = first or offset, offset
    end
    if first then
        write_run(copy, first, last)
    end
end

-- The spans of this call; what is plain is ours, and there. Their names stand behind "{c}:s:".
local spans, names = {}, {}
for place = 0, #ranges / 4 - 1 do
    local span = { key = 6 + place * 3 }
    span.from, span.to = unpack_op('<HH', ranges, place * 4 + 1)
    span.name = string.sub(KEYS[span.key], #KEYS[1] + 2)
    spans[place], names[place + 1] = span, span.name
end
local owners = call('HMGET', KEYS[2], unpack(names))
if not last and campaign and call('EXISTS', KEYS[2]) == 1 and call('EXISTS', KEYS[5]) == 0 then
    campaign = false -- who takes a span has numbered the call that did it: they are lost, and with them what tells old calls from new
end
for i, owner in ipairs(owners) do
    local span = spans[i - 1]
    span.owner = owner and tonumber(owner)
    if campaign and owner then
        local text = read(span, WORDS).text
        span.is_plain = span.owner == granted and #text == (span.to - span.from) * 4
    end
end

local function put(span, offset, old, new)
    local from, to = old % MARK, new % MARK
    set(span[WORDS], offset, new)
    if from ~= to then
        moved[from] = moved[from] - 1
        moved[to] = moved[to] + 1
    end
end

-- To make a function takes as long as some ten calls of it, and it is made for each call of the script: what few of these need
-- is made when an op asks for it.
local made
local function seldom()
    if made then
        return made
    end
    local function bits_at(word, place, size)
        return (word - word % place) / place % size
    end

    local function state_of(word)
        return word % MARK
    end

    local function with_state(word, state)
        return word - word % MARK + state
    end

    local function with_attempts(word, attempts)
        return word + (math.min(attempts, ATTEMPTS_MAX) - attempts_of(word)) * ATTEMPT
    end

    local function due_at(span, due)
        span.earliest = math.min(span.earliest or due, due)
    end

    -- A due time never goes back, so that a PUT_BACK seen twice is known by its due time.
    local function set_due(span, offset, due)
        local copy = span[DUE] or read(span, DUE)
        local old = get(copy, offset)
        if due > old then
            set(copy, offset, due)
            old = due
        end
        due_at(span, old)
    end

    -- 0 stands for "none" in the string, so an attempt in the very first second counts as one in the next.
    local function set_first(span, offset, first)
        local copy = span[FIRST] or read(span, FIRST)
        if get(copy, offset) == 0 then
            set(copy, offset, math.max(first, 1))
        end
    end

    -- The dot never left: the attempt did not happen. Who was deferred before has a first attempt.
    local function give_back(span, offset, due, word)
        local attempts = attempts_of(word) - 1
        if attempts > 0 and get(span[FIRST] or read(span, FIRST), offset) > 0 then
            put(span, offset, word, with_attempts(with_state(word, DEFERRED), attempts))
            set_due(span, offset, due)
        else
            put(span, offset, word, with_attempts(with_state(word, PENDING), attempts))
        end
    end

    local function release(span, op)
        local word = get(span[WORDS], op.offset)
        local state, had = state_of(word), attempts_of(word)
        if state == SENDING and had == op.attempt then
            give_back(span, op.offset, op.due, word)
            return DONE
        end
        return (state == PENDING or state == DEFERRED) and had < op.attempt and DONE or SETTLED
    end

    -- The word that `op` makes of a waiting one: state, class and code of the op, marks and attempts of the recipient.
    local function reworded(word, op, state, more)
        local marks, attempts = bits_at(word, MARK, 8), math.min(attempts_of(word) + more, ATTEMPTS_MAX)
        local class, code = bits_at(op.word, CLASS, 32), bits_at(op.word, CODE, 1024)
        return state + marks * MARK + class * CLASS + attempts * ATTEMPT + code * CODE
    end

    local function put_back(span, op)
        for offset = op.offset, op.offset + op.count - 1 do
            local word = get(span[WORDS], offset)
            local state = state_of(word)
            if state == PENDING or (state == DEFERRED and get(span[DUE] or read(span, DUE), offset) < op.due) then
                put(span, offset, word, reworded(word, op, DEFERRED, 1))
                set_due(span, offset, op.due)
                set_first(span, offset, op.first)
                counted = counted + 1
            end
        end
        return DONE
    end

    local function settle(span, op)
        local state, more = state_of(op.word), attempts_of(op.word) > 0 and 1 or 0
        for offset = op.offset, op.offset + op.count - 1 do
            local word = get(span[WORDS], offset)
            local from = state_of(word)
            if from == PENDING or from == DEFERRED then
                put(span, offset, word, reworded(word, op, state, more))
                counted = counted + more
            end
        end
        return DONE
    end

    local function resend(span, op)
        local word = get(span[WORDS], op.offset)
        local state = state_of(word)
        if state == UNKNOWN and (op.attempt == 0 or op.attempt == attempts_of(word)) then
            counted = counted + (word >= UNCOUNTED and 1 or 0)
            local marks = bits_at(word, MARK, 8)
            local waits = op.due > 0 and DEFERRED or PENDING
            put(span, op.offset, word, waits + marks * MARK + attempts_of(word) * ATTEMPT)
            if waits == DEFERRED then
                set_due(span, op.offset, op.due)
                set_first(span, op.offset, op.first)
            end
            return DONE
        end
        return state == PENDING and DONE or SETTLED
    end

    -- What came back later stands beside the state, as a mark. A bounce tells of whom it was unknown, too. Who was never
    -- sent to has nothing to come back: the campaign is a later one of the same name.
    local function mark(span, op)
        local word = get(span[WORDS], op.offset)
        local state, had, new = state_of(word), bits_at(word, MARK, 8), bits_at(op.word, MARK, 8)
        if state == PENDING and attempts_of(word) == 0 then
            return SETTLED
        end
        if state == UNKNOWN and new % 2 == 1 then
            counted = counted + (word >= UNCOUNTED and 1 or 0)
            put(span, op.offset, word, reworded(word, op, BOUNCED, 0))
            return DONE
        end
        for _, bit in ipairs({ 1, 2, 4 }) do
            if bits_at(new, bit, 2) == 1 and bits_at(had, bit, 2) == 0 then
                word = word + bit * MARK
            end
        end
        local before = bits_at(word, CLASS, 32)
        if new % 2 == 1 and state == SENT and before == 0 then
            word = word + bits_at(op.word, CLASS, 32) * CLASS -- why it came back: the acceptance has no class of its own
        end
        if bits_at(word, MARK, 8) ~= had or bits_at(word, CLASS, 32) ~= before then
            set(span[WORDS], op.offset, word)
        end
        return DONE
    end

    made = {
        give_back = give_back,
        set_due = set_due,
        set_first = set_first,
        [RELEASE] = release,
        [PUT_BACK] = put_back,
        [SETTLE] = settle,
        [RESEND] = resend,
        [MARKED] = mark,
    }
    return made
end

-- The whole op; of the most usual ones less is read, for each number takes its time.
local function op_at(at)
    local op = {}
    op.kind, op.attempt, op.span, op.offset, op.count, op.word, op.due, op.first = unpack_op('<BBHHHI4I4I4', ops, at)
    return op
end

local function commit(span, offset, attempt, at)
    local word = get(span[WORDS], offset)
    local state, had = word % MARK, attempts_of(word)
    local again = state == SENDING and had == attempt
    if campaign ~= 'running' then
        -- The earlier grant's answer never arrived, and now there is none: `sending` must not stay.
        if again then
            seldom().give_back(span, offset, op_at(at).due, word)
        end
        return campaign == 'cancelled' and STOPPED or PAUSED
    end
    if again then
        return DONE
    end
    if (state == PENDING or state == DEFERRED) and (attempt > had or had == ATTEMPTS_MAX) then
        put(span, offset, word, word - state + SENDING + (attempt - had) * ATTEMPT)
        return DONE
    end
    return SETTLED
end

local function outcome_wins(from, to, had, has)
    -- A line of the event log told again must not undo what came after it: that somebody was made to wait again, or the
    -- attempt that followed.
    if to == UNKNOWN and (has < had or (has == had and from ~= SENDING)) then
        return false
    end
    if EVIDENCE[to] then
        return RANK[to] > RANK[from]
    end
    if RANK[from] > RANK[SENDING] or has < had then
        return false
    end
    return from ~= to or has > had
end

local function outcome(span, offset, new, at)
    local word = get(span[WORDS], offset)
    local from, to = word % MARK, new % MARK
    local had, has = attempts_of(word), attempts_of(new)
    if not outcome_wins(from, to, had, has) then
        return from == to and has == had and DONE or SETTLED
    end
    if has > had then
        counted = counted + has - had
    elseif has == had and (from == SENDING or word >= UNCOUNTED) then
        counted = counted + 1
    end
    -- The marks are the recipient's, and so are the attempts if they are more; all else is the op's.
    new = new % UNCOUNTED
    local marks, marked = word % CLASS - from, new % CLASS - to
    put(span, offset, word, new + marks - marked + (had > has and had - has or 0) * ATTEMPT)
    if to == DEFERRED then
        local op = op_at(at)
        seldom().set_due(span, offset, op.due)
        seldom().set_first(span, offset, op.first)
    end
    return DONE
end

-- Evidence counts whoever brings it, and so does a person's word; all else is the owner's. Once somebody else has taken the
-- span, what was granted before is unknown, and what is `sending` now is his.
local function anybody_may(op)
    return op.kind == RESEND or op.kind == MARKED or (op.kind == OUTCOME and EVIDENCE[op.word % MARK])
end

-- Why an op is not for this span: nil where it is.
local function refusal(span, op)
    if campaign and not span.owner and op.kind == MARKED then
        return SETTLED -- nobody of it was ever sent to
    end
    if not campaign or not span.owner then
        return LOST
    end
    if span.owner ~= granted and not anybody_may(op) then
        return NOT_OURS
    end
    return (op.offset + op.count - span.from) * 4 > #span[WORDS].text and LOST or nil
end

local function apply(at)
    local kind, attempt, place, offset = unpack_op('<BBHH', ops, at)
    local span = spans[place]
    local refused = not span.is_plain and refusal(span, op_at(at))
    if refused then
        return refused
    end
    if kind == COMMIT then
        return commit(span, offset, attempt, at)
    end
    if kind == OUTCOME then
        return outcome(span, offset, unpack_op('<I4', ops, at + 8), at)
    end
    return seldom()[kind](span, op_at(at))
end

local verdicts, told = {}, 0
for at = 1, #ops, OP_BYTES do
    told = told + 1
    verdicts[told] = apply(at)
end
for _, span in pairs(spans) do
    for part = WORDS, FIRST do
        if span[part] then
            write(span[part])
        end
    end
    if span.earliest then
        call('ZADD', KEYS[3], 'LT', span.earliest, span.name)
    end
end
for state, name in ipairs(NAME) do
    if moved[state] ~= 0 then
        call('HINCRBY', KEYS[4], name, moved[state])
    end
end
if counted > 0 then
    call('HINCRBY', KEYS[4], 'attempts', counted)
end
if campaign then
    call('HSET', KEYS[5], epoch, ARGV[3])
end
return table.concat(verdicts)
