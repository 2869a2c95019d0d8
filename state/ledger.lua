-- ledger.lua - change the words of recipients, each by compare-and-set (design 4; rules in include/hikyaku/state.h).
--
-- One call is one campaign. It reads and writes nothing but KEYS, knows no clock, and is idempotent: a call whose
-- answer was lost is sent again and changes nothing (with one op for a recipient in it, or a COMMIT and its RELEASE). Every command here is one that Redis refuses, if at all, before
-- the first write, so a call is applied whole or not at all.
--   KEYS  {c}:m {c}:own {c}:due {c}:n {c}:q, then for each span {c}:s:SEG.SPAN {c}:d:SEG.SPAN {c}:f:SEG.SPAN
--   ARGV  the epoch that asks; the ops, 20 bytes each: kind, attempt (1 byte each), span (its place in KEYS, from 0),
--         offset in the span, count (2 each), word, due, first (4 each), little-endian; COMMIT and OUTCOME with a count
--         are as many ops, and may be followed by more of the same: 0, offset, count (4, 2, 2 bytes); the number of this call among
--         those of its epoch, kept in {c}:q: a Redis that lost writes is known by it, and what a dead connection still
--         carries, too late; the epoch that was granted what the ops are about: the asking one, or a dead one whose end
--         is told; for each span of KEYS the first place that an op touches and the one behind the last, 2 bytes each
-- Reply: one digit for each op, enum ledger_verdict, of COMMIT and OUTCOME for each of their recipients; nothing for a call that
-- comes too late.
local PENDING, SENDING, SENT, DEFERRED, BOUNCED = 0, 1, 2, 3, 4
local EXPIRED, SUPPRESSED, UNKNOWN, CANCELLED = 5, 6, 7, 8
-- By state, from SENDING on.
local NAME = { 'sending', 'sent', 'deferred', 'bounced', 'expired', 'suppressed', 'unknown', 'cancelled' }
local DONE, SETTLED, PAUSED, STOPPED, NOT_OURS, LOST = '0', '1', '2', '3', '4', '5'
-- Places in a word: state 4 bits, marks 3, class 5, attempts 8, code 10, and `uncounted` (see take.lua).
local MARK, CLASS, ATTEMPT, CODE, UNCOUNTED = 16, 128, 4096, 1048576, 1073741824
local ATTEMPTS = 256
local ATTEMPTS_MAX = ATTEMPTS - 1
local OP_BYTES, MORE_BYTES = 20, 8
local MORE, COMMIT, OUTCOME, RELEASE, PUT_BACK, SETTLE, RESEND, MARKED = 0, 1, 2, 3, 4, 5, 6, 7

local call, byte = redis.call, string.byte
local unpack_op, pack = struct.unpack, struct.pack
local epoch, ops, number, granted, ranges = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local last = call('HGET', KEYS[5], epoch)
if number <= tonumber(last or 0) then
    return ''
end
local campaign = call('EXISTS', KEYS[4]) == 1 and call('HGET', KEYS[1], 'state')
local moved, counted = { [PENDING] = 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 0

-- A string of a span, as far as this call is about it: read once, and unpacked by blocks, each when the first op comes to it. What is
-- done for an op counts here, and what a few more words cost in the C of unpack() and pack() does not.
local WORDS, DUE, FIRST = 0, 1, 2
local BLOCK = 32
local function format_of(count)
    return '<' .. string.rep('I4', count)
end
local BLOCK_FORMAT = format_of(BLOCK)

local function read(span, part)
    local key, from, to = KEYS[span.key + part], span.from, span.to
    local text = call('GETRANGE', key, from * 4, to * 4 - 1)
    local copy = { key = key, from = from, size = to - from, text = text, changed = {} }
    span[part] = copy
    return copy
end

local function size_of(copy, number)
    return math.min(BLOCK, copy.size - number * BLOCK)
end

local function unpack_block(copy, number)
    local text, first, size = copy.text, number * BLOCK * 4, size_of(copy, number)
    local there = math.max(0, math.min(size, (#text - #text % 4 - first) / 4))
    local block = {}
    if there > 0 then
        block = { unpack_op(there == BLOCK and BLOCK_FORMAT or format_of(there), text, first + 1) }
        block[there + 1] = nil -- where unpack() ended
    end
    for i = there + 1, size do
        block[i] = 0
    end
    copy[number] = block
    return block
end

-- Neighbours in one command.
local function write(copy)
    local run, first = {}, nil
    for number = 0, math.ceil(copy.size / BLOCK) do
        if copy.changed[number] then
            local size = size_of(copy, number)
            first = first or number
            run[#run + 1] = pack(size == BLOCK and BLOCK_FORMAT or format_of(size), unpack(copy[number], 1, size))
        elseif first then
            call('SETRANGE', copy.key, (copy.from + first * BLOCK) * 4, table.concat(run))
            run, first = {}, nil
        end
    end
end

-- The spans of this call; the words of a plain one are ours, and there. Their names stand behind "{c}:s:".
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
        local words = read(span, WORDS)
        span.plain = span.owner == granted and #words.text == words.size * 4 and words
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

    local function attempts_of(word)
        return bits_at(word, ATTEMPT, ATTEMPTS)
    end

    local function state_of(word)
        return word % MARK
    end

    local function place_of(copy, offset)
        local place = offset - copy.from
        local i = place % BLOCK
        local number = (place - i) / BLOCK
        return copy[number] or unpack_block(copy, number), i + 1, number
    end

    local function get(copy, offset)
        local block, i = place_of(copy, offset)
        return block[i]
    end

    local function set(copy, offset, value)
        local block, i, number = place_of(copy, offset)
        block[i] = value
        copy.changed[number] = true
    end

    local function put(span, offset, old, new)
        local from, to = state_of(old), state_of(new)
        set(span[WORDS], offset, new)
        moved[from] = moved[from] - 1
        moved[to] = moved[to] + 1
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

    -- The word where the dot never left: the attempt did not happen. Who was deferred before has a first attempt.
    local function given_back(span, offset, due, word)
        local attempts = attempts_of(word) - 1
        if attempts > 0 and get(span[FIRST] or read(span, FIRST), offset) > 0 then
            set_due(span, offset, due)
            return with_attempts(with_state(word, DEFERRED), attempts)
        end
        return with_attempts(with_state(word, PENDING), attempts)
    end

    local function release(span, op)
        local word = get(span[WORDS], op.offset)
        local state, had = state_of(word), attempts_of(word)
        if state == SENDING and had == op.attempt then
            put(span, op.offset, word, given_back(span, op.offset, op.due, word))
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

    -- A COMMIT that is not simply granted. The verdict and, where it changes, the recipient's new word.
    local function commit_otherwise(span, op, word, had)
        local again = word % MARK == SENDING and had == op.attempt
        if campaign ~= 'running' then
            -- The earlier grant's answer never arrived, and now there is none: `sending` must not stay.
            local new = again and given_back(span, op.offset, op.due, word)
            return campaign == 'cancelled' and STOPPED or PAUSED, new
        end
        return again and DONE or SETTLED
    end

    -- What wins where two stories meet; expired, suppressed and cancelled give way to sent and bounced alone.
    local RANK = {
        [PENDING] = 1, [DEFERRED] = 2, [SENDING] = 3, [UNKNOWN] = 4, [EXPIRED] = 4, [SUPPRESSED] = 4, [CANCELLED] = 4,
        [BOUNCED] = 5, [SENT] = 6,
    }
    local EVIDENCE = { [SENT] = true, [BOUNCED] = true, [UNKNOWN] = true }
    -- Of an OUTCOME that is not that of the attempt under way.
    local function outcome_wins(from, to, had, has)
        -- A line of the event log told again must not undo what came after it: that somebody was made to wait again, or the
        -- attempt that followed.
        if to == UNKNOWN and has <= had then
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

    local function come_due(span, op)
        set_due(span, op.offset, op.due)
        set_first(span, op.offset, op.first)
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

    made = {
        refusal = refusal,
        commit_otherwise = commit_otherwise,
        outcome_wins = outcome_wins,
        come_due = come_due,
        [RELEASE] = release,
        [PUT_BACK] = put_back,
        [SETTLE] = settle,
        [RESEND] = resend,
        [MARKED] = mark,
    }
    return made
end

-- The whole op at `at`, for those recipients; of the most usual ones less is read, for each number takes its time.
local function op_at(at, offset, count)
    local kind, attempt, span, _, _, word, due, first = unpack_op('<BBHHHI4I4I4', ops, at)
    return {
        kind = kind, attempt = attempt, span = span, offset = offset, count = count, word = word, due = due, first = first,
    }
end

-- What most ops need stands here, made of their octets: in Lua a function costs more to call than most of them do. And who has the
-- same word as the one before goes the same way without another thought: `known`, unless it was more than a look at the word.
local verdicts, told, at = {}, 0, 1
local head, op, attempt, span, told_word, outcome, has
local known, verdict, new, from, to, more, whole
while at <= #ops do
    local kind, tries, low, high, near, far, few, many, a, b, c, d = byte(ops, at, at + 11)
    if kind == MORE then
        at = at + MORE_BYTES
    else
        head = at
        op = kind
        attempt = tries
        span = spans[low + high * 256]
        known = nil
        whole = nil
        if kind == OUTCOME then
            told_word = a + b * 256 + c * 65536 + d * 16777216
            outcome = told_word % MARK
            has = (told_word - told_word % ATTEMPT) / ATTEMPT % ATTEMPTS
        end
        at = at + OP_BYTES
    end
    local offset, count = near + far * 256, few + many * 256
    local refused = not span.plain and seldom().refusal(span, op_at(head, offset, count))
    if op ~= COMMIT and op ~= OUTCOME then
        told = told + 1
        verdicts[told] = refused or seldom()[op](span, op_at(head, offset, count))
    elseif refused then
        told = told + 1
        verdicts[told] = string.rep(refused, count)
    else
        local words = span[WORDS]
        local place = offset - words.from
        local behind = place + count
        repeat
            local i = place % BLOCK
            local number = (place - i) / BLOCK
            local block = words[number] or unpack_block(words, number)
            local word = block[i + 1]
            if word ~= known then
                local had = (word - word % ATTEMPT) / ATTEMPT % ATTEMPTS
                known = word
                new = nil
                more = 0
                from = word % MARK
                if op == COMMIT then
                    if campaign == 'running' and (from == PENDING or from == DEFERRED) and (attempt > had or had == ATTEMPTS_MAX) then
                        verdict, new = DONE, word - from + SENDING + (attempt - had) * ATTEMPT
                    else
                        known = nil
                        verdict, new = seldom().commit_otherwise(span, op_at(head, place + words.from, 1), word, had)
                    end
                    to = new and new % MARK
                elseif (from == SENDING and has == had) or seldom().outcome_wins(from, outcome, had, has) then
                    if has > had then
                        more = has - had
                    elseif has == had and (from == SENDING or word >= UNCOUNTED) then
                        more = 1
                    end
                    if outcome == DEFERRED then
                        known = nil
                        whole = whole or op_at(head)
                        whole.offset = place + words.from
                        seldom().come_due(span, whole)
                    end
                    -- The marks are the recipient's, and so are the attempts if they are more; all else is the op's.
                    verdict = DONE
                    to = outcome
                    new = told_word % UNCOUNTED + word % CLASS - from - told_word % CLASS + outcome
                    if had > has then
                        new = new + (had - has) * ATTEMPT
                    end
                else
                    verdict = from == outcome and has == had and DONE or SETTLED
                end
            end
            local alike = 1 -- with those beside him, in this block
            while known and place + alike < behind and block[i + 1 + alike] == word do
                alike = alike + 1
            end
            if new then
                block[i + 1] = new
                if alike > 1 then
                    for k = i + 2, i + alike do
                        block[k] = new
                    end
                end
                words.changed[number] = true
                counted = counted + more * alike
                if from ~= to then
                    moved[from], moved[to] = moved[from] - alike, moved[to] + alike
                end
            end
            told = told + 1
            verdicts[told] = alike == 1 and verdict or string.rep(verdict, alike)
            place = place + alike
        until place == behind
    end
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
