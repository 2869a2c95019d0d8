-- take.lua - take a span for an epoch, and say what stands in it (design 4; rules in include/hikyaku/state.h).
--
-- Also how a span is read again when something in it has come due: {c}:due is set to what is due later than now, for
-- what is due now goes out with this answer. Idempotent. What another epoch left `sending` becomes unknown, with the
-- bit `uncounted`: no outcome of that attempt was told, so the one that may still come counts it. Only the span of an
-- epoch whose lease (lease.lua) has run out can be taken over; that key is not among KEYS, for its name is found here.
--   KEYS  {c}:m {c}:own {c}:due {c}:n {c}:q {c}:s:SEG.SPAN {c}:d:SEG.SPAN {c}:f:SEG.SPAN
--   ARGV  the epoch; recipients in the span; the number of this call (ledger.lua)
-- Reply: {verdict as a digit, words, due times, first attempts}; the last two are empty where the span has none, and all
-- where the verdict is HELD or LOST.
local SENDING, DEFERRED, UNKNOWN = 1, 3, 7
local MARK, CLASS, ATTEMPT, CODE, UNCOUNTED = 16, 128, 4096, 1048576, 1073741824
local call, floor, byte = redis.call, math.floor, string.byte
local epoch, bytes = tonumber(ARGV[1]), tonumber(ARGV[2]) * 4
local own, due_key, counts, words_key = KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local name = string.match(words_key, '[^:]*$')
local last = call('HGET', KEYS[5], ARGV[1])
if tonumber(ARGV[3]) <= tonumber(last or 0) then
    return {} -- what a dead connection still carried
end
local DONE, STOPPED, LOST, HELD = '0', '3', '5', '6'

local function number_at(text, at)
    local a, b, c, d = byte(text, at, at + 3)
    if not d then
        return 0
    end
    return a + b * 256 + c * 65536 + d * 16777216
end

-- State, class and code go, marks and attempts stay.
local function as_unknown(word)
    local marks, attempts = floor(word / MARK) % 8, floor(word / ATTEMPT) % 256
    return UNKNOWN + marks * MARK + attempts * ATTEMPT + UNCOUNTED
end

local function settle_strangers(words)
    local found = 0
    for at = 1, bytes, 4 do
        if byte(words, at) % MARK == SENDING then
            local new = struct.pack('<I4', as_unknown(number_at(words, at)))
            call('SETRANGE', words_key, at - 1, new)
            found = found + 1
        end
    end
    if found > 0 then
        call('HINCRBY', counts, 'sending', -found)
        call('HINCRBY', counts, 'unknown', found)
    end
    return found
end

local function earliest_after(now, words, due)
    local earliest
    for at = 1, #due, 4 do
        if byte(words, at) % MARK == DEFERRED then
            local when = number_at(due, at)
            if when > now and (not earliest or when < earliest) then
                earliest = when
            end
        end
    end
    return earliest
end

-- Somebody deferred has a due time and a first attempt, neither of them 0; where there is none, its key is gone, or was and
-- has come to be again.
local NONE = '\0\0\0\0'
local function lacks_times(words, due, first)
    for at = 1, bytes, 4 do
        if byte(words, at) % MARK == DEFERRED then
            local when, since = string.sub(due, at, at + 3), string.sub(first, at, at + 3)
            if when == NONE or since == NONE or #when < 4 or #since < 4 then
                return true
            end
        end
    end
    return false
end

local campaign, created_us = unpack(call('HMGET', KEYS[1], 'state', 'created_us'))
if not campaign then
    return { LOST, '', '', '' }
end
-- Whatever the answer is, it was given: a number that is not kept would look like a call that Redis has forgotten.
call('HSET', KEYS[5], ARGV[1], ARGV[3])
local owner = tonumber(call('HGET', own, name))
if owner and owner ~= epoch and call('EXISTS', 'hikyaku:lease:' .. owner) == 1 then
    return { HELD, '', '', '' }
end
if owner and call('EXISTS', counts) == 0 then
    return { LOST, '', '', '' }
end
-- Whoever takes a span for the first time counts it, numbers the call, and makes its words, all at once: where one of these is
-- there and another is not, Redis has lost something, and a span that looks as if it were new may have been sent.
if tonumber(call('HGET', counts, 'taken') or 0) ~= call('HLEN', own) then
    return { LOST, '', '', '' }
end
if not last and call('EXISTS', own) == 1 and call('EXISTS', KEYS[5]) == 0 then
    return { LOST, '', '', '' }
end
if not owner and call('EXISTS', words_key) == 1 then
    return { LOST, '', '', '' }
end
if not owner then
    call('HINCRBY', counts, 'taken', 1)
    -- One byte makes a string of zeros: all pending, and a short line in the append-only file.
    call('SETRANGE', words_key, bytes - 1, '\0')
end
local words = call('GET', words_key)
if not words or #words ~= bytes then
    return { LOST, '', '', '' }
end
local due, first = call('GET', KEYS[7]) or '', call('GET', KEYS[8]) or ''
if lacks_times(words, due, first) then
    return { LOST, '', '', '' }
end
if owner ~= epoch then
    call('HSET', own, name, ARGV[1])
    if settle_strangers(words) > 0 then
        words = call('GET', words_key)
    end
end
local time = call('TIME')
local now = floor(tonumber(time[1]) - (tonumber(created_us) or 0) / 1000000)
local earliest = earliest_after(now, words, due)
if earliest then
    call('ZADD', due_key, earliest, name)
else
    call('ZREM', due_key, name)
end
return { campaign == 'cancelled' and STOPPED or DONE, words, due, first }
