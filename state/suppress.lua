-- suppress.lua - put addresses on a suppression list, or take them off, and tell it in the stream (suppress.h).
--
-- One call is one scope. Idempotent: what is there already (or not) changes nothing and makes no entry, so a call
-- whose answer was lost is sent again. An entry that ends ("until" of its value) gives way to one that ends later, or
-- not at all. The stream's ids are N-0 with N counted up by one for each change: a reader
-- that knows the last N it saw notices whatever it missed.
--   KEYS  hash of the scope, log, seq, scopes
--   ARGV  add | remove, the scope, entries kept in the stream; then for add key and value of each, for remove the keys
-- Reply: one digit for each: 1 changed, 0 not.
local hash, log, seq, scopes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local op, scope, kept = ARGV[1], ARGV[2], ARGV[3]
local step = op == 'add' and 2 or 1
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

local function tell(key, value)
    local entry = { 'op', op, 'scope', scope, 'key', key }
    local ends = value and string.match(value, '"until":(%d+)')
    if ends then
        entry[7], entry[8] = 'until', ends
    end
    call('XADD', log, 'MAXLEN', '~', kept, string.format('%.0f-0', number), unpack(entry))
end

for at = 4, #ARGV, step do
    local key = ARGV[at]
    local is_new
    if op == 'add' then
        is_new = add(key, ARGV[at + 1])
    else
        is_new = call('HDEL', hash, key)
    end
    if is_new == 1 then
        number = number + 1
        tell(key, op == 'add' and ARGV[at + 1])
    end
    changed[#changed + 1] = is_new == 1 and '1' or '0'
end
if number > before then
    call('INCRBY', seq, string.format('%.0f', number - before))
end
if op == 'add' then
    call('SADD', scopes, scope)
elseif call('EXISTS', hash) == 0 then
    call('SREM', scopes, scope)
end
return table.concat(changed)
