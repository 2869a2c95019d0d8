-- suppress.lua - put addresses on a suppression list, or take them off, and tell it in the stream (suppress.h).
-- And what a person decides about those who are held (feedback.h).
--
-- One call is one scope. Idempotent: what is there already (or not) changes nothing and makes no entry, so a call
-- whose answer was lost is sent again. An entry that ends ("until" of its value) gives way to one that ends later, or
-- not at all. The stream's ids are N-0 with N counted up by one for each change: a reader
-- that knows the last N it saw notices whatever it missed.
--   KEYS  hash of the scope, log, seq, scopes, held
--   ARGV  what is done, the scope, entries kept in the stream; then of each
--         add     key, value
--         remove  key
--         forget  key, time: a removal that is told again; what began after that time stays
--         apply   key, value, time: who was held, not after that time, is so no longer, and is put on the list
--         drop    key, since, time: the same, and he is not; nor for the very bounce he was held for, which began at `since`
-- Times are in microseconds.
-- Reply: one digit for each: 1 changed, 0 not; of apply and drop: 1 he was held.
local hash, log, seq, scopes, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local op, scope, kept = ARGV[1], ARGV[2], ARGV[3]
local STEP = { add = 2, remove = 1, forget = 2, apply = 3, drop = 3 }
local call, changed = redis.call, {}
local before = tonumber(call('GET', seq) or 0)
local number = before

local function until_of(value)
    return tonumber(string.match(value, '"until":(%d+)')) or math.huge
end

local function add(key, value)
    if call('HSETNX', hash, key, value) == 1 then
        return 1
    end
    if until_of(call('HGET', hash, key)) >= until_of(value) then
        return 0
    end
    call('HSET', hash, key, value)
    return 1
end

local function tell(what, key, value)
    local entry = { 'op', what, 'scope', scope, 'key', key }
    local ends = value and string.match(value, '"until":(%d+)')
    if ends then
        entry[7], entry[8] = 'until', ends
    end
    number = number + 1
    call('XADD', log, 'MAXLEN', '~', kept, string.format('%.0f-0', number), unpack(entry))
end

-- A quote within a text is escaped, so what looks like the key is the key.
local function began(value)
    return value and tonumber(string.match(value, '"time":(%d+)')) or 0
end

local DO = {}

function DO.add(key, value)
    local is_new = add(key, value)
    if is_new == 1 then
        tell('add', key, value)
    end
    return is_new
end

function DO.remove(key)
    local was_there = call('HDEL', hash, key)
    if was_there == 1 then
        tell('remove', key)
    end
    return was_there
end

function DO.forget(key, time)
    local there = call('HGET', hash, key)
    return there and began(there) <= tonumber(time) and DO.remove(key) or 0
end

local function let_go(key, time)
    local there = call('HGET', held, key)
    return there and began(there) <= tonumber(time) and call('HDEL', held, key) or 0
end

function DO.apply(key, value, time)
    DO.add(key, value)
    return let_go(key, time)
end

function DO.drop(key, since, time)
    local there = call('HGET', hash, key)
    if there and began(there) == tonumber(since) then
        DO.remove(key)
    end
    return let_go(key, time)
end

for at = 4, #ARGV, STEP[op] do
    changed[#changed + 1] = DO[op](ARGV[at], ARGV[at + 1], ARGV[at + 2]) == 1 and '1' or '0'
end
if number > before then
    call('INCRBY', seq, string.format('%.0f', number - before))
end
if call('EXISTS', hash) == 1 then
    call('SADD', scopes, scope)
else
    call('SREM', scopes, scope)
end
return table.concat(changed)
