-- suspend.lua - what is suspended on all nodes of one Redis, until when and why (include/hikyaku/limits.h).
--
-- Told by the node that finds it, asked by every node about once a second. Times are Redis' own, in microseconds. Of two
-- for the same site the later end stands. What is over is taken out when something changes; the key goes a day after.
--   KEYS  hikyaku:suspended   hash: "SOURCE SITE" -> "end nth cause"; '' -> the version: when it last changed
--   ARGV  the version that is known; then of each that is told: source, site, ms from now (0: released), nth, cause
-- Reply: the version; and where it is another one, of each that is not over: source, site, ms left, nth, cause
local DAY_MS = 86400000
local call, floor, match, format = redis.call, math.floor, string.match, string.format
local key = KEYS[1]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local function end_of(value)
    return tonumber(value and match(value, '^%d+') or 0)
end

-- Each that is not over: fn(field, its end, value). The others go.
local function each(fn)
    local all = call('HGETALL', key)
    for at = 1, #all, 2 do
        local ends = end_of(all[at + 1])
        if all[at] ~= '' and ends > now then
            fn(all[at], ends, all[at + 1])
        elseif all[at] ~= '' then
            call('HDEL', key, all[at])
        end
    end
end

local function tell(field, left_ms, nth, cause)
    local ends = now + left_ms * 1000
    if left_ms == 0 then
        return call('HDEL', key, field) == 1
    end
    if ends <= end_of(call('HGET', key, field)) then
        return false
    end
    call('HSET', key, field, format('%.0f %s %s', ends, nth, cause))
    return true
end

local changed, latest = false, now
for at = 2, #ARGV, 5 do
    local field = ARGV[at] .. ' ' .. ARGV[at + 1]
    changed = tell(field, tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]) or changed
end
if changed then
    each(function(_, ends) latest = math.max(latest, ends) end)
    -- Later than the one before also where the clock has gone back.
    call('HSET', key, '', format('%.0f', math.max(now, end_of(call('HGET', key, '')) + 1)))
    call('PEXPIRE', key, floor((latest - now) / 1000) + DAY_MS)
end
local reply = {call('HGET', key, '') or '0'}
if reply[1] ~= ARGV[1] then
    each(function(field, ends, value)
        local source, site = match(field, '^(%S*) (.*)$')
        local nth, cause = match(value, '^%d+ (%d+) (.*)$')
        for _, part in ipairs({source, site, math.ceil((ends - now) / 1000), tonumber(nth), cause}) do
            reply[#reply + 1] = part
        end
    end)
end
return reply
