-- suppress_sweep.lua - delete entries that ended long ago, a piece of one scope at each call (suppress.h).
--
-- Where the last call stopped is kept, so all nodes go through the scopes together, and who starts goes on there. The stream is
-- not told: whoever is in an entry that has ended is skipped by nobody, be it there or not.
--   KEYS  sweep (the scope under way and the place in it), scopes
--   ARGV  front of the hashes' names; the second before which an entry has to have ended, on the caller's clock; how long ago that is: Redis' own clock has
--         to agree, for one that is wrong by years must not delete what is needed; how many entries are looked at
-- Reply: how many are gone.
local sweep, scopes, front = KEYS[1], KEYS[2], ARGV[1]
local call = redis.call
local before = math.min(tonumber(ARGV[2]), tonumber(call('TIME')[1]) - tonumber(ARGV[3]))
local at = call('HMGET', sweep, 'scope', 'cursor')
local scope, cursor = at[1], at[2]

-- The scope behind the last one; they need not be those that were there then.
local function next_scope()
    local first, behind
    for _, name in ipairs(call('SMEMBERS', scopes)) do
        if not first or name < first then
            first = name
        end
        if scope and name > scope and (not behind or name < behind) then
            behind = name
        end
    end
    return behind or first
end

if not scope or cursor == '0' then
    scope, cursor = next_scope(), '0'
end
if not scope then
    return 0
end

local hash, gone = front .. scope, 0
local page = call('HSCAN', hash, cursor, 'COUNT', ARGV[4])
for n = 1, #page[2], 2 do
    local ends = string.match(page[2][n + 1], '"until":(%d+)')
    if ends and tonumber(ends) < before then
        gone = gone + call('HDEL', hash, page[2][n])
    end
end
if gone > 0 and call('EXISTS', hash) == 0 then
    call('SREM', scopes, scope)
end
call('HSET', sweep, 'scope', scope, 'cursor', page[1])
return gone
